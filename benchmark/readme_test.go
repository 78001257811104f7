package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestReadmeFigures: the table of the README has the figures that were measured, of every contender there is.
func TestReadmeFigures(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("figures.json")
	if err != nil {
		t.Fatal(err)
	}
	var measured report
	if err := json.Unmarshal(raw, &measured); err != nil {
		t.Fatal(err)
	}
	contenders := make(map[string]bool)
	for _, g := range measured.Groups {
		for _, c := range g.Contenders {
			contenders[g.Name+"/"+c.Name] = true
			row := fmt.Sprintf("| %s | %s | %.1f µs |", c.Name, grouped(int(c.Median.Rate+.5)), c.Median.CPU)
			_, rest, found := strings.Cut(string(readme), row)
			rest, _, _ = strings.Cut(rest, "\n")
			if !found {
				t.Errorf("%s: no row %s", g.Name, row)
			}
			for _, r := range c.Ratios {
				if !strings.Contains(rest, r.Text) {
					t.Errorf("%s: %s: no %q", g.Name, c.Name, r.Text)
				}
			}
		}
	}
	for _, g := range groups(fullSizes) {
		for _, c := range g.contenders {
			if name := g.name + "/" + c.name; !contenders[name] && g.name != "scaling" { // which has as many as there are cores
				t.Errorf("%s was not measured", name)
			}
		}
	}
	if _, err := os.Stat("figures.svg"); err != nil {
		t.Error(err)
	}
}
