package program

import (
	"errors"
	"fmt"
	"io/fs"

	"steelyard/internal/chain"
	"steelyard/internal/config"
	"steelyard/internal/durable"
)

// OpenKey reads a signing key from its file, or draws it when there is no file yet. An unreadable
// key is an error, never replaced: what was signed with it could not be checked any more.
func OpenKey(path string) (chain.Key, error) {
	text, err := config.Secret(path)
	if errors.Is(err, fs.ErrNotExist) {
		key := chain.NewKey()
		if err := durable.WriteFile(path, []byte(key.Text()), 0o600); err != nil {
			return chain.Key{}, fmt.Errorf("key: %w: its folder must be writable and its disk have room", err)
		}
		return key, nil
	}
	if err != nil {
		return chain.Key{}, err
	}
	key, err := chain.ParseKey(string(text))
	if err != nil {
		return chain.Key{}, fmt.Errorf("%s: %w: put the right file back, or remove it to draw a new key and enrol that", path, err)
	}
	return key, nil
}
