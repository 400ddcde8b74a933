package leaktest

// Verify is Main with the patience of a test that wants to see it end.
var Verify = verify
