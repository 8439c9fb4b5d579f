//go:build invariants

package engine

import "golang.org/x/sys/unix"

// assertLoopThread panics when the key space is touched by another thread than
// the event loop's.
func (s *Server) assertLoopThread() {
	if id := unix.Gettid(); s.loopThread != 0 && id != s.loopThread {
		panic("engine: the key space was touched outside the event loop")
	}
}

// assertUnchanged panics when a dict changed under an unsafe iterator, whose
// Release returned err.
func assertUnchanged(err error) {
	if err != nil {
		panic(err)
	}
}
