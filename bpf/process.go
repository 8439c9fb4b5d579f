package bpf

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is a watched process. Opening it takes hold of everything that is
// needed to name its addresses later, so that it may exit meanwhile.
type process struct {
	pid   int
	pidfd int    // polls readable when the process has exited
	comm  string // its name, at most 15 bytes
	exe   string // its executable's path as the process sees it, for display

	// How the kernel will name it to a program: its pid as numbered by its own
	// pid namespace, and that namespace.
	nsPID        uint32
	nsDev, nsIno uint64

	maps   []mapping
	images map[fileID]*image // executable files mapped, nil when one cannot be read
}

type fileID struct{ dev, ino uint64 }

// mapping is one executable range of the address space.
type mapping struct {
	start, end uint64
	offset     uint64 // in the file
	file       fileID // zero when not backed by a file
	name       string // path, "[vdso]", or "[anon]"
}

// openProcess takes hold of pid. The error names what is wrong with it.
func openProcess(pid int) (*process, error) {
	if pid <= 0 {
		return nil, fmt.Errorf("pid %d: a pid is a positive number", pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil, fmt.Errorf("pid %d: no such process", pid)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("pid %d: this is a thread, not a process; give the process's pid (Tgid in /proc/%d/status)", pid, pid)
	case err != nil:
		return nil, fmt.Errorf("pid %d: %w", pid, err)
	}
	p := &process{pid: pid, pidfd: fd, images: map[fileID]*image{}}
	if err := p.inspect(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *process) inspect() error {
	status, err := os.ReadFile(p.path("status"))
	if err != nil {
		return fmt.Errorf("pid %d: no such process", p.pid)
	}
	p.nsPID = uint32(p.pid)
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch f := strings.Fields(value); key {
		case "Name":
			p.comm = strings.TrimSpace(value)
		case "Tgid":
			if len(f) == 1 && f[0] != strconv.Itoa(p.pid) {
				return fmt.Errorf("pid %d: this is a thread of process %s; give that pid", p.pid, f[0])
			}
		case "NSpid":
			if n, err := strconv.ParseUint(f[len(f)-1], 10, 32); err == nil {
				p.nsPID = uint32(n)
			}
		}
	}

	var st unix.Stat_t
	if err := unix.Stat(p.path("ns/pid"), &st); err != nil {
		return p.denied("its pid namespace", err)
	}
	p.nsDev, p.nsIno = kernelDev(st.Dev), st.Ino

	p.exe, err = os.Readlink(p.path("exe"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pid %d (%s): a kernel thread or a zombie; it has no user code to look at", p.pid, p.comm)
	}
	if err != nil {
		return p.denied("its executable", err)
	}
	p.exe = strings.TrimSuffix(p.exe, " (deleted)")
	return p.readMaps()
}

// denied explains why something of the process cannot be read.
func (p *process) denied(what string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("pid %d (%s): may not read %s: it belongs to another user or is protected; run as root", p.pid, p.comm, what)
	}
	return fmt.Errorf("pid %d (%s): reading %s: %w", p.pid, p.comm, what, err)
}

func (p *process) path(name string) string {
	return "/proc/" + strconv.Itoa(p.pid) + "/" + name
}

// kernelDev turns a device number from stat(2) into the kernel's own form,
// which has 20 bits of minor number.
func kernelDev(dev uint64) uint64 {
	return uint64(unix.Major(dev))<<20 | uint64(unix.Minor(dev))
}

func (p *process) close() {
	unix.Close(p.pidfd)
	for _, b := range p.images {
		b.close()
	}
}

// exited reports whether the process is gone.
func (p *process) exited() bool {
	fds := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n > 0
	}
}

// readMaps reads the executable mappings and opens the files behind those that
// were not known. When the process has exited, what was known stays.
func (p *process) readMaps() error {
	data, err := os.ReadFile(p.path("maps"))
	if err != nil {
		return p.denied("its memory map", err)
	}
	maps, err := parseMaps(data)
	if err != nil {
		return fmt.Errorf("pid %d (%s): %w", p.pid, p.comm, err)
	}
	if len(maps) == 0 {
		return nil // exiting; keep what is known
	}
	p.maps = maps
	for _, m := range p.maps {
		if _, known := p.images[m.file]; known || m.file == (fileID{}) {
			continue
		}
		p.images[m.file] = p.openMapped(m)
	}
	return nil
}

// parseMaps reads /proc/PID/maps, keeping the executable ranges.
func parseMaps(data []byte) ([]mapping, error) {
	var maps []mapping
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		// start-end perms offset major:minor inode   path
		f := strings.Fields(sc.Text())
		if len(f) < 5 || len(f[1]) < 3 || f[1][2] != 'x' {
			continue
		}
		var m mapping
		var major, minor uint32
		if _, err := fmt.Sscanf(f[0]+" "+f[2]+" "+f[3]+" "+f[4], "%x-%x %x %x:%x %d",
			&m.start, &m.end, &m.offset, &major, &minor, &m.file.ino); err != nil {
			return nil, fmt.Errorf("unexpected line in its memory map: %q", sc.Text())
		}
		if m.file.ino != 0 {
			m.file.dev = unix.Mkdev(major, minor)
		}
		m.name = "[anon]"
		if len(f) > 5 {
			path := sc.Text() // may hold spaces
			for range 5 {
				_, path, _ = strings.Cut(strings.TrimLeft(path, " "), " ")
			}
			m.name = strings.TrimSuffix(strings.TrimLeft(path, " "), " (deleted)")
		}
		maps = append(maps, m)
	}
	return maps, nil
}

// openMapped opens the file behind a mapping. The process's own link to it goes
// to the file that is mapped even if it was deleted or replaced on disk since;
// a path does not, so a file found by path must have the same inode number.
// Returns nil when the file cannot be had: its frames then have no names.
func (p *process) openMapped(m mapping) *image {
	link := filepath.Join(p.path("map_files"), fmt.Sprintf("%x-%x", m.start, m.end))
	if b, err := openImage(link, m.name); err == nil {
		return b
	}
	for _, path := range []string{p.path("exe"), p.path("root") + m.name} {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Ino != m.file.ino {
			continue
		}
		if b, err := openImage(path, m.name); err == nil {
			return b
		}
	}
	return nil
}

// main is the process's executable, opened.
func (p *process) main() (*image, error) {
	b, err := openImage(p.path("exe"), p.exe)
	if err != nil {
		return nil, p.denied("its executable", err)
	}
	return b, nil
}

// text is the range of addresses that the executable's code is mapped to.
func (p *process) text() (start, end uint64) {
	var st unix.Stat_t
	if unix.Stat(p.path("exe"), &st) != nil {
		return 0, 0
	}
	for _, m := range p.maps {
		// By inode number alone: on some file systems the device in the memory
		// map is another than stat(2)'s. A library of the same number only
		// makes the range larger.
		if m.file.ino != st.Ino {
			continue
		}
		if start == 0 {
			start = m.start
		}
		end = m.end
	}
	return start, end
}
