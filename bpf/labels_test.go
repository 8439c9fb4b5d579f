package bpf

import (
	"bufio"
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
	for name, start := range map[string]func(testing.TB) *redisServer{"redscope": newRedisServer, "redis-server": newStockServer} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.prefixLoad(t, "SET user:%d value", "ZADD order:%d 1 a 2 b 3 c", "LRANGE order:list%.0d 0 -1",
				"RPUSH order:list%.0d a", "LTRIM order:list%.0d -100 -1", "GET plain%.0d", "PING %d", "NONSENSE %d")
			profile := recordLabels(t, ProfileOptions{PID: s.Process.Pid, Frequency: 1999, KeySeparator: ':'}, 3*time.Second)
			total := profile.Count()
			t.Log(total, "samples", byLabel(profile, func(s Sample) string { return s.Command }))
			t.Log(byLabel(profile, func(s Sample) string { return s.Phase }))
			t.Log(byLabel(profile, func(s Sample) string { return s.Key }))
			var within, labelled uint64
			type tally struct{ right, wrong uint64 }
			functions := map[string]*tally{}
			for _, s := range profile.Samples {
				stack := userNames(s)
				if s.Command == "" || s.Phase == "" {
					t.Errorf("no label for %v", stack)
				}
				if s.Phase == "other" || s.Phase == "loop" || s.Command == "(unknown command)" {
					t.Log(s.Count, s.Labels, s.Comm, stack)
				}
				if !slices.Contains(stack, "processCommand") {
					continue
				}
				within += s.Count
				if s.Command[0] != '(' || s.Command == "(unknown command)" {
					labelled += s.Count
				} else {
					t.Log("not labelled:", s.Count, s.Labels, stack)
				}
				for function, want := range map[string]Labels{
					"setCommand": {"SET", "", "user:"}, "zaddCommand": {"ZADD", "", "order:"}, "zaddGenericCommand": {"ZADD", "", "order:"},
					"lrangeCommand": {"LRANGE", "", "order:"}, "getCommand": {"GET", "", NoPrefix}, "getGenericCommand": {"GET", "", NoPrefix},
				} {
					if !slices.Contains(stack, function) {
						continue
					}
					f := functions[function]
					if f == nil {
						f = new(tally)
						functions[function] = f
					}
					if s.Command == want.Command && s.Key == want.Key {
						f.right += s.Count
					} else {
						f.wrong += s.Count
						t.Log("wrong:", s.Count, s.Labels, stack)
					}
				}
			}
			t.Logf("%d of %d samples in processCommand are labelled; %d unread, %d folded", labelled, within, profile.Unread, profile.Folded)
			for f, n := range functions {
				t.Log(f, *n)
			}
		})
	}
}
