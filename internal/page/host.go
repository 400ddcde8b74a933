package page

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// hosts are the names, besides addresses and localhost, under which a service may be asked for. A
// browser sends the name that it was given: a foreign page whose name resolves to this machine
// (DNS rebinding) sends its own, and is known by it.
type hosts map[string]bool

func hostsOf(names []string) hosts {
	h := hosts{}
	for _, name := range names {
		h[plain(name)] = true
	}
	return h
}

// plain is a name as names are compared.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// CheckHost tells what is wrong with a name in a configuration's hosts.
func CheckHost(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	wrong := name == "" || len(name) > 253
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		wrong = wrong || label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		})
	}
	if wrong {
		return fmt.Errorf("%.60q is no name or address: write it as it stands in the browser, without http://, port and path, like weigh.example.org", name)
	}
	return nil
}

// serve reports whether a Host header names this service. Without one the request is no browser's.
func (h hosts) serve(host string) bool {
	name := hostname(host)
	if _, err := netip.ParseAddr(name); err == nil {
		return true // whoever was given an address has asked no DNS
	}
	return host == "" || name == "localhost" || h[name]
}

// hostname drops the port.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return plain(name)
	}
	return plain(strings.Trim(host, "[]"))
}

// origin refuses what pages of other sites send. A proxy that puts its own Host in place of the
// browser's makes every page look foreign to a browser's Origin; such pages are known by their name
// in the configuration.
func (h hosts) origin(r *http.Request, protection *http.CrossOriginProtection) *Problem {
	if protection.Check(r) == nil {
		return nil
	}
	from, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || from.Host == "" || r.Header.Get("Sec-Fetch-Site") != "" {
		return foreignOrigin()
	}
	if h[hostname(from.Host)] {
		return nil
	}
	return unlistedOrigin(from.Host, r.Host)
}

// forProblem are the files of the page of a problem, which tells everybody what is wrong, also under
// a name that is not served. They say nothing of the service.
func forProblem(path string) bool {
	switch path {
	case "/problem.js", "/problem-words.js", "/problem.css", "/base.css", "/language.js", "/dom.js", "/icon.svg":
		return true
	}
	return false
}
