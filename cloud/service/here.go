package service

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"steelyard/internal/config"
	"steelyard/internal/material"
	"steelyard/internal/program"
)

// keyFile is the cloud's signing key in its data folder.
const keyFile = "cloud.key"

// checkHere reports every file of this machine that would keep the cloud from starting. It creates
// and changes nothing, and leaves the ports alone: the cloud that runs has them.
func (c *Config) checkHere(k *config.Checker) {
	k.Faults("data", program.CheckData(c.Data, keyFile))
	_, err := material.Open(c.Materials)
	k.Faults("materials", err)
	if c.Ledger != "" {
		k.Faults("ledger", program.CheckFolder(filepath.Dir(c.Ledger)))
	}
	password := func(at, path string) {
		if path != "" {
			_, err := config.Password(path)
			k.Faults(at, err)
		}
	}
	password("broker.password_file", c.Broker.PasswordFile)
	if c.Broker.CAFile != "" {
		_, err := config.Authorities(c.Broker.CAFile)
		k.Faults("broker.ca_file", err)
	}
	password("influx.token_file", c.Influx.TokenFile)
	for i, s := range c.Sites {
		password(config.Path("sites", i, "password_file"), s.PasswordFile)
	}
	if c.Broker.CertFile != "" && c.Broker.KeyFile != "" {
		c.checkCertificate(k)
	}
}

// checkCertificate reports a certificate that can't be read, doesn't belong to its key, or has run out.
func (c *Config) checkCertificate(k *config.Checker) {
	_, err := config.ReadFile(c.Broker.CertFile)
	chainOK := k.Faults("broker.cert_file", err)
	_, err = config.Secret(c.Broker.KeyFile)
	if !k.Faults("broker.key_file", err) || !chainOK {
		return
	}
	secure, err := certificate(c.Broker)
	if !k.Faults("broker.cert_file", err) {
		return
	}
	k.Faults("broker.cert_file", valid(secure, time.Now()))
}

// valid reports whether the edges would take the certificate at the time now.
func valid(secure *tls.Config, now time.Time) error {
	leaf := secure.Certificates[0].Leaf
	switch {
	case leaf == nil:
		return errors.New("no certificate in the file")
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the certificate ran out on %s: renew it, no edge connects", leaf.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the certificate is valid from %s on, and it is %s here: set the clock, or wait", leaf.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// describe is what -check says of a configuration that would start.
func (c *Config) describe(path string) string {
	text := fmt.Sprintf("%s: %d sites: good\n", path, len(c.Sites))
	if len(c.Sites) == 0 {
		text += path + ": no site is enrolled: the cloud would run and count nothing; list the sites under sites\n"
	}
	if _, err := os.Stat(filepath.Join(c.Data, keyFile)); errors.Is(err, os.ErrNotExist) {
		text += path + ": no key yet: cloud -key draws it and prints the half that the edges need\n"
	}
	return text
}
