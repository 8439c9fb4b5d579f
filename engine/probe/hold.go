//go:build amd64 || arm64

package probe

import (
	"sync/atomic"
	"unsafe"
)

// Hold raises every semaphore by one until Release, for observers that the
// kernel does not raise it for: those that place a probe on a marker's address
// as on any other. The kernel's own counts add to it.
func Hold() { addToSemaphores(1) }

// Release takes back one Hold.
func Release() { addToSemaphores(-1) }

// addToSemaphores adds to the 32-bit word around each semaphore, because there
// is no smaller atomic addition. Nothing carries over to the other half: a
// semaphore counts observers, and none is lowered that was not raised before.
// The kernel's addition is not atomic, so that one made in the same nanosecond
// by another CPU can be lost, as it can between two of the kernel's.
func addToSemaphores(delta int32) {
	for i := range markerCount {
		p := unsafe.Pointer(&semaphores[i])
		beyond := int(uintptr(p) % 4) // 0 or 2 bytes
		atomic.AddInt32((*int32)(unsafe.Add(p, -beyond)), delta<<(8*beyond))
	}
}
