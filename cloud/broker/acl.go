package broker

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"steelyard/internal/wire"
)

// acl is the accounts by name. With none, everybody is the cloud.
type acl struct {
	accounts map[string]account
}

type account struct {
	name     string
	password [sha256.Size]byte
	role     Role
	site     string
}

func newACL(list []Account) (acl, error) {
	l := acl{accounts: map[string]account{}}
	var errs []error
	for i, a := range list {
		switch {
		case a.Name == "" || len(a.Name) > 100 || controls(a.Name):
			errs = append(errs, fmt.Errorf("broker account %d: the name has 1 to 100 characters, none of them a control", i+1))
		case l.accounts[a.Name].name != "":
			errs = append(errs, fmt.Errorf("broker account %q: duplicate", a.Name))
		case a.Password == "":
			errs = append(errs, fmt.Errorf("broker account %q: has no password", a.Name))
		case a.Role == Cloud && a.Site != "":
			errs = append(errs, fmt.Errorf("broker account %q: an account of the cloud has no site", a.Name))
		case a.Role == Site && wire.CheckSlug("site", a.Site) != nil:
			errs = append(errs, fmt.Errorf("broker account %q: %w", a.Name, wire.CheckSlug("site", a.Site)))
		case a.Role != Cloud && a.Role != Site:
			errs = append(errs, fmt.Errorf("broker account %q: role %q is not known, use %s or %s", a.Name, a.Role, Site, Cloud))
		}
		l.accounts[a.Name] = account{name: a.Name, password: digest([]byte(a.Password)), role: a.Role, site: a.Site}
	}
	return l, errors.Join(errs...)
}

// authenticate checks a password, in the same time whether the name is known or not.
func (l acl) authenticate(name, password []byte) bool {
	if len(l.accounts) == 0 {
		return true
	}
	a := l.accounts[string(name)]
	given := digest(password)
	same := subtle.ConstantTimeCompare(a.password[:], given[:]) == 1
	return same && a.name != ""
}

// of returns the account of an authenticated name.
func (l acl) of(name []byte) account {
	if len(l.accounts) == 0 {
		return account{role: Cloud}
	}
	return l.accounts[string(name)]
}

// mayPublish reports whether the account may send to a topic, and leave a will there.
func (a account) mayPublish(topic string, retain bool) bool {
	if strings.ContainsAny(topic, "+#") {
		return false
	}
	site, rest, err := wire.SplitTopic(topic)
	if err != nil || rest == "" {
		return false
	}
	switch a.role {
	case Cloud:
		return true
	case Site:
		if site != a.site {
			return false
		}
		switch rest {
		case "records", "samples", "live":
			return !retain
		case "status", "machines":
			return true
		}
	}
	return false
}

// mayRead reports whether the account may subscribe to a filter, and receive a topic.
func (a account) mayRead(filter string) bool {
	switch a.role {
	case Cloud:
		if shared, ok := strings.CutPrefix(filter, "$share/"); ok {
			_, filter, _ = strings.Cut(shared, "/")
		}
		return strings.HasPrefix(filter, root)
	case Site:
		rest, ok := strings.CutPrefix(filter, root+a.site+"/")
		if !ok {
			return false
		}
		stream, receipt := strings.CutPrefix(rest, "receipt/")
		return rest == "request" || receipt && stream != "" && !strings.ContainsAny(stream, "/#")
	}
	return false
}
