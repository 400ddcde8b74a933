package demo

import (
	"errors"
	"net/url"
	"strings"
)

// setInflux takes "http://user:password@host:8086/database/policy" apart.
func (p *Plan) setInflux(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("not a URL")
	}
	bucket := strings.Trim(u.Path, "/")
	if u.Host == "" || bucket == "" {
		return errors.New("write http://user:password@host:8086/database/policy")
	}
	p.Bucket = bucket
	if u.User != nil {
		p.Token = u.User.String()
	}
	p.Influx = u.Scheme + "://" + u.Host
	return nil
}
