// Package klog reads what the kernel says of itself. It is for tests only.
package klog

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// LeakedProbes is how often the kernel's log says that it could not take a probe out,
// as it rarely cannot for a process that is being killed. The next observer of the same
// place takes it along. 0 when the log cannot be read.
func LeakedProbes() int {
	log := make([]byte, 1<<20)
	const readAll = 3 // SYSLOG_ACTION_READ_ALL, syslog(2)
	n, err := unix.Klogctl(readAll, log)
	if err != nil {
		return 0
	}
	return bytes.Count(log[:n], []byte("leaking uprobe"))
}
