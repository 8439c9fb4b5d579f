package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// Stack is the chain of callers found when a function was entered.
type Stack struct {
	Time   time.Duration // CLOCK_MONOTONIC
	TID    uint32        // as numbered by the target's own pid namespace
	Comm   string        // the thread's name
	Frames []Frame       // leaf first, the direct caller included
	// Whole tells whether the chain ends where its thread or goroutine began.
	// Code that has neither frame pointers nor an unwind table breaks it.
	Whole bool
	// Limits is what made the chain shorter than it could be, a line each; the
	// same for all stacks of a trace.
	Limits []string
	// Lost is the number of calls that went unrecorded so far, because they
	// came faster than they were read.
	Lost uint64
}

// StackOptions says whose stacks to take.
type StackOptions struct {
	PID      int
	Function string // name in the symbol table of the process's executable
	Count    int    // end after so many; 0 means when the context ends
}

// pollEvery is how often a ring is read. The kernel side never wakes the reader:
// that would cost the target more than the probe does.
const pollEvery = 20 * time.Millisecond

// TraceStacks calls f with the stack of each call of a function, until it has
// done so opts.Count times or ctx ends; both return nil. When the process exits
// first, it returns ErrExited.
func TraceStacks(ctx context.Context, opts StackOptions, f func(Stack)) error {
	target, err := openProcess(opts.PID)
	if err != nil {
		return err
	}
	defer target.close()
	exe, err := target.main()
	if err != nil {
		return err
	}
	defer exe.close()
	sym, err := exe.lookup(opts.Function)
	if err != nil {
		return err
	}
	fn := exe.function(sym)
	if fn.Site.Cost == CostNone {
		return fmt.Errorf("%s cannot be probed: %s", opts.Function, fn.Site.Reason)
	}

	spec, err := loadStacks()
	if err != nil {
		return err
	}
	prepare(spec)
	coll, prog, limits, err := target.loadWalker(spec, "stack", map[string]any{stacksVarLimit: uint64(opts.Count)}, canUnwind(ebpf.Kprobe))
	if err != nil {
		return err
	}
	defer coll.Close()
	ring, err := ringbuf.NewReader(coll.Maps[stacksMapStackEvents])
	if err != nil {
		return fmt.Errorf("opening the ring of stacks: %w", err)
	}
	defer ring.Close()
	links, err := target.attach(prog, probes{offsets: []uint64{fn.Site.File}})
	if err != nil {
		return err
	}
	defer closeLinks(links)

	var ev stacksStackEvent
	seen := 0
	return poll(ctx, target, ring, coll.Variables[stacksVarLost], func(raw []byte, lost uint64) (more bool, err error) {
		if _, err := binary.Decode(raw, binary.NativeEndian, &ev); err != nil {
			return false, fmt.Errorf("reading a stack: %w", err)
		}
		callers := ev.Callers.Frames[:min(ev.Callers.Depth, uint64(len(ev.Callers.Frames)))]
		frames, complete := target.userFrames(append([]uint64{ev.Ip}, callers...))
		f(Stack{
			Time: time.Duration(ev.Time), TID: ev.Tid, Comm: cName(ev.Comm[:]),
			Frames: frames, Whole: complete && ev.Callers.Root != 0 || isRoot(frames), Limits: limits, Lost: lost,
		})
		seen++
		return opts.Count == 0 || seen < opts.Count, nil
	})
}

// poll hands each record of a ring to f, with the number of lost ones, until f
// wants no more, ctx ends, or the target has exited and the ring is empty.
func poll(ctx context.Context, target *process, ring *ringbuf.Reader, lost *ebpf.Variable,
	f func(raw []byte, lost uint64) (more bool, err error)) error {
	var rec ringbuf.Record
	var n uint64
	for {
		// Once per round, as it is a system call.
		if err := lost.Get(&n); err != nil {
			return fmt.Errorf("reading the count of what was lost: %w", err)
		}
		gone := target.exited() // asked before the ring is read for the last time
		ring.SetDeadline(time.Now().Add(pollEvery))
		for {
			err := ring.ReadInto(&rec)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return fmt.Errorf("reading the ring: %w", err)
			}
			if more, err := f(rec.RawSample, n); err != nil || !more {
				return err
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if gone {
			return ErrExited
		}
	}
}
