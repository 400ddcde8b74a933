package hmi

import (
	"embed"
	"io/fs"
	"net/http"

	"steelyard/internal/page"
)

//go:embed page
var embedded embed.FS

// files serves the page; everything it needs comes from here.
func files() http.Handler {
	root, err := fs.Sub(embedded, "page")
	if err != nil { // the folder is part of the program
		panic(err)
	}
	return page.Files(root)
}
