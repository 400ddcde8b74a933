package telemetry

// QuickSample lets the tests hold the quick reader against the general one.
var QuickSample = quickSample
