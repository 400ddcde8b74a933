package program

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"steelyard/internal/chain"
	"steelyard/internal/config"
	"steelyard/internal/durable"
)

// OpenKey reads a signing key from its file, or draws it when there is no file yet. An unreadable
// key is an error, never replaced: what was signed with it could not be checked any more.
func OpenKey(path string) (chain.Key, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = chain.NewKey()
	if err := durable.WriteFile(path, []byte(key.Text()), 0o600); err != nil {
		return chain.Key{}, fmt.Errorf("key: %w: its folder must be writable and its disk have room", err)
	}
	return key, nil
}

// CheckKey reports what is wrong with a key file. A missing one is fine: the key is drawn at the
// start.
func CheckKey(path string) error {
	if _, err := readKey(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func readKey(path string) (chain.Key, error) {
	text, err := config.Secret(path)
	if err != nil {
		return chain.Key{}, err
	}
	key, err := chain.ParseKey(string(text))
	if err != nil {
		return chain.Key{}, fmt.Errorf("%s: %w: put the right file back, or remove it to draw a new key and enrol that", path, err)
	}
	return key, nil
}

// KeyFlag adds -key to the flags of [Env.ConfigFlags].
func KeyFlag(print *bool) func(*flag.FlagSet) {
	return func(flags *flag.FlagSet) {
		flags.BoolVar(print, "key", false, "print the public key, drawing the key if there is none yet, then exit")
	}
}

// PrintKey prints the public half of the key in file, drawing it first where there is none: the city's
// file needs the site's key and the other way round, before either program can start.
func (e Env) PrintKey(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("data folder: %w: create it, or name another as data", err)
	}
	key, err := OpenKey(file)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(e.Stdout, key.Public()); err != nil {
		return fmt.Errorf("print the key: %w", err)
	}
	return nil
}
