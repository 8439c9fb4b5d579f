package bpf

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/redscope/redscope/engine/probe"
)

// A variable is found wherever the executable has been loaded.
func TestVariableAddress(t *testing.T) {
	fixed := spinPath(t)
	moved := filepath.Join(t.TempDir(), "spin")
	if out, err := exec.Command("go", "build", "-buildmode=pie", "-o", moved, "./testdata/spin").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, path := range []string{fixed, moved} {
		spin := start(t, path)
		p, err := openProcess(spin.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		exe, err := p.main()
		if err != nil {
			t.Fatal(err)
		}
		defer exe.close()
		addr, err := p.variableAddress(exe, probe.SemaphoreSymbol)
		if err != nil {
			t.Fatal(err)
		}
		mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", spin.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		defer mem.Close()
		var last [2]byte // behind the semaphores, in engine/probe
		if _, err := mem.ReadAt(last[:], int64(addr)+2*int64(len(probe.Markers))); err != nil || binary.NativeEndian.Uint16(last[:]) != 0x5253 {
			t.Errorf("%s: % x at %#x, %v", path, last, addr, err)
		}
	}
}
