package engine

import (
	"net"
	"runtime"
	"strings"
	"testing"
)

// newServer makes our server, with these arguments besides, on a port that the
// kernel chooses. The caller closes it.
func newServer(t testing.TB, args ...string) *Server {
	t.Helper()
	options := []string{"--port", "0", "--logfile", "/dev/null"}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		options = append(args, options...) // a configuration file comes first
	} else {
		options = append(options, args...)
	}
	cfg, err := LoadConfig(options)
	if err != nil {
		t.Fatal(err)
	}
	cfg.AnyPort = true
	s, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// startOurs starts our server, with these arguments besides, for the duration of
// the test and returns its address.
func startOurs(t testing.TB, args ...string) string {
	t.Helper()
	return serve(t, newServer(t, args...))
}

// serve runs the server for the duration of the test and returns its address.
func serve(t testing.TB, s *Server) string {
	t.Helper()
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		s.Serve()
		close(done)
	}()
	t.Cleanup(func() {
		s.Shutdown()
		<-done
		s.Close()
	})
	return s.Addr()
}

// listenSomewhere takes a port for the duration of the test.
func listenSomewhere(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}
