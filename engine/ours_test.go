package engine

import (
	"runtime"
	"testing"
)

// startOurs starts our server, with these arguments besides, for the duration of
// the test and returns its address.
func startOurs(t testing.TB, args ...string) string {
	t.Helper()
	cfg, err := LoadConfig(append([]string{"--port", "0", "--logfile", "/dev/null"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	cfg.AnyPort = true
	s, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
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
