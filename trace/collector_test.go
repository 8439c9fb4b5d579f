package trace

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// A collector takes OTLP over gRPC and over HTTP and counts spans.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	mu       sync.Mutex
	spans    int
	names    map[string]int
	header   string // x-test
	path     string
	rejected int64 // answered as a partial success
}

func (c *collector) take(r *collectorpb.ExportTraceServiceRequest) *collectorpb.ExportTraceServiceResponse {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names == nil {
		c.names = make(map[string]int)
	}
	for _, rs := range r.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			c.spans += len(ss.Spans)
			for _, s := range ss.Spans {
				c.names[s.Name]++
			}
		}
	}
	answer := &collectorpb.ExportTraceServiceResponse{}
	if c.rejected > 0 {
		answer.PartialSuccess = &collectorpb.ExportTracePartialSuccess{RejectedSpans: c.rejected, ErrorMessage: "too many"}
	}
	return answer
}

func (c *collector) Export(ctx context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		c.mu.Lock()
		c.header = strings.Join(md.Get("x-test"), ",")
		c.mu.Unlock()
	}
	return c.take(r), nil
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	b, err := io.ReadAll(body)
	var request collectorpb.ExportTraceServiceRequest
	switch {
	case err != nil:
	case r.Header.Get("Content-Type") == "application/json":
		err = unmarshalOTLP(b, &request)
	default:
		err = proto.Unmarshal(b, &request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.header, c.path = r.Header.Get("x-test"), r.URL.Path
	c.mu.Unlock()
	answer, _ := proto.Marshal(c.take(&request))
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.Write(answer)
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serve starts c and returns its gRPC and its HTTP address.
func (c *collector) serve(t *testing.T) (grpcAddr, httpAddr string) {
	t.Helper()
	gl, hl := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
	g := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(g, c)
	go g.Serve(gl)
	h := &http.Server{Handler: c}
	go h.Serve(hl)
	t.Cleanup(func() { g.Stop(); h.Close() })
	return gl.Addr().String(), hl.Addr().String()
}

// Every way to name a collector reaches it, with headers.
func TestDestinations(t *testing.T) {
	for _, c := range []struct {
		name     string
		endpoint string            // of Options
		env      map[string]string // GRPC and HTTP stand for the addresses
		path     string            // of the HTTP request
	}{
		{"host and port", "GRPC", nil, ""},
		{"URL", "http://HTTP", nil, "/v1/traces"},
		{"URL with a path", "http://HTTP/some/where", nil, "/some/where"},
		{"URL, protocol grpc", "http://GRPC", map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ""},
		{"option before environment", "GRPC", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, ""},
		{"endpoint variable", "", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://HTTP"}, "/v1/traces"},
		{"endpoint variable, grpc", "", map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://GRPC", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, ""},
		{"traces endpoint variable", "", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://HTTP/x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "/x"},
		{"JSON", "http://HTTP", map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "/v1/traces"},
		{"gzip", "http://HTTP", map[string]string{"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, "/v1/traces"},
		{"gzip, grpc", "GRPC", map[string]string{"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}, ""},
		{"exporter none, but an option", "http://HTTP", map[string]string{"OTEL_TRACES_EXPORTER": "none"}, "/v1/traces"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearEnv(t)
			col := &collector{}
			g, h := col.serve(t)
			place := strings.NewReplacer("GRPC", g, "HTTP", h)
			for k, v := range c.env {
				t.Setenv(k, place.Replace(v))
			}
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-test=yes")
			tr := newTestWithEnv(t, Options{Endpoint: place.Replace(c.endpoint)})
			(&script{h: tr.Hooks(), now: t0}).do(7, cmd{set})
			shutdown(t, tr)
			equal(t, "spans", []any{col.spans, col.names["SET"], col.names["setCommand"]}, []any{4, 1, 1})
			equal(t, "header", col.header, "yes")
			equal(t, "path", col.path, c.path)
			equal(t, "stats", tr.Stats().Collector, Delivery{Delivered: 4})
		})
	}
}

// What switches tracing off leaves no hooks behind.
func TestNothingToDo(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		env  [2]string
	}{
		{"no destination", Options{}, [2]string{}},
		{"disabled", Options{Endpoint: "127.0.0.1:1"}, [2]string{"OTEL_SDK_DISABLED", "true"}},
		{"always off", Options{Endpoint: "127.0.0.1:1"}, [2]string{"OTEL_TRACES_SAMPLER", "always_off"}},
		{"exporter none", Options{}, [2]string{"OTEL_TRACES_EXPORTER", "none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			clearEnv(t)
			if c.env[0] != "" {
				t.Setenv(c.env[0], c.env[1])
			}
			tr := newTestWithEnv(t, c.o)
			if tr.Hooks() != nil {
				t.Error("has hooks")
			}
			equal(t, "stats", tr.Stats(), Stats{})
			shutdown(t, tr)
		})
	}
}

func TestWrongOptions(t *testing.T) {
	name := func(int) string { return "SET" }
	for _, c := range []struct {
		o    Options
		env  string // name=value
		want string
	}{
		{Options{Sample: 1.5, CommandName: name}, "", "sample 1.5"},
		{Options{Sample: -1, CommandName: name}, "", "sample -1"},
		{Options{Ring: 1000, CommandName: name}, "", "ring 1000"},
		{Options{}, "", "no CommandName"},
		{Options{Endpoint: "localhost", CommandName: name}, "", "give http://host:port"},
		{Options{Endpoint: "ftp://localhost:1", CommandName: name}, "", "give http://host:port"},
		{Options{Endpoint: "http://", CommandName: name}, "", "give http://host:port"},
		{Options{Endpoint: "http://a b:1", CommandName: name}, "", "give http://host:port"},
		{Options{File: "/nonexistent/trace.json", CommandName: name}, "", "/nonexistent/trace.json"},
		{Options{CommandName: name}, "OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4318", "OTEL_EXPORTER_OTLP_ENDPOINT localhost:4318: give http://"},
		{Options{CommandName: name}, "OTEL_TRACES_EXPORTER=zipkin", "give otlp or none"},
		{Options{CommandName: name}, "OTEL_TRACES_SAMPLER=sometimes", "give always_on"},
		{Options{CommandName: name}, "OTEL_BSP_SCHEDULE_DELAY=5s", "OTEL_BSP_SCHEDULE_DELAY=5s: give a number from 0"},
		{Options{CommandName: name}, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=0", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=0: give a number from 1"},
		{Options{Endpoint: "http://a:1", CommandName: name}, "OTEL_EXPORTER_OTLP_PROTOCOL=udp", "give grpc, http/protobuf or http/json"},
	} {
		clearEnv(t)
		if k, v, ok := strings.Cut(c.env, "="); ok {
			t.Setenv(k, v)
		}
		_, err := New(context.Background(), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "trace: ") {
			t.Errorf("%+v %s: error %v, want one that says %q", c.o.Endpoint, c.env, err, c.want)
		}
	}
}

func TestSampleFromEnv(t *testing.T) {
	for _, c := range []struct {
		sampler, arg string
		want         float64
		bad          bool
	}{
		{"", "", 1, false},
		{"always_on", "0.5", 1, false},
		{"parentbased_always_on", "", 1, false},
		{"always_off", "", 0, false},
		{"parentbased_always_off", "", 0, false},
		{"traceidratio", "0.25", 0.25, false},
		{"ParentBased_TraceIDRatio", " 0.01 ", 0.01, false},
		{"traceidratio", "", 1, false}, // the specification's default
		{"traceidratio", "2", 0, true},
		{"traceidratio", "NaN", 0, true},
		{"traceidratio", "some", 0, true},
		{"jaeger_remote", "", 0, true},
	} {
		t.Setenv("OTEL_TRACES_SAMPLER", c.sampler)
		t.Setenv("OTEL_TRACES_SAMPLER_ARG", c.arg)
		got, err := sampleFromEnv()
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s %s: %v, %v", c.sampler, c.arg, got, err)
		}
	}
}

// lines collects what a Tracer logs.
type lines struct {
	mu sync.Mutex
	s  []string
}

func (l *lines) log(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s = append(l.s, line)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.s...)
}

// sets plays n reads of one SET.
func sets(s *script, n int) {
	for range n {
		s.loop++
		r := s.do(7, cmd{set})
		s.write(s.read, 7, r, false)
	}
}

// Collectors that misbehave in every way: the hooks stay quick, memory stays
// bounded by the ring, every span is accounted for, Shutdown ends when told,
// and the user reads one line.
func TestBadCollectors(t *testing.T) {
	// net/http prints a line for each unsolicited answer.
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	hang := func(c net.Conn) { io.Copy(io.Discard, c) }
	garbage := func(c net.Conn) {
		go io.Copy(io.Discard, c)
		io.WriteString(c, strings.Repeat("+PONG\r\n", 100))
		time.Sleep(10 * time.Millisecond)
		c.Close()
	}
	closing := func(c net.Conn) { c.Close() }
	html := func(c net.Conn) {
		go io.Copy(io.Discard, c)
		io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 34\r\nConnection: close\r\n\r\n<html>\n<body>\nNo such page\n</html>\n")
		time.Sleep(50 * time.Millisecond)
		c.Close()
	}
	for _, scheme := range []string{"http://", ""} {
		for name, behave := range map[string]func(net.Conn){
			"refuses": nil, "hangs": hang, "garbage": garbage, "closes": closing, "html": html,
		} {
			protocol := "grpc "
			if scheme != "" {
				protocol = "http "
			}
			t.Run(protocol+name, func(t *testing.T) {
				clearEnv(t)
				t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "300") // ms
				t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")     // ms
				t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "300")    // ms, retries included
				t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2048")
				t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512")
				l := listen(t, "127.0.0.1:0")
				if behave == nil {
					l.Close()
				}
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						t.Cleanup(func() { c.Close() })
						go behave(c)
					}
				}()
				var log lines
				tr := newTestWithEnv(t, Options{Endpoint: scheme + l.Addr().String(), Ring: 1024, Log: log.log})
				s := &script{h: tr.Hooks(), now: t0}
				// 60,000 events, 58 times the ring. Waiting for the collector
				// would take a timeout of 300 ms per 512 spans: a minute.
				begin := time.Now()
				sets(s, 20000)
				if d := time.Since(begin); d > 20*time.Second {
					t.Errorf("the hooks took %v", d)
				}
				for end := begin.Add(30 * time.Second); len(log.all()) == 0 && time.Now().Before(end); {
					time.Sleep(10 * time.Millisecond)
				}
				for range 3 { // and no second line
					sets(s, 100)
					time.Sleep(30 * time.Millisecond)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
				defer cancel()
				err := tr.Shutdown(ctx)
				got := tr.Stats()
				if lost := fmt.Sprint(got.Collector.Lost, " spans lost"); err != nil && !strings.Contains(err.Error(), lost) {
					t.Errorf("error %v, want one that says %q", err, lost)
				}
				t.Logf("%+v; %v; %q", got, err, log.all())
				equal(t, "events", got.Events, 3*s.read)
				equal(t, "kept + dropped", got.Kept+got.Dropped, 3*s.read)
				equal(t, "spans lost", got.Collector, Delivery{Lost: got.Spans})
				if got.Spans == 0 || got.Dropped == 0 {
					t.Error("nothing was lost: the test did not test")
				}
				if n := len(log.all()); n != 1 {
					t.Errorf("%d lines were logged", n)
				} else if line := log.all()[0]; !strings.Contains(line, l.Addr().String()) || strings.Contains(line, "\n") {
					t.Errorf("the line is %q", line)
				}
			})
		}
	}
}

// Shutdown ends when its context does, although the exporter would wait for
// half a minute and the ring is full behind it, and counts what it leaves.
func TestShutdownGivesUp(t *testing.T) {
	tr := newTest(t, Options{client: &keeper{delay: time.Hour}, Ring: 1024})
	s := &script{h: tr.Hooks(), now: t0}
	for tr.Stats().Dropped == 0 {
		sets(s, 1000)
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err := tr.Shutdown(ctx)
	if d := time.Since(begin); d > 20*time.Second {
		t.Errorf("Shutdown took %v", d)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	got := tr.Stats()
	equal(t, "events", []uint64{got.Events, got.Kept + got.Dropped}, []uint64{3 * s.read, 3 * s.read})
	equal(t, "spans", got.Collector, Delivery{Lost: got.Spans})
	equal(t, "pending", got.Pending, 0)
}

// A collector that disappears midway and comes back: what was lost is counted,
// and each change is one line.
func TestCollectorGoesAndReturns(t *testing.T) {
	clearEnv(t)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	col := &collector{}
	var down atomic.Bool
	l := listen(t, "127.0.0.1:0")
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		col.ServeHTTP(w, r)
	})}
	go h.Serve(l)
	t.Cleanup(func() { h.Close() })

	var log lines
	tr := newTestWithEnv(t, Options{Endpoint: "http://" + l.Addr().String(), Log: log.log})
	s := &script{h: tr.Hooks(), now: t0}
	wait := func(what string, f func(Delivery) bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !f(tr.Stats().Collector); {
			if time.Now().After(end) {
				t.Fatalf("%s: %+v", what, tr.Stats())
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	sets(s, 10)
	wait("up", func(d Delivery) bool { return d.Delivered == 50 })
	down.Store(true)
	sets(s, 20)
	wait("down", func(d Delivery) bool { return d.Lost > 0 })
	sets(s, 20)
	wait("down", func(d Delivery) bool { return d.Lost == 200 })
	down.Store(false)
	sets(s, 30)
	shutdown(t, tr)
	equal(t, "delivery", tr.Stats().Collector, Delivery{Delivered: 200, Lost: 200})
	equal(t, "collected", col.spans, 200)
	got := log.all()
	if len(got) != 2 || !strings.Contains(got[0], "500") || !strings.Contains(got[1], "again; 200 were lost") {
		t.Errorf("logged %q", got)
	}
}

// A collector that takes a batch but not all of it says how many it refused.
func TestPartialSuccess(t *testing.T) {
	for _, protocol := range []string{"grpc", "http"} {
		clearEnv(t)
		col := &collector{rejected: 3}
		g, h := col.serve(t)
		endpoint := g
		if protocol == "http" {
			endpoint = "http://" + h
		}
		var log lines
		tr := newTestWithEnv(t, Options{Endpoint: endpoint, Log: log.log})
		sets(&script{h: tr.Hooks(), now: t0}, 2)
		shutdown(t, tr)
		equal(t, protocol, tr.Stats().Collector, Delivery{Delivered: 7, Lost: 3})
		if got := log.all(); len(got) != 1 || !strings.Contains(got[0], "too many") {
			t.Errorf("%s: logged %q", protocol, got)
		}
	}
}
