// Package capture joins what bpf sees with what flame draws, for the commands
// that record. It must not decide what to record, nor print.
package capture

import (
	"fmt"
	"io"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/flame"
)

// Truncated is the name of the frame that stands for callers that could not be
// seen. Without it, a stack broken off half-way would look as if it had begun
// there.
const Truncated = "[callers unknown]"

// Queued is the name of the innermost frame of time that a thread could have run
// in, and waited for a CPU.
const Queued = "[waiting for a CPU]"

// Stacks turns a profile's samples into stacks to draw: below each stands the
// name of its thread, as in the folded output of bcc's profile, and Truncated
// where the stack does not reach its thread's beginning.
func Stacks(p *bpf.Profile) []flame.Stack {
	stacks := make([]flame.Stack, 0, len(p.Samples))
	for _, s := range p.Samples {
		root := []flame.Frame{{Name: s.Comm}}
		if !s.Whole {
			root = append(root, flame.Frame{Name: Truncated})
		}
		stacks = append(stacks, flame.Stack{Frames: append(root, frames(s)...), Count: int64(s.Count), Labels: labels(s)})
	}
	return flame.Merge(stacks)
}

// Pprof turns a profile that began at the given time into one to write in
// pprof's format. It has the frames that were seen, and Queued, but not
// Truncated: pprof takes each for a function.
func Pprof(p *bpf.Profile, began time.Time) *flame.Profile {
	out := &flame.Profile{Frequency: p.Frequency, Time: began, Duration: p.Duration}
	if p.OffCPU {
		out.SampleType, out.Unit = "off-cpu", "microseconds"
	}
	for _, s := range p.Samples {
		out.Stacks = append(out.Stacks, flame.Stack{Frames: frames(s), Count: int64(s.Count), Labels: labels(s)})
	}
	out.Stacks = flame.Merge(out.Stacks)
	for _, m := range p.Mappings {
		out.Mappings = append(out.Mappings, flame.Mapping{Start: m.Start, Limit: m.End, Offset: m.Offset, File: m.File})
	}
	return out
}

// Names of the labels that a sample may have.
const (
	LabelCommand = "command"
	LabelKey     = "key"
	LabelPhase   = "phase"
)

func labels(s bpf.Sample) []flame.Label {
	var out []flame.Label
	for _, l := range []flame.Label{{Name: LabelCommand, Value: s.Command}, {Name: LabelKey, Value: s.Key}, {Name: LabelPhase, Value: s.Phase}} {
		if l.Value != "" {
			out = append(out, l)
		}
	}
	return out
}

// frames turns a sample's stack around, root first.
func frames(s bpf.Sample) []flame.Frame {
	out := make([]flame.Frame, len(s.Stack))
	for i, f := range s.Stack {
		out[len(out)-1-i] = flame.Frame{Name: f.Symbol, Module: f.Module, Kernel: f.Kernel, Addr: f.Addr}
	}
	if s.Queued {
		out = append(out, flame.Frame{Name: Queued, Module: "[kernel]", Kernel: true})
	}
	return out
}

// Notes says what the reader of a profile must know: how much is missing, and
// why. It is empty for a profile without flaw.
func Notes(p *bpf.Profile) []string {
	var notes []string
	total := p.Count()
	if p.Exited {
		notes = append(notes, fmt.Sprintf("the process exited after %v", p.Duration.Round(10*time.Millisecond)))
	}
	if total == 0 && p.OffCPU {
		notes = append(notes, "nothing was seen: no thread of the process left a CPU meanwhile")
	} else if total == 0 {
		notes = append(notes, "no samples: the process used no CPU meanwhile")
	}
	if p.Lost > 0 {
		notes = append(notes, fmt.Sprintf("%d samples lost", p.Lost))
	}
	if p.Cut > 0 {
		notes = append(notes, fmt.Sprintf("%d samples with stacks deeper than 127 frames", p.Cut))
	}
	notes = append(notes, p.Limits...)
	if p.Unread > 0 {
		notes = append(notes, fmt.Sprintf("of %d samples the command could not be read; what function it was in tells it", p.Unread))
	}
	if p.Folded > 0 {
		notes = append(notes, fmt.Sprintf("%d samples are of keys with more than the first 1024 prefixes, shown as %s", p.Folded, bpf.OtherPrefixes))
	}
	if p.Broken > 0 && p.OffCPU {
		notes = append(notes, fmt.Sprintf("%d of %d µs are in stacks that break off in code without frame pointers or an unwind table, shown as %s",
			p.Broken, total, Truncated))
	} else if p.Broken > 0 {
		notes = append(notes, fmt.Sprintf("%d of %d stacks reach main; the others break off in code without frame pointers or an unwind table, shown as %s",
			total-p.Broken, total, Truncated))
	}
	return notes
}

// WriteStack writes a stack in the form of bpftrace's ustack(perf): leaf first,
// a line per frame, and an empty line at the end.
func WriteStack(w io.Writer, s bpf.Stack) error {
	for _, f := range s.Frames {
		name := f.Symbol
		if name == "" {
			name = "[unknown]"
		} else {
			name = fmt.Sprintf("%s+%d", name, f.Offset)
		}
		if _, err := fmt.Fprintf(w, "\t%x %s (%s)\n", f.Addr, name, f.Module); err != nil {
			return err
		}
	}
	if !s.Whole {
		if _, err := fmt.Fprintf(w, "\t%s\n", Truncated); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}
