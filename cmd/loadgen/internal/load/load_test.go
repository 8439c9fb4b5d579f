package load

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a stand-in that answers each line "PING" by what answer returns;
// an empty answer closes the connection.
func server(t testing.TB, answer func(n int) string) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	n := 0
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					if _, err := in.ReadString('\n'); err != nil {
						return
					}
					mu.Lock()
					n++
					reply := answer(n)
					mu.Unlock()
					if reply == "" {
						return
					}
					if _, err := io.WriteString(c, reply); err != nil {
						return
					}
				}
			}()
		}
	}()
	addr := l.Addr().(*net.TCPAddr)
	return Target{Host: "127.0.0.1", Port: addr.Port}
}

func pong(int) string { return "+PONG\r\n" }

var ping = Command{Inline: "PING"}

func TestEveryRequestIsAnsweredOnce(t *testing.T) {
	for _, c := range []struct {
		name                       string
		requests                   int64
		clients, pipeline, threads int
		rate                       float64
		reconnect, hold            bool
	}{
		{"one by one", 100, 1, 1, 1, 0, false, false},
		{"short last batch", 1001, 7, 16, 1, 0, false, false},
		{"more clients than requests", 3, 50, 1, 2, 0, false, false},
		{"threads", 10000, 10, 4, 3, 0, false, false},
		{"reconnecting", 200, 5, 1, 2, 0, true, false},
		{"last one held", 1000, 10, 3, 2, 0, false, true},
		{"only the last one", 1, 2, 1, 2, 0, false, true},
		{"rate", 500, 3, 2, 2, 20000, false, false},
		{"rate, last one held", 100, 3, 2, 2, 20000, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, err := Run(context.Background(), Options{
				Target: server(t, pong), Command: ping, Requests: c.requests, Clients: c.clients, Pipeline: c.pipeline,
				Threads: c.threads, Rate: c.rate, Reconnect: c.reconnect, HoldLast: c.hold,
				Progress: func(Progress) {}, Every: time.Millisecond,
			})
			if err != nil {
				t.Fatal(err)
			}
			if res.Requests != c.requests || res.Latency.TotalCount() != c.requests || res.Errors != 0 {
				t.Errorf("%d requests, %d latencies, %d errors; want %d, %d, 0", res.Requests, res.Latency.TotalCount(), res.Errors, c.requests, c.requests)
			}
		})
	}
}

func TestHeldRequestComesLast(t *testing.T) {
	var mu sync.Mutex
	var order []string
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					if !strings.HasPrefix(line, "n") {
						continue
					}
					mu.Lock()
					order = append(order, strings.TrimSpace(line))
					slow := len(order)%7 == 0
					mu.Unlock()
					if slow {
						time.Sleep(time.Millisecond)
					}
					io.WriteString(c, "+OK\r\n")
				}
			}()
		}
	}()
	_, err = Run(context.Background(), Options{
		Target:  Target{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port},
		Command: Command{Args: []string{"n" + SeqInt}}, Keyspace: -1, SeqStart: "000",
		Requests: 300, Clients: 9, Pipeline: 2, Threads: 2, HoldLast: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(order) != 300 || order[299] != "n299" {
		t.Fatalf("%d requests, the last is %s; want 300, n299", len(order), order[len(order)-1])
	}
	slices.Sort(order)
	if n := len(slices.Compact(order)); n != 300 {
		t.Errorf("%d different numbers were sent, want 300", n)
	}
}

func TestErrorsAreCounted(t *testing.T) {
	res, err := Run(context.Background(), Options{
		Target:  server(t, func(n int) string { return map[bool]string{true: "-ERR odd\r\n", false: "+PONG\r\n"}[n%2 == 1] }),
		Command: ping, Requests: 100, Clients: 3, Pipeline: 2, Threads: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.Errors != 50 || res.FirstError != "ERR odd" {
		t.Errorf("%d errors, the first %q; want 50, ERR odd", res.Errors, res.FirstError)
	}
}

func TestLostConnection(t *testing.T) {
	res, err := Run(context.Background(), Options{
		Target:  server(t, func(n int) string { return map[bool]string{true: "+PONG\r\n"}[n <= 10] }),
		Command: ping, Requests: 1000, Clients: 2, Pipeline: 1, Threads: 2,
	})
	var lost *LostError
	if !errors.As(err, &lost) {
		t.Fatalf("got %v, want a LostError", err)
	}
	if res == nil || res.Requests == 0 || res.Requests > 10 {
		t.Errorf("the result of what was done until then is %+v", res)
	}
}

func TestNotAServer(t *testing.T) {
	_, err := Run(context.Background(), Options{
		Target: server(t, func(int) string { return "HTTP/1.1 400 Bad Request\r\n\r\n" }), Command: ping, Requests: 10, Clients: 1, Pipeline: 1,
	})
	if err == nil || !strings.Contains(err.Error(), "where a reply should begin") {
		t.Errorf("got %v", err)
	}
	_, err = Run(context.Background(), Options{
		Target: server(t, func(int) string { return "+PONG\r\n+PONG\r\n" }), Command: ping, Requests: 10, Clients: 1, Pipeline: 1,
	})
	if err == nil || !strings.Contains(err.Error(), "more replies") {
		t.Errorf("got %v", err)
	}
}

func TestRefusedPassword(t *testing.T) {
	target := server(t, func(int) string { return "-WRONGPASS invalid username-password pair or user is disabled.\r\n" })
	target.Password = "x"
	_, err := Run(context.Background(), Options{Target: target, Command: ping, Requests: 1, Clients: 1, Pipeline: 1})
	if err == nil || !strings.Contains(err.Error(), "AUTH was refused") || !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("got %v", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answer := func(n int) string {
		if n == 100 {
			cancel()
		}
		return pong(n)
	}
	res, err := Run(ctx, Options{Target: server(t, answer), Command: ping, Clients: 2, Pipeline: 1})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if res == nil || res.Requests == 0 {
		t.Errorf("what was done until then is missing: %+v", res)
	}
}

// Percentiles are compared with those of the sorted sample.
func TestQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	h := newHistogram()
	sample := make([]int64, 100000)
	for i := range sample {
		// 1 µs to a minute, as many in each power of ten.
		exp := rng.Float64() * 7.778
		sample[i] = int64(1000 * pow10(exp))
		if err := h.RecordValue(sample[i]); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(sample)
	res := &Result{Latency: h}
	for _, q := range []float64{0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999} {
		want := sample[int(q*float64(len(sample)))-1]
		got := int64(res.Quantile(q))
		// The neighbours in the sample allow for rounding of the rank.
		next := sample[int(q*float64(len(sample)))]
		if float64(got) < 0.99*float64(want) || float64(got) > 1.01*float64(next) {
			t.Errorf("p%v is %v, want %v ± 1 %%", 100*q, time.Duration(got), time.Duration(want))
		}
	}
	if got, want := int64(res.Quantile(1)), sample[len(sample)-1]; float64(got) < 0.99*float64(want) || float64(got) > 1.01*float64(want) {
		t.Errorf("the maximum is %d, want %d ± 1 %%", got, want)
	}
}

func pow10(x float64) float64 {
	r := 1.0
	for ; x >= 1; x-- {
		r *= 10
	}
	// Linear within a power of ten: the shape of the sample does not matter.
	return r * (1 + 9*x)
}

// A stall of the server is charged to every request that was due meanwhile.
func TestRateChargesStalls(t *testing.T) {
	const stall = 200 * time.Millisecond
	target := server(t, func(n int) string {
		if n == 50 {
			time.Sleep(stall) // with the lock held: nobody is answered
		}
		return "+PONG\r\n"
	})
	res, err := Run(context.Background(), Options{Target: target, Command: ping, Requests: 500, Clients: 2, Pipeline: 1, Rate: 1000})
	if err != nil {
		t.Fatal(err)
	}
	// 200 of the 500 were due during the stall, their delays falling from 200 ms
	// to nothing: 100 waited for more than half of it. Measured from the moment
	// of sending it would have been two.
	slow := int64(0)
	for _, b := range res.Latency.Distribution() {
		if b.From >= int64(stall/2) {
			slow += b.Count
		}
	}
	if slow < 60 {
		t.Errorf("%d requests took more than %v, want about 100", slow, stall/2)
	}
	if res.Elapsed < 490*time.Millisecond {
		t.Errorf("500 requests at 1000 a second took %v", res.Elapsed)
	}
}

func TestPartialWrites(t *testing.T) {
	// 64 MiB in flight exceed the socket's buffers by far.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	value := strings.Repeat("x", 1<<20)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		time.Sleep(20 * time.Millisecond)
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if len(line) == len(value)+2 {
				if line != value+"\r\n" {
					io.WriteString(c, "-ERR the value is damaged\r\n")
				} else {
					io.WriteString(c, "+OK\r\n")
				}
			}
		}
	}()
	res, err := Run(context.Background(), Options{
		Target:  Target{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port},
		Command: Command{Args: []string{"SET", "k", value}}, Keyspace: -1, Requests: 64, Clients: 1, Pipeline: 64,
	})
	if err != nil || res.Requests != 64 || res.Errors != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
}

// One request of the closed loop over the loopback, the stand-in's share included.
func BenchmarkRun(b *testing.B) {
	target := server(b, pong)
	b.ReportAllocs()
	res, err := Run(context.Background(), Options{Target: target, Command: ping, Requests: int64(b.N), Clients: 10, Pipeline: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(res.CPU.Nanoseconds())/float64(b.N), "cpu-ns/op")
}
