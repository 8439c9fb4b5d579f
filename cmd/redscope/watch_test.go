package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/jaeger"
	"github.com/redscope/redscope/internal/require"
)

// The keys that come more often than one in hotKeysKept are found, with counts that
// are at least right and too high by no more than they say.
func TestHotKeys(t *testing.T) {
	h, exact, rng := newHotKeys(20), map[string]uint64{}, rand.New(rand.NewPCG(1, 1))
	for range 100_000 {
		key := strconv.Itoa(rng.IntN(5000))
		if r := rng.IntN(100); r < 40 {
			key = "hot" + strconv.Itoa(min(r/10, 2))
		}
		exact[key]++
		h.add(key, uint32(len(key)))
	}
	for _, k := range h.heap {
		if n := exact[k.key]; k.count < n || k.count-k.over > n {
			t.Errorf("%s came %d times, not %d to %d", k.key, n, k.count-k.over, k.count)
		}
		if h.heap[h.index[k.key]] != k {
			t.Errorf("%s is not where the index has it", k.key)
		}
	}
	top := h.top(3)
	for i, want := range []string{"hot2", "hot0", "hot1"} {
		if i >= len(top) || top[i].key != want && (i == 0 || !strings.HasPrefix(top[i].key, "hot")) {
			t.Fatalf("hottest are %v", top)
		}
	}
}

func TestWaterfall(t *testing.T) {
	r := bpf.CommandRecord{Name: "GET", Slow: true, Command: probe.Command{
		Client: 7, Wake: 1000, ReadStart: 1000, ReadEnd: 11_000, Parsed: 11_001, Start: 31_000, End: 81_000, WriteStart: 81_000, WriteEnd: 101_000,
		KeyLen: 3, Batch: 2, Error: [16]byte{'E', 'R', 'R'},
	}}
	copy(r.Key[:], "k\xff\x00")
	var b bytes.Buffer
	if err := writeWaterfall(&b, "", &r); err != nil {
		t.Fatal(err)
	}
	bar := func(from, n int) string { return strings.Repeat(" ", from) + strings.Repeat("█", n) }
	want := `GET "k\xff\x00"  100µs  client 7, number 3 of its read, error ERR
  wait       0ns
  read    10.0µs  ` + bar(0, 5) + `
  parse      1ns  ` + bar(5, 1) + `
  queue   20.0µs  ` + bar(5, 10) + `
  call    50.0µs  ` + bar(15, 25) + `
  hold       0ns
  write   20.0µs  ` + bar(40, 10) + `

`
	if got := b.String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// watchedServer is the server at path, and a client of it.
func watchedServer(t *testing.T, path string) (pid int, client *redis.Client) {
	pid, addr := launchServer(t, path, "--enable-debug-command", "yes")
	return pid, newClient(t, addr)
}

func newClient(t *testing.T, addr string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true, ReadTimeout: patience, MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	return client
}

// calls returns how many calls INFO commandstats counts of each command.
func calls(t *testing.T, client *redis.Client) map[string]uint64 {
	t.Helper()
	text, err := client.Info(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]uint64{}
	for _, m := range regexp.MustCompile(`cmdstat_([^:]+):calls=(\d+)`).FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseUint(m[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.ToUpper(strings.ReplaceAll(m[1], "|", " "))] = n
	}
	return all
}

// looker is a redscope that looks at a process until the test interrupts it.
type looker struct {
	*exec.Cmd
	t   *testing.T
	out bytes.Buffer
}

// startAttached starts redscope on a server, and returns once it holds all its probes
// there, which it places one by one: as many as a watcher of our own.
func startAttached(t *testing.T, pid int, args ...string) *looker {
	t.Helper()
	w, err := bpf.StartCommandWatcher(bpf.CommandOptions{PID: pid, Phases: slices.Contains(args, "--phases")})
	if err != nil {
		t.Fatal(err)
	}
	all := probesOn(t, os.Getpid(), pid)
	w.Close()
	l := &looker{Cmd: redscope(t, "", append(args, "-p", strconv.Itoa(pid))...), t: t}
	l.Stdout, l.Stderr = &l.out, os.Stderr
	start(t, l.Cmd)
	for end := time.Now().Add(patience); all == 0 || probesOn(t, l.Process.Pid, pid) < all; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not all of %d probes were attached", all)
		}
	}
	return l
}

// interrupt ends it, and returns what it printed.
func (l *looker) interrupt() string {
	l.t.Helper()
	if err := l.Process.Signal(os.Interrupt); err != nil {
		l.t.Fatal(err)
	}
	if err := l.Wait(); err != nil {
		l.t.Fatal(err)
	}
	return l.out.String()
}

// A command that is slow, one that fails and one that waits behind the first come
// out; the last line accounts for all.
func TestTrace(t *testing.T) {
	pid, client := watchedServer(t, buildServer(t))
	ctx := context.Background()
	if err := client.Set(ctx, "string", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	cmd := redscope(t, "", "trace", "-p", strconv.Itoa(pid), "--slower-than", "50ms", "--failed", "--json")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	start(t, cmd)
	lines := bufio.NewScanner(out)

	// Until the first is seen, redscope may not be attached yet.
	seen := make(chan jsonRecord)
	go func() {
		defer close(seen)
		for lines.Scan() && bytes.Contains(lines.Bytes(), []byte(`"command":`)) {
			var r jsonRecord
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Error(err)
			}
			seen <- r
		}
	}()
	await := func(send func()) jsonRecord {
		t.Helper()
		for end := time.Now().Add(patience); time.Now().Before(end); {
			send()
			select {
			case r := <-seen:
				return r
			case <-time.After(200 * time.Millisecond):
			}
		}
		t.Fatal("no record")
		return jsonRecord{}
	}
	failed := func() { client.LPush(ctx, "string", "x") }
	r := await(failed)
	kept := "failed"
	if time.Duration(r.Phases["total"]) >= 50*time.Millisecond { // no CPU for so long
		kept = "slow failed"
	}
	if r.Command != "LPUSH" || r.Key != "string" || r.Error != "WRONGTYPE" || strings.Join(r.Kept, " ") != kept {
		t.Errorf("the command that failed: %+v", r)
	}
	const gets = 10
	for range gets {
		client.Get(ctx, "string") // neither, but for one that had no CPU for so long
	}
	var slow jsonRecord
	for slow.Command != "DEBUG" { // the last of those that failed may come first
		slow = await(func() {
			if err := client.Do(ctx, "DEBUG", "SLEEP", "0.05").Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
	if d := time.Duration(slow.Phases["call"]); d < 50*time.Millisecond || strings.Join(slow.Kept, " ") != "slow" {
		t.Errorf("the slow command: %+v", slow)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for range seen {
	}
	var a account
	if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
		t.Fatalf("%v: %s", err, lines.Bytes())
	}
	if a.Commands != a.ServerCommands || a.Spans+a.Filtered != a.Commands || a.Dropped != 0 || a.Spans < 2 || a.Filtered < gets/2 {
		t.Errorf("%+v does not add up", a)
	}
	io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Every command is counted, by name, as the server counts it, and the key that most
// have is found.
func TestTop(t *testing.T) { testTop(t, buildServer(t)) }

func TestTopOfStockServer(t *testing.T) { testTop(t, require.Redis(t)) }

// A redis-server under the name of a server that executes commands in several threads
// is watched as such a one.
func TestRedisAsKeyDB(t *testing.T) {
	p := strconv.Itoa(startServer(t, require.RedisAs(t, "keydb-server")))
	for _, w := range append(works(p), work{"record -p " + p + " -d TIME -o= --by command --folded -", "SET;"}) {
		w.does(t, func(args ...string) (int, string, string) { return runRedscope(t, "", args...) })
	}
}

func testTop(t *testing.T, path string) {
	pid, client := watchedServer(t, path)
	top := startAttached(t, pid, "top", "--json")
	ctx := context.Background()
	before := calls(t, client)
	for i := range 200 {
		pipe := client.Pipeline()
		for j := range 100 {
			pipe.Set(ctx, fmt.Sprint("key", i*j), j, 0)
			pipe.Get(ctx, "hot")
		}
		if _, err := pipe.Exec(ctx); err != nil && err != redis.Nil {
			t.Fatal(err)
		}
	}
	after := calls(t, client)
	out := top.interrupt()
	text, last, ok := strings.Cut(strings.TrimSpace(out), "\n")
	if !ok {
		t.Fatalf("not two lines: %s", out)
	}
	var a account
	var report struct {
		Table []jsonCommand
		Keys  []struct {
			Key   string
			Share float64
		}
	}
	if err := json.Unmarshal([]byte(last), &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatal(err)
	}
	if a.Commands != a.ServerCommands || a.Spans+a.Filtered != a.Commands || a.Dropped != 0 {
		t.Errorf("%+v does not add up", a)
	}
	for _, c := range report.Table {
		// The first reading may have been counted, and what came before it.
		if want := after[c.Command] - before[c.Command]; (c.Command == "SET" || c.Command == "GET") && c.Calls != want {
			t.Errorf("%d calls of %s, the server counts %d", c.Calls, c.Command, want)
		}
		if call := c.Phases["call"]; call.Count != c.Calls || call.P50 > call.P99 || call.Max < call.P99 || call.Max == 0 {
			t.Errorf("%s: %+v", c.Command, call)
		}
	}
	if len(report.Keys) == 0 || report.Keys[0].Key != "hot" || report.Keys[0].Share < 0.3 {
		t.Errorf("the hottest keys: %+v", report.Keys)
	}
	if len(report.Table) < 2 {
		t.Errorf("the table: %+v", report.Table)
	}
}

// A stock redis-server's commands, seen from outside, in a real Jaeger: the tree that
// our server's own spans make.
func TestTraceToJaeger(t *testing.T) {
	const tree = "readQueryFromClient\n  SETEX\n    call\n      setexCommand\n  writeToClient\n"
	for name, c := range map[string]struct{ path, service string }{
		"ours":  {buildServer(t), "server"},
		"stock": {require.Redis(t), "redis-server"},
	} {
		t.Run(name, func(t *testing.T) {
			j := jaeger.Start(t)
			pid, client := watchedServer(t, c.path)
			ctx := context.Background()
			if err := client.Ping(ctx).Err(); err != nil { // whatever comes with a connection
				t.Fatal(err)
			}
			trace := startAttached(t, pid, "trace", "--one-in", "1", "--phases", "--otlp", j.GRPC, "--json")
			for range 3 {
				client.Incr(ctx, "n") // so that both have begun a turn of the loop with somebody looking
			}
			if err := client.Do(ctx, "SETEX", "key", "3600", "x").Err(); err != nil {
				t.Fatal(err)
			}
			client.LPush(ctx, "key", "x")
			client.Ping(ctx) // the turn with the others is over
			out := trace.interrupt()
			var a account
			if err := json.Unmarshal([]byte(out), &a); err != nil || a.Spans < 3 || a.Spans+a.Filtered+a.Dropped != a.ServerCommands {
				t.Fatalf("%v: %s", err, out)
			}
			found := map[string]jaeger.Trace{}
			for _, tr := range j.Traces(t, c.service, int(a.Spans)) {
				for _, s := range tr.Spans {
					found[s.OperationName] = tr
				}
			}
			setex, ok := found["SETEX"]
			if got := setex.Outline(func(jaeger.Span) string { return "" }); !ok || got != tree {
				t.Errorf("the tree of SETEX:\n%s\nwant\n%s", got, tree)
			}
			if lpush, ok := found["LPUSH"]; !ok || !strings.Contains(lpush.Span(t, "LPUSH").Tags.String(), "db.response.status_code=WRONGTYPE\n") {
				t.Errorf("LPUSH: %v", lpush)
			}
		})
	}
}
