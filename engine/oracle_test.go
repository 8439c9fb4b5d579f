package engine

import (
	"bufio"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/require"
)

// startOracle starts the redis-server of this machine, with these arguments
// besides, for the duration of the test and returns its address.
func startOracle(t testing.TB, args ...string) string {
	t.Helper()
	require.Tool(t, "redis")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	options := []string{"--port", strconv.Itoa(addr.Port), "--save", "", "--dir", t.TempDir()}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		options = append(args, options...) // a configuration file comes first
	} else {
		options = append(options, args...)
	}
	cmd := exec.Command("redis-server", options...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if conn, err := net.Dial("tcp", addr.String()); err == nil {
			// Leave no client behind: scripts count them.
			conn.Write([]byte("QUIT\r\n"))
			io.Copy(io.Discard, conn)
			conn.Close()
			return addr.String()
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("redis-server does not accept connections on %s", addr)
	return ""
}

// patience is how long tests wait for what must come: long enough for the
// busiest machine, since it only passes when a test fails.
const patience = time.Minute

// testConn is a client connection of a test.
type testConn struct {
	net.Conn
	r *bufio.Reader
}

func dial(t testing.TB, addr string) *testConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &testConn{conn, bufio.NewReader(conn)}
}

// do sends one command and returns its reply.
func (c *testConn) do(t testing.TB, args ...string) reply {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(multibulk(args)); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	v, err := readReply(c.r)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return v
}

// multibulk encodes a command as clients send it.
func multibulk(args []string) []byte {
	b := []byte("*" + strconv.Itoa(len(args)) + "\r\n")
	for _, a := range args {
		b = append(b, "$"+strconv.Itoa(len(a))+"\r\n"+a+"\r\n"...)
	}
	return b
}
