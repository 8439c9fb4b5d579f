package bpf

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/probe"
)

// A spell of one second in which a process used so much of a processor, and
// watching so much of that.
func second(cpu, share float64) spell {
	used := time.Duration(cpu * float64(time.Second))
	return spell{time.Duration(share * float64(used)), used, time.Second}
}

func TestGovernor(t *testing.T) {
	const budget = 0.02
	// What watching costs a server at each level, while it looks.
	type prices [ShedLevels]float64
	run := func(g *governor, seconds int, cpu float64, p prices) (levels []Shed, share float64) {
		d := decision{g.shed, g.look, steadyPeriod}
		var cost, used float64
		for range seconds {
			s := second(cpu, 0)
			if d.look {
				s = second(cpu, p[d.shed])
			}
			cost += s.cost.Seconds()
			used += s.cpu.Seconds()
			d = g.next(s)
			levels = append(levels, d.shed)
		}
		return levels, cost / used
	}
	dear, middling, cheap := prices{0.05, 0.04, 0.03, 0.04}, prices{0.03, 0.019, 0.015, 0.019}, prices{0.012, 0.01, 0.009, 0.01}

	t.Run("enough", func(t *testing.T) {
		g := newGovernor(budget)
		if levels, share := run(&g, 100, 1, cheap); slices.Max(levels) != ShedNothing || share > budget {
			t.Errorf("%v, %v", levels, share)
		}
	})
	t.Run("phases are enough", func(t *testing.T) {
		g := newGovernor(budget)
		levels, _ := run(&g, 100, 1, middling)
		if slices.ContainsFunc(levels, func(l Shed) bool { return l != ShedPhases }) {
			t.Error(levels)
		}
	})
	t.Run("step by step, then a part of the time", func(t *testing.T) {
		g := newGovernor(budget)
		levels, share := run(&g, 1000, 0.7, dear)
		if !slices.Equal(levels[:3], []Shed{ShedPhases, ShedTimes, ShedTime}) || slices.Min(levels[3:]) != ShedTime {
			t.Error(levels[:10])
		}
		if share > 1.01*budget || share < 0.95*budget {
			t.Errorf("all in all %v", share)
		}
	})
	t.Run("far too dear, at once a part of the time", func(t *testing.T) {
		g := newGovernor(0.001)
		levels, share := run(&g, 10_000, 1, dear)
		if slices.Min(levels) != ShedTime || share > 0.00102 {
			t.Errorf("%v, all in all %v", levels[:3], share)
		}
	})
	t.Run("looks for a second at least", func(t *testing.T) {
		g := newGovernor(budget)
		run(&g, 5, 1, dear)
		for !g.look {
			g.next(spell{0, 250 * time.Millisecond, 250 * time.Millisecond})
		}
		for i := range 4 {
			if d := g.next(spell{50 * time.Millisecond, 250 * time.Millisecond, 250 * time.Millisecond}); d.look != (i < 3) {
				t.Errorf("after %d quarters of a second: %+v", i+1, d)
			}
		}
	})
	t.Run("comes back when it costs less", func(t *testing.T) {
		g := newGovernor(budget)
		run(&g, 20, 1, dear)
		if levels, _ := run(&g, 30, 1, cheap); g.shed != ShedNothing || !g.look {
			t.Error(levels)
		}
	})
	t.Run("comes back at rest", func(t *testing.T) {
		g := newGovernor(0.001)
		run(&g, 5, 1, dear)
		if g.look || g.shed != ShedTime {
			t.Fatalf("%+v", g)
		}
		if levels, _ := run(&g, 4, 0.005, dear); g.shed != ShedNothing || !g.look || g.balance < 0 {
			t.Errorf("%v, %+v", levels, g)
		}
		if levels, _ := run(&g, 1, 1, dear); levels[0] != ShedTime {
			t.Error(levels)
		}
	})
	t.Run("tries seldom what does not last", func(t *testing.T) {
		g := newGovernor(budget)
		// What is left without phases is cheap, and with them it is too dear.
		levels, share := run(&g, 600, 1, prices{0.05, 0.01, 0.01, 0.01})
		tried := 0
		for _, l := range levels {
			if l == ShedNothing {
				tried++
			}
		}
		if tried == 0 || tried > 20 || share > budget {
			t.Errorf("tried %d times, all in all %v", tried, share)
		}
	})
	t.Run("nothing used", func(t *testing.T) {
		g := newGovernor(budget)
		if d := g.next(spell{}); d.shed != ShedNothing || !d.look {
			t.Errorf("%+v", d)
		}
	})
}

func TestCalibrate(t *testing.T) {
	needEBPF(t)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	start := time.Now()
	var classes []Cost
	for _, c := range costOrder {
		if c != CostNop5 || runtime.GOARCH == "amd64" {
			classes = append(classes, c)
		}
	}
	prices, err := calibrate(classes)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v in %v", prices, time.Since(start))
	for _, c := range classes {
		if p := prices[c]; p <= 0 || p > time.Millisecond {
			t.Errorf("%s: %v a hit", c, p)
		}
	}
}

// never is when the budget is looked at where a test decides instead.
var never = time.Now().Add(time.Hour)

// bothServers runs a test with our server and a stock one.
func bothServers(t *testing.T, test func(*testing.T, *redisServer)) {
	t.Run("redscope", func(t *testing.T) { test(t, newRedisServer(t)) })
	t.Run("redis-server", func(t *testing.T) { test(t, newStockServer(t)) })
}

// govern reads records, whereby the budget is kept to, until f holds.
func (w *CommandWatcher) governUntil(t *testing.T, what string, f func(Budget) bool) Budget {
	t.Helper()
	var b Budget
	until(t, what, func() bool {
		w.records(t)
		var err error
		if b, _, err = w.Budget(); err != nil {
			t.Fatal(err)
		}
		return f(b)
	})
	return b
}

// stopLoad ends a redis-benchmark, and waits until the server has done with it.
func (c *respClient) stopLoad(load *exec.Cmd) {
	c.t.Helper()
	load.Process.Kill()
	load.Wait()
	until(c.t, "all others disconnected", func() bool {
		return strings.Contains(c.do("INFO clients"), "connected_clients:1\r")
	})
}

// detachAtRest detaches w and wants everything to be accounted for, as checkSums,
// though not all of it was looked at: from the first call seen, behind so many, to
// the last that the server counts.
func (w *CommandWatcher) detachAtRest(t *testing.T, c *respClient, before uint64) CommandTotals {
	t.Helper()
	calls, _ := c.commandstats() // which this INFO is not among
	end := calls[""] + 1
	if !w.paused() {
		w.afterCalls(t, end)
	}
	if err := w.Detach(); err != nil {
		t.Fatal(err)
	}
	totals := w.totals(t)
	stats, err := w.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var looked uint64
	for _, s := range stats {
		looked += s.Calls + s.Refused
	}
	if totals.Seen != totals.Sent+totals.Filtered+totals.Dropped || totals.Seen != looked+totals.Shed+totals.Missed {
		t.Errorf("%d looked at; %+v", looked, totals)
	}
	if totals.CallsBefore != before || totals.CallsAfter != end || totals.Seen != end-before {
		t.Errorf("%d seen, from call %d to call %d; INFO counts %d, of them %d before", totals.Seen, totals.CallsBefore, totals.CallsAfter, end, before)
	}
	return totals
}

func TestTinyBudget(t *testing.T) {
	bothServers(t, func(t *testing.T, s *redisServer) {
		t.Parallel() // it waits for times to pass
		c := s.dial(t)
		c.do("PING")
		w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 100, Budget: 0.001, Phases: true})
		c.do("PING")
		before := w.afterCalls(t, 1).CallsBefore
		load := s.load(t, "-t", "set,lpush", "-n", "100000000", "-l")
		b := w.governUntil(t, "looking away", func(b Budget) bool { return b.Shed == ShedTime && !b.Looking })
		first, _ := c.commandstats()
		until(t, "commands that nobody looks at", func() bool { now, _ := c.commandstats(); return now[""] > first[""]+10_000 })
		if !testing.Short() {
			c.stopLoad(load)
			w.governUntil(t, "nothing shed at rest", func(b Budget) bool { return b.Shed == ShedNothing && b.Looking })
			c.do("PING")
			load = s.load(t, "-t", "set,lpush", "-n", "100000000", "-l")
			b = w.governUntil(t, "looking away again", func(b Budget) bool { return b.Shed == ShedTime && !b.Looking })
		}
		c.stopLoad(load)
		totals := w.detachAtRest(t, c, before)
		if totals.Shed < 10_000 || totals.Missed != 0 || b.Cost <= 0 || b.Looked <= 0 || b.Commands == 0 {
			t.Errorf("%+v, %+v", totals, b)
		}
		limits, err := w.Limits()
		if err != nil || len(limits) != 0 {
			t.Error(limits, err)
		}
		t.Logf("%+v, %+v", totals, b)
	})
}

func TestLargeBudget(t *testing.T) {
	bothServers(t, func(t *testing.T, s *redisServer) {
		c := s.dial(t)
		c.do("PING")
		w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 100, Budget: 0.9, Phases: true})
		c.do("PING")
		before := w.afterCalls(t, 1).CallsBefore
		load := s.load(t, "-t", "set", "-n", "100000000", "-l")
		w.governUntil(t, "two decisions", func(b Budget) bool { return b.Levels[ShedNothing] > 2*steadyPeriod })
		c.stopLoad(load)
		totals := w.detachAtRest(t, c, before)
		b, governed, err := w.Budget()
		if err != nil || !governed || b.Shed != ShedNothing || b.Levels[ShedNothing] != b.Looked || totals.Shed != 0 || b.Commands != totals.Seen || b.Cost == 0 || b.Cost >= b.CPU {
			t.Errorf("%+v, %+v, %v", b, totals, err)
		}
		t.Logf("%+v, %+v", totals, b)
	})
}

// Looked away from and back to again and again under load, all that the server
// counts is accounted for, to the single command.
func TestPausesAddUp(t *testing.T) {
	bothServers(t, func(t *testing.T, s *redisServer) {
		c := s.dial(t)
		c.do("PING")
		w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 100, Budget: 0.5, Phases: true})
		w.budget.due = never
		c.do("PING")
		before := w.afterCalls(t, 1).CallsBefore
		// EXEC and scripts are more than one call: a look may begin within one.
		stop := s.mixedLoad(t)
		defer stop()
		seen := func(n uint64) {
			t.Helper()
			was := w.totals(t).Seen
			until(t, "commands seen", func() bool { w.records(t); return w.totals(t).Seen >= was+n })
		}
		rounds := 4
		if testing.Short() {
			rounds = 1
		}
		for range rounds {
			for _, shed := range []Shed{ShedTime, ShedNothing, ShedPhases, ShedTimes} {
				seen(500)
				if err := w.shed(decision{shed, false, 0}); err != nil {
					t.Fatal(err)
				}
				calls, _ := c.commandstats()
				until(t, "commands not looked at", func() bool { now, _ := c.commandstats(); return now[""] > calls[""]+500 })
				if err := w.shed(decision{shed, true, 0}); err != nil {
					t.Fatal(err)
				}
			}
		}
		stop()
		if err := w.shed(decision{ShedTime, false, 0}); err != nil { // ends in a pause
			t.Fatal(err)
		}
		c.do("GET")
		if err := w.Detach(); err != nil {
			t.Fatal(err)
		}
		totals := w.totals(t)
		t.Logf("%+v", totals)
		calls, refused := c.commandstats()
		if totals.Seen != totals.Sent+totals.Filtered+totals.Dropped || totals.CallsBefore != before || totals.CallsAfter != calls[""] {
			t.Errorf("%+v; %d to %d calls", totals, before, calls[""])
		}
		if pauses := uint64(4 * rounds); totals.Shed < pauses*500 || totals.Missed > 3*pauses {
			t.Errorf("%+v", totals)
		}
		limits, err := w.Limits()
		if err != nil {
			t.Fatal(err)
		}
		if w.ours() {
			// It counts refused commands too, of which INFO knows those of commands that exist.
			if totals.Missed != 0 || len(limits) != 0 || totals.Seen < calls[""]-before+refused[""] {
				t.Errorf("%+v; %q", totals, limits)
			}
		} else if len(limits) == 0 || !strings.Contains(strings.Join(limits, "\n"), "errors were answered while nobody looked") {
			t.Errorf("%q", limits)
		}
	})
}

func (w *CommandWatcher) ours() bool { _, is := w.source.(*turnSource); return is }

// A reset of the server's counts while nobody looks is said, and what was seen
// still adds up.
func TestCountsAreResetInAPause(t *testing.T) {
	bothServers(t, func(t *testing.T, s *redisServer) {
		c := s.dial(t)
		for range 100 {
			c.do("PING")
		}
		w := watchCommands(t, CommandOptions{PID: s.Process.Pid, Budget: 0.5})
		w.budget.due = never
		look := func(on bool) {
			t.Helper()
			if err := w.shed(decision{ShedTime, on, 0}); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			c.do("PING")
		}
		until(t, "ten commands", func() bool { return w.totals(t).Seen >= 9 })
		look(false)
		c.do("CONFIG RESETSTAT")
		look(true)
		for range 10 {
			c.do("PING")
		}
		until(t, "twenty commands", func() bool { return w.totals(t).Seen >= 18 })
		if err := w.Detach(); err != nil {
			t.Fatal(err)
		}
		totals := w.totals(t)
		if totals.Seen != totals.Sent+totals.Filtered+totals.Dropped || totals.Seen > 22 || totals.Shed > 3 {
			t.Errorf("%+v", totals)
		}
		limits, err := w.Limits()
		if err != nil || len(limits) != 1 || !strings.Contains(limits[0], "counts were reset while nobody looked, 1 times") {
			t.Errorf("%q %v", limits, err)
		}
	})
}

// What is shed is not there, and comes back.
func TestShed(t *testing.T) {
	bothServers(t, func(t *testing.T, s *redisServer) {
		c := s.dial(t)
		w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1, Budget: 1, Phases: true})
		w.budget.due = never
		c.do("PING")
		w.afterCalls(t, 1)
		const n = 64
		counts := func() CommandStats {
			t.Helper()
			stats, err := w.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(stats, func(s CommandStats) bool { return s.Name == "GET" })
			if i < 0 {
				return CommandStats{}
			}
			return stats[i]
		}
		for _, step := range []struct {
			shed                    Shed
			calls, phases, sentOnes uint64
		}{
			{ShedNothing, n, n, n}, {ShedPhases, n, 0, n}, {ShedTimes, 0, 0, n / 16}, {ShedTime, n, 0, n / 16}, {ShedNothing, n, n, n},
		} {
			if err := w.shed(decision{step.shed, true, 0}); err != nil {
				t.Fatal(err)
			}
			for range 20 { // the turns behind these are as they shall be
				c.do("PING")
			}
			was, before := counts(), w.totals(t)
			for range n {
				c.do("GET key")
			}
			until(t, "all calls", func() bool { return counts().Calls == was.Calls+n })
			now, after := counts(), w.totals(t)
			if got := now.Phases[PhaseCall].Count() - was.Phases[PhaseCall].Count(); got != step.calls {
				t.Errorf("level %d: %d times of calls, want %d", step.shed, got, step.calls)
			}
			if got := now.Phases[PhaseTotal].Count() - was.Phases[PhaseTotal].Count(); got != step.calls {
				t.Errorf("level %d: %d times in total, want %d", step.shed, got, step.calls)
			}
			if got := now.Phases[PhaseWait].Count() - was.Phases[PhaseWait].Count(); got != step.phases {
				t.Errorf("level %d: %d times of the phase wait, want %d", step.shed, got, step.phases)
			}
			if got := now.Phases[PhaseWrite].Count() - was.Phases[PhaseWrite].Count(); got != step.phases {
				t.Errorf("level %d: %d times of the phase write, want %d", step.shed, got, step.phases)
			}
			if got := after.Sent - before.Sent; got > step.sentOnes+2 || got+2 < step.sentOnes {
				t.Errorf("level %d: %d records, want %d or so", step.shed, got, step.sentOnes)
			}
		}
		for _, r := range w.records(t) {
			if d, known := r.Phase(PhaseTotal); known && d > patience {
				t.Errorf("%v for %s: from a turn long ago", d, r.Name)
			}
		}
	})
}

// A watcher that keeps to a budget and is killed leaves nothing behind, whatever
// it was about to do.
func TestKilledInItsBudgetLeavesNothing(t *testing.T) {
	bothServers(t, func(t *testing.T, s *redisServer) {
		c := s.dial(t)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		site := s.probed(t)
		clean := site()
		s.load(t, "-t", "set", "-n", "100000000", "-l")
		times := 3
		if testing.Short() {
			times = 1
		}
		for range times {
			watcher := exec.Command(self)
			watcher.Env = append(os.Environ(), helperEnv+"=pauses "+strconv.Itoa(s.Process.Pid))
			stdout, err := watcher.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := watcher.Start(); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(stdout)
			for range 2 { // pauses
				if line, _ := in.ReadString('\n'); line != "looking\n" {
					t.Errorf("the watcher said %q", line)
				}
			}
			until(t, "probe seen", func() bool { return !bytes.Equal(site(), clean) })
			killed(t, watcher, func() bool { return bytes.Equal(site(), clean) }, func() {
				watchCommands(t, CommandOptions{PID: s.Process.Pid}).Close()
			})
		}
		if got := c.do("PING"); got != "+PONG" {
			t.Errorf("reply %q", got)
		}
	})
}

// probed returns what reads the code at the place of a probe on commands.
func (s *redisServer) probed(t *testing.T) func() []byte {
	t.Helper()
	target, err := openProcess(s.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.close)
	exe, err := target.main()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(exe.close)
	bias, err := target.bias(exe)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(target.path("mem"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	name := "call"
	if exe.isGo() {
		i := slices.IndexFunc(probe.Markers, func(m probe.Marker) bool { return m.Name == "loop_turn" })
		name = probe.Markers[i].Symbol
	}
	sym, err := exe.lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	addr := exe.function(sym).Site.Addr + bias
	return func() []byte {
		code := make([]byte, 5)
		if _, err := mem.ReadAt(code, int64(addr)); err != nil {
			t.Fatal(err)
		}
		return code
	}
}
