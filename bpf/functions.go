package bpf

import (
	"errors"
	"fmt"
	"io/fs"
)

// Function is a function of an executable file, and where a probe on it goes.
type Function struct {
	Name string // as the symbol table has it
	Addr uint64 // virtual address as linked
	Size uint64 // bytes
	Site Site
}

// Functions lists the functions of the executable or library at path, by
// address. It needs no privilege.
func Functions(path string) ([]Function, error) {
	b, err := openImage(path, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file", path)
	}
	if err != nil {
		return nil, err
	}
	defer b.close()
	b.load()
	if len(b.symbols) == 0 {
		return nil, b.noSymbols()
	}
	fns := make([]Function, 0, len(b.symbols)+len(b.aliases))
	for _, list := range [][]symbol{b.symbols, b.aliases} {
		for _, s := range list {
			fns = append(fns, b.function(b.sized(s)))
		}
	}
	return fns, nil
}

// function places a probe on s.
func (b *image) function(s symbol) Function {
	f := Function{Name: s.name, Addr: s.addr, Size: s.size}
	code, err := b.code(s)
	if err != nil {
		f.Site = Site{Cost: CostNone, Reason: "no code in the file: " + err.Error()}
		return f
	}
	f.Site = place(b.elf.Machine, code)
	f.Site.Addr = s.addr + f.Site.Offset
	if f.Site.File, err = b.offset(f.Site.Addr); err != nil {
		f.Site.Cost, f.Site.Reason = CostNone, err.Error()
	}
	return f
}
