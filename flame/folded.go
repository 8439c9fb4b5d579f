package flame

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"strconv"
	"strings"
)

// maxLine is the longest line of a folded file, in bytes.
const maxLine = 4 << 20

// ReadFolded reads stacks in Brendan Gregg's collapsed format, as the
// stackcollapse scripts write it and flamegraph.pl reads it: a line per stack,
// its frames separated by ';' with the root first, then white space and a
// count. A frame that ends in "_[k]" is a kernel frame. Equal stacks are added
// up; empty lines and stacks with the count 0 are left out.
//
// An error names the line, from 1. Unlike flamegraph.pl, which skips a line
// that it does not understand, ReadFolded refuses it: samples lost in silence
// make the percentages wrong. Counts with a fraction are refused for the same
// reason.
func ReadFolded(r io.Reader) ([]Stack, error) {
	var (
		stacks []Stack
		index  = map[string]int{}
		names  = map[string]string{}
		frames int
		size   int64
		total  int64
		line   int
	)
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	for in.Scan() {
		line++
		if size += int64(len(in.Bytes())) + 1; size > maxInput {
			return nil, fmt.Errorf("folded stacks: line %d: %w", line, errTooLarge)
		}
		text := bytes.TrimSpace(in.Bytes())
		if len(text) == 0 {
			continue
		}
		stack, count, err := splitFolded(text)
		if err != nil {
			return nil, fmt.Errorf("folded stacks: line %d: %w", line, err)
		}
		if count > math.MaxInt64-total {
			return nil, fmt.Errorf("folded stacks: line %d: %w", line, errOverflow)
		}
		total += count
		if count == 0 {
			continue
		}
		if i, ok := index[string(stack)]; ok {
			stacks[i].Count += count
			continue
		}
		depth := bytes.Count(stack, []byte{';'}) + 1
		if frames += depth; frames > maxFrames {
			return nil, fmt.Errorf("folded stacks: line %d: %w", line, errTooManyFrames)
		}
		index[string(stack)] = len(stacks)
		s := Stack{Frames: make([]Frame, 0, depth), Count: count}
		for part := range bytes.SplitSeq(stack, []byte{';'}) {
			s.Frames = append(s.Frames, unfold(part, names))
		}
		stacks = append(stacks, s)
	}
	if err := in.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("folded stacks: line %d: longer than %d bytes", line+1, maxLine)
	} else if err != nil {
		return nil, fmt.Errorf("folded stacks: %w", err)
	}
	return stacks, nil
}

// splitFolded takes a line, trimmed, apart into the stack and its count.
func splitFolded(line []byte) (stack []byte, count int64, err error) {
	i := bytes.LastIndexAny(line, " \t")
	digits := line[i+1:]
	if i < 0 {
		// Trimming removed the white space of a line that is a count alone.
		if _, err := strconv.ParseUint(string(digits), 10, 64); err == nil {
			return nil, 0, errors.New("a count without a stack")
		}
		return nil, 0, fmt.Errorf("no count after the stack %.60q", line)
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return nil, 0, fmt.Errorf("the count %.40q is not a whole number", digits)
		}
	}
	if count, err = strconv.ParseInt(string(digits), 10, 64); err != nil {
		return nil, 0, fmt.Errorf("the count %.40q is more than 2^63-1", digits)
	}
	return bytes.TrimSpace(line[:i]), count, nil
}

// unfold makes a frame of its folded notation. names holds each name once.
func unfold(text []byte, names map[string]string) Frame {
	text = bytes.TrimSpace(text)
	text, kernel := bytes.CutSuffix(text, []byte(kernelSuffix))
	name, ok := names[string(text)]
	if !ok {
		name = string(text)
		if name == "" {
			name = unknownName
		}
		names[string(text)] = name
	}
	return Frame{Name: name, Kernel: kernel}
}

// WriteFolded writes the stacks in the format that ReadFolded reads, sorted
// bytewise, so that equal profiles give equal files. Stacks that look the same
// there are added up: the format has no addresses and no modules. ';' in a name
// becomes ':', a line break becomes a space, a nameless frame the name of its
// module in brackets.
func WriteFolded(w io.Writer, stacks []Stack) error {
	if _, err := Total(stacks); err != nil {
		return fmt.Errorf("folded stacks: %w", err)
	}
	counts := map[string]int64{}
	var b strings.Builder
	for _, s := range stacks {
		if s.Count == 0 {
			continue
		}
		b.Reset()
		for i, f := range s.Frames {
			if i > 0 {
				b.WriteByte(';')
			}
			b.WriteString(f.folded())
		}
		if len(s.Frames) == 0 {
			b.WriteString(unknownName)
		}
		counts[b.String()] += s.Count
	}
	lines := make([]string, 0, len(counts))
	for stack := range counts {
		lines = append(lines, stack)
	}
	sort.Strings(lines)
	out := bufio.NewWriter(w)
	for _, stack := range lines {
		fmt.Fprintf(out, "%s %d\n", stack, counts[stack])
	}
	return out.Flush()
}
