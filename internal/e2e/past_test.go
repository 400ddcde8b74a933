package e2e_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"steelyard/cloud/demo"
)

// Who starts a town finds lorries on its sites, their hours before in the account, and sees the first
// of them leave without waiting for a lorry to come.
func TestTownBeginsWithAPast(t *testing.T) {
	town := build(t, demo.Plan{Sites: 2, Speed: 1, Past: time.Hour})
	begun := map[string]int{}
	for _, s := range town.Sites {
		if n := len(list[json.RawMessage](t, s.Page, "passages")); n == 0 {
			t.Errorf("%s: no lorry is on the site", s.Name)
		}
		begun[s.Name] = len(list[json.RawMessage](t, s.Page, "tickets"))
		if begun[s.Name] == 0 {
			t.Errorf("%s: no ticket of the hour before", s.Name)
		}
	}
	for _, s := range town.Sites {
		eventually(t, s.Name+" writes a ticket", func() bool { return len(list[json.RawMessage](t, s.Page, "tickets")) > begun[s.Name] })
	}
	audit := exact(t, town, 300)
	for _, row := range audit.Tonnes {
		if row.Truth == "0" {
			t.Errorf("%+v", row)
		}
	}
}

// list asks an operator's page for one of its lists.
func list[T any](t *testing.T, page, name string) []T {
	t.Helper()
	res, err := http.Get(page + "/api/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var lists map[string][]T
	if err := json.NewDecoder(res.Body).Decode(&lists); err != nil {
		t.Fatal(err)
	}
	return lists[name]
}
