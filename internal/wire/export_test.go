package wire

// IsObject and ParseTimeText let the tests hold them against the standard library.
var (
	IsObject      = isObject
	ParseTimeText = parseTime
)

const TimeLayout = timeLayout
