package trace

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redscope/redscope/engine"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// keeper is an OTLP client that keeps the spans that it is given, decoded from
// what would go over the wire.
type keeper struct {
	mu    sync.Mutex
	sent  []*tracepb.ResourceSpans
	spans tracetest.SpanStubs
	delay time.Duration // per batch
}

func (*keeper) Start(context.Context) error { return nil }
func (*keeper) Stop(context.Context) error  { return nil }

func (k *keeper) UploadTraces(ctx context.Context, rs []*tracepb.ResourceSpans) error {
	if k.delay > 0 {
		select {
		case <-time.After(k.delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: rs})
	if err != nil {
		return err
	}
	var data tracepb.TracesData
	if err := proto.Unmarshal(b, &data); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sent = append(k.sent, data.ResourceSpans...)
	for _, r := range data.ResourceSpans {
		for _, ss := range r.ScopeSpans {
			for _, s := range ss.Spans {
				k.spans = append(k.spans, stub(s))
			}
		}
	}
	return nil
}

// stub returns s in the form that the SDK has for tests.
func stub(s *tracepb.Span) tracetest.SpanStub {
	context := func(id, span []byte, flags uint32) trace.SpanContext {
		return trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID(id), SpanID: trace.SpanID(span), TraceFlags: trace.TraceFlags(flags),
		})
	}
	at := func(ns uint64) time.Time { return time.Unix(0, int64(ns)) }
	t := tracetest.SpanStub{
		Name:        s.Name,
		SpanContext: context(s.TraceId, s.SpanId, s.Flags),
		SpanKind:    trace.SpanKind(s.Kind), // numbered as in OTLP
		StartTime:   at(s.StartTimeUnixNano),
		EndTime:     at(s.EndTimeUnixNano),
		Attributes:  keyValues(s.Attributes),
	}
	if len(s.ParentSpanId) > 0 {
		t.Parent = context(s.TraceId, s.ParentSpanId, s.Flags)
	}
	for _, e := range s.Events {
		t.Events = append(t.Events, sdktrace.Event{Name: e.Name, Time: at(e.TimeUnixNano)})
	}
	for _, l := range s.Links {
		t.Links = append(t.Links, sdktrace.Link{SpanContext: context(l.TraceId, l.SpanId, l.Flags)})
	}
	if s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		t.Status = sdktrace.Status{Code: codes.Error, Description: s.Status.Message}
	}
	return t
}

func keyValues(kv []*commonpb.KeyValue) (a []attribute.KeyValue) {
	for _, kv := range kv {
		switch v := kv.Value.Value.(type) {
		case *commonpb.AnyValue_IntValue:
			a = append(a, attribute.Int64(kv.Key, v.IntValue))
		case *commonpb.AnyValue_StringValue:
			a = append(a, attribute.String(kv.Key, v.StringValue))
		default:
			panic(fmt.Sprintf("%s has a value of type %T", kv.Key, v))
		}
	}
	return a
}

// The commands of the tests, by index.
var names = []string{"SET", "GET", "CONFIG GET"}

const (
	setID = iota
	getID
	configGetID
)

// clearEnv unsets what the machine may have set.
func clearEnv(t testing.TB) {
	t.Helper()
	for _, v := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
		"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TIMEOUT",
		"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT",
		"OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
	} {
		t.Setenv(v, "")
	}
}

func newTest(t testing.TB, o Options) *Tracer {
	t.Helper()
	clearEnv(t)
	return newTestWithEnv(t, o)
}

func newTestWithEnv(t testing.TB, o Options) *Tracer {
	t.Helper()
	o.CommandName = func(i int) string { return names[i] }
	if o.Log == nil {
		o.Log = func(line string) { t.Log(line) }
	}
	tr, err := New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		tr.Shutdown(ctx)
	})
	return tr
}

func shutdown(t testing.TB, tr *Tracer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := tr.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}

// t0 is when the tests' events happen.
var t0 = time.Date(2026, 3, 14, 15, 9, 26, 535897932, time.UTC).UnixNano()

// A script plays an event loop: reads, commands and writes, one after another,
// each step taking 1 µs.
type script struct {
	h        *engine.Hooks
	read     uint64
	loop     uint64
	now      int64
	commands int
}

func (s *script) tick() int64 { s.now += 1000; return s.now }

// set is a SET that succeeds; the functions below change it.
func set(e *engine.CommandEvent) {
	e.Command, e.Args, e.KeyPos, e.ReplySize = setID, 3, 1, 5
	e.KeyLen = copy(e.Key[:], "test:key:name")
}

func get(e *engine.CommandEvent) {
	e.Command, e.Args, e.KeyPos, e.ReplySize = getID, 2, 1, 17
	e.KeyLen = copy(e.Key[:], "test:key:name")
}

func refused(e *engine.CommandEvent) {
	e.CallStart, e.ProcStart, e.ProcEnd, e.CallEnd = 0, 0, 0, 0
}

func unknown(e *engine.CommandEvent) {
	refused(e)
	e.Command, e.Args, e.ReplySize = -1, 2, 40
	fail("ERR")(e)
}

func fail(prefix string) func(*engine.CommandEvent) {
	return func(e *engine.CommandEvent) { e.ErrLen = copy(e.Err[:], prefix) }
}

// do plays one read with a command per element of commands, without its write,
// and returns the bytes of its replies.
func (s *script) do(client uint64, commands ...[]func(*engine.CommandEvent)) int {
	s.read++
	r := engine.ReadEvent{
		Read: s.read, Client: client, Loop: s.loop, Bytes: 51 * len(commands), Commands: len(commands),
		Peer: "127.0.0.1:51234", Local: "127.0.0.1:7379",
	}
	r.Start, r.ReadEnd = s.tick(), s.tick()
	replies := 0
	for i, fs := range commands {
		e := engine.CommandEvent{Read: s.read, Client: client, Loop: s.loop, Batch: i, DB: 3}
		e.Parse, e.Process, e.CallStart, e.ProcStart = s.tick(), s.tick(), s.tick(), s.tick()
		e.ProcEnd, e.CallEnd, e.End = s.tick(), s.tick(), s.tick()
		for _, f := range fs {
			f(&e)
		}
		replies += e.ReplySize
		s.h.CommandDone(e)
		s.commands++
	}
	r.End = s.tick()
	s.h.ReadDone(r)
	return replies
}

func (s *script) write(read, client uint64, n int, failed bool) {
	w := engine.WriteEvent{Read: read, Client: client, Loop: s.loop, Bytes: n, Failed: failed}
	w.Start, w.End = s.tick(), s.tick()
	s.h.ReplyWritten(w)
}

type cmd = []func(*engine.CommandEvent)

// spans runs play against a Tracer and returns what it exported.
func spans(t *testing.T, o Options, play func(*script)) (tracetest.SpanStubs, Stats) {
	t.Helper()
	k := &keeper{}
	o.client = k
	tr := newTest(t, o)
	play(&script{h: tr.Hooks(), now: t0, loop: 1})
	shutdown(t, tr)
	checkTrees(t, k.spans)
	return k.spans, tr.Stats()
}

// checkTrees fails unless every span has its parent among spans and lies
// within it, in the same trace.
func checkTrees(t *testing.T, spans tracetest.SpanStubs) {
	t.Helper()
	byID := make(map[trace.SpanID]tracetest.SpanStub)
	for _, s := range spans {
		if _, twice := byID[s.SpanContext.SpanID()]; twice {
			t.Errorf("span id %s given twice", s.SpanContext.SpanID())
		}
		byID[s.SpanContext.SpanID()] = s
	}
	for _, s := range spans {
		if s.EndTime.Before(s.StartTime) {
			t.Errorf("%s ends before it starts", s.Name)
		}
		if !s.Parent.IsValid() {
			if s.Name != "readQueryFromClient" {
				t.Errorf("%s is a root", s.Name)
			}
			continue
		}
		p, ok := byID[s.Parent.SpanID()]
		switch {
		case !ok:
			t.Errorf("%s: its parent %s is missing", s.Name, s.Parent.SpanID())
		case p.SpanContext.TraceID() != s.SpanContext.TraceID():
			t.Errorf("%s and its parent %s are in two traces", s.Name, p.Name)
		case s.StartTime.Before(p.StartTime) || s.EndTime.After(p.EndTime):
			t.Errorf("%s [%d, %d] is not within %s [%d, %d]", s.Name, s.StartTime.UnixNano()-t0,
				s.EndTime.UnixNano()-t0, p.Name, p.StartTime.UnixNano()-t0, p.EndTime.UnixNano()-t0)
		}
	}
}

// tree prints spans as an outline, siblings in order of start, roots too.
func tree(spans tracetest.SpanStubs) string {
	children := make(map[trace.SpanID][]tracetest.SpanStub)
	for _, s := range spans {
		children[s.Parent.SpanID()] = append(children[s.Parent.SpanID()], s)
	}
	var b strings.Builder
	var walk func(trace.SpanID, string)
	walk = func(id trace.SpanID, indent string) {
		c := children[id]
		slices.SortFunc(c, func(x, y tracetest.SpanStub) int { return x.StartTime.Compare(y.StartTime) })
		for _, s := range c {
			fmt.Fprintf(&b, "%s%s %d-%d\n", indent, s.Name,
				(s.StartTime.UnixNano()-t0)/1000, (s.EndTime.UnixNano()-t0)/1000)
			walk(s.SpanContext.SpanID(), indent+"  ")
		}
	}
	walk(trace.SpanID{}, "")
	return b.String()
}

func find(t *testing.T, spans tracetest.SpanStubs, name string, n int) tracetest.SpanStub {
	t.Helper()
	var found tracetest.SpanStubs
	for _, s := range spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(x, y tracetest.SpanStub) int { return x.StartTime.Compare(y.StartTime) })
	if n >= len(found) {
		t.Fatalf("%d spans are called %s, so there is no number %d", len(found), name, n)
	}
	return found[n]
}

func attributes(s tracetest.SpanStub) map[string]any {
	m := make(map[string]any)
	for _, kv := range s.Attributes {
		if _, twice := m[string(kv.Key)]; twice {
			m[string(kv.Key)] = "given twice"
		}
		m[string(kv.Key)] = kv.Value.AsInterface()
	}
	return m
}

func equalAttributes(t *testing.T, s tracetest.SpanStub, want map[string]any) {
	t.Helper()
	got := attributes(s)
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %s is %v, want %v", s.Name, k, got[k], v)
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: unexpected attribute %s = %v", s.Name, k, v)
		}
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s:\n%v\nwant\n%v", what, got, want)
	}
}

func TestTreeOfSet(t *testing.T) {
	got, stats := spans(t, Options{}, func(s *script) {
		s.write(1, 7, s.do(7, cmd{set}), false)
	})
	equal(t, "tree", tree(got), `readQueryFromClient 1-12
  SET 4-9
    call 5-8
      setCommand 6-7
  writeToClient 11-12
`)
	where := map[string]any{
		"db.system.name":       "redis",
		"network.peer.address": "127.0.0.1", "network.peer.port": int64(51234),
		"server.address": "127.0.0.1", "server.port": int64(7379),
	}
	with := func(more map[string]any) map[string]any {
		for k, v := range where {
			more[k] = v
		}
		return more
	}
	root := find(t, got, "readQueryFromClient", 0)
	equalAttributes(t, root, with(map[string]any{
		"network.transport": "tcp", "redscope.client.id": int64(7), "redscope.loop": int64(1),
		"redscope.read.bytes": int64(51), "redscope.read.commands": int64(1),
	}))
	equal(t, "kind of the root", root.SpanKind, trace.SpanKindServer)
	equal(t, "read event", root.Events[0].Time.UnixNano()-t0, 2000)
	command := find(t, got, "SET", 0)
	equalAttributes(t, command, with(map[string]any{
		"db.operation.name": "SET", "db.namespace": "3",
	}))
	equal(t, "kind of the command", command.SpanKind, trace.SpanKindInternal)
	equal(t, "status of the command", command.Status.Code, codes.Unset)
	equal(t, "links of the command", len(command.Links), 0)
	equalAttributes(t, find(t, got, "writeToClient", 0), map[string]any{"redscope.write.bytes": int64(5)})

	equal(t, "stats", stats, Stats{
		ReadsSampled: 0, // SampleRead was not called
		Events:       3, Kept: 3, Commands: 1, Spans: 5, Collector: Delivery{Delivered: 5},
	})
}

func TestPipeline(t *testing.T) {
	got, _ := spans(t, Options{}, func(s *script) {
		s.write(1, 7, s.do(7, cmd{set}, cmd{set}, cmd{set}), false)
		s.loop++
		s.write(2, 7, s.do(7, cmd{set}, cmd{get}), false)
	})
	first, second := find(t, got, "readQueryFromClient", 0), find(t, got, "readQueryFromClient", 1)
	equal(t, "batch size", attributes(first)["db.operation.batch.size"], 3)
	equal(t, "name of equal commands", attributes(first)["db.operation.name"], "PIPELINE SET")
	equal(t, "batch size", attributes(second)["db.operation.batch.size"], 2)
	equal(t, "name of unlike commands", attributes(second)["db.operation.name"], "PIPELINE")
	equal(t, "children", len(childrenOf(got, first, "SET"))+len(childrenOf(got, first, "writeToClient")), 4)
	equal(t, "batch size of a command", attributes(find(t, got, "SET", 2))["db.operation.batch.size"], nil)
}

// Two clients in one turn of the loop, a third in the next.
func TestLinks(t *testing.T) {
	got, _ := spans(t, Options{}, func(s *script) {
		a := s.do(7, cmd{set})
		b := s.do(8, cmd{set}, cmd{set})
		s.write(1, 7, a, false)
		s.write(2, 8, b, false)
		s.loop++
		s.write(3, 9, s.do(9, cmd{set}), false)
	})
	for i, behind := range []int{-1, 0, 1, -1} {
		s := find(t, got, "SET", i)
		if behind < 0 {
			equal(t, "links of a command that waited for none", len(s.Links), 0)
			continue
		}
		if len(s.Links) != 1 {
			t.Fatalf("SET %d has %d links", i, len(s.Links))
		}
		// SpanContext.Equal compares all of it, the trace included.
		if want := find(t, got, "SET", behind).SpanContext; !s.Links[0].SpanContext.Equal(want) {
			t.Errorf("SET %d links to %v, want SET %d, %v", i, s.Links[0].SpanContext, behind, want)
		}
	}
}

func TestErrors(t *testing.T) {
	got, stats := spans(t, Options{}, func(s *script) {
		s.write(1, 7, s.do(7, cmd{get, fail("WRONGTYPE")}, cmd{set, refused, fail("NOAUTH")}, cmd{unknown}), true)
	})
	equal(t, "tree", tree(got), `readQueryFromClient 1-26
  GET 4-9
    call 5-8
      getCommand 6-7
  SET 11-16
  processCommand 18-23
  writeToClient 25-26
`)
	for name, code := range map[string]string{"GET": "WRONGTYPE", "SET": "NOAUTH", "processCommand": "ERR"} {
		s := find(t, got, name, 0)
		equal(t, name+" status", s.Status.Code, codes.Error)
		equal(t, name+" code", attributes(s)["db.response.status_code"], code)
		equal(t, name+" type", attributes(s)["error.type"], code)
	}
	equal(t, "name of a command that does not exist", attributes(find(t, got, "processCommand", 0))["db.operation.name"], nil)
	equal(t, "name of the pipeline", attributes(find(t, got, "readQueryFromClient", 0))["db.operation.name"], "PIPELINE")
	w := find(t, got, "writeToClient", 0)
	equal(t, "write status", w.Status.Code, codes.Error)
	equal(t, "write type", attributes(w)["error.type"], "_OTHER")
	equal(t, "kept", stats.Kept, 5)
}

// The replies of a read leave in several writes, after those of another read;
// a read without reply ends by itself.
func TestWrites(t *testing.T) {
	got, stats := spans(t, Options{}, func(s *script) {
		a := s.do(7, cmd{set}, cmd{set})
		b := s.do(8, cmd{set})
		s.do(9)
		s.write(1, 7, a-4, false)
		s.write(2, 8, b, false)
		s.write(1, 7, 4, false)
		s.write(1, 7, 100, false) // belongs to no read any more
		s.write(99, 7, 5, false)  // nor this
	})
	equal(t, "tree", tree(got), `readQueryFromClient 1-36
  SET 4-9
    call 5-8
      setCommand 6-7
  SET 11-16
    call 12-15
      setCommand 13-14
  writeToClient 31-32
  writeToClient 35-36
readQueryFromClient 18-34
  SET 21-26
    call 22-25
      setCommand 23-24
  writeToClient 33-34
readQueryFromClient 28-30
`)
	equal(t, "kept and dropped", []uint64{stats.Events, stats.Kept, stats.Dropped}, []uint64{11, 9, 2})
}

// A read whose ReadDone was lost has no root, hence no spans.
func TestNoRoot(t *testing.T) {
	got, stats := spans(t, Options{}, func(s *script) {
		s.h.CommandDone(engine.CommandEvent{Read: 1, Loop: 1})
		s.h.CommandDone(engine.CommandEvent{Read: 1, Loop: 1})
	})
	equal(t, "spans", len(got), 0)
	equal(t, "dropped", []uint64{stats.Events, stats.Dropped, stats.Kept}, []uint64{2, 2, 0})
}

func TestSlowerThan(t *testing.T) {
	got, stats := spans(t, Options{SlowerThan: 15 * time.Microsecond}, func(s *script) {
		s.write(1, 7, s.do(7, cmd{set}), false) // 11 µs
		s.write(2, 7, s.do(7, cmd{set}, cmd{set}), false)
	})
	equal(t, "roots", strings.Count(tree(got), "readQueryFromClient"), 1)
	equal(t, "slow one", attributes(find(t, got, "readQueryFromClient", 0))["redscope.read.commands"], 2)
	equal(t, "stats", []uint64{stats.Events, stats.Kept, stats.Filtered, stats.Dropped}, []uint64{7, 4, 3, 0})
}

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		peer, local string
		want        map[string]any
	}{
		{"[::1]:51234", "[fe80::1]:7379", map[string]any{"network.transport": "tcp",
			"network.peer.address": "::1", "network.peer.port": int64(51234), "server.address": "fe80::1", "server.port": int64(7379)}},
		{"/tmp/redis.sock", "/tmp/redis.sock", map[string]any{"network.transport": "unix",
			"network.peer.address": "/tmp/redis.sock", "server.address": "/tmp/redis.sock"}},
		{"/" + strings.Repeat("é", 100), "", map[string]any{"network.transport": "unix",
			"network.peer.address": "/" + strings.Repeat("é", 31) + "\uFFFD"}},
	} {
		got, _ := spans(t, Options{}, func(s *script) {
			s.h.ReadDone(engine.ReadEvent{Read: 1, Start: t0, ReadEnd: t0, End: t0, Peer: c.peer, Local: c.local})
		})
		a := attributes(got[0])
		for _, k := range []string{"network.transport", "network.peer.address", "network.peer.port", "server.address", "server.port"} {
			equal(t, c.peer+" "+k, a[k], c.want[k])
		}
	}
}

func TestQueryText(t *testing.T) {
	key := func(k string, pos int) func(*engine.CommandEvent) {
		return func(e *engine.CommandEvent) { copy(e.Key[:], k); e.KeyLen = len(k); e.KeyPos = pos }
	}
	args := func(n int) func(*engine.CommandEvent) { return func(e *engine.CommandEvent) { e.Args = n } }
	config := func(e *engine.CommandEvent) { e.Command = configGetID }
	for _, c := range []struct {
		cmd  cmd
		want string
	}{
		{cmd{set}, "SET test:key:name ?"},
		{cmd{get}, "GET test:key:name"},
		{cmd{set, key("k", 2), args(4)}, "SET ? k ?"},
		{cmd{set, key("k", 0)}, "SET ? ?"},
		{cmd{config, args(3)}, "CONFIG GET ?"},
		{cmd{set, key("\xff\x00k", 1)}, "SET \uFFFD\x00k ?"},
		{cmd{set, key(strings.Repeat("k", 65), 1)}, "SET " + strings.Repeat("k", 64) + "… ?"},
		{cmd{set, args(1000)}, "SET test:key:name" + strings.Repeat(" ?", 120) + " …"},
	} {
		got, _ := spans(t, Options{QueryText: true}, func(s *script) { s.do(7, c.cmd) })
		for _, s := range got {
			if s.Name == "SET" || s.Name == "GET" || s.Name == "CONFIG GET" {
				equal(t, "db.query.text", attributes(s)["db.query.text"], c.want)
			}
		}
	}
	got, _ := spans(t, Options{}, func(s *script) { s.do(7, cmd{set}) })
	equal(t, "db.query.text when not asked for", attributes(find(t, got, "SET", 0))["db.query.text"], nil)
}

func TestFunctionName(t *testing.T) {
	config := func(e *engine.CommandEvent) { e.Command = configGetID }
	got, _ := spans(t, Options{}, func(s *script) { s.do(7, cmd{config}) })
	find(t, got, "configCommand", 0)
	got, _ = spans(t, Options{FunctionName: func(int) string { return "configGetCommand" }},
		func(s *script) { s.do(7, cmd{config}) })
	find(t, got, "configGetCommand", 0)
}

func TestResource(t *testing.T) {
	clearEnv(t)
	resource := func(o Options) map[string]any {
		k := &keeper{}
		o.client = k
		tr := newTestWithEnv(t, o)
		(&script{h: tr.Hooks(), now: t0}).do(7)
		shutdown(t, tr)
		m := make(map[string]any)
		for _, kv := range keyValues(k.sent[0].Resource.Attributes) {
			m[string(kv.Key)] = kv.Value.AsInterface()
		}
		return m
	}
	m := resource(Options{Version: "1.2.3"})
	equal(t, "service.name", m["service.name"], "redscope")
	equal(t, "service.version", m["service.version"], "1.2.3")
	for _, k := range []string{"host.name", "process.pid", "telemetry.sdk.version"} {
		if m[k] == nil {
			t.Errorf("%s is missing", k)
		}
	}
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=9,deployment.environment.name=lab,service.name=ignored")
	t.Setenv("OTEL_SERVICE_NAME", "mine")
	m = resource(Options{Version: "1.2.3"})
	equal(t, "from the environment", []any{m["service.name"], m["service.version"], m["deployment.environment.name"]}, []any{"mine", "9", "lab"})
}

// The SDK's own ratio sampler, given the ids that we made, must agree with the
// decision that we took before.
func TestTraceIDsAgreeWithRatioSampler(t *testing.T) {
	for _, p := range []float64{1, 0.5, 0.01, 1e-6} {
		i := newIDs(p, testRandom(1))
		sampler, half := sdktrace.TraceIDRatioBased(p), sdktrace.TraceIDRatioBased(p/2)
		const n = 10000
		kept := 0
		seen := make(map[trace.TraceID]bool)
		for range n {
			id, span := i.newTrace()
			if !id.IsValid() || !span.IsValid() || seen[id] {
				t.Fatalf("id %s, %s is invalid or was given twice", id, span)
			}
			seen[id] = true
			if sampler.ShouldSample(sdktrace.SamplingParameters{TraceID: id}).Decision != sdktrace.RecordAndSample {
				t.Fatalf("%s, sampled with probability %g, is not kept by TraceIDRatioBased", id, p)
			}
			if half.ShouldSample(sdktrace.SamplingParameters{TraceID: id}).Decision == sdktrace.RecordAndSample {
				kept++
			}
			if binary.BigEndian.Uint64(id[:8]) == 0 {
				t.Fatal("upper half is zero")
			}
		}
		// Half of them, give or take 5 standard deviations of 50.
		if kept < n/2-250 || kept > n/2+250 {
			t.Errorf("p = %g: a sampler of half the ratio keeps %d of %d", p, kept, n)
		}
	}
}

func TestAttributeValuesOfResource(t *testing.T) {
	a := render(attribute.Bool("b", true), attribute.Int("i", -1), attribute.String("s", "\"\n\x01é<"))
	equal(t, "JSON", a.json, `{"key":"b","value":{"stringValue":"true"}},{"key":"i","value":{"intValue":"-1"}},{"key":"s","value":{"stringValue":"\"\n\u0001é\u003c"}}`)
	var s tracepb.Span
	if err := proto.Unmarshal([]byte(a.proto), &s); err != nil {
		t.Fatal(err)
	}
	equal(t, "protobuf", keyValues(s.Attributes), []attribute.KeyValue{
		attribute.String("b", "true"), attribute.Int("i", -1), attribute.String("s", "\"\n\x01é<")})
}
