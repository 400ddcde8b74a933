package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"steelyard/firmware-bridge/catalog"
	"steelyard/internal/config"
)

// What a file can be.
const (
	kindProfile   = "profile"
	kindIndicator = "indicator"
	kindSite      = "site"
	kindGateway   = "gateway"
)

// kindOf says by its keys what a file describes: which reader to use must be known before one
// complains about keys of another. A model says so with its first key. Of the others the keys are
// counted that only a site's or only a gateway's file has: a stray key of the other kind is a
// mistake to be reported, and no reason to read the file as something else.
func kindOf(name string, data []byte) (string, error) {
	if kind := catalog.Kind(data); kind != "" {
		return kind, nil
	}
	sites, gateways := 0, 0
	keys, err := keysOf(name, data)
	for _, key := range keys {
		bus := strings.HasPrefix(key, "buses[")
		switch {
		case slices.Contains([]string{"weighbridges", "site", "cloud", "journal"}, key), bus && strings.HasSuffix(key, "].machines"):
			sites++
		case key == "lines", bus && strings.HasSuffix(key, "].serve"):
			gateways++
		}
	}
	switch {
	case err != nil:
		return "", err
	case sites == 0 && gateways == 0:
		return "", fmt.Errorf("%s: cannot tell its kind by its keys: a model's file begins with profile: NAME or indicator: NAME, "+
			"a site's has weighbridges or buses with machines, a gateway's lines or buses to serve; the city's is checked by cloud -check", name)
	case gateways > sites:
		return kindGateway, nil
	}
	return kindSite, nil
}

// keysOf returns the keys of a file and of its buses, which are what is unknown to a reader that
// knows none; or why the text can't be read at all.
func keysOf(name string, data []byte) ([]string, error) {
	var nothing struct {
		Buses []struct{} `yaml:"buses"`
	}
	err := config.Load(name, data, &nothing, nil)
	var keys []string
	var text config.Mistakes
	if all, ok := errors.AsType[config.Mistakes](err); ok {
		for _, m := range all {
			if m.Path == "" {
				text = append(text, m)
			}
			keys = append(keys, m.Path)
		}
	}
	if len(text) > 0 {
		return nil, text
	}
	return keys, nil
}
