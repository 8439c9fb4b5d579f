//go:build amd64 || arm64

package dict

import "unsafe"

// prefetch asks for the cache line at p, which need not be valid memory.
//
//go:noescape
func prefetch(p unsafe.Pointer)
