package dict

import "unsafe"

// An entry is one slot of the arena:
//
//	offset  bytes
//	0       4      meta, the caller's
//	4       1      flags
//	5       1      length of the key     } without flagWide
//	6       1      length of the value   }
//	8       4      length of the key     } with flagWide
//	12      4      length of the value   }
//	7 / 16  8      with flagExpire: when, in ms since the epoch
//	        4      with flagExpire: position in the index of expiring entries
//	        …      key; with flagLargeKey the 4-byte number of a large value
//	        …      value; with flagLargeValue likewise
//
// Seven bytes of overhead put a 16-byte key with a value of up to nine bytes into
// a 32-byte slot. Nothing is aligned beyond the slot's own 8 bytes; amd64 and arm64
// load unaligned words at full speed within a cache line. There is no hash and no
// next ref in the entry: the bucket has the tag and needs no chain, and rehashing
// touches the key anyway.
//
// The shape (flags, hence offsets) is what shapeOf says, except that Persist leaves
// a value outside that would just have found room in the slot, and that Truncate,
// when memory is out, leaves the shape of the longer value.
const (
	flagWide = 1 << iota
	flagExpire
	flagLargeKey   // implies flagWide
	flagLargeValue // implies flagWide
)

const (
	metaAt       = 0
	flagsAt      = 4
	keyLenAt     = 5
	valueLenAt   = 6
	wideKeyAt    = 8
	wideValueAt  = 12
	narrowHeader = 7
	wideHeader   = 16
	expireSize   = 8 + 4
	numberSize   = 4 // of a large key or value
	narrowMax    = 255

	// largeKey is the length from which a key is kept outside the slot. It leaves
	// room beside a long key for a value that is not large.
	largeKey = 8 << 10
)

type entry struct{ p unsafe.Pointer }

func (d *Dict) entry(r Ref) entry { return entry{d.ptr(r)} }

func (e entry) at(off int) unsafe.Pointer { return unsafe.Add(e.p, off) }
func (e entry) byte(off int) *uint8       { return (*uint8)(e.at(off)) }
func (e entry) word(off int) *uint32      { return (*uint32)(e.at(off)) }
func (e entry) meta() *uint32             { return e.word(metaAt) }
func (e entry) flags() uint8              { return *e.byte(flagsAt) }

func (e entry) keyLen() int {
	if e.flags()&flagWide == 0 {
		return int(*e.byte(keyLenAt))
	}
	return int(*e.word(wideKeyAt))
}

func (e entry) valueLen() int {
	if e.flags()&flagWide == 0 {
		return int(*e.byte(valueLenAt))
	}
	return int(*e.word(wideValueAt))
}

// headerSize is where the key begins, by flags.
func headerSize(flags uint8) int {
	return narrowHeader + (wideHeader-narrowHeader)*int(flags&flagWide) + expireSize/flagExpire*int(flags&flagExpire)
}

// isNarrow reports whether the entry has the narrow form and a key of n bytes, and
// where the key begins. It is the test at the heart of a lookup: flags and length in
// one load and one comparison. Both architectures are little-endian.
func (e entry) isNarrow(n int) (bool, int) {
	const flags, keyLen = 8 * flagsAt, 8 * keyLenAt
	head := *(*uint64)(e.p)
	same := head>>flags&(0xff<<(keyLen-flags)|0xff&^flagExpire) == uint64(n)<<(keyLen-flags)
	return same, narrowHeader + expireSize/flagExpire*int(head>>flags&flagExpire)
}

// expireAt is where the expire time begins in an entry with flagExpire.
func expireAt(flags uint8) int { return headerSize(flags &^ flagExpire) }

func (e entry) expireTime() *int64   { return (*int64)(e.at(expireAt(e.flags()))) }
func (e entry) expireIndex() *uint32 { return e.word(expireAt(e.flags()) + 8) }

// storedKey returns what the slot holds of the key: its bytes or a number.
func (e entry) storedKey() []byte {
	n := e.keyLen()
	if e.flags()&flagLargeKey != 0 {
		n = numberSize
	}
	return unsafe.Slice(e.byte(headerSize(e.flags())), n)
}

func (e entry) valueAt() int {
	return headerSize(e.flags()) + len(e.storedKey())
}

// largeKey and largeValue hold the numbers of what lies outside the slot.
func (e entry) largeKey() *uint32   { return e.word(headerSize(e.flags())) }
func (e entry) largeValue() *uint32 { return e.word(e.valueAt()) }

// shape is how an entry is laid out.
type shape struct {
	flags uint8
	size  int // bytes of slot needed
}

func shapeOf(keyLen, valueLen int, expires bool) (s shape) {
	if keyLen > narrowMax || valueLen > narrowMax {
		s.flags |= flagWide
	}
	if expires {
		s.flags |= flagExpire
	}
	if keyLen >= largeKey {
		s.flags |= flagLargeKey
		keyLen = numberSize
	}
	s.size = headerSize(s.flags) + keyLen + valueLen
	if s.size > maxSlot {
		s.flags |= flagLargeValue
		s.size += numberSize - valueLen
	}
	return s
}

// init writes the header of a new entry, leaving expire, key and value.
func (e entry) init(s shape, meta uint32, keyLen, valueLen int) {
	*e.meta() = meta
	*e.byte(flagsAt) = s.flags
	if s.flags&flagWide != 0 {
		*e.word(wideKeyAt) = uint32(keyLen)
	} else {
		*e.byte(keyLenAt) = uint8(keyLen)
	}
	e.setValueLen(valueLen)
}

func (e entry) setValueLen(n int) {
	if e.flags()&flagWide != 0 {
		*e.word(wideValueAt) = uint32(n)
	} else {
		*e.byte(valueLenAt) = uint8(n)
	}
}

func (d *Dict) key(e entry) []byte {
	if f := e.flags(); f&flagLargeKey == 0 {
		return unsafe.Slice(e.byte(headerSize(f)), e.keyLen())
	}
	return d.arena.Large(*e.largeKey())
}

func (d *Dict) value(e entry) []byte {
	if f := e.flags(); f&flagWide == 0 {
		return unsafe.Slice(e.byte(headerSize(f)+int(*e.byte(keyLenAt))), int(*e.byte(valueLenAt)))
	}
	return d.wideValue(e)
}

func (d *Dict) wideValue(e entry) []byte {
	if e.flags()&flagLargeValue != 0 {
		return d.arena.Large(*e.largeValue())
	}
	return unsafe.Slice(e.byte(e.valueAt()), e.valueLen())
}

// Key returns an entry's key, a view that is valid until the next write to the
// arena. It must not be written to.
func (d *Dict) Key(r Ref) []byte {
	k := d.key(d.entry(r))
	return k[:len(k):len(k)]
}

// Value returns an entry's value, a view that is valid until the next write to the
// arena. Writing to it writes the value.
func (d *Dict) Value(r Ref) []byte {
	v := d.value(d.entry(r))
	return v[:len(v):len(v)]
}

// Meta returns the caller's 32 bits.
func (d *Dict) Meta(r Ref) uint32 { return *d.entry(r).meta() }

// SetMeta replaces the caller's 32 bits.
func (d *Dict) SetMeta(r Ref, meta uint32) { *d.entry(r).meta() = meta }

// MemoryUsage returns the bytes that an entry occupies: its slot, and key and value
// if they lie outside.
func (d *Dict) MemoryUsage(r Ref) int64 {
	e := d.entry(r)
	n := int64(d.arena.SlotSize(r))
	if e.flags()&flagLargeKey != 0 {
		n += d.arena.LargeSize(*e.largeKey())
	}
	if e.flags()&flagLargeValue != 0 {
		n += d.arena.LargeSize(*e.largeValue())
	}
	return n
}
