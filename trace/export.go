package trace

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
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

// newCollectorExporter returns an exporter to the collector that endpoint, or
// else the environment, names, and how to call that collector in messages. It
// returns nil when neither names one. It does not connect yet.
//
// Headers, timeouts, compression and certificates are read from OTEL_EXPORTER_OTLP_*
// by the SDK.
func newCollectorExporter(ctx context.Context, endpoint string) (sdktrace.SpanExporter, string, error) {
	source := "endpoint"
	explicit := endpoint != ""
	_, exporter := firstEnv("OTEL_TRACES_EXPORTER")
	if !explicit {
		switch exporter {
		case "", "otlp":
		case "none":
			return nil, "", nil
		default:
			return nil, "", fmt.Errorf("OTEL_TRACES_EXPORTER=%s: give otlp or none", exporter)
		}
		source, endpoint = firstEnv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
		if endpoint == "" && exporter == "" {
			return nil, "", nil
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
			return nil, "", fmt.Errorf("%s %s: give http://host:port, https://host:port, or host:port for gRPC", source, endpoint)
		}
		if explicit && u.Path == "" && protocol != "grpc" {
			endpoint = u.JoinPath("v1", "traces").String()
		}
	} else if endpoint != "" && (protocol != "grpc" || !hostPort.MatchString(endpoint)) {
		return nil, "", fmt.Errorf("%s %s: give http://host:port, https://host:port, or host:port for gRPC", source, endpoint)
	}

	var e sdktrace.SpanExporter
	var err error
	switch protocol {
	case "grpc":
		var options []otlptracegrpc.Option
		switch {
		case explicit && hasScheme:
			options = append(options, otlptracegrpc.WithEndpointURL(endpoint))
		case explicit:
			options = append(options, otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure())
		}
		e, err = otlptracegrpc.New(ctx, options...)
	case "http/protobuf", "http/json":
		var options []otlptracehttp.Option
		if explicit {
			options = append(options, otlptracehttp.WithEndpointURL(endpoint))
		}
		e, err = otlptracehttp.New(ctx, options...)
	default:
		return nil, "", fmt.Errorf("%s=%s: give grpc, http/protobuf or http/json", protocolVariable, protocol)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s %s: %w", source, endpoint, err)
	}
	if endpoint == "" {
		endpoint = "localhost"
	}
	return e, "collector " + endpoint + " (" + protocol + ")", nil
}

var hostPort = regexp.MustCompile(`^[^/@ ]+:[0-9]+$`)

// A delivery stands between a batch span processor and an exporter: it counts
// what arrives and what is lost, says so once when that changes, and can be
// told to give up.
type delivery struct {
	to       sdktrace.SpanExporter
	name     string
	log      func(string)
	abort    context.Context // once it is done, every batch is lost at once
	failing  bool            // ExportSpans is not called concurrently
	lostThen uint64          // lost when failing became true

	delivered atomic.Uint64
	lost      atomic.Uint64
}

// rejected finds the number of spans that a collector refused although it took
// the batch. The exporters return it in an error of an internal type.
var rejected = regexp.MustCompile(`partial success: .*\((\d+) spans rejected\)`)

// ExportSpans implements sdk/trace.SpanExporter. It never returns an error: the
// SDK would report each to its global handler, batch after batch.
func (d *delivery) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if d.abort.Err() != nil {
		d.lost.Add(uint64(len(spans)))
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.abort, cancel)
	err := d.to.ExportSpans(ctx, spans)
	stop()
	cancel()

	lost := uint64(0)
	if err != nil {
		lost = uint64(len(spans))
		if m := rejected.FindStringSubmatch(err.Error()); m != nil {
			n, _ := strconv.ParseUint(m[1], 10, 64)
			lost = min(lost, n)
		}
	}
	d.delivered.Add(uint64(len(spans)) - lost)
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
	return nil
}

// Shutdown implements sdk/trace.SpanExporter.
func (d *delivery) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.abort, cancel)()
	err := d.to.Shutdown(ctx)
	if errors.Is(err, context.Canceled) {
		return nil // Shutdown of the Tracer says why
	}
	return err
}

// stats returns what became of the spans; d may be nil.
func (d *delivery) stats() Delivery {
	if d == nil {
		return Delivery{}
	}
	return Delivery{Delivered: d.delivered.Load(), Lost: d.lost.Load()}
}

// oneLine makes an error fit a line of a log: a collector's answer may be a
// page of HTML.
func oneLine(err error) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "\uFFFD")), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
