package bpf

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/require"
)

// Machine code as the Go compiler, gcc and clang write it; the comments are
// objdump's.
func TestPlaceX86(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   string // bytes in hexadecimal, instructions separated by commas
		offset uint64
		cost   Cost
		reason string // part of it
	}{
		{"Go, small frame", // cmp 0x10(%r14),%rsp; jbe; push %rbp; mov %rsp,%rbp
			"49 3b 66 10, 76 18, 55, 48 89 e5", 6, CostEmulated, "after the stack check"},
		{"Go, large frame", // lea -0x90(%rsp),%r12; cmp 0x10(%r14),%r12; jbe; push %rbp
			"4c 8d a4 24 70 ff ff ff, 4d 3b 66 10, 0f 86 00 01 00 00, 55, 48 89 e5", 18, CostEmulated, "after the stack check"},
		{"Go, huge frame", // mov %rsp,%r12; sub $0x2000,%r12; jb; cmp 0x10(%r14),%r12; jbe; push %rbp
			"49 89 e4, 49 81 ec 00 20 00 00, 72 30, 4d 3b 66 10, 76 2a, 55", 18, CostEmulated, "after the stack check"},
		{"Go, called from assembly", // xorps %xmm15,%xmm15; mov %fs:-8,%r14; cmp; jbe; push %rbp
			"45 0f 57 ff, 64 4c 8b 34 25 f8 ff ff ff, 49 3b 66 10, 76 18, 55", 19, CostEmulated, "after the stack check"},
		{"Go, nosplit", // push %rbp; mov %rsp,%rbp
			"55, 48 89 e5, 5d, c3", 0, CostEmulated, "push %rbp at entry"},
		{"Go, no frame", // add %rbx,%rax; ret
			"48 01 d8, c3", 0, CostSingleStep, "at entry"},
		{"a marker", // nopl 0x0(%rax,%rax,1); ret
			"0f 1f 44 00 00, c3", 0, CostNop5, "nop"},
		{"C", // push %r12; mov %rdi,%r12
			"41 54, 49 89 fc", 0, CostEmulated, "push %r12"},
		{"C, for indirect branch tracking", // endbr64; push %rbp
			"f3 0f 1e fa, 55, 48 89 e5", 4, CostEmulated, "push %rbp 4 bytes in"},
		{"C, patchable", // endbr64; nopl 0x0(%rax,%rax,1); push %rbx
			"f3 0f 1e fa, 0f 1f 44 00 00, 53", 4, CostNop5, "4 bytes in"},
		{"C, a test first", // test %rdi,%rdi; je; ret
			"48 85 ff, 74 01, c3, c3", 3, CostEmulated, "3 bytes in"},
		{"C, an argument overwritten first", // xor %esi,%esi; jmp
			"31 f6, e9 00 01 00 00", 0, CostSingleStep, "at entry"},
		{"C, stack pointer moved first", // sub $8,%rsp; call
			"48 83 ec 08, e8 00 01 00 00", 0, CostSingleStep, "at entry"},
		{"the cheap instruction is a loop's head", // test %rdi,%rdi; L: je +2; jmp L
			"48 85 ff, 74 02, eb fc, c3", 0, CostSingleStep, "at entry"},
		{"the entry is a loop's head", // L: dec %rdi; jne L; ret
			"48 ff cf, 75 fb, c3", 0, CostSingleStep, "counts its turns"},
		{"not to be probed", // lock incq (%rdi): refused by the kernel
			"f0 48 ff 07, c3", 0, CostNone, "no instruction"},
		{"cut off", "", 0, CostNone, "no instruction"},
	} {
		s := place(elf.EM_X86_64, unhex(t, c.code))
		if s.Offset != c.offset || s.Cost != c.cost || !strings.Contains(s.Reason, c.reason) {
			t.Errorf("%s: +%d, %s, %q; want +%d, %s, …%s…", c.name, s.Offset, s.Cost, s.Reason, c.offset, c.cost, c.reason)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	var b []byte
	for _, f := range strings.Fields(strings.ReplaceAll(s, ",", " ")) {
		n, err := strconv.ParseUint(f, 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, byte(n))
	}
	return b
}

// Every function of a Go program that checks its stack must get its probe on the
// instruction after the check, as the toolchain's own disassembler shows it.
func TestPlaceInGoProgram(t *testing.T) {
	require.Tool(t, "go")
	// What the last instruction of a stack check and the next look like.
	for _, arch := range []struct {
		name, branch, next string
	}{
		{"amd64", `JBE|JB`, `PUSHQ BP`},
		{"arm64", `BLS|BLO|BCC`, `MOVD.W R30, -\d+\(RSP\)|SUB \$.*, RSP, R20|MOVD \$-?\d+, R27`},
	} {
		t.Run(arch.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "spin")
			build := exec.Command("go", "build", "-o", path, "./testdata/spin")
			build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch.name, "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			text, err := exec.Command("go", "tool", "objdump", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			want := sitesFromObjdump(text, regexp.MustCompile(`^(`+arch.branch+`) `), regexp.MustCompile(`^(`+arch.next+`)$`))
			if len(want) < 500 {
				t.Fatalf("found only %d functions with a stack check in objdump's output", len(want))
			}
			functions, err := Functions(path)
			if err != nil {
				t.Fatal(err)
			}
			checked := 0
			for _, f := range functions {
				w, ok := want[f.Addr]
				if !ok {
					continue
				}
				checked++
				if f.Site.Addr != w {
					t.Errorf("%s: site %x (%s), want %x", f.Name, f.Site.Addr, f.Site.Reason, w)
				}
			}
			if checked < len(want)*9/10 {
				t.Errorf("%d of %d functions listed", checked, len(want))
			}
		})
	}
}

var objdumpLine = regexp.MustCompile(`^\s+\S+\s+0x([0-9a-f]+)\s+[0-9a-f]+\s+(.*?)\s*$`)

// sitesFromObjdump reads the text of go tool objdump: for each function that has
// the instruction next directly after branch within its first 8, next's address
// by the function's.
func sitesFromObjdump(text []byte, branch, next *regexp.Regexp) map[uint64]uint64 {
	sites := map[uint64]uint64{}
	var entry uint64
	n, after := 0, false
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("TEXT ")) {
			n, after = 0, false
			continue
		}
		if n > 8 {
			continue
		}
		m := objdumpLine.FindSubmatch(bytes.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		addr, err := strconv.ParseUint(string(m[1]), 16, 64)
		if err != nil {
			continue
		}
		if n == 0 {
			entry = addr
		}
		n++
		if after && next.Match(m[2]) {
			sites[entry] = addr
			n = 9
		}
		after = branch.Match(append(m[2], ' '))
	}
	return sites
}

// bpftrace lists the functions of a file too: ours must be the same.
func TestFunctionsAgainstBpftrace(t *testing.T) {
	require.Tool(t, "bpftrace")
	path := require.Redis(t)
	needEBPF(t) // bpftrace runs for root only
	out, err := exec.Command("bpftrace", "-l", "uprobe:"+path+":*").Output()
	if err != nil {
		t.Fatal(err)
	}
	functions, err := Functions(path)
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{}
	for _, f := range functions {
		ours[fmt.Sprintf("uprobe:%s:%s", path, f.Name)] = true
		if f.Site.Cost == CostNone {
			t.Errorf("%s: no site: %s", f.Name, f.Site.Reason)
		}
	}
	theirs := strings.Fields(string(out))
	if len(theirs) < 3000 {
		t.Fatalf("bpftrace lists %d functions; Debian's redis-server has 3,253", len(theirs))
	}
	for _, name := range theirs {
		if !ours[name] {
			t.Errorf("bpftrace lists %s, Functions does not", name)
		}
	}
	if len(ours) != len(theirs) {
		t.Errorf("%d functions, bpftrace lists %d", len(ours), len(theirs))
	}
}

func TestFunctionsErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file",
		text:                       "not an executable in ELF format",
		dir:                        "not an executable",
	} {
		if _, err := Functions(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want …%s…", path, err, want)
		}
	}
}

// A Go program without a symbol table, as `go run` makes it, has the functions
// that the same program with one has, at the same addresses.
func TestFunctionsOfStrippedGoProgram(t *testing.T) {
	require.Tool(t, "go")
	dir := t.TempDir()
	build := func(name string, flags ...string) (path string, addrs map[string]uint64) {
		t.Helper()
		path = filepath.Join(dir, name)
		args := append([]string{"build", "-o", path}, flags...)
		if out, err := exec.Command("go", append(args, "./testdata/spin")...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		functions, err := Functions(path)
		if err != nil {
			t.Fatal(err)
		}
		addrs = make(map[string]uint64)
		for _, f := range functions {
			addrs[f.Name] = f.Addr
		}
		return path, addrs
	}
	for _, mode := range []string{"exe", "pie"} {
		_, whole := build(mode, "-buildmode="+mode)
		stripped, got := build(mode+"-s", "-buildmode="+mode, "-ldflags=-s -w")
		for _, name := range chain {
			if got[name] == 0 {
				t.Errorf("%s: %s is missing", mode, name)
			}
		}
		if len(got) < len(whole)*9/10 {
			t.Errorf("%s: %d functions of %d", mode, len(got), len(whole))
		}
		for name, addr := range got {
			// A function may be there once for each of Go's two calling conventions;
			// some that the compiler makes are numbered in one of the tables only.
			want := []uint64{whole[name], whole[name+".abi0"]}
			if !slices.Contains(want, addr) && !(want[0] == 0 && strings.HasPrefix(name, "type:.")) {
				t.Errorf("%s: %s is at %x, want %x", mode, name, addr, want)
			}
		}

		// With another entry point it may be that a C linker put its code before
		// Go's, and all would be called by another's name.
		data, err := os.ReadFile(stripped)
		if err != nil {
			t.Fatal(err)
		}
		data[24] ^= 0x40 // e_entry, elf(5)
		if err := os.WriteFile(stripped, data, 0o755); err != nil {
			t.Fatal(err)
		}
		if f, err := Functions(stripped); err == nil || !strings.Contains(err.Error(), "-ldflags=-s") {
			t.Errorf("%s: %d functions, %v; want an error that names -ldflags=-s", mode, len(f), err)
		}
	}
}
