package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/cmd/internal/capture"
	"github.com/redscope/redscope/cmd/loadgen/internal/child"
	"github.com/redscope/redscope/flame"
)

const (
	stackFunction = "setCommand" // whose callers stack.txt shows
	stackCount    = 3
	tracedReads   = 200 // about how many socket reads trace.json holds
	ownProfile    = "server.pprof"
	ownFrequency  = 100 // Hz: runtime/pprof's, which cannot be changed
)

// watch looks at the server while it is loaded, and leaves what it saw. Of the
// main job, it alone knows of bpf, flame and what the server can write itself.
type watch struct {
	out       outDir
	frequency int
	own       bool    // the server is the built-in one
	sample    float64 // share of the socket reads to be traced
	missing   error   // why eBPF cannot be used; nil when it can

	began    time.Time
	profiler *bpf.Profiler
	profile  *bpf.Profile

	stop     context.CancelFunc // of the stack tracer
	traced   sync.WaitGroup
	stacks   []bpf.Stack
	stackErr error
}

func newWatch(out outDir, f *runFlags) *watch {
	return &watch{
		out: out, frequency: f.frequency, own: f.serverCommand == "",
		sample:  min(1, tracedReads*float64(f.pipeline)/float64(f.requests)),
		missing: bpf.Supported(),
	}
}

// serveFlags are the arguments of the hidden command serve that make the
// built-in server write what is wanted of it.
func (w *watch) serveFlags() (own, server []string) {
	if w.missing != nil {
		own = []string{"--cpu-profile", w.out.temp(ownProfile)}
	}
	return own, []string{"--trace-file", w.out.temp(fileTrace), "--trace-sample", strconv.FormatFloat(w.sample, 'g', 6, 64)}
}

// begin starts to look. What it cannot see, the report says.
func (w *watch) begin(s *child.Server) {
	w.began = time.Now()
	if w.missing != nil {
		return
	}
	if w.profiler, w.missing = bpf.StartProfile(bpf.ProfileOptions{PID: s.PID, Frequency: w.frequency}); w.missing != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.traced.Go(func() {
		w.stackErr = bpf.TraceStacks(ctx, bpf.StackOptions{PID: s.PID, Function: stackFunction, Count: stackCount}, func(st bpf.Stack) {
			w.stacks = append(w.stacks, st)
		})
	})
}

// end stops looking.
func (w *watch) end() error {
	if w.profiler == nil {
		return nil
	}
	w.stop()
	w.traced.Wait()
	var err error
	if w.profile, err = w.profiler.Stop(); err != nil {
		return fmt.Errorf("cannot take the profile: %w", err)
	}
	return nil
}

// write leaves the files and says in the report what they are made of. The
// server must have ended: it completes its own files when it does.
func (w *watch) write(rep *report) error {
	var failures failureList
	switch {
	case w.profile != nil:
		failures.add(w.writeProfile(rep))
	case w.own:
		failures.add(w.writeOwnProfile(rep))
	default:
		rep.Profile = profileReport{Source: "none", Note: w.why()}
	}
	if len(w.stacks) > 0 {
		failures.add(w.file(rep, fileStack, func(out io.Writer) error {
			for _, s := range w.stacks {
				if err := capture.WriteStack(out, s); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	if w.own {
		failures.add(w.takeTrace(rep))
	}
	return failures.first()
}

// why says why eBPF was not used.
func (w *watch) why() string {
	if w.missing == nil {
		return "the load did not begin"
	}
	return w.missing.Error()
}

func (w *watch) writeProfile(rep *report) error {
	p := w.profile
	notes := capture.Notes(p)
	// A server that has no such function is seen all the same.
	if w.stackErr != nil && !errors.Is(w.stackErr, bpf.ErrExited) {
		notes = append(notes, fmt.Sprintf("no %s: %v", fileStack, w.stackErr))
	}
	rep.Profile = profileReport{
		Source: "ebpf", Frequency: p.Frequency, Samples: int64(p.Count()), Lost: p.Lost, Note: strings.Join(notes, "; "),
	}
	if p.Count() == 0 {
		return nil
	}
	stacks := capture.Stacks(p)
	var failures failureList
	failures.add(w.graph(rep, stacks, p.Frequency, p.Duration))
	failures.add(w.file(rep, filePprof, func(out io.Writer) error { return flame.WritePprof(out, capture.Pprof(p, w.began)) }))
	return failures.first()
}

// writeOwnProfile uses the CPU profile that the server took of itself.
func (w *watch) writeOwnProfile(rep *report) error {
	rep.Profile = profileReport{Source: "none", Note: w.why()}
	text, err := os.ReadFile(w.out.temp(ownProfile))
	if err != nil || len(text) == 0 {
		rep.Profile.Note += "; and the server did not leave a profile of its own"
		return nil
	}
	p, err := flame.ReadPprof(bytes.NewReader(text), "")
	if err != nil {
		return fmt.Errorf("cannot read the server's own profile: %w", err)
	}
	n, err := flame.Total(p.Stacks)
	if err != nil {
		return fmt.Errorf("cannot read the server's own profile: %w", err)
	}
	rep.Profile = profileReport{Source: "pprof", Frequency: ownFrequency, Samples: n, Note: w.why()}
	if n == 0 {
		return nil
	}
	var failures failureList
	failures.add(w.graph(rep, p.Stacks, ownFrequency, p.Duration))
	failures.add(w.file(rep, filePprof, func(out io.Writer) error {
		_, err := out.Write(text)
		return err
	}))
	return failures.first()
}

// graph writes the flame graph and the stacks it shows.
func (w *watch) graph(rep *report, stacks []flame.Stack, frequency int, took time.Duration) error {
	var failures failureList
	failures.add(w.file(rep, fileFlame, func(out io.Writer) error {
		return flame.WriteSVG(out, stacks, flame.SVGOptions{
			Title: scenarioName, Palette: "io",
			Subtitle: fmt.Sprintf("%d Hz, %.1f s, %s requests", frequency, took.Seconds(), thousands(rep.Requests)),
		})
	}))
	failures.add(w.file(rep, fileFolded, func(out io.Writer) error { return flame.WriteFolded(out, stacks) }))
	return failures.first()
}

// takeTrace keeps the trace that the server wrote, if it is whole.
func (w *watch) takeTrace(rep *report) error {
	text, err := os.ReadFile(w.out.temp(fileTrace))
	if err != nil {
		return nil // none was asked for, or the server did not come that far
	}
	if !json.Valid(text) {
		return fmt.Errorf("cannot keep %s: the server did not complete it", w.out.path(fileTrace))
	}
	if err := w.out.complete(fileTrace); err != nil {
		return err
	}
	rep.Files = append(rep.Files, w.out.path(fileTrace))
	return nil
}

// file writes a file and lists it in the report.
func (w *watch) file(rep *report, name string, content func(io.Writer) error) error {
	if err := w.out.write(name, content); err != nil {
		return err
	}
	rep.Files = append(rep.Files, w.out.path(name))
	return nil
}
