package trace

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/redscope/redscope/engine"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"golang.org/x/sys/cpu"
)

func testRandom(seed uint64) *rand.PCG { return rand.NewPCG(seed, 0) }

func TestRecordSize(t *testing.T) {
	if n := unsafe.Sizeof(record{}); n != 256 {
		t.Errorf("a record has %d bytes, want 256: four cache lines", n)
	}
	line := unsafe.Sizeof(cpu.CacheLinePad{})
	var r ring
	if d := unsafe.Offsetof(r.tail) - unsafe.Offsetof(r.dropped); d < line {
		t.Errorf("producer and consumer write %d bytes apart, on one cache line", d)
	}
}

func TestRing(t *testing.T) {
	r := newRing(4)
	put := func(read uint64) bool {
		s := r.slot(read)
		if s == nil {
			return false
		}
		s.putWrite(&engine.WriteEvent{Read: read})
		r.publish()
		return true
	}
	var got []uint64
	take := func() int {
		got = nil
		return r.drain(func(s *record) { got = append(got, s.read) })
	}
	for i := range uint64(3) {
		put(i + 1)
	}
	equal(t, "drained", take(), 3)
	equal(t, "in order", got, []uint64{1, 2, 3})
	equal(t, "drained", take(), 0)
	for i := range uint64(4) {
		if !put(i + 10) {
			t.Fatal("refused with room for 4")
		}
	}
	for range 2 {
		if put(14) {
			t.Fatal("took a fifth")
		}
	}
	equal(t, "dropped", r.dropped.Load(), 2)
	take()
	equal(t, "in order", got, []uint64{10, 11, 12, 13})
	if put(14) {
		t.Error("took the rest of a read that had lost an event")
	}
	if !put(15) {
		t.Error("refused the next read")
	}
	equal(t, "dropped", r.dropped.Load(), 3)
}

// A producer without mercy, a small ring and a slow exporter: every event must
// be in exactly one of the figures, and the spans must be those of the events
// that were kept. Run it with -race.
func TestEveryEventIsCounted(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     Options
		delay time.Duration
		pause bool
	}{
		{"overrun", Options{Ring: 64}, 2 * time.Millisecond, false},
		{"bursts", Options{Ring: 1024}, 0, true},
		{"filtered", Options{Ring: 256, SlowerThan: 20 * time.Microsecond}, time.Millisecond, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &keeper{delay: c.delay}
			c.o.client = k
			tr := newTest(t, c.o)
			s := &script{h: tr.Hooks(), now: t0}
			events := 0
			random := rand.New(testRandom(2))
			for turn := range 2000 {
				s.loop++
				type reply struct {
					read uint64
					n    int
				}
				var replies []reply
				for client := range random.Uint64N(4) {
					var commands []cmd
					for range random.IntN(8) {
						commands = append(commands, cmd{set})
					}
					replies = append(replies, reply{0, s.do(client, commands...)})
					replies[len(replies)-1].read = s.read
					events += len(commands) + 1
				}
				for _, r := range replies {
					if r.n > 0 {
						s.write(r.read, 1, r.n, false)
						events++
					}
				}
				if turn%100 == 0 {
					tr.Stats() // must not race with the producer
				}
				if c.pause && turn%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			shutdown(t, tr)
			got := tr.Stats()
			t.Logf("%+v", got)
			equal(t, "events in", got.Events, events)
			equal(t, "pending", got.Pending, 0)
			equal(t, "kept + filtered + dropped", got.Kept+got.Filtered+got.Dropped, events)

			checkTrees(t, k.spans)
			count := make(map[string]int)
			for _, s := range k.spans {
				count[s.Name]++
			}
			equal(t, "events that became spans", got.Kept, count["readQueryFromClient"]+count["SET"]+count["writeToClient"])
			equal(t, "commands", got.Commands, count["SET"])
			equal(t, "spans", got.Spans, len(k.spans))
			equal(t, "delivered", got.Collector, Delivery{Delivered: uint64(len(k.spans))})
			for _, root := range roots(k.spans) {
				if n := int64(len(childrenOf(k.spans, root, "SET"))); n != attributes(root)["redscope.read.commands"].(int64) {
					t.Errorf("a read of %v commands has %d spans of commands", attributes(root)["redscope.read.commands"], n)
					break
				}
			}
			if c.name == "overrun" && got.Dropped == 0 || c.name == "filtered" && (got.Filtered == 0 || got.Kept == 0) {
				t.Errorf("the test did not test what it is called")
			}
		})
	}
}

func roots(spans tracetest.SpanStubs) (r tracetest.SpanStubs) {
	for _, s := range spans {
		if !s.Parent.IsValid() {
			r = append(r, s)
		}
	}
	// All of them would be quadratic.
	return r[:min(len(r), 100)]
}

func childrenOf(spans tracetest.SpanStubs, parent tracetest.SpanStub, name string) (c tracetest.SpanStubs) {
	for _, s := range spans {
		if s.Parent.SpanID() == parent.SpanContext.SpanID() && s.Name == name {
			c = append(c, s)
		}
	}
	return c
}

// Events that come after Shutdown, or during it, are counted as dropped.
func TestEventsAfterShutdown(t *testing.T) {
	k := &keeper{}
	tr := newTest(t, Options{client: k})
	s := &script{h: tr.Hooks(), now: t0}
	s.do(7, cmd{set})
	shutdown(t, tr)
	s.do(7, cmd{set})
	if tr.Hooks().SampleRead(7) {
		t.Error("still samples")
	}
	got := tr.Stats()
	equal(t, "stats", []uint64{got.Events, got.Kept, got.Dropped, got.Pending}, []uint64{4, 2, 2, 0})
	if err := tr.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// Reads that never end and reads that never see a write must not pile up.
func TestHeldEventsAreBounded(t *testing.T) {
	as := newAssembler(newIDs(1, testRandom(3)), func(*assembly) {}, func() {})
	now := time.Now()
	for i := range uint64(3 * maxHeld) {
		r := record{header: header{kind: commandEvent, read: i + 1}}
		as.add(&r, now)
		if as.held > maxHeld {
			t.Fatalf("%d events are held", as.held)
		}
	}
	held := as.held
	as.expireBefore(now.Add(waitForWrites - 1))
	equal(t, "held before their time", as.held, held)
	as.expireBefore(now.Add(waitForWrites))
	equal(t, "held after", []int{as.held, len(as.reads)}, []int{0, 0})
	if as.oldest != nil || as.newest != nil {
		t.Error("the list is not empty")
	}
	if len(as.spare) > 64 {
		t.Errorf("%d assemblies are kept for later", len(as.spare))
	}
}

// The number of sampled reads must follow the binomial distribution, and the
// gaps the geometric one. Seeded, hence repeatable.
func TestSampler(t *testing.T) {
	for _, p := range []float64{1, 0.9, 0.5, 0.01, 0.0001} {
		s := newSampler(p, rand.NewPCG(1, 2))
		const n = 2_000_000
		hits, adjacent, last := 0, 0, -1
		for i := range n {
			if s.read() {
				hits++
				if i == last+1 {
					adjacent++
				}
				last = i
			}
		}
		within := func(what string, got int, of, p float64) {
			if sd := math.Sqrt(of * p * (1 - p)); math.Abs(float64(got)-of*p) > 5*sd+0.5 {
				t.Errorf("p = %g: %s: %d, want %.0f ± %.0f", p, what, got, of*p, 5*sd)
			}
		}
		within("hits", hits, n, p)
		within("hits right after a hit", adjacent, float64(hits), p)
		if got := s.sampled.Load(); got != uint64(hits) {
			t.Errorf("p = %g: sampled %d, want %d", p, got, hits)
		}
		if lag := n - hits - int(s.skipped.Load()); lag < 0 || lag > publishEvery {
			t.Errorf("p = %g: skipped lags by %d", p, lag)
		}
	}
}

// The hooks run on the event-loop thread: no allocation, whatever the events.
func TestHooksDoNotAllocate(t *testing.T) {
	// Without the draining goroutine, whose allocations would count. The ring
	// overflows on the way, so the refusal is measured, too.
	tr := &Tracer{ring: newRing(2048), sampler: newSampler(0.5, rand.NewPCG(1, 2)), options: Options{QueryText: true}}
	h := tr.Hooks()
	c, r, w := sampleEvents()
	read := uint64(0)
	for name, f := range map[string]func(){
		"SampleRead":   func() { h.SampleRead(1) },
		"CommandDone":  func() { read++; c.Read = read; h.CommandDone(c) },
		"ReadDone":     func() { read++; r.Read = read; h.ReadDone(r) },
		"ReplyWritten": func() { read++; w.Read = read; h.ReplyWritten(w) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func sampleEvents() (c engine.CommandEvent, r engine.ReadEvent, w engine.WriteEvent) {
	c = engine.CommandEvent{Client: 7, Loop: 1, DB: 0, Parse: t0, Process: t0 + 1, CallStart: t0 + 2,
		ProcStart: t0 + 3, ProcEnd: t0 + 4, CallEnd: t0 + 5, End: t0 + 6}
	set(&c)
	r = engine.ReadEvent{Client: 7, Loop: 1, Start: t0, ReadEnd: t0 + 1, End: t0 + 9, Bytes: 51, Commands: 1,
		Peer: "127.0.0.1:51234", Local: "127.0.0.1:7379"}
	w = engine.WriteEvent{Client: 7, Loop: 1, Start: t0 + 10, End: t0 + 11, Bytes: 5}
	return c, r, w
}

// benchHooks returns hooks whose ring is emptied by the benchmark itself, so
// that a figure is what the event loop pays, without the consumer's share of
// the processor.
func benchHooks(b *testing.B) (*engine.Hooks, func(i int)) {
	t := &Tracer{ring: newRing(defaultRing), sampler: newSampler(0.01, rand.NewPCG(1, 2))}
	b.ReportAllocs()
	return t.Hooks(), func(i int) {
		if i&(defaultRing-1) == defaultRing-1 {
			t.ring.tail.Store(t.ring.head.Load())
		}
	}
}

func BenchmarkSampleRead(b *testing.B) {
	h, _ := benchHooks(b)
	for b.Loop() {
		h.SampleRead(7)
	}
}

func BenchmarkCommandDone(b *testing.B) {
	h, empty := benchHooks(b)
	e, _, _ := sampleEvents()
	for i := 0; b.Loop(); i++ {
		e.Read = uint64(i) + 1
		h.CommandDone(e)
		empty(i)
	}
}

func BenchmarkReadDone(b *testing.B) {
	h, empty := benchHooks(b)
	_, e, _ := sampleEvents()
	for i := 0; b.Loop(); i++ {
		e.Read = uint64(i) + 1
		h.ReadDone(e)
		empty(i)
	}
}

func BenchmarkReplyWritten(b *testing.B) {
	h, empty := benchHooks(b)
	_, _, e := sampleEvents()
	for i := 0; b.Loop(); i++ {
		e.Read = uint64(i) + 1
		h.ReplyWritten(e)
		empty(i)
	}
}

// BenchmarkDropped is what an event costs when the ring is full.
func BenchmarkDropped(b *testing.B) {
	h, _ := benchHooks(b)
	e, _, _ := sampleEvents()
	for i := 0; b.Loop(); i++ {
		e.Read = uint64(i) + 1
		h.CommandDone(e)
	}
}

// discard is a client that costs nothing.
type discard struct{ keeper }

func (*discard) UploadTraces(context.Context, []*tracepb.ResourceSpans) error { return nil }

// BenchmarkSpans is what the draining goroutine pays for one SET without
// pipeline, three events and five spans, up to the client, or into a file.
func BenchmarkSpans(b *testing.B) { benchmarkSpans(b, 1) }

// BenchmarkSpansOfPipeline is the same per SET in a pipeline of 16.
func BenchmarkSpansOfPipeline(b *testing.B) { benchmarkSpans(b, 16) }

func benchmarkSpans(b *testing.B, commands int) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"collector", Options{client: &discard{}}},
		{"file", Options{File: "/dev/null"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			tr := newTest(b, c.o)
			h := tr.Hooks()
			c, r, w := sampleEvents()
			r.Commands, w.Bytes = commands, commands*c.ReplySize
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%commands != 0 {
					continue
				}
				for tr.ring.head.Load()-tr.ring.tail.Load() > uint64(len(tr.ring.records))/2 {
					runtime.Gosched()
				}
				r.Read++
				c.Read, w.Read = r.Read, r.Read
				for c.Batch = range commands {
					h.CommandDone(c)
				}
				h.ReadDone(r)
				h.ReplyWritten(w)
			}
			shutdown(b, tr)
			if st := tr.Stats(); st.Dropped != 0 {
				b.Fatalf("%+v", st)
			}
		})
	}
}
