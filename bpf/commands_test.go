package bpf

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/port"
	"github.com/redscope/redscope/internal/require"
)

// redisServer is a server that was started, ours unless it says otherwise.
type redisServer struct {
	*exec.Cmd
	port string
}

var buildServer = sync.OnceValues(func() (string, error) {
	if _, err := buildSpin(); err != nil { // makes spinDir
		return "", err
	}
	path := filepath.Join(spinDir, "server")
	return path, buildServerAt(path)
})

func buildServerAt(path string) error {
	build := exec.Command("go", "build", "-o", path, "../cmd/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // also with the race detector
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func newRedisServer(t testing.TB) *redisServer {
	t.Helper()
	needEBPF(t)
	require.Tool(t, "go")
	path, err := buildServer()
	if err != nil {
		t.Fatal(err)
	}
	return startRedisServer(t, path)
}

// unixSocket is in the server's folder.
const unixSocket = "redis.sock"

func startRedisServer(t testing.TB, path string, args ...string) *redisServer {
	t.Helper()
	s := &redisServer{port: strconv.Itoa(port.Free(t))}
	s.Cmd = exec.Command(path, append([]string{"--port", s.port, "--unixsocket", unixSocket, "--enable-debug-command", "yes"}, args...)...)
	s.Dir = t.TempDir()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill(); s.Wait() })
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			conn.Close()
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// respClient is a connection that is spoken to in inline commands.
type respClient struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func (s *redisServer) dial(t testing.TB) *respClient {
	t.Helper()
	return s.dialBy(t, "tcp")
}

// dialBy connects by "tcp" or "unix".
func (s *redisServer) dialBy(t testing.TB, network string) *respClient {
	t.Helper()
	address := "127.0.0.1:" + s.port
	if network == "unix" {
		address = filepath.Join(s.Dir, unixSocket)
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &respClient{t, conn, bufio.NewReader(conn)}
}

// do sends a line and returns the first line of the reply, or the whole of a bulk.
func (c *respClient) do(line string) string {
	c.t.Helper()
	c.send(line)
	return c.reply()
}

func (c *respClient) send(line string) {
	c.t.Helper()
	if _, err := fmt.Fprint(c, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *respClient) reply() string {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	line = strings.TrimRight(line, "\r\n")
	if n, err := strconv.Atoi(strings.TrimPrefix(line, "$")); line[0] == '$' && err == nil && n >= 0 {
		bulk := make([]byte, n+2)
		if _, err := io.ReadFull(c.in, bulk); err != nil {
			c.t.Fatal(err)
		}
		return string(bulk[:n])
	}
	return line
}

// commandstats returns the calls and the refused calls of all commands, by the
// names that INFO gives them, and their sums under "".
func (c *respClient) commandstats() (calls, refused map[string]uint64) {
	c.t.Helper()
	calls, refused = map[string]uint64{}, map[string]uint64{}
	for line := range strings.Lines(c.do("INFO commandstats")) {
		name, rest, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "cmdstat_")), ":calls=")
		if !ok {
			continue
		}
		var n, no uint64
		fmt.Sscanf(rest, "%d", &n)
		_, rest, _ = strings.Cut(rest, "rejected_calls=")
		fmt.Sscanf(rest, "%d", &no)
		calls[name], refused[name] = n, no
		calls[""] += n
		refused[""] += no
	}
	return calls, refused
}

func watchCommands(t testing.TB, opts CommandOptions) *CommandWatcher {
	t.Helper()
	w, err := StartCommandWatcher(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func (w *CommandWatcher) totals(t testing.TB) CommandTotals {
	t.Helper()
	totals, err := w.Totals()
	if err != nil {
		t.Fatal(err)
	}
	return totals
}

// statsName is the name of a command as INFO commandstats has it.
func statsName(name string) string { return strings.ToLower(strings.Replace(name, " ", "|", 1)) }

func TestCommandRecordIsOneInCAndGo(t *testing.T) {
	c, g := reflect.TypeFor[turnCommand](), reflect.TypeFor[probe.Command]()
	if c.Size() != g.Size() {
		t.Errorf("%d bytes in C, %d in Go", c.Size(), g.Size())
	}
	for i := range g.NumField() {
		f := g.Field(i)
		in, ok := c.FieldByName(f.Name)
		if !ok || in.Offset != f.Offset || in.Type.Size() != f.Type.Size() {
			t.Errorf("%s is at %d in Go, at %d in C (%t)", f.Name, f.Offset, in.Offset, ok)
		}
	}
}

// afterCalls waits until the server has passed its records up to so many calls of
// INFO commandstats.
func (w *CommandWatcher) afterCalls(t testing.TB, calls uint64) CommandTotals {
	t.Helper()
	var totals CommandTotals
	until(t, fmt.Sprintf("commands seen up to call %d", calls), func() bool {
		totals = w.totals(t)
		return totals.CallsAfter >= calls
	})
	return totals
}

// checkSums wants everything to be accounted for once w is detached, and returns
// the totals and what was seen of each command, by INFO's names.
func (w *CommandWatcher) checkSums(t testing.TB) (CommandTotals, map[string]CommandStats) {
	t.Helper()
	totals := w.totals(t)
	if totals.Seen != totals.Sent+totals.Filtered+totals.Dropped || totals.Missed != 0 {
		t.Errorf("%d seen, but %d sent, %d filtered, %d dropped, %d missed", totals.Seen, totals.Sent, totals.Filtered, totals.Dropped, int64(totals.Missed))
	}
	stats, err := w.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var calls, refused uint64
	all := map[string]CommandStats{}
	for _, s := range stats {
		all[statsName(s.Name)] = s
		calls += s.Calls
		refused += s.Refused
		for p, h := range s.Phases {
			if most := s.Calls; h.Count() > most || Phase(p) == PhaseCall && h.Count() != most {
				t.Errorf("%s: %d times of the phase %v, %d calls", s.Name, h.Count(), Phase(p), s.Calls)
			}
		}
	}
	if want := totals.CallsAfter - totals.CallsBefore; calls != want || calls+refused != totals.Seen {
		t.Errorf("%d calls and %d refused counted; want %d calls, %d in all", calls, refused, want, totals.Seen)
	}
	return totals, all
}

// load begins a redis-benchmark, which the caller waits for or kills.
func (s *redisServer) load(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	require.Tool(t, "redis")
	cmd := exec.Command("redis-benchmark", append([]string{"-p", s.port, "-c", "50", "-r", "100000", "-q"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

// until waits until f holds.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v, still not: %s", patience, what)
		}
	}
}

// The loop sleeps when nothing is asked, and is awake for as long as its commands take.
func TestIdle(t *testing.T) {
	both(t, func(t *testing.T, s *redisServer) {
		c := s.dial(t)
		c.prepareLong(3000)
		w := watchCommands(t, CommandOptions{PID: s.Process.Pid})
		idle := func() time.Duration {
			c.do("PING") // the end of the sleep is told with it
			return w.totals(t).Idle
		}
		begin, before := time.Now(), idle()
		time.Sleep(500 * time.Millisecond)
		if slept, most := idle()-before, time.Since(begin); slept < 50*time.Millisecond || slept > most {
			t.Errorf("the loop slept %v of %v in which nothing was asked", slept, most)
		}
		begin, before = time.Now(), idle()
		var called time.Duration
		until(t, "a second's commands", func() bool {
			c.do(long)
			called = 0
			stats, err := w.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			for _, stats := range stats {
				called += stats.Phases[PhaseCall].Sum
			}
			return called > time.Second
		})
		slept := idle() - before
		if awake := time.Since(begin) - slept; awake < called*9/10 { // no sleep is beyond the time
			t.Errorf("the loop was awake for %v, its commands took %v", awake, called)
		}
	})
}

// Every command counts, to the single one, also when the watcher comes and goes
// in the middle.
func TestCommandsAreCounted(t *testing.T) {
	for _, test := range []struct {
		pipeline string
		commands uint64 // at least
		opts     CommandOptions
	}{
		{"1", 100_000, CommandOptions{OneIn: 100, Failed: true}},
		{"16", 1_000_000, CommandOptions{OneIn: 7, SlowerThan: time.Millisecond}},
		{"16", 300_000, CommandOptions{OneIn: 1}}, // more than the ring holds, and nobody reads it
	} {
		t.Run(fmt.Sprintf("P%s one in %d", test.pipeline, test.opts.OneIn), func(t *testing.T) {
			s := newRedisServer(t)
			c := s.dial(t)
			test.opts.PID = s.Process.Pid
			load := func() *exec.Cmd {
				return s.load(t, "-t", "set", "-P", test.pipeline, "-n", "1000000", "-l")
			}
			executed := func(least uint64) {
				t.Helper()
				until(t, fmt.Sprintf("%d calls of SET", least), func() bool {
					calls, _ := c.commandstats()
					return calls["set"] >= least
				})
			}
			end := func(load *exec.Cmd) {
				t.Helper()
				load.Process.Kill()
				load.Wait()
				until(t, "all others disconnected", func() bool {
					return strings.Contains(c.do("INFO clients"), "connected_clients:1\r")
				})
			}

			// Attached in the middle, to the end.
			benchmark := load()
			executed(1000)
			before, _ := c.commandstats()
			w := watchCommands(t, test.opts)
			attached, _ := c.commandstats() // a busy machine takes its time to attach
			executed(attached["set"] + test.commands)
			end(benchmark)
			after, _ := c.commandstats()
			w.afterCalls(t, after[""]+1)
			w.Detach()
			totals, seen := w.checkSums(t)
			// Nothing follows, so what was seen ends with this INFO, which INFO does
			// not count yet. What precedes is the server's own count, which came
			// with the first records.
			if totals.CallsAfter != after[""]+1 {
				t.Errorf("seen up to call %d, INFO counts %d", totals.CallsAfter, after[""]+1)
			}
			if totals.CallsBefore < before[""] {
				t.Errorf("seen from call %d on, but %d came before", totals.CallsBefore, before[""])
			}
			if got, most := seen["set"].Calls, after["set"]-before["set"]; got == 0 || got > most {
				t.Errorf("%d calls of SET seen, at most %d happened", got, most)
			}
			t.Logf("%+v", totals)
			w.Close()

			// Attached before, to the middle; and a second one to the end, which
			// must agree with INFO.
			before, _ = c.commandstats()
			w = watchCommands(t, test.opts)
			whole := watchCommands(t, test.opts)
			c.do("PING") // the turn behind this is watched
			benchmark = load()
			executed(before["set"] + test.commands/2)
			w.Detach()
			middle, _ := c.commandstats()
			executed(middle["set"] + test.commands/2)
			end(benchmark)
			after, _ = c.commandstats()
			whole.afterCalls(t, after[""]+1)
			whole.Detach()
			totals, seen = w.checkSums(t)
			if got, most := seen["set"].Calls, middle["set"]-before["set"]; got == 0 || got > most || totals.CallsAfter > middle[""] {
				t.Errorf("%d calls of SET seen, at most %d happened; seen up to call %d of %d", got, most, totals.CallsAfter, middle[""])
			}
			totals, seen = whole.checkSums(t)
			if got, want := seen["set"].Calls, after["set"]-before["set"]; got != want {
				t.Errorf("%d calls of SET seen, INFO counts %d", got, want)
			}
			if test.opts.OneIn == 1 && totals.Dropped == 0 {
				t.Errorf("the ring never ran full: %+v", totals)
			}
			if n := test.opts.OneIn; test.opts.Failed && totals.Sent != (totals.Seen+n-1)/n {
				t.Errorf("%d records of %d commands, one in %d", totals.Sent, totals.Seen, n)
			}
			t.Logf("%+v", totals)
		})
	}
}

// records reads all records that are there.
func (w *CommandWatcher) records(t testing.TB) []CommandRecord {
	t.Helper()
	var all []CommandRecord
	if err := w.Drain(func(r *CommandRecord) { all = append(all, *r) }); err != nil && err != ErrExited {
		t.Fatal(err)
	}
	return all
}

func TestFailedCommandsAreKept(t *testing.T) {
	s := newRedisServer(t)
	c := s.dial(t)
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, Failed: true})
	c.do("PING") // the turn behind this is watched
	c.do("SET key value")
	c.do("LPUSH key x")
	c.do("GET")
	c.do("NONSENSE")
	c.do("INCRBY a-key-that-is-longer-than-a-record-has-room-for nonsense")
	c.do("CLIENT REPLY SKIP\r\nINCR key\r\nCLIENT REPLY OFF\r\nLPOP key\r\nGET key\r\nCLIENT REPLY ON")
	calls, _ := c.commandstats()
	w.afterCalls(t, calls[""]+1)
	w.Detach()
	_, seen := w.checkSums(t)

	type failure struct {
		name, code, key string
		refused         bool
		written         bool
	}
	want := []failure{
		{"LPUSH", "WRONGTYPE", "key", false, true},
		{"GET", "ERR", "", true, true},
		{"", "ERR", "", true, true},
		{"INCRBY", "ERR", "a-key-that-is-longer-than-a-reco", false, true},
		{"INCR", "ERR", "key", false, false},
		{"LPOP", "WRONGTYPE", "key", false, false},
	}
	var got []failure
	for _, r := range w.records(t) {
		_, written := r.Phase(PhaseWrite)
		got = append(got, failure{r.Name, r.ErrorCode(), string(r.FirstKey()), r.Flags&probe.CommandRefused != 0, written})
		if !r.Failed || r.Slow || r.Sampled {
			t.Errorf("%s was kept for another reason: %+v", r.Name, r)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if s := seen["get"]; s.Calls != 1 || s.Refused != 1 || s.Failed != 0 {
		t.Errorf("GET: %d calls, %d refused, %d failed", s.Calls, s.Refused, s.Failed)
	}
	if s := seen[""]; s.Calls != 0 || s.Refused != 1 {
		t.Errorf("unknown commands: %d calls, %d refused", s.Calls, s.Refused)
	}
	if s := seen["lpush"]; s.Failed != 1 || s.ReplyBytes != uint64(len("-WRONGTYPE Operation against a key holding the wrong kind of value\r\n")) {
		t.Errorf("LPUSH: %d failed, %d bytes", s.Failed, s.ReplyBytes)
	}
}

// A command that holds up the loop is found as slow in its call, and the others
// of its turn as slow because they waited: behind it, or with their replies.
func TestSlowCommand(t *testing.T) {
	s := newRedisServer(t)
	var clients []*respClient
	for range 10 {
		clients = append(clients, s.dial(t))
		clients[len(clients)-1].do("PING")
	}
	const pause = 50 * time.Millisecond
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, SlowerThan: pause})
	clients[0].do("PING") // the turn behind this is watched
	// Commands gather while the server is stopped, and are ready at once. The one
	// in their middle is a pipeline with a pause in it.
	if err := s.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "server stopped", func() bool {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Process.Pid))
		return strings.Contains(string(status), "State:\tT")
	})
	for i, c := range clients {
		if i == 5 {
			c.send("GET first\r\nDEBUG SLEEP 0.05\r\nGET second")
		} else {
			c.send("GET key")
		}
	}
	if err := s.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for i, c := range clients {
		c.reply()
		if i == 5 {
			c.reply()
			c.reply()
		}
	}
	calls, _ := clients[0].commandstats()
	w.afterCalls(t, calls[""]+1)
	w.Detach()
	w.checkSums(t)
	records := w.records(t)
	at := slices.IndexFunc(records, func(r CommandRecord) bool { return r.Name == "DEBUG" && r.Batch == 1 })
	if at < 0 || records[at].Args != 3 {
		t.Fatalf("the pause in the pipeline is not among %+v", records)
	}
	slow := records[at]
	if d, _ := slow.Phase(PhaseCall); d < pause {
		t.Errorf("the pause took %v", d)
	}
	phases := func(r CommandRecord) (sum, total time.Duration) {
		for p := range PhaseTotal {
			d, known := r.Phase(p)
			if !known {
				t.Errorf("%s: the phase %v is not known", r.Name, p)
			}
			sum += d
		}
		total, _ = r.Phase(PhaseTotal)
		return sum, total
	}
	if sum, total := phases(slow); sum != total {
		t.Errorf("its phases make %v, the total is %v", sum, total)
	}
	behind, held, queued := 0, 0, 0
	for _, r := range records {
		if r.Wake != slow.Wake || r.Start == slow.Start {
			continue
		}
		if sum, total := phases(r); sum != total || total < pause || !r.Slow {
			t.Errorf("%s: its phases make %v, the total is %v", r.Name, sum, total)
		}
		wait, _ := r.Phase(PhaseWait)
		hold, _ := r.Phase(PhaseHold)
		queue, _ := r.Phase(PhaseQueue)
		switch {
		case queue >= pause && r.Client == slow.Client && r.Batch == 2:
			queued++
		case hold >= pause && r.Start < slow.Start:
			held++
		case wait >= pause && r.Start > slow.Start:
			behind++
		default:
			t.Errorf("%s of client %d, %v in wait, %v in queue, %v in hold", r.Name, r.Client, wait, queue, hold)
		}
	}
	if queued != 1 || behind+held != 10 {
		t.Errorf("%d waited behind it in the pipeline, %d in other clients; %d replies were held back", queued, behind, held)
	}
}

// What the histograms say must be what the records say.
func TestHistogramsAgreeWithRecords(t *testing.T) {
	s := newRedisServer(t)
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1})
	if err := s.load(t, "-t", "set,lpush", "-P", "4", "-n", "20000").Wait(); err != nil {
		t.Fatal(err)
	}
	calls, _ := s.dial(t).commandstats()
	w.afterCalls(t, calls[""]+1)
	w.Detach()
	totals, seen := w.checkSums(t)
	records := w.records(t)
	if totals.Dropped != 0 || uint64(len(records)) != totals.Sent {
		t.Fatalf("%d records; %+v", len(records), totals)
	}
	for _, name := range []string{"set", "lpush"} {
		for p := range Phase(PhaseCount) {
			var all []time.Duration
			var sum time.Duration
			for _, r := range records {
				if d, known := r.Phase(p); known && statsName(r.Name) == name {
					all = append(all, d)
					sum += d
				}
			}
			slices.Sort(all)
			h := seen[name].Phases[p]
			if h.Count() != uint64(len(all)) || h.Sum != sum || len(all) == 0 {
				t.Fatalf("%s, %v: %d of together %v, the records have %d of together %v", name, p, h.Count(), h.Sum, len(all), sum)
			}
			for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
				got, want := h.Quantile(q), all[max(1, int(math.Ceil(q*float64(len(all)))))-1]
				if diff := max(got-want, want-got); diff*100 > want {
					t.Errorf("%s, %v: the %v quantile is %v, of the records %v", name, p, q, got, want)
				}
			}
		}
	}
}

// A command beyond those that there are histograms for has counts.
func TestMoreCommandsThanHistograms(t *testing.T) {
	s := newRedisServer(t)
	c := s.dial(t)
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, Histograms: 2, SlowerThan: 1})
	c.do("PING") // the turn behind this is watched
	for _, command := range []string{"SET key value", "GET key", "DEL key", "GET key", "DEL key"} {
		c.do(command)
	}
	calls, _ := c.commandstats()
	w.afterCalls(t, calls[""]+1)
	w.Detach()
	stats, err := w.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	timed := 0
	for _, s := range stats {
		if n := s.Phases[PhaseTotal].Count(); n == s.Calls {
			timed++
		} else if n != 0 || s.Calls != calls[statsName(s.Name)] && s.Name != "INFO" {
			t.Errorf("%s: %d calls, %d times; INFO counts %d calls", s.Name, s.Calls, n, calls[statsName(s.Name)])
		}
	}
	if timed != 2 || len(stats) < 4 {
		t.Errorf("%d of %d commands have histograms", timed, len(stats))
	}
	if totals := w.totals(t); totals.Sent != totals.Seen {
		t.Errorf("not all were slower than a nanosecond: %+v", totals)
	}
}

func TestBlockedCommandsAreRecordedOnce(t *testing.T) {
	s := newRedisServer(t)
	waiting, other, ended, c := s.dial(t), s.dial(t), s.dial(t), s.dial(t)
	waiting.do("PING")
	id := other.do("CLIENT ID")
	ended.do("PING")
	// One waits already when the watcher comes.
	waiting.send("BLPOP queue 0")
	blocked := func(n string) {
		t.Helper()
		until(t, n+" blocked clients", func() bool {
			return strings.Contains(c.do("INFO clients"), "blocked_clients:"+n+"\r")
		})
	}
	blocked("1")
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1})
	c.do("PING") // the turn behind this is watched
	other.send("BLPOP other 0")
	ended.send("BLPOP third 0.001")
	ended.reply()
	blocked("2")
	const pause = 500 * time.Millisecond
	time.Sleep(pause)
	c.do("RPUSH queue x y")
	waiting.reply()
	c.do("CLIENT UNBLOCK " + strings.TrimPrefix(id, ":") + " ERROR")
	if reply := other.reply(); !strings.HasPrefix(reply, "-UNBLOCKED") {
		t.Errorf("reply %q", reply)
	}
	calls, _ := c.commandstats()
	w.afterCalls(t, calls[""]+1)
	w.Detach()
	_, seen := w.checkSums(t)
	if got, want := seen["blpop"].Calls, calls["blpop"]; got != want || want != 3 {
		t.Errorf("%d calls of BLPOP seen, INFO counts %d", got, want)
	}
	var keys []string
	for _, r := range w.records(t) {
		switch {
		case r.Name == "CLIENT UNBLOCK" && r.ReplyBytes != 4:
			t.Errorf("%d bytes of reply to CLIENT UNBLOCK", r.ReplyBytes)
		case r.Name != "BLPOP":
			continue
		}
		keys = append(keys, string(r.FirstKey())+" "+r.ErrorCode())
		if d, _ := r.Phase(PhaseTotal); r.Flags&probe.CommandBlocked == 0 || d >= pause {
			t.Errorf("the wait is in its time: %v, flags %x", d, r.Flags)
		}
	}
	if want := []string{"third ", "queue ", "other UNBLOCKED"}; !slices.Equal(keys, want) {
		t.Errorf("BLPOP of %q, want %q", keys, want)
	}
}

func TestServerExitsWhileCommandsAreWatched(t *testing.T) {
	s := newRedisServer(t)
	c := s.dial(t)
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1})
	c.do("PING") // the turn behind this is watched
	for range 10 {
		c.do("SET key value")
	}
	c.send("SHUTDOWN NOSAVE")
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	n := 0
	if err := w.Drain(func(*CommandRecord) { n++ }); err != ErrExited {
		t.Errorf("error %v, want ErrExited", err)
	}
	w.Detach()
	totals, seen := w.checkSums(t)
	if seen["set"].Calls != 10 || seen["shutdown"].Calls != 1 || uint64(n) != totals.Seen {
		t.Errorf("%d records, %+v; %d SET and %d SHUTDOWN", n, totals, seen["set"].Calls, seen["shutdown"].Calls)
	}
	if _, err := StartCommandWatcher(CommandOptions{PID: s.Process.Pid}); err == nil {
		t.Error("no error for a process that is gone")
	}
}

func TestWatchCommandsOfAnotherProgram(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t)) // has the marker, but no commands
	if _, err := StartCommandWatcher(CommandOptions{PID: spin.Process.Pid}); err == nil || !strings.Contains(err.Error(), "not a redscope server") {
		t.Errorf("error %v", err)
	}
}

// A watcher killed by SIGKILL leaves nothing behind, and the server goes on.
func TestKilledCommandWatcherLeavesNothing(t *testing.T) {
	s := newRedisServer(t)
	c := s.dial(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	watcher := exec.Command(self)
	watcher.Env = append(os.Environ(), helperEnv+"=commands "+strconv.Itoa(s.Process.Pid))
	stdout, err := watcher.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	i := slices.IndexFunc(probe.Markers, func(m probe.Marker) bool { return m.Name == "loop_turn" })
	attached := semaphore(t, target{Cmd: s.Cmd}, probe.Markers[i])
	if line != "watching\n" || attached != 1 {
		t.Errorf("the watcher said %q, semaphore %d", line, attached)
	}
	killed(t, watcher, func() bool { return semaphore(t, target{Cmd: s.Cmd}, probe.Markers[i]) == 0 }, func() {
		watchCommands(t, CommandOptions{PID: s.Process.Pid}).Close()
	})
	if got := c.do("PING"); got != "+PONG" {
		t.Errorf("reply %q", got)
	}
}

func TestHistogram(t *testing.T) {
	h := func(sum time.Duration, steps ...int) Histogram {
		counts := make([]uint64, 2048)
		for _, i := range steps {
			counts[i]++
		}
		return Histogram{sum, counts}
	}
	// A step's number by c/commands.h, and its middle.
	for step, middle := range map[int]time.Duration{0: 0, 63: 63, 64: 64, 127: 127, 128: 128, 129: 130, 192: 257, 2047: 1<<37 - 1<<29 - 1} {
		if got := h(0, step).Quantile(0.5); got != middle {
			t.Errorf("the middle of step %d is %d, want %d", step, got, middle)
		}
	}
	if got := (Histogram{}).Quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	a, b := h(30, 10, 20), h(60, 10, 20, 30)
	if d := b.Sub(a); d.Count() != 1 || d.Sum != 30 || d.Quantile(1) != 30 {
		t.Errorf("%d of together %v", d.Count(), d.Sum)
	}
	if d := b.Sub(Histogram{}).Add(a); d.Count() != 5 || d.Sum != 90 || b.Count() != 3 {
		t.Errorf("%d of together %v", d.Count(), d.Sum)
	}
	if d := (Histogram{}).Add(a); d.Count() != 2 || d.Quantile(0.5) != 10 {
		t.Errorf("%d, half of them up to %v", d.Count(), d.Quantile(0.5))
	}
	if got, want := h(0, 63, 128, 129, 129).Steps(), []Step{{63, 64, 1}, {128, 130, 1}, {130, 132, 2}}; !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
	for i := range 2047 { // each step ends where the next begins
		_, end := stepBounds(i)
		if begin, _ := stepBounds(i + 1); begin != end {
			t.Errorf("step %d ends at %d, the next begins at %d", i, end, begin)
		}
	}
}
