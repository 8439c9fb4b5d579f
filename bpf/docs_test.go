package bpf

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/redscope/redscope/engine/probe"
)

// markersTable is the table of markers in docs/bpf.md.
func markersTable() string {
	var b strings.Builder
	b.WriteString("| marker | fires | arguments |\n|---|---|---|\n")
	for _, m := range probe.Markers {
		var args []string
		for _, a := range m.Args {
			args = append(args, fmt.Sprintf("`%s` %s: %s", a.Name, a.Type, a.Unit))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Name, m.Fires, strings.Join(args, "<br>"))
	}
	return b.String()
}

func TestDocsListTheMarkers(t *testing.T) {
	doc, err := os.ReadFile("../docs/bpf.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), markersTable()) {
		t.Errorf("docs/bpf.md does not hold the table made from probe.Markers:\n%s", markersTable())
	}
}
