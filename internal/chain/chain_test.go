package chain_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"steelyard/internal/chain"
)

const journal = "00112233445566778899aabbccddeeff"

// run makes a chain of n links; each hash stands for an entry's bytes.
func run(n int) (links []chain.Link) {
	var prev chain.Hash
	for i := 1; i <= n; i++ {
		hash := chain.Of([]byte{byte(i)})
		links = append(links, chain.Link{Journal: journal, N: uint64(i), Prev: prev, Hash: hash})
		prev = hash
	}
	return links
}

func TestFirstFaultOfARunIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		change func([]chain.Link) []chain.Link
		n      uint64
	}{
		"left out":        {func(l []chain.Link) []chain.Link { return slices.Delete(l, 3, 4) }, 4},
		"swapped":         {func(l []chain.Link) []chain.Link { l[3], l[4] = l[4], l[3]; return l }, 4},
		"altered":         {func(l []chain.Link) []chain.Link { l[3].Hash = chain.Of([]byte("x")); return l }, 5},
		"twice":           {func(l []chain.Link) []chain.Link { return slices.Insert(l, 4, l[3]) }, 5},
		"from elsewhere":  {func(l []chain.Link) []chain.Link { l[6].Journal = strings.Repeat("f", 32); return l }, 7},
		"inserted anew":   {func(l []chain.Link) []chain.Link { l[5].Prev = chain.Of([]byte("y")); return l }, 6},
		"begins too late": {func(l []chain.Link) []chain.Link { return l[1:] }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := chain.Verify(chain.Link{Journal: journal}, c.change(run(9)))
			fault, ok := errors.AsType[*chain.FaultError](err)
			if !ok || fault.N != c.n {
				t.Errorf("%s: got %v, want a fault at %d", name, err, c.n)
			}
		})
	}
	last, err := chain.Verify(chain.Link{Journal: journal}, run(9))
	if err != nil || last.N != 9 {
		t.Errorf("good run: %d, %v", last.N, err)
	}
}

func TestSignatures(t *testing.T) {
	a, b := chain.NewKey(), chain.NewKey()
	sig := a.Sign("so many kilograms")
	if !a.Public().Verify("so many kilograms", sig) {
		t.Error("own signature refused")
	}
	for name, ok := range map[string]bool{
		"other key":     b.Public().Verify("so many kilograms", sig),
		"other text":    a.Public().Verify("so many kilogram", sig),
		"no signature":  a.Public().Verify("so many kilograms", ""),
		"cut signature": a.Public().Verify("so many kilograms", sig[:40]),
		"no key":        chain.PublicKey{}.Verify("so many kilograms", sig),
	} {
		t.Run(name, func(t *testing.T) {
			if ok {
				t.Errorf("%s was accepted", name)
			}
		})
	}
}

func TestKeysAsText(t *testing.T) {
	k := chain.NewKey()
	again, err := chain.ParseKey(k.Text())
	if err != nil || again.Public().String() != k.Public().String() {
		t.Errorf("key file: %v", err)
	}
	public, err := chain.ParsePublicKey(k.Public().String())
	if err != nil || !public.Verify("x", k.Sign("x")) {
		t.Errorf("public key: %v", err)
	}
	secret := strings.TrimSpace(k.Text())
	for _, text := range []string{"", "x", secret[:len(secret)-4], "key:" + secret, k.Public().String()} {
		if _, err := chain.ParseKey(text); err == nil {
			t.Errorf("%.10q… was taken for a key", text)
		} else if len(text) > 20 && strings.Contains(err.Error(), text[16:30]) {
			t.Error("the error shows the secret")
		}
	}
	for _, text := range []string{"", "AAAA", secret} {
		if _, err := chain.ParsePublicKey(text); err == nil {
			t.Errorf("%q was taken for a public key", text)
		}
	}
}

func TestHashText(t *testing.T) {
	h := chain.Of([]byte("abc")) // FIPS 180-2, appendix B.1
	if h.String() != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Error(h)
	}
	if again, err := chain.ParseHash(h.String()); err != nil || again != h {
		t.Error(again, err)
	}
	for _, text := range []string{"", strings.ToUpper(h.String()), h.String()[1:], h.String() + "0", strings.Repeat("g", 64)} {
		if _, err := chain.ParseHash(text); err == nil {
			t.Errorf("%q was taken for a hash", text)
		}
	}
}
