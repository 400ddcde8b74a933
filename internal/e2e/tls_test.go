package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"steelyard/cloud/demo"
)

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "broker.pem"), filepath.Join(dir, "broker.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// edit changes a configuration of the town.
func edit(t *testing.T, path string, pairs ...string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(pairs...).Replace(string(data))
	if text == string(data) {
		t.Fatalf("%s: nothing to change for %q", path, pairs)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Site and city speak over TLS with a password each; an edge that does not trust the broker's
// certificate sends nothing, and goes on weighing.
func TestTLS(t *testing.T) {
	town := build(t, demo.Plan{Sites: 2, Speed: 20, Shape: demo.Shape{Weighbridges: 1}})
	dir := t.TempDir()
	cert, key := selfSigned(t, dir)
	if err := town.Cloud.Kill(); err != nil {
		t.Fatal(err)
	}
	cloudFile := filepath.Join(filepath.Dir(filepath.Dir(town.LedgerFile())), "cloud.yaml")
	pairs := []string{`broker: {listen:`, fmt.Sprintf(`broker: {cert_file: %q, key_file: %q, listen:`, cert, key)}
	for _, s := range town.Sites {
		secret := filepath.Join(dir, s.Name+".password")
		if err := os.WriteFile(secret, []byte("secret of "+s.Name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, "{id: "+s.Name+",", fmt.Sprintf("{id: %s, password_file: %q,", s.Name, secret))
		trust := fmt.Sprintf("ca_file: %q, ", cert)
		if s == town.Sites[1] {
			trust = ""
		}
		edit(t, filepath.Join(s.Dir, "edge.yaml"), `broker: "tcp://`, fmt.Sprintf(`%susername: %s, password_file: %q, broker: "ssl://`, trust, s.Name, secret))
	}
	edit(t, cloudFile, pairs...)
	if err := town.Cloud.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range town.Sites {
		if err := s.Edge.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.Edge.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	began := recordsOf(t, town)
	eventually(t, "records come over TLS", func() bool {
		return recordsOf(t, town)[town.Sites[0].Name] >= began[town.Sites[0].Name]+5
	})
	// The other site's page answers before its edge has called the broker for the first time.
	eventually(t, "the log of the site without the certificate names the cause", func() bool {
		log, err := os.ReadFile(filepath.Join(filepath.Dir(town.Sites[1].Dir), town.Sites[1].Name+".log"))
		return err == nil && strings.Contains(string(log), "certificate")
	})
	if got := recordsOf(t, town)[town.Sites[1].Name]; got != began[town.Sites[1].Name] {
		t.Errorf("an edge sent %d records to a broker that it can't trust", got-began[town.Sites[1].Name])
	}
	edit(t, filepath.Join(town.Sites[1].Dir, "edge.yaml"), "username:", fmt.Sprintf("ca_file: %q, username:", cert))
	if err := town.Sites[1].Edge.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := town.Sites[1].Edge.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	exact(t, town, 12)
}

func recordsOf(t *testing.T, town *demo.Town) map[string]uint64 {
	t.Helper()
	n := map[string]uint64{}
	for _, p := range positions(t, town) {
		if p.Stream == "records" {
			n[p.Site] += p.N
		}
	}
	return n
}
