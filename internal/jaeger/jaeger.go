// Package jaeger runs a real Jaeger and asks it which traces it has. It is for
// tests only, and must never be content with less than the query API returns.
package jaeger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/port"
	"github.com/redscope/redscope/internal/require"
)

// Jaeger is a running all-in-one with in-memory storage. The fields are
// addresses, host:port.
type Jaeger struct {
	GRPC, HTTP string // where it takes OTLP
	query      string
}

// Start starts one on free ports and stops it at the end of the test.
func Start(t testing.TB) Jaeger {
	t.Helper()
	path := require.Jaeger(t)
	var free []string
	for range 7 {
		free = append(free, fmt.Sprint("127.0.0.1:", port.Free(t)))
	}
	j := Jaeger{GRPC: free[0], HTTP: free[1], query: free[2]}
	cmd := exec.Command(path,
		"--collector.otlp.grpc.host-port="+j.GRPC,
		"--collector.otlp.http.host-port="+j.HTTP,
		"--query.http-server.host-port="+j.query,
		"--query.grpc-server.host-port="+free[3],
		"--admin.http.host-port="+free[4],
		"--collector.grpc-server.host-port="+free[5],
		"--collector.http-server.host-port="+free[6],
	)
	// A test that is killed must not leave it running.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// Jaeger would also trace itself, into port 4317.
	cmd.Env = append(cmd.Environ(), "SPAN_STORAGE_TYPE=memory", "OTEL_TRACES_SAMPLER=always_off")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		if t.Failed() {
			t.Logf("Jaeger said:\n%s", log.Bytes())
		}
	})
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		select {
		case <-exited:
			t.Fatal("Jaeger ended")
		default:
		}
		if time.Now().After(end) {
			t.Fatal("Jaeger does not answer")
		}
		if r, err := http.Get("http://" + free[4] + "/"); err == nil { // health check
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return j
			}
		}
	}
}

// Trace is one of the answer of /api/traces, as far as tests look at it.
type Trace struct {
	TraceID   string
	Spans     []Span
	Processes map[string]struct {
		ServiceName string
		Tags        Tags
	}
}

// Span is one of a trace's.
type Span struct {
	SpanID        string
	OperationName string
	References    []Reference
	StartTime     int64 // µs since the epoch
	Duration      int64 // µs
	Tags          Tags
	Logs          []struct{ Fields Tags }
	Warnings      []string
}

// Reference is a span's parent (CHILD_OF) or a link (FOLLOWS_FROM).
type Reference struct{ RefType, TraceID, SpanID string }

// Tags are attributes.
type Tags []struct {
	Key, Type string
	Value     any
}

// String is a line KEY=VALUE for each, sorted.
func (kv Tags) String() string {
	var s []string
	for _, t := range kv {
		s = append(s, fmt.Sprintf("%s=%v", t.Key, t.Value))
	}
	slices.Sort(s)
	return strings.Join(s, "\n")
}

// Traces asks for the traces of a service until there are n, and returns them in
// the order of their roots' starts.
func (j Jaeger) Traces(t testing.TB, service string, n int) []Trace {
	t.Helper()
	var body struct{ Data []Trace }
	q := url.Values{"service": {service}, "limit": {"100"}, "lookback": {"custom"},
		"start": {fmt.Sprint(time.Now().Add(-time.Hour).UnixMicro())},
		"end":   {fmt.Sprint(time.Now().Add(time.Hour).UnixMicro())}}
	for end := time.Now().Add(60 * time.Second); len(body.Data) < n; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("Jaeger has %d traces of %s, want %d", len(body.Data), service, n)
		}
		r, err := http.Get("http://" + j.query + "/api/traces?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		body.Data = nil
		err = json.NewDecoder(r.Body).Decode(&body)
		r.Body.Close()
		if err != nil {
			t.Fatalf("%s: %v", r.Status, err)
		}
	}
	slices.SortFunc(body.Data, func(a, b Trace) int { return int(a.Root().StartTime - b.Root().StartTime) })
	return body.Data
}

// Root is the span without a parent.
func (tr Trace) Root() (r Span) {
	for _, s := range tr.Spans {
		if s.parent() == "" {
			return s
		}
	}
	return r
}

func (s Span) parent() string {
	for _, r := range s.References {
		if r.RefType == "CHILD_OF" {
			return r.SpanID
		}
	}
	return ""
}

// Outline prints the tree, a line per span, each indented by two spaces more
// than its parent; siblings are in the order of their starts. label is what
// follows a span's name.
func (tr Trace) Outline(label func(Span) string) string {
	spans := slices.Clone(tr.Spans)
	slices.SortStableFunc(spans, func(a, b Span) int { return int(a.StartTime - b.StartTime) })
	var b strings.Builder
	var walk func(string, string)
	walk = func(parent, indent string) {
		for _, s := range spans {
			if s.parent() == parent {
				fmt.Fprintf(&b, "%s%s%s\n", indent, s.OperationName, label(s))
				walk(s.SpanID, indent+"  ")
			}
		}
	}
	walk("", "")
	return b.String()
}

// Span is the first span of that name.
func (tr Trace) Span(t testing.TB, name string) Span {
	t.Helper()
	for _, s := range tr.Spans {
		if s.OperationName == name {
			return s
		}
	}
	t.Fatalf("no span is called %s", name)
	return Span{}
}
