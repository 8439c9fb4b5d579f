package bpf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/require"
)

// marksBuild builds a small program with all markers.
func marksBuild(t testing.TB, flags ...string) []byte {
	t.Helper()
	require.Tool(t, "go")
	path := filepath.Join(t.TempDir(), "marks")
	arch := "amd64"
	if len(flags) > 0 && flags[0] == "arm64" {
		arch, flags = flags[0], flags[1:]
	}
	args := append([]string{"build", "-o", path}, flags...)
	build := exec.Command("go", append(args, "../engine/probe/testdata/marks")...)
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// The notes say where each marker's nop and semaphore are, the semaphores are in
// .probes, no two sections overlap, and what is loaded is the same.
func TestUSDTSections(t *testing.T) {
	for _, flags := range [][]string{nil, {"-buildmode=pie"}, {"-ldflags=-w"}, {"arm64"}, {"arm64", "-buildmode=pie"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			file := marksBuild(t, flags...)
			before := bytes.Clone(file)
			out, err := AddUSDT(file, "marks")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(file, before) {
				t.Error("the argument was written to")
			}
			if again, err := AddUSDT(out, "marks"); err != nil || !bytes.Equal(again, out) {
				t.Errorf("a second time: %v, or another file", err)
			}
			e, err := elf.NewFile(bytes.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			if !sameWhenLoaded(e, file, out) {
				t.Error("what is loaded has changed")
			}
			inMemory := e.Sections[:0:0]
			index := map[string]int{}
			for i, s := range e.Sections {
				index[s.Name] = i
				if s.Flags&elf.SHF_ALLOC == 0 || s.Flags&elf.SHF_TLS != 0 || s.Size == 0 {
					continue
				}
				for _, other := range inMemory {
					if s.Addr < other.Addr+other.Size && other.Addr < s.Addr+s.Size {
						t.Errorf("%s and %s overlap", s.Name, other.Name)
					}
				}
				inMemory = append(inMemory, s)
			}
			if index[noteSection] < index[semaphoreSection] {
				t.Errorf("%s stands before %s, where bcc does not find it", noteSection, semaphoreSection)
			}
			syms, err := e.Symbols()
			if err != nil {
				t.Fatal(err)
			}
			address := map[string]uint64{}
			for _, s := range syms {
				address[s.Name] = s.Value
				if s.Section >= elf.SHN_LORESERVE || s.Section == elf.SHN_UNDEF {
					continue
				}
				// Some of the linker's symbols are the end of their section.
				if in := e.Sections[s.Section]; s.Value < in.Addr || s.Value > in.Addr+in.Size {
					t.Errorf("symbol %s is not in its section %s", s.Name, in.Name)
				}
			}
			notes, err := e.Section(noteSection).Data()
			if err != nil {
				t.Fatal(err)
			}
			sema, base := e.Section(semaphoreSection), e.Section(baseSection)
			for _, m := range probe.Markers {
				desc := nextNote(t, &notes)
				semaphore := address[probe.SemaphoreSymbol] + 2*uint64(m.Semaphore)
				for i, want := range []uint64{address[m.Symbol], base.Addr, semaphore} {
					if got := binary.LittleEndian.Uint64(desc[8*i:]); got != want {
						t.Errorf("%s: address %d is %x, want %x", m.Name, i, got, want)
					}
				}
				if semaphore < sema.Addr || semaphore+2 > sema.Addr+sema.Size {
					t.Errorf("%s: semaphore outside of %s", m.Name, semaphoreSection)
				}
				b := &image{elf: e}
				if off, err := b.offset(semaphore); err != nil || off != semaphore-sema.Addr+sema.Offset {
					t.Errorf("%s: bcc finds the semaphore at %x, the kernel at %x, %v", m.Name, semaphore-sema.Addr+sema.Offset, off, err)
				}
				var args []string
				for i, a := range m.Args {
					size := map[string]string{"int64": "-8", "uint64": "8", "*byte": "8"}[a.Type]
					if e.Machine == elf.EM_AARCH64 {
						args = append(args, fmt.Sprintf("%s@[sp, %d]", size, 8+8*i))
					} else {
						args = append(args, fmt.Sprintf("%s@%d(%%rsp)", size, 8+8*i))
					}
				}
				if got, want := string(desc[24:]), "redscope\x00"+m.Name+"\x00"+strings.Join(args, " ")+"\x00"; got != want {
					t.Errorf("%s: %q, want %q", m.Name, got, want)
				}
			}
			if len(notes) != 0 {
				t.Errorf("%d bytes behind the last note", len(notes))
			}
		})
	}
}

// nextNote takes a note's description off the notes.
func nextNote(t *testing.T, notes *[]byte) (desc []byte) {
	t.Helper()
	n := *notes
	if len(n) < 20 || binary.LittleEndian.Uint32(n) != 8 || binary.LittleEndian.Uint32(n[8:]) != 3 || string(n[12:20]) != "stapsdt\x00" {
		t.Fatalf("no note of a static probe: % x", n[:min(20, len(n))])
	}
	size := int(binary.LittleEndian.Uint32(n[4:]))
	desc = n[20 : 20+size]
	*notes = n[20+(size+3)&^3:]
	return desc
}

func TestUSDTErrors(t *testing.T) {
	good := marksBuild(t)
	spin, err := os.ReadFile(spinPath(t))
	if err != nil {
		t.Fatal(err)
	}
	changed := func(f func(file []byte)) []byte {
		file := bytes.Clone(good)
		f(file)
		return file
	}
	put16 := binary.LittleEndian.PutUint16
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":            {nil, "not an executable in ELF format"},
		"a script":         {[]byte("#!/bin/sh\n"), "not an executable in ELF format"},
		"stripped":         {marksBuild(t, "-ldflags=-s"), "linked with -ldflags=-s"},
		"cut off":          {good[:len(good)/2], "format"},
		"another machine":  {changed(func(f []byte) { put16(f[18:], uint16(elf.EM_RISCV)) }), "amd64 and arm64 only"},
		"an object file":   {changed(func(f []byte) { put16(f[16:], uint16(elf.ET_REL)) }), "no executable"},
		"no section table": {changed(func(f []byte) { put16(f[60:], 0); put16(f[62:], 0); clear(f[40:48]) }), "no symbol table"},
		"another shape":    {changed(func(f []byte) { breakMarker(t, f) }), "another shape"},
	} {
		if out, err := AddUSDT(c.file, "FILE"); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %d bytes, %v; want …%s…", name, len(out), err, c.want)
		}
	}
	if !bytes.Contains(spin, []byte(probe.SemaphoreSymbol)) {
		t.Fatal("testdata/spin has no markers")
	}
	other := bytes.ReplaceAll(spin, []byte("engine/probe."), []byte("engine/prose."))
	if _, err := AddUSDT(other, "FILE"); err == nil || !strings.Contains(err.Error(), "not a redscope server") {
		t.Errorf("without markers: %v", err)
	}
}

// breakMarker writes a return over the nop of the first marker.
func breakMarker(t *testing.T, file []byte) {
	t.Helper()
	e, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	syms, err := e.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		if s.Name != probe.Markers[0].Symbol {
			continue
		}
		off, err := (&image{elf: e}).offset(s.Value)
		if err != nil {
			t.Fatal(err)
		}
		file[off] = 0xc3
		return
	}
	t.Fatal("no marker")
}

// FuzzAddUSDT damages the places that AddUSDT reads: the ELF header, the program
// headers, the section table and the symbols of the markers.
func FuzzAddUSDT(f *testing.F) {
	good := marksBuild(f)
	var header elf.Header64
	if _, err := binary.Decode(good, binary.LittleEndian, &header); err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(60), []byte{0xff, 0xff}, uint32(len(good)))
	f.Add(uint32(40), []byte{0, 0, 0, 0, 1}, uint32(len(good)))
	f.Add(uint32(0), []byte{}, uint32(len(good)/2))
	for i := range uint32(header.Shnum) {
		f.Add(uint32(header.Shoff)+64*i+24, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, uint32(len(good)))
		f.Add(uint32(header.Shoff)+64*i+32, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, uint32(len(good)))
	}
	f.Fuzz(func(t *testing.T, at uint32, bytesThere []byte, length uint32) {
		file := bytes.Clone(good)
		// Most of the file is code, which nobody here looks at.
		tables := uint32(header.Shoff) + 64*uint32(header.Shnum)
		copy(file[at%tables:], bytesThere)
		file = file[:min(length, uint32(len(file)))]
		out, err := AddUSDT(file, "FILE")
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of several lines: %v", err)
			}
			return
		}
		e, err := elf.NewFile(bytes.NewReader(out))
		if err != nil {
			t.Fatalf("the new file is broken: %v", err)
		}
		if !sameWhenLoaded(e, file, out) {
			t.Error("what is loaded has changed")
		}
	})
}
