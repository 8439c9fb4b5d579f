package bpf

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/require"
)

// keyDB is testdata/keydb, a program with the shape of KeyDB, or a part of it.
type keyDB struct {
	*exec.Cmd
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
}

// keyDBThreads is THREADS in testdata/keydb, and keyDBDepth how many calls are within each other.
const keyDBThreads, keyDBDepth = 4, 2

func startKeyDB(t *testing.T, flags ...string) *keyDB {
	t.Helper()
	needEBPF(t)
	require.Tool(t, "g++")
	path := filepath.Join(t.TempDir(), "server") // not its name tells what it is
	build := exec.Command("g++", append([]string{"-O2", "-rdynamic", "-pthread", "-o", path, "testdata/keydb/server.cpp"}, flags...)...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	k := &keyDB{Cmd: exec.Command(path), t: t}
	k.in, k.out = startPiped(t, k.Cmd)
	k.order("counts") // its executable is its own by now
	return k
}

// order gives an order, and returns the lines of the answer.
func (k *keyDB) order(line string) (answer []string) {
	k.t.Helper()
	if _, err := fmt.Fprintln(k.in, line); err != nil {
		k.t.Fatal(err)
	}
	for {
		line, err := k.out.ReadString('\n')
		if err != nil {
			k.t.Fatalf("%s: %v", line, err)
		}
		if line == "done\n" {
			return answer
		}
		answer = append(answer, line)
	}
}

// counts are what INFO commandstats would say.
func (k *keyDB) counts() (calls, failed map[string]uint64) {
	k.t.Helper()
	calls, failed = map[string]uint64{}, map[string]uint64{}
	for _, line := range k.order("counts") {
		var name string
		var n, no uint64
		if _, err := fmt.Sscan(line, &name, &n, &no); err != nil {
			k.t.Fatal(err)
		}
		calls[name], failed[name] = n, no
	}
	return calls, failed
}

// keyDBCall is a line of the program's log.
type keyDBCall struct {
	thread     int
	client     uint64
	name       string
	begin, end int64
	depth      int
}

// log is what each thread has executed, in the order of the ends.
func (k *keyDB) log() (threads [keyDBThreads][]keyDBCall) {
	k.t.Helper()
	for _, line := range k.order("log") {
		var c keyDBCall
		if _, err := fmt.Sscan(line, &c.thread, &c.client, &c.name, &c.begin, &c.end, &c.depth); err != nil {
			k.t.Fatal(err)
		}
		threads[c.thread] = append(threads[c.thread], c)
	}
	return threads
}

// threadsOf says of each client which thread executes its commands.
func threadsOf(log [keyDBThreads][]keyDBCall) map[uint64]int {
	of := map[uint64]int{}
	for i, calls := range log {
		for _, c := range calls {
			of[c.client] = i
		}
	}
	return of
}

// Several threads execute commands at once: what was seen of each command is what the
// server counted, to the single call.
func TestKeyDBCommandsEqualItsCounts(t *testing.T) {
	turns := 500
	if testing.Short() {
		turns = 100
	}
	for _, flags := range [][]string{{"-g"}, {"-s"}, {"-O3", "-fcf-protection"}} {
		k := startKeyDB(t, flags...)
		for _, opts := range []CommandOptions{
			{},
			{OneIn: 7, Failed: true, Phases: true},
			{Returns: true},
			{SlowerThan: time.Millisecond, Explain: true},
			{Budget: 1},
		} {
			opts.PID = k.Process.Pid
			before, failedBefore := k.counts()
			w := watchCommands(t, opts)
			k.order(fmt.Sprintf("run %d", turns))
			calls, failed := k.counts()
			if err := w.Detach(); err != nil {
				t.Fatal(err)
			}
			totals := w.totals(t)
			if totals.Missed != 0 || totals.Seen != totals.Sent+totals.Filtered+totals.Dropped || totals.Turns != uint64(keyDBThreads*turns) {
				t.Errorf("%q %+v: %+v", flags, opts, totals)
			}
			stats, err := w.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			var sum uint64
			for _, s := range stats {
				name := statsName(s.Name)
				if want, no := calls[name]-before[name], failed[name]-failedBefore[name]; s.Calls != want || s.Failed != no {
					t.Errorf("%q %+v: %s: %d calls, %d failed; want %d, %d", flags, opts, name, s.Calls, s.Failed, want, no)
				}
				sum += s.Calls
			}
			if len(stats) != len(calls) || sum != totals.Seen {
				t.Errorf("%q %+v: %d commands of %d, %d calls of %d", flags, opts, len(stats), len(calls), sum, totals.Seen)
			}
			if totals.Idle != 0 {
				t.Errorf("%q %+v: the first thread's sleep, %v, is taken for that of a loop", flags, opts, totals.Idle)
			}
			w.Close()
		}
	}
}

// Each record is of the thread and the client that executed it: each thread's records
// are what it has executed, one by one, and last at least as long.
func TestKeyDBRecords(t *testing.T) {
	k := startKeyDB(t)
	w := watchCommands(t, CommandOptions{PID: k.Process.Pid, OneIn: 1, Failed: true, Phases: true})
	k.order("run 300")
	threads := map[uint32][]CommandRecord{}
	for _, r := range w.records(t) {
		threads[r.thread] = append(threads[r.thread], r)
	}
	if len(threads) != keyDBThreads {
		t.Fatalf("%d threads", len(threads))
	}
	log := k.log()
	of := threadsOf(log)
	errors := map[string]string{"incr": "WRONGTYPE", "lpush": "ERR", "hset": "NOAUTH"}
	for _, records := range threads {
		want := log[of[records[0].Client]]
		slices.SortStableFunc(records, func(a, b CommandRecord) int { return cmp.Compare(a.End, b.End) })
		if len(records) != len(want) {
			t.Fatalf("%d records of a thread, %d calls; %+v", len(records), len(want), w.totals(t))
		}
		var last int64
		for i, r := range records {
			c := want[i]
			if statsName(r.Name) != c.name || r.Client != c.client || r.nested() != (c.depth > 1) || r.ErrorCode() != errors[c.name] ||
				(r.Flags&probe.CommandBlocked != 0) != (c.name == "blpop") {
				t.Fatalf("record %d: %+v\nwant %+v", i, r, c)
			}
			if r.Start > c.begin || r.End < c.end || r.Wake == 0 || r.Wake > r.Start || r.ReadStart != 0 || !r.nested() && r.Start < last {
				t.Fatalf("record %d: %+v, the command before ended at %d\nwant %+v", i, r, last, c)
			}
			if !r.nested() {
				last = r.End
			}
		}
	}
	limits, err := w.Limits()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"by their functions", "when a command was read and its reply was written is not seen", "errors were answered to commands that were refused"} {
		if !slices.ContainsFunc(limits, func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("%q: no %q", limits, want)
		}
	}
}

// Attached and detached while all threads execute commands, what is seen is between what
// the server counts from after the one to before the other, and from before to after: but
// for the calls under way at either end.
func TestKeyDBAttachedUnderLoad(t *testing.T) {
	k := startKeyDB(t)
	k.order("start")
	const underWay = keyDBThreads * keyDBDepth
	for range 5 {
		least := uint64(10_000)
		outerFrom, _ := k.counts()
		w := watchCommands(t, CommandOptions{PID: k.Process.Pid, OneIn: 100})
		from, _ := k.counts()
		until(t, "commands", func() bool { w.records(t); return w.totals(t).Sent+w.totals(t).Filtered > least })
		to, _ := k.counts()
		if err := w.Detach(); err != nil {
			t.Fatal(err)
		}
		outerTo, _ := k.counts()
		totals := w.totals(t)
		if totals.Missed > underWay || totals.Seen != totals.Sent+totals.Filtered+totals.Dropped {
			t.Errorf("%+v", totals)
		}
		stats, err := w.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stats {
			name := statsName(s.Name)
			if most, few := outerTo[name]-outerFrom[name]+underWay, to[name]-from[name]; s.Calls > most || s.Calls+2*underWay < few {
				t.Errorf("%s: %d calls, want %d to %d", name, s.Calls, few, most)
			}
		}
		if len(stats) != len(to) {
			t.Errorf("%d commands of %d", len(stats), len(to))
		}
		w.Close()
	}
	k.order("stop")
}

// SHUTDOWN leaves call by an exception. With a return probe on call it would end the
// program otherwise.
func TestKeyDBShutsDownWhileWatched(t *testing.T) {
	for _, opts := range []CommandOptions{{}, {Returns: true}, {SlowerThan: time.Millisecond, Explain: true}} {
		k := startKeyDB(t)
		opts.PID = k.Process.Pid
		watchCommands(t, opts)
		k.order("run 1")
		k.order("shutdown")
		if err := k.Wait(); err != nil {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

// No command waits for one of another thread, and what a thread waited for is its own.
func TestKeyDBExplained(t *testing.T) {
	k := startKeyDB(t)
	w := watchCommands(t, CommandOptions{PID: k.Process.Pid, SlowerThan: 1, Explain: true})
	k.order("run 50")
	y := &whyWatch{t: t, w: w}
	list := y.take(true)
	of := threadsOf(k.log())
	if len(list) == 0 {
		t.Fatal("nothing is explained")
	}
	for _, e := range list {
		for _, c := range e.Causes {
			if c.Kind == CauseBehind && of[c.Client] != of[e.Command.Client] || c.Kind == CauseWork {
				t.Errorf("%s of thread %d: %+v of thread %d", e.Command.Name, of[e.Command.Client], c, of[c.Client])
			}
		}
	}
}

// The samples' labels name the commands, each of the threads that execute it.
func TestKeyDBLabels(t *testing.T) {
	k := startKeyDB(t)
	k.order("start")
	by := map[string]map[string]bool{}
	until(t, "samples of all commands", func() bool {
		p, err := StartProfile(ProfileOptions{PID: k.Process.Pid, Frequency: 999, Labels: true})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		profile, err := p.Stop()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range profile.Samples {
			if by[s.Command] == nil {
				by[s.Command] = map[string]bool{}
			}
			by[s.Command][s.Comm] = true
		}
		for _, name := range []string{"GET", "SET", "INCR", "LPUSH", "HSET", "BLPOP"} {
			if by[name] == nil {
				return false
			}
		}
		return true
	})
	k.order("stop")
	for name, threads := range by {
		for thread := range threads {
			// pattern in testdata/keydb says who executes what.
			odd := thread == "server-1" || thread == "server-3"
			if (name == "LPUSH" || name == "EXEC") && !odd || (name == "INCR" || name == "EVAL") && odd {
				t.Errorf("%s is said to be executed by %s", name, thread)
			}
		}
	}
}

// A Redis server under KeyDB's name is watched as a KeyDB server is.
func TestRedisAsKeyDB(t *testing.T) {
	needEBPF(t)
	path := require.RedisAs(t, "keydb-server")
	start := func(t *testing.T) *redisServer { return startRedisServer(t, path, "--save", "") }
	t.Run("under load", func(t *testing.T) { testStockCommandsAddUpUnderLoad(t, start(t), 10_000, 3) })
	t.Run("commandstats", func(t *testing.T) { testStockCommandsEqualCommandstats(t, start(t)) })
	t.Run("bytes", func(t *testing.T) { testStockReplyBytes(t, start(t)) })
	t.Run("blocked", func(t *testing.T) { testStockBlockedClients(t, start(t)) })
	t.Run("explained", func(t *testing.T) {
		s := start(t)
		stop := s.mixedLoad(t)
		defer stop()
		w := watchCommands(t, CommandOptions{PID: s.Process.Pid, SlowerThan: 1, Explain: true})
		y := &whyWatch{t: t, w: w}
		for explained := 0; explained < 1000; explained += len(y.take(false)) {
		}
		if err := w.Detach(); err != nil {
			t.Fatal(err)
		}
		y.take(true)
		if got := w.totals(t); got.Seen != got.Sent+got.Filtered+got.Dropped || got.Missed > 3 {
			t.Errorf("%+v", got)
		}
	})
}
