package bpf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// Cost is what a hit of a probe costs, by what the kernel does with the
// instruction under it. docs/bpf.md has the measured times.
type Cost string

const (
	// CostNop5: a five-byte nop, which Linux 6.18 and later turn into a call on
	// x86-64; before, it is emulated.
	CostNop5 Cost = "nop5"
	// CostEmulated: a trap, and the kernel does the instruction's work itself.
	CostEmulated Cost = "emulated"
	// CostSingleStep: two traps, the instruction runs out of line between them;
	// some eight times the cost of an emulated one.
	CostSingleStep Cost = "single-step"
	// CostNone: no probe can be placed.
	CostNone Cost = "none"
)

// Site is where a probe on a function goes.
type Site struct {
	Addr   uint64 // virtual address as linked
	Offset uint64 // Addr from the function's start, in bytes
	File   uint64 // offset in the file, which is what a uprobe is placed by
	Cost   Cost
	Reason string // why there
}

// At every site that place returns, the stack pointer, the frame pointer and
// the argument registers are what they were when the function was called: the
// return address is at (%rsp), or in LR, and the frame pointer is the caller's.

// place finds the site for a function with the given machine code. The Offset,
// Cost and Reason are set. Each call of the function passes the site once, with
// its arguments intact; among such sites it is the cheapest.
func place(machine elf.Machine, code []byte) Site {
	switch machine {
	case elf.EM_X86_64:
		return placeX86(code)
	case elf.EM_AARCH64:
		return placeARM64(code)
	}
	return Site{Cost: CostNone, Reason: fmt.Sprintf("probes are not placed in code for %v", machine)}
}

var (
	nop5    = []byte{0x0f, 0x1f, 0x44, 0x00, 0x00}
	endbr64 = []byte{0xf3, 0x0f, 0x1e, 0xfa}
)

// decodeX86 decodes an instruction, also the one that our disassembler does not know and
// that branches land on in code that was compiled for Intel's CET.
func decodeX86(code []byte) (x86asm.Inst, error) {
	if bytes.HasPrefix(code, endbr64) {
		return x86asm.Inst{Op: x86asm.NOP, Len: len(endbr64)}, nil
	}
	return x86asm.Decode(code, 64)
}

// prologueLength is the number of instructions in which a site is searched.
const prologueLength = 16

func placeX86(code []byte) Site {
	start := afterStackCheckX86(code)
	checked := "at entry"
	if start > 0 {
		checked = "after the stack check"
	}
	if start < len(code) && code[start] == 0x55 {
		// Nothing jumps here: a function that had to grow its stack starts
		// again from its entry, and is thus counted once.
		return Site{Offset: uint64(start), Cost: CostEmulated, Reason: "push %rbp " + checked}
	}

	best := Site{Cost: CostNone, Reason: "no instruction that may be probed"}
	rank := map[Cost]int{CostNop5: 0, CostEmulated: 1, CostSingleStep: 2, CostNone: 3}
	for pos, n := start, 0; pos < len(code) && n < prologueLength; n++ {
		length, text, cost, carryOn := inspectX86(code[pos:])
		if length == 0 {
			break
		}
		if rank[cost] < rank[best.Cost] && (pos == 0 || !jumpedToX86(code, pos)) {
			where := checked
			if pos > start {
				where = fmt.Sprintf("%d bytes in, arguments still intact", pos)
			}
			best = Site{Offset: uint64(pos), Cost: cost, Reason: text + " " + where}
		}
		if !carryOn {
			break
		}
		pos += length
	}
	if best.Cost == CostNone && start == 0 && len(code) > 0 {
		if length, _, _, _ := inspectX86(code); length == 0 {
			// Newer than our disassembler; the kernel decides.
			return Site{Cost: CostSingleStep, Reason: "an instruction unknown to the disassembler, at entry"}
		}
	}
	if best.Cost != CostNone && best.Offset == 0 && jumpedToX86(code, 0) && start == 0 {
		best.Reason += "; also the head of a loop: counts its turns too"
	}
	return best
}

// afterStackCheckX86 returns the offset behind the check with which most Go
// functions begin, 0 when there is none. The check compares the stack pointer,
// or %r12 computed from it, with the limit at 0x10(%r14), 0x18(%r14) in parts of
// the runtime, and branches to code that grows the stack and jumps back to the
// entry. Functions called from assembly first load g into %r14 from thread-local
// storage, and clear %xmm15.
// (cmd/internal/obj/x86, preprocess and stacksplit)
func afterStackCheckX86(code []byte) int {
	pos, compared := 0, false
	for range 8 {
		inst, err := x86asm.Decode(code[pos:], 64)
		if err != nil {
			return 0
		}
		switch inst.Op {
		case x86asm.LEA, x86asm.MOV, x86asm.SUB:
			if inst.Args[0] != x86asm.R12 && !loadsG(inst) {
				return 0
			}
		case x86asm.XORPS:
			if inst.Args[0] != x86asm.X15 || inst.Args[1] != x86asm.X15 {
				return 0
			}
		case x86asm.CMP:
			mem, ok := cmpMemory(inst)
			if !ok || mem.Base != x86asm.R14 || mem.Disp != 0x10 && mem.Disp != 0x18 {
				return 0
			}
			compared = true
		case x86asm.JB, x86asm.JBE:
			if compared {
				return pos + inst.Len
			}
		default:
			return 0
		}
		pos += inst.Len
	}
	return 0
}

func loadsG(inst x86asm.Inst) bool {
	mem, ok := inst.Args[1].(x86asm.Mem)
	return inst.Op == x86asm.MOV && inst.Args[0] == x86asm.R14 && ok && mem.Segment == x86asm.FS
}

func cmpMemory(inst x86asm.Inst) (x86asm.Mem, bool) {
	for _, a := range inst.Args[:2] {
		if m, ok := a.(x86asm.Mem); ok {
			return m, true
		}
	}
	return x86asm.Mem{}, false
}

// argumentsX86 are the registers that must be intact at a site: those that carry
// arguments in Go's ABI or in System V's, Go's g and closure, and the two that
// the stack is read by.
var argumentsX86 = map[x86asm.Reg]bool{}

func init() {
	for _, family := range [][]x86asm.Reg{
		{x86asm.RAX, x86asm.EAX, x86asm.AX, x86asm.AL, x86asm.AH},
		{x86asm.RBX, x86asm.EBX, x86asm.BX, x86asm.BL, x86asm.BH},
		{x86asm.RCX, x86asm.ECX, x86asm.CX, x86asm.CL, x86asm.CH},
		{x86asm.RDX, x86asm.EDX, x86asm.DX, x86asm.DL, x86asm.DH},
		{x86asm.RSI, x86asm.ESI, x86asm.SI, x86asm.SIB},
		{x86asm.RDI, x86asm.EDI, x86asm.DI, x86asm.DIB},
		{x86asm.RSP, x86asm.ESP, x86asm.SP, x86asm.SPB},
		{x86asm.RBP, x86asm.EBP, x86asm.BP, x86asm.BPB},
		{x86asm.R8, x86asm.R8L, x86asm.R8W, x86asm.R8B},
		{x86asm.R9, x86asm.R9L, x86asm.R9W, x86asm.R9B},
		{x86asm.R10, x86asm.R10L, x86asm.R10W, x86asm.R10B},
		{x86asm.R11, x86asm.R11L, x86asm.R11W, x86asm.R11B},
		{x86asm.R14, x86asm.R14L, x86asm.R14W, x86asm.R14B},
	} {
		for _, r := range family {
			argumentsX86[r] = true
		}
	}
	for x := x86asm.X0; x <= x86asm.X15; x++ {
		argumentsX86[x] = true // floating-point arguments
	}
}

// inspectX86 looks at the instruction at the start of code: its length (0 when
// not known), its name for a reason, what a probe on it costs, and whether
// control goes on to the next instruction with all arguments intact.
func inspectX86(code []byte) (length int, text string, cost Cost, carryOn bool) {
	switch {
	case bytes.HasPrefix(code, nop5):
		return len(nop5), "5-byte nop", CostNop5, true
	case bytes.HasPrefix(code, endbr64):
		return len(endbr64), "endbr64", CostSingleStep, true
	}
	inst, err := x86asm.Decode(code, 64)
	if err != nil {
		return 0, "", CostNone, false
	}
	text = x86asm.GNUSyntax(inst, 0, nil)
	for _, p := range inst.Prefix {
		switch p &^ (x86asm.PrefixImplicit | x86asm.PrefixIgnored) {
		case x86asm.PrefixLOCK, x86asm.PrefixES, x86asm.PrefixCS, x86asm.PrefixSS, x86asm.PrefixDS:
			// The kernel refuses to probe these (arch/x86/kernel/uprobes.c,
			// uprobe_init_insn).
			return inst.Len, text, CostNone, false
		}
	}
	_, relative := inst.Args[0].(x86asm.Rel)
	switch inst.Op {
	case x86asm.PUSH:
		if _, ok := inst.Args[0].(x86asm.Reg); ok {
			return inst.Len, text, CostEmulated, false
		}
		return inst.Len, text, CostSingleStep, false
	case x86asm.NOP:
		if inst.Len == 1 {
			return inst.Len, text, CostEmulated, true
		}
		return inst.Len, text, CostSingleStep, true
	case x86asm.JMP, x86asm.CALL:
		if relative {
			return inst.Len, text, CostEmulated, false
		}
		return inst.Len, text, CostSingleStep, false
	case x86asm.INT, x86asm.INTO, x86asm.HLT, x86asm.IN, x86asm.OUT, x86asm.CLI, x86asm.STI:
		return inst.Len, text, CostNone, false
	case x86asm.CMP, x86asm.TEST, x86asm.BT:
		return inst.Len, text, CostSingleStep, true
	case x86asm.MOV, x86asm.LEA, x86asm.MOVZX, x86asm.MOVSX, x86asm.MOVSXD,
		x86asm.XOR, x86asm.AND, x86asm.OR, x86asm.ADD, x86asm.SUB:
		reg, toRegister := inst.Args[0].(x86asm.Reg)
		return inst.Len, text, CostSingleStep, !toRegister || !argumentsX86[reg]
	}
	if relative && inst.Op != x86asm.JCXZ && inst.Op != x86asm.JECXZ && inst.Op != x86asm.JRCXZ &&
		inst.Op != x86asm.LOOP && inst.Op != x86asm.LOOPE && inst.Op != x86asm.LOOPNE {
		return inst.Len, text, CostEmulated, false // a conditional jump
	}
	return inst.Len, text, CostSingleStep, false
}

// jumpedToX86 reports whether code may branch to pos from within: a site there
// would be passed more than once per call. When the code cannot be read to its
// end, only the entry is taken to be free of that.
func jumpedToX86(code []byte, pos int) bool {
	for at := 0; at < len(code); {
		inst, err := decodeX86(code[at:])
		if err != nil {
			return pos != 0
		}
		at += inst.Len
		if rel, ok := inst.Args[0].(x86asm.Rel); ok && inst.Op != x86asm.CALL && at+int(rel) == pos {
			return true
		}
	}
	return false
}

// placeARM64 takes the first instruction behind the stack check. Looking further
// is not worth it: what the kernel simulates on arm64 is branches and nops, and
// neither stands in a prologue.
func placeARM64(code []byte) Site {
	start := afterStackCheckARM64(code)
	where := "at entry"
	if start > 0 {
		where = "after the stack check"
	}
	if start+4 > len(code) {
		return Site{Cost: CostNone, Reason: "no code"}
	}
	inst, err := arm64asm.Decode(code[start:])
	if err != nil {
		return Site{Offset: uint64(start), Cost: CostSingleStep, Reason: "an instruction unknown to the disassembler, " + where}
	}
	site := Site{Offset: uint64(start), Cost: CostSingleStep, Reason: strings.TrimSpace(arm64asm.GNUSyntax(inst)) + " " + where}
	word := binary.LittleEndian.Uint32(code[start:])
	switch inst.Op {
	case arm64asm.NOP, arm64asm.B, arm64asm.BL, arm64asm.CBZ, arm64asm.CBNZ, arm64asm.TBZ, arm64asm.TBNZ,
		arm64asm.ADR, arm64asm.ADRP, arm64asm.BR, arm64asm.BLR, arm64asm.RET:
		site.Cost = CostEmulated
	case arm64asm.LDXR, arm64asm.LDAXR, arm64asm.LDXP, arm64asm.LDAXP, arm64asm.STXR, arm64asm.STLXR,
		arm64asm.SVC, arm64asm.HVC, arm64asm.SMC, arm64asm.BRK, arm64asm.HLT, arm64asm.ERET, arm64asm.MSR, arm64asm.MRS:
		// arch/arm64/kernel/probes/decode-insn.c refuses most of these.
		site.Cost, site.Reason = CostNone, fmt.Sprintf("%s (%08x) %s may not be probed", inst.Op, word, where)
	}
	return site
}

// afterStackCheckARM64 is afterStackCheckX86 for arm64, where the check loads
// the limit from 16(x28) or 24(x28), and computes in x16, x17 and x27.
// (cmd/internal/obj/arm64, stacksplit)
func afterStackCheckARM64(code []byte) int {
	scratch := []arm64asm.Arg{
		arm64asm.X16, arm64asm.X17, arm64asm.X27,
		arm64asm.RegSP(arm64asm.X16), arm64asm.RegSP(arm64asm.X17), arm64asm.RegSP(arm64asm.X27),
	}
	const (
		loadLimit  = 0xf9400b90 // ldr x16, [x28, #16]
		loadLimit1 = 0xf9400f90 // ldr x16, [x28, #24]
	)
	loaded, after := false, 0
	for pos := 0; pos+4 <= len(code) && pos < 12*4; pos += 4 {
		inst, err := arm64asm.Decode(code[pos:])
		if err != nil {
			return after
		}
		word := binary.LittleEndian.Uint32(code[pos:])
		switch {
		case word == loadLimit || word == loadLimit1:
			loaded = true
		case inst.Op == arm64asm.B && loaded:
			if _, conditional := inst.Args[0].(arm64asm.Cond); !conditional {
				return after
			}
			after = pos + 4
		case inst.Op == arm64asm.CMP:
		case slices.Contains(scratch, inst.Args[0]) && inst.Op != arm64asm.STR && inst.Op != arm64asm.STP:
		default:
			return after
		}
	}
	return after
}
