package demo

import (
	"fmt"
	"regexp"
)

// Fault is one difference between the books: a code, and what fills the words that it stands for.
// Pages say it in their reader's language, String in English for a terminal.
type Fault struct {
	Code string            `json:"code"`
	Site string            `json:"site"` // empty: the fault is one of all sites together
	With map[string]string `json:"with"`
}

// with are the values of a fault's slots.
type with map[string]any

func faultOf(site, code string, values with) Fault {
	f := Fault{Code: code, Site: site, With: map[string]string{}}
	for slot, v := range values {
		f.With[slot] = fmt.Sprint(v)
	}
	return f
}

// faultWords are the English words of each fault. The page's English is the same, and a test holds
// it to that.
func faultWords() map[string]string {
	return map[string]string{
		"twice-in-ledger":  "{kind} {n} stands twice in the ledger",
		"nobody-wrote":     "ledger has {kind} {n} of journal {journal}, which the edge did not write",
		"differs":          "{kind} {n} differs between journal and ledger",
		"not-in-ledger":    "{kind} {n} is not in the ledger",
		"no-visit":         "weighing {n} of {device} at {time} belongs to no visit",
		"other-weight":     "weighing {n} says {said}, the display showed {shown}",
		"weighed-again":    "{visit} was weighed again as {n}",
		"no-weighing":      "{visit} of {shown} has no weighing",
		"two-entries":      "passage {passage} has two entries of kind {kind}",
		"confirmed-lost":   "{kind} of passage {passage} was confirmed and is not in the ledger",
		"other-digest":     "{kind} of passage {passage} was confirmed as entry {n} with another digest",
		"other-ticket":     "ticket {number} says {said} of {vehicle}, the difference of {lorry} was {mass}",
		"other-act":        "passage {passage} says {vehicle}, {direction}, {material}; the operator said {lorry}, {way}, {load}",
		"happened-nowhere": "{kind} of passage {passage} happened nowhere",
		"bale-twice":       "bale {number} of {device} stands twice",
		"bale-unrecorded":  "bale {number} of {device} has no record",
		"bale-differs":     "bale {number} of {device} says {said} of {material}, it was {mass} of {load}",
		"bale-invented":    "bale {number} of {device} was never pressed",
		"belt-unseen":      "{device} carried up to {end} counts and has no standing",
		"belt-unknown":     "{device} does not exist",
		"belt-form":        "{device} counts {step} up to {modulus}, entry {n} says {said} in steps of {other_step} up to {other_modulus}",
		"belt-standing":    "{device} stood between {low} and {high} counts at {time}, entry {n} says {said}",
		"belt-end":         "{device} carried up to {end} counts, its last standing is {said}",
		"tonnes":           "tonnes: {flow} of {category} were {truth} kg, the ledger has {ledger} kg",
	}
}

var slot = regexp.MustCompile(`\{\w+\}`)

func (f Fault) String() string {
	said := slot.ReplaceAllStringFunc(faultWords()[f.Code], func(s string) string { return f.With[s[1:len(s)-1]] })
	if f.Site == "" {
		return said
	}
	return f.Site + ": " + said
}
