package trace

import (
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Attributes that OpenTelemetry's conventions have no name for.
const (
	clientIDKey      = attribute.Key("redscope.client.id")     // CLIENT ID
	loopKey          = attribute.Key("redscope.loop")          // turn of the event loop
	readBytesKey     = attribute.Key("redscope.read.bytes")    // what read(2) returned
	readCommandsKey  = attribute.Key("redscope.read.commands") // complete commands in it
	writeBytesKey    = attribute.Key("redscope.write.bytes")   // what write(2) accepted
	batchPositionKey = attribute.Key("redscope.batch.position")
	argumentsKey     = attribute.Key("redscope.command.arguments") // its name included
	dirtyKey         = attribute.Key("redscope.command.dirty")     // changes to the key space
	replySizeKey     = attribute.Key("redscope.reply.size")        // bytes
)

// maxQueryText bounds db.query.text, in bytes: an MSET of a thousand keys is
// two thousand question marks.
const maxQueryText = 256

// A span is what this package gives to the SDK's processors and exporters. The
// SDK's own span is made to be changed by several goroutines while it lasts, and
// costs about four times as much to make: a lock, options, limits, a copy at the
// end. Ours are complete when they are made.
type span struct {
	// ReadOnlySpan is nil. It is there for the interface's unexported method,
	// which nobody calls; the SDK's forceFlushSpan is made in this way, too.
	sdktrace.ReadOnlySpan

	of         *builder
	name       string
	context    trace.SpanContext
	parent     trace.SpanContext
	kind       trace.SpanKind
	start, end int64 // ns since the epoch
	attributes []attribute.KeyValue
	links      []sdktrace.Link
	events     []sdktrace.Event
	status     sdktrace.Status
	children   int
}

func (s *span) Name() string                     { return s.name }
func (s *span) SpanContext() trace.SpanContext   { return s.context }
func (s *span) Parent() trace.SpanContext        { return s.parent }
func (s *span) SpanKind() trace.SpanKind         { return s.kind }
func (s *span) StartTime() time.Time             { return at(s.start) }
func (s *span) EndTime() time.Time               { return at(s.end) }
func (s *span) Attributes() []attribute.KeyValue { return s.attributes }
func (s *span) Links() []sdktrace.Link           { return s.links }
func (s *span) Events() []sdktrace.Event         { return s.events }
func (s *span) Status() sdktrace.Status          { return s.status }
func (s *span) Resource() *resource.Resource     { return s.of.resource }
func (s *span) DroppedAttributes() int           { return 0 }
func (s *span) DroppedLinks() int                { return 0 }
func (s *span) DroppedEvents() int               { return 0 }
func (s *span) ChildSpanCount() int              { return s.children }

func (s *span) InstrumentationScope() instrumentation.Scope {
	return instrumentation.Scope{Name: scope, SchemaURL: semconv.SchemaURL}
}

// InstrumentationLibrary is the older name of InstrumentationScope.
func (s *span) InstrumentationLibrary() instrumentation.Scope { return s.InstrumentationScope() }

// A builder makes the spans of one read after another.
type builder struct {
	processors   []sdktrace.SpanProcessor
	resource     *resource.Resource
	ids          *ids
	commandName  func(int) string
	functionName func(int) string
	queryText    bool
	made         uint64 // spans made

	// Spans and attributes are cut off larger pieces: fewer allocations, hence
	// less work for the garbage collector of the server that is watched.
	spans      []span
	attributes []attribute.KeyValue
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
	var buf [8]attribute.KeyValue
	where := append(buf[:0], semconv.DBSystemNameRedis, transport(a.done.peer()))
	where = appendAddress(where, a.done.peer(), semconv.NetworkPeerAddress, semconv.NetworkPeerPort)
	where = appendAddress(where, a.done.local(), semconv.ServerAddress, semconv.ServerPort)

	root := b.span("readQueryFromClient", nil, a.root, a.done.at[start], a.end())
	root.context = trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: a.trace, SpanID: a.root, TraceFlags: trace.FlagsSampled,
	})
	root.kind = trace.SpanKindServer
	root.events = []sdktrace.Event{{Name: "read", Time: at(a.done.at[readEnd])}}
	b.set(root, where...)
	b.set(root,
		clientIDKey.Int64(int64(a.done.client)),
		loopKey.Int64(int64(a.done.loop)),
		readBytesKey.Int64(a.done.bytes),
		readCommandsKey.Int64(a.done.count),
	)
	if a.done.count > 1 {
		b.set(root,
			semconv.DBOperationName(b.pipelineName(a.commands)),
			semconv.DBOperationBatchSize(int(a.done.count)))
	}
	for i := range a.commands {
		b.command(root, &a.commands[i], where)
	}
	for i := range a.writes {
		b.write(root, &a.writes[i])
	}
	b.done(root)
}

// command makes the spans of one command.
func (b *builder) command(root *span, c *command, where []attribute.KeyValue) {
	// A command that does not exist has no name of its own: its text would be
	// whatever a client sends.
	name, function := "processCommand", ""
	exists := c.record.command >= 0
	if exists {
		name = b.commandName(int(c.record.command))
		function = b.functionName(int(c.record.command))
	}
	s := b.span(name, root, c.span, c.at[process], c.at[end])
	if c.behind.IsValid() {
		s.links = []sdktrace.Link{{SpanContext: c.behind}}
	}
	b.set(s, where...)
	b.set(s,
		semconv.DBNamespace(strconv.Itoa(int(c.db))),
		argumentsKey.Int64(int64(c.args)),
		dirtyKey.Int64(c.count),
		replySizeKey.Int64(c.bytes),
		batchPositionKey.Int64(int64(c.batch)),
	)
	if exists {
		b.set(s, semconv.DBOperationName(name))
		if b.queryText {
			b.set(s, semconv.DBQueryText(queryText(name, &c.record)))
		}
	}
	if code := strings.ToValidUTF8(c.error(), "\uFFFD"); code != "" {
		b.set(s, semconv.DBResponseStatusCode(code), semconv.ErrorTypeKey.String(code))
		s.status.Code = codes.Error
	}
	if c.at[callStart] != 0 {
		call := b.span("call", s, b.ids.newSpan(), c.at[callStart], c.at[callEnd])
		b.done(b.span(function, call, b.ids.newSpan(), c.at[procStart], c.at[procEnd]))
		b.done(call)
	}
	b.done(s)
}

func (b *builder) write(root *span, w *record) {
	s := b.span("writeToClient", root, b.ids.newSpan(), w.at[start], w.at[end])
	b.set(s, writeBytesKey.Int64(w.bytes))
	if w.failed {
		b.set(s, semconv.ErrorTypeOther)
		s.status = sdktrace.Status{Code: codes.Error, Description: "write failed"}
	}
	b.done(s)
}

// span returns a span without attributes.
func (b *builder) span(name string, parent *span, id trace.SpanID, start, end int64) *span {
	if len(b.spans) == 0 {
		b.spans = make([]span, 64)
	}
	s := &b.spans[0]
	b.spans = b.spans[1:]
	s.of, s.name, s.start, s.end = b, name, start, end
	s.kind = trace.SpanKindInternal
	if parent != nil {
		s.parent = parent.context
		s.context = parent.context.WithSpanID(id)
		parent.children++
	}
	return s
}

// set adds attributes to s, which must be the span that set was called for
// last, or new.
func (b *builder) set(s *span, kv ...attribute.KeyValue) {
	n := len(s.attributes)
	if cap(b.attributes)-len(b.attributes) < len(kv) {
		b.attributes = append(make([]attribute.KeyValue, 0, 512), s.attributes...)
		s.attributes = b.attributes
	}
	from := len(b.attributes) - n
	b.attributes = append(b.attributes, kv...)
	s.attributes = b.attributes[from:len(b.attributes):len(b.attributes)]
}

// done gives s to the SDK. This may wait for the exporter.
func (b *builder) done(s *span) {
	b.made++
	for _, p := range b.processors {
		p.OnEnd(s)
	}
}

// at returns the time that is ns nanoseconds after the epoch.
func at(ns int64) time.Time { return time.Unix(0, ns) }

// pipelineName names a batch as the conventions for Redis ask: after the
// command when all are the same.
func (b *builder) pipelineName(commands []command) string {
	if len(commands) == 0 || commands[0].record.command < 0 {
		return "PIPELINE"
	}
	for i := range commands[1:] {
		if commands[i+1].record.command != commands[0].record.command {
			return "PIPELINE"
		}
	}
	return "PIPELINE " + b.commandName(int(commands[0].record.command))
}

// queryText returns a command as redis-cli would take it, every argument
// replaced by a question mark, except the first key: the conventions' own
// example is "SET mykey ?". A key cut short ends in "…".
func queryText(name string, r *record) string {
	var s strings.Builder
	s.WriteString(name)
	// A subcommand is part of the name: "CONFIG GET".
	for i := int32(strings.Count(name, " ") + 1); i < r.args; i++ {
		if s.Len() >= maxQueryText {
			s.WriteString(" …")
			break
		}
		s.WriteByte(' ')
		if i != r.keyPos {
			s.WriteByte('?')
			continue
		}
		// Keys are any bytes; one that is not UTF-8 would make the exporter
		// refuse its whole batch.
		s.WriteString(strings.ToValidUTF8(r.key(), "\uFFFD"))
		if r.keyLen > int64(r.textLen) {
			s.WriteString("…")
		}
	}
	return s.String()
}

// appendAddress appends "ip:port" as two attributes, the path of a unix socket
// as one.
func appendAddress(kv []attribute.KeyValue, s string, host func(string) attribute.KeyValue, port func(int) attribute.KeyValue) []attribute.KeyValue {
	i := strings.LastIndexByte(s, ':')
	switch {
	case s == "":
		return kv
	case i < 0 || s[0] == '/':
		return append(kv, host(strings.ToValidUTF8(s, "\uFFFD")))
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
