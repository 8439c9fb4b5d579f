// Package flame turns stacks with counts into pictures and files: it reads and
// writes folded stacks and pprof profiles, compares two profiles, and draws
// flame graphs as self-contained SVG.
//
// Its input may come from anywhere: a file of unknown origin must end in an
// error, never in a crash or in unbounded memory, and a symbol name must never
// become markup or script in the SVG. The package knows nothing of servers,
// probes or spans.
package flame

import (
	"encoding/binary"
	"errors"
	"math"
	"path"
	"strings"
)

// Frame is one function on a stack.
type Frame struct {
	// Name is the function's symbol; empty when nobody knows it.
	Name string
	// Module is the path of the file that the code was mapped from, or
	// "[kernel]"; empty when unknown.
	Module string
	// Kernel says that the frame ran in the kernel.
	Kernel bool
	// Addr is the run-time address as a stack walk gives it: the instruction
	// being executed for the innermost frame, the return address for a caller.
	// 0 when unknown. Frames inlined into one another share their address.
	Addr uint64
}

// Stack is a call chain and how often it was seen.
type Stack struct {
	// Frames has the root first, the innermost function last.
	Frames []Frame
	// Count is in the profile's unit: samples, bytes, nanoseconds.
	Count int64
	// Before is the count in the earlier profile, in that profile's own scale.
	// Diff sets it, only WriteSVG looks at it.
	Before int64
	// Labels say what the stack is about beyond its functions, sorted by name. They
	// tell stacks apart, and pprof's format has them; drawings, Diff and folded
	// stacks do not.
	Labels []Label
}

// Label is a name and a value.
type Label struct{ Name, Value string }

// Label is the value of the label of that name, "" when there is none.
func (s Stack) Label(name string) string {
	for _, l := range s.Labels {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}

// unknownName stands for a frame without a name, as in perf's output.
const unknownName = "[unknown]"

// kernelSuffix marks a kernel frame in folded stacks (flamegraph.pl's
// annotation for its --color=java palette, written by stackcollapse-perf.pl
// --kernel).
const kernelSuffix = "_[k]"

// Limits on what is read, so that a small hostile file cannot ask for a large
// memory. They are far above what profilers write.
const (
	// maxFrames bounds the frames of all distinct stacks of one profile
	// together (48 bytes each).
	maxFrames = 8 << 20
	// maxInput bounds a file's size in bytes, after decompression.
	maxInput = 256 << 20
)

var (
	errTooManyFrames = errors.New("more than 8,388,608 frames in the distinct stacks")
	errTooLarge      = errors.New("more than 256 MiB")
	errOverflow      = errors.New("the counts add up to more than 2^63-1")
)

// display returns the name to show: the symbol, else the module it lies in,
// else "[unknown]".
func (f Frame) display() string {
	switch {
	case f.Name != "":
		return f.Name
	case strings.HasPrefix(f.Module, "["):
		return f.Module
	case f.Module != "":
		return "[" + path.Base(f.Module) + "]"
	}
	return unknownName
}

// folded returns the frame in the notation of folded stacks, where ';'
// separates frames and a line is a stack: those characters are replaced, as
// stackcollapse-perf.pl does.
func (f Frame) folded() string {
	name := f.display()
	if strings.ContainsAny(name, ";\n\r") {
		name = foldedReplacer.Replace(name)
	}
	if name = strings.TrimSpace(name); name == "" {
		name = unknownName
	}
	if f.Kernel {
		name += kernelSuffix
	}
	return name
}

var foldedReplacer = strings.NewReplacer(";", ":", "\n", " ", "\r", " ")

// Total returns the sum of the counts. It fails on a negative count and when
// the sum does not fit.
func Total(stacks []Stack) (int64, error) {
	var total int64
	for _, s := range stacks {
		if s.Count < 0 || s.Before < 0 {
			return 0, errors.New("a stack has a negative count")
		}
		if s.Count > math.MaxInt64-total {
			return 0, errOverflow
		}
		total += s.Count
	}
	return total, nil
}

// Merge adds up equal stacks, those that agree in every field of every frame
// and in all labels, and keeps the order in which they first came. The result shares the Frames of
// its input.
func Merge(stacks []Stack) []Stack {
	return merge(stacks, func(f Frame) Frame { return f })
}

// merge adds up stacks whose frames are equal under identity.
func merge(stacks []Stack, identity func(Frame) Frame) []Stack {
	var (
		out    []Stack
		key    []byte
		ids    = map[Frame]uint32{}
		labels = map[Label]uint32{}
		index  = map[string]int{}
	)
	for _, s := range stacks {
		key = key[:0]
		for _, f := range s.Frames {
			key = binary.LittleEndian.AppendUint32(key, number(ids, identity(f)))
		}
		for _, l := range s.Labels {
			// Apart from the frames' numbers.
			key = binary.LittleEndian.AppendUint32(key, ^number(labels, l))
		}
		if i, ok := index[string(key)]; ok {
			out[i].Count += s.Count
			out[i].Before += s.Before
			continue
		}
		index[string(key)] = len(out)
		out = append(out, s)
	}
	return out
}

// number returns the number of v among those that were asked for.
func number[T comparable](numbers map[T]uint32, v T) uint32 {
	n, ok := numbers[v]
	if !ok {
		n = uint32(len(numbers))
		numbers[v] = n
	}
	return n
}

// Diff joins two profiles for WriteSVG: each stack of either one carries its
// count after and its count before. Stacks are matched by function names:
// addresses differ between two runs of a program. The profiles may be of
// different length; what is compared are shares of each one's total.
func Diff(before, after []Stack) []Stack {
	all := make([]Stack, 0, len(before)+len(after))
	for _, s := range after {
		all = append(all, Stack{Frames: s.Frames, Count: s.Count})
	}
	for _, s := range before {
		all = append(all, Stack{Frames: s.Frames, Before: s.Count})
	}
	return merge(all, func(f Frame) Frame {
		return Frame{Name: f.display(), Kernel: f.Kernel}
	})
}
