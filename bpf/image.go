package bpf

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
)

// image is an ELF file: its symbols, and the way between addresses and file
// offsets. It keeps the file open, so that it can be read after the file or the
// process that mapped it is gone.
type image struct {
	name string // for display
	file *os.File
	elf  *elf.File

	once    sync.Once
	symbols []symbol // sorted by address, functions only
	aliases []symbol // further names of those addresses
}

// symbol is a function in the symbol table.
type symbol struct {
	name string
	addr uint64 // virtual address as linked
	size uint64 // 0 when the table does not say
}

// openImage opens the ELF file at path, which messages call name.
func openImage(path, name string) (*image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	e, err := elf.NewFile(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: not an executable in ELF format, or a damaged one: %w", name, err)
	}
	return &image{name: name, file: f, elf: e}, nil
}

func (b *image) close() {
	if b != nil && b.file != nil {
		b.file.Close()
	}
}

// load reads the symbol tables: .symtab, and .dynsym, which is all that a
// distribution's stripped build keeps; in a Go program without .symtab, the
// runtime's own table.
func (b *image) load() {
	b.once.Do(func() {
		var all []symbol
		if b.elf.Section(".symtab") == nil {
			all = b.goFunctions()
		}
		for _, read := range []func() ([]elf.Symbol, error){b.elf.Symbols, b.elf.DynamicSymbols} {
			syms, err := read()
			if err != nil {
				continue // no such table
			}
			for _, s := range syms {
				if typ := elf.ST_TYPE(s.Info); typ != elf.STT_FUNC && typ != elf.STT_GNU_IFUNC {
					continue
				}
				if s.Section == elf.SHN_UNDEF || s.Value == 0 || s.Name == "" {
					continue
				}
				all = append(all, symbol{s.Name, s.Value, s.Size})
			}
		}
		slices.SortStableFunc(all, func(x, y symbol) int {
			if c := cmp.Compare(x.addr, y.addr); c != 0 {
				return c
			}
			// A name of known size first; then the shorter one, as nm users
			// expect `memcpy` rather than `__memcpy_avx_unaligned`.
			if c := cmp.Compare(y.size, x.size); c != 0 {
				return c
			}
			return cmp.Or(cmp.Compare(len(x.name), len(y.name)), cmp.Compare(x.name, y.name))
		})
		for _, s := range all {
			if n := len(b.symbols); n > 0 && b.symbols[n-1].addr == s.addr {
				if b.symbols[n-1].name != s.name {
					b.aliases = append(b.aliases, s)
				}
				continue
			}
			b.symbols = append(b.symbols, s)
		}
	})
}

// at finds the function that holds the virtual address addr.
func (b *image) at(addr uint64) (symbol, bool) {
	b.load()
	i, exact := slices.BinarySearchFunc(b.symbols, addr, func(s symbol, a uint64) int {
		return cmp.Compare(s.addr, a)
	})
	if !exact {
		i--
	}
	if i < 0 {
		return symbol{}, false
	}
	s := b.symbols[i]
	if s.size != 0 && addr >= s.addr+s.size {
		return symbol{}, false // in a gap: code whose symbol was stripped
	}
	return s, true
}

// lookup finds a function by name. The error says what to try instead.
func (b *image) lookup(name string) (symbol, error) {
	b.load()
	for _, list := range [][]symbol{b.symbols, b.aliases} {
		for _, s := range list {
			if s.name == name {
				return b.sized(s), nil
			}
		}
	}
	if len(b.symbols) == 0 {
		return symbol{}, b.noSymbols()
	}
	var similar []string
	for _, s := range b.symbols {
		if strings.EqualFold(s.name, name) || strings.HasSuffix(s.name, "."+name) {
			similar = append(similar, s.name)
		}
	}
	if len(similar) > 0 {
		return symbol{}, fmt.Errorf("%s has no function %q; did you mean %s?", b.name, name, strings.Join(similar[:min(3, len(similar))], " or "))
	}
	return symbol{}, fmt.Errorf("%s has no function %q; `redscope probes %s` lists those it has", b.name, name, b.name)
}

// object finds a variable in the symbol tables: its address as linked, and size.
// When it is not there, the error is errNoObject or that of noSymbols.
func (b *image) object(name string) (addr, size uint64, err error) {
	err = b.noSymbols()
	for _, read := range []func() ([]elf.Symbol, error){b.elf.DynamicSymbols, b.elf.Symbols} {
		syms, noTable := read()
		if noTable != nil {
			continue
		}
		for _, s := range syms {
			if s.Name == name && elf.ST_TYPE(s.Info) == elf.STT_OBJECT && s.Section != elf.SHN_UNDEF {
				return s.Value, s.Size, nil
			}
		}
		err = fmt.Errorf("%s has %w %s", b.name, errNoObject, name)
	}
	return 0, 0, err
}

// sized gives a symbol without a size the room up to the next.
func (b *image) sized(s symbol) symbol {
	if s.size == 0 {
		i, _ := slices.BinarySearchFunc(b.symbols, s.addr+1, func(s symbol, a uint64) int {
			return cmp.Compare(s.addr, a)
		})
		if i < len(b.symbols) {
			s.size = b.symbols[i].addr - s.addr
		} else {
			s.size = 64
		}
	}
	return s
}

// noSymbols is the error for a binary without function symbols.
func (b *image) noSymbols() error {
	if b.isGo() {
		// Functions are found without: see goFunctions.
		return fmt.Errorf("%s has no symbol table: it was linked with -ldflags=-s, or stripped. Its markers cannot be found; `redscope record`, `stack` and `probes` work. Build it again without stripping", b.name)
	}
	return fmt.Errorf("%s has no symbol table: it was stripped. No function can be probed by name; `redscope record` works but shows addresses only. Build it again without stripping", b.name)
}

// isGo reports whether the file was made by the Go linker.
func (b *image) isGo() bool {
	return b.elf.Section(".gopclntab") != nil || b.elf.Section(".go.buildinfo") != nil
}

var errNoObject = errors.New("no variable")

var errNoSegment = errors.New("address is in no loaded segment of the file")

// offset turns a virtual address as linked into an offset in the file.
func (b *image) offset(addr uint64) (uint64, error) {
	for _, p := range b.elf.Progs {
		if p.Type == elf.PT_LOAD && p.Vaddr <= addr && addr < p.Vaddr+p.Filesz {
			return addr - p.Vaddr + p.Off, nil
		}
	}
	return 0, errNoSegment
}

// address turns an offset in the file, of executable code, into a virtual
// address as linked.
func (b *image) address(off uint64) (uint64, error) {
	for _, p := range b.elf.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && p.Off <= off && off < p.Off+p.Filesz {
			return off - p.Off + p.Vaddr, nil
		}
	}
	return 0, errNoSegment
}

// code reads the machine code of a function.
func (b *image) code(s symbol) ([]byte, error) {
	off, err := b.offset(s.addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", b.name, s.name, err)
	}
	// A function's beginning is enough to place a probe, and a damaged symbol
	// table must not make us allocate what it says.
	code := make([]byte, min(s.size, 1<<20))
	n, err := b.file.ReadAt(code, int64(off))
	if n == 0 && err != nil {
		return nil, fmt.Errorf("%s: %s: %w", b.name, s.name, err)
	}
	return code[:n], nil
}
