// Package trace turns what the engine's hooks report into OpenTelemetry spans
// and delivers them to a collector over OTLP, to a file, or to both.
//
// The hooks run on the event-loop thread, which owns the key space. There the
// package only copies an event into a ring: it must never block, lock, allocate
// or build a span on that thread. A goroutine of its own drains the ring and
// encodes the spans, with the times that the events carry, in batches, which one
// more goroutine per destination sends with OpenTelemetry's OTLP clients or
// writes. It shares the machine with the server, so it must not allocate per
// span either.
//
// When the goroutine does not keep up, because the collector is slow or dead,
// the ring fills and further events are dropped and counted. That is the only
// place where events are lost for lack of room: everything behind the ring
// waits, so memory is bounded and the count is exact.
//
// No other package imports go.opentelemetry.io/otel.
package trace

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redscope/redscope/engine"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// scope is the name of the instrumentation in every span.
const scope = "github.com/redscope/redscope/trace"

// How many events the ring holds: 1 MiB of them when few reads are sampled,
// which a processor's cache keeps, else 4 MiB, 10 ms of 1.6 million events per
// second.
const (
	smallRing   = 1 << 12 // sample <= fewReads
	defaultRing = 1 << 14
	fewReads    = 0.02
)

// How long the draining goroutine sleeps at most. A wake-up per event would
// cost the event loop a futex call each, hundreds of times the price of the
// event; and whenever the goroutine wakes, its code and what that works on have
// left the processor's cache, which is half the price of a few hundred spans.
// While few reads are sampled, the ring has room for 100 ms of two million
// commands per second.
const (
	maxSleep    = 50 * time.Millisecond
	maxSleepFew = 100 * time.Millisecond // sample <= fewReads
)

// Options says what is traced and where the spans go. Fields that are zero
// leave the matter to the environment variables of OpenTelemetry, or else to
// the default. Only CommandName is required.
type Options struct {
	// Endpoint is the collector: "host:port" speaks OTLP over gRPC without
	// TLS; "http://…" and "https://…" speak OTLP over HTTP, posting to
	// /v1/traces when the URL has no path, or gRPC when
	// OTEL_EXPORTER_OTLP_PROTOCOL says so.
	Endpoint string

	// File is the path of a file that receives the spans as one OTLP/JSON
	// document. It is emptied first.
	File string

	// Sample is the probability with which a socket read, with all commands in
	// it, is traced: 0 < Sample <= 1. 0 leaves it to OTEL_TRACES_SAMPLER, whose
	// default is every read.
	Sample float64

	// SlowerThan keeps only the reads that took at least so long, from before
	// read(2) to after the last write(2). The others are counted as filtered.
	SlowerThan time.Duration

	// QueryText adds db.query.text: the command and its first key, with every
	// other argument replaced by "?".
	QueryText bool

	// CommandName names a command by its index in events: "SET". It is called
	// from another goroutine than the event loop's, never before the first
	// event and never with a negative index.
	CommandName func(command int) string

	// FunctionName names the function that implements a command: "setCommand".
	// It is called as CommandName is. nil derives it from the first word of
	// the command's name, which is right for most.
	FunctionName func(command int) string

	// Service is service.name, and PID process.pid: of the process that the events
	// are about. The default is redscope, and this process.
	Service string
	PID     int

	// Version is service.version. The default is the version of the main
	// module, if the binary carries one.
	Version string

	// Log receives one line, without a line feed, whenever a destination stops
	// or starts taking spans. It must be safe to call from any goroutine. The
	// default writes to standard error.
	Log func(line string)

	// Ring is the number of events that may wait for the draining goroutine; a
	// power of two. The default is 16,384 events of 256 bytes, or 4,096 when at
	// most one read in 50 is sampled.
	Ring int

	// client replaces that of the collector in tests.
	client otlptrace.Client
}

// Stats counts reads, events and spans since New. Events = Kept + Filtered +
// Dropped + Pending holds exactly whenever the event loop is idle, and after
// Shutdown, when Pending is 0. While events flow the figures are read one after
// another and may differ by what happened between.
type Stats struct {
	// ReadsSampled and ReadsSkipped count socket reads by what head sampling
	// decided. ReadsSkipped lags by up to 1,024.
	ReadsSampled, ReadsSkipped uint64

	Events   uint64 // calls of CommandDone, ReadDone and ReplyWritten
	Kept     uint64 // events that became spans
	Filtered uint64 // events of reads that SlowerThan left out
	// Dropped counts the events for which the ring had no room, those of a
	// read that lost others in this way, and writes that came more than a
	// second after the read's last event.
	Dropped uint64
	Pending uint64 // events in the ring, or of reads not yet written

	Commands  uint64 // CommandDone events among Kept
	Spans     uint64 // spans made of them
	Collector Delivery
	File      Delivery
}

// Delivery counts the spans that left for one destination. Spans that are in
// neither figure are on their way; after Shutdown none is.
type Delivery struct {
	Delivered uint64 // spans that it took
	Lost      uint64 // spans that it refused, or did not answer for in time
}

// A Tracer makes spans of the events that its Hooks receive.
type Tracer struct {
	options Options
	ring    *ring
	sampler *sampler
	sleep   time.Duration // maxSleep or maxSleepFew

	closed atomic.Bool   // no further read is sampled
	stop   chan struct{} // closed to make run end
	ended  chan struct{} // closed when run has ended
	once   sync.Once
	result error // of the first Shutdown

	collector *delivery
	file      *delivery
	abort     context.Context // done when Shutdown's time is up
	giveUp    context.CancelFunc

	// Owned by run, like everything they refer to.
	assembler *assembler
	builder   *builder

	kept, filtered, lost, held atomic.Uint64
	commands, spans            atomic.Uint64
}

// New returns a Tracer for the destinations that options and the environment
// name. With none, or with OTEL_SDK_DISABLED=true, or when nothing is to be
// sampled, the Tracer does nothing and its Hooks are nil. New does not wait for
// the collector; it fails when an option or a variable is wrong, or the file
// cannot be written.
func New(ctx context.Context, options Options) (*Tracer, error) {
	t, err := newTracer(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	return t, nil
}

func newTracer(ctx context.Context, o Options) (*Tracer, error) {
	if !(o.Sample >= 0 && o.Sample <= 1) {
		return nil, fmt.Errorf("sample %v: give a number above 0 and at most 1", o.Sample)
	}
	if o.Ring != 0 && (o.Ring < 2 || o.Ring&(o.Ring-1) != 0) {
		return nil, fmt.Errorf("ring %d: give a power of two", o.Ring)
	}
	if o.CommandName == nil {
		return nil, errors.New("no CommandName")
	}
	if o.FunctionName == nil {
		o.FunctionName = func(command int) string {
			name, _, _ := strings.Cut(o.CommandName(command), " ")
			return strings.ToLower(name) + "Command"
		}
	}
	if o.Log == nil {
		o.Log = func(line string) { fmt.Fprintln(os.Stderr, line) }
	}
	t := &Tracer{options: o, stop: make(chan struct{}), ended: make(chan struct{})}
	if sdkDisabled() {
		return t, nil
	}
	p := o.Sample
	if p == 0 {
		var err error
		if p, err = sampleFromEnv(); err != nil {
			return nil, err
		}
	}
	if p == 0 {
		return t, nil
	}

	limits, err := limitsFromEnv()
	if err != nil {
		return nil, err
	}
	client, name, json := o.client, "test", false
	if client == nil {
		if client, name, json, err = newCollectorClient(ctx, o.Endpoint); err != nil {
			return nil, err
		}
	}
	if client == nil && o.File == "" {
		return t, nil
	}
	res, err := newResource(ctx, &o)
	if err != nil {
		return nil, err
	}
	// The context that New was given is for New; the deliveries outlive it.
	t.abort, t.giveUp = context.WithCancel(context.Background())
	var deliveries []*delivery
	deliver := func(to destination, bytes int, name string) *delivery {
		limits.bytes = bytes
		d := newDelivery(t.abort, to, name, o.Log, limits)
		deliveries = append(deliveries, d)
		return d
	}
	if o.File != "" {
		f, err := newFile(o.File, res)
		if err != nil {
			return nil, err
		}
		t.file = deliver(f, fileBytes, "file "+o.File)
	}
	if client != nil {
		t.collector = deliver(newUploader(client, json, res), collectorBytes, name)
	}

	t.sampler = newSampler(p, newRandom())
	t.sleep = maxSleep
	switch {
	case o.Ring > 0:
	case p <= fewReads:
		o.Ring, t.sleep = smallRing, maxSleepFew
	default:
		o.Ring = defaultRing
	}
	t.ring = newRing(o.Ring)
	ids := newIDs(p, newRandom())
	t.assembler = newAssembler(ids, t.finish, func() { t.lost.Add(1) })
	t.builder = &builder{
		deliveries:   deliveries,
		ids:          ids,
		commandName:  o.CommandName,
		functionName: o.FunctionName,
		queryText:    o.QueryText,
		places:       make(map[string]*place),
	}
	go t.run()
	return t, nil
}

// newRandom returns a source that no other process repeats.
func newRandom() *rand.PCG {
	var seed [16]byte
	crand.Read(seed[:])
	return rand.NewPCG(binary.NativeEndian.Uint64(seed[:]), binary.NativeEndian.Uint64(seed[8:]))
}

// newResource describes the process that is traced. OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES override what is said here.
func newResource(ctx context.Context, o *Options) (*resource.Resource, error) {
	version := o.Version
	if info, ok := debug.ReadBuildInfo(); ok && version == "" && o.Service == "" {
		version = info.Main.Version
	}
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithAttributes(
			semconv.ServiceName(cmp.Or(o.Service, "redscope")),
			semconv.ServiceVersion(version),
			semconv.ProcessPID(cmp.Or(o.PID, os.Getpid())),
		),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES or the host's name: %w", err)
	}
	return res, nil
}

// Hooks returns the hooks to give to engine.New, or nil when nothing is traced.
// They are for one event loop.
func (t *Tracer) Hooks() *engine.Hooks {
	if t.ring == nil {
		return nil
	}
	sampler, ring, withKey := t.sampler, t.ring, t.options.QueryText
	// Function literals, not methods: the wrapper of a method value would copy
	// the event once more.
	return &engine.Hooks{
		SampleRead: func(uint64) bool {
			return sampler.read() && !t.closed.Load()
		},
		CommandDone: func(e engine.CommandEvent) {
			if r := ring.slot(e.Read); r != nil {
				r.putCommand(&e, withKey)
				ring.publish()
			}
		},
		ReadDone: func(e engine.ReadEvent) {
			if r := ring.slot(e.Read); r != nil {
				r.putRead(&e)
				ring.publish()
			}
		},
		ReplyWritten: func(e engine.WriteEvent) {
			if r := ring.slot(e.Read); r != nil {
				r.putWrite(&e)
				ring.publish()
			}
		},
	}
}

// run drains the ring until Shutdown.
func (t *Tracer) run() {
	defer close(t.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := time.Now()
	for running := true; running; {
		select {
		case now := <-timer.C:
			// Until a quarter of the ring is full, if events keep coming as
			// they did.
			quarter, n := len(t.ring.records)/4, max(1, t.drain())
			timer.Reset(min(t.sleep, now.Sub(last)*time.Duration(quarter)/time.Duration(n)))
			last = now
		case <-t.stop:
			running = false
		}
	}
	t.drain()
	t.assembler.expireAll()
	t.held.Store(0)
}

// drain takes what is in the ring now and returns how many events that were.
func (t *Tracer) drain() int {
	now := time.Now()
	n := t.ring.drain(func(r *record) {
		t.assembler.add(r, now)
		t.held.Store(uint64(t.assembler.held))
	})
	t.assembler.expireBefore(now)
	for _, d := range t.builder.deliveries {
		d.flushBefore(now)
	}
	t.held.Store(uint64(t.assembler.held))
	return n
}

// finish decides what becomes of a read of which nothing more will come.
func (t *Tracer) finish(a *assembly) {
	n := uint64(a.events())
	switch {
	case !a.haveDone || t.abort.Err() != nil:
		t.lost.Add(n)
	case t.options.SlowerThan > 0 && a.duration() < t.options.SlowerThan:
		t.filtered.Add(n)
	default:
		t.builder.build(a)
		t.kept.Add(n)
		t.commands.Add(uint64(len(a.commands)))
		t.spans.Store(t.builder.made)
	}
}

// Stats may be called from any goroutine.
func (t *Tracer) Stats() Stats {
	if t.ring == nil {
		return Stats{}
	}
	s := Stats{
		ReadsSampled: t.sampler.sampled.Load(),
		ReadsSkipped: t.sampler.skipped.Load(),
		Kept:         t.kept.Load(),
		Filtered:     t.filtered.Load(),
		Pending:      t.held.Load(),
		Commands:     t.commands.Load(),
		Spans:        t.spans.Load(),
		Collector:    t.collector.stats(),
		File:         t.file.stats(),
	}
	head, waiting := t.ring.head.Load(), uint64(0)
	if tail := t.ring.tail.Load(); tail < head {
		waiting = head - tail
	}
	lost, dropped := t.lost.Load(), t.ring.dropped.Load()
	s.Events = head + dropped
	s.Dropped = lost + dropped
	select {
	case <-t.ended:
		// Nobody will take these any more.
		s.Dropped += waiting
	default:
		s.Pending += waiting
	}
	return s
}

// Shutdown stops sampling, builds the spans of all events received so far and
// delivers them. When ctx ends first, it gives up what is left, which counts
// as dropped or lost, and returns an error. It may be called while the event
// loop still runs, and again, without effect.
func (t *Tracer) Shutdown(ctx context.Context) error {
	t.once.Do(func() { t.result = t.shutdown(ctx) })
	return t.result
}

func (t *Tracer) shutdown(ctx context.Context) error {
	if t.ring == nil {
		return nil
	}
	defer t.giveUp()
	t.closed.Store(true)
	close(t.stop)
	done := make(chan error, 1)
	go func() {
		<-t.ended
		var errs []error
		for _, d := range t.builder.deliveries {
			errs = append(errs, d.close())
		}
		done <- errors.Join(errs...)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		// From here on deliveries end at once, and with them whatever waits.
		t.giveUp()
		err = errors.Join(ctx.Err(), <-done)
	}
	if err != nil {
		lost := t.collector.stats().Lost + t.file.stats().Lost
		return fmt.Errorf("trace: %d spans lost and %d events dropped: %w", lost, t.Stats().Dropped, err)
	}
	return nil
}
