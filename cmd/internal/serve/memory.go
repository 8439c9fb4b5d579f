package serve

import (
	"bufio"
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
func dropConstants() {
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
