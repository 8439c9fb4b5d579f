package trace

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/engine"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// unmarshalOTLP decodes the JSON of an ExportTraceServiceRequest with
// protojson, strictly: unknown fields are errors. OTLP/JSON differs from
// protobuf's JSON in the ids, which are hex instead of base64.
func unmarshalOTLP(b []byte, request *collectorpb.ExportTraceServiceRequest) error {
	var generic any
	if err := json.Unmarshal(b, &generic); err != nil {
		return err
	}
	var walk func(any) error
	walk = func(v any) (err error) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				err = errors.Join(err, walk(e))
			}
		case map[string]any:
			for k, e := range v {
				size, id := map[string]int{"traceId": 32, "spanId": 16, "parentSpanId": 16}[k]
				if !id {
					err = errors.Join(err, walk(e))
					continue
				}
				raw, e2 := hex.DecodeString(e.(string))
				if e2 != nil || len(e.(string)) != size {
					return fmt.Errorf("%s is %v, want %d hex digits", k, e, size)
				}
				v[k] = base64.StdEncoding.EncodeToString(raw)
			}
		}
		return err
	}
	if err := walk(generic); err != nil {
		return err
	}
	b, err := json.Marshal(generic)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(b, request)
}

var capitals = regexp.MustCompile(`"(traceId|spanId|parentSpanId)":"[0-9a-f]*[A-F]`)

func decodeOTLP(t *testing.T, b []byte) *collectorpb.ExportTraceServiceRequest {
	t.Helper()
	var request collectorpb.ExportTraceServiceRequest
	if err := unmarshalOTLP(b, &request); err != nil {
		t.Fatalf("not an ExportTraceServiceRequest: %v", err)
	}
	if id := capitals.Find(b); id != nil {
		t.Errorf("%s has capitals, which some readers do not take", id)
	}
	return &request
}

func allSpans(rs []*tracepb.ResourceSpans) map[string]*tracepb.Span {
	m := make(map[string]*tracepb.Span)
	for _, r := range rs {
		for _, ss := range r.ScopeSpans {
			for _, s := range ss.Spans {
				m[string(s.SpanId)] = s
			}
		}
	}
	return m
}

// The file holds, span by span and field by field, what goes to a collector.
func TestFileEqualsOTLP(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.json")
	sent := &keeper{}
	clearEnv(t)
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50")
	tr := newTestWithEnv(t, Options{File: path, QueryText: true, client: sent})
	s := &script{h: tr.Hooks(), now: t0}
	for range 50 {
		s.loop++
		n := s.do(7, cmd{set}, cmd{get, fail("WRONGTYPE")}, cmd{unknown}, cmd{set, func(e *engine.CommandEvent) {
			e.KeyLen = copy(e.Key[:], "\"quoted\" \\ é \x01\n\xff \u2028")
		}})
		s.write(s.read, 7, n, s.loop%2 == 0)
	}
	shutdown(t, tr)

	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(b), "\n") != 1 || !strings.HasSuffix(string(b), "\n") {
		t.Error("the file is not one line")
	}
	request := decodeOTLP(t, b)
	got, want := allSpans(request.ResourceSpans), allSpans(sent.sent)
	if len(got) != len(want) || len(got) != 50*12 {
		t.Fatalf("%d spans in the file, %d sent, want %d", len(got), len(want), 50*12)
	}
	for id, s := range want {
		if !proto.Equal(got[id], s) {
			t.Fatalf("in the file:\n%v\nsent:\n%v", protojson.Format(got[id]), protojson.Format(s))
		}
	}
	r, w := request.ResourceSpans[0], sent.sent[0]
	if !proto.Equal(r.Resource, w.Resource) || r.SchemaUrl != w.SchemaUrl {
		t.Errorf("resource in the file:\n%v\nsent:\n%v", r.Resource, w.Resource)
	}
	if !proto.Equal(r.ScopeSpans[0].Scope, w.ScopeSpans[0].Scope) || r.ScopeSpans[0].SchemaUrl != w.ScopeSpans[0].SchemaUrl {
		t.Errorf("scope in the file:\n%v\nsent:\n%v", r.ScopeSpans[0].Scope, w.ScopeSpans[0].Scope)
	}
	equal(t, "file", tr.Stats().File, Delivery{Delivered: 600})
	equal(t, "collector", tr.Stats().Collector, Delivery{Delivered: 600})
}

// The file is a complete document at every moment between batches: from the
// start, while it grows, and when nothing was traced.
func TestFileIsAlwaysComplete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.json")
	if err := os.WriteFile(path, []byte(strings.Repeat("old", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	clearEnv(t)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	tr := newTestWithEnv(t, Options{File: path})
	read := func() int {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return len(allSpans(decodeOTLP(t, b).ResourceSpans))
	}
	equal(t, "spans before the first", read(), 0)
	s := &script{h: tr.Hooks(), now: t0}
	for i := range 3 {
		sets(s, 1)
		for end := time.Now().Add(time.Minute); tr.Stats().File.Delivered != uint64(5*(i+1)); {
			if time.Now().After(end) {
				t.Fatalf("%+v", tr.Stats())
			}
			time.Sleep(time.Millisecond)
		}
		equal(t, "spans", read(), 5*(i+1))
	}
	shutdown(t, tr)
	equal(t, "spans at the end", read(), 15)
}

// A write that fails midway leaves the document as it was, and is counted.
func TestFullDisk(t *testing.T) {
	clearEnv(t)
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full, where every write finds the disk full")
	}
	if _, err := New(context.Background(), Options{File: "/dev/full", CommandName: func(int) string { return "" }}); err == nil {
		t.Error("no error at the start")
	}

	path := filepath.Join(t.TempDir(), "trace.json")
	f, err := newFile(path, resource.Empty())
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	ctx := context.Background()
	d := newDelivery(ctx, f, "file", log.log, limits{batch: 5, bytes: fileBytes, batches: 1})
	// With one batch, the second add waits until the one before is written.
	add := func() {
		for i := range byte(5) {
			d.add(&span{opening: appendOpening(nil, &trace.TraceID{1}), id: trace.SpanID{i + 1}, name: &rootName, start: t0, end: t0})
		}
		d.filling = <-d.empty
		d.filling.data = f.begin(d.filling.data[:0])
	}
	add()
	before, _ := os.ReadFile(path)
	good := f.file
	if f.file, err = os.Open("/dev/null"); err != nil { // not open for writing
		t.Fatal(err)
	}
	add()
	add()
	f.file.Close()
	f.file = good
	after, _ := os.ReadFile(path)
	equal(t, "file after a failure", string(after), string(before))
	equal(t, "delivery", d.stats(), Delivery{Delivered: 5, Lost: 10})
	equal(t, "lines", len(log.all()), 1)
	add()
	equal(t, "lines", len(log.all()), 2)
	d.filling = nil
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	after, _ = os.ReadFile(path)
	equal(t, "batches in the end", len(decodeOTLP(t, after).ResourceSpans), 2)
}
