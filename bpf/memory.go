package bpf

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// memory is the address space of a process, to be read at its addresses.
type memory struct {
	file *os.File // of the address space as it was when it was opened; nil when it may not be
	pid  int
}

// memory opens the address space of p. Its file is for its owner alone, whom
// CAP_SYS_PTRACE does not stand for, but that is all the system call wants.
func (p *process) memory() (*memory, error) {
	m := &memory{pid: p.pid}
	file, err := os.Open(p.path("mem"))
	switch {
	case err == nil:
		m.file = file
	case !errors.Is(err, fs.ErrPermission):
		return nil, p.denied("its memory", err)
	default:
		// Nothing is at 0; whether one may ask is answered first.
		if _, err := m.ReadAt(make([]byte, 1), 0); !errors.Is(err, unix.EFAULT) {
			return nil, p.denied("its memory", err)
		}
	}
	return m, nil
}

// ReadAt reads the bytes at an address.
func (m *memory) ReadAt(b []byte, addr int64) (n int, err error) {
	if m.file != nil {
		return m.file.ReadAt(b, addr)
	}
	local := unix.Iovec{Base: &b[0]}
	local.SetLen(len(b))
	n, err = unix.ProcessVMReadv(m.pid, []unix.Iovec{local}, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err == nil && n < len(b) {
		err = unix.EFAULT
	}
	return max(n, 0), err
}

func (m *memory) close() {
	if m.file != nil {
		m.file.Close()
	}
}
