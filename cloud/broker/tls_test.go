package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"steelyard/internal/mqtt"
)

// certificate gives a broker's certificate for localhost and the pool that trusts it.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// firstLine ends a context with the first line written to it.
type firstLine struct {
	mu   sync.Mutex
	line string
	end  context.CancelFunc
}

func (f *firstLine) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.line == "" {
		f.line = string(p)
	}
	f.end()
	return len(p), nil
}

func TestTLS(t *testing.T) {
	cert, pool := certificate(t)
	b := serve(t, Config{Listen: "127.0.0.1:0", Accounts: accounts, TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}})
	_, port, _ := strings.Cut(b.Addr().String(), ":")
	for _, c := range []struct {
		name, url string
		pool      *x509.CertPool
		want      string
	}{
		{"trusted", "ssl://localhost:" + port, pool, "broker connected"},
		{"unknown authority", "ssl://localhost:" + port, x509.NewCertPool(), "check the authority file"},
		{"another name", "ssl://127.0.0.1:" + port, pool, "check the authority file"},
		{"no TLS", "tcp://127.0.0.1:" + port, nil, "not reached"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			said := &firstLine{end: cancel}
			err := mqtt.Run(ctx, mqtt.Options{URL: c.url, Client: "tls", Username: "north", Password: "n-secret", ConnectTimeout: patience,
				TLS: &tls.Config{RootCAs: c.pool, MinVersion: tls.VersionTLS12}, Log: slog.New(slog.NewTextHandler(said, nil))},
				func(ctx context.Context, s *mqtt.Session) error { <-ctx.Done(); return nil })
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(said.line, c.want) {
				t.Errorf("said %q, want %q", said.line, c.want)
			}
		})
	}
}
