// Package page is what the pages of the edge and of the cloud have in common.
//
// In: a page's own files and handlers. Out: those files with the shared ones beside them, answers
// as JSON or as RFC 9457 problems, events, and the headers that every answer carries. An address
// that nobody answers is a page in the reader's language for a person, a problem for a program.
// It promises that nothing of a page may be framed or sniffed or load anything from elsewhere, that
// a request is bounded in size and time, that no foreign page acts here, whatever its name resolves
// to, and that a reader of events who stops reading is cut off, not waited for.
// It knows no weights, tonnes or codes.
package page

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed shared
var shared embed.FS

// Limits of a request and of a write to a reader of events.
const (
	maxBody      = 64 << 10
	answerLimit  = 20 * time.Second
	writeTimeout = 5 * time.Second
)

// Files serves a page's own files, those in the folder "page", and beside them the shared ones:
// scripts for language, numbers and the line to the server, the basic style, the icon. What is not
// there is a problem.
func Files(own fs.FS) http.Handler {
	files := overlayFS{folder(own, "page"), folder(shared, "shared")}
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := cmp.Or(strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/"), ".")
		if _, err := fs.Stat(files, name); err != nil {
			notFound().refuse(w, r)
			return
		}
		server.ServeHTTP(w, r)
	})
}

func folder(files fs.FS, name string) fs.FS {
	sub, err := fs.Sub(files, name)
	if err != nil { // the names are constants, and good
		panic(err)
	}
	return sub
}

// overlayFS opens a file in the first of several file systems that has it.
type overlayFS []fs.FS

func (l overlayFS) Open(name string) (fs.File, error) {
	for _, files := range l[:len(l)-1] {
		if f, err := files.Open(name); !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return l[len(l)-1].Open(name)
}

// Secure sets what every answer carries, refuses what other sites' pages send or what is asked for
// under another name than an address, localhost or one of names, and answers what no pattern of the
// mux takes.
func Secure(mux *http.ServeMux, names []string) http.Handler {
	protection, known := http.NewCrossOriginProtection(), hostsOf(names)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if !known.serve(r.Host) && !forProblem(r.URL.Path) {
			wrongHost(r.Host).refuse(w, r)
			return
		}
		if p := known.origin(r, protection); p != nil {
			p.refuse(w, r)
			return
		}
		if p := unanswered(mux, w, r); p != nil {
			p.refuse(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// JSON makes a handler of a function that returns a status and what is to be written as JSON. An
// error that is no Problem is the service's own: it is logged, for whoever keeps the service, and the
// one who asked learns that there is no answer now.
func JSON(log *slog.Logger, handle func(*http.Request) (status int, body any, err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		ctx, cancel := context.WithTimeout(r.Context(), answerLimit)
		defer cancel()
		status, body, err := handle(r.WithContext(ctx))
		if err == nil {
			write(w, "application/json", status, body)
			return
		}
		p, known := errors.AsType[*Problem](err)
		if !known {
			if r.Context().Err() == nil { // who went away needs no answer
				log.Error("a request is not answered", "path", r.URL.Path, "err", err)
			}
			p = &Problem{"unavailable", http.StatusServiceUnavailable, "unavailable", "this can't be answered now: try again, and look into the service's log if it stays"}
		}
		p.send(w)
	})
}

// Read decodes a JSON body strictly.
func Read[T any](r *http.Request) (T, error) {
	var v T
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return v, BadRequest("bad-request", "send Content-Type: application/json")
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, BadRequest("bad-request", "body: "+err.Error())
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return v, BadRequest("bad-request", "body: more than one JSON value")
	}
	return v, nil
}
