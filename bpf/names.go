package bpf

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/probe"
)

// ErrStarting reports that a server has begun a moment ago and cannot be watched yet.
var ErrStarting = errors.New("it is not a server yet; try again")

// commandNames reads the names of a redscope server's commands, by index, from its
// memory.
func (p *process) commandNames() ([]string, error) {
	exe, err := p.main()
	if err != nil {
		return nil, err
	}
	defer exe.close()
	addr, err := p.variableAddress(exe, probe.CommandNamesSymbol)
	if err != nil {
		return nil, err
	}
	mem, err := p.memory()
	if err != nil {
		return nil, err
	}
	defer mem.close()
	// A pointer to a string, which is a pointer and a length.
	var words [2]uint64
	for _, n := range []int{1, 2} {
		if err := binary.Read(io.NewSectionReader(mem, int64(addr), 16), binary.NativeEndian, words[:n]); err != nil {
			return nil, p.denied("its memory", err)
		}
		if addr = words[0]; addr == 0 {
			break
		}
	}
	if addr == 0 || words[1] > 1<<20 {
		return nil, fmt.Errorf("pid %d (%s): %w", p.pid, p.comm, ErrStarting)
	}
	names := make([]byte, words[1])
	if _, err := mem.ReadAt(names, int64(addr)); err != nil {
		return nil, p.denied("its memory", err)
	}
	return strings.Split(string(names), "\n"), nil
}

// variableAddress finds a variable of the executable in the running process.
func (p *process) variableAddress(exe *image, name string) (uint64, error) {
	linked, _, err := exe.object(name)
	if errors.Is(err, errNoObject) {
		return 0, fmt.Errorf("%w: it is not a redscope server of this version", err)
	}
	if err != nil {
		return 0, err
	}
	bias, err := p.bias(exe)
	return linked + bias, err
}

// bias is how far from where it was linked to the executable has been loaded.
func (p *process) bias(exe *image) (uint64, error) {
	if exe.elf.Type == elf.ET_EXEC {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(p.path("exe"), &st); err != nil {
		return 0, p.denied("its executable", err)
	}
	for _, m := range p.maps {
		if m.file.ino != st.Ino {
			continue
		}
		if bias, ok := exe.bias(m.start, m.end, m.offset); ok {
			return bias, nil
		}
	}
	return 0, fmt.Errorf("pid %d (%s): its executable is not mapped", p.pid, p.comm)
}
