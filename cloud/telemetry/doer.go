package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	influxlog "github.com/influxdata/influxdb-client-go/v2/log"
)

// discardLibraryLog takes the client library's logger away, once and before the first client is made: it is
// a variable of that package, read without a lock, and prints to standard error. What it would say
// comes back as an error anyway.
var discardLibraryLog = sync.OnceFunc(func() { influxlog.Log = nil })

// errNotInflux is the answer of something else at the address: a portal, a proxy's page.
var errNotInflux = errors.New("the answer is not InfluxDB's")

// httpDoer sends the client library's requests. It compresses what is written at the speed that the
// library's own gzip, at its default level, does not reach; it takes nothing but 204 for a write
// that succeeded, where the library would take any 2xx.
type httpDoer struct {
	client *http.Client
	plain  bool       // nothing is packed
	zip    *sync.Pool // of *gzip.Writer
}

func newHTTPDoer(timeout time.Duration, plain bool) httpDoer {
	return httpDoer{
		plain: plain,
		client: &http.Client{
			Timeout: timeout,
			Transport: &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				DialContext:         (&net.Dialer{Timeout: min(timeout, 5*time.Second)}).DialContext,
				TLSHandshakeTimeout: min(timeout, 5*time.Second),
				MaxIdleConnsPerHost: 4,
				IdleConnTimeout:     90 * time.Second,
			},
			// A redirected POST would arrive as a GET and be answered with 200.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		zip: &sync.Pool{New: func() any {
			w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
			if err != nil { // the level is a constant
				panic(err)
			}
			return w
		}},
	}
}

// Do sends one request.
func (d httpDoer) Do(req *http.Request) (*http.Response, error) {
	write := req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, "/write")
	if write && !d.plain {
		if err := d.compress(req); err != nil {
			return nil, err
		}
	}
	if write {
		// Writing twice changes nothing, so the transport may repeat on a connection found dead. An
		// empty list says so to it without sending the header.
		req.Header["Idempotency-Key"] = []string{}
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	if write && resp.StatusCode/100 == 2 && resp.StatusCode != http.StatusNoContent {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: status %s where 204 belongs", errNotInflux, resp.Status)
	}
	if write && resp.StatusCode/100 == 4 {
		return resp, nameError(resp)
	}
	return resp, nil
}

// nameError puts the reason of a refused write where the library looks for it: version 3 gives it
// in a field of the body that the library does not read.
func nameError(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var reason struct {
		Error string `json:"error"`
	}
	if resp.Header.Get(errorHeader) == "" && json.Unmarshal(body, &reason) == nil {
		resp.Header.Set(errorHeader, reason.Error)
	}
	return nil
}

const errorHeader = "X-Influxdb-Error"

func (d httpDoer) compress(req *http.Request) error {
	var packed bytes.Buffer
	w := d.zip.Get().(*gzip.Writer)
	defer d.zip.Put(w)
	w.Reset(&packed)
	if _, err := io.Copy(w, req.Body); err != nil {
		return err
	}
	if err := errors.Join(w.Close(), req.Body.Close()); err != nil {
		return err
	}
	body := packed.Bytes()
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Header.Set("Content-Encoding", "gzip")
	return nil
}
