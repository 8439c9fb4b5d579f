package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/require"
)

func TestExplanation(t *testing.T) {
	e := bpf.Explanation{
		Command: bpf.CommandRecord{Name: "GET", Arrived: 1000, Command: probe.Command{Client: 7, Wake: 25_001_000, ReadStart: 60_001_000, Start: 60_001_000, End: 100_001_000, Args: 2}},
		Total:   100 * time.Millisecond,
		Alike:   3,
		Causes: []bpf.Cause{
			{Kind: bpf.CauseBehind, What: "KEYS", Client: 8, Commands: 1, Time: 40 * time.Millisecond},
			{Kind: bpf.CauseOwn, What: "call", Time: 20 * time.Millisecond},
			{Kind: bpf.CauseBlocked, What: "fsync", Time: 10 * time.Millisecond, Blocked: 10 * time.Millisecond, Function: "jbd2_log_wait_commit"},
			{Kind: bpf.CauseBehind, What: "SORT", Client: 9, Commands: 2, Key: []byte("list"), KeyLen: 4, Time: 9 * time.Millisecond, Blocked: time.Millisecond, Function: "folio_wait_bit"},
			{Kind: bpf.CauseQueue, What: "bash", Time: 8 * time.Millisecond},
			{Kind: bpf.CauseBehind, What: "SET", Client: 7, Commands: 5, Time: 5 * time.Millisecond},
			{Kind: bpf.CauseWork, What: bpf.WorkExpire.String(), Amount: 12, Time: 4 * time.Millisecond},
			{Kind: bpf.CauseBehind, What: "", Client: 3, Commands: 1, Time: 2 * time.Millisecond},
			{Kind: bpf.CauseBehind, What: "GET", Client: 4, Commands: 1, Time: time.Millisecond},
			{Kind: bpf.CauseStopped, Time: 900 * time.Microsecond, Blocked: 900 * time.Microsecond},
			{Kind: bpf.CauseUnknown, Time: 60 * time.Microsecond},
			{Kind: bpf.CauseOwn, What: "read", Time: 40 * time.Microsecond},
		},
	}
	phases, got, _ := strings.Cut(explanation("", &e), "  why\n")
	if want := `GET  100ms  client 7
  socket  25.0ms  ████████████
  wait    35.0ms              ██████████████████
  call    40.0ms                                ████████████████████
`; phases != want {
		t.Errorf("%s\nwant\n%s", phases, want)
	}
	want := `     40.0%  40.0ms  behind KEYS of client 8
     20.0%  20.0ms  its own execution
     10.0%  10.0ms  blocked: fsync, in jbd2_log_wait_commit
      9.0%  9.00ms  behind 2 SORT "list" of client 9; 1.00ms of it blocked in folio_wait_bit
      8.0%  8.00ms  waiting for a CPU that bash had
      5.0%  5.00ms  behind 5 SET of its own pipeline
      4.0%  4.00ms  deleting expired keys, 12 keys
      0.9%   900µs  stopped by a signal or a debugger
      3.0%  3.00ms  behind 2 more
      0.1%   100µs  2 smaller causes
  and 3 more GET of this client in the same turn

`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for others, want := range map[int]string{2: "  and 3 more GET of this and 2 other clients in the same turn\n", 3: "  and 3 more GET of other clients in the same turn\n"} {
		e.Others = others
		if got := explanation("", &e); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for k := bpf.WorkCron; k <= bpf.WorkReplies; k++ {
		if workTexts[k.String()] == "" {
			t.Errorf("nothing is said of %v", k)
		}
	}
}

// A command that sleeps is explained, in both forms, by the kernel's sleep; the
// account behind it adds up.
func TestWhy(t *testing.T) {
	t.Run("ours", func(t *testing.T) { testWhy(t, buildServer(t)) })
	t.Run("stock", func(t *testing.T) { testWhy(t, require.Redis(t)) })
	t.Run("as KeyDB", func(t *testing.T) { testWhy(t, require.RedisAs(t, "keydb-server")) })
}

func testWhy(t *testing.T, path string) {
	pid, client := watchedServer(t, path)
	ctx := context.Background()
	once := func(args ...string) string {
		t.Helper()
		cmd := redscope(t, "", append([]string{"why", "-p", strconv.Itoa(pid), "--slower-than", "40ms", "-n", "1"}, args...)...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for end := time.Now().Add(patience); time.Now().Before(end); {
			if err := client.Do(ctx, "DEBUG", "SLEEP", "0.05").Err(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Fatal(err)
				}
				return out.String()
			case <-time.After(100 * time.Millisecond):
			}
		}
		t.Fatal("nothing was explained")
		return ""
	}
	// A sleep of which the kernel did not tell cannot be seen, but that there was one is said.
	unseen := regexp.MustCompile(`"unseen_switches":[1-9]|the kernel did not tell of`)
	explain := func(args ...string) string {
		t.Helper()
		out := once(args...)
		for range 3 {
			if !unseen.MatchString(out) {
				break
			}
			t.Logf("again, for\n%s", out)
			out = once(args...)
		}
		return out
	}

	lines := strings.Split(strings.TrimSpace(explain("--json")), "\n")
	if len(lines) < 3 {
		t.Fatalf("%q", lines)
	}
	var e jsonExplanation
	var summary struct {
		Slow int `json:"slow_commands"`
		Why  []jsonCause
	}
	var a account
	for i, v := range []any{&e, &summary, &a} {
		if err := json.Unmarshal([]byte(lines[max(i, len(lines)-3+i)]), v); err != nil {
			t.Fatalf("%v: %s", err, lines)
		}
	}
	var sum time.Duration
	for _, c := range e.Why {
		sum += c.Time
	}
	asleep := slices.IndexFunc(e.Why, func(c jsonCause) bool { return c.Cause == bpf.CauseBlocked && c.What == "sleep" })
	if e.Command != "DEBUG" || sum != e.Total || asleep < 0 || e.Why[asleep].Time < 25*time.Millisecond || !strings.Contains(e.Why[asleep].Function, "nanosleep") {
		t.Errorf("%+v", e)
	}
	if summary.Slow != 1 || len(summary.Why) != len(e.Why) {
		t.Errorf("%+v", summary)
	}
	if a.Commands != a.ServerCommands || a.Spans+a.Filtered+a.Dropped != a.Commands || a.Spans < 1 {
		t.Errorf("%+v does not add up", a)
	}

	text := explain()
	for _, want := range []string{"DEBUG  ", "  call ", "\n  why\n", "blocked: sleep, in ", "1 of 1 slow commands explained, ", " dropped; the server counts "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
