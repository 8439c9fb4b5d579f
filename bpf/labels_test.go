package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// prefixLoad sends commands of several kinds on keys of two prefixes, many at once and
// one by one, until the test ends.
func (s *redisServer) prefixLoad(t testing.TB, lines ...string) {
	t.Helper()
	done := make(chan struct{})
	var wait sync.WaitGroup
	for n := range 4 {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err != nil {
			t.Fatal(err)
		}
		batch := 1
		if n%2 == 0 {
			batch = 16
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
				var b strings.Builder
				for i := range batch {
					fmt.Fprintf(&b, lines[(n+i)%len(lines)]+"\r\n", n*batch+i)
				}
				fmt.Fprintf(conn, "%sECHO end%d\r\n", b.String(), n)
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
	t.Cleanup(func() { close(done); wait.Wait() })
}

func recordLabels(t *testing.T, opts ProfileOptions, cpu time.Duration) *Profile {
	t.Helper()
	opts.Labels = true
	p, err := StartProfile(opts)
	if err != nil {
		t.Fatal(err)
	}
	burn(t, opts.PID, cpu)
	profile, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	return profile
}

// byLabel sums up a profile.
func byLabel(p *Profile, of func(Sample) string) map[string]uint64 {
	sums := map[string]uint64{}
	for _, s := range p.Samples {
		sums[of(s)] += s.Count
	}
	return sums
}

func userNames(s Sample) []string {
	return names(slices.DeleteFunc(slices.Clone(s.Stack), func(f Frame) bool { return f.Kernel }))
}

// What was read from the server's memory at a sample must be what the sample's stack
// shows.
func TestLabels(t *testing.T) {
	cpu, least := 3*time.Second, uint64(500) // time, samples
	if testing.Short() {
		cpu, least = time.Second, 150
	}
	for name, start := range map[string]func(testing.TB) *redisServer{
		"redscope": newRedisServer, "redis-server": newStockServer, "valkey-server": newValkeyServer,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.prefixLoad(t, "SET user:%d value", "ZADD order:%d 1 a 2 b 3 c", "LRANGE order:list%.0d 0 -1",
				"RPUSH order:list%.0d a", "LTRIM order:list%.0d -100 -1", "GET plain%.0d", "PING %d", "NONSENSE %d", "CONFIG GET maxclients%.0d")
			profile := recordLabels(t, ProfileOptions{PID: s.Process.Pid, Frequency: 1999, KeySeparator: ':'}, cpu)
			commands := byLabel(profile, func(s Sample) string { return s.Command })
			phases := byLabel(profile, func(s Sample) string { return s.Phase })
			t.Log(profile.Count(), "samples:", commands)
			t.Log(phases)
			t.Log(byLabel(profile, func(s Sample) string { return s.Key }))
			want := map[string]Labels{
				"setCommand": {"SET", "", "user:"}, "zaddCommand": {"ZADD", "", "order:"}, "zaddGenericCommand": {"ZADD", "", "order:"},
				"lrangeCommand": {"LRANGE", "", "order:"}, "getCommand": {"GET", "", NoPrefix}, "getGenericCommand": {"GET", "", NoPrefix},
				"configGetCommand": {"CONFIG GET", "", ""}, "pingCommand": {"PING", "", ""},
			}
			var within, labelled, right, wrong uint64
			for _, s := range profile.Samples {
				stack := userNames(s)
				if s.Command == "" || s.Phase == "" {
					t.Errorf("%q %q for %v", s.Command, s.Phase, stack)
				}
				if !slices.Contains(stack, "processCommand") {
					continue
				}
				within += s.Count
				if s.Command != "("+s.Phase+")" {
					labelled += s.Count
				}
				for function, want := range want {
					switch {
					case !slices.Contains(stack, function):
					case s.Command == want.Command && s.Key == want.Key:
						right += s.Count
					default:
						wrong += s.Count
						t.Log("wrong:", s.Count, s.Labels, stack)
					}
				}
			}
			t.Logf("%d of %d samples in processCommand are labelled, and %d of %d in a command's function as that; %d unread, %d folded",
				labelled, within, right, right+wrong, profile.Unread, profile.Folded)
			if within < least || labelled*100 < within*95 {
				t.Errorf("%d of %d samples in processCommand are labelled", labelled, within)
			}
			if right < least/2 || wrong*100 > right {
				t.Errorf("%d samples have the label of the function on their stack, %d another", right, wrong)
			}
			for _, command := range []string{"SET", "ZADD", "LRANGE", "RPUSH", "LTRIM", "GET", "PING", "CONFIG GET", "(unknown command)", "(write)"} {
				if commands[command] == 0 {
					t.Errorf("no sample of %s", command)
				}
			}
			for _, phase := range []string{"read", "parse", "process", "execute", "write"} {
				if phases[phase] == 0 {
					t.Errorf("no sample of the phase %s", phase)
				}
			}
			if unnamed := phases["other"]; unnamed*100 > profile.Count() {
				t.Errorf("%d of %d samples have no phase", unnamed, profile.Count())
			}
			if profile.Unread != 0 || profile.Folded != 0 || profile.Lost != 0 || len(profile.Limits) != 0 {
				t.Errorf("%d unread, %d folded, %d lost, %q", profile.Unread, profile.Folded, profile.Lost, profile.Limits)
			}
		})
	}
}

// Of commands that others call, the label is the inner one's.
func TestLabelsOfNestedCommands(t *testing.T) { withStockServers(t, testLabelsOfNestedCommands) }

func testLabelsOfNestedCommands(t *testing.T, s *redisServer) {
	c := s.dial(t)
	c.do(`FUNCTION LOAD "#!lua name=lib\nredis.register_function('push', function(keys) for i=1,50 do redis.call('rpush', keys[1], 'x') end end)"`)
	s.prefixLoad(t, "MULTI\r\nSET multi:%d value\r\nSET multi:x value\r\nEXEC", "FCALL push 1 function:%d",
		`EVAL "for i=1,50 do redis.call('zadd', KEYS[1], i, 'x') end" 1 script:%d`)
	cpu, least := 2*time.Second, uint64(20) // time, samples
	if testing.Short() {
		cpu, least = time.Second, 5
	}
	profile := recordLabels(t, ProfileOptions{PID: s.Process.Pid, Frequency: 1999, KeySeparator: ':'}, cpu)
	t.Log(byLabel(profile, func(s Sample) string { return s.Command + " " + s.Key }))
	push := "RPUSH"
	if s.layout(t).serverExecutingClient == 0 {
		push = "PUSH" // its client is not known: the command is by the function, the key the caller's
	}
	for function, want := range map[string]Labels{
		"setCommand": {"SET", "", "multi:"}, "zsetAdd": {"ZADD", "", "script:"},
		"pushGenericCommand": {push, "", "function:"},
	} {
		var right, wrong uint64
		for _, s := range profile.Samples {
			switch {
			case !slices.Contains(userNames(s), function):
			case s.Command == want.Command && s.Key == want.Key:
				right += s.Count
			default:
				wrong += s.Count
				t.Log("wrong:", s.Count, s.Labels, userNames(s))
			}
		}
		if right < least || wrong*100 > right {
			t.Errorf("%s: %d samples are labelled %v, %d otherwise", function, right, want, wrong)
		}
	}
}

// A server of which nothing is known but its functions.
func TestLabelsOfUnknownVersion(t *testing.T) {
	known := serverLayouts
	serverLayouts = nil
	t.Cleanup(func() { serverLayouts = known })
	s := newStockServer(t)
	s.prefixLoad(t, "SET user:%d value", "ZADD order:%d 1 a 2 b 3 c")
	profile := recordLabels(t, ProfileOptions{PID: s.Process.Pid, Frequency: 1999, KeySeparator: ':'}, time.Second)
	commands := byLabel(profile, func(s Sample) string { return s.Command })
	t.Log(commands)
	if commands["SET"] == 0 || commands["ZADD"] == 0 || commands["(write)"] == 0 {
		t.Errorf("%v", commands)
	}
	for _, s := range profile.Samples {
		if stack := userNames(s); s.Key != "" || slices.Contains(stack, "setCommand") != (s.Command == "SET") {
			t.Errorf("%v of %v", s.Labels, stack)
		}
	}
	if len(profile.Limits) != 1 || !strings.Contains(profile.Limits[0], "by their functions on the stack") {
		t.Errorf("%q", profile.Limits)
	}
}

// Where the memory is not what it should be, nothing is made up: what cannot be read is
// counted, what is read and is no command counts for nothing.
func TestLabelsOfMemoryThatIsOtherwise(t *testing.T) {
	known := serverLayouts
	t.Cleanup(func() { serverLayouts = known })
	s := newStockServer(t)
	s.prefixLoad(t, "SET user:%d value", "ZADD order:%d 1 a 2 b 3 c")
	for name, at := range map[string]uint64{"no memory": 1 << 50, "something else": 8} {
		layout := known[0]
		layout.serverCurrentClient = at
		serverLayouts = []serverLayout{layout}
		profile := recordLabels(t, ProfileOptions{PID: s.Process.Pid, Frequency: 1999, KeySeparator: ':'}, 500*time.Millisecond)
		commands := byLabel(profile, func(s Sample) string { return s.Command })
		t.Log(name, commands, profile.Unread)
		if (profile.Unread > 0) != (name == "no memory") {
			t.Errorf("%s: %d samples could not be read", name, profile.Unread)
		}
		for _, s := range profile.Samples {
			if stack := userNames(s); slices.Contains(stack, "setCommand") != (s.Command == "SET") {
				t.Errorf("%s: %v of %v", name, s.Labels, stack)
			}
		}
		if commands["SET"] == 0 {
			t.Errorf("%s: %v", name, commands)
		}
	}
}

// Clients choose keys: however many prefixes they make up, the profile has its bound,
// and says what it left out.
func TestLabelsOfManyPrefixes(t *testing.T) {
	defer func(n uint32) { maxPrefixes = n }(maxPrefixes)
	maxPrefixes = 100
	s := newRedisServer(t)
	c := s.dial(t)
	for n := range 60 {
		c.do(fmt.Sprint("SADD big member", n))
	}
	// Work that leaves nothing behind.
	s.prefixLoad(t, "SDIFFSTORE user%d:1 big big", `SDIFFSTORE "\xff\x01\";<b>%d:1" big big`, "SDIFFSTORE %d"+strings.Repeat("x", 40)+":1 big big")
	profile := recordLabels(t, ProfileOptions{PID: s.Process.Pid, Frequency: 4999, KeySeparator: ':'}, time.Second)
	keys := byLabel(profile, func(s Sample) string { return s.Key })
	t.Logf("%d samples, %d keys, %d folded", profile.Count(), len(keys), profile.Folded)
	if n := len(keys); n < 50 || n > 100+3 {
		t.Errorf("%d prefixes", n)
	}
	if profile.Folded == 0 || keys[OtherPrefixes] != profile.Folded {
		t.Errorf("%d samples of %s, %d folded", keys[OtherPrefixes], OtherPrefixes, profile.Folded)
	}
	if keys[NoPrefix] == 0 { // the separator comes too late
		t.Errorf("no sample of %s", NoPrefix)
	}
	for key := range keys {
		if key != "" && key[0] != '(' && (!strings.HasSuffix(key, ":") || printable(key) != key) {
			t.Errorf("the prefix %q", key)
		}
	}
	if profile.Lost != 0 {
		t.Errorf("%d samples lost", profile.Lost)
	}
}

// Time off the CPU is labelled as time on it is.
func TestLabelsOffCPU(t *testing.T) {
	needEBPF(t)
	needTables(t)
	for name, start := range map[string]func(testing.TB) *redisServer{
		"redscope": newRedisServer, "redis-server": newStockServer, "valkey-server": newValkeyServer,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			c := s.dial(t)
			p, err := StartProfile(ProfileOptions{PID: s.Process.Pid, OffCPU: true, Labels: true})
			if err != nil {
				t.Fatal(err)
			}
			for range 40 {
				c.do("DEBUG SLEEP 0.01")
			}
			const idle = 500 * time.Millisecond // of which it may wait for a CPU before it sleeps
			time.Sleep(idle)
			profile, err := p.Stop()
			if err != nil {
				t.Fatal(err)
			}
			commands := byLabel(profile, func(s Sample) string { return s.Command })
			t.Log(commands)
			// Nine in ten, as in TestOffCPUOfKnownSleeps.
			if commands["DEBUG"] < 360_000 || commands["DEBUG"] > uint64(profile.Duration.Microseconds()) || commands["(sleep)"] < uint64(idle.Microseconds()/2) {
				t.Errorf("in %v: %v µs", profile.Duration, commands)
			}
		})
	}
}

// The server's end takes its memory; the names were read before.
func TestLabelsOfAServerThatExits(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *redisServer{
		"redscope": newRedisServer, "redis-server": newStockServer, "valkey-server": newValkeyServer,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.prefixLoad(t, "SET user:%d value")
			p, err := StartProfile(ProfileOptions{PID: s.Process.Pid, Frequency: 1999, Labels: true})
			if err != nil {
				t.Fatal(err)
			}
			burn(t, s.Process.Pid, 500*time.Millisecond)
			s.Process.Kill()
			s.Wait()
			profile, err := p.Stop()
			if err != nil {
				t.Fatal(err)
			}
			if commands := byLabel(profile, func(s Sample) string { return s.Command }); commands["SET"] == 0 {
				t.Errorf("%v", commands)
			}
		})
	}
}

func TestProfileWithoutLabels(t *testing.T) {
	s := newRedisServer(t)
	s.prefixLoad(t, "SET user:%d value")
	p, err := StartProfile(ProfileOptions{PID: s.Process.Pid})
	if err != nil {
		t.Fatal(err)
	}
	burn(t, s.Process.Pid, 300*time.Millisecond)
	profile, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range profile.Samples {
		if s.Labels != (Labels{}) {
			t.Errorf("%+v", s.Labels)
		}
	}
	sleep := start(t, buildDeep(t), "plain", "5")
	if _, err := StartProfile(ProfileOptions{PID: sleep.Process.Pid, Labels: true}); !errors.Is(err, ErrNoCommands) {
		t.Errorf("the labels of no server: %v", err)
	}
}

func TestLabelsByStack(t *testing.T) {
	stack := func(symbols ...string) (frames []Frame) {
		for _, s := range symbols {
			frames = append(frames, Frame{Symbol: s})
		}
		return frames
	}
	l := new(labeler)
	for _, test := range []struct {
		stack []Frame
		want  Labels
	}{
		{stack("lookupKey", "getGenericCommand", "call", "processCommand", "main"), Labels{"GET", "execute", ""}},
		{stack("genericHgetallCommand", "call"), Labels{"HGETALL", "execute", ""}},
		{stack("_Z9lookupKeyP7redisDb", "_Z10setCommandP6client", "_Z4callP6clienti", "_Z14processCommandP6clienti"), Labels{"SET", "execute", ""}},
		{stack("incrDecrCommand", "call", "scriptCall", "evalGenericCommand", "call", "processCommand"), Labels{"INCRDECR", "execute", ""}},
		{stack("performEvictions", "processCommand", "processInputBuffer"), Labels{"(evict)", "evict", ""}},
		{stack("epoll_wait", "aeMain", "main"), Labels{"(sleep)", "sleep", ""}},
		{stack("runtime.gcDrain", "runtime.gcBgMarkWorker.func2", "runtime.gcBgMarkWorker"), Labels{"(gc)", "gc", ""}},
		{stack("_Z", "_Z99x", "_Zx", ""), Labels{"(other)", "other", ""}},
		{nil, Labels{"(other)", "other", ""}},
	} {
		if got := l.of(profileLabel{}, false, test.stack); got != test.want {
			t.Errorf("%v: %+v, want %+v", names(test.stack), got, test.want)
		}
	}
}
