// Package oracle runs a real redis-server, so that the test of a package can
// compare its bytes with those that Redis makes. It is for tests only, and must
// never touch a server that it did not start.
package oracle

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/require"
)

// Conn is a connection to a redis-server.
type Conn struct {
	conn net.Conn
	r    *bufio.Reader
}

// Start starts a redis-server with these arguments besides for the duration of
// the test, and skips the test where there is none.
func Start(t testing.TB, args ...string) *Conn {
	t.Helper()
	require.Tool(t, "redis")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	cmd := exec.Command("redis-server", append([]string{
		"--port", strconv.Itoa(addr.Port), "--save", "", "--dir", t.TempDir(), "--enable-debug-command", "yes"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 500 {
		if conn, err := net.Dial("tcp", addr.String()); err == nil {
			t.Cleanup(func() { conn.Close() })
			return &Conn{conn, bufio.NewReader(conn)}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("redis-server does not accept connections on %s", addr)
	return nil
}

// Do sends a command and returns its reply: a string, an int64, nil, or a []any
// of them. An error ends the test.
func (c *Conn) Do(t testing.TB, args ...string) any {
	t.Helper()
	c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.conn.Write(b); err != nil {
		t.Fatalf("%.200q: %v", args, err)
	}
	v, err := c.read()
	if err != nil {
		t.Fatalf("%.200q: %v", args, err)
	}
	return v
}

func (c *Conn) read() (any, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, text := line[0], line[1:len(line)-2]
	n, _ := strconv.ParseInt(text, 10, 64)
	switch {
	case kind == '+':
		return text, nil
	case kind == ':':
		return n, nil
	case kind == '$' && n >= 0:
		b := make([]byte, n+2)
		_, err := io.ReadFull(c.r, b)
		return string(b[:n]), err
	case kind == '*' && n >= 0:
		items := make([]any, n)
		for i := range items {
			if items[i], err = c.read(); err != nil {
				return nil, err
			}
		}
		return items, nil
	case kind == '$' || kind == '*':
		return nil, nil
	}
	return nil, fmt.Errorf("the server says %q", line)
}
