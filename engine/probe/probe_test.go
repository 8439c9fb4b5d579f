package probe_test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/require"
)

// What an observer relies on must be in the file: each marker's function begins
// with the nop, and each semaphore is a word of zero with a place in the file.
func TestExecutable(t *testing.T) {
	require.Tool(t, "go")
	for arch, want := range map[string]struct {
		nop   []byte
		guard string // what the guard compiles to, by go tool objdump
	}{
		"amd64": {
			[]byte{0x0f, 0x1f, 0x44, 0x00, 0x00, 0xc3}, // Intel's recommended 5-byte nop; ret
			`CMPW [^\n]*probe\.semaphores(\+\d+)?\(SB\), \$0x0\s*\n[^\n]*\sJE `,
		},
		"arm64": {
			[]byte{0x1f, 0x20, 0x03, 0xd5, 0xc0, 0x03, 0x5f, 0xd6}, // nop; ret
			`MOVHU [^\n]*\n[^\n]*\sCBZW `,
		},
	} {
		t.Run(arch, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "marks")
			build := exec.Command("go", "build", "-o", path, "./testdata/marks")
			build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			e, err := elf.NewFile(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			syms, err := e.Symbols()
			if err != nil {
				t.Fatal(err)
			}
			address := map[string]uint64{}
			for _, s := range syms {
				address[s.Name] = s.Value
			}
			fileOffset := func(addr uint64) (off uint64, flags elf.ProgFlag) {
				for _, p := range e.Progs {
					// Filesz, not Memsz: .bss lies between the two.
					if p.Type == elf.PT_LOAD && p.Vaddr <= addr && addr < p.Vaddr+p.Filesz {
						return addr - p.Vaddr + p.Off, p.Flags
					}
				}
				t.Fatalf("address %x is not in the file", addr)
				return 0, 0
			}
			if address[probe.SemaphoreSymbol] == 0 {
				t.Fatalf("no symbol %s", probe.SemaphoreSymbol)
			}
			used := map[uint64]string{}
			for _, m := range probe.Markers {
				if address[m.Symbol] == 0 {
					t.Errorf("no symbol %s", m.Symbol)
					continue
				}
				off, _ := fileOffset(address[m.Symbol])
				if got := file[off : off+uint64(len(want.nop))]; !bytes.Equal(got, want.nop) {
					t.Errorf("%s begins with % x, want % x", m.Symbol, got, want.nop)
				}
				off, flags := fileOffset(address[probe.SemaphoreSymbol] + 2*uint64(m.Semaphore))
				if flags&elf.PF_W == 0 || off%2 != 0 {
					t.Errorf("%s: semaphore at offset %#x, segment %v; must be even and writable", m.Name, off, flags)
				}
				if v := binary.LittleEndian.Uint16(file[off:]); v != 0 {
					t.Errorf("%s: semaphore begins at %d", m.Name, v)
				}
				if other, taken := used[off]; taken {
					t.Errorf("%s and %s share a semaphore", m.Name, other)
				}
				used[off] = m.Name
			}

			text, err := exec.Command("go", "tool", "objdump", "-s", `^main\.(command|socket|reply|loop)`, path).Output()
			if err != nil {
				t.Fatal(err)
			}
			if n := len(regexp.MustCompile(want.guard).FindAll(text, -1)); n != len(probe.Markers) {
				t.Errorf("%d of %d guards are one load and one branch:\n%s", n, len(probe.Markers), text)
			}
			if bytes.Contains(text, []byte("Enabled")) {
				t.Errorf("a guard is called instead of inlined:\n%s", text)
			}
		})
	}
}

// The table is what observers know of the functions: it must agree with them.
func TestMarkersDescribeTheFunctions(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "probe_asm.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string][]string{} // types of the parameters by function
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Body != nil {
			continue
		}
		var types []string
		for _, p := range f.Type.Params.List {
			typ := ""
			switch x := p.Type.(type) {
			case *ast.Ident:
				// int has 64 bits wherever there are markers.
				typ = strings.Replace(x.Name, "int64", "int", 1)
				typ = strings.Replace(typ, "int", "int64", 1)
			case *ast.StarExpr:
				typ = "*" + x.X.(*ast.Ident).Name
			}
			for range p.Names {
				types = append(types, typ)
			}
		}
		declared[f.Name.Name] = types
	}
	if len(declared) != len(probe.Markers) {
		t.Errorf("%d functions without a body, %d markers", len(declared), len(probe.Markers))
	}
	for _, m := range probe.Markers {
		name := strings.TrimSuffix(m.Symbol[strings.LastIndex(m.Symbol, "probe.")+len("probe."):], ".abi0")
		var types []string
		for _, a := range m.Args {
			types = append(types, a.Type)
			if a.Name == "" || a.Unit == "" {
				t.Errorf("%s: an argument without name or unit: %+v", m.Name, a)
			}
		}
		if got, want := strings.Join(types, " "), strings.Join(declared[name], " "); got != want {
			t.Errorf("%s: arguments %s, but %s takes %s", m.Name, got, name, want)
		}
	}
}

// Without an observer: the loop with a guard against the loop without.
func BenchmarkGuard(b *testing.B) {
	sum := 0
	b.Run("without", func(b *testing.B) {
		for i := range b.N {
			sum += i
		}
	})
	b.Run("with", func(b *testing.B) {
		for i := range b.N {
			if probe.CommandStartEnabled() {
				probe.CommandStart(1, i, nil, 0, 0, 0)
			}
			sum += i
		}
	})
	// What a command tells samplers, always.
	args := [][]byte{[]byte("GET"), []byte("key")}
	b.Run("running", func(b *testing.B) {
		for i := range b.N {
			probe.BeginCommand(args)
			probe.NameCommand(uint64(i))
			probe.EndCommand()
			sum += i
		}
	})
	if sum == 1 {
		b.Log(sum)
	}
}
