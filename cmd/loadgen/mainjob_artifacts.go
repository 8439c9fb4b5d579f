package main

import (
	"github.com/redscope/redscope/cmd/loadgen/internal/child"
)

// watch looks at the server while it is loaded, and leaves what it saw.
type watch struct {
	out       outDir
	frequency int
	own       bool
}

func newWatch(out outDir, frequency int, own bool) *watch {
	return &watch{out: out, frequency: frequency, own: own}
}

func (w *watch) serverFlags() []string   { return nil }
func (w *watch) begin(s *child.Server)   {}
func (w *watch) end(rep *report)         { rep.Profile = profileReport{Source: "none", Note: "not built in"} }
func (w *watch) write(rep *report) error { return nil }
