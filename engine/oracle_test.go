package engine

import (
	"bufio"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/oracle"
)

// startOracle starts the redis-server of this machine, with these arguments
// besides, for the duration of the test and returns its address.
var startOracle = oracle.Listen

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
