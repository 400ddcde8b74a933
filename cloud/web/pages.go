package web

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed page
var embedded embed.FS

// pages serves the city's page; everything it needs comes from here.
func pages() http.Handler {
	root, err := fs.Sub(embedded, "page")
	if err != nil { // the folder is part of the program
		panic(err)
	}
	return http.FileServerFS(root)
}
