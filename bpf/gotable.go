package bpf

import (
	"debug/gosym"
	"strings"
)

// goFunctions reads the functions of a Go program from the table that its
// runtime makes tracebacks with. No way of stripping takes that away, and
// `go run` links without a symbol table. Its names are those of the symbol
// table, without the suffix .abi0.
//
// The table counts from the start of Go's code, which only a symbol names. That
// it is the start of .text is true unless a C linker put its own code before;
// whether it is shows at the program's entry point, a function of Go's runtime.
// When it does not fit there is no table: wrong names are worse than none.
func (b *image) goFunctions() []symbol {
	text, table := b.elf.Section(".text"), b.elf.Section(".gopclntab")
	if table == nil {
		table = b.elf.Section(".data.rel.ro.gopclntab") // position-independent
	}
	if text == nil || table == nil {
		return nil
	}
	data, err := table.Data()
	if err != nil {
		return nil
	}
	t, err := gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
	if err != nil {
		return nil
	}
	entry := t.PCToFunc(b.elf.Entry)
	if entry == nil || entry.Entry != b.elf.Entry || !strings.HasPrefix(entry.Name, "_rt0_") {
		return nil
	}
	symbols := make([]symbol, len(t.Funcs))
	for i, f := range t.Funcs {
		symbols[i] = symbol{f.Name, f.Entry, f.End - f.Entry}
	}
	return symbols
}
