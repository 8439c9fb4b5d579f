package slab

// Slots come in size classes. Up to 256 bytes there is one for every multiple
// of 8, because most keys and values of a Redis live there and each byte counts.
// Above, a class is at most 8/7 of the smallest size it serves, so that no more
// than 12.5 % of a slot is wasted, and it is then widened to what a span divides
// into evenly: that costs nothing, as the number of slots per span stays.
// Powers of two are always classes, with slots aligned to 64 bytes, because
// hash tables come in those sizes.

const (
	// MaxSlot is the largest slot in bytes. What is larger goes to AllocLarge or
	// AllocBlock.
	MaxSlot = 16 << 10

	smallStep = 8
	smallMax  = 256
)

// classTable is computed once; it is read-only afterwards.
type classTable struct {
	count int
	size  [96]uint16                   // bytes of a slot, by class
	of    [MaxSlot/smallStep + 1]uint8 // class, by size in units of 8 rounded up
}

var classes = makeClasses()

func makeClasses() (t classTable) {
	add := func(size int) {
		t.size[t.count] = uint16(size)
		t.count++
	}
	for size := smallStep; size <= smallMax; size += smallStep {
		add(size)
	}
	for size := smallMax; size < MaxSlot; {
		smallest := size + smallStep
		widest := smallest * 8 / 7
		slots := (spanSize + widest - 1) / widest
		next := spanSize / slots &^ (smallStep - 1)
		power := smallMax
		for power <= size {
			power *= 2
		}
		size = min(next, power)
		add(size)
	}
	class := 0
	for units := range t.of {
		for int(t.size[class]) < units*smallStep {
			class++
		}
		t.of[units] = uint8(class)
	}
	return t
}

func classOf(n int) uint8 { return classes.of[uint(n+smallStep-1)/smallStep] }

// RoundUp returns the bytes of the slot that Alloc(n) would hand out, n being at
// most MaxSlot.
func RoundUp(n int) int { return int(classes.size[classOf(n)]) }
