package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A question to a document that goes away meanwhile is no fault of the page: Wait asks the next one.
// Any other failure is one.
func TestADocumentThatGoesAway(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "<!doctype html><link rel=icon href='data:,'><title>%s</title>", r.URL.Path)
	}))
	defer server.Close()
	p := Open(t, server.URL+"/first")
	if _, err := evaluate[bool](p, "(location.href = '/second', new Promise(() => {}))"); !leaving(err) {
		t.Errorf("an answer of a document that is gone: %v", err)
	}
	p.Wait("document.title === '/second'")
	if _, err := evaluate[bool](p, "nobody.knows"); err == nil || leaving(err) {
		t.Errorf("an expression that throws: %v", err)
	}
}
