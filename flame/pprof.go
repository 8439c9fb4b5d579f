package flame

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// Profile is a set of stacks with what pprof's file format says about them.
type Profile struct {
	Stacks []Stack
	// SampleType and Unit say what is counted: "samples" and "count",
	// "inuse_space" and "bytes". Empty means samples.
	SampleType, Unit string
	// Frequency of sampling in Hz; 0 when the profile was not taken at a fixed
	// rate. It is what turns samples into CPU time.
	Frequency int
	// Time is when the profile began; zero when unknown.
	Time time.Time
	// Duration is for how long samples were taken; 0 when unknown.
	Duration time.Duration
	// Mappings is the address space of the profiled process, as ReadMaps gives
	// it: pprof needs it to find the code of a position-independent program.
	Mappings []Mapping
}

// Mapping is a range of a process's addresses that a file's code is mapped to.
type Mapping struct {
	// Start is the first address, Limit the one after the last.
	Start, Limit uint64
	// Offset in the file that Start corresponds to, in bytes.
	Offset uint64
	// File is the path, or a name in brackets.
	File string
	// BuildID is the GNU build ID in hexadecimal; empty when unknown.
	BuildID string
	// Symbolized says that the frames' names are to be believed, and pprof is
	// not to look them up in the file.
	Symbolized bool
}

// ReadMaps reads the executable mappings from the text of /proc/PID/maps. Read
// it while the process lives.
func ReadMaps(r io.Reader) ([]Mapping, error) {
	parsed, err := profile.ParseProcMaps(r)
	if err != nil {
		return nil, fmt.Errorf("memory maps: %w", err)
	}
	var mappings []Mapping
	for _, m := range parsed {
		mappings = append(mappings, mappingOf(m))
	}
	return mappings, nil
}

func mappingOf(m *profile.Mapping) Mapping {
	return Mapping{Start: m.Start, Limit: m.Limit, Offset: m.Offset, File: m.File, BuildID: m.BuildID, Symbolized: m.HasFunctions}
}

// Read reads a profile in either format, telling them apart by their first
// bytes; both may be gzipped. sampleType is as for ReadPprof, and ignored for
// folded stacks.
func Read(r io.Reader, sampleType string) (*Profile, error) {
	in, err := gunzip(r)
	if err != nil {
		return nil, err
	}
	// A pprof file begins with a field of its outermost message: a tag byte and
	// a length or a number, among which there are control characters, which
	// folded stacks do not begin with.
	head, _ := in.Peek(16)
	if bytes.ContainsFunc(head, func(c rune) bool { return c < ' ' && c != '\t' && c != '\n' && c != '\r' }) {
		return readPprof(in, sampleType)
	}
	stacks, err := ReadFolded(in)
	if err != nil {
		return nil, err
	}
	return &Profile{Stacks: stacks}, nil
}

// gunzip returns what r holds, decompressed if it is gzipped.
func gunzip(r io.Reader) (*bufio.Reader, error) {
	in := bufio.NewReader(r)
	if head, _ := in.Peek(2); !bytes.Equal(head, []byte{0x1f, 0x8b}) {
		return in, nil
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, err
	}
	return bufio.NewReader(z), nil
}

// ReadPprof reads a profile in pprof's format, gzipped or not. sampleType names
// the value to take, as "alloc_space". Empty means samples for a CPU profile,
// otherwise the default that the file names, otherwise the last of its types,
// as pprof does. Functions inlined into one another become frames of their own.
// Values that are 0 are left out; equal stacks are added up.
func ReadPprof(r io.Reader, sampleType string) (*Profile, error) {
	in, err := gunzip(r)
	if err != nil {
		return nil, fmt.Errorf("pprof profile: %w", err)
	}
	return readPprof(in, sampleType)
}

func readPprof(r io.Reader, sampleType string) (*Profile, error) {
	p, err := decodePprof(r, sampleType)
	if err != nil {
		return nil, fmt.Errorf("pprof profile: %w", err)
	}
	return p, nil
}

func decodePprof(r io.Reader, sampleType string) (*Profile, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxInput {
		return nil, errTooLarge
	}
	if err := checkDecodedSize(data); err != nil {
		return nil, err
	}
	in, err := profile.ParseUncompressed(data)
	if err != nil {
		return nil, err
	}
	if err := in.CheckValid(); err != nil {
		return nil, err
	}
	value, err := chooseValue(in, sampleType)
	if err != nil {
		return nil, err
	}
	out := &Profile{
		SampleType: in.SampleType[value].Type,
		Unit:       in.SampleType[value].Unit,
		Duration:   time.Duration(max(in.DurationNanos, 0)),
	}
	if in.TimeNanos > 0 {
		out.Time = time.Unix(0, in.TimeNanos)
	}
	if t := in.PeriodType; t != nil && t.Type == "cpu" && t.Unit == "nanoseconds" && in.Period > 0 {
		out.Frequency = int((int64(time.Second) + in.Period/2) / in.Period)
	}
	for _, m := range in.Mapping {
		out.Mappings = append(out.Mappings, mappingOf(m))
	}
	frames := 0
	for _, s := range in.Sample {
		n := s.Value[value]
		switch {
		case n == 0:
			continue
		case n < 0:
			return nil, errors.New("it has negative values: it is a difference of two profiles, but two whole ones are needed")
		}
		for _, l := range s.Location {
			if frames += max(len(l.Line), 1); frames > maxFrames {
				return nil, errTooManyFrames
			}
		}
		stack := stackOf(s.Location, n)
		stack.Labels = labelsOf(s.Label)
		out.Stacks = append(out.Stacks, stack)
	}
	if _, err := Total(out.Stacks); err != nil {
		return nil, err
	}
	out.Stacks = Merge(out.Stacks)
	return out, nil
}

// stackOf turns pprof's locations, innermost first and each with its innermost
// inlined function first, around.
func stackOf(locations []*profile.Location, count int64) Stack {
	s := Stack{Count: count}
	for i, l := range locations {
		f := Frame{Addr: l.Address}
		if i > 0 && f.Addr != 0 {
			// pprof has callers at their call instruction, see WritePprof.
			f.Addr++
		}
		if l.Mapping != nil {
			f.Module = l.Mapping.File
			f.Kernel = strings.HasPrefix(f.Module, "[kernel")
		}
		if len(l.Line) == 0 {
			s.Frames = append(s.Frames, f)
		}
		for _, line := range l.Line {
			f.Name = ""
			if line.Function != nil {
				f.Name = line.Function.Name
			}
			s.Frames = append(s.Frames, f)
		}
	}
	slices.Reverse(s.Frames)
	return s
}

// labelsOf returns pprof's labels sorted; one may have several values.
func labelsOf(all map[string][]string) []Label {
	var labels []Label
	for name, values := range all {
		for _, v := range values {
			labels = append(labels, Label{name, v})
		}
	}
	slices.SortFunc(labels, func(x, y Label) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Value, y.Value)) })
	return labels
}

// chooseValue returns the index of the sample type to take.
func chooseValue(p *profile.Profile, sampleType string) (int, error) {
	var types []string
	for _, t := range p.SampleType {
		types = append(types, t.Type)
	}
	if len(types) == 0 {
		return 0, errors.New("it counts nothing: no sample types")
	}
	if sampleType != "" {
		i := slices.Index(types, sampleType)
		if i < 0 {
			return 0, fmt.Errorf("no sample type %q, only %s", sampleType, strings.Join(types, ", "))
		}
		return i, nil
	}
	if i := slices.Index(types, "samples"); i >= 0 && slices.Contains(types, "cpu") {
		return i, nil
	}
	if i := slices.Index(types, p.DefaultSampleType); i >= 0 {
		return i, nil
	}
	return len(types) - 1, nil
}

// maxDecoded bounds the estimated size in bytes of a decoded profile.
const maxDecoded = 2 << 30

// checkDecodedSize refuses a file that would decode into too much memory,
// before it is decoded. An empty message takes two bytes in the file and some
// hundred in memory, so the file's size says little. It walks the fields of the
// outermost message only; within one, the decoder needs at most 16 bytes for a
// byte of input (a location ID and its pointer, an empty label), 20 with slack.
func checkDecodedSize(data []byte) error {
	var size int64
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 {
			return errors.New("a broken tag")
		}
		data = data[n:]
		switch tag & 7 {
		case 0: // a number
			_, n = binary.Uvarint(data)
			if n <= 0 {
				return errors.New("a broken number")
			}
			data = data[n:]
			// Comments are the one field repeated without a length.
			size += 8
		case 1: // 64 bits
			if len(data) < 8 {
				return io.ErrUnexpectedEOF
			}
			data = data[8:]
		case 2: // a message, a string or packed numbers
			length, n := binary.Uvarint(data)
			if n <= 0 || length > uint64(len(data)-n) {
				return io.ErrUnexpectedEOF
			}
			data = data[n+int(length):]
			if tag>>3 == 6 { // the string table
				size += 16 + int64(length)
			} else {
				size += 200 + 20*int64(length)
			}
		case 5: // 32 bits
			if len(data) < 4 {
				return io.ErrUnexpectedEOF
			}
			data = data[4:]
		default:
			return fmt.Errorf("it is not in pprof's format (wire type %d)", tag&7)
		}
		if size > maxDecoded {
			return errors.New("it would take more than 2 GiB of memory")
		}
	}
	return nil
}

// WritePprof writes the profile in pprof's format, gzipped. With a Frequency,
// and samples being counted, it has the two values of a CPU profile,
// samples/count and cpu/nanoseconds; otherwise one.
//
// pprof finds source lines and instructions by address, so each frame's address
// goes with the mapping that it lies in: one of p.Mappings, else, for a program
// linked to fixed addresses, the segment that its file names. Only there is
// pprof left to look up names and lines itself when it has the file; where the
// mapping is a guess, it is told to believe the names given.
//
// A caller's address is written less one, as pprof expects: its call
// instruction, not the one after, which may belong to the next source line.
func WritePprof(w io.Writer, p *Profile) error {
	if _, err := Total(p.Stacks); err != nil {
		return fmt.Errorf("pprof profile: %w", err)
	}
	out := &profile.Profile{
		SampleType:    []*profile.ValueType{{Type: cmp.Or(p.SampleType, "samples"), Unit: cmp.Or(p.Unit, "count")}},
		DurationNanos: p.Duration.Nanoseconds(),
	}
	if !p.Time.IsZero() {
		out.TimeNanos = p.Time.UnixNano()
	}
	period := int64(0)
	if p.Frequency > 0 {
		period = int64(time.Second) / int64(p.Frequency)
		out.Period = period
		out.PeriodType = &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}
	}
	withTime := period > 0 && out.SampleType[0].Type == "samples" && out.SampleType[0].Unit == "count"
	if withTime {
		out.SampleType = append(out.SampleType, out.PeriodType)
	}
	b := pprofBuilder{
		out:       out,
		functions: map[string]*profile.Function{},
		locations: map[string]*profile.Location{},
		exact:     map[Mapping]*profile.Mapping{},
		guessed:   map[string]*profile.Mapping{},
		fixed:     map[string][]Mapping{},
		known:     slices.Clone(p.Mappings),
	}
	slices.SortStableFunc(b.known, func(x, y Mapping) int { return cmp.Compare(x.Start, y.Start) })
	for _, s := range Merge(p.Stacks) {
		if s.Count == 0 {
			continue
		}
		values := []int64{s.Count}
		if withTime {
			if s.Count > math.MaxInt64/period {
				return fmt.Errorf("pprof profile: %w", errOverflow)
			}
			values = append(values, s.Count*period)
		}
		sample := &profile.Sample{Location: b.locationsOf(s.Frames), Value: values}
		for _, l := range s.Labels {
			if sample.Label == nil {
				sample.Label = map[string][]string{}
			}
			sample.Label[l.Name] = append(sample.Label[l.Name], l.Value)
		}
		out.Sample = append(out.Sample, sample)
	}
	// pprof takes the first mapping for the program itself: it names the profile
	// after its file, and reads that from the binary it is given. A program lies
	// below its libraries and the kernel; what has no address goes last.
	slices.SortStableFunc(out.Mapping, func(x, y *profile.Mapping) int { return cmp.Compare(x.Start-1, y.Start-1) })
	for i, m := range out.Mapping {
		m.ID = uint64(i + 1)
	}
	if err := out.CheckValid(); err != nil {
		return fmt.Errorf("pprof profile: %w", err)
	}
	return out.Write(w)
}

// pprofBuilder numbers what the samples of one profile share.
type pprofBuilder struct {
	out       *profile.Profile
	functions map[string]*profile.Function
	locations map[string]*profile.Location
	exact     map[Mapping]*profile.Mapping
	guessed   map[string]*profile.Mapping // by module
	fixed     map[string][]Mapping        // by module: what its ELF file says
	known     []Mapping                   // by Start
}

// locationsOf returns the frames, root first, as pprof's locations, innermost
// first. Frames next to each other at one address, but of different functions,
// were inlined into one another and are lines of one location; a recursive
// function has the same name as well.
func (b *pprofBuilder) locationsOf(frames []Frame) []*profile.Location {
	var locations []*profile.Location
	for end := len(frames); end > 0; {
		start := end - 1
		for start > 0 && frames[start].Addr != 0 && frames[start-1].Addr == frames[start].Addr &&
			frames[start-1].Name != frames[start].Name {
			start--
		}
		addr := frames[start].Addr
		if end < len(frames) && addr != 0 {
			addr--
		}
		locations = append(locations, b.location(frames[start:end], addr))
		end = start
	}
	return locations
}

// location returns the location of frames that share an address, root first.
func (b *pprofBuilder) location(frames []Frame, addr uint64) *profile.Location {
	module := frames[0].Module
	if module == "" && frames[0].Kernel {
		module = "[kernel]"
	}
	key := binary.LittleEndian.AppendUint64(nil, addr)
	for _, text := range append([]string{module}, namesOf(frames)...) {
		key = binary.AppendUvarint(key, uint64(len(text)))
		key = append(key, text...)
	}
	if l, ok := b.locations[string(key)]; ok {
		return l
	}
	l := &profile.Location{
		ID:      uint64(len(b.out.Location) + 1),
		Address: addr,
		Mapping: b.mapping(module, addr),
	}
	for _, f := range slices.Backward(frames) {
		if f.Name != "" || addr == 0 {
			l.Line = append(l.Line, profile.Line{Function: b.function(f.display())})
		}
	}
	b.locations[string(key)] = l
	b.out.Location = append(b.out.Location, l)
	return l
}

func namesOf(frames []Frame) []string {
	names := make([]string, len(frames))
	for i, f := range frames {
		names[i] = f.Name
	}
	return names
}

func (b *pprofBuilder) function(name string) *profile.Function {
	f, ok := b.functions[name]
	if !ok {
		f = &profile.Function{ID: uint64(len(b.out.Function) + 1), Name: name, SystemName: name}
		b.functions[name] = f
		b.out.Function = append(b.out.Function, f)
	}
	return f
}

// mapping returns the mapping for an address in a module; nil when neither is
// known.
func (b *pprofBuilder) mapping(module string, addr uint64) *profile.Mapping {
	if addr != 0 {
		if m, ok := findMapping(b.known, module, addr); ok {
			return b.exactMapping(m)
		}
		segments, ok := b.fixed[module]
		if !ok {
			segments = fixedSegments(module)
			b.fixed[module] = segments
		}
		if m, ok := findMapping(segments, module, addr); ok {
			return b.exactMapping(m)
		}
	}
	if module == "" {
		return nil
	}
	m, ok := b.guessed[module]
	if !ok {
		m = &profile.Mapping{File: module, HasFunctions: true}
		b.guessed[module] = m
		b.out.Mapping = append(b.out.Mapping, m)
	}
	if addr != 0 {
		if m.Start == 0 || addr < m.Start {
			m.Start = addr
		}
		m.Limit = max(m.Limit, addr+1)
	}
	return m
}

func (b *pprofBuilder) exactMapping(m Mapping) *profile.Mapping {
	out, ok := b.exact[m]
	if !ok {
		out = &profile.Mapping{Start: m.Start, Limit: m.Limit, Offset: m.Offset, File: m.File, BuildID: m.BuildID}
		// Nobody can look up what has no file, as the kernel and the vDSO.
		out.HasFunctions = m.Symbolized || !strings.HasPrefix(m.File, "/")
		b.exact[m] = out
		b.out.Mapping = append(b.out.Mapping, out)
	}
	return out
}

// findMapping finds the mapping of an address among mappings sorted by Start.
// One of another module is a stale one, and no match.
func findMapping(mappings []Mapping, module string, addr uint64) (Mapping, bool) {
	i, _ := slices.BinarySearchFunc(mappings, addr, func(m Mapping, addr uint64) int {
		if m.Start <= addr {
			return -1
		}
		return 1
	})
	if i == 0 || addr >= mappings[i-1].Limit {
		return Mapping{}, false
	}
	m := mappings[i-1]
	return m, module == "" || m.File == module
}

// fixedSegments returns the executable segments of a program linked to fixed
// addresses, which run-time addresses need no mapping to be found in; nothing
// for any other file. The module may have been named by an untrusted profile,
// so only a regular file is opened.
func fixedSegments(module string) []Mapping {
	if !strings.HasPrefix(module, "/") {
		return nil
	}
	if info, err := os.Stat(module); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	file, err := elf.Open(module)
	if err != nil {
		return nil
	}
	defer file.Close()
	if file.Type != elf.ET_EXEC {
		return nil
	}
	const page = 4096
	var segments []Mapping
	for _, s := range file.Progs {
		if s.Type != elf.PT_LOAD || s.Flags&elf.PF_X == 0 {
			continue
		}
		skip := s.Vaddr % page
		segments = append(segments, Mapping{
			Start: s.Vaddr - skip, Limit: s.Vaddr + s.Memsz, Offset: s.Off - skip, File: module,
		})
	}
	slices.SortFunc(segments, func(x, y Mapping) int { return cmp.Compare(x.Start, y.Start) })
	return segments
}
