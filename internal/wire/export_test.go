package wire

// IsObject and ParseTime let the tests hold them against the standard library.
var (
	IsObject  = isObject
	ParseTime = parseTime
)

const TimeLayout = timeLayout
