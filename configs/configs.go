// Package configs embeds the files that an operator may replace: the catalogue of materials, the
// districts, the machine profiles and the examples of the two programs' configuration.
//
// In: nothing. Out: the files as they were when the program was built, under their names here.
// It promises nothing about their content: whoever uses a file parses it, and a test of that
// package does so too. It does not read the operator's own files.
package configs

import "embed"

// Files holds *.yaml and devices/*.yaml.
//
//go:embed *.yaml devices/*.yaml
var Files embed.FS
