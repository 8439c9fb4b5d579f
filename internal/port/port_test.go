package port

import (
	"net"
	"strconv"
	"testing"
	"time"
)

// Nobody listens on the port, and servers can, on any address, one after the other.
func TestFree(t *testing.T) {
	port := strconv.Itoa(Free(t))
	for _, host := range []string{"127.0.0.1", "", "127.0.0.1"} {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			conn.Close()
			t.Fatal("somebody listens")
		}
		l, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if other, err := net.Listen("tcp", net.JoinHostPort(host, port)); err == nil {
			other.Close()
			t.Error("two listen on it")
		}
		l.Close()
	}
}
