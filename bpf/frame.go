package bpf

import (
	"bufio"
	"cmp"
	"debug/elf"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Frame is one function on a stack.
type Frame struct {
	Addr   uint64 // run-time address: where the thread is, or will return to
	Symbol string // function, as the symbol table calls it; empty when not known
	Offset uint64 // of Addr from the function's start, in bytes
	Module string // path of the file as the process sees it, "[kernel]", "[vdso]" or "[anon]"
	Kernel bool   // whether Addr is in the kernel
}

// frame names a user address. A return address belongs to the call before it,
// which may be the last instruction of its function; so it is looked up one byte
// earlier, while Addr and Offset stay those of the return address.
func (p *process) frame(addr uint64, isReturn bool) Frame {
	f := Frame{Addr: addr, Module: "[unknown]"}
	look := addr
	if isReturn && look > 0 {
		look--
	}
	m, ok := p.mapping(look)
	if !ok {
		return f
	}
	f.Module = m.name
	if _, s, linked, ok := p.function(look); ok {
		f.Symbol = s.name
		f.Offset = linked - s.addr + (addr - look)
	}
	return f
}

// function finds the function that holds the user address addr, the file it is
// in, and addr as linked there.
func (p *process) function(addr uint64) (b *image, s symbol, linked uint64, ok bool) {
	m, ok := p.mapping(addr)
	if !ok {
		return nil, symbol{}, 0, false
	}
	b, adjust := p.images[m.file], m.start-m.offset
	if m.name == "[vdso]" {
		b, adjust = vdso(), m.start
	}
	if b == nil {
		return nil, symbol{}, 0, false
	}
	linked, err := b.address(addr - adjust)
	if err != nil {
		return nil, symbol{}, 0, false
	}
	s, ok = b.at(linked)
	return b, s, linked, ok
}

// callerOnTop reports whether a thread at addr has the return address to its
// direct caller on top of the stack, or in LR.
func (p *process) callerOnTop(addr uint64) bool {
	b, s, linked, ok := p.function(addr)
	if !ok {
		return false
	}
	s = b.sized(s)
	code, err := b.code(s)
	return err == nil && frameless(b.elf.Machine, code, int(linked-s.addr))
}

// mapping finds the executable mapping that holds addr.
func (p *process) mapping(addr uint64) (mapping, bool) {
	i, exact := slices.BinarySearchFunc(p.maps, addr, func(m mapping, a uint64) int {
		return cmp.Compare(m.start, a)
	})
	if !exact {
		i--
	}
	if i < 0 || addr >= p.maps[i].end {
		return mapping{}, false
	}
	return p.maps[i], true
}

// userFrames names a user stack, leaf first. It ends before the first address
// that is not code: what a broken frame-pointer chain found there is not a
// caller. whole tells whether nothing was left out.
func (p *process) userFrames(addrs []uint64) (frames []Frame, whole bool) {
	frames = make([]Frame, 0, len(addrs))
	for i, a := range addrs {
		look := a
		if i > 0 {
			look--
		}
		if _, ok := p.mapping(look); !ok {
			return frames, false
		}
		frames = append(frames, p.frame(a, i > 0))
	}
	return frames, true
}

// vdso is the code that the kernel maps into every process. It has no file, but
// ours is the same as the target's.
var vdso = sync.OnceValue(func() *image {
	data, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil
	}
	maps, err := parseMaps(data)
	if err != nil {
		return nil
	}
	for _, m := range maps {
		if m.name != "[vdso]" {
			continue
		}
		mem, err := os.Open("/proc/self/mem")
		if err != nil {
			return nil
		}
		// The file stays open: its symbols are read when first asked for.
		e, err := elf.NewFile(io.NewSectionReader(mem, int64(m.start), int64(m.end-m.start)))
		if err != nil {
			mem.Close()
			return nil
		}
		return &image{name: "[vdso]", file: mem, elf: e}
	}
	return nil
})

// kernelSymbols are the kernel's functions, sorted by address; empty when the
// kernel does not tell (kernel.kptr_restrict).
var kernelSymbols = sync.OnceValue(func() []symbol {
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil
	}
	defer f.Close()
	var syms []symbol
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		// address type name [module]
		fields := strings.Fields(sc.Text())
		if len(fields) < 3 || !strings.Contains("tTwW", fields[1]) {
			continue
		}
		addr, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil || addr == 0 {
			continue
		}
		syms = append(syms, symbol{name: fields[2], addr: addr})
	}
	slices.SortStableFunc(syms, func(x, y symbol) int { return cmp.Compare(x.addr, y.addr) })
	return syms
})

// kernelFrame names a kernel address.
func kernelFrame(addr uint64, isReturn bool) Frame {
	f := Frame{Addr: addr, Module: "[kernel]", Kernel: true}
	look := addr
	if isReturn && look > 0 {
		look--
	}
	syms := kernelSymbols()
	i, exact := slices.BinarySearchFunc(syms, look, func(s symbol, a uint64) int { return cmp.Compare(s.addr, a) })
	if !exact {
		i--
	}
	if i >= 0 {
		f.Symbol, f.Offset = syms[i].name, addr-syms[i].addr
	}
	return f
}
