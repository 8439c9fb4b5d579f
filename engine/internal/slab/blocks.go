package slab

import "unsafe"

// Block is zeroed memory of any size for the owner's own structure, such as the
// buckets of a hash table: a slot when small, else a mapping of its own.
type Block struct {
	Ptr  unsafe.Pointer
	Size int // bytes, at least what was asked for
	ref  Ref // 0 when it is a mapping
}

const (
	pageSize     = 4 << 10 // mappings are accounted in pages of this size
	hugeBlock    = 2 << 20 // blocks from this size on ask for huge pages
	roundToPages = pageSize - 1
)

// AllocBlock returns n zeroed bytes, aligned to 64 when n is a power of two of at
// least that; false when there is no memory.
func (a *Arena) AllocBlock(n int) (Block, bool) {
	if n <= MaxSlot {
		r, ok := a.Alloc(n)
		if !ok {
			return Block{}, false
		}
		b := Block{Ptr: a.Ptr(r), Size: a.SlotSize(r), ref: r}
		clear(unsafe.Slice((*byte)(b.Ptr), b.Size))
		return b, true
	}
	n = (n + roundToPages) &^ roundToPages
	if !a.fits(int64(n)) {
		return Block{}, false
	}
	p, err := mapZeroed(uintptr(n))
	if err != nil {
		return Block{}, false
	}
	if n >= hugeBlock {
		adviseHuge(p, uintptr(n))
	}
	a.mapped[p] = int64(n)
	a.blockBytes += int64(n)
	return Block{Ptr: p, Size: n}, true
}

// FreeBlock takes a block back; the zero Block is none.
func (a *Arena) FreeBlock(b Block) {
	switch {
	case b.Ptr == nil:
	case b.ref != 0:
		a.Free(b.ref)
	default:
		delete(a.mapped, b.Ptr)
		a.blockBytes -= int64(b.Size)
		unmap(b.Ptr, uintptr(b.Size))
	}
}

// ResizeBlock returns a block of n bytes that begins with the contents of b and
// takes its place; what is beyond them is undefined. On false b stays as it was.
func (a *Arena) ResizeBlock(b Block, n int) (Block, bool) {
	if b.Ptr != nil && b.ref == 0 && n > MaxSlot {
		// Moving page tables instead of bytes: an index of ten million entries
		// grows in microseconds.
		n = (n + roundToPages) &^ roundToPages
		if !a.fits(int64(n - b.Size)) {
			return b, false
		}
		p, err := remap(b.Ptr, uintptr(b.Size), uintptr(n))
		if err != nil {
			return b, false
		}
		delete(a.mapped, b.Ptr)
		a.mapped[p] = int64(n)
		a.blockBytes += int64(n - b.Size)
		return Block{Ptr: p, Size: n}, true
	}
	to, ok := a.AllocBlock(n)
	if !ok {
		return b, false
	}
	if b.Ptr != nil {
		k := min(b.Size, to.Size)
		copy(unsafe.Slice((*byte)(to.Ptr), k), unsafe.Slice((*byte)(b.Ptr), k))
		a.FreeBlock(b)
	}
	return to, true
}

// ReleaseBlock returns the memory of bytes [from, to) of a block to the system,
// when it is a mapping and they are whole huge pages' worth; they read as zeroes
// afterwards. The block's size and accounting stay.
func (a *Arena) ReleaseBlock(b Block, from, to int) {
	if b.ref == 0 && from < to {
		release(unsafe.Add(b.Ptr, from), uintptr(to-from))
	}
}
