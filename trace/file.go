package trace

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"os"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Head and tail of the one ExportTraceServiceRequest that a file holds.
const (
	fileHead = `{"resourceSpans":[`
	fileTail = "]}\n"
)

// A fileExporter writes spans to a file as OTLP/JSON: one
// ExportTraceServiceRequest on one line, so that the file is a JSON document
// and also a line of the OTLP File Exporter's format. Each batch is written
// over the closing brackets, which follow it again: the file is complete after
// every batch, even if the process dies later.
//
// The JSON is written by hand. The generic way, the SDK's protobuf through
// protojson and then its base64 ids turned into the hex that OTLP/JSON wants,
// costs several times the processor time, which the server's machine would pay.
type fileExporter struct {
	file  *os.File
	size  int64 // without fileTail
	empty bool  // no batch is in it yet
	buf   []byte
}

// newFileExporter creates the file, or empties it.
func newFileExporter(path string) (*fileExporter, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString(fileHead + fileTail); err != nil {
		f.Close()
		return nil, err
	}
	return &fileExporter{file: f, size: int64(len(fileHead)), empty: true}, nil
}

// ExportSpans implements sdk/trace.SpanExporter. The spans come from one
// TracerProvider and one tracer: they share resource and scope.
func (e *fileExporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	b := e.buf[:0]
	if !e.empty {
		b = append(b, ',')
	}
	b = append(b, `{"resource":{"attributes":`...)
	b = appendAttributes(b, spans[0].Resource().Attributes())
	b = append(b, `},"scopeSpans":[{"scope":{"name":`...)
	b = appendString(b, spans[0].InstrumentationScope().Name)
	b = append(b, `,"version":`...)
	b = appendString(b, spans[0].InstrumentationScope().Version)
	b = append(b, `},"schemaUrl":`...)
	b = appendString(b, spans[0].InstrumentationScope().SchemaURL)
	b = append(b, `,"spans":[`...)
	for i, s := range spans {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSpan(b, s)
	}
	b = append(b, `]}],"schemaUrl":`...)
	b = appendString(b, spans[0].Resource().SchemaURL())
	b = append(b, '}')
	n := len(b)
	b = append(b, fileTail...)
	e.buf = b
	if _, err := e.file.WriteAt(b, e.size); err != nil {
		// A full disk: put back what closed the document before.
		if _, err := e.file.WriteAt([]byte(fileTail), e.size); err == nil {
			_ = e.file.Truncate(e.size + int64(len(fileTail)))
		}
		return err
	}
	e.size += int64(n)
	e.empty = false
	return nil
}

// Shutdown implements sdk/trace.SpanExporter.
func (e *fileExporter) Shutdown(context.Context) error { return e.file.Close() }

// appendSpan appends s in the JSON encoding of OTLP: ids in hex, enumerations
// and 32-bit numbers as numbers, 64-bit numbers as strings.
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
func appendSpan(b []byte, s sdktrace.ReadOnlySpan) []byte {
	b = append(b, '{')
	b = appendContext(b, s.SpanContext())
	if p := s.Parent().SpanID(); p.IsValid() {
		b = append(b, `,"parentSpanId":"`...)
		b = hex.AppendEncode(b, p[:])
		b = append(b, '"')
	}
	b = append(b, `,"flags":`...)
	b = appendFlags(b, s.SpanContext().TraceFlags(), s.Parent())
	b = append(b, `,"name":`...)
	b = appendString(b, s.Name())
	b = append(b, `,"kind":`...)
	// trace.SpanKindInternal, Server, … are numbered as in OTLP.
	b = strconv.AppendInt(b, int64(s.SpanKind()), 10)
	b = append(b, `,"startTimeUnixNano":`...)
	b = appendTime(b, s.StartTime())
	b = append(b, `,"endTimeUnixNano":`...)
	b = appendTime(b, s.EndTime())
	b = append(b, `,"attributes":`...)
	b = appendAttributes(b, s.Attributes())
	if events := s.Events(); len(events) > 0 {
		b = append(b, `,"events":[`...)
		for i, e := range events {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"timeUnixNano":`...)
			b = appendTime(b, e.Time)
			b = append(b, `,"name":`...)
			b = appendString(b, e.Name)
			b = append(b, `,"attributes":`...)
			b = appendAttributes(b, e.Attributes)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if links := s.Links(); len(links) > 0 {
		b = append(b, `,"links":[`...)
		for i, l := range links {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '{')
			b = appendContext(b, l.SpanContext)
			b = append(b, `,"flags":`...)
			b = appendFlags(b, l.SpanContext.TraceFlags(), l.SpanContext)
			b = append(b, `,"attributes":`...)
			b = appendAttributes(b, l.Attributes)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	b = append(b, `,"status":{`...)
	switch s.Status().Code {
	case codes.Ok:
		b = append(b, `"code":1`...)
	case codes.Error:
		b = append(b, `"code":2`...)
		if d := s.Status().Description; d != "" {
			b = append(b, `,"message":`...)
			b = appendString(b, d)
		}
	}
	return append(b, `}}`...)
}

func appendContext(b []byte, sc trace.SpanContext) []byte {
	t, s := sc.TraceID(), sc.SpanID()
	b = append(b, `"traceId":"`...)
	b = hex.AppendEncode(b, t[:])
	b = append(b, `","spanId":"`...)
	b = hex.AppendEncode(b, s[:])
	return append(b, '"')
}

// appendFlags appends the W3C trace flags, and that and whether parent is
// remote: SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK, SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK.
func appendFlags(b []byte, flags trace.TraceFlags, parent trace.SpanContext) []byte {
	n := uint64(flags) | 0x100
	if parent.IsRemote() {
		n |= 0x200
	}
	return strconv.AppendUint(b, n, 10)
}

func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = strconv.AppendInt(b, max(0, t.UnixNano()), 10)
	return append(b, '"')
}

func appendAttributes(b []byte, attrs []attribute.KeyValue) []byte {
	b = append(b, '[')
	for i, kv := range attrs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"key":`...)
		b = appendString(b, string(kv.Key))
		b = append(b, `,"value":`...)
		b = appendValue(b, kv.Value)
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendValue(b []byte, v attribute.Value) []byte {
	switch v.Type() {
	case attribute.STRING:
		b = append(b, `{"stringValue":`...)
		b = appendString(b, v.AsString())
	case attribute.INT64:
		b = append(b, `{"intValue":"`...)
		b = strconv.AppendInt(b, v.AsInt64(), 10)
		b = append(b, '"')
	default:
		// Our spans have no other type, nor has a resource made of variables.
		b = append(b, `{"stringValue":`...)
		b = appendString(b, v.String())
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == '"' || s[i] == '\\' || s[i] >= 0x80 {
			q, _ := json.Marshal(s) // a string always has a JSON form
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
