package bpf

import (
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
)

// unwindMapping is struct unwind_mapping in c/unwind.h.
type unwindMapping struct {
	Start, End  uint64
	Base        uint64 // run-time address that the rows count from
	First, Rows uint32
}

// unwinder is what a program that includes c/unwind.h needs to walk the stacks
// of a process: for each of its executable mappings, a table. It is made once;
// code that is mapped later ends a walk.
type unwinder struct {
	rows     []unwindRow
	mappings []unwindMapping
	// problems names the files whose tables cannot be used; walks end there.
	problems []string
}

// maxFrameInfo is the largest .eh_frame that is read, in bytes; a browser's has
// 20 MB.
const maxFrameInfo = 64 << 20

// canUnwind returns nil when programs of the given type can walk by tables on
// this kernel, else an error that names what is missing.
func canUnwind(typ ebpf.ProgramType) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("unwind tables are for x86-64, not for %s", runtime.GOARCH)
	}
	for _, need := range []struct {
		fn    asm.BuiltinFunc
		name  string
		since string
	}{{asm.FnTaskPtRegs, "bpf_task_pt_regs", "5.15"}, {asm.FnLoop, "bpf_loop", "5.17"}} {
		if err := features.HaveProgramHelper(typ, need.fn); err != nil {
			if errors.Is(err, ebpf.ErrNotSupported) {
				return fmt.Errorf("this kernel lacks %s, in Linux since %s", need.name, need.since)
			}
			return fmt.Errorf("testing for %s: %w", need.name, err)
		}
	}
	return nil
}

// unwindTable is the part of unwinder.rows that belongs to a file.
type unwindTable struct {
	base        uint64 // as linked
	first, rows uint32
}

// loadWalker loads of spec the program that it has in two forms, NAME_frame_pointers
// and NAME_tables, in one of them, and the programs called others. The form is by
// tables unless noTables says why not. limits says what will make stacks shorter
// than they could be.
func (p *process) loadWalker(spec *ebpf.CollectionSpec, name string, constants map[string]any, noTables error, others ...string) (
	coll *ebpf.Collection, prog *ebpf.Program, limits []string, err error) {
	byTables, byFramePointers := name+"_tables", name+"_frame_pointers"
	wanted := append(others, byTables)
	if noTables != nil {
		wanted = append(others, byFramePointers)
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !slices.Contains(wanted, name) })
	if noTables != nil {
		if coll, err = p.load(spec, constants, nil); err != nil {
			return nil, nil, nil, err
		}
		limits = []string{fmt.Sprintf("stacks are walked by frame pointers only: %v", noTables)}
		return coll, coll.Programs[byFramePointers], limits, nil
	}
	u := newUnwinder(p)
	if err := u.prepare(spec); err != nil {
		return nil, nil, nil, err
	}
	if coll, err = p.load(spec, constants, nil); err != nil {
		return nil, nil, nil, err
	}
	if err := u.fill(coll); err != nil {
		coll.Close()
		return nil, nil, nil, err
	}
	return coll, coll.Programs[byTables], u.problems, nil
}

// newUnwinder makes the tables of p.
func newUnwinder(p *process) *unwinder {
	// Two tables of one row, for files without one of their own.
	u := &unwinder{rows: []unwindRow{{Kind: unwindFramePointer}, {Kind: unwindNone}}}
	tables := map[*image]unwindTable{}
	for _, m := range p.maps {
		b, off := p.images[m.file], m.offset
		if m.name == "[vdso]" {
			b, off = vdso(), 0
		}
		t, known := tables[b]
		if !known {
			t = u.table(b, m.name)
			tables[b] = t
		}
		out := unwindMapping{m.start, m.end, m.start, t.first, t.rows}
		if t.rows > 1 {
			bias, ok := b.bias(m.start, m.end, off)
			if !ok {
				continue // of no code that the file describes
			}
			out.Base = t.base + bias
		}
		u.mappings = append(u.mappings, out)
	}
	return u
}

// table adds the table of a file; b is nil for memory without one.
func (u *unwinder) table(b *image, name string) unwindTable {
	framePointers, none := unwindTable{first: 0, rows: 1}, unwindTable{first: 1, rows: 1}
	if b == nil {
		return framePointers
	}
	base, rows, err := b.unwindRows()
	if err == nil && len(u.rows)+len(rows) > maxRows {
		err = fmt.Errorf("more than %d rows in all", maxRows)
	}
	if err != nil {
		u.problems = append(u.problems, fmt.Sprintf("stacks break off in %s: its unwind table cannot be used: %v", name, err))
		return none
	}
	if len(rows) == 0 {
		return framePointers
	}
	t := unwindTable{base, uint32(len(u.rows)), uint32(len(rows))}
	u.rows = append(u.rows, rows...)
	return t
}

// prepare makes room in the maps of spec, before it is loaded.
func (u *unwinder) prepare(spec *ebpf.CollectionSpec) error {
	spec.Maps["unwind_rows"].MaxEntries = uint32(len(u.rows))
	spec.Maps["unwind_mappings"].MaxEntries = uint32(max(1, len(u.mappings)))
	return spec.Variables["unwind_mapping_count"].Set(uint32(len(u.mappings)))
}

// fill puts the tables into the maps of a loaded collection.
func (u *unwinder) fill(coll *ebpf.Collection) error {
	if err := fillArray(coll.Maps["unwind_rows"], u.rows); err != nil {
		return err
	}
	return fillArray(coll.Maps["unwind_mappings"], u.mappings)
}

func fillArray[T any](m *ebpf.Map, values []T) error {
	const batch = 1 << 16
	for first := 0; first < len(values); first += batch {
		part := values[first:min(first+batch, len(values))]
		keys := make([]uint32, len(part))
		for i := range keys {
			keys[i] = uint32(first + i)
		}
		if _, err := m.BatchUpdate(keys, part, nil); err != nil {
			return fmt.Errorf("loading the unwind tables: %w", err)
		}
	}
	return nil
}

// unwindRows makes the table of a file, whose addresses count from base; none
// when it has no .eh_frame, as a Go program.
func (b *image) unwindRows() (base uint64, rows []unwindRow, err error) {
	s := b.elf.Section(".eh_frame")
	if s == nil || s.Type == elf.SHT_NOBITS || s.Flags&elf.SHF_ALLOC == 0 || b.elf.Machine != elf.EM_X86_64 {
		return 0, nil, nil
	}
	if s.Size > maxFrameInfo {
		return 0, nil, fmt.Errorf(".eh_frame of %d bytes", s.Size)
	}
	base, found := uint64(0), false
	for _, p := range b.elf.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && (!found || p.Vaddr < base) {
			base, found = p.Vaddr, true
		}
	}
	data, err := s.Data()
	if err != nil {
		return 0, nil, fmt.Errorf(".eh_frame: %w", err)
	}
	// A Go program with C in it: the section describes the C code only.
	gap := uint8(unwindNone)
	if b.isGo() {
		gap = unwindFramePointer
	}
	if rows, err = unwindRows(data, s.Addr, base, gap); err != nil {
		return 0, nil, fmt.Errorf(".eh_frame: %w", err)
	}
	return base, rows, nil
}

// bias is what is added to an address as linked to get the one that it is mapped
// to, where the file is mapped to [start, end) from the offset off on.
func (b *image) bias(start, end, off uint64) (uint64, bool) {
	for _, p := range b.elf.Progs {
		// A mapping begins at a page, the segment perhaps further on.
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && p.Off < off+(end-start) && off < p.Off+p.Filesz {
			return start - off + p.Off - p.Vaddr, true
		}
	}
	return 0, false
}
