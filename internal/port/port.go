// Package port finds ports for the servers of tests. It is for tests only, and must
// never give a port that another process may take before the server does.
package port

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Free returns a port of the loopback for a server to listen on. For the duration of
// the test the kernel gives it to nobody who asks for any port, because a socket that
// does not listen is bound to it; with SO_REUSEADDR, which servers set, theirs can be
// bound beside it.
func Free(t testing.TB) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return addr.(*unix.SockaddrInet4).Port
}
