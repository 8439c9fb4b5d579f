package slab

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls behind the arena. All lengths are in bytes and multiples of
// the page size.

// reserve takes address space without memory: touching it faults until commit.
func reserve(length uintptr) (unsafe.Pointer, error) {
	return unix.MmapPtr(-1, 0, nil, length, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
}

// mapZeroed returns zeroed memory whose pages appear as they are touched.
func mapZeroed(length uintptr) (unsafe.Pointer, error) {
	return unix.MmapPtr(-1, 0, nil, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
}

func remap(p unsafe.Pointer, old, length uintptr) (unsafe.Pointer, error) {
	return unix.MremapPtr(p, old, nil, length, unix.MREMAP_MAYMOVE)
}

// unmap cannot fail for a range that mmap returned.
func unmap(p unsafe.Pointer, length uintptr) { _ = unix.MunmapPtr(p, length) }

func commit(p unsafe.Pointer, length uintptr) error {
	return unix.Mprotect(unsafe.Slice((*byte)(p), length), unix.PROT_READ|unix.PROT_WRITE)
}

// decommit gives the memory back and makes touching it a fault again.
func decommit(p unsafe.Pointer, length uintptr) {
	release(p, length)
	_ = unix.Mprotect(unsafe.Slice((*byte)(p), length), unix.PROT_NONE)
}

// release gives the memory back; the range reads as zeroes afterwards.
func release(p unsafe.Pointer, length uintptr) {
	_ = unix.Madvise(unsafe.Slice((*byte)(p), length), unix.MADV_DONTNEED)
}

// adviseHuge asks for transparent huge pages; a kernel without them refuses,
// which changes nothing but speed.
func adviseHuge(p unsafe.Pointer, length uintptr) {
	_ = unix.Madvise(unsafe.Slice((*byte)(p), length), unix.MADV_HUGEPAGE)
}
