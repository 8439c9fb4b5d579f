//go:build !invariants

package engine

// assertLoopThread is empty, and so inlined away, unless built with -tags
// invariants.
func (s *Server) assertLoopThread() {}

// assertUnchanged is empty likewise.
func assertUnchanged(error) {}
