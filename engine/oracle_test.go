package engine

import (
	"bufio"
	"net"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/oracle"
	"github.com/redscope/redscope/internal/wire"
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
func (c *testConn) do(t testing.TB, args ...string) wire.Reply {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(wire.Command(args...)); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	v, err := wire.ReadReply(c.r)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return v
}
