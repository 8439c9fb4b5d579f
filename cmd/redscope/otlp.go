package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/engine"
	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/trace"
)

// shutdownTime is how long a collector may take for the last spans.
const shutdownTime = 10 * time.Second

// spanRing is how many events may wait: three times what the kernel's ring of
// records can bring at once.
const spanRing = 1 << 18

// spans makes of records what the server's own tracer makes of its events: the same
// tree, a trace for each command.
type spans struct {
	tracer *trace.Tracer
	hooks  *engine.Hooks // nil when the environment has switched tracing off
	names  sync.Map      // of commands, by index; the tracer asks from its own goroutine
	epoch  int64         // ns since the Unix epoch at 0 of CLOCK_MONOTONIC
	made   uint64        // reads so far
	pid    int
}

// exporter sends the spans of several targets to a collector.
type exporter struct {
	ctx      context.Context
	endpoint string
	of       map[*target]*spans
	lost     []error // what went wrong with those that have exited
}

// newExporter makes an exporter, and finds out now what is wrong with the endpoint.
func newExporter(ctx context.Context, endpoint string, list []*target) (*exporter, error) {
	e := &exporter{ctx: ctx, endpoint: endpoint, of: map[*target]*spans{}}
	for _, t := range list {
		if err := e.open(t); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *exporter) open(t *target) (err error) {
	e.of[t], err = newSpans(e.ctx, e.endpoint, t.name, t.pid)
	return err
}

// add makes the spans of a record of t.
func (e *exporter) add(t *target, r *bpf.CommandRecord) error {
	if e.of[t].pid != t.pid {
		// Another process, which has other resource attributes.
		e.lost = append(e.lost, e.of[t].close())
		if err := e.open(t); err != nil {
			return err
		}
	}
	e.of[t].add(r)
	return nil
}

func (e *exporter) close() error {
	for _, s := range e.of {
		e.lost = append(e.lost, s.close())
	}
	return errors.Join(e.lost...)
}

// newSpans sends spans to a collector, as those of the process.
func newSpans(ctx context.Context, endpoint, name string, pid int) (*spans, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, err
	}
	s := &spans{pid: pid, epoch: time.Now().UnixNano() - now.Nano()}
	var err error
	s.tracer, err = trace.New(ctx, trace.Options{
		Endpoint: endpoint, Sample: 1, Ring: spanRing, Service: name, PID: pid,
		CommandName: func(i int) string {
			name, _ := s.names.Load(i)
			return name.(string)
		},
		Log: func(line string) { fmt.Fprintf(os.Stderr, "note: %s\n", line) },
	})
	if err != nil {
		return nil, err
	}
	s.hooks = s.tracer.Hooks()
	return s, nil
}

// time is a record's time as a span has it.
func (s *spans) time(ns int64) int64 {
	if ns == 0 {
		return 0
	}
	return s.epoch + ns
}

// add makes the spans of a record: of its read, itself, its call and its write, as
// far as they are known.
func (s *spans) add(r *bpf.CommandRecord) {
	if s.hooks == nil {
		return
	}
	s.made++
	if r.Name != "" {
		if _, known := s.names.Load(int(r.Command.Command)); !known {
			s.names.Store(int(r.Command.Command), r.Name)
		}
	}
	c := engine.CommandEvent{
		Read: s.made, Client: r.Client, Loop: uint64(r.Wake), Batch: int(r.Batch), Command: -1, Args: int(r.Args), DB: -1,
		Parse: s.time(r.ReadEnd), Process: s.time(r.Start), End: s.time(r.End), ReplySize: int(r.ReplyBytes),
	}
	if r.Name != "" {
		c.Command = int(r.Command.Command)
	}
	if r.Flags&probe.CommandRefused == 0 {
		c.CallStart, c.ProcStart, c.ProcEnd, c.CallEnd = c.Process, c.Process, c.End, c.End
	}
	if r.Flags&probe.CommandFailed != 0 {
		code := r.ErrorCode()
		if code == "" {
			code = "ERR" // what a server that has lost the code answers with
		}
		c.ErrLen = copy(c.Err[:], code)
	}
	s.hooks.CommandDone(c)

	read := engine.ReadEvent{
		Read: s.made, Client: r.Client, Loop: c.Loop, Start: s.time(r.ReadStart), ReadEnd: s.time(r.ReadEnd), End: c.End, Commands: 1, DB: -1,
	}
	if read.Start == 0 {
		read.Start = c.Process
	}
	s.hooks.ReadDone(read)
	if r.WriteEnd != 0 {
		s.hooks.ReplyWritten(engine.WriteEvent{
			Read: s.made, Client: r.Client, Loop: c.Loop, Start: s.time(r.WriteStart), End: s.time(r.WriteEnd), Bytes: int(r.ReplyBytes),
		})
	}
}

// close delivers what there is, and says what was lost.
func (s *spans) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	if err := s.tracer.Shutdown(ctx); err != nil {
		return err
	}
	if stats := s.tracer.Stats(); stats.Dropped+stats.Collector.Lost > 0 {
		return fmt.Errorf("%d spans were lost on the way to the collector, and %d events before", stats.Collector.Lost, stats.Dropped)
	}
	return nil
}
