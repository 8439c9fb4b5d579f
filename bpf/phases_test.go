package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/require"
)

// phases lists those of a record that are known, but for wait, call and total.
func (r *CommandRecord) phases() string {
	var known []string
	for _, p := range []Phase{PhaseRead, PhaseParse, PhaseQueue, PhaseHold, PhaseWrite} {
		if _, ok := r.Phase(p); ok {
			known = append(known, p.String())
		}
	}
	return strings.Join(known, " ")
}

const answered = "read parse queue hold write" // the phases of a command that is

// Whatever the turns of clients and server: a stock server's command is read after it
// was sent, and its reply comes after the write began; between them everything has its
// order. The histograms have each command once.
func TestStockPhases(t *testing.T) {
	rounds := 400
	if testing.Short() {
		rounds = 100
	}
	withStockServers(t, func(t *testing.T, s *redisServer) {
		w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1, Phases: true})
		type trip struct{ sent, received int64 }
		trips := map[string]*trip{}
		var group sync.WaitGroup
		clients := 0
		for _, network := range []string{"tcp", "unix"} {
			for _, depth := range []int{1, 1, 3, 50} {
				c, client := s.dialBy(t, network), clients
				clients++
				list := make([]trip, rounds*depth)
				for i := range list {
					trips[fmt.Sprintf("%d:%d", client, i)] = &list[i]
				}
				group.Go(func() {
					for first := 0; first < len(list); first += depth {
						var batch strings.Builder
						for i := range depth {
							fmt.Fprintf(&batch, "GET %d:%d\r\n", client, first+i)
						}
						now := monotonic(t)
						for i := range depth {
							list[first+i].sent = now
						}
						fmt.Fprint(c, batch.String())
						for i := range depth {
							c.reply()
							list[first+i].received = monotonic(t)
						}
					}
				})
			}
		}
		var records []CommandRecord
		ended := make(chan bool)
		go func() { group.Wait(); close(ended) }()
		for over := false; !over; {
			select {
			case <-ended:
				over = true
			case <-time.After(5 * time.Millisecond):
			}
			records = append(records, w.records(t)...)
		}
		if err := w.Detach(); err != nil {
			t.Fatal(err)
		}
		records = append(records, w.records(t)...)
		totals, stats := w.checkSums(t)
		if totals.Dropped != 0 || len(records) != len(trips) {
			t.Fatalf("%d records of %d commands; %+v", len(records), len(trips), totals)
		}
		var known [PhaseCount]struct {
			count uint64
			sum   time.Duration
		}
		last := map[uint64]CommandRecord{} // by client
		for _, r := range records {
			for p := range Phase(PhaseCount) {
				if d, ok := r.Phase(p); ok {
					known[p].count++
					known[p].sum += d
				}
			}
			trip := trips[string(r.FirstKey())]
			if trip == nil {
				t.Fatalf("%s: %+v", describe(r), r.Command)
			}
			if r.phases() != answered {
				continue // the kernel did not tell of its read or write
			}
			order := []int64{r.Wake, r.ReadStart, r.ReadEnd, r.Parsed, r.Start, r.End, r.WriteStart, r.WriteEnd}
			if !slices.IsSorted(order) || trip.sent > r.ReadEnd || r.WriteStart > trip.received {
				t.Fatalf("sent at %d, received at %d: %+v", trip.sent, trip.received, r.Command)
			}
			if before := last[r.Client]; before.ReadStart == r.ReadStart {
				// What is not queueing behind those before it in its read is parsing.
				if r.Batch != before.Batch+1 || r.Parsed-r.ReadEnd != r.Start-before.End || r.WriteEnd != before.WriteEnd {
					t.Fatalf("%+v after %+v", r.Command, before.Command)
				}
			} else if r.Batch != 0 || r.Parsed != r.Start {
				t.Fatalf("the first of its read: %+v", r.Command)
			}
			last[r.Client] = r
		}
		for p, k := range known {
			if h := stats["get"].Phases[p]; h.Count() != k.count || h.Sum != k.sum {
				t.Errorf("%v: %d of together %v, the records have %d of together %v", Phase(p), h.Count(), h.Sum, k.count, k.sum)
			}
		}
		var unanswered uint64
		if err := w.coll.Variables[callsVarUnanswered].Get(&unanswered); err != nil {
			t.Fatal(err)
		}
		all := uint64(len(records))
		if without := all - known[PhaseWrite].count; without > all/100 || without < unanswered || without > unanswered+50 { // with those of the last read
			t.Errorf("of %d of %d commands it is not known when their replies were written; %d are said to be", without, all, unanswered)
		}
	})
}

// recordOf waits for a record of a command of that name.
func (w *CommandWatcher) recordOf(t *testing.T, name string) (found CommandRecord) {
	t.Helper()
	until(t, "record of "+name, func() bool {
		for _, r := range w.records(t) {
			if r.Name == name {
				found = r
			}
		}
		return found.Name != ""
	})
	return found
}

// What is not answered in its turn, not wholly or not at all has no write, and does not
// get that of another command.
func TestStockReplies(t *testing.T) {
	withStockServers(t, func(t *testing.T, s *redisServer) {
		var missing []string
		for range 3 { // rarely the kernel does not tell of a read or a write
			if missing = testStockReplies(t, s); missing == nil {
				return
			}
		}
		t.Errorf("%q", missing)
	})
}

// testStockReplies tells of which commands phases are missing.
func testStockReplies(t *testing.T, s *redisServer) (missing []string) {
	const unanswered = "read parse queue"
	c, other := s.dialBy(t, "unix"), s.dial(t)
	id := c.do("CLIENT ID")
	c.do("SETRANGE big 8000000 x") // more than a Unix socket has room for
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1, Phases: true})
	before, _ := other.commandstats()
	w.recordOf(t, "INFO")
	is := func(r CommandRecord, want string) {
		t.Helper()
		switch got := r.phases(); {
		case got == want:
		case strings.HasPrefix(want, got) && want == answered:
			missing = append(missing, r.Name+": "+got)
		default:
			t.Errorf("%s has %q, want %q: %+v", r.Name, got, want, r.Command)
		}
	}
	check := func(name, want string) CommandRecord {
		t.Helper()
		r := w.recordOf(t, name)
		is(r, want)
		return r
	}
	whole := func() {
		t.Helper()
		c.do("PING")
		check("PING", answered)
	}

	fmt.Fprint(c, "CLIENT REPLY OFF\r\nSET key value\r\n")
	check("SET", unanswered)
	c.do("CLIENT REPLY ON")
	check("CLIENT REPLY", answered)
	fmt.Fprint(c, "CLIENT REPLY SKIP\r\nGET key\r\n")
	check("GET", unanswered)
	whole()

	for _, line := range []string{"MULTI", "SET key value", "INCR key"} {
		c.do(line)
	}
	check("MULTI", answered)
	c.do("EXEC")
	c.reply()
	c.reply()
	var names []string
	until(t, "records of EXEC and in it", func() bool {
		for _, r := range w.records(t) {
			names = append(names, r.Name)
			want := ""
			if r.Name == "EXEC" {
				want = answered
			}
			is(r, want)
		}
		return len(names) >= 3
	})
	c.do("GET")
	if r := check("GET", answered); r.ErrorCode() != "ERR" {
		t.Errorf("%s", describe(r))
	}

	// A client that waits, with more behind it that was read at once.
	c.send("BLPOP list 0\r\nECHO behind")
	until(t, "blocked", func() bool { return strings.Contains(other.do("INFO clients"), "blocked_clients:1\r") })
	w.records(t)
	other.do("RPUSH list x")
	for range 3 {
		c.reply() // *2, the key and the element
	}
	c.reply()
	var push, echo bool
	until(t, "records of what was blocked", func() bool {
		for _, r := range w.records(t) {
			switch want := ""; r.Name {
			case "RPUSH":
				push, want = true, answered
				fallthrough
			case "ECHO", "BLPOP":
				echo = echo || r.Name == "ECHO"
				is(r, want)
			}
		}
		return push && echo
	})
	c.send("BLPOP list 0.01\r\nECHO behind") // its time is over, and nobody else has sent anything
	c.reply()
	c.reply()
	if r := w.recordOf(t, "ECHO"); r.phases() != "" || r.ReadStart != 0 {
		t.Errorf("%+v", r.Command)
	}
	whole()

	// Messages that come in between.
	c.send("SUBSCRIBE channel")
	check("SUBSCRIBE", answered)
	other.do("PUBLISH channel message")
	check("PUBLISH", answered)
	c.send("UNSUBSCRIBE channel")
	check("UNSUBSCRIBE", answered)
	for range 6 + 7 + 6 {
		if line, err := c.in.ReadString('\n'); err != nil || line == "" {
			t.Fatal(line, err)
		}
	}
	monitor := s.dial(t)
	monitor.do("MONITOR")
	check("MONITOR", answered)
	whole()

	c.send("GET big")
	if r := check("GET", unanswered); r.ReplyBytes < 8_000_000 {
		t.Errorf("%+v", r.Command)
	}
	c.reply()
	whole()

	// It is killed before it gets its reply, or after: it does not matter.
	other.do("CLIENT KILL ID " + id[1:])
	gone := s.dial(t)
	gone.send("GET big")
	gone.Close()
	after, _ := other.commandstats()
	if err := w.Detach(); err != nil {
		t.Fatal(err)
	}
	w.checkSums(t)
	stats, err := w.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range stats {
		if want := after[statsName(of.Name)] - before[statsName(of.Name)]; of.Name != "INFO" && of.Calls != want {
			t.Errorf("%s: %d calls, INFO says %d", of.Name, of.Calls, want)
		}
		if n := of.Phases[PhaseTotal].Count(); n != of.Calls {
			t.Errorf("%s: %d calls, %d in total", of.Name, of.Calls, n)
		}
	}
	limits, err := w.Limits()
	if err != nil || len(limits) != 1 || !strings.Contains(limits[0], "not whole in their turn") { // the large one
		t.Error(limits, err)
	}
	return missing
}

// A command whose reply is held behind a slow one is slow too.
func TestStockSlowByItsReply(t *testing.T) {
	withStockServers(t, func(t *testing.T, s *redisServer) {
		c, other := s.dial(t), s.dial(t)
		w := watchCommands(t, CommandOptions{PID: s.Process.Pid, SlowerThan: 50 * time.Millisecond, Phases: true})
		until(t, "a reply that was held", func() bool {
			s.stop(t)
			c.send("GET key")
			other.send("DEBUG SLEEP 0.05")
			s.goOn(t)
			c.reply()
			other.reply()
			held := false
			until(t, "both records", func() bool {
				n := 0
				for _, r := range w.records(t) {
					n++
					if hold, _ := r.Phase(PhaseHold); r.Name == "GET" && hold >= 50*time.Millisecond {
						held = held || r.phases() == answered // all of it was told
						if !r.Slow {
							t.Errorf("%+v: %s", r.Command, r.phases())
						}
					}
				}
				return n > 0
			})
			return held
		})
	})
}

// The watching may end, and the server may be killed, while replies are awaited: every
// command is accounted for.
func TestStockEndBeforeReplies(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *redisServer, *CommandWatcher){
		"detached": func(t *testing.T, s *redisServer, w *CommandWatcher) {
			if err := w.Detach(); err != nil {
				t.Fatal(err)
			}
			s.goOn(t)
			w.checkSums(t)
		},
		"killed": func(t *testing.T, s *redisServer, w *CommandWatcher) {
			s.Process.Kill()
			s.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStockServer(t)
			c := s.dial(t)
			w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1, Phases: true})
			var awaited uint64
			until(t, "stopped before its replies", func() bool {
				c.send("GET key\r\nGET\r\nDEBUG SLEEP 0.1")
				awaited = 0
				for end := time.Now().Add(time.Second); awaited != 2 && time.Now().Before(end); time.Sleep(time.Millisecond) {
					if err := w.coll.Variables[callsVarAwaited].Get(&awaited); err != nil {
						t.Fatal(err)
					}
				}
				s.stop(t)
				if err := w.coll.Variables[callsVarAwaited].Get(&awaited); err != nil {
					t.Fatal(err)
				}
				w.records(t)
				if awaited != 2 {
					s.goOn(t)
					c.reply()
					c.reply()
					c.reply()
				}
				return awaited == 2
			})
			end(t, s, w)
			var got []string
			err := w.Drain(func(r *CommandRecord) { got = append(got, r.Name+r.ErrorCode()+" "+r.phases()) })
			if want := []string{"GET read parse queue", "GETERR read parse queue"}; !slices.Equal(got, want) || (name == "killed") != errors.Is(err, ErrExited) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// What another thread writes, and what a kernel does not tell, is said not to be seen.
func TestStockPhasesThatAreNotSeen(t *testing.T) {
	needEBPF(t)
	require.Tool(t, "redis")
	check := func(s *redisServer, want, limit string) {
		t.Helper()
		c := s.dial(t)
		w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1, Phases: true})
		c.do("PING")
		if r := w.recordOf(t, "PING"); r.phases() != want || r.ReadStart == 0 {
			t.Errorf("%q, want %q: %+v", r.phases(), want, r.Command)
		}
		limits, err := w.Limits()
		if err != nil || len(limits) != 1 || !strings.Contains(limits[0], limit) {
			t.Errorf("%q %v, want %q", limits, err, limit)
		}
		w.Detach()
		w.checkSums(t)
	}
	check(startRedisServer(t, "redis-server", "--save", "", "--io-threads", "4"), "read parse queue", "4 threads write")
	known := socketTracepoints
	socketTracepoints = []string{"sock_recv_length", "no_such_tracepoint"}
	t.Cleanup(func() { socketTracepoints = known })
	check(newStockServer(t), "", "Linux 6.3")
}

// Of several clients that are served in a turn each has its own write.
func TestWhyOfEachReply(t *testing.T) {
	withStockServers(t, func(t *testing.T, s *redisServer) {
		c, other := s.dial(t), s.dialBy(t, "unix")
		y := startWhy(t, s, 1) // all are slow
		until(t, "two writes in a turn", func() bool {
			s.stop(t)
			c.send("GET key")
			other.send("EXISTS key") // two GETs would be explained together
			s.goOn(t)
			c.reply()
			other.reply()
			var of []CommandRecord
			until(t, "both explained", func() bool {
				for _, e := range y.take(false) {
					if e.Command.Name == "GET" || e.Command.Name == "EXISTS" {
						of = append(of, e.Command)
					}
				}
				return len(of) == 2
			})
			slices.SortFunc(of, func(a, b CommandRecord) int { return cmp.Compare(a.WriteStart, b.WriteStart) })
			if of[0].Wake != of[1].Wake || (of[0].Flags|of[1].Flags)&repliesGiven != 0 || of[0].phases() != answered || of[1].phases() != answered {
				return false
			}
			if of[0].WriteEnd != of[1].WriteStart {
				t.Errorf("%+v\n%+v", of[0].Command, of[1].Command)
			}
			return true
		})
	})
}
