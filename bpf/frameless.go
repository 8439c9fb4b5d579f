package bpf

import (
	"bytes"
	"debug/elf"

	"golang.org/x/arch/arm64/arm64asm"
	"golang.org/x/arch/x86/x86asm"
)

// frameless reports whether a thread at offset at of a function, whose machine
// code is given, has no frame of the function on its stack: the return address is
// where the call left it, and the frame pointer is the caller's. That is so
// before the function has pushed anything, at its return, and everywhere in a
// function that never touches the stack, as most assembly functions in Go's
// library. False when it cannot be told.
func frameless(machine elf.Machine, code []byte, at int) bool {
	if at < 0 || at >= len(code) {
		return false
	}
	switch machine {
	case elf.EM_X86_64:
		return framelessX86(code, at)
	case elf.EM_AARCH64:
		return framelessARM64(code, at)
	}
	return false
}

func framelessX86(code []byte, at int) bool {
	const ret = 0xc3
	if code[at] == ret {
		return true
	}
	for pos := 0; pos < len(code); {
		length, touches := stackUseX86(code[pos:])
		if length == 0 {
			return false
		}
		if touches {
			return at <= pos
		}
		pos += length
	}
	return true
}

// stackUseX86 returns the length of the first instruction, 0 when it is not
// known, and whether it changes the stack or frame pointer.
func stackUseX86(code []byte) (length int, touches bool) {
	if bytes.HasPrefix(code, endbr64) {
		return len(endbr64), false
	}
	if n := vectorLength(code); n > 0 {
		return n, false
	}
	inst, err := x86asm.Decode(code, 64)
	if err != nil {
		return 0, false
	}
	switch inst.Op {
	case x86asm.PUSH, x86asm.POP, x86asm.PUSHF, x86asm.PUSHFQ, x86asm.POPF, x86asm.POPFQ,
		x86asm.ENTER, x86asm.LEAVE:
		return inst.Len, true
	case x86asm.CMP, x86asm.TEST:
		return inst.Len, false
	}
	switch inst.Args[0] {
	case x86asm.RSP, x86asm.ESP, x86asm.RBP, x86asm.EBP:
		return inst.Len, true
	}
	return inst.Len, false
}

// vectorLength returns the length of an AVX or AVX-512 instruction, which
// x86asm does not know, and 0 for any other. (Intel SDM, volume 2, 2.3 and 2.7)
func vectorLength(code []byte) int {
	var opcodeMap byte
	var n int // of the prefix
	switch {
	case len(code) < 6:
		return 0
	case code[0] == 0xc5:
		opcodeMap, n = 1, 2
	case code[0] == 0xc4:
		opcodeMap, n = code[1]&0x1f, 3
	case code[0] == 0x62:
		opcodeMap, n = code[1]&0x07, 4
	default:
		return 0
	}
	opcode := code[n]
	n++
	if opcode == 0x77 && opcodeMap == 1 {
		return n // vzeroupper: alone in having no operands
	}
	if n >= len(code) {
		return 0
	}
	modrm := code[n]
	n++
	mod, rm := modrm>>6, modrm&7
	if mod != 3 && rm == 4 {
		if n >= len(code) {
			return 0
		}
		if mod == 0 && code[n]&7 == 5 {
			n += 4
		}
		n++
	}
	switch {
	case mod == 0 && rm == 5, mod == 2:
		n += 4
	case mod == 1:
		n++
	}
	switch {
	case opcodeMap == 3,
		opcodeMap == 1 && (opcode >= 0x70 && opcode <= 0x73 || opcode == 0xc2 || opcode >= 0xc4 && opcode <= 0xc6):
		n++ // an immediate byte
	}
	if n > len(code) {
		return 0
	}
	return n
}

func framelessARM64(code []byte, at int) bool {
	if inst, err := arm64asm.Decode(code[at:]); err == nil && inst.Op == arm64asm.RET {
		return true
	}
	for pos := 0; pos+4 <= len(code); pos += 4 {
		inst, err := arm64asm.Decode(code[pos:])
		if err != nil {
			// Vector instructions, mostly; the decoder knows all that touch the
			// stack pointer, the frame pointer or LR.
			continue
		}
		if touchesStackARM64(inst) {
			return at <= pos
		}
	}
	return true
}

// touchesStackARM64 reports whether an instruction changes the stack or frame
// pointer, or LR.
func touchesStackARM64(inst arm64asm.Inst) bool {
	switch inst.Op {
	case arm64asm.BL, arm64asm.BLR:
		return true
	case arm64asm.CMP, arm64asm.CMN:
		return false
	}
	for _, a := range inst.Args {
		if m, ok := a.(arm64asm.MemImmediate); ok && m.Base == arm64asm.RegSP(arm64asm.SP) &&
			(m.Mode == arm64asm.AddrPreIndex || m.Mode == arm64asm.AddrPostIndex) {
			return true
		}
	}
	switch inst.Args[0] {
	case arm64asm.RegSP(arm64asm.SP), arm64asm.RegSP(arm64asm.X29), arm64asm.RegSP(arm64asm.X30), arm64asm.X29, arm64asm.X30:
		// A store names what it reads first, but storing these is what a
		// prologue does.
		return true
	}
	return false
}
