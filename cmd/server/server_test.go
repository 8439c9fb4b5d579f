package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/jaeger"
	"github.com/redscope/redscope/internal/port"
	"github.com/redscope/redscope/internal/require"
)

// build builds the server as a user does.
func build(t *testing.T) string {
	t.Helper()
	require.Tool(t, "go")
	path := filepath.Join(t.TempDir(), "server")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // also with the race detector
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// server is a running server and a connection to it.
type server struct {
	t      *testing.T
	cmd    *exec.Cmd
	conn   net.Conn
	in     *bufio.Reader
	stderr bytes.Buffer
}

// start starts the server on a free port, with env added to an environment that
// has no OTEL_ variable, and waits until it answers.
func start(t *testing.T, path string, env []string, args ...string) *server {
	t.Helper()
	port := strconv.Itoa(port.Free(t))
	s := &server{t: t, cmd: exec.Command(path, append([]string{"--port", port}, args...)...)}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "OTEL_") {
			s.cmd.Env = append(s.cmd.Env, v)
		}
	}
	s.cmd.Env = append(s.cmd.Env, env...)
	s.cmd.Dir = t.TempDir()
	s.cmd.Stderr = &s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.cmd.Process.Kill(); s.cmd.Wait() })
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if s.conn, err = net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%v\n%s", err, &s.stderr)
		}
	}
	t.Cleanup(func() { s.conn.Close() })
	s.conn.SetDeadline(time.Now().Add(5 * time.Minute))
	s.in = bufio.NewReader(s.conn)
	return s
}

// send sends inline commands in one write and compares the replies' lines.
func (s *server) send(commands string, want ...string) {
	s.t.Helper()
	if _, err := io.WriteString(s.conn, commands); err != nil {
		s.t.Fatal(err)
	}
	for _, w := range want {
		line, err := s.in.ReadString('\n')
		if err != nil || line != w+"\r\n" {
			s.t.Fatalf("%q: reply %q, %v; want %q", commands, line, err, w)
		}
	}
}

// stop ends the server as an init system does, and fails the test when it does
// not end well.
func (s *server) stop() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	killed := time.AfterFunc(time.Minute, func() { s.cmd.Process.Kill() })
	defer killed.Stop()
	if err := s.cmd.Wait(); err != nil || s.stderr.Len() > 0 {
		s.t.Errorf("the server ended with %v and said %q", err, &s.stderr)
	}
}

// A real Jaeger has what a real server did, however the server was told where
// to send it.
func TestJaeger(t *testing.T) {
	j := jaeger.Start(t)
	path := build(t)
	for _, c := range []struct {
		name string
		env  []string
		args []string
	}{
		{"grpc", nil, []string{"--otlp-endpoint", j.GRPC, "--trace-sample", "1"}},
		{"http", nil, []string{"--otlp-endpoint", "http://" + j.HTTP, "--trace-sample", "1"}},
		{"environment-grpc", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + j.GRPC, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_TRACES_SAMPLER=always_on"}, nil},
		{"environment-http", []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + j.HTTP, "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=1",
			"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			service := "server-" + c.name
			s := start(t, path, append(c.env, "OTEL_SERVICE_NAME="+service, "OTEL_BSP_SCHEDULE_DELAY=100"), c.args...)
			s.send("SET test:key:name 10000000000x\r\n", "+OK")
			s.send("INCR test:key:name\r\n", "-ERR value is not an integer or out of range")
			s.send("SET a 1\r\nGET a\r\nNOSUCH\r\n", "+OK", "$1", "1", "-ERR unknown command 'NOSUCH', with args beginning with: ")

			// While the server runs, not only when it ends.
			traces := j.Traces(t, service, 3)
			s.stop()
			if len(traces) != 3 {
				t.Fatalf("%d traces of 3 reads", len(traces))
			}
			for i, want := range []string{`readQueryFromClient
  SET
    call
      setCommand
  writeToClient
`, `readQueryFromClient
  INCR ERR
    call
      incrCommand
  writeToClient
`, `readQueryFromClient
  SET
    call
      setCommand
  GET
    call
      getCommand
  processCommand ERR
  writeToClient
`} {
				if got := traces[i].Outline(errorCode); got != want {
					t.Errorf("tree %d:\n%s\nwant\n%s", i, got, want)
				}
				for _, s := range traces[i].Spans {
					if len(s.Warnings) > 0 {
						t.Errorf("Jaeger warns about %s: %v", s.OperationName, s.Warnings)
					}
				}
			}
			_, client, _ := net.SplitHostPort(s.conn.LocalAddr().String())
			_, port, _ := net.SplitHostPort(s.conn.RemoteAddr().String())
			network := []string{"db.system.name=redis", "network.peer.address=127.0.0.1", "network.peer.port=" + client,
				"server.address=127.0.0.1", "server.port=" + port}
			has(t, traces[0].Span(t, "SET"), append(network, "db.operation.name=SET", "db.namespace=0", "span.kind=internal")...)
			has(t, traces[0].Root(), append(network, "network.transport=tcp", fmt.Sprintf("redscope.read.bytes=%d", len("SET test:key:name 10000000000x\r\n")), "redscope.read.commands=1", "span.kind=server")...)
			has(t, traces[1].Span(t, "INCR"), "db.response.status_code=ERR", "error.type=ERR", "otel.status_code=ERROR")
			has(t, traces[2].Root(), "db.operation.batch.size=3", "redscope.read.commands=3", "db.operation.name=PIPELINE")
			for _, tr := range traces {
				for _, s := range tr.Spans {
					// Keys can name people: they are told only when asked for.
					if text := s.Tags.String(); strings.Contains(text, "test:key:name") || strings.Contains(text, "db.query.text") {
						t.Errorf("%s tells the key:\n%s", s.OperationName, text)
					}
				}
			}
			process := traces[0].Processes["p1"]
			if !strings.Contains("\n"+process.Tags.String()+"\n", fmt.Sprintf("\nprocess.pid=%d\n", s.cmd.Process.Pid)) {
				t.Errorf("the resource is not the server:\n%s", process.Tags)
			}
			if c.name == "environment-http" && !strings.Contains(process.Tags.String(), "deployment.environment.name=test") {
				t.Errorf("OTEL_RESOURCE_ATTRIBUTES is not honoured:\n%s", process.Tags)
			}
		})
	}
}

// errorCode is a span's error prefix, for outlines.
func errorCode(s jaeger.Span) string {
	for _, tag := range s.Tags {
		if tag.Key == "db.response.status_code" {
			return fmt.Sprintf(" %v", tag.Value)
		}
	}
	return ""
}

// has fails the test for every one of want that is not among a span's tags.
func has(t *testing.T, s jaeger.Span, want ...string) {
	t.Helper()
	got := s.Tags.String()
	for _, w := range want {
		if !strings.Contains("\n"+got+"\n", "\n"+w+"\n") {
			t.Errorf("%s has no %s:\n%s", s.OperationName, w, got)
		}
	}
}
