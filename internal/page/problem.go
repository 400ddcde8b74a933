package page

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// Problem is an RFC 9457 problem detail. Code is stable and is what pages translate.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (p *Problem) Error() string { return p.Detail }

// BadRequest is the problem of a request that can't be understood.
func BadRequest(code, detail string) error {
	return &Problem{"bad request", http.StatusBadRequest, code, detail}
}

// The problems of an address, before any handler has seen the request. Their words for people are
// in shared/problem-words.js.
func notFound() *Problem {
	return &Problem{"not found", http.StatusNotFound, "not-found", "nothing is at this address: begin at /"}
}

func wrongMethod(allowed string) *Problem {
	return &Problem{"method not allowed", http.StatusMethodNotAllowed, "wrong-method", "this address takes only " + allowed}
}

func foreignOrigin() *Problem {
	return &Problem{"foreign origin", http.StatusForbidden, "foreign-origin", "the request came from a page of another site: open this service's own page"}
}

func unlistedOrigin(from, host string) *Problem {
	return &Problem{"unlisted origin", http.StatusForbidden, "unlisted-origin", fmt.Sprintf("the page was loaded from %.100q and asks %.100q: "+
		"if the first is this service's proxy, let it forward the Host header, or list its name under hosts in this service's configuration", from, host)}
}

func wrongHost(host string) *Problem {
	return &Problem{"misdirected request", http.StatusMisdirectedRequest, "wrong-host", fmt.Sprintf("%.100q is not a name of this service: "+
		"use its address, or list the name under hosts in its configuration", hostname(host))}
}

// send answers with a problem as a program reads it.
func (p *Problem) send(w http.ResponseWriter) { write(w, "application/problem+json", p.Status, p) }

func write(w http.ResponseWriter, kind string, status int, body any) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // a caller that went away is not our error
}

//go:embed problem.html
var problemText string

// problemPage says a problem to a person: its script puts it into the language that was chosen.
var problemPage = template.Must(template.New("problem").Parse(problemText))

// refuse answers with a problem that no handler has found, as a page or for a program.
func (p *Problem) refuse(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Accept")
	if !forPerson(r) {
		p.send(w)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(p.Status)
	_ = problemPage.Execute(w, p) // a reader who went away is not our error
}

// forPerson reports whether a browser wants a page to show. Below /api everybody gets what programs get.
func forPerson(r *http.Request) bool {
	if r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/") {
		return false
	}
	page, program := 0.0, 0.0
	for accepted := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		kind, settings, err := mime.ParseMediaType(accepted)
		if err != nil {
			continue
		}
		wish := 1.0
		if q, given := settings["q"]; given {
			if wish, err = strconv.ParseFloat(q, 64); err != nil {
				continue
			}
		}
		switch kind {
		case "text/html", "application/xhtml+xml":
			page = max(page, wish)
		case "application/json", "application/problem+json":
			program = max(program, wish)
		}
	}
	return page > 0 && page >= program
}

// discard takes status and headers of an answer whose words are of no use to anybody here.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header             { return d.header }
func (d *discard) WriteHeader(status int)          { d.status = status }
func (*discard) Write(ignored []byte) (int, error) { return len(ignored), nil }

// unanswered finds what is wrong with a request that no pattern of the mux takes; nil if one does.
func unanswered(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) *Problem {
	refusal, pattern := mux.Handler(r)
	if pattern != "" {
		return nil
	}
	said := discard{header: http.Header{}}
	refusal.ServeHTTP(&said, r)
	if said.status != http.StatusMethodNotAllowed {
		return notFound()
	}
	allowed := said.header.Get("Allow")
	w.Header().Set("Allow", allowed) // RFC 9110, 15.5.6: it must be there
	return wrongMethod(allowed)
}
