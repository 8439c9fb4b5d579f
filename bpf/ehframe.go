package bpf

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// unwindRow says how to get from a frame to its caller's, for the code from PC
// to the next row's. It is struct unwind_row in c/unwind.h.
type unwindRow struct {
	PC   uint32 // from the table's base
	CFA  uint16 // as Kind says; mostly in words of 8 bytes
	Kind uint8
	FP   uint8 // where the caller's frame pointer is
}

// Kinds of rows, as in c/unwind.h. The CFA is the stack pointer that the caller
// had before its call; the return address is the word below it.
const (
	unwindNone         = iota // not known
	unwindEnd                 // nobody called this
	unwindSP                  // CFA = sp + 8·CFA
	unwindFP                  // CFA = fp + 8·CFA
	unwindPLT                 // CFA = sp + 8, and 8 more from byte number CFA of each 16 on
	unwindDerefSP             // CFA = *(sp + 8·CFA) + 8
	unwindDerefFP             // CFA = *(fp - 8·CFA)
	unwindSignal              // sp points to a signal's ucontext
	unwindFramePointer        // no table: *fp is the caller's fp, and *(fp+8) the return address
)

// Values of unwindRow.FP besides n: at CFA - 8·n.
const (
	fpSame    = 0
	fpUnknown = 254
	fpAtFP    = 255 // at *fp
)

// maxRows limits what a table may hold, as the search in c/unwind.h has 22 steps.
const maxRows = 1 << 22

// endedEarly is how many bytes of a function may be left undescribed between two
// described parts of it, if it has no frame there. glibc's clone and clone3 end
// their description before the system call, for the sake of the child, and leave
// 10. Other gaps so small are padding.
const endedEarly = 16

// Register numbers of the x86-64 psABI, figure 3.36.
const (
	dwarfFP = 6
	dwarfSP = 7
	dwarfRA = 16
)

// cfiState is what the instructions of .eh_frame have set up to some address.
type cfiState struct {
	kind uint8 // of the CFA: unwindNone, SP, PLT, DerefSP, DerefFP, Signal; SP is by reg
	reg  uint64
	off  int64
	fp   cfiRule
	ra   cfiRule
}

// cfiRule says where a register of the caller is.
type cfiRule struct {
	kind uint8
	off  int64 // from the CFA
}

const (
	ruleSame = iota
	ruleUndefined
	ruleOffset
	ruleAtFP
	ruleOther
)

// cie is a common information entry.
type cie struct {
	codeAlign uint64
	dataAlign int64
	encoding  byte // of addresses
	augmented bool // entries that use it have augmentation data
	initial   cfiState
}

var errCFI = errors.New("malformed call frame information")

// unwindRows turns the section .eh_frame, linked at addr, into a table whose
// addresses count from base. Code that the section does not describe gets rows
// of the kind gap. (Linux Standard Base, Core, 10.6; DWARF 5, 6.4)
func unwindRows(data []byte, addr, base uint64, gap uint8) ([]unwindRow, error) {
	type row struct {
		pc   uint64
		rule unwindRow
	}
	type function struct {
		start, end uint64
		rows       []row
	}
	var functions []function
	var rows []row
	cies := map[int]*cie{} // by position
	for pos := 0; pos < len(data); {
		begin := pos
		r := cfiReader{data: data, pos: pos}
		length := uint64(r.u32())
		if length == math.MaxUint32 {
			length = r.u64()
		}
		if r.bad || length > uint64(len(data)-r.pos) {
			return nil, fmt.Errorf("%w at byte %d", errCFI, begin)
		}
		pos = r.pos + int(length)
		if length == 0 {
			continue // a terminator; linkers may leave more behind it
		}
		r.data = data[:pos]
		at := r.pos
		id := r.u32()
		if r.bad {
			return nil, fmt.Errorf("%w at byte %d", errCFI, begin)
		}
		if id == 0 {
			c, err := r.cie()
			if err != nil {
				return nil, fmt.Errorf("%w at byte %d", err, begin)
			}
			cies[begin] = c
			continue
		}
		c, known := cies[at-int(id)]
		if !known {
			return nil, fmt.Errorf("%w at byte %d: no common entry", errCFI, begin)
		}
		if c == nil {
			continue // of a form that is not understood
		}
		start := r.address(c.encoding, addr)
		end := start + r.address(c.encoding&0x0f, addr)
		if c.augmented {
			r.bytes(r.uleb())
		}
		if r.bad {
			return nil, fmt.Errorf("%w at byte %d", errCFI, begin)
		}
		if start < base || end <= start || end-base > math.MaxUint32 {
			continue // of a section that was not linked
		}
		first := len(rows)
		state := c.initial
		err := r.run(c, &state, start, func(pc uint64, s cfiState) {
			if rule := s.row(); pc < end && (len(rows) == first || rows[len(rows)-1].rule != rule) {
				if len(rows) > first && rows[len(rows)-1].pc == pc {
					rows[len(rows)-1].rule = rule
				} else {
					rows = append(rows, row{pc, rule})
				}
			}
		})
		if err != nil {
			return nil, fmt.Errorf("%w at byte %d", err, begin)
		}
		if len(rows) > maxRows {
			return nil, fmt.Errorf("more than %d rows of call frame information", maxRows)
		}
		functions = append(functions, function{start, end, rows[first:len(rows):len(rows)]})
	}

	slices.SortStableFunc(functions, func(x, y function) int { return cmp.Compare(x.start, y.start) })
	table := make([]unwindRow, 1, len(rows)+len(functions)+2)
	table[0] = unwindRow{Kind: gap}
	add := func(pc uint64, rule unwindRow) {
		rule.PC = uint32(pc - base)
		last := &table[len(table)-1]
		if same := (unwindRow{rule.PC, last.CFA, last.Kind, last.FP}); same == rule {
			return
		}
		if last.PC == rule.PC {
			*last = rule
			return
		}
		table = append(table, rule)
	}
	end := base
	for _, f := range functions {
		if f.start < end {
			continue // overlaps the one before
		}
		last := table[len(table)-1]
		if last.PC = 0; f.start > end && (f.start-end > endedEarly || last != (unwindRow{Kind: unwindSP, CFA: 1})) {
			add(end, unwindRow{Kind: gap})
		}
		for _, r := range f.rows {
			add(r.pc, r.rule)
		}
		end = f.end
	}
	if end > base {
		add(end, unwindRow{Kind: gap})
	}
	if len(table) > maxRows {
		return nil, fmt.Errorf("more than %d rows of call frame information", maxRows)
	}
	return table, nil
}

// row is the compact form of a state.
func (s cfiState) row() unwindRow {
	if s.kind == unwindSignal {
		return unwindRow{Kind: unwindSignal}
	}
	if s.ra.kind == ruleUndefined {
		return unwindRow{Kind: unwindEnd}
	}
	r := unwindRow{Kind: s.kind}
	off := s.off
	switch s.kind {
	case unwindPLT:
		r.CFA = uint16(off)
		off = 0
	case unwindDerefFP:
		off = -off
	case unwindSP:
		switch s.reg {
		case dwarfSP:
		case dwarfFP:
			r.Kind = unwindFP
		default:
			return unwindRow{}
		}
	}
	if s.kind == unwindNone || s.ra != (cfiRule{ruleOffset, -8}) || off < 0 || off%8 != 0 || off/8 > math.MaxUint16 {
		return unwindRow{}
	}
	if s.kind != unwindPLT {
		r.CFA = uint16(off / 8)
	}
	switch {
	case s.fp.kind == ruleSame, s.fp.kind == ruleUndefined:
		r.FP = fpSame
	case s.fp.kind == ruleAtFP:
		r.FP = fpAtFP
	case s.fp.kind == ruleOffset && s.fp.off < 0 && s.fp.off%8 == 0 && -s.fp.off/8 < fpUnknown:
		r.FP = uint8(-s.fp.off / 8)
	default:
		r.FP = fpUnknown
	}
	return r
}

// cie reads a common information entry behind its id; nil for one of a form that
// is not understood.
func (r *cfiReader) cie() (*cie, error) {
	version := r.u8()
	augmentation := r.cstring()
	c := &cie{codeAlign: r.uleb(), dataAlign: r.sleb()}
	ra := uint64(0)
	if version == 1 {
		ra = uint64(r.u8())
	} else {
		ra = r.uleb()
	}
	if r.bad {
		return nil, errCFI
	}
	if version != 1 && version != 3 || ra != dwarfRA {
		return nil, nil
	}
	if augmentation != "" {
		if augmentation[0] != 'z' {
			return nil, nil
		}
		c.augmented = true
		a := cfiReader{data: r.bytes(r.uleb())}
		for _, letter := range augmentation[1:] {
			switch letter {
			case 'R': // how addresses are written
				c.encoding = a.u8()
			case 'P': // a personality routine
				a.address(a.u8()&0x0f, 0)
			case 'L': // how the language's data is written
				a.u8()
			case 'S', 'B': // a signal frame; of arm64
			default:
				return nil, nil
			}
		}
		if r.bad || a.bad {
			return nil, errCFI
		}
	}
	// Absolute, or relative to the address of the address itself.
	if application := c.encoding & 0xf0; application != 0 && application != 0x10 {
		return nil, nil
	}
	return c, r.run(c, &c.initial, 0, func(uint64, cfiState) {})
}

// run executes the instructions up to the end of r, and calls emit with the
// state from each address on.
func (r *cfiReader) run(c *cie, s *cfiState, pc uint64, emit func(pc uint64, s cfiState)) error {
	initial := *s
	var remembered []cfiState
	set := func(reg uint64, rule cfiRule) {
		switch reg {
		case dwarfFP:
			s.fp = rule
		case dwarfRA:
			s.ra = rule
		}
	}
	restore := func(reg uint64) {
		switch reg {
		case dwarfFP:
			s.fp = initial.fp
		case dwarfRA:
			s.ra = initial.ra
		}
	}
	for r.pos < len(r.data) && !r.bad {
		op := r.u8()
		advance := uint64(0)
		switch op >> 6 {
		case 1: // DW_CFA_advance_loc
			advance = uint64(op & 0x3f)
		case 2: // DW_CFA_offset
			set(uint64(op&0x3f), cfiRule{ruleOffset, int64(r.uleb()) * c.dataAlign})
			continue
		case 3: // DW_CFA_restore
			restore(uint64(op & 0x3f))
			continue
		default:
			switch op {
			case 0x00: // DW_CFA_nop
				continue
			case 0x02: // DW_CFA_advance_loc1
				advance = uint64(r.u8())
			case 0x03: // DW_CFA_advance_loc2
				advance = uint64(r.u16())
			case 0x04: // DW_CFA_advance_loc4
				advance = uint64(r.u32())
			case 0x05: // DW_CFA_offset_extended
				set(r.uleb(), cfiRule{ruleOffset, int64(r.uleb()) * c.dataAlign})
			case 0x06: // DW_CFA_restore_extended
				restore(r.uleb())
			case 0x07: // DW_CFA_undefined
				set(r.uleb(), cfiRule{kind: ruleUndefined})
			case 0x08: // DW_CFA_same_value
				set(r.uleb(), cfiRule{kind: ruleSame})
			case 0x09: // DW_CFA_register
				set(r.uleb(), cfiRule{kind: ruleOther})
				r.uleb()
			case 0x0a: // DW_CFA_remember_state
				if len(remembered) == 64 {
					return fmt.Errorf("%w: too many remembered states", errCFI)
				}
				remembered = append(remembered, *s)
			case 0x0b: // DW_CFA_restore_state
				if len(remembered) == 0 {
					return fmt.Errorf("%w: no remembered state", errCFI)
				}
				*s = remembered[len(remembered)-1]
				remembered = remembered[:len(remembered)-1]
			case 0x0c: // DW_CFA_def_cfa
				s.kind, s.reg, s.off = unwindSP, r.uleb(), int64(r.uleb())
			case 0x0d: // DW_CFA_def_cfa_register
				s.kind, s.reg = unwindSP, r.uleb()
			case 0x0e: // DW_CFA_def_cfa_offset
				s.off = int64(r.uleb())
			case 0x0f: // DW_CFA_def_cfa_expression
				s.kind, s.off = cfaExpression(r.bytes(r.uleb()))
			case 0x10: // DW_CFA_expression
				reg, rule := r.uleb(), cfiRule{kind: ruleOther}
				if e := r.bytes(r.uleb()); len(e) == 2 && e[0] == 0x70+dwarfFP && e[1] == 0 {
					rule.kind = ruleAtFP
				}
				set(reg, rule)
			case 0x11: // DW_CFA_offset_extended_sf
				set(r.uleb(), cfiRule{ruleOffset, r.sleb() * c.dataAlign})
			case 0x12: // DW_CFA_def_cfa_sf
				s.kind, s.reg, s.off = unwindSP, r.uleb(), r.sleb()*c.dataAlign
			case 0x13: // DW_CFA_def_cfa_offset_sf
				s.off = r.sleb() * c.dataAlign
			case 0x14, 0x15: // DW_CFA_val_offset, DW_CFA_val_offset_sf
				set(r.uleb(), cfiRule{kind: ruleOther})
				r.uleb()
			case 0x16: // DW_CFA_val_expression
				set(r.uleb(), cfiRule{kind: ruleOther})
				r.bytes(r.uleb())
			case 0x2e: // DW_CFA_GNU_args_size
				r.uleb()
			case 0x2f: // DW_CFA_GNU_negative_offset_extended
				set(r.uleb(), cfiRule{ruleOffset, -int64(r.uleb()) * c.dataAlign})
			default:
				return fmt.Errorf("%w: instruction %#x", errCFI, op)
			}
		}
		if advance != 0 {
			emit(pc, *s)
			high, step := bits.Mul64(advance, c.codeAlign)
			if pc += step; high != 0 || pc < step {
				return fmt.Errorf("%w: an advance beyond all addresses", errCFI)
			}
		}
	}
	if r.bad {
		return errCFI
	}
	emit(pc, *s)
	return nil
}

// cfaExpression knows the few expressions that compilers, linkers and libraries
// write for a CFA.
func cfaExpression(e []byte) (kind uint8, off int64) {
	const (
		and, plus, shl, ge, deref, plusConst = 0x1a, 0x22, 0x24, 0x2a, 0x06, 0x23
		lit, breg                            = 0x30, 0x70
	)
	// ld's: sp + 8 + ((ip & 15) >= 11) * 8; with 10 for a PLT with endbr64.
	if len(e) == 11 && (e[6] == lit+10 || e[6] == lit+11) && string(e) ==
		string([]byte{breg + dwarfSP, 8, breg + dwarfRA, 0, lit + 15, and, e[6], ge, lit + 3, shl, plus}) {
		return unwindPLT, int64(e[6] - lit)
	}
	r := cfiReader{data: e}
	reg, off := r.u8(), r.sleb()
	rest := string(r.data[r.pos:])
	switch {
	case r.bad:
	case reg == breg+dwarfSP && off == 160 && rest == string([]byte{deref}):
		return unwindSignal, 0 // glibc's __restore_rt: the interrupted sp in the ucontext
	case reg == breg+dwarfSP && rest == string([]byte{deref, plusConst, 8}):
		return unwindDerefSP, off // assembly that aligns its stack, and keeps the old sp on it
	case reg == breg+dwarfFP && rest == string([]byte{deref}):
		return unwindDerefFP, off // gcc's, where it aligns the stack
	}
	return unwindNone, 0
}

// cfiReader reads what .eh_frame is made of. After a read beyond the end, bad is
// set and all reads give 0.
type cfiReader struct {
	data []byte
	pos  int
	bad  bool
}

func (r *cfiReader) bytes(n uint64) []byte {
	if r.bad || n > uint64(len(r.data)-r.pos) {
		r.bad = true
		return nil
	}
	b := r.data[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return b
}

func (r *cfiReader) u8() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *cfiReader) u16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *cfiReader) u32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *cfiReader) u64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *cfiReader) uleb() uint64 {
	v, n := binary.Uvarint(r.data[r.pos:])
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.pos += n
	return v
}

func (r *cfiReader) sleb() int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		b := r.u8()
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if b&0x40 != 0 && shift+7 < 64 {
				v |= -1 << (shift + 7)
			}
			return v
		}
		if shift > 63 {
			r.bad = true
			return 0
		}
	}
}

func (r *cfiReader) cstring() string {
	n := slices.Index(r.data[r.pos:], 0)
	if n < 0 {
		r.bad = true
		return ""
	}
	return string(r.bytes(uint64(n) + 1)[:n])
}

// address reads an address in one of the forms of the LSB, 10.5; section is the
// address of r's data.
func (r *cfiReader) address(encoding byte, section uint64) uint64 {
	var v uint64
	from := section + uint64(r.pos)
	switch encoding & 0x0f {
	case 0x00, 0x04, 0x0c:
		v = r.u64()
	case 0x01:
		v = r.uleb()
	case 0x02:
		v = uint64(r.u16())
	case 0x03:
		v = uint64(r.u32())
	case 0x09:
		v = uint64(r.sleb())
	case 0x0a:
		v = uint64(int64(int16(r.u16())))
	case 0x0b:
		v = uint64(int64(int32(r.u32())))
	default:
		r.bad = true
	}
	if encoding&0x70 == 0x10 {
		v += from
	}
	return v
}
