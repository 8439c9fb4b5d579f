package trace

import (
	"encoding/hex"
	"encoding/json"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// Spans are encoded here by hand, field by field, in the two encodings of OTLP:
// protobuf for a collector, JSON for a file. Both go straight into the batch
// that leaves; what repeats is encoded once and copied.
//
// The field numbers are those of opentelemetry/proto/trace/v1/trace.proto and
// common/v1/common.proto, the JSON is that of
// https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: ids in hex,
// enumerations and 32-bit numbers as numbers, 64-bit numbers as strings. Fields
// that have their default value, as the status of a span that did not fail, are
// left out.

// Tags: a field's number and its wire type, which protowire could compute for
// each span.
const (
	spansTag = 2<<3 | byte(protowire.BytesType) // of ScopeSpans

	traceIDTag    = 1<<3 | byte(protowire.BytesType) // of Span
	spanIDTag     = 2<<3 | byte(protowire.BytesType)
	parentTag     = 4<<3 | byte(protowire.BytesType)
	nameTag       = 5<<3 | byte(protowire.BytesType)
	kindTag       = 6<<3 | byte(protowire.VarintType)
	startTag      = 7<<3 | byte(protowire.Fixed64Type)
	endTag        = 8<<3 | byte(protowire.Fixed64Type)
	attributesTag = 9<<3 | byte(protowire.BytesType)
	eventsTag     = 11<<3 | byte(protowire.BytesType)
	linksTag      = 13<<3 | byte(protowire.BytesType)
	statusTag     = 15<<3 | byte(protowire.BytesType)
	flagsTag      = 16<<3 | uint64(protowire.Fixed32Type) // two bytes

	eventTimeTag = 1<<3 | byte(protowire.Fixed64Type) // of Span.Event
	eventNameTag = 2<<3 | byte(protowire.BytesType)

	linkTraceTag = 1<<3 | byte(protowire.BytesType) // of Span.Link
	linkSpanTag  = 2<<3 | byte(protowire.BytesType)
	linkFlagsTag = 6<<3 | byte(protowire.Fixed32Type)

	messageTag = 2<<3 | byte(protowire.BytesType) // of Status
	codeTag    = 3<<3 | byte(protowire.VarintType)

	keyTag   = 1<<3 | byte(protowire.BytesType) // of KeyValue
	valueTag = 2<<3 | byte(protowire.BytesType)

	stringTag = 1<<3 | byte(protowire.BytesType) // of AnyValue
	intTag    = 3<<3 | byte(protowire.VarintType)
)

// flags are those of every span and link: sampled, and its parent, or what it
// links to, is known not to be remote.
const flags = uint32(trace.FlagsSampled) | uint32(tracepb.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)

// readEventName is the name of a root's event.
const readEventName = "read"

// A name is the name of a span in both encodings.
type name struct {
	proto string // the field of Span
	json  string // the string, in quotes
}

func newName(s string) name {
	b := protowire.AppendString([]byte{nameTag}, s)
	return name{string(b), string(appendString(nil, []byte(s)))}
}

// A key is the key of an attribute in both encodings.
type key struct {
	proto string // the field of KeyValue
	json  string // up to the value
}

func newKey(k attribute.Key) *key {
	b := protowire.AppendString([]byte{keyTag}, string(k))
	return &key{string(b), `{"key":` + string(appendString(nil, []byte(k))) + `,"value":{`}
}

// Rendered are whole attributes, one or more, in both encodings.
type rendered struct {
	proto string // fields of Span
	json  string // objects with commas between
}

func render(kv ...attribute.KeyValue) rendered {
	var p, j []byte
	for i, kv := range kv {
		a := attr{key: newKey(kv.Key)}
		if kv.Value.Type() == attribute.INT64 {
			a.number = kv.Value.AsInt64()
		} else {
			// There is no other type in our spans, nor in a resource made of
			// variables.
			a.text = []byte(kv.Value.String())
		}
		if i > 0 {
			j = append(j, ',')
		}
		p, j = a.appendProto(p), a.appendJSON(j)
	}
	return rendered{string(p), string(j)}
}

// An attr is an attribute with a text, if that is not nil, or a number; or,
// without a key, attributes encoded before.
type attr struct {
	key    *key
	number int64
	text   []byte // UTF-8
	whole  rendered
}

func (a *attr) appendProto(b []byte) []byte {
	switch {
	case a.key == nil:
		return append(b, a.whole.proto...)
	case a.text != nil:
		text := 1 + protowire.SizeBytes(len(a.text))
		b = append(b, attributesTag)
		b = protowire.AppendVarint(b, uint64(len(a.key.proto)+1+protowire.SizeBytes(text)))
		b = append(b, a.key.proto...)
		b = append(b, valueTag)
		b = protowire.AppendVarint(b, uint64(text))
		b = append(b, stringTag)
		return protowire.AppendBytes(b, a.text)
	}
	n := 1 + protowire.SizeVarint(uint64(a.number))
	b = append(b, attributesTag)
	b = protowire.AppendVarint(b, uint64(len(a.key.proto)+2+n))
	b = append(b, a.key.proto...)
	b = append(b, valueTag, byte(n), intTag)
	return protowire.AppendVarint(b, uint64(a.number))
}

func (a *attr) appendJSON(b []byte) []byte {
	switch {
	case a.key == nil:
		return append(b, a.whole.json...)
	case a.text != nil:
		b = append(b, a.key.json...)
		b = append(b, `"stringValue":`...)
		b = appendString(b, a.text)
		return append(b, "}}"...)
	}
	b = append(b, a.key.json...)
	b = append(b, `"intValue":"`...)
	b = strconv.AppendInt(b, a.number, 10)
	return append(b, `"}}`...)
}

// kind returns the span's kind: whoever is called from outside is a server.
func (s *span) kind() byte {
	if !s.parent.IsValid() {
		return byte(tracepb.Span_SPAN_KIND_SERVER)
	}
	return byte(tracepb.Span_SPAN_KIND_INTERNAL)
}

// appendProto appends s as a field of ScopeSpans.
func (s *span) appendProto(b []byte) []byte {
	b = append(b, spansTag, 0, 0) // the length: two bytes for all but the shortest
	from := len(b)
	b = append(b, traceIDTag, byte(len(s.trace)))
	b = append(b, s.trace[:]...)
	b = append(b, spanIDTag, byte(len(s.id)))
	b = append(b, s.id[:]...)
	if s.parent.IsValid() {
		b = append(b, parentTag, byte(len(s.parent)))
		b = append(b, s.parent[:]...)
	}
	b = append(b, s.name.proto...)
	b = append(b, kindTag, s.kind(), startTag)
	b = protowire.AppendFixed64(b, unixNano(s.start))
	b = append(b, endTag)
	b = protowire.AppendFixed64(b, unixNano(s.end))
	for i := range s.attributes {
		b = s.attributes[i].appendProto(b)
	}
	if s.read != 0 {
		b = append(b, eventsTag, byte(1+8+2+len(readEventName)), eventTimeTag)
		b = protowire.AppendFixed64(b, unixNano(s.read))
		b = append(b, eventNameTag, byte(len(readEventName)))
		b = append(b, readEventName...)
	}
	if l := &s.behind; l.span.IsValid() {
		b = append(b, linksTag, byte(2+len(l.trace)+2+len(l.span)+1+4), linkTraceTag, byte(len(l.trace)))
		b = append(b, l.trace[:]...)
		b = append(b, linkSpanTag, byte(len(l.span)))
		b = append(b, l.span[:]...)
		b = append(b, linkFlagsTag)
		b = protowire.AppendFixed32(b, flags)
	}
	if s.failed {
		b = append(b, statusTag)
		if s.message == "" {
			b = append(b, 2)
		} else {
			b = protowire.AppendVarint(b, uint64(1+protowire.SizeBytes(len(s.message))+2))
			b = append(b, messageTag)
			b = protowire.AppendString(b, s.message)
		}
		b = append(b, codeTag, byte(tracepb.Status_STATUS_CODE_ERROR))
	}
	b = protowire.AppendVarint(b, flagsTag)
	b = protowire.AppendFixed32(b, flags)
	return setLength(b, from)
}

// setLength writes the length of what b holds from the given index on, before
// which it has room for two bytes.
func setLength(b []byte, from int) []byte {
	n := len(b) - from
	if protowire.SizeVarint(uint64(n)) == 2 {
		b[from-2], b[from-1] = byte(n)|0x80, byte(n>>7)
		return b
	}
	var length [10]byte
	size := len(protowire.AppendVarint(length[:0], uint64(n)))
	b = append(b, length[:]...) // room, if size is above 2
	copy(b[from-2+size:], b[from:from+n])
	copy(b[from-2:], length[:size])
	return b[:from-2+size+n]
}

// appendJSON appends s as an object.
func (s *span) appendJSON(b []byte) []byte {
	b = append(b, `{"traceId":"`...)
	b = append(b, s.traceHex[:]...)
	b = append(b, `","spanId":"`...)
	b = hex.AppendEncode(b, s.id[:])
	if s.parent.IsValid() {
		b = append(b, `","parentSpanId":"`...)
		b = hex.AppendEncode(b, s.parent[:])
	}
	b = append(b, `","flags":`...)
	b = strconv.AppendUint(b, uint64(flags), 10)
	b = append(b, `,"name":`...)
	b = append(b, s.name.json...)
	b = append(b, `,"kind":`...)
	b = append(b, '0'+s.kind())
	b = append(b, `,"startTimeUnixNano":"`...)
	b = strconv.AppendUint(b, unixNano(s.start), 10)
	b = append(b, `","endTimeUnixNano":"`...)
	b = strconv.AppendUint(b, unixNano(s.end), 10)
	b = append(b, '"')
	for i := range s.attributes {
		if i == 0 {
			b = append(b, `,"attributes":[`...)
		} else {
			b = append(b, ',')
		}
		b = s.attributes[i].appendJSON(b)
	}
	if len(s.attributes) > 0 {
		b = append(b, ']')
	}
	if s.read != 0 {
		b = append(b, `,"events":[{"timeUnixNano":"`...)
		b = strconv.AppendUint(b, unixNano(s.read), 10)
		b = append(b, `","name":"`+readEventName+`"}]`...)
	}
	if l := &s.behind; l.span.IsValid() {
		b = append(b, `,"links":[{"traceId":"`...)
		b = hex.AppendEncode(b, l.trace[:])
		b = append(b, `","spanId":"`...)
		b = hex.AppendEncode(b, l.span[:])
		b = append(b, `","flags":`...)
		b = strconv.AppendUint(b, uint64(flags), 10)
		b = append(b, "}]"...)
	}
	if s.failed {
		b = append(b, `,"status":{"code":`...)
		b = append(b, '0'+byte(tracepb.Status_STATUS_CODE_ERROR))
		if s.message != "" {
			b = append(b, `,"message":`...)
			b = appendString(b, []byte(s.message))
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

// unixNano makes an unsigned time of ns: 0 for one before the epoch.
func unixNano(ns int64) uint64 { return uint64(max(0, ns)) }

// appendString appends s, which is UTF-8, as a JSON string.
func appendString(b, s []byte) []byte {
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			q, _ := json.Marshal(string(s)) // a string always has a JSON form
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
