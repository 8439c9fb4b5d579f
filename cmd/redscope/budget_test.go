package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/internal/require"
)

func TestParseBudget(t *testing.T) {
	for s, want := range map[string]float64{"": 0, "2%": 0.02, "2": 0.02, "0.5%": 0.005, "100%": 1, "1e-1%": 0.001} {
		if got, err := parseBudget(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"0", "0%", "-3%", "200%", "100.1", "abc", "%", "2%%", "2 %", "NaN", "inf", "-0"} {
		if got, err := parseBudget(s); err == nil || !strings.Contains(err.Error(), "--budget "+s+": a budget is a share") {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, command := range []string{"top", "trace"} {
		out, err := redscope(t, "", command, "-p", "1", "--budget", "200%").CombinedOutput()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
}

func TestLooking(t *testing.T) {
	l := lookingOf(bpf.Budget{Share: 0.02, Cost: 14 * time.Millisecond, CPU: time.Second, Commands: 45_000, Shed: bpf.ShedPhases,
		Levels: [bpf.ShedLevels]time.Duration{time.Second, 2 * time.Second}, Looked: 3 * time.Second})
	if got, want := l.String(), "looking: 0.31 µs per command, 1.4 % of the server's time (budget 2 %): phases shed (of 3.0 s: 2.0 s without phases)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	after := lookingOf(bpf.Budget{Share: 0.02, Cost: 2 * time.Millisecond, CPU: time.Second, Commands: 5_000, Shed: bpf.ShedTime,
		Levels: [bpf.ShedLevels]time.Duration{0, 0, time.Second, 10 * time.Second}, Looked: 4 * time.Second})
	if got, want := l.plus(after).String(), "looking: 0.32 µs per command, 0.8 % of the server's time (budget 2 %): looking part of the time (of 14.0 s: 13.0 s without phases, 1.0 s without histograms, 7.0 s not looking)"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := lookingOf(bpf.Budget{Share: 1}).String(); got != "looking: 0.00 µs per command, 0 % of the server's time (budget 1e+02 %): nothing shed" {
		t.Error(got)
	}
	if (*looking)(nil).plus(l) != l || l.plus(nil) != l {
		t.Error("nothing is added to nothing")
	}
}

// Over its budget redscope looks part of the time, and accounts for all the same.
func TestBudget(t *testing.T) {
	t.Run("redscope", func(t *testing.T) { testBudget(t, buildServer(t)) })
	t.Run("redis-server", func(t *testing.T) { testBudget(t, require.Redis(t)) })
}

func testBudget(t *testing.T, path string) {
	pid, client := watchedServer(t, path)
	run := func(args ...string) string {
		t.Helper()
		look := startAttached(t, pid, append(args, "--budget", "0.1%")...)
		ctx := context.Background()
		for end := time.Now().Add(patience); probesOn(t, look.Process.Pid, pid) > 0; {
			pipe := client.Pipeline()
			for range 100 {
				pipe.Get(ctx, "key")
			}
			pipe.Exec(ctx)
			if time.Now().After(end) {
				t.Fatal("it never looked away")
			}
		}
		client.Get(ctx, "key") // nobody looks
		return look.interrupt()
	}

	lines := strings.Split(strings.TrimSpace(run("top", "--json")), "\n")
	var a account
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &a); err != nil {
		t.Fatal(err)
	}
	l := a.Looking
	if l == nil || l.Budget != 0.001 || l.Shed != "looking part of the time" || l.Cost <= 0 || l.Share <= 0 || l.Commands != a.Commands || l.NotLooking <= 0 {
		t.Fatalf("%+v", l)
	}
	if a.NotLookedAt == 0 || a.Commands+a.NotLookedAt != a.ServerCommands || a.Spans+a.Filtered+a.Dropped != a.ServerCommands {
		t.Errorf("%+v does not add up", a)
	}

	for _, command := range []string{"top", "trace"} {
		out := run(command)
		var looking, account bool
		for line := range strings.Lines(out) {
			looking = looking || strings.HasPrefix(line, "looking: ") && strings.Contains(line, "% of the server's time (budget 0.1 %): looking part of the time (of ")
			var looked, not, shown, filtered, dropped, server uint64
			n, _ := fmt.Sscanf(line, "%d commands looked at, %d not: %d shown, %d filtered, %d dropped; the server counts %d", &looked, &not, &shown, &filtered, &dropped, &server)
			account = account || n == 6 && looked+not == server && shown+filtered+dropped == server
		}
		if !looking || !account {
			t.Errorf("%s: %s", command, out)
		}
	}
}

// probesOn counts the links of probes on another process that a process holds, as far
// as the kernel says on whom.
func probesOn(t *testing.T, pid, on int) (n int) {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink(fd)
		info, _ := os.ReadFile(strings.Replace(fd, "/fd/", "/fdinfo/", 1))
		_, of, known := strings.Cut(string(info), "\npid:\t")
		of, _, _ = strings.Cut(of, "\n")
		if (strings.Contains(to, "bpf_link") || strings.Contains(to, "perf_event")) && (!known || of == strconv.Itoa(on)) {
			n++
		}
	}
	return n
}
