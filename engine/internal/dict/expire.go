package dict

import (
	"unsafe"

	"github.com/redscope/redscope/engine/internal/slab"
)

// expireIndex lists the entries that expire, densely and in no order, so that
// active expiry and the volatile eviction policies can sample them; each entry
// keeps its position, so that it can leave by letting the last one take its place.
// Redis keeps a second dict for it, which costs a lookup per access to learn that a
// key does not expire; here one flag in the entry tells.
type expireIndex struct {
	block slab.Block
	n     int
}

const minExpires = 16 // room for refs in the smallest index

func (x *expireIndex) at(i int) *Ref {
	return (*Ref)(unsafe.Add(x.block.Ptr, i*4))
}

// reserve makes room for one more.
func (x *expireIndex) reserve(a *slab.Arena) bool {
	if (x.n+1)*4 <= x.block.Size {
		return true
	}
	b, ok := a.ResizeBlock(x.block, max(minExpires*4, x.block.Size*2))
	x.block = b
	return ok
}

// remove takes an entry out of the index.
func (x *expireIndex) remove(d *Dict, r Ref) {
	i := *d.entry(r).expireIndex()
	x.n--
	last := *x.at(x.n)
	*x.at(int(i)) = last
	*d.entry(last).expireIndex() = i
	switch {
	case x.n == 0:
		d.arena.FreeBlock(x.block)
		x.block = slab.Block{}
	case x.block.Size > minExpires*4 && x.n*4 <= x.block.Size/8:
		// A failure leaves the larger block, which does as well.
		x.block, _ = d.arena.ResizeBlock(x.block, x.block.Size/2)
	}
}

// Expire returns when an entry expires, in ms since the epoch; false if never.
func (d *Dict) Expire(r Ref) (ms int64, ok bool) {
	e := d.entry(r)
	if e.flags()&flagExpire == 0 {
		return 0, false
	}
	return *e.expireTime(), true
}

// SetExpire sets when an entry expires, in ms since the epoch. The ref may change.
// On an error the entry is as before.
func (d *Dict) SetExpire(r Ref, ms int64) (Ref, error) {
	e := d.entry(r)
	if e.flags()&flagExpire != 0 {
		*e.expireTime() = ms
		return r, nil
	}
	if !d.expires.reserve(d.arena) {
		return r, ErrOutOfMemory
	}
	v := d.value(e)
	r, err := d.reshape(r, shapeOf(e.keyLen(), len(v), true), v, len(v))
	if err != nil {
		return r, err
	}
	e = d.entry(r)
	*e.expireTime() = ms
	*e.expireIndex() = uint32(d.expires.n)
	*d.expires.at(d.expires.n) = r
	d.expires.n++
	return r, nil
}

// Persist makes an entry not expire, and reports whether it did before. It works in
// place, as a command that gives memory back must not fail for want of it; the slot
// may remain one class too large until the value changes.
func (d *Dict) Persist(r Ref) bool {
	e := d.entry(r)
	flags := e.flags()
	if flags&flagExpire == 0 {
		return false
	}
	d.expires.remove(d, r)
	from, to := headerSize(flags), headerSize(flags&^flagExpire)
	stored := e.valueLen()
	if flags&flagLargeValue != 0 {
		stored = numberSize
	}
	n := len(e.storedKey()) + stored
	copy(unsafe.Slice(e.byte(to), n), unsafe.Slice(e.byte(from), n))
	*e.byte(flagsAt) = flags &^ flagExpire
	return true
}

// Expiring returns the number of entries that expire.
func (d *Dict) Expiring() int { return d.expires.n }

// ExpiringAt returns one of them, 0 <= i < Expiring(). Deletions and Persist
// renumber them.
func (d *Dict) ExpiringAt(i int) Ref { return *d.expires.at(i) }
