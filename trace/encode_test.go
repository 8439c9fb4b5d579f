package trace

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/engine"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// model makes the spans of a read in the plainest way, from its events, as the
// SDK would have them. ids must give what the builder is given.
func model(a *assembly, r engine.ReadEvent, commands []engine.CommandEvent, writes []engine.WriteEvent, ids *ids) (stubs tracetest.SpanStubs) {
	valid := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	cut := func(s string) string { return s[:min(len(s), 64)] }
	at := func(ns int64) time.Time { return time.Unix(0, ns) }
	context := func(s trace.SpanID) trace.SpanContext {
		return trace.NewSpanContext(trace.SpanContextConfig{TraceID: a.trace, SpanID: s, TraceFlags: trace.FlagsSampled})
	}
	add := func(name string, parent, id trace.SpanID, start, end int64, kv ...attribute.KeyValue) *tracetest.SpanStub {
		s := tracetest.SpanStub{Name: name, SpanContext: context(id), SpanKind: trace.SpanKindInternal,
			StartTime: at(start), EndTime: at(end), Attributes: kv,
			InstrumentationScope: instrumentation.Scope{Name: scope, SchemaURL: semconv.SchemaURL}}
		if parent.IsValid() {
			s.Parent = context(parent)
		} else {
			s.SpanKind = trace.SpanKindServer
		}
		stubs = append(stubs, s)
		return &stubs[len(stubs)-1]
	}
	var where []attribute.KeyValue
	where = append(where, semconv.DBSystemNameRedis)
	where = appendAddress(where, cut(r.Peer), semconv.NetworkPeerAddress, semconv.NetworkPeerPort)
	where = appendAddress(where, cut(r.Local), semconv.ServerAddress, semconv.ServerPort)
	with := func(kv ...attribute.KeyValue) []attribute.KeyValue {
		return append(where[:len(where):len(where)], kv...)
	}

	last := r.End
	for _, w := range writes {
		last = max(last, w.End)
	}
	kv := with(transport(r.Peer), attribute.Int64("redscope.client.id", int64(r.Client)), attribute.Int64("redscope.loop", int64(r.Loop)),
		attribute.Int("redscope.read.bytes", r.Bytes), attribute.Int("redscope.read.commands", r.Commands))
	if r.Commands > 1 {
		name := "PIPELINE"
		for i, c := range commands {
			if c.Command < 0 || c.Command != commands[0].Command {
				name = "PIPELINE"
				break
			}
			if i == 0 {
				name += " " + names[c.Command]
			}
		}
		kv = append(kv, semconv.DBOperationName(name), semconv.DBOperationBatchSize(r.Commands))
	}
	root := add("readQueryFromClient", trace.SpanID{}, a.root, r.Start, last, kv...)
	root.Events = []sdktrace.Event{{Name: "read", Time: at(r.ReadEnd)}}

	for i, c := range commands {
		kv := with()
		if c.DB >= 0 {
			kv = with(semconv.DBNamespace(strconv.Itoa(c.DB)))
		}
		name, function := "processCommand", ""
		if c.Command >= 0 {
			name = names[c.Command]
			function = strings.ToLower(strings.Fields(name)[0]) + "Command"
			words := strings.Fields(name)
			text := strings.Join(words, " ")
			for i := len(words); i < c.Args; i++ {
				word := "?"
				if i == c.KeyPos {
					word = valid(string(c.Key[:min(c.KeyLen, 64)]))
					if c.KeyLen > 64 {
						word += "…"
					}
				}
				if len(text) >= 256 {
					text += " …"
					break
				}
				text += " " + word
			}
			kv = append(kv, semconv.DBOperationName(name), semconv.DBQueryText(text))
		}
		code := valid(string(c.Err[:c.ErrLen]))
		if code != "" {
			kv = append(kv, semconv.DBResponseStatusCode(code), semconv.ErrorTypeKey.String(code))
		}
		s := add(name, a.root, a.commands[i].span, c.Process, c.End, kv...)
		if code != "" {
			s.Status.Code = codes.Error
		}
		if b := a.commands[i].behind; b.span.IsValid() {
			s.Links = []sdktrace.Link{{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{
				TraceID: b.trace, SpanID: b.span, TraceFlags: trace.FlagsSampled})}}
		}
		if c.CallStart != 0 {
			call := ids.newSpan()
			add("call", a.commands[i].span, call, c.CallStart, c.CallEnd)
			add(function, call, ids.newSpan(), c.ProcStart, c.ProcEnd)
		}
	}
	for _, w := range writes {
		s := add("writeToClient", a.root, ids.newSpan(), w.Start, w.End, attribute.Int("redscope.write.bytes", w.Bytes))
		if w.Failed {
			s.Attributes = append(s.Attributes, semconv.ErrorTypeOther)
			s.Status = sdktrace.Status{Code: codes.Error, Description: "write failed"}
		}
	}
	return stubs
}

// FuzzEncode builds the spans of any events in both encodings and compares what
// OpenTelemetry's own packages decode with what the SDK's exporter makes of the
// model's spans.
func FuzzEncode(f *testing.F) {
	f.Add(uint64(1), "127.0.0.1:51234", "127.0.0.1:7379", []byte("test:key:name"), []byte("WRONGTYPE"))
	f.Add(uint64(2), "[::1]:51234", "[fe80::1]:7379", []byte("\xff\x00k\xfe\""), []byte("\xffE\n"))
	f.Add(uint64(3), "/tmp/redis.sock", "", []byte{}, []byte{})
	f.Add(uint64(4), "/"+strings.Repeat("é", 100), ":", []byte(strings.Repeat("k", 65)), []byte(strings.Repeat("E", 16)))
	f.Add(uint64(5), "\xff\xfe:x", "\":1", []byte(strings.Repeat("\xff.", 32)), []byte("ERR"))
	f.Fuzz(func(t *testing.T, seed uint64, peer, local string, key, code []byte) {
		random := rand.New(rand.NewPCG(seed, 0))
		// Small numbers, and those at which encodings change.
		number := func() int64 {
			return []int64{0, 1, 5, 127, 128, 16383, 16384, -1, math.MaxInt32, math.MaxInt64, math.MinInt64,
				t0 + random.Int64N(1e9), random.Int64() >> random.IntN(63)}[random.IntN(13)]
		}
		small := func() int { return int(int32(number())) }

		r := engine.ReadEvent{Read: 1, Client: uint64(number()), Loop: uint64(number()), Start: number(), ReadEnd: number(),
			End: number(), Bytes: int(number()), Commands: random.IntN(4), Peer: peer, Local: local}
		if r.ReadEnd == 0 {
			r.ReadEnd = 1
		}
		var commands []engine.CommandEvent
		var writes []engine.WriteEvent
		a := &assembly{haveDone: true}
		fill := func(id []byte) {
			for i := range id {
				id[i] = byte(1 + random.IntN(255))
			}
		}
		fill(a.trace[:])
		fill(a.root[:])
		a.done.putRead(&r)
		for range r.Commands {
			c := engine.CommandEvent{Batch: small(), Command: random.IntN(len(names)+1) - 1, Args: random.IntN(300), DB: small(),
				Process: number(), CallStart: number(), ProcStart: number(), ProcEnd: number(), CallEnd: number(), End: number(),
				ReplySize: int(number()), KeyLen: len(key), KeyPos: random.IntN(4)}
			copy(c.Key[:], key)
			if random.IntN(2) == 0 {
				c.ErrLen = copy(c.Err[:], code)
			}
			if c.Command < 0 {
				c.CallStart = 0
			}
			commands = append(commands, c)
			ac := command{}
			ac.putCommand(&c, true)
			fill(ac.span[:])
			if random.IntN(2) == 0 {
				fill(ac.behind.trace[:])
				fill(ac.behind.span[:])
			}
			a.commands = append(a.commands, ac)
		}
		for range random.IntN(3) {
			w := engine.WriteEvent{Start: number(), End: number(), Bytes: int(number()), Failed: random.IntN(2) == 0}
			writes = append(writes, w)
			a.writes = append(a.writes, record{})
			a.writes[len(a.writes)-1].putWrite(&w)
		}

		k := &keeper{}
		path := t.TempDir() + "/trace.json"
		file, err := newFile(path, resource.Empty())
		if err != nil {
			t.Fatal(err)
		}
		l := limits{batch: 1000, bytes: collectorBytes, batches: 1}
		collect := newDelivery(context.Background(), newUploader(k, false, resource.Empty()), "test", func(line string) { t.Error(line) }, l)
		write := newDelivery(context.Background(), file, "file", func(line string) { t.Error(line) }, l)
		b := &builder{deliveries: []*delivery{collect, write}, ids: newIDs(1, testRandom(1)), queryText: true,
			commandName:  func(i int) string { return names[i] },
			functionName: func(i int) string { return strings.ToLower(strings.Fields(names[i])[0]) + "Command" },
			places:       make(map[string]*place)}
		b.build(a)
		for _, d := range b.deliveries {
			if err := d.close(); err != nil {
				t.Fatal(err)
			}
		}

		want := &capture{}
		exporter, _ := otlptrace.New(context.Background(), want)
		stubs := model(a, r, commands, writes, newIDs(1, testRandom(1)))
		exporter.ExportSpans(context.Background(), stubs.Snapshots())
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fromFile := decodeOTLP(t, data).ResourceSpans
		for _, got := range []struct {
			name string
			rs   []*tracepb.ResourceSpans
		}{{"sent", k.sent}, {"in the file", fromFile}} {
			if len(got.rs) != 1 || len(got.rs[0].ScopeSpans[0].Spans) != len(stubs) {
				t.Fatalf("%s: %d spans, want %d", got.name, len(got.rs[0].ScopeSpans[0].Spans), len(stubs))
			}
			for i, s := range got.rs[0].ScopeSpans[0].Spans {
				if s.Status == nil {
					s.Status = &tracepb.Status{} // the SDK sends one that says nothing
				}
				if w := want.sent[0].ScopeSpans[0].Spans[i]; !proto.Equal(s, w) {
					t.Fatalf("%s:\n%s\nwant\n%s", got.name, protojson.Format(s), protojson.Format(w))
				}
			}
		}
	})
}

func TestDigits(t *testing.T) {
	var times timeDigits
	random := rand.New(testRandom(1))
	rounds := 100_000
	if testing.Short() {
		rounds = 25_000
	}
	for i := range rounds {
		n := random.Uint64N(1e8)
		if i < 20_000 {
			n = uint64(i) // all of four digits
		}
		equal(t, "digits", string(binary.LittleEndian.AppendUint64(nil, digits(n))), fmt.Sprintf("%08d", n))
		n = random.Uint64()
		equal(t, "hex", string(appendHex(nil, n)), fmt.Sprintf("%016x", n))
		// Next to each other and far apart, before and after there are 19 digits.
		ns := max(0, []int64{t0, 1e18, math.MaxInt64, 0}[i%8/2]+random.Int64N(1e8)-5e7)
		equal(t, "time", string(times.append(nil, ns)), strconv.FormatInt(ns, 10))
	}
}

// Once its buffers have grown, a tracer allocates nothing per span, and next to
// nothing per batch.
func TestSpansDoNotAllocate(t *testing.T) {
	file, err := newFile(os.DevNull, resource.Empty())
	if err != nil {
		t.Fatal(err)
	}
	l := limits{batch: 1000, bytes: fileBytes, batches: 2}
	c, r, w := sampleEvents()
	b := &builder{ids: newIDs(0.01, testRandom(1)), queryText: true, places: make(map[string]*place),
		commandName: func(int) string { return "SET" }, functionName: func(int) string { return "setCommand" },
		deliveries: []*delivery{
			newDelivery(context.Background(), newUploader(&discard{}, false, resource.Empty()), "test", func(string) {}, l),
			newDelivery(context.Background(), file, "file", func(string) {}, l),
		}}
	as := newAssembler(b.ids, b.build, func() {})
	now := time.Now()
	var event record
	read := func() {
		r.Read++
		c.Read, w.Read = r.Read, r.Read
		event.putCommand(&c, true)
		as.add(&event, now)
		event.putRead(&r)
		as.add(&event, now)
		event.putWrite(&w)
		as.add(&event, now)
	}
	for range 1000 {
		read()
	}
	made := b.made
	if n := testing.AllocsPerRun(10_000, read); n != 0 {
		t.Errorf("%v allocations per read", n)
	}
	if n := b.made - made; n < 50_000 {
		t.Errorf("%d spans were made: the test did not test", n)
	}
	for _, d := range b.deliveries {
		d.close()
	}
}

// capture is an OTLP client that keeps what the SDK sends.
type capture struct{ sent []*tracepb.ResourceSpans }

func (*capture) Start(context.Context) error { return nil }
func (*capture) Stop(context.Context) error  { return nil }
func (c *capture) UploadTraces(_ context.Context, rs []*tracepb.ResourceSpans) error {
	c.sent = append(c.sent, rs...)
	return nil
}
