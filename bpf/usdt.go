package bpf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redscope/redscope/engine/probe"
)

// The sections that AddUSDT adds. bcc finds nothing when .note.stapsdt stands
// before .probes in the section table: it looks for the first section with code,
// for .probes and for the notes in one pass. From .probes, bcc and bpftrace take
// where in the file a semaphore is.
const (
	semaphoreSection = ".probes"
	baseSection      = ".stapsdt.base" // gdb insists on it
	noteSection      = ".note.stapsdt"
)

// AddUSDT describes the markers of a redscope server, whose executable file
// holds these bytes, in the form of SystemTap's static probes, which bpftrace,
// bcc, perf, gdb and libbpf know as USDT. It returns the new file; one that has
// the description already comes back as it is. What is loaded stays as it was
// to the byte. Messages call the file name.
func AddUSDT(file []byte, name string) ([]byte, error) {
	e, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%s: not an executable in ELF format: %w", name, err)
	}
	if e.Class != elf.ELFCLASS64 || e.Data != elf.ELFDATA2LSB || e.Machine != elf.EM_X86_64 && e.Machine != elf.EM_AARCH64 {
		return nil, fmt.Errorf("%s is for %v: there are markers on amd64 and arm64 only", name, e.Machine)
	}
	if e.Type != elf.ET_EXEC && e.Type != elf.ET_DYN {
		return nil, fmt.Errorf("%s is no executable: its ELF type is %v", name, e.Type)
	}
	b := &image{name: name, elf: e}
	notes, semaphores, err := b.usdtNotes(file)
	if err != nil {
		return nil, err
	}
	if s := e.Section(noteSection); s != nil {
		if s.Type == elf.SHT_NOTE && s.Size == uint64(len(notes)) && s.Offset <= uint64(len(file)) && bytes.HasPrefix(file[s.Offset:], notes) {
			return file, nil
		}
		return nil, fmt.Errorf("%s has a section %s that is not ours: build it again", name, noteSection)
	}
	out, err := b.describe(file, notes, semaphores)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	// Nothing may leave here that does not run, or that other tools cannot read.
	if again, err := AddUSDT(out, name); err != nil || !bytes.Equal(again, out) || !sameWhenLoaded(e, file, out) {
		return nil, fmt.Errorf("%s: %w", name, errSectionTable)
	}
	return out, nil
}

// describe returns a copy of the file with the notes in it.
func (b *image) describe(file, notes []byte, semaphores elf.Symbol) ([]byte, error) {
	off, err := b.offset(semaphores.Value)
	if err != nil {
		return nil, err
	}
	t, err := readSectionTable(file)
	if err != nil {
		return nil, err
	}
	if err := t.split(semaphores, off); err != nil {
		return nil, err
	}
	out := pad(slices.Clone(file), 4)
	t.add(noteSection, elf.Section64{
		Type: uint32(elf.SHT_NOTE), Off: uint64(len(out)), Size: uint64(len(notes)), Addralign: 4,
	})
	return t.write(append(out, notes...))
}

// sameWhenLoaded reports whether both files begin with the same segments, but for
// the ELF header.
func sameWhenLoaded(e *elf.File, a, b []byte) bool {
	headerSize := uint64(binary.Size(elf.Header64{}))
	for _, p := range e.Progs {
		from, to := max(p.Off, headerSize), p.Off+p.Filesz
		if p.Type == elf.PT_LOAD && from < to && (to > uint64(len(a)) || to > uint64(len(b)) || !bytes.Equal(a[from:to], b[from:to])) {
			return false
		}
	}
	return true
}

// usdtNotes makes the notes, one per marker, and returns the symbol of the
// semaphores besides.
func (b *image) usdtNotes(file []byte) (notes []byte, semaphores elf.Symbol, err error) {
	syms, err := b.elf.Symbols()
	if errors.Is(err, elf.ErrNoSymbols) {
		return nil, semaphores, b.noSymbols()
	}
	if err != nil {
		return nil, semaphores, fmt.Errorf("%s: reading its symbol table: %w", b.name, err)
	}
	byName := make(map[string]elf.Symbol)
	for _, s := range syms {
		if strings.HasPrefix(s.Name, probePackage) {
			byName[s.Name] = s
		}
	}
	semaphores, ok := byName[probe.SemaphoreSymbol]
	if !ok {
		return nil, semaphores, fmt.Errorf("%s has no markers: it is not a redscope server", b.name)
	}
	for _, m := range probe.Markers {
		sym, ok := byName[m.Symbol]
		semaphore := 2 * uint64(m.Semaphore)
		if !ok || semaphore+2 > semaphores.Size {
			return nil, semaphores, fmt.Errorf("%s has no marker %s: it is of another version than this redscope; build both again", b.name, m.Name)
		}
		off, err := b.offset(sym.Value)
		if err != nil || off >= uint64(len(file)) {
			return nil, semaphores, fmt.Errorf("%s: marker %s has no code in the file", b.name, m.Name)
		}
		code := file[off:min(off+64, uint64(len(file)))]
		if site := place(b.elf.Machine, code); site.Cost == CostNone || site.Cost == CostSingleStep || site.Offset != 0 {
			return nil, semaphores, fmt.Errorf("%s: marker %s has another shape than expected: %s", b.name, m.Name, site.Reason)
		}
		base := semaphores.Value + semaphores.Size - 2 // the last element, as split has it
		notes = appendNote(notes, m, b.elf.Machine, sym.Value, base, semaphores.Value+semaphore)
	}
	return notes, semaphores, nil
}

// probePackage is what the names of all symbols of engine/probe begin with.
var probePackage = strings.TrimSuffix(probe.SemaphoreSymbol, "semaphores")

// appendNote appends the note of one marker.
// (sourceware.org/systemtap/wiki/UserSpaceProbeImplementation)
func appendNote(notes []byte, m probe.Marker, machine elf.Machine, addr, base, semaphore uint64) []byte {
	const owner, typeOfProbe = "stapsdt\x00", 3
	var desc []byte
	for _, address := range []uint64{addr, base, semaphore} {
		desc = binary.LittleEndian.AppendUint64(desc, address)
	}
	for _, s := range []string{"redscope", m.Name, usdtArgs(m.Args, machine)} {
		desc = append(append(desc, s...), 0)
	}
	for _, word := range []int{len(owner), len(desc), typeOfProbe} {
		notes = binary.LittleEndian.AppendUint32(notes, uint32(word))
	}
	return pad(append(append(notes, owner...), desc...), 4)
}

// usdtArgs says where the arguments of a marker are, as an assembler operand
// each: size, negative for a signed one, and place.
func usdtArgs(args []probe.Arg, machine elf.Machine) string {
	place := "%s@%d(%%rsp)"
	if machine == elf.EM_AARCH64 {
		place = "%s@[sp, %d]"
	}
	var all []string
	for i, a := range args {
		size := "8"
		if a.Type == "int64" {
			size = "-8"
		}
		all = append(all, fmt.Sprintf(place, size, 8+8*i))
	}
	return strings.Join(all, " ")
}

// sectionTable is the section table of a little-endian ELF64 file.
type sectionTable struct {
	header   elf.Header64
	sections []elf.Section64
	names    []byte
	moved    []movedSymbols
}

// movedSymbols says that the symbols of section from that lie at or after addr
// are in section to.
type movedSymbols struct {
	from, to uint16
	addr     uint64
}

var errSectionTable = errors.New("its section table is damaged: build it again")

func readSectionTable(file []byte) (*sectionTable, error) {
	t := &sectionTable{}
	if _, err := binary.Decode(file, binary.LittleEndian, &t.header); err != nil {
		return nil, errSectionTable
	}
	t.sections = make([]elf.Section64, t.header.Shnum)
	// A handful of entries more must still fit what the header can count.
	if int(t.header.Shentsize) != binary.Size(elf.Section64{}) || t.header.Shnum >= uint16(elf.SHN_LORESERVE)-8 ||
		t.header.Shstrndx >= t.header.Shnum || t.header.Shoff > uint64(len(file)) {
		return nil, errSectionTable
	}
	if _, err := binary.Decode(file[t.header.Shoff:], binary.LittleEndian, t.sections); err != nil {
		return nil, errSectionTable
	}
	names, err := t.data(file, int(t.header.Shstrndx))
	if err != nil || len(names) == 0 || names[len(names)-1] != 0 {
		return nil, errSectionTable
	}
	t.names = slices.Clone(names)
	return t, nil
}

// data returns the part of the file that section i is.
func (t *sectionTable) data(file []byte, i int) ([]byte, error) {
	s := t.sections[i]
	if s.Type == uint32(elf.SHT_NOBITS) || s.Flags&uint64(elf.SHF_COMPRESSED) != 0 ||
		s.Off > uint64(len(file)) || s.Size > uint64(len(file))-s.Off {
		return nil, errSectionTable
	}
	return file[s.Off : s.Off+s.Size], nil
}

func (t *sectionTable) add(name string, s elf.Section64) {
	s.Name = uint32(len(t.names))
	t.names = append(append(t.names, name...), 0)
	t.sections = append(t.sections, s)
}

// split cuts the section that holds the semaphores into the part before them,
// which keeps the section's place and name, the semaphores, their last element,
// which is none and serves as the base, and the rest. Sections that overlap
// would be pulled apart by strip and objcopy, and the semaphores be elsewhere.
// off is where the file has the semaphores.
func (t *sectionTable) split(semaphores elf.Symbol, off uint64) error {
	if int(semaphores.Section) >= len(t.sections) {
		return errSectionTable
	}
	index := uint16(semaphores.Section)
	whole := t.sections[index]
	start, end := semaphores.Value, semaphores.Value+semaphores.Size
	if whole.Type != uint32(elf.SHT_PROGBITS) || semaphores.Size < 4 || start < whole.Addr || end < start ||
		end-whole.Addr > whole.Size || whole.Off+start-whole.Addr != off {
		return errSectionTable
	}
	for _, part := range []struct {
		name       string
		start, end uint64
		align      uint64
	}{
		{semaphoreSection, start, end - 2, 2},
		{baseSection, end - 2, end, 1},
		{".noptrdata.rest", end, whole.Addr + whole.Size, 1},
	} {
		t.moved = append(t.moved, movedSymbols{index, uint16(len(t.sections)), part.start})
		t.add(part.name, elf.Section64{
			Type: whole.Type, Flags: whole.Flags, Addr: part.start,
			Off: whole.Off + part.start - whole.Addr, Size: part.end - part.start, Addralign: part.align,
		})
	}
	t.sections[index].Size = start - whole.Addr
	return nil
}

// write appends the table and its names to the file, and lets the header point
// to them. The old ones remain as dead bytes: they lie inside a loaded segment.
func (t *sectionTable) write(file []byte) ([]byte, error) {
	for i, s := range t.sections {
		if s.Type != uint32(elf.SHT_SYMTAB) {
			continue
		}
		symbols, err := t.data(file, i)
		if err != nil {
			return nil, err
		}
		for entry := range slices.Chunk(symbols, elf.Sym64Size) {
			t.move(entry)
		}
	}
	names := &t.sections[t.header.Shstrndx]
	names.Off, names.Size = uint64(len(file)), uint64(len(t.names))
	file = pad(append(file, t.names...), 8)
	t.header.Shoff, t.header.Shnum = uint64(len(file)), uint16(len(t.sections))
	file, err := binary.Append(file, binary.LittleEndian, t.sections)
	if err != nil {
		return nil, err
	}
	_, err = binary.Encode(file, binary.LittleEndian, t.header)
	return file, err
}

// move puts an entry of a symbol table into the section where it now is.
func (t *sectionTable) move(entry []byte) {
	var s elf.Sym64
	if _, err := binary.Decode(entry, binary.LittleEndian, &s); err != nil {
		return // half an entry, at the end
	}
	from := s.Shndx
	for _, m := range t.moved {
		if from == m.from && s.Value >= m.addr {
			s.Shndx = m.to
		}
	}
	if s.Shndx != from {
		binary.LittleEndian.PutUint16(entry[6:], s.Shndx) // st_shndx
	}
}

// pad appends zeros up to a multiple of n.
func pad(b []byte, n int) []byte {
	return append(b, make([]byte, (n-len(b)%n)%n)...)
}
