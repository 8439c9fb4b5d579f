package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/internal/require"
	"github.com/redscope/redscope/latency"
)

func TestLatencyPicture(t *testing.T) { testLatencyPicture(t, buildServer(t)) }

func TestLatencyPictureOfStockServer(t *testing.T) { testLatencyPicture(t, require.Redis(t)) }

// The picture has the commands and the figures that --json has.
func testLatencyPicture(t *testing.T, path string) {
	pid, client := watchedServer(t, path)
	file := filepath.Join(t.TempDir(), "latency.svg")
	top := startAttached(t, pid, "top", "--phases", "--phase", "wait", "--json", "-o", file)
	ctx := context.Background()
	for i := range 300 {
		client.Set(ctx, fmt.Sprint("key", i), i, 0)
		client.Get(ctx, "key1")
	}
	client.Do(ctx, "debug", "sleep", "0.02")
	client.Do(ctx, "nonsense")
	lines := strings.Split(strings.TrimSpace(top.interrupt()), "\n")
	var report struct{ Table []jsonCommand }
	var a account
	if err := json.Unmarshal([]byte(lines[0]), &report); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(lines[1]), &a); err != nil {
		t.Fatal(err)
	}
	type element struct {
		Class string `xml:"class,attr"`
		Text  string `xml:",chardata"`
	}
	var svg struct {
		Texts    []element `xml:"text"`
		Commands []struct {
			Texts []element `xml:"text"`
		} `xml:"g"`
	}
	data, err := os.ReadFile(file)
	if err == nil {
		err = xml.Unmarshal(data, &svg)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(svg.Commands) != len(report.Table) || len(report.Table) < 4 {
		t.Fatalf("%d commands are drawn, %d are in the table", len(svg.Commands), len(report.Table))
	}
	for i, c := range report.Table {
		var want, got []string
		for _, phase := range []string{"total", "wait"} {
			if p, timed := c.Phases[phase]; timed {
				for _, d := range []time.Duration{p.P50, p.P99, p.P999, p.Max} {
					want = append(want, latency.Format(d))
				}
			}
		}
		name := ""
		for _, e := range svg.Commands[i].Texts {
			switch e.Class {
			case "name":
				name = e.Text
			case "number":
				got = append(got, e.Text)
			}
		}
		if name != c.Command || !slices.Equal(got, want) {
			t.Errorf("%s has %v, --json says %s %v", name, got, c.Command, want)
		}
		errors := slices.ContainsFunc(svg.Commands[i].Texts, func(e element) bool { return e.Class == "small errors" })
		if errors != (c.Failed+c.Refused > 0) {
			t.Errorf("%s: %d failed, %d refused; the picture says errors: %v", name, c.Failed, c.Refused, errors)
		}
	}
	var account strings.Builder
	a.write(&account, false)
	if !slices.ContainsFunc(svg.Texts, func(e element) bool { return e.Text+"\n" == account.String() }) {
		t.Errorf("the picture has no line %s", &account)
	}
	if server := fmt.Sprintf("server[%d]", pid); !strings.Contains(string(data), server) {
		t.Errorf("the picture does not name %s", server)
	}
}

// The picture takes the table's place on standard output, and comes even when there
// were no commands.
func TestLatencyPictureOnStandardOutput(t *testing.T) {
	pid, _ := watchedServer(t, buildServer(t))
	out := startAttached(t, pid, "top", "-o", "-").interrupt()
	var svg struct {
		XMLName xml.Name `xml:"svg"`
		Texts   []string `xml:"text"`
	}
	if err := xml.Unmarshal([]byte(out), &svg); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"No commands.", "0 commands: 0 shown, 0 filtered, 0 dropped; the server counts 0"} {
		if !slices.Contains(svg.Texts, want) {
			t.Errorf("%q is not among %q", want, svg.Texts)
		}
	}
}

// Of several servers each has its commands, and the phases that wait are told from
// those that work.
func TestLatencyPage(t *testing.T) {
	h := func(name string) []bpf.CommandStats { return []bpf.CommandStats{{Name: name, Calls: 3, Refused: 2}} }
	one, two := &target{name: "server", process: process{pid: 1}}, &target{name: "redis-server", process: process{pid: 2}}
	page := latencyPage([]targetPicture{
		{of: one, picture: picture{elapsed: time.Second, looked: time.Second, stats: h("GET")}},
		{of: two, picture: picture{elapsed: 2 * time.Second, looked: time.Second / 2, stats: h("")}},
	}, &watching{accounts: []account{{Target: "server", PID: 1, Commands: 5}, {Target: "redis-server", PID: 2, Commands: 5}}, limits: map[string]bool{"b": true, "a": true}}, bpf.PhaseTotal)
	if page.Below != int(bpf.PhaseCall) {
		t.Errorf("below the total is %v", bpf.Phase(page.Below))
	}
	var waiting []string
	for _, p := range page.Phases {
		if p.Waiting {
			waiting = append(waiting, p.Name)
		}
	}
	if got := fmt.Sprint(waiting); got != "[wait queue hold]" {
		t.Errorf("%s wait", got)
	}
	var got []string
	for _, g := range page.Groups {
		for _, c := range g.Commands {
			got = append(got, fmt.Sprintf("%s %s: %g calls/s, %g errors/s", g.Name, c.Name, c.Calls, c.Errors))
		}
	}
	if want := []string{"server[1] GET: 3 calls/s, 2 errors/s", "redis-server[2] (unknown): 6 calls/s, 4 errors/s"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if n := page.Notes; len(n) != 5 || !strings.HasPrefix(n[2], "10 commands: ") || !slices.Equal(n[3:], []string{"note: a", "note: b"}) {
		t.Errorf("notes %q", n)
	}
}
