package trace

import (
	"encoding/binary"
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

var (
	flagsJSON = strconv.FormatUint(uint64(flags), 10)
	linkEnd   = `","flags":` + flagsJSON + "}]"
)

// readEventName is the name of a root's event.
const readEventName = "read"

// A name is the name of spans in both encodings, with what always goes with it:
// their kind and flags.
type name struct {
	proto string // fields of Span
	json  string // from the end of the ids to the value of startTimeUnixNano
}

func newName(s string, kind tracepb.Span_SpanKind) name {
	p := protowire.AppendString([]byte{nameTag}, s)
	p = append(p, kindTag, byte(kind))
	p = protowire.AppendVarint(p, flagsTag)
	p = protowire.AppendFixed32(p, flags)
	j := append([]byte(`","flags":`+flagsJSON+`,"name":`), appendString(nil, []byte(s))...)
	j = append(j, `,"kind":`...)
	j = strconv.AppendUint(j, uint64(kind), 10)
	return name{string(p), string(j) + `,"startTimeUnixNano":"`}
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

func render(kv ...attribute.KeyValue) *rendered {
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
	return &rendered{string(p), string(j)}
}

// An attr is an attribute with a text, if that is not nil, or a number; or,
// without a key, attributes encoded before.
type attr struct {
	key    *key
	number int64
	text   []byte // UTF-8
	whole  *rendered
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
	b = append(b, startTag)
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

// appendOpening appends what begins the object of every span of a trace, up to
// the value of spanId.
func appendOpening(b []byte, id *trace.TraceID) []byte {
	b = append(b, `{"traceId":"`...)
	b = appendTraceID(b, id)
	return append(b, `","spanId":"`...)
}

// appendJSON appends s as an object.
func (s *span) appendJSON(b []byte) []byte {
	b = append(b, s.opening...)
	b = appendSpanID(b, &s.id)
	if s.parent.IsValid() {
		b = append(b, `","parentSpanId":"`...)
		b = appendSpanID(b, &s.parent)
	}
	b = append(b, s.name.json...)
	b = s.times.append(b, s.start)
	b = append(b, `","endTimeUnixNano":"`...)
	b = s.times.append(b, s.end)
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
		b = s.times.append(b, s.read)
		b = append(b, `","name":"`+readEventName+`"}]`...)
	}
	if l := &s.behind; l.span.IsValid() {
		b = append(b, `,"links":[{"traceId":"`...)
		b = appendTraceID(b, &l.trace)
		b = append(b, `","spanId":"`...)
		b = appendSpanID(b, &l.span)
		b = append(b, linkEnd...)
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

// timeDigits writes times that are mostly close to each other.
type timeDigits struct {
	from int64    // a multiple of 1e8 ns with 19 digits; or 0
	head [11]byte // its digits but the last eight, which are zeros
}

// append appends the digits of a time.
func (t *timeDigits) append(b []byte, ns int64) []byte {
	if t.from == 0 || ns < t.from || ns-t.from >= 1e8 {
		if ns < 1e18 { // before 2001
			return strconv.AppendUint(b, unixNano(ns), 10)
		}
		t.from = ns - ns%1e8
		strconv.AppendInt(t.head[:0], ns/1e8, 10)
	}
	b = append(b, t.head[:]...)
	return binary.LittleEndian.AppendUint64(b, digits(uint64(ns-t.from)))
}

// digits returns the eight decimal digits of n < 1e8 as ASCII, the first one in
// the lowest byte. It halves the digits, all parts at once, until each is one
// byte; the factors are reciprocals, exact for as many digits as they meet.
func digits(n uint64) uint64 {
	n = n/10000 | n%10000<<32
	q := n * 10486 >> 20 & 0x0000007f_0000007f // by 100
	n = q | (n-q*100)<<16
	q = n * 103 >> 10 & 0x000f000f_000f000f // by 10
	n = q | (n-q*10)<<8
	return n | 0x3030303030303030
}

func appendTraceID(b []byte, id *trace.TraceID) []byte {
	high, low := binary.BigEndian.Uint64(id[:8]), binary.BigEndian.Uint64(id[8:])
	b = appendHex(b, high)
	return appendHex(b, low)
}

func appendSpanID(b []byte, id *trace.SpanID) []byte {
	return appendHex(b, binary.BigEndian.Uint64(id[:]))
}

// appendHex appends the 16 hexadecimal digits of n.
func appendHex(b []byte, n uint64) []byte {
	b = binary.BigEndian.AppendUint64(b, hexDigits(n>>32))
	return binary.BigEndian.AppendUint64(b, hexDigits(n&0xffffffff))
}

// hexDigits returns the eight hexadecimal digits of n < 1<<32 as ASCII, the
// first one in the highest byte.
func hexDigits(n uint64) uint64 {
	n = (n | n<<16) & 0x0000ffff_0000ffff
	n = (n | n<<8) & 0x00ff00ff_00ff00ff
	n = (n | n<<4) & 0x0f0f0f0f_0f0f0f0f
	letters := (n + 0x0606060606060606) >> 4 & 0x0101010101010101 // 1 for 10 to 15
	return n + 0x3030303030303030 + letters*('a'-'0'-10)
}

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
