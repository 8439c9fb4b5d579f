package trace

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// firstEnv returns the first of the variables that is set and not empty, and
// its name.
func firstEnv(names ...string) (name, value string) {
	for _, name := range names {
		if v := strings.TrimSpace(os.Getenv(name)); v != "" {
			return name, v
		}
	}
	return "", ""
}

func sdkDisabled() bool {
	_, v := firstEnv("OTEL_SDK_DISABLED")
	return strings.EqualFold(v, "true")
}

// sampleFromEnv returns the probability that OTEL_TRACES_SAMPLER and its
// argument ask for. The parentbased_ samplers are those without the prefix: a
// Redis command carries no parent.
func sampleFromEnv() (float64, error) {
	_, sampler := firstEnv("OTEL_TRACES_SAMPLER")
	switch strings.TrimPrefix(strings.ToLower(sampler), "parentbased_") {
	case "", "always_on":
		return 1, nil
	case "always_off":
		return 0, nil
	case "traceidratio":
	default:
		return 0, fmt.Errorf("OTEL_TRACES_SAMPLER=%s: give always_on, always_off, traceidratio, or one of these after parentbased_", sampler)
	}
	_, arg := firstEnv("OTEL_TRACES_SAMPLER_ARG")
	if arg == "" {
		return 1, nil
	}
	p, err := strconv.ParseFloat(arg, 64)
	if err != nil || !(p >= 0 && p <= 1) {
		return 0, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG=%s: give a number from 0 to 1", arg)
	}
	return p, nil
}

// newCollectorClient returns a client of the collector that endpoint, or else
// the environment, names, and how to call that collector in messages; json says
// that it speaks OTLP/JSON. It returns nil when neither names one. It does not
// connect yet.
//
// Headers, timeouts, compression and certificates are read from OTEL_EXPORTER_OTLP_*
// by the client.
func newCollectorClient(ctx context.Context, endpoint string) (client otlptrace.Client, name string, json bool, err error) {
	source := "endpoint"
	explicit := endpoint != ""
	_, exporter := firstEnv("OTEL_TRACES_EXPORTER")
	if !explicit {
		switch exporter {
		case "", "otlp":
		case "none":
			return nil, "", false, nil
		default:
			return nil, "", false, fmt.Errorf("OTEL_TRACES_EXPORTER=%s: give otlp or none", exporter)
		}
		source, endpoint = firstEnv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
		if endpoint == "" && exporter == "" {
			return nil, "", false, nil
		}
	}
	protocolVariable, protocol := firstEnv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	hasScheme := strings.Contains(endpoint, "://")
	switch {
	case explicit && !hasScheme:
		protocol = "grpc"
	case protocol == "":
		protocol = "http/protobuf" // the specification's default
	}
	if hasScheme {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, "", false, fmt.Errorf("%s %s: give http://host:port, https://host:port, or host:port for gRPC", source, endpoint)
		}
		if explicit && u.Path == "" && protocol != "grpc" {
			endpoint = u.JoinPath("v1", "traces").String()
		}
	} else if endpoint != "" && (protocol != "grpc" || !hostPort.MatchString(endpoint)) {
		return nil, "", false, fmt.Errorf("%s %s: give http://host:port, https://host:port, or host:port for gRPC", source, endpoint)
	}

	switch protocol {
	case "grpc":
		options := []otlptracegrpc.Option{otlptracegrpc.WithDialOption(
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(newCodec())))}
		switch {
		case explicit && hasScheme:
			options = append(options, otlptracegrpc.WithEndpointURL(endpoint))
		case explicit:
			options = append(options, otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure())
		}
		client = otlptracegrpc.NewClient(options...)
	case "http/protobuf", "http/json":
		var options []otlptracehttp.Option
		if explicit {
			options = append(options, otlptracehttp.WithEndpointURL(endpoint))
		}
		client = otlptracehttp.NewClient(options...)
	default:
		return nil, "", false, fmt.Errorf("%s=%s: give grpc, http/protobuf or http/json", protocolVariable, protocol)
	}
	if err := client.Start(ctx); err != nil {
		return nil, "", false, fmt.Errorf("%s %s: %w", source, endpoint, err)
	}
	if endpoint == "" {
		endpoint = "localhost"
	}
	return client, "collector " + endpoint + " (" + protocol + ")", protocol == "http/json", nil
}

var hostPort = regexp.MustCompile(`^[^/@ ]+:[0-9]+$`)

// limits says when a batch leaves, and how much waits.
type limits struct {
	batch   int           // spans in a batch, at most
	bytes   int           // a batch leaves when it has them
	batches int           // batches in memory, the one that is leaving included
	delay   time.Duration // from a batch's first span to its leaving
	timeout time.Duration // for a batch, retries included; 0: none
}

// A batch leaves with so many bytes even before it has its number of spans.
const (
	// Collectors refuse gRPC messages above 4 MiB, and two such buffers are
	// memory enough.
	collectorBytes = 512 << 10

	// ext4 takes as much in one write for less than in two, and the buffer still
	// fits the processor's cache.
	fileBytes = 256 << 10
)

// limitsFromEnv reads OTEL_BSP_*, the variables of the SDK's batch span
// processor. Batch and queue are four times its defaults: more spans share the
// price of a batch.
func limitsFromEnv() (limits, error) {
	var err error
	get := func(name string, least, otherwise int) int {
		_, v := firstEnv(name)
		if v == "" {
			return otherwise
		}
		n, e := strconv.Atoi(v)
		if e != nil || n < least || n > math.MaxInt32 {
			err = fmt.Errorf("%s=%s: give a number from %d", name, v, least)
		}
		return n
	}
	queue := get("OTEL_BSP_MAX_QUEUE_SIZE", 1, 8192)
	l := limits{
		batch:   min(queue, get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, 2048)),
		delay:   time.Duration(get("OTEL_BSP_SCHEDULE_DELAY", 0, 5000)) * time.Millisecond,
		timeout: time.Duration(get("OTEL_BSP_EXPORT_TIMEOUT", 0, 30000)) * time.Millisecond,
	}
	if err == nil {
		l.batches = queue/l.batch + 1
	}
	return l, err
}

// A destination takes batches of encoded spans, one at a time.
type destination interface {
	// begin and appendSpan append the head of a batch and one of its spans.
	begin(data []byte) []byte
	appendSpan(data []byte, s *span) []byte
	// send delivers a batch. It may change b.data, and keeps nothing of it.
	send(ctx context.Context, b *batch) error
	close(ctx context.Context) error
}

// A batch is a number of spans in the encoding of their destination.
type batch struct {
	data  []byte
	spans int
	since time.Time // when its first span came
}

// A delivery stands between the builder and a destination: it gathers spans in
// batches, which a goroutine of its own sends, counts what arrives and what is
// lost, says so once when that changes, and can be told to give up.
//
// Batches are few, and used again. When all are full, add waits for one, rather
// than losing spans: the queue that may lose is the ring.
type delivery struct {
	to     destination
	name   string
	log    func(string)
	abort  context.Context // once it is done, every batch is lost at once
	limits limits

	// Of the goroutine that calls add, flush and close.
	filling *batch // nil: none is begun
	made    int    // batches made

	full  chan *batch   // on their way to run
	empty chan *batch   // on their way back
	ended chan struct{} // closed when run has ended

	// Of run.
	failing  bool
	lostThen uint64 // lost when failing became true

	delivered atomic.Uint64
	lost      atomic.Uint64
}

func newDelivery(abort context.Context, to destination, name string, log func(string), l limits) *delivery {
	d := &delivery{to: to, name: name, log: log, abort: abort, limits: l, ended: make(chan struct{})}
	// Room for all of them: only the lack of an empty batch makes anybody wait.
	d.full, d.empty = make(chan *batch, l.batches), make(chan *batch, l.batches)
	go d.run()
	return d
}

// add puts s into a batch. This may wait for the destination.
func (d *delivery) add(s *span) {
	if d.filling == nil {
		d.filling = d.emptyBatch()
		d.filling.since = time.Now()
		d.filling.data = d.to.begin(d.filling.data[:0])
	}
	b := d.filling
	b.data = d.to.appendSpan(b.data, s)
	b.spans++
	if b.spans == d.limits.batch || len(b.data) >= d.limits.bytes {
		d.flush()
	}
}

// emptyBatch returns one of the batches made before, if one has come back: two
// are enough for a destination that keeps up.
func (d *delivery) emptyBatch() *batch {
	if d.made < d.limits.batches {
		select {
		case b := <-d.empty:
			return b
		default:
			d.made++
			// Memory that is not used yet costs nothing; the last span may
			// exceed the bytes.
			return &batch{data: make([]byte, 0, d.limits.bytes+8<<10)}
		}
	}
	return <-d.empty
}

// flush lets the batch leave that is being filled, if any.
func (d *delivery) flush() {
	if d.filling != nil {
		d.full <- d.filling
		d.filling = nil
	}
}

// flushBefore lets it leave if it has waited long enough at the time now.
func (d *delivery) flushBefore(now time.Time) {
	if d.filling != nil && now.Sub(d.filling.since) >= d.limits.delay {
		d.flush()
	}
}

// close delivers what is left. Nothing may follow.
func (d *delivery) close() error {
	d.flush()
	close(d.full)
	<-d.ended
	err := d.to.close(d.abort)
	if errors.Is(err, context.Canceled) {
		return nil // Shutdown of the Tracer says why
	}
	return err
}

func (d *delivery) run() {
	defer close(d.ended)
	for b := range d.full {
		d.send(b)
		b.spans = 0
		d.empty <- b
	}
}

// rejected finds the number of spans that a collector refused although it took
// the batch. The clients return it in an error of an internal type.
var rejected = regexp.MustCompile(`partial success: .*\((\d+) spans rejected\)`)

func (d *delivery) send(b *batch) {
	spans := uint64(b.spans)
	if d.abort.Err() != nil {
		d.lost.Add(spans)
		return
	}
	ctx, cancel := d.abort, context.CancelFunc(func() {})
	if d.limits.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, d.limits.timeout)
	}
	err := d.to.send(ctx, b)
	cancel()

	lost := uint64(0)
	if err != nil {
		lost = spans
		if m := rejected.FindStringSubmatch(err.Error()); m != nil {
			n, _ := strconv.ParseUint(m[1], 10, 64)
			lost = min(lost, n)
		}
	}
	d.delivered.Add(spans - lost)
	d.lost.Add(lost)
	switch {
	case err != nil && !d.failing && d.abort.Err() == nil:
		d.failing = true
		d.lostThen = d.lost.Load() - lost
		d.log(fmt.Sprintf("trace: %s does not take spans, they are lost and counted until it does: %s", d.name, oneLine(err)))
	case err == nil && d.failing:
		d.failing = false
		d.log(fmt.Sprintf("trace: %s takes spans again; %d were lost", d.name, d.lost.Load()-d.lostThen))
	}
}

// stats returns what became of the spans; d may be nil.
func (d *delivery) stats() Delivery {
	if d == nil {
		return Delivery{}
	}
	return Delivery{Delivered: d.delivered.Load(), Lost: d.lost.Load()}
}

// An uploader is a destination that an OTLP client of OpenTelemetry talks to.
type uploader struct {
	client  otlptrace.Client
	json    bool // the client encodes spans as JSON itself
	request []*tracepb.ResourceSpans
	spans   *tracepb.ScopeSpans // the one in request
}

func newUploader(client otlptrace.Client, json bool, res *resource.Resource) *uploader {
	spans := &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: scope}, SchemaUrl: semconv.SchemaURL}
	attributes := &tracepb.Span{} // those of a resource have another field number
	if err := proto.Unmarshal([]byte(render(res.Attributes()...).proto), attributes); err != nil {
		panic(err) // written a line above
	}
	return &uploader{client: client, json: json, spans: spans, request: []*tracepb.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: attributes.Attributes},
		ScopeSpans: []*tracepb.ScopeSpans{spans},
		SchemaUrl:  res.SchemaURL(),
	}}}
}

func (c *uploader) begin(data []byte) []byte { return data }

func (c *uploader) appendSpan(data []byte, s *span) []byte { return s.appendProto(data) }

// send gives the encoded spans to the client as fields of ScopeSpans that its
// protobuf package does not know: those it copies to where they belong.
func (c *uploader) send(ctx context.Context, b *batch) error {
	if c.json {
		// What is not known has no form in JSON.
		var decoded tracepb.ScopeSpans
		if err := proto.Unmarshal(b.data, &decoded); err != nil {
			return err
		}
		c.spans.Spans = decoded.Spans
	} else {
		c.spans.ProtoReflect().SetUnknown(b.data)
	}
	return c.client.UploadTraces(ctx, c.request)
}

func (c *uploader) close(ctx context.Context) error { return c.client.Stop(ctx) }

// oneLine makes an error fit a line of a log: a collector's answer may be a
// page of HTML.
func oneLine(err error) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "\uFFFD")), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
