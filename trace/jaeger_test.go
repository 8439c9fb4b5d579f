package trace_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/engine"
	"github.com/redscope/redscope/internal/jaeger"
	"github.com/redscope/redscope/trace"
)

// A real Jaeger, given two SETs in one turn of the loop and a GET that fails,
// returns the trees with all attributes.
func TestJaeger(t *testing.T) {
	j := jaeger.Start(t)
	for _, c := range []struct{ name, endpoint string }{
		{"grpc", j.GRPC},
		{"http", "http://" + j.HTTP},
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
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := tr.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
			if s := tr.Stats(); s.Collector.Delivered != 13 || s.Kept != 7 || s.Events != 7 {
				t.Fatalf("%+v", s)
			}

			traces := j.Traces(t, service, 2)
			same(t, "tree of a SET", traces[0].Outline(times(traces[0])), `readQueryFromClient 0-110
  SET 30-80
    call 40-70
      setCommand 50-60
  writeToClient 100-110
`)
			set := traces[0].Span(t, "SET")
			same(t, "tags of SET", set.Tags.String(), `db.namespace=2
db.operation.name=SET
db.query.text=SET test:key:name ?
db.system.name=redis
network.peer.address=127.0.0.1
network.peer.port=51234
otel.scope.name=github.com/redscope/redscope/trace
server.address=127.0.0.1
server.port=6379
span.kind=internal`)
			same(t, "tags of the root", traces[0].Root().Tags.String(), `db.system.name=redis
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
			same(t, "the root's event", traces[0].Root().Logs[0].Fields.String(), "event=read")
			process := traces[0].Processes["p1"]
			same(t, "service", process.ServiceName, service)
			if p := process.Tags.String(); !strings.Contains(p, "service.version=9.9.9") || !strings.Contains(p, "process.pid=") || !strings.Contains(p, "host.name=") {
				t.Errorf("tags of the process:\n%s", p)
			}

			same(t, "tree of the pipeline", traces[1].Outline(times(traces[1])), `readQueryFromClient 0-180
  SET 30-80
    call 40-70
      setCommand 50-60
  GET 100-150
    call 110-140
      getCommand 120-130
  writeToClient 170-180
`)
			if root := traces[1].Root().Tags.String(); !strings.Contains(root, "db.operation.batch.size=2") ||
				!strings.Contains(root, "db.operation.name=PIPELINE\n") {
				t.Errorf("tags of the pipeline:\n%s", root)
			}
			get := traces[1].Span(t, "GET")
			for _, want := range []string{"db.response.status_code=WRONGTYPE", "error.type=WRONGTYPE", "error=true", "otel.status_code=ERROR"} {
				if !strings.Contains("\n"+get.Tags.String()+"\n", "\n"+want+"\n") {
					t.Errorf("GET has no %s:\n%s", want, get.Tags.String())
				}
			}
			// Jaeger shows a link as a reference FOLLOWS_FROM.
			second := traces[1].Span(t, "SET")
			if !slices.Contains(second.References, jaeger.Reference{RefType: "FOLLOWS_FROM", TraceID: traces[0].TraceID, SpanID: set.SpanID}) {
				t.Errorf("the second SET does not link to the first: %v", second.References)
			}
			if !slices.Contains(get.References, jaeger.Reference{RefType: "FOLLOWS_FROM", TraceID: traces[1].TraceID, SpanID: second.SpanID}) {
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

// times labels a span with its times in µs after the root's start.
func times(tr jaeger.Trace) func(jaeger.Span) string {
	return func(s jaeger.Span) string {
		at := s.StartTime - tr.Root().StartTime
		return fmt.Sprintf(" %d-%d", at, at+s.Duration)
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
	set := engine.CommandEvent{Command: 0, Args: 3, ReplySize: 5}
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
