package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/require"
)

// newStockServer starts the redis-server of this machine.
func newStockServer(t testing.TB) *redisServer {
	t.Helper()
	needEBPF(t)
	require.Tool(t, "redis")
	return startRedisServer(t, "redis-server", "--save", "")
}

// newValkeyServer starts a valkey-server.
func newValkeyServer(t testing.TB) *redisServer {
	t.Helper()
	needEBPF(t)
	return startRedisServer(t, require.Valkey(t), "--save", "")
}

// withStockServers runs a test with each stock server of which the structures are
// known.
func withStockServers(t *testing.T, test func(*testing.T, *redisServer)) {
	t.Run("redis-server", func(t *testing.T) { test(t, newStockServer(t)) })
	t.Run("valkey-server", func(t *testing.T) { test(t, newValkeyServer(t)) })
}

func describe(r CommandRecord) string {
	s := fmt.Sprintf("%s %q %d args %d bytes", r.Name, r.FirstKey(), r.Args, r.ReplyBytes)
	if r.Flags&2 != 0 {
		s += " refused"
	}
	if r.Flags&1 != 0 {
		s += " " + r.ErrorCode()
	}
	return s
}

// What is read from the server's memory must be what was sent.
func TestStockRecords(t *testing.T) { withStockServers(t, testStockRecords) }

func testStockRecords(t *testing.T, s *redisServer) {
	c := s.dial(t)
	id := c.do("CLIENT ID")
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1, Failed: true, Phases: true})
	long := strings.Repeat("k", 300)
	big := strings.Repeat("v", 40000)
	for _, command := range []struct{ line, want string }{
		{"SET key value", `SET "key" 3 args 5 bytes`},
		{"GET key", `GET "key" 2 args 11 bytes`},
		{"GET " + long, `GET "` + long[:32] + `" 2 args 5 bytes`},
		{"LPUSH key x", `LPUSH "key" 3 args 68 bytes WRONGTYPE`},
		{"INCR key", `INCR "key" 2 args 46 bytes ERR`},
		{"GET", `GET "" 1 args 50 bytes refused ERR`},
		{"NONSENSE key", ` "" 2 args 67 bytes refused ERR`},
		{"CONFIG GET maxclients", `CONFIG GET "" 3 args 32 bytes`},
		{"SET big " + big, `SET "big" 3 args 5 bytes`},
		{"GET big", `GET "big" 2 args 40010 bytes`},
		{`EVAL "return 1" 2 first second`, `EVAL "first" 5 args 4 bytes`},
		{`EVAL "return 1" 0 first`, `EVAL "" 4 args 4 bytes`},
		{"XADD stream * f v", `XADD "stream" 5 args`},
		{"SPOP nothing", `SPOP "nothing" 2 args 5 bytes`},
		{"OBJECT ENCODING key", `OBJECT ENCODING "key" 3 args 12 bytes`},
		{"PING", `PING "" 1 args 7 bytes`},
	} {
		c.do(command.line)
		if strings.HasPrefix(command.line, "CONFIG") {
			c.reply()
			c.reply()
		}
		var all []CommandRecord
		for deadline := time.Now().Add(patience); len(all) == 0 && time.Now().Before(deadline); {
			all = w.records(t)
		}
		if len(all) != 1 {
			t.Fatalf("%.30s: %d records", command.line, len(all))
		}
		r := all[0]
		if got := describe(r); !strings.HasPrefix(got, command.want) {
			t.Errorf("%.30s:\n got %s\nwant %s", command.line, got, command.want)
		}
		if fmt.Sprintf(":%d", r.Client) != id {
			t.Errorf("%.30s: client %d, want %s", command.line, r.Client, id)
		}
		if r.Wake == 0 || r.ReadStart < r.Wake || r.Start < r.ReadStart || r.End < r.Start {
			t.Errorf("%.30s: %+v", command.line, r.Command)
		}
		if r.FirstKey() != nil && strings.HasPrefix(command.line, "GET k") && len(command.line) > 50 && r.KeyLen != 300 {
			t.Errorf("key of %d bytes", r.KeyLen)
		}
	}
	limits, err := w.Limits()
	if err != nil || len(limits) != 0 {
		t.Error(limits, err)
	}
}

// A command that began to wait, and the one that it waited for.
func TestStockRecordOfClientThatWaits(t *testing.T) {
	s := newStockServer(t)
	waiting, other := s.dial(t), s.dial(t)
	id := waiting.do("CLIENT ID")
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1})
	waiting.send("BLPOP list 0")
	var got []CommandRecord
	until(t, "record of BLPOP", func() bool {
		got = append(got, w.records(t)...)
		return len(got) > 0
	})
	other.do("RPUSH list x")
	until(t, "record of RPUSH", func() bool {
		got = append(got, w.records(t)...)
		return len(got) > 1
	})
	if b := got[0]; describe(b) != `BLPOP "list" 3 args 0 bytes` || fmt.Sprintf(":%d", b.Client) != id || b.Flags&probe.CommandBlocked == 0 {
		t.Errorf("%s: %+v", describe(b), b.Command)
	}
	if r := got[1]; describe(r) != `RPUSH "list" 3 args 4 bytes` || r.Flags&probe.CommandBlocked != 0 {
		t.Errorf("%s: %+v", describe(r), r.Command)
	}
}

// The bytes of each reply are those that come out of the socket, wherever the server
// keeps them until then: in a buffer, in blocks of 16 KiB with and without room left,
// in blocks whose beginning is filled in at the end.
func TestStockReplyBytes(t *testing.T) { withStockServers(t, testStockReplyBytes) }

func testStockReplyBytes(t *testing.T, s *redisServer) {
	c := s.dial(t)
	for _, n := range []int{9000, 13000, 100_000} {
		c.do(fmt.Sprintf("SETRANGE string:%d %d x", n, n))
	}
	c.do(`EVAL "for i=1,1800 do redis.call('rpush','list',string.rep('x',10000+i)) end" 1 list`)
	c.do(`EVAL "for i=1,500 do redis.call('hset','hash','field:'..i,i) redis.call('sadd','set',i) end" 2 hash set`)
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1})
	for _, lines := range [][]string{
		{"GET string:9000"},
		{"PING", "GET string:13000", "GET string:9000", "KEYS *", "GET string:9000", "KEYS *", "PING", "SCAN 0", "KEYS nothing"},
		{"LRANGE list 0 -1", "KEYS *", "LRANGE list 1 -2"}, // 18 MB: above 1024 blocks
		{"GET string:100000", "COMMAND DOCS", "COMMAND", "GET string:100000", "KEYS *", "CLIENT LIST", "HGETALL hash"},
		{"GET nothing", "GET", "NONSENSE", "INCR list", "SET string:1 x y z", "LPUSH string:9000 x", "CONFIG GET *"},
		{"MULTI", "GET string:9000", "KEYS *", "GET string:9000", "NONSENSE", "EXEC", "PING"},
		{"GET string:13000", "MULTI", "GET string:9000", "KEYS *", "COMMAND DOCS", "GET string:9000", "EXEC", "KEYS *"},
		{`EVAL "return redis.call('keys','*')" 0`, `EVAL "return redis.call('get','string:100000')" 0`, `EVAL "return redis.call('get')" 0`},
		{"SUBSCRIBE one two", "UNSUBSCRIBE one two", "HELLO 3", "HGETALL hash", "SMEMBERS set", "COMMAND DOCS GET", "KEYS *"},
	} {
		fmt.Fprint(c, strings.Join(lines, "\r\n")+"\r\n")
		var executed []string
		var want, got []int
		for _, line := range lines {
			replies := 1
			if strings.HasPrefix(line, "SUBSCRIBE") || strings.HasPrefix(line, "UNSUBSCRIBE") {
				replies = strings.Count(line, " ") // one for each channel
			}
			queued, _ := c.in.Peek(2)
			length := 0
			for range replies {
				length += c.replyLength()
			}
			if string(queued) != "+Q" {
				executed, want = append(executed, line), append(want, length)
			}
		}
		until(t, fmt.Sprintf("records of %q", executed), func() bool {
			for _, r := range w.records(t) {
				if r.Flags&commandNested == 0 {
					got = append(got, int(r.ReplyBytes))
				}
			}
			return len(got) >= len(executed)
		})
		for i, line := range executed {
			if got[i] != want[i] {
				t.Errorf("%q: %s: %d bytes, want %d", lines, line, got[i], want[i])
			}
		}
	}
}

// replyLength reads a reply, and tells how long it is.
func (c *respClient) replyLength() int {
	c.t.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	length := len(line)
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	switch line[0] {
	case '$', '=':
		if n >= 0 {
			more, err := c.in.Discard(n + 2)
			if err != nil {
				c.t.Fatal(err)
			}
			length += more
		}
	case '%':
		n *= 2
		fallthrough
	case '*', '~', '>':
		for range n {
			length += c.replyLength()
		}
	}
	return length
}

// mixedLoad sends commands of many kinds from several connections until the returned
// function is called.
func (s *redisServer) mixedLoad(t *testing.T) (stop func()) {
	t.Helper()
	lines := []string{
		"SET key:1 value", "GET key:1", "INCR counter", "LPUSH key:1 x", "GET", "NONSENSE x", "INCR key:1",
		"MULTI", "SET key:1 v", "INCR counter", "LPUSH key:1 x", "EXEC",
		"MULTI", "NONSENSE", "EXEC",
		`EVAL "for i=1,5 do redis.call('incr','counter') end return redis.pcall('lpush','counter','x')" 0`,
		`EVAL "return redis.call('lpush','counter','x')" 0`,
		`EVAL "redis.pcall('get') return redis.pcall('nonsense')" 0`, `EVAL "return redis.call('get')" 0`,
		"CONFIG GET maxclients", "CLIENT SETNAME x", "OBJECT ENCODING key:1",
	}
	batch := strings.Repeat(strings.Join(lines, "\r\n")+"\r\n", 10)
	done := make(chan struct{})
	var wait sync.WaitGroup
	for _, last := range []string{
		"BLPOP queue 0.001", // in vain, or served by the next
		"RPUSH queue x\r\nDEL queue",
		"PING", "PING",
	} {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			t.Fatal(err)
		}
		wait.Go(func() {
			defer conn.Close()
			in := bufio.NewReader(conn)
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				fmt.Fprintf(conn, "%s%s\r\nECHO end%d\r\n", batch, last, n)
				for end := fmt.Sprintf("end%d\r\n", n); ; {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if line == end {
						break
					}
				}
			}
		})
	}
	return sync.OnceFunc(func() { close(done); wait.Wait() })
}

// Attached and detached under load, all that the server counts meanwhile is
// accounted for, to the single command.
func TestStockCommandsAddUpUnderLoad(t *testing.T) {
	least, times := uint64(100_000), 10
	if testing.Short() {
		least, times = 10_000, 3
	}
	withStockServers(t, func(t *testing.T, s *redisServer) { testStockCommandsAddUpUnderLoad(t, s, least, times) })
}

func testStockCommandsAddUpUnderLoad(t *testing.T, s *redisServer, least uint64, times int) {
	stop := s.mixedLoad(t)
	defer stop()
	watch := func(opts CommandOptions, least uint64) {
		t.Helper()
		opts.PID = s.Process.Pid
		w := watchCommands(t, opts)
		defer w.Close()
		for deadline := time.Now().Add(2 * patience); w.totals(t).Seen < least; time.Sleep(time.Millisecond) {
			w.records(t)
			if time.Now().After(deadline) {
				t.Fatalf("%+v", w.totals(t))
			}
		}
		if err := w.Detach(); err != nil {
			t.Fatal(err)
		}
		got := w.totals(t)
		if got.Seen < least || got.Seen != got.Sent+got.Filtered+got.Dropped {
			t.Errorf("%+v: %+v", opts, got)
		}
		// Those under way when it was attached: EXEC, a script in it, its command.
		if got.Missed > 3 {
			t.Errorf("%+v: missed %d", opts, got.Missed)
		}
	}
	watch(CommandOptions{OneIn: 100}, least)
	watch(CommandOptions{OneIn: 7, Phases: true}, least)
	watch(CommandOptions{Returns: true}, least)
	for range times { // again and again, for the moment of attaching and detaching differs
		watch(CommandOptions{}, 1000)
		watch(CommandOptions{Returns: true}, 1000)
		watch(CommandOptions{Phases: true, OneIn: 3}, 1000)
	}
}

// Watched from rest to rest, every command has the calls and refusals that INFO
// commandstats gives it.
func TestStockCommandsEqualCommandstats(t *testing.T) {
	withStockServers(t, testStockCommandsEqualCommandstats)
}

func testStockCommandsEqualCommandstats(t *testing.T, s *redisServer) {
	c := s.dial(t)
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid})
	calls, refused := c.commandstats()
	stop := s.mixedLoad(t)
	for deadline := time.Now().Add(2 * patience); w.totals(t).Seen < 20_000; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", w.totals(t))
		}
	}
	// A client that waits is counted when it begins to.
	waiting, other := s.dial(t), s.dial(t)
	waiting.send("BLPOP list 0")
	for other.do("RPUSH list x") == ":1" {
	}
	stop()
	callsAfter, refusedAfter := c.commandstats()
	if err := w.Detach(); err != nil {
		t.Fatal(err)
	}
	_, stats := w.checkSums(t)
	for name, got := range stats {
		if name == "" {
			continue // INFO does not count unknown ones
		}
		want, no := callsAfter[name]-calls[name], refusedAfter[name]-refused[name]
		if name == "info" {
			want++ // neither INFO counts itself: the first was seen, the second too
		}
		if got.Calls != want || got.Refused != no {
			t.Errorf("%s: %d calls, %d refused; INFO says %d, %d", name, got.Calls, got.Refused, want, no)
		}
	}
	for name := range callsAfter {
		if name != "" && callsAfter[name] != calls[name] && stats[name].Calls == 0 {
			t.Errorf("%s: not seen", name)
		}
	}
}

// A blocked client's command is one call, seen with the client and the key, when it
// begins to wait or when it is done.
func TestStockBlockedClients(t *testing.T) { withStockServers(t, testStockBlockedClients) }

func testStockBlockedClients(t *testing.T, s *redisServer) {
	whenDone := s.layout(t).countedWhenDone
	waiting, other := s.dial(t), s.dial(t)
	id := waiting.do("CLIENT ID")
	other.do("SET string x")
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1, Failed: true, Phases: true})
	before, _ := other.commandstats()
	for _, test := range []struct {
		block, serve, want, wantWhenDone string
	}{
		{"BLPOP list 0", "RPUSH list x", `BLPOP "list" 3 args 0 bytes`, `BLPOP "list" 3 args 21 bytes`},
		{"BLPOP list 0.01", "", `BLPOP "list" 3 args 0 bytes`, `BLPOP "list" 3 args 0 bytes`},
		{"BLPOP list 0", "CLIENT UNBLOCK " + id[1:] + " ERROR", `BLPOP "list" 3 args 0 bytes`, `BLPOP "list" 3 args 0 bytes UNBLOCKED`},
		{"BLMOVE list string LEFT LEFT 0", "RPUSH list x", `BLMOVE "list" 6 args 0 bytes`, `BLMOVE "list" 6 args 68 bytes WRONGTYPE`},
		{"XREAD BLOCK 0 STREAMS stream $", "XADD stream * f v", `XREAD "" 6 args 0 bytes`, `XREAD "" 6 args`},
	} {
		waiting.send(test.block)
		if test.serve != "" {
			until(t, "blocked", func() bool { return strings.Contains(other.do("INFO clients"), "blocked_clients:1\r") })
			other.do(test.serve)
		}
		waiting.reply()
		other.do("DEL list")
		waiting.send("PING")
		for line := ""; line != "+PONG"; {
			line = waiting.reply()
		}
		name, _, _ := strings.Cut(test.block, " ")
		var got []CommandRecord
		until(t, name, func() bool {
			for _, r := range w.records(t) {
				if r.Name == name {
					got = append(got, r)
				}
			}
			return len(got) > 0
		})
		want := test.want
		if whenDone {
			want = test.wantWhenDone
		}
		if len(got) != 1 || !strings.HasPrefix(describe(got[0]), want) {
			t.Fatalf("%s:\n got %v\nwant %s", test.block, got, want)
		}
		if r := got[0]; fmt.Sprintf(":%d", r.Client) != id || r.Flags&4 == 0 || whenDone && r.Wake != 0 {
			t.Errorf("%s, %s: %+v", test.block, id, r.Command)
		}
	}
	after, _ := other.commandstats()
	if err := w.Detach(); err != nil {
		t.Fatal(err)
	}
	_, stats := w.checkSums(t)
	for _, name := range []string{"blpop", "blmove", "xread"} {
		if want := after[name] - before[name]; stats[name].Calls != want || want == 0 {
			t.Errorf("%s: %d calls, INFO says %d", name, stats[name].Calls, want)
		}
	}
}

// A client whose time is over while the probes are taken out is not of those that were
// seen, nor of the server's count of them.
func TestStockBlockedClientAtTheEnd(t *testing.T) {
	withStockServers(t, testStockBlockedClientAtTheEnd)
}

func testStockBlockedClientAtTheEnd(t *testing.T, s *redisServer) {
	waiting, other := s.dial(t), s.dial(t)
	source, coll := watchCalls(t, s.Process.Pid, func(*callSource, map[string]any) {})
	waiting.send("BLPOP list 0.5")
	until(t, "blocked", func() bool { return strings.Contains(other.do("INFO clients"), "blocked_clients:1\r") })
	s.stop(t)
	var calls uint64
	if err := source.counts(&calls, new(uint64)); err != nil {
		t.Fatal(err)
	}
	if err := source.end(coll, func() { // all that does not count is out
		s.goOn(t)
		waiting.reply()
		other.do("PING")
	}); err != nil {
		t.Fatal(err)
	}
	totals, err := source.totals(coll)
	if err != nil || totals.CallsAfter != calls {
		t.Errorf("seen up to call %d of %d, %v", totals.CallsAfter, calls, err)
	}
}

func (s *redisServer) layout(t *testing.T) *serverLayout {
	t.Helper()
	target, err := openProcess(s.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer target.close()
	source, err := newCallSource(target, CommandOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.close()
	return source.layout
}

// Where the structures are not known, the functions tell the commands apart.
func TestStockServerOfUnknownVersion(t *testing.T) {
	known := serverLayouts
	serverLayouts = nil
	t.Cleanup(func() { serverLayouts = known })
	withStockServers(t, testStockServerOfUnknownVersion)
}

func testStockServerOfUnknownVersion(t *testing.T, s *redisServer) {
	c := s.dial(t)
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid})
	for range 300 {
		c.do("SET key value")
		c.do("EVAL \"return redis.call('GET', 'key')\" 0")
	}
	c.do("LPUSH key x")
	if err := w.Detach(); err != nil {
		t.Fatal(err)
	}
	stats, err := w.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]CommandStats{}
	for _, s := range stats {
		seen[statsName(s.Name)] = s
	}
	for name, want := range map[string]uint64{"set": 300, "eval": 300, "get": 300, "lpush": 1} {
		if got := seen[name].Calls; got != want {
			t.Errorf("%s: %d calls, want %d", name, got, want)
		}
	}
	if got := seen["lpush"].Failed; got != 1 {
		t.Errorf("%d failed calls of LPUSH", got)
	}
	limits, err := w.Limits()
	if err != nil || len(limits) != 1 || !strings.Contains(limits[0], "of a version") {
		t.Errorf("%q %v", limits, err)
	}
}

// watchCalls attaches to the functions of a stock server otherwise than the
// machine would have it.
func watchCalls(t *testing.T, pid int, change func(*callSource, map[string]any)) (*callSource, *ebpf.Collection) {
	t.Helper()
	target, err := openProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.close)
	source, err := newCallSource(target, CommandOptions{Phases: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.close)
	spec, constants, err := source.spec()
	if err != nil {
		t.Fatal(err)
	}
	prepare(spec)
	change(source, constants)
	coll, err := target.load(spec, constants, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	links, err := source.attach(coll)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLinks(links) })
	return source, coll
}

// site is where a probe on a function of the server goes.
func (s *callSource) site(t *testing.T, function string) uint64 {
	t.Helper()
	exe, err := s.target.main()
	if err != nil {
		t.Fatal(err)
	}
	defer exe.close()
	sym, err := exe.cFunction(function)
	if err != nil {
		t.Fatal(err)
	}
	return exe.function(sym).Site.File
}

// A probe that is never hit, although it should have been, is said to be.
func TestStockServerWithFunctionsThatAreNotEntered(t *testing.T) {
	withStockServers(t, testStockServerWithFunctionsThatAreNotEntered)
}

func testStockServerWithFunctionsThatAreNotEntered(t *testing.T, s *redisServer) {
	c := s.dial(t)
	source, coll := watchCalls(t, s.Process.Pid, func(source *callSource, _ map[string]any) {
		for _, all := range [][]callProbe{source.probes, source.phases} {
			for i := range all {
				if p := &all[i]; p.program != callsProgCallStart {
					// As an inlined function: it is there and not entered.
					p.at = probes{offsets: []uint64{source.site(t, "rdbLoad")}}
				}
			}
		}
	})
	c.do("SET string x")
	for range enough {
		c.do("LPUSH string x")
	}
	limits, err := source.limitsNow(coll)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"the end of call is in", "afterErrorReply is in", "readQueryFromClient is in", "afterSleep is in"} {
		if i >= len(limits) || !strings.Contains(limits[i], want) {
			t.Fatalf("%q: no %q", limits, want)
		}
	}
}

// What other servers and kernels need, on this one.
func TestStockCommandsSeenOtherwise(t *testing.T) {
	withStockServers(t, testStockCommandsSeenOtherwise)
}

func testStockCommandsSeenOtherwise(t *testing.T, s *redisServer) {
	c := s.dial(t)
	for _, test := range []struct {
		name   string
		change func(*callSource, map[string]any)
	}{
		{"several threads", func(_ *callSource, constants map[string]any) { constants[callsVarManyThreads] = true }},
		{"processes not told apart", func(_ *callSource, constants map[string]any) { constants[callsVarTargetOnly] = false }},
		{"return of call", func(source *callSource, _ map[string]any) {
			source.probes[0].at = probes{offsets: []uint64{source.site(t, "call")}, returns: true}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			source, coll := watchCalls(t, s.Process.Pid, test.change)
			c.do("MULTI")
			c.do("EVAL \"return redis.call('GET', 'key')\" 0")
			c.do("SET key value")
			c.do("EXEC")
			c.reply()
			c.reply()
			c.do("GET")
			totals, err := source.totals(coll)
			var ends, refused, calls uint64
			if err := errors.Join(err, source.counts(&calls, new(uint64)), readVariables(coll, map[string]*uint64{callsVarEnds: &ends, callsVarRefused: &refused})); err != nil {
				t.Fatal(err)
			}
			if ends != 5 || refused != 1 || totals.Missed != 0 || totals.CallsBefore+5 != calls {
				t.Errorf("%d ends, %d refused, %+v; the server counts %d", ends, refused, totals, calls)
			}
		})
	}
}

// Where other threads read, the calls are seen all the same.
func TestStockServersWithIOThreads(t *testing.T) {
	needEBPF(t)
	for _, test := range []struct {
		name  string
		start func(*testing.T) *redisServer
	}{
		{"redis-server", func(t *testing.T) *redisServer {
			require.Tool(t, "redis")
			return startRedisServer(t, "redis-server", "--save", "", "--io-threads", "2", "--io-threads-do-reads", "yes")
		}},
		{"valkey-server", func(t *testing.T) *redisServer {
			return startRedisServer(t, require.Valkey(t), "--save", "", "--io-threads", "2", "--events-per-io-thread", "0")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.start(t)
			stop := s.mixedLoad(t)
			defer stop()
			w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1000, Phases: true})
			until(t, "commands", func() bool { return w.totals(t).Seen > 5000 })
			if err := w.Detach(); err != nil {
				t.Fatal(err)
			}
			if got := w.totals(t); got.Seen != got.Sent+got.Filtered+got.Dropped || got.Missed > 3 {
				t.Errorf("%+v", got)
			}
			for _, r := range w.records(t) {
				if r.ReadStart != 0 {
					t.Errorf("%+v", r)
				}
			}
			limits, err := w.Limits()
			if err != nil || len(limits) == 0 || !strings.Contains(limits[0], "2 threads read") {
				t.Errorf("%q %v", limits, err)
			}
		})
	}
}

func TestStockServerExits(t *testing.T) {
	s := newStockServer(t)
	c := s.dial(t)
	c.do("PING")
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1})
	c.do("PING")
	s.Process.Kill()
	s.Wait()
	var names []string
	err := w.Drain(func(r *CommandRecord) { names = append(names, r.Name) })
	if !errors.Is(err, ErrExited) || len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
	if err := w.Detach(); err != nil {
		t.Error(err)
	}
	if got := w.totals(t); got.Seen != 1 || got.Sent != 1 {
		t.Errorf("%+v", got)
	}
}

func TestWatchCommandsOfNoServer(t *testing.T) {
	needEBPF(t)
	sleep := exec.Command("sleep", "100")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sleep.Process.Kill(); sleep.Wait() })
	_, err := StartCommandWatcher(CommandOptions{PID: sleep.Process.Pid})
	if err == nil || !strings.Contains(err.Error(), `no function "call"`) && !strings.Contains(err.Error(), "no symbol table") {
		t.Error(err)
	}
}
