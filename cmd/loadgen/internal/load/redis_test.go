package load_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/redscope/redscope/cmd/loadgen/internal/child"
	"github.com/redscope/redscope/cmd/loadgen/internal/load"
	"github.com/redscope/redscope/cmd/loadgen/internal/query"
	"github.com/redscope/redscope/internal/port"
	"github.com/redscope/redscope/internal/require"
)

// redis starts a stock redis-server with the given flags.
func redis(t testing.TB, flags ...string) (load.Target, *query.Conn) {
	t.Helper()
	require.Tool(t, "redis")
	port := port.Free(t)
	args := append([]string{"redis-server", "--port", fmt.Sprint(port), "--save", ""}, flags...)
	s, err := child.Start(context.Background(), args, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	c, err := query.Dial(child.Host, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return load.Target{Host: child.Host, Port: port}, c
}

// What the generator counts is what the server counts.
func TestCountsAreTheServers(t *testing.T) {
	target, c := redis(t)
	for _, run := range []struct {
		name string
		opts load.Options
	}{
		{"plain", load.Options{Requests: 5000, Clients: 20, Pipeline: 1}},
		{"pipelined, threads", load.Options{Requests: 50001, Clients: 20, Pipeline: 16, Threads: 2}},
		{"rate", load.Options{Requests: 1000, Clients: 3, Pipeline: 4, Rate: 20000}},
		{"reconnecting", load.Options{Requests: 300, Clients: 3, Pipeline: 2, Reconnect: true}},
		{"RESP3", load.Options{Requests: 500, Clients: 3, Pipeline: 2, Target: load.Target{RESP3: true, DB: 3}}},
	} {
		t.Run(run.name, func(t *testing.T) {
			if _, err := c.Do("CONFIG", "RESETSTAT"); err != nil {
				t.Fatal(err)
			}
			opts := run.opts
			opts.Target.Host, opts.Target.Port = target.Host, target.Port
			opts.Command = load.Command{Args: []string{"SET", "key:" + load.RandInt, "VXK"}}
			opts.Keyspace = 1000
			res, err := load.Run(context.Background(), opts)
			if err != nil {
				t.Fatal(err)
			}
			calls, err := c.Calls("set")
			if err != nil {
				t.Fatal(err)
			}
			if calls != opts.Requests || res.Requests != calls || res.Errors != 0 {
				t.Errorf("%d requests were wanted, %d counted with %d errors, the server executed %d", opts.Requests, res.Requests, res.Errors, calls)
			}
		})
	}
}

// Replies of every shape, as the server really sends them.
func TestReplyShapes(t *testing.T) {
	target, _ := redis(t, "--enable-debug-command", "yes")
	for _, protocol3 := range []bool{false, true} {
		target.RESP3 = protocol3
		for _, args := range [][]string{
			{"COMMAND"}, {"COMMAND", "DOCS"}, {"CONFIG", "GET", "*"}, {"INFO"}, {"GET", "nothing"}, {"XINFO", "HELP"},
			{"DEBUG", "PROTOCOL", "attrib"}, {"DEBUG", "PROTOCOL", "push"}, {"CLIENT", "LIST"}, {"HELLO"}, {"EVAL", "return {1,{2,{3,false}},'x'}", "0"},
		} {
			res, err := load.Run(context.Background(), load.Options{
				Target: target, Command: load.Command{Args: args}, Keyspace: -1, Requests: 50, Clients: 3, Pipeline: 5,
			})
			if err != nil || res.Requests != 50 {
				t.Errorf("RESP3 %v, %q: %+v, %v", protocol3, args, res, err)
			}
		}
	}
}

func TestPassword(t *testing.T) {
	target, c := redis(t)
	if _, err := c.Do("CONFIG", "SET", "requirepass", "secret"); err != nil {
		t.Fatal(err)
	}
	opts := load.Options{Target: target, Command: load.Command{Inline: "PING"}, Requests: 10, Clients: 1, Pipeline: 1}
	res, err := load.Run(context.Background(), opts)
	if err != nil || res.Errors != 10 || res.FirstError != "NOAUTH Authentication required." {
		t.Errorf("without a password: %+v, %v", res, err)
	}
	opts.Target.Password = "secret"
	if res, err = load.Run(context.Background(), opts); err != nil || res.Errors != 0 {
		t.Errorf("with the password: %+v, %v", res, err)
	}
	opts.Target.Password = "wrong"
	if _, err = load.Run(context.Background(), opts); err == nil {
		t.Error("a wrong password was accepted")
	}
}

// A run allocates for its connections and its end, not for its requests.
func TestRequestsDoNotAllocate(t *testing.T) {
	target, _ := redis(t)
	mallocs := func(requests int64, rate float64) int64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := load.Run(context.Background(), load.Options{
			Target: target, Command: load.Command{Args: []string{"SET", "key:" + load.RandInt, load.SeqInt}},
			Keyspace: 1000, SeqStart: "0", Requests: requests, Clients: 10, Pipeline: 4, Rate: rate,
		})
		if err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return int64(after.Mallocs - before.Mallocs)
	}
	for _, rate := range []float64{0, 200000} {
		mallocs(100, rate)
		few := mallocs(100, rate)
		many := mallocs(20100, rate)
		// The runtime's own work, a new thread for one, allows for some.
		if many-few > 200 {
			t.Errorf("rate %v: 100 requests allocate %d times, 20,100 %d times", rate, few, many)
		}
	}
}

// The rate against a real server, with the generator's own CPU time.
func BenchmarkRedis(b *testing.B) {
	target, _ := redis(b)
	for _, pipeline := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("P=%d", pipeline), func(b *testing.B) {
			b.ReportAllocs()
			res, err := load.Run(context.Background(), load.Options{
				Target: target, Command: load.Command{Args: []string{"SET", "key:" + load.RandInt, "VXK"}},
				Keyspace: 1000000, Requests: int64(b.N), Clients: 50, Pipeline: pipeline,
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(res.CPU.Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}
