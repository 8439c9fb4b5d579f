package trace_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/engine"
	"github.com/redscope/redscope/internal/require"
	"github.com/redscope/redscope/trace"
)

// jaeger is a running Jaeger all-in-one with in-memory storage.
type jaeger struct {
	grpc, http, query string // addresses
}

// startJaeger starts one on free ports and stops it at the end of the test.
func startJaeger(t *testing.T) jaeger {
	t.Helper()
	path := require.Jaeger(t)
	var free []string
	var listeners []net.Listener
	for range 7 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		free = append(free, l.Addr().String())
	}
	for _, l := range listeners {
		l.Close() // now, so that the seven differ
	}
	j := jaeger{grpc: free[0], http: free[1], query: free[2]}
	cmd := exec.Command(path,
		"--collector.otlp.grpc.host-port="+j.grpc,
		"--collector.otlp.http.host-port="+j.http,
		"--query.http-server.host-port="+j.query,
		"--query.grpc-server.host-port="+free[3],
		"--admin.http.host-port="+free[4],
		"--collector.grpc-server.host-port="+free[5],
		"--collector.http-server.host-port="+free[6],
	)
	// A test that is killed must not leave it running.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// Jaeger would also trace itself, into port 4317.
	cmd.Env = append(cmd.Environ(), "SPAN_STORAGE_TYPE=memory", "OTEL_TRACES_SAMPLER=always_off")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("Jaeger said:\n%s", log.Bytes())
		}
	})
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		select {
		case <-exited:
			t.Fatal("Jaeger ended")
		default:
		}
		if time.Now().After(end) {
			t.Fatal("Jaeger does not answer")
		}
		if r, err := http.Get("http://" + free[4] + "/"); err == nil { // health check
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return j
			}
		}
	}
}

// The answer of Jaeger's /api/traces, as far as it is looked at.
type jaegerTrace struct {
	TraceID   string
	Spans     []jaegerSpan
	Processes map[string]struct {
		ServiceName string
		Tags        []jaegerTag
	}
}

type jaegerTag struct {
	Key   string
	Type  string
	Value any
}

type jaegerSpan struct {
	SpanID        string
	OperationName string
	References    []struct{ RefType, TraceID, SpanID string }
	StartTime     int64 // µs since the epoch
	Duration      int64 // µs
	Tags          []jaegerTag
	Logs          []struct{ Fields []jaegerTag }
	Warnings      []string
}

// traces asks for the traces of service until there are n.
func (j jaeger) traces(t *testing.T, service string, n int) []jaegerTrace {
	t.Helper()
	var body struct{ Data []jaegerTrace }
	q := url.Values{"service": {service}, "limit": {"100"}, "lookback": {"custom"},
		"start": {fmt.Sprint(time.Now().Add(-time.Hour).UnixMicro())},
		"end":   {fmt.Sprint(time.Now().Add(time.Hour).UnixMicro())}}
	for end := time.Now().Add(20 * time.Second); len(body.Data) < n; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("Jaeger has %d traces of %s, want %d", len(body.Data), service, n)
		}
		r, err := http.Get("http://" + j.query + "/api/traces?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		body.Data = nil
		err = json.NewDecoder(r.Body).Decode(&body)
		r.Body.Close()
		if err != nil {
			t.Fatalf("%s: %v", r.Status, err)
		}
	}
	slices.SortFunc(body.Data, func(a, b jaegerTrace) int { return int(a.root().StartTime - b.root().StartTime) })
	return body.Data
}

func (tr jaegerTrace) root() (r jaegerSpan) {
	for _, s := range tr.Spans {
		if s.parent() == "" {
			return s
		}
	}
	return r
}

func (s jaegerSpan) parent() string {
	for _, r := range s.References {
		if r.RefType == "CHILD_OF" {
			return r.SpanID
		}
	}
	return ""
}

// outline prints the tree with times in µs after the root's start.
func (tr jaegerTrace) outline() string {
	spans := slices.Clone(tr.Spans)
	slices.SortStableFunc(spans, func(a, b jaegerSpan) int { return int(a.StartTime - b.StartTime) })
	var b strings.Builder
	var walk func(string, string)
	walk = func(parent, indent string) {
		for _, s := range spans {
			if s.parent() == parent {
				at := s.StartTime - tr.root().StartTime
				fmt.Fprintf(&b, "%s%s %d-%d\n", indent, s.OperationName, at, at+s.Duration)
				walk(s.SpanID, indent+"  ")
			}
		}
	}
	walk("", "")
	return b.String()
}

func (tr jaegerTrace) span(t *testing.T, name string) jaegerSpan {
	t.Helper()
	for _, s := range tr.Spans {
		if s.OperationName == name {
			return s
		}
	}
	t.Fatalf("no span is called %s", name)
	return jaegerSpan{}
}

func tags(kv []jaegerTag) string {
	var s []string
	for _, t := range kv {
		s = append(s, fmt.Sprintf("%s=%v", t.Key, t.Value))
	}
	slices.Sort(s)
	return strings.Join(s, "\n")
}

// A real Jaeger, given two SETs in one turn of the loop and a GET that fails,
// returns the trees with all attributes.
func TestJaeger(t *testing.T) {
	j := startJaeger(t)
	for _, c := range []struct{ name, endpoint string }{
		{"grpc", j.grpc},
		{"http", "http://" + j.http},
	} {
		t.Run(c.name, func(t *testing.T) {
			service := "redscope-" + c.name
			t.Setenv("OTEL_SERVICE_NAME", service)
			tr, err := trace.New(context.Background(), trace.Options{
				Endpoint: c.endpoint, Sample: 1, QueryText: true, Version: "9.9.9",
				CommandName: func(i int) string { return []string{"SET", "GET"}[i] },
				Log:         func(line string) { t.Error(line) },
			})
			if err != nil {
				t.Fatal(err)
			}
			play(tr.Hooks())
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			if err := tr.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
			if s := tr.Stats(); s.Collector.Delivered != 13 || s.Kept != 7 || s.Events != 7 {
				t.Fatalf("%+v", s)
			}

			traces := j.traces(t, service, 2)
			same(t, "tree of a SET", traces[0].outline(), `readQueryFromClient 0-110
  SET 30-80
    call 40-70
      setCommand 50-60
  writeToClient 100-110
`)
			set := traces[0].span(t, "SET")
			same(t, "tags of SET", tags(set.Tags), `db.namespace=2
db.operation.name=SET
db.query.text=SET test:key:name ?
db.system.name=redis
network.peer.address=127.0.0.1
network.peer.port=51234
network.transport=tcp
otel.scope.name=github.com/redscope/redscope/trace
redscope.batch.position=0
redscope.command.arguments=3
redscope.command.dirty=1
redscope.reply.size=5
server.address=127.0.0.1
server.port=6379
span.kind=internal`)
			same(t, "tags of the root", tags(traces[0].root().Tags), `db.system.name=redis
network.peer.address=127.0.0.1
network.peer.port=51234
network.transport=tcp
otel.scope.name=github.com/redscope/redscope/trace
redscope.client.id=7
redscope.loop=1
redscope.read.bytes=51
redscope.read.commands=1
server.address=127.0.0.1
server.port=6379
span.kind=server`)
			same(t, "the root's event", tags(traces[0].root().Logs[0].Fields), "event=read")
			process := traces[0].Processes["p1"]
			same(t, "service", process.ServiceName, service)
			if p := tags(process.Tags); !strings.Contains(p, "service.version=9.9.9") || !strings.Contains(p, "process.pid=") || !strings.Contains(p, "host.name=") {
				t.Errorf("tags of the process:\n%s", p)
			}

			same(t, "tree of the pipeline", traces[1].outline(), `readQueryFromClient 0-180
  SET 30-80
    call 40-70
      setCommand 50-60
  GET 100-150
    call 110-140
      getCommand 120-130
  writeToClient 170-180
`)
			if root := tags(traces[1].root().Tags); !strings.Contains(root, "db.operation.batch.size=2") ||
				!strings.Contains(root, "db.operation.name=PIPELINE\n") {
				t.Errorf("tags of the pipeline:\n%s", root)
			}
			get := traces[1].span(t, "GET")
			for _, want := range []string{"db.response.status_code=WRONGTYPE", "error.type=WRONGTYPE", "error=true", "otel.status_code=ERROR"} {
				if !strings.Contains("\n"+tags(get.Tags)+"\n", "\n"+want+"\n") {
					t.Errorf("GET has no %s:\n%s", want, tags(get.Tags))
				}
			}
			// Jaeger shows a link as a reference FOLLOWS_FROM.
			second := traces[1].span(t, "SET")
			if !slices.Contains(second.References, struct{ RefType, TraceID, SpanID string }{"FOLLOWS_FROM", traces[0].TraceID, set.SpanID}) {
				t.Errorf("the second SET does not link to the first: %v", second.References)
			}
			if !slices.Contains(get.References, struct{ RefType, TraceID, SpanID string }{"FOLLOWS_FROM", traces[1].TraceID, second.SpanID}) {
				t.Errorf("GET does not link to the SET before it: %v", get.References)
			}
			for _, tr := range traces {
				for _, s := range tr.Spans {
					if len(s.Warnings) > 0 {
						t.Errorf("Jaeger warns about %s: %v", s.OperationName, s.Warnings)
					}
				}
			}
		})
	}
}

// play calls the hooks as an event loop would, each step 10 µs after the one
// before: a SET of one client, and in the same turn a SET and a GET of another.
func play(h *engine.Hooks) {
	now := time.Now().Add(-time.Second).Truncate(time.Millisecond).UnixNano()
	next := func() int64 { now += 10_000; return now }
	command := func(e engine.CommandEvent) {
		e.Loop, e.DB, e.KeyPos = 1, 2, 1
		e.KeyLen = copy(e.Key[:], "test:key:name")
		e.Parse, e.Process, e.CallStart, e.ProcStart = next(), next(), next(), next()
		e.ProcEnd, e.CallEnd, e.End = next(), next(), next()
		h.CommandDone(e)
	}
	read := func(id, client uint64, bytes int, commands ...engine.CommandEvent) {
		r := engine.ReadEvent{Read: id, Client: client, Loop: 1, Bytes: bytes, Commands: len(commands), DB: 2,
			Peer: "127.0.0.1:51234", Local: "127.0.0.1:6379"}
		r.Start, r.ReadEnd = next(), next()
		for i, e := range commands {
			e.Read, e.Client, e.Batch = id, client, i
			command(e)
		}
		r.End = next()
		h.ReadDone(r)
	}
	write := func(id, client uint64, bytes int) {
		w := engine.WriteEvent{Read: id, Client: client, Loop: 1, Bytes: bytes}
		w.Start, w.End = next(), next()
		h.ReplyWritten(w)
	}
	set := engine.CommandEvent{Command: 0, Args: 3, Dirty: 1, ReplySize: 5}
	get := engine.CommandEvent{Command: 1, Args: 2, ReplySize: 68}
	get.ErrLen = copy(get.Err[:], "WRONGTYPE")

	h.SampleRead(7)
	read(1, 7, 51, set)
	write(1, 7, 5)
	h.SampleRead(8)
	read(2, 8, 84, set, get)
	write(2, 8, 73)
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
	}
}
