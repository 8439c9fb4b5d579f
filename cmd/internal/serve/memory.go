package serve

import (
	"bufio"
	"debug/elf"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// dropConstants takes the program's constants out of the resident memory: five
// megabytes, half of which only the packages' initialization has read (names and
// descriptors that OpenTelemetry and gRPC register). What is read again comes back
// from the page cache, page by page. The code stays as it is, since a page with a
// uprobe in it is the process's own and must not go.
//
// A position-independent executable is left alone: the loader has written addresses
// into its constants, which would be lost.
func dropConstants() {
	if !linkedToAddresses("/proc/self/exe") {
		return
	}
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer f.Close()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		line := lines.Text()
		if !strings.Contains(line, " r--p ") || !strings.HasSuffix(line, " "+exe) {
			continue
		}
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			continue
		}
		// Only advice: an error leaves things as they are.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
	}
}

// linkedToAddresses reports whether an executable is mapped where it was linked to.
func linkedToAddresses(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Type == elf.ET_EXEC
}
