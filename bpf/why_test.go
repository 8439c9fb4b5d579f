package bpf

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/probe"
)

// command makes a record that took no time but for its call.
func command(name string, client uint64, wake, start, end int64) CommandRecord {
	return CommandRecord{Name: name, Command: probe.Command{
		Client: client, Wake: wake, ReadStart: start, ReadEnd: start, Parsed: start, Start: start, End: end, Args: 1, ReplyBytes: 5,
	}}
}

// shared is causes in short: "behind KEYS of 7: 100".
func shared(causes []Cause) []string {
	var list []string
	for _, c := range causes {
		s := strings.TrimSpace(string(c.Kind) + " " + c.What)
		if c.Kind == CauseBehind {
			s += fmt.Sprintf(" of %d (%d, %q)", c.Client, c.Commands, c.Key)
		}
		if c.Amount > 0 {
			s += fmt.Sprintf(" (%d)", c.Amount)
		}
		s += fmt.Sprintf(": %d", c.Time)
		if c.Blocked > 0 {
			s += fmt.Sprintf(", %d in %s", c.Blocked, c.Function)
		}
		list = append(list, s)
	}
	return list
}

func TestCauses(t *testing.T) {
	key := func(r CommandRecord, key string) CommandRecord {
		r.KeyLen = uint32(copy(r.Key[:], key))
		return r
	}
	asleep := blocked{"sleep", "do_nanosleep"}
	for _, test := range []struct {
		name   string
		before turn
		turn   turn
		waits  []wait
		works  []work
		want   []string // of each that took 1000 ns
	}{
		{
			"in its socket while another was served, then without a CPU",
			turn{records: []CommandRecord{key(command("KEYS", 7, 1000, 1100, 5000), "*")}},
			turn{records: []CommandRecord{func() CommandRecord {
				r := command("GET", 8, 5900, 6000, 6100)
				r.Arrived = 2000
				return r
			}()}},
			[]wait{{since: 5200, woken: 5200, back: 5700, cpuHad: "bash"}},
			nil,
			[]string{`behind KEYS of 7 (1, "*"): 3000; queue bash: 500; unknown: 500; own call: 100`},
		},
		{
			"replies of the turn before",
			turn{records: []CommandRecord{command("SET", 7, 1000, 1100, 1200)}, replies: work{WorkReplies, 1500, 1900, 0}},
			turn{records: []CommandRecord{func() CommandRecord {
				r := command("GET", 8, 2000, 2000, 2100)
				r.Arrived = 1050
				return r
			}()}},
			nil, nil,
			[]string{`unknown: 450; work replies: 400; behind SET of 7 (1, ""): 100; own call: 100`},
		},
		{
			"behind another, which slept and had no CPU for a while",
			turn{},
			turn{records: []CommandRecord{key(command("SORT", 7, 5000, 5010, 6010), "list"), command("GET", 8, 5000, 6100, 6150)}},
			[]wait{{since: 5100, woken: 5300, back: 5400, blocked: asleep}, {since: 6120, woken: 6120, back: 6130}},
			nil,
			[]string{
				"own call: 700; blocked sleep: 200, 200 in do_nanosleep; queue: 100; unknown: 10",
				`behind SORT of 7 (1, "list"): 900, 200 in do_nanosleep; queue: 110; unknown: 100; own call: 40`,
			},
		},
		{
			"a pipeline, whose replies are written together",
			turn{},
			turn{records: func() []CommandRecord {
				list := []CommandRecord{command("SET", 7, 5000, 5100, 5200), command("SET", 7, 5000, 5300, 5900), command("GET", 7, 5000, 5900, 5950)}
				for i := range list {
					list[i].ReadStart, list[i].ReadEnd, list[i].Parsed, list[i].WriteStart, list[i].WriteEnd = 5010, 5050, 5080, 6000, 6100
				}
				list[0].Parsed = 5090
				list[1].KeyLen = uint32(copy(list[1].Key[:], "second"))
				return list
			}()},
			nil, nil,
			[]string{
				`own call: 600; unknown: 170; behind SET of 7 (1, ""): 100; own write: 100; behind GET of 7 (1, ""): 50; own parse: 40; own read: 40 and 1 more of 0 others`,
				`behind SET of 7 (2, "second"): 700; unknown: 170; own write: 100; own call: 50; own parse: 40; own read: 40`,
			},
		},
		{
			"two clients behind a third, and one behind a command of its own that was slow too",
			turn{},
			turn{records: func() []CommandRecord {
				list := []CommandRecord{key(command("KEYS", 7, 5000, 5000, 6500), "*"), command("GET", 8, 5000, 6500, 6600), command("GET", 9, 5000, 6600, 6650), command("GET", 9, 5000, 6650, 6700),
					command("SORT", 10, 5000, 6700, 8500), command("GET", 10, 5000, 8500, 8510)}
				return list
			}()},
			nil, nil,
			[]string{
				"own call: 1500",
				`behind KEYS of 7 (1, "*"): 1500; behind GET of 8 (1, ""): 100; behind GET of 9 (1, ""): 50; own call: 50 and 2 more of 1 others`,
				`own call: 1800; behind KEYS of 7 (1, "*"): 1500; behind GET of 8 (1, ""): 100; behind GET of 9 (2, ""): 100`,
				`behind SORT of 10 (1, ""): 1800; behind KEYS of 7 (1, "*"): 1500; behind GET of 8 (1, ""): 100; behind GET of 9 (2, ""): 100; own call: 10`,
			},
		},
		{
			"work of the loop, one kind within another, and a stop in it",
			turn{},
			turn{records: []CommandRecord{func() CommandRecord {
				r := command("PING", 7, 5000, 5000, 5100)
				r.WriteStart, r.WriteEnd = 8900, 9000
				return r
			}()}},
			[]wait{{since: 6000, woken: 6500, back: 6600, blocked: blocked{"stopped", "do_signal_stop"}}, {since: 7000, woken: 7100, back: 7100, blocked: asleep}},
			[]work{{WorkExpire, 5600, 8000, 123}, {WorkCron, 5500, 8500, 0}, {WorkCron, 100, 4000, 0}},
			[]string{"work expiry (123): 1800, 100 in do_nanosleep; unknown: 800; work serverCron: 600; stopped: 500, 500 in do_signal_stop; own call: 100; own write: 100; queue: 100"},
		},
		{
			"replies of which only the turn is known",
			turn{},
			turn{records: []CommandRecord{command("SET", 7, 5000, 5000, 5200)}, replies: work{WorkReplies, 6000, 6400, 0}},
			[]wait{{since: 5400, woken: 5900, back: 5900, blocked: blocked{"fsync", "f"}}},
			[]work{{WorkAppend, 5300, 5950, 0}},
			[]string{"work append-only file: 650, 500 in f; work replies: 400; own call: 200; unknown: 150"},
		},
		{
			"replies that are known of some",
			turn{},
			turn{records: func() []CommandRecord {
				list := []CommandRecord{command("SET", 7, 5000, 5100, 5200), command("KEYS", 8, 5000, 5200, 5300), command("GET", 9, 5000, 5300, 5400)}
				list[0].WriteStart, list[0].WriteEnd = 6000, 6100 // that of KEYS was not written whole
				list[2].WriteStart, list[2].WriteEnd = 6800, 6900
				return list
			}(), replies: work{WorkReplies, 6000, 7000, 0}},
			nil, nil,
			[]string{
				`unknown: 700; behind GET of 9 (1, ""): 100; behind KEYS of 8 (1, ""): 100; own call: 100; own write: 100`,
				`work replies: 800; unknown: 700; behind GET of 9 (1, ""): 200; behind SET of 7 (1, ""): 200; own call: 100`,
				`unknown: 700; work replies: 700; behind SET of 7 (1, ""): 200; behind KEYS of 8 (1, ""): 100; own call: 100; own write: 100`,
			},
		},
		{
			"a stock server's pipeline, of which each is parsed when the one before it is done",
			turn{},
			turn{records: func() []CommandRecord {
				list := []CommandRecord{command("SET", 7, 5000, 5100, 5200), command("GET", 7, 5000, 5230, 6100)}
				for i := range list {
					list[i].ReadStart, list[i].ReadEnd, list[i].Parsed = 5010, 5050, 5100
				}
				list[1].Parsed, list[1].Flags = 5080, commandParsedLate
				return list
			}()},
			nil, nil,
			[]string{`own call: 870; behind SET of 7 (1, ""): 100; own parse: 80; own read: 40; unknown: 10`},
		},
		{
			"commands of a script",
			turn{},
			turn{records: func() []CommandRecord {
				list := []CommandRecord{command("INCR", 7, 5000, 5100, 5200), command("LPUSH", 7, 5000, 5300, 6500), command("EVAL", 7, 5000, 5050, 6600), command("GET", 8, 5000, 6600, 6650)}
				for i := range 2 {
					list[i].Flags = commandNested
				}
				return list
			}()},
			nil,
			[]work{{WorkEvict, 5400, 5500, 0}},
			[]string{
				"own call: 1450; work eviction: 100; unknown: 50",
				"own call: 1100; work eviction: 100",
				`behind EVAL of 7 (1, ""): 1450; work eviction: 100; own call: 50; unknown: 50`,
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.before.explain(&turn{}, 1000, test.waits, test.works)
			var got []string
			for _, e := range test.turn.explain(&test.before, 1000, test.waits, test.works) {
				s := strings.Join(shared(e.Causes), "; ")
				if e.Alike > 0 {
					s += fmt.Sprintf(" and %d more of %d others", e.Alike, e.Others)
				}
				got = append(got, s)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// Whatever overlaps, in a turn and the one before: nothing is counted twice and nothing
// is left out.
func TestCausesAddUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	span := func(from int64) (int64, int64) {
		a, b := from+rng.Int64N(1000), from+rng.Int64N(1000)
		return min(a, b), max(a, b)
	}
	some := func(wake int64) *turn {
		tn := &turn{}
		for range 1 + rng.IntN(8) {
			from, to := span(wake)
			r := command("GET", uint64(rng.IntN(4)), wake, from, to)
			r.ReadStart, r.ReadEnd = span(wake)
			r.Parsed = wake + rng.Int64N(1000)
			if rng.IntN(2) == 0 {
				r.WriteStart, r.WriteEnd = to, to+100
			}
			switch rng.IntN(4) {
			case 0:
				r.Flags = commandNested
			case 1:
				r.Arrived = wake - rng.Int64N(1000)
			}
			tn.records = append(tn.records, r)
		}
		if rng.IntN(2) == 0 {
			tn.replies = work{WorkReplies, wake + 1000, wake + 1100, 0}
		}
		return tn
	}
	for range 2000 {
		before, tn := some(1000), some(2000+rng.Int64N(2)*5000)
		var works []work
		for range rng.IntN(4) {
			from, to := span(1000 + rng.Int64N(2)*1000)
			works = append(works, work{WorkKind(rng.IntN(int(WorkReplies))), from - 200, to, 1})
		}
		slices.SortFunc(works, func(a, b work) int { return cmp.Compare(a.to, b.to) })
		var waits []wait
		for last := int64(800); rng.IntN(8) > 0; {
			w := wait{since: last + rng.Int64N(200)}
			w.woken = w.since + rng.Int64N(200)
			w.back = w.woken + rng.Int64N(200)
			if w.woken > w.since {
				w.blocked = blocked{"sleep", "f"}
			}
			last = w.back
			waits = append(waits, w)
		}
		for _, e := range slices.Concat(before.explain(&turn{}, 1, waits, works), tn.explain(before, 1, waits, works)) {
			var sum time.Duration
			for _, c := range e.Causes {
				sum += c.Time
				if c.Blocked > c.Time || c.Time <= 0 {
					t.Errorf("%+v", c)
				}
			}
			if sum != e.Total {
				t.Fatalf("%v of %v in %q", sum, e.Total, shared(e.Causes))
			}
		}
	}
}

func TestBlockedIn(t *testing.T) {
	for stack, want := range map[string]blocked{
		"bpf_prog_1 bpf_trace_run4 __schedule schedule do_nanosleep hrtimer_nanosleep __x64_sys_nanosleep do_syscall_64": {"sleep", "do_nanosleep"},
		"__schedule schedule io_schedule folio_wait_bit_common ext4_sync_file do_fsync __x64_sys_fdatasync":              {"fsync", "folio_wait_bit_common"},
		"__schedule schedule io_schedule folio_wait_bit_common filemap_fault __do_fault handle_mm_fault exc_page_fault":  {"page fault", "folio_wait_bit_common"},
		"__schedule schedule futex_do_wait __futex_wait __x64_sys_futex":                                                 {"lock", "futex_do_wait"},
		"__schedule schedule do_signal_stop get_signal arch_do_signal_or_restart":                                        {"stopped", "do_signal_stop"},
		"__schedule schedule_timeout wait_woken sk_stream_wait_memory tcp_sendmsg_locked sock_write_iter vfs_write":      {"network", "wait_woken"},
		"__schedule schedule balance_dirty_pages ext4_buffered_write_iter vfs_write ksys_write":                          {"disk", "balance_dirty_pages"},
		"__schedule schedule_preempt_disabled do_wait __do_sys_wait4 __x64_sys_wait4":                                    {"wait4", "do_wait"},
		"__schedule preempt_schedule_common":                                                                             {"kernel", ""},
	} {
		if got := blockedIn(strings.Fields(stack)); got != want {
			t.Errorf("%s: %+v, want %+v", stack, got, want)
		}
	}
}

// whyWatch explains a server's slow commands.
type whyWatch struct {
	t       *testing.T
	w       *CommandWatcher
	records uint64 // that came
}

func startWhy(t *testing.T, s *redisServer, slower time.Duration) *whyWatch {
	t.Helper()
	y := &whyWatch{t: t, w: watchCommands(t, CommandOptions{PID: s.Process.Pid, SlowerThan: slower, Explain: true})}
	c := s.dial(t)
	for range 3 { // the turns behind them are watched
		c.do("PING")
	}
	return y
}

// take takes what is there.
func (y *whyWatch) take(all bool) []Explanation {
	y.t.Helper()
	err := y.w.Drain(func(*CommandRecord) { y.records++ })
	if err != nil && !errors.Is(err, ErrExited) {
		y.t.Fatal(err)
	}
	list, err := y.w.Explain(all)
	if err != nil {
		y.t.Fatal(err)
	}
	for _, e := range list {
		var sum time.Duration
		for _, c := range e.Causes {
			sum += c.Time
		}
		if sum != e.Total {
			y.t.Errorf("%s: %v of %v: %q", e.Command.Name, sum, e.Total, shared(e.Causes))
		}
	}
	return list
}

// await does something over and over until a command of that name has been explained
// as wanted, with all that the kernel has to tell.
func (y *whyWatch) await(name string, do func(), wanted func(Explanation) bool) Explanation {
	y.t.Helper()
	return y.awaitEven(name, do, func(e Explanation) bool { return e.Unseen == 0 && wanted(e) })
}

// awaitEven is await even for what the kernel does not tell all of.
func (y *whyWatch) awaitEven(name string, do func(), wanted func(Explanation) bool) Explanation {
	y.t.Helper()
	var last []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		do()
		for range 50 {
			for _, e := range y.take(false) {
				if e.Command.Name == name && wanted(e) {
					return e
				}
				last = append(last, fmt.Sprintf("%s %v: %q", e.Command.Name, e.Total, shared(e.Causes)))
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	y.t.Fatalf("%s was never explained as expected; the last:\n%s", name, strings.Join(last[max(0, len(last)-10):], "\n"))
	return Explanation{}
}

// cause is the first cause of a kind, what it is being optional.
func (e *Explanation) cause(kind CauseKind, what string) Cause {
	for _, c := range e.Causes {
		if c.Kind == kind && (what == "" || c.What == what) {
			return c
		}
	}
	return Cause{}
}

// queued is the time that it waited for a CPU, whoever had it.
func (e *Explanation) queued() (sum time.Duration) {
	for _, c := range e.Causes {
		if c.Kind == CauseQueue {
			sum += c.Time
		}
	}
	return sum
}

// both runs a test on both servers.
func both(t *testing.T, f func(t *testing.T, s *redisServer)) {
	t.Run("redscope", func(t *testing.T) { f(t, newRedisServer(t)) })
	t.Run("redis-server", func(t *testing.T) { f(t, newStockServer(t)) })
}

// stop stops a process and waits until it is.
func (s *redisServer) stop(t *testing.T) {
	t.Helper()
	if err := s.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "server stopped", func() bool {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Process.Pid))
		return strings.Contains(string(status), "State:\tT")
	})
}

func (s *redisServer) goOn(t *testing.T) {
	t.Helper()
	if err := s.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// long is a command that takes the processor for some tens of ms.
const long = "LCS long:1 long:2 LEN"

func (c *respClient) prepareLong(length int) {
	for _, key := range []string{"long:1", "long:2"} {
		c.do(fmt.Sprintf("SETRANGE %s %d x", key, length))
	}
}

// A command that waits behind another client's in the same turn has it to blame.
func TestWhyBehind(t *testing.T) {
	both(t, func(t *testing.T, s *redisServer) {
		victim, other := s.dial(t), s.dial(t)
		id := other.do("CLIENT ID")
		other.prepareLong(3000)
		victim.do("PING")
		y := startWhy(t, s, 5*time.Millisecond)
		// Both come while the server is stopped, and are ready at once.
		e := y.await("GET", func() {
			s.stop(t)
			other.send(long)
			victim.send("GET victim")
			s.goOn(t)
			other.reply()
			victim.reply()
		}, func(e Explanation) bool { return e.cause(CauseBehind, "LCS").Time > 0 })
		c := e.cause(CauseBehind, "LCS")
		if fmt.Sprintf(":%d", c.Client) != id || c.Commands != 1 || string(c.Key) != "long:1" {
			t.Errorf("%+v, want client %s", c, id)
		}
		if c.Time+e.queued()+e.cause(CauseStopped, "").Time < e.Total/2 {
			t.Errorf("of %v: %q", e.Total, shared(e.Causes))
		}
	})
}

// A request that comes while another is served waits in its socket, and has that one
// to blame, though it is of another turn.
func TestWhySocket(t *testing.T) {
	both(t, func(t *testing.T, s *redisServer) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) {
				other := s.dial(t)
				id := other.do("CLIENT ID")
				y := startWhy(t, s, 50*time.Millisecond)
				sent := map[string]int64{} // by key
				e := y.await("GET", func() {
					other.send("DEBUG SLEEP 0.3")
					s.asleep(t)
					victim := s.dialBy(t, network) // accepted when the server wakes up
					key := fmt.Sprintf("victim:%d", len(sent))
					sent[key] = monotonic(t)
					victim.send("GET " + key)
					victim.reply()
					other.reply()
				}, func(e Explanation) bool { return e.Command.Arrived != 0 && e.cause(CauseBehind, "DEBUG").Blocked > 0 })
				r := &e.Command
				if sent := sent[string(r.FirstKey())]; sent == 0 || r.Arrived < sent || r.Arrived > r.Wake {
					t.Errorf("%q sent at %d, arrived at %d, the loop woke up at %d", r.FirstKey(), sent, r.Arrived, r.Wake)
				}
				c := e.cause(CauseBehind, "DEBUG")
				if fmt.Sprintf(":%d", c.Client) != id || c.Commands != 1 {
					t.Errorf("%+v, want client %s", c, id)
				}
				if socket, _ := e.Command.Socket(); c.Time+e.queued() < socket/2 {
					t.Errorf("of %v in its socket: %q", socket, shared(e.Causes))
				}
			})
		}
	})
}

// Before Linux 6.3 there are no tracepoints for sockets. The rest is seen.
func TestWhyOnOldKernel(t *testing.T) {
	needEBPF(t)
	p, err := openProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	arrivals, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(unsafe.Sizeof(loopArrivals{})), MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer arrivals.Close()
	older := func() (*ebpf.CollectionSpec, error) {
		spec, err := loadLoop()
		spec.Programs[loopProgSocketReady].AttachTo = "no_such_tracepoint"
		return spec, err
	}
	for version, want := range map[uint32]int{6<<16 | 2<<8: 1, 6<<16 | 3<<8: 0} {
		l := &loopWatcher{target: p}
		err := l.load(arrivals, version, older)
		if want == 0 {
			if err == nil {
				t.Error("what is wrong with a kernel that should have them is not told")
			}
			continue
		}
		if err != nil || len(l.limits) != want || !strings.Contains(l.limits[0], "in its socket") || l.coll.Programs[loopProgLoopSwitched] == nil || l.coll.Programs[loopProgSocketRead] != nil {
			t.Errorf("version %x: %v, limits %q", version, err, l.limits)
		}
		l.close()
	}
}

// Whatever the turns of clients and server: no request came before it was sent, and
// what the loop read had come.
func TestArrivals(t *testing.T) {
	requests := 2000
	if testing.Short() {
		requests = 300
	}
	both(t, func(t *testing.T, s *redisServer) {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) {
				y := startWhy(t, s, 1) // all are slow
				var sent [4][]int64
				var group sync.WaitGroup
				for n := range sent {
					sent[n] = make([]int64, requests)
					c := s.dialBy(t, network)
					group.Go(func() {
						for i := range sent[n] {
							if i%16 == n {
								time.Sleep(time.Millisecond)
							}
							sent[n][i] = monotonic(t)
							c.do(fmt.Sprintf("GET %d:%d", n, i))
						}
					})
				}
				ended := make(chan bool)
				go func() { group.Wait(); close(ended) }()
				known := 0
				check := func(all bool) {
					for _, e := range y.take(all) {
						r := &e.Command
						var n, i int
						if _, err := fmt.Sscanf(string(r.FirstKey()), "%d:%d", &n, &i); err != nil || r.Arrived == 0 {
							continue
						}
						known++
						if r.Arrived < sent[n][i] || r.Arrived > r.Start {
							t.Errorf("client %d, request %d: sent at %d, arrived at %d, begun at %d", n, i, sent[n][i], r.Arrived, r.Start)
						}
					}
				}
				for over := false; !over; {
					select {
					case <-ended:
						over = true
					case <-time.After(5 * time.Millisecond):
					}
					check(false)
				}
				time.Sleep(50 * time.Millisecond)
				check(true)
				if all := len(sent) * requests; known < all/2 {
					t.Errorf("of %d of %d requests it is known when they arrived", known, all)
				}
				t.Logf("%d known", known)
			})
		}
	})
}

// monotonic is CLOCK_MONOTONIC in ns.
func monotonic(t testing.TB) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano()
}

// asleep waits until the server is in DEBUG SLEEP, but not for longer than that lasts.
func (s *redisServer) asleep(t *testing.T) bool {
	t.Helper()
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
		now, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", s.Process.Pid))
		if err != nil {
			t.Skip(err)
		}
		var call int
		if fmt.Sscanf(string(now), "%d ", &call); call == unix.SYS_NANOSLEEP || call == unix.SYS_CLOCK_NANOSLEEP {
			return true
		}
	}
	return false
}

// A command that sleeps was blocked in the kernel, and stopped when its process was.
func TestWhyBlocked(t *testing.T) {
	both(t, func(t *testing.T, s *redisServer) {
		c := s.dial(t)
		y := startWhy(t, s, 25*time.Millisecond)
		// Rarely a kernel does not tell of a sleep.
		const sleeps, most = 30, 27
		told := 0
		for range sleeps {
			e := y.await("DEBUG", func() { c.do("DEBUG SLEEP 0.03") }, func(e Explanation) bool { return e.Command.Args == 3 })
			if b := e.cause(CauseBlocked, "sleep"); b.Time >= 25*time.Millisecond && strings.Contains(b.Function, "nanosleep") {
				told++
			} else {
				t.Logf("of %v: %q", e.Total, shared(e.Causes))
			}
		}
		if told < most {
			t.Errorf("%d of %d sleeps were told", told, sleeps)
		}

		const stopped = 50 * time.Millisecond
		e := y.await("DEBUG", func() {
			c.send("DEBUG SLEEP 0.5")
			if s.asleep(t) {
				s.stop(t)
				time.Sleep(stopped)
				s.goOn(t)
			}
			c.reply()
		}, func(e Explanation) bool { return e.cause(CauseStopped, "").Time > 0 })
		// It may be kept from its CPU on the way to its stop.
		if got := e.cause(CauseStopped, ""); got.Time < stopped/2 || !strings.Contains(got.Function, "stop") {
			t.Errorf("of %v: %q", e.Total, shared(e.Causes))
		}
	})
}

// Switches of which the kernel does not tell are counted, and said of the commands in
// whose time they may have been.
func TestWhyUnseen(t *testing.T) {
	both(t, func(t *testing.T, s *redisServer) {
		c := s.dial(t)
		y := startWhy(t, s, 50*time.Millisecond)
		away := y.w.why.loop.coll.Maps[loopMapAwayThreads]
		const unseen = 3
		y.awaitEven("DEBUG", func() {
			var task uint64
			var is loopAway
			for all := away.Iterate(); all.Next(&task, &is); {
				if int(is.Thread) != s.Process.Pid { // of the event loop
					continue
				}
				is.Switches -= unseen
				if err := away.Update(task, &is, ebpf.UpdateExist); err != nil {
					t.Fatal(err)
				}
			}
			c.do("DEBUG SLEEP 0.1")
		}, func(e Explanation) bool { return e.Unseen >= unseen })
		y.await("DEBUG", func() { c.do("DEBUG SLEEP 0.1") }, func(Explanation) bool { return true })
	})
}

// A server that shares its CPU with a program that never sleeps waits for it.
func TestWhyNoCPU(t *testing.T) {
	both(t, func(t *testing.T, s *redisServer) {
		c := s.dial(t)
		c.prepareLong(5000)
		other := start(t, spinPath(t))
		pin(t, other.Process.Pid)
		pin(t, s.Process.Pid)
		y := startWhy(t, s, 5*time.Millisecond)
		y.await("LCS", func() { c.do(long) }, func(e Explanation) bool {
			return e.cause(CauseQueue, filepath.Base(spinPath(t))).Time > time.Millisecond && e.cause(CauseOwn, "call").Time > time.Millisecond
		})
	})
}

// Many keys that expire at once hold up what comes meanwhile.
func TestWhyExpiry(t *testing.T) {
	keys := 200_000
	if testing.Short() {
		keys = 50_000
	}
	both(t, func(t *testing.T, s *redisServer) {
		c := s.dial(t)
		y := startWhy(t, s, time.Millisecond)
		ours := strings.Contains(c.do("INFO server"), "redscope")
		within := time.Second
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); within *= 2 {
			c.do("DEBUG SET-ACTIVE-EXPIRE 0")
			c.expiring(keys, within)
			y.take(true)
			c.do("DEBUG SET-ACTIVE-EXPIRE 1")
			for end := time.Now().Add(time.Second); time.Now().Before(end); {
				c.do("PING")
				for _, e := range y.take(false) {
					expiry := e.cause(CauseWork, "expiry")
					if e.Command.Name != "PING" || expiry.Time == 0 {
						continue
					}
					if ours && expiry.Amount == 0 {
						t.Errorf("%q", shared(e.Causes))
					}
					return
				}
			}
		}
		t.Error("no PING was held up by expiry")
	})
}

// expiring sets keys that have expired by the time it returns, unless somebody looks.
// Those that it does not come to within the time given are none.
func (c *respClient) expiring(keys int, within time.Duration) {
	c.t.Helper()
	at := time.Now().Add(within)
	failed := make(chan error, 1)
	go func() {
		out := bufio.NewWriter(c)
		for i := range keys {
			fmt.Fprintf(out, "SET expiring:%d x PXAT %d\r\n", i, at.UnixMilli())
		}
		failed <- out.Flush()
	}()
	for range keys {
		c.reply()
	}
	if err := <-failed; err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(time.Until(at))
}

// Every command is counted once, though it was filtered first and sent later.
func TestWhyAddsUp(t *testing.T) {
	commands, slowAtLeast, pipeline := uint64(300_000), 100, "16"
	if testing.Short() {
		commands, slowAtLeast, pipeline = 20_000, 10, "4"
	}
	both(t, func(t *testing.T, s *redisServer) {
		// As slow as some of the turns are.
		y := startWhy(t, s, time.Millisecond)
		load := s.load(t, "-t", "set,lpush,ping", "-P", pipeline, "-n", "1000000", "-l")
		slow := 0
		until(t, "many commands and some slow ones", func() bool {
			for _, e := range y.take(false) {
				slow += 1 + e.Alike
			}
			return y.w.totals(t).Seen >= commands && slow >= slowAtLeast
		})
		if err := y.w.Detach(); err != nil {
			t.Fatal(err)
		}
		load.Process.Kill()
		load.Wait()
		for before := uint64(1); before != y.records; {
			before = y.records
			y.take(true)
		}
		totals := y.w.totals(t)
		if totals.Seen != totals.Sent+totals.Filtered+totals.Dropped || totals.Missed > 3 || y.records != totals.Sent {
			t.Errorf("%d records came; %+v", y.records, totals)
		}
		if totals.Filtered == 0 || totals.Filtered > totals.Seen {
			t.Errorf("nothing was filtered: %+v", totals)
		}
		t.Logf("%d slow; %+v", slow, totals)
	})
}

// BenchmarkWhy measures what the server's process spends on a SET without and with
// CommandOptions.Explain, in rounds that take turns. docs/bpf.md has a table of it.
//
//	go test ./bpf -run '^$' -bench Why -benchtime 7x
func BenchmarkWhy(b *testing.B) {
	for _, c := range []struct {
		server   string
		start    func(testing.TB) *redisServer
		pipeline string
		commands uint64
	}{{"redscope", newRedisServer, "1", 100_000}, {"redscope", newRedisServer, "16", 500_000}, {"redis-server", newStockServer, "1", 100_000}, {"redis-server", newStockServer, "16", 500_000}} {
		b.Run(c.server+"/P"+c.pipeline, func(b *testing.B) {
			s := c.start(b)
			round := func() float64 {
				before := cpuTime(b, s.Process.Pid)
				load := s.load(b, "-t", "set", "-n", fmt.Sprint(c.commands), "-P", c.pipeline)
				if err := load.Wait(); err != nil {
					b.Fatal(err)
				}
				return float64(cpuTime(b, s.Process.Pid)-before) / float64(c.commands)
			}
			round()
			var off, on []float64
			for b.Loop() {
				off = append(off, round())
				w := watchCommands(b, CommandOptions{PID: s.Process.Pid, SlowerThan: 10 * time.Millisecond, Explain: true})
				stop := drainAlways(b, w)
				on = append(on, round())
				stop()
				w.Close()
			}
			slices.Sort(off)
			slices.Sort(on)
			middle := len(on) / 2
			b.ReportMetric(off[middle], "off-ns/command")
			b.ReportMetric(on[middle]-off[middle], "more-ns/command")
			b.ReportMetric(100*off[middle]/on[middle], "left-%")
		})
	}
}
