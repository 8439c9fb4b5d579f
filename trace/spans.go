package trace

import (
	"context"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
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

// A builder makes the spans of one read after another. The SDK's processors
// take them from End.
type builder struct {
	tracer       trace.Tracer
	ids          *ids
	commandName  func(int) string
	functionName func(int) string
	queryText    bool
	spans        uint64 // spans made
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
	peer := address(a.done.peer(), semconv.NetworkPeerAddress, semconv.NetworkPeerPort)
	where := append([]attribute.KeyValue{semconv.DBSystemNameRedis, transport(a.done.peer())}, peer...)
	where = append(where, address(a.done.local(), semconv.ServerAddress, semconv.ServerPort)...)
	// Full, so that each append below makes a copy of its own.
	where = where[:len(where):len(where)]

	attrs := append(where,
		clientIDKey.Int64(int64(a.done.client)),
		loopKey.Int64(int64(a.done.loop)),
		readBytesKey.Int64(a.done.bytes),
		readCommandsKey.Int64(a.done.count),
	)
	if a.done.count > 1 {
		attrs = append(attrs,
			semconv.DBOperationName(b.pipelineName(a.commands)),
			semconv.DBOperationBatchSize(int(a.done.count)))
	}
	b.ids.nextTrace, b.ids.nextSpan = a.trace, a.root
	ctx, root := b.start(context.Background(), "readQueryFromClient", a.done.at[start],
		trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...))
	b.ids.nextSpan = trace.SpanID{}
	root.AddEvent("read", trace.WithTimestamp(at(a.done.at[readEnd])))

	for i := range a.commands {
		b.command(ctx, &a.commands[i], where)
	}
	for i := range a.writes {
		b.write(ctx, &a.writes[i])
	}
	root.End(trace.WithTimestamp(at(a.end())))
}

// command makes the spans of one command.
func (b *builder) command(ctx context.Context, c *command, where []attribute.KeyValue) {
	// A command that does not exist has no name of its own: its text would be
	// whatever a client sends.
	name, function := "processCommand", ""
	attrs := append(make([]attribute.KeyValue, 0, len(where)+9), where...)
	if c.record.command >= 0 {
		name = b.commandName(int(c.record.command))
		function = b.functionName(int(c.record.command))
		attrs = append(attrs, semconv.DBOperationName(name))
	}
	attrs = append(attrs,
		semconv.DBNamespace(strconv.Itoa(int(c.db))),
		argumentsKey.Int64(int64(c.args)),
		dirtyKey.Int64(c.count),
		replySizeKey.Int64(c.bytes),
		batchPositionKey.Int64(int64(c.batch)),
	)
	if b.queryText && c.record.command >= 0 {
		attrs = append(attrs, semconv.DBQueryText(queryText(name, &c.record)))
	}
	code := strings.ToValidUTF8(c.error(), "\uFFFD")
	if code != "" {
		attrs = append(attrs, semconv.DBResponseStatusCode(code), semconv.ErrorTypeKey.String(code))
	}
	options := []trace.SpanStartOption{trace.WithAttributes(attrs...)}
	if c.behind.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: c.behind}))
	}

	b.ids.nextSpan = c.span
	ctx, span := b.start(ctx, name, c.at[process], options...)
	if c.at[callStart] != 0 {
		callCtx, call := b.start(ctx, "call", c.at[callStart])
		_, proc := b.start(callCtx, function, c.at[procStart])
		proc.End(trace.WithTimestamp(at(c.at[procEnd])))
		call.End(trace.WithTimestamp(at(c.at[callEnd])))
	}
	if code != "" {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(at(c.at[end])))
}

func (b *builder) write(ctx context.Context, w *record) {
	options := []trace.SpanStartOption{trace.WithAttributes(writeBytesKey.Int64(w.bytes))}
	if w.failed {
		options = append(options, trace.WithAttributes(semconv.ErrorTypeOther))
	}
	_, span := b.start(ctx, "writeToClient", w.at[start], options...)
	if w.failed {
		span.SetStatus(codes.Error, "write failed")
	}
	span.End(trace.WithTimestamp(at(w.at[end])))
}

func (b *builder) start(ctx context.Context, name string, ns int64, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	b.spans++
	return b.tracer.Start(ctx, name, append(options, trace.WithTimestamp(at(ns)))...)
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

// address splits "ip:port" into two attributes; the path of a unix socket is
// one.
func address(s string, host func(string) attribute.KeyValue, port func(int) attribute.KeyValue) []attribute.KeyValue {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasPrefix(s, "/") {
		if s == "" {
			return nil
		}
		return []attribute.KeyValue{host(strings.ToValidUTF8(s, "\uFFFD"))}
	}
	kv := []attribute.KeyValue{host(strings.Trim(s[:i], "[]"))}
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
