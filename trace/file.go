package trace

import (
	"context"
	"os"

	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Head and tail of the one ExportTraceServiceRequest that a file holds, and
// tail of each of its ResourceSpans.
const (
	fileHead  = `{"resourceSpans":[`
	fileTail  = "]}\n"
	spansTail = "]}]}"
)

// A file is a destination that holds spans as OTLP/JSON: one
// ExportTraceServiceRequest on one line, so that the file is a JSON document
// and also a line of the OTLP File Exporter's format. Each batch is written
// over the closing brackets, which follow it again: the file is complete after
// every batch, even if the process dies later.
type file struct {
	file  *os.File
	head  string // of each ResourceSpans
	size  int64  // without fileTail
	empty bool   // no batch is in it yet
}

// newFile creates the file, or empties it.
func newFile(path string, res *resource.Resource) (*file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString(fileHead + fileTail); err != nil {
		f.Close()
		return nil, err
	}
	quote := func(s string) string { return string(appendString(nil, []byte(s))) }
	head := `,{"resource":{"attributes":[` + render(res.Attributes()...).json +
		`]},"schemaUrl":` + quote(res.SchemaURL()) +
		`,"scopeSpans":[{"scope":{"name":` + quote(scope) +
		`},"schemaUrl":` + quote(semconv.SchemaURL) + `,"spans":[`
	return &file{file: f, head: head, size: int64(len(fileHead)), empty: true}, nil
}

func (f *file) begin(data []byte) []byte { return append(data, f.head...) }

func (f *file) appendSpan(data []byte, s *span) []byte {
	if len(data) > len(f.head) {
		data = append(data, ',')
	}
	return s.appendJSON(data)
}

func (f *file) send(_ context.Context, b *batch) error {
	b.data = append(b.data, spansTail+fileTail...)
	data := b.data
	if f.empty {
		data = data[len(","):]
	}
	if _, err := f.file.WriteAt(data, f.size); err != nil {
		// A full disk: put back what closed the document before.
		if _, err := f.file.WriteAt([]byte(fileTail), f.size); err == nil {
			_ = f.file.Truncate(f.size + int64(len(fileTail)))
		}
		return err
	}
	f.size += int64(len(data) - len(fileTail))
	f.empty = false
	return nil
}

func (f *file) close(context.Context) error { return f.file.Close() }
