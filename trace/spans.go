package trace

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Attributes whose value differs from span to span. For those called redscope,
// OpenTelemetry's conventions have no name.
var (
	clientIDKey     = newKey("redscope.client.id")     // CLIENT ID
	loopKey         = newKey("redscope.loop")          // turn of the event loop
	readBytesKey    = newKey("redscope.read.bytes")    // what read(2) returned
	readCommandsKey = newKey("redscope.read.commands") // complete commands in it
	writeBytesKey   = newKey("redscope.write.bytes")   // what write(2) accepted

	batchSizeKey  = newKey(semconv.DBOperationBatchSizeKey)
	queryTextKey  = newKey(semconv.DBQueryTextKey)
	statusCodeKey = newKey(semconv.DBResponseStatusCodeKey)
	errorTypeKey  = newKey(semconv.ErrorTypeKey)
)

// Names and attributes that never differ.
var (
	rootName     = newName("readQueryFromClient", tracepb.Span_SPAN_KIND_SERVER)
	callName     = newName("call", tracepb.Span_SPAN_KIND_INTERNAL)
	writeName    = newName("writeToClient", tracepb.Span_SPAN_KIND_INTERNAL)
	mixed        = render(semconv.DBOperationName("PIPELINE"))
	writeFailure = render(semconv.ErrorTypeOther)

	unknownCommand = commandPieces{name: newName("processCommand", tracepb.Span_SPAN_KIND_INTERNAL)}
)

// maxQueryText bounds db.query.text, in bytes: an MSET of a thousand keys is
// two thousand question marks.
const maxQueryText = 256

// maxPlaces bounds how many places are kept in encoded form: three quarters of
// a megabyte.
const maxPlaces = 512

// A span is what the encoders are given. There is one per builder, filled anew
// for each span: making spans as the SDK does, or any object per span, costs
// several times what encoding them does, most of it in the garbage collector of
// the server that is watched.
type span struct {
	trace      trace.TraceID
	opening    []byte // what begins the JSON of all spans of the trace
	times      timeDigits
	id         trace.SpanID
	parent     trace.SpanID // not valid: a root
	name       *name
	start, end int64   // ns since the epoch
	attributes []attr  //
	read       int64   // time of the event "read"; 0: there is none
	behind     spanRef // link, if any
	failed     bool    // the status is Error
	message    string  // of the status
}

// A builder makes the spans of one read after another.
type builder struct {
	deliveries   []*delivery
	ids          *ids
	commandName  func(int) string
	functionName func(int) string
	queryText    bool
	made         uint64 // spans made

	span     span
	scratch  []byte // text that span.attributes refers to
	commands []commandPieces
	places   map[string]*place
	placeKey []byte
}

// A place is a connection with a database selected.
type place struct {
	db      int32
	root    *rendered // what a root says of it
	command *rendered // what a command says: the database, too
}

// commandPieces is what all spans of a command have in common.
type commandPieces struct {
	known     bool
	words     int    // of its name: 2 for "CONFIG GET"
	text      string // its name
	name      name
	function  name
	operation *rendered
	pipeline  *rendered // operation of a pipeline of this command alone
}

// build makes the spans of a, which is finished:
//
//	readQueryFromClient
//	├ SET
//	│ └ call
//	│   └ setCommand
//	├ …
//	└ writeToClient
func (b *builder) build(a *assembly) {
	b.span.trace = a.trace
	b.span.opening = appendOpening(b.span.opening[:0], &a.trace)
	place := b.placeOf(&a.done, a.done.db)

	s := b.begin(&rootName, trace.SpanID{}, a.root, a.done.at[start], a.end())
	s.read = a.done.at[readEnd]
	s.attributes = append(s.attributes,
		attr{whole: place.root},
		attr{key: clientIDKey, number: int64(a.done.client)},
		attr{key: loopKey, number: int64(a.done.loop)},
		attr{key: readBytesKey, number: a.done.bytes},
		attr{key: readCommandsKey, number: a.done.count},
	)
	if a.done.count > 1 {
		s.attributes = append(s.attributes,
			attr{whole: b.pipeline(a.commands)},
			attr{key: batchSizeKey, number: a.done.count})
	}
	b.end()
	for i := range a.commands {
		c := &a.commands[i]
		if c.db != place.db {
			place = b.placeOf(&a.done, c.db)
		}
		b.command(a.root, c, place.command)
	}
	for i := range a.writes {
		b.write(a.root, &a.writes[i])
	}
}

// command makes the spans of one command.
func (b *builder) command(root trace.SpanID, c *command, place *rendered) {
	// A command that does not exist has no name of its own: its text would be
	// whatever a client sends.
	pieces := &unknownCommand
	exists := c.record.command >= 0
	if exists {
		pieces = b.pieces(int(c.record.command))
	}
	s := b.begin(&pieces.name, root, c.span, c.at[process], c.at[end])
	s.behind = c.behind
	s.attributes = append(s.attributes, attr{whole: place})
	if exists {
		s.attributes = append(s.attributes, attr{whole: pieces.operation})
		if b.queryText {
			b.scratch = appendQueryText(b.scratch[:0], pieces, &c.record)
			s.attributes = append(s.attributes, attr{key: queryTextKey, text: b.scratch})
		}
	}
	if code := validUTF8(c.error()); len(code) > 0 {
		s.attributes = append(s.attributes, attr{key: statusCodeKey, text: code}, attr{key: errorTypeKey, text: code})
		s.failed = true
	}
	b.end()
	if c.at[callStart] != 0 {
		call := b.ids.newSpan()
		b.begin(&callName, c.span, call, c.at[callStart], c.at[callEnd])
		b.end()
		b.begin(&pieces.function, call, b.ids.newSpan(), c.at[procStart], c.at[procEnd])
		b.end()
	}
}

func (b *builder) write(root trace.SpanID, w *record) {
	s := b.begin(&writeName, root, b.ids.newSpan(), w.at[start], w.at[end])
	s.attributes = append(s.attributes, attr{key: writeBytesKey, number: w.bytes})
	if w.failed {
		s.attributes = append(s.attributes, attr{whole: writeFailure})
		s.failed, s.message = true, "write failed"
	}
	b.end()
}

// begin returns a span without attributes; end takes it back.
func (b *builder) begin(name *name, parent, id trace.SpanID, start, end int64) *span {
	s := &b.span
	s.id, s.parent, s.name, s.start, s.end = id, parent, name, start, end
	s.attributes = s.attributes[:0]
	s.read, s.behind, s.failed, s.message = 0, spanRef{}, false, ""
	return s
}

// end encodes the span for every destination. This may wait for an exporter.
func (b *builder) end() {
	b.made++
	for _, d := range b.deliveries {
		d.add(&b.span)
	}
}

// pieces returns what is encoded of a command that exists.
func (b *builder) pieces(id int) *commandPieces {
	if id >= len(b.commands) {
		b.commands = append(b.commands, make([]commandPieces, id+1-len(b.commands))...)
	}
	p := &b.commands[id]
	if !p.known {
		name := b.commandName(id)
		*p = commandPieces{
			known:     true,
			words:     strings.Count(name, " ") + 1,
			text:      name,
			name:      newName(name, tracepb.Span_SPAN_KIND_INTERNAL),
			function:  newName(b.functionName(id), tracepb.Span_SPAN_KIND_INTERNAL),
			operation: render(semconv.DBOperationName(name)),
			pipeline:  render(semconv.DBOperationName("PIPELINE " + name)),
		}
	}
	return p
}

// pipeline names a batch as the conventions for Redis ask: after the command
// when all are the same.
func (b *builder) pipeline(commands []command) *rendered {
	if len(commands) == 0 || commands[0].record.command < 0 {
		return mixed
	}
	for i := range commands[1:] {
		if commands[i+1].record.command != commands[0].record.command {
			return mixed
		}
	}
	return b.pieces(int(commands[0].record.command)).pipeline
}

// placeOf returns the place of the connection that r, a read, came from, with
// the given database.
func (b *builder) placeOf(r *record, db int32) *place {
	b.placeKey = append(append(append(b.placeKey[:0], r.peer()...), 0), r.local()...)
	b.placeKey = binary.NativeEndian.AppendUint32(b.placeKey, uint32(db))
	p := b.places[string(b.placeKey)]
	if p == nil {
		if len(b.places) >= maxPlaces {
			clear(b.places)
		}
		kv := []attribute.KeyValue{semconv.DBSystemNameRedis}
		kv = appendAddress(kv, string(r.peer()), semconv.NetworkPeerAddress, semconv.NetworkPeerPort)
		kv = appendAddress(kv, string(r.local()), semconv.ServerAddress, semconv.ServerPort)
		p = &place{db: db}
		command := kv
		if db >= 0 {
			command = append(kv, semconv.DBNamespace(strconv.Itoa(int(db))))
		}
		p.command = render(command...)
		p.root = render(append(kv, transport(string(r.peer())))...)
		b.places[string(b.placeKey)] = p
	}
	return p
}

// appendQueryText appends a command as redis-cli would take it, every argument
// replaced by a question mark, except the first key: the conventions' own
// example is "SET mykey ?". A key cut short ends in "…".
func appendQueryText(b []byte, pieces *commandPieces, r *record) []byte {
	from := len(b)
	b = append(b, pieces.text...)
	// A subcommand is part of the name: "CONFIG GET".
	for i := int32(pieces.words); i < r.args; i++ {
		if len(b)-from >= maxQueryText {
			return append(b, " …"...)
		}
		b = append(b, ' ')
		if i != r.keyPos {
			b = append(b, '?')
			continue
		}
		b = append(b, validUTF8(r.key())...)
		if r.keyLen > int64(r.textLen) {
			b = append(b, "…"...)
		}
	}
	return b
}

// validUTF8 returns b, or a copy in which U+FFFD stands for what is not UTF-8:
// keys are any bytes, and one such key would make a collector refuse the whole
// batch.
func validUTF8(b []byte) []byte {
	if utf8.Valid(b) {
		return b
	}
	return bytes.ToValidUTF8(b, []byte("\uFFFD"))
}

// appendAddress appends "ip:port" as two attributes, the path of a unix socket
// as one.
func appendAddress(kv []attribute.KeyValue, s string, host func(string) attribute.KeyValue, port func(int) attribute.KeyValue) []attribute.KeyValue {
	s = strings.ToValidUTF8(s, "\uFFFD")
	i := strings.LastIndexByte(s, ':')
	switch {
	case s == "":
		return kv
	case i < 0 || s[0] == '/':
		return append(kv, host(s))
	}
	kv = append(kv, host(strings.Trim(s[:i], "[]")))
	if n, err := strconv.Atoi(s[i+1:]); err == nil {
		kv = append(kv, port(n))
	}
	return kv
}

func transport(peer string) attribute.KeyValue {
	if strings.HasPrefix(peer, "/") {
		return semconv.NetworkTransportUnix
	}
	return semconv.NetworkTransportTCP
}
