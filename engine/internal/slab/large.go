package slab

// Values beyond MaxSlot are ordinary Go byte slices, so that a 100 MB value is
// freed and its memory reused by the runtime, which is made for that. The
// collector sees one pointer-free object per such value, found through the
// table; small values add none.

// AllocLarge copies value to the Go heap and returns its number.
func (a *Arena) AllocLarge(value []byte) (uint32, bool) {
	if !a.fits(int64(len(value))) {
		return 0, false
	}
	return a.addLarge(append([]byte(nil), value...)), true
}

func (a *Arena) addLarge(v []byte) uint32 {
	a.largeBytes += int64(cap(v))
	if n := len(a.vacant); n > 0 {
		i := a.vacant[n-1]
		a.vacant = a.vacant[:n-1]
		a.large[i] = v
		return i
	}
	a.large = append(a.large, v)
	return uint32(len(a.large) - 1)
}

// AllocLargeGrowing is AllocLarge with n-len(value) zero bytes appended and room
// to grow further.
func (a *Arena) AllocLargeGrowing(value []byte, n int) (uint32, bool) {
	if !a.fits(int64(n)) {
		return 0, false
	}
	// Not append to value: that would make every caller's slice escape.
	v := make([]byte, n, n+n/4)
	copy(v, value)
	return a.addLarge(v), true
}

// Large returns a large value; the view is valid until it is resized or freed.
func (a *Arena) Large(i uint32) []byte { return a.large[i] }

// LargeSize returns the bytes accounted for a large value: its capacity.
func (a *Arena) LargeSize(i uint32) int64 { return int64(cap(a.large[i])) }

// ResizeLarge sets the length of a large value to n: it cuts it, or appends
// zeroes. Room is added in proportion to the length (by the growth rule of
// append), so that growing byte by byte costs O(n), and a value cut to less than
// half its room is moved to a smaller place.
func (a *Arena) ResizeLarge(i uint32, n int) bool {
	v := a.large[i]
	switch {
	case n > cap(v):
		if !a.fits(int64(n - cap(v))) {
			return false
		}
		a.large[i] = grown(v, n)
	case n < cap(v)/2:
		a.large[i] = append([]byte(nil), v[:min(n, len(v))]...)
		a.large[i] = grown(a.large[i], n)
	default:
		a.large[i] = grown(v, n)
	}
	a.largeBytes += int64(cap(a.large[i]) - cap(v))
	return true
}

// grown returns v with length n; append clears what it adds.
func grown(v []byte, n int) []byte {
	if n <= len(v) {
		return v[:n]
	}
	return append(v, make([]byte, n-len(v))...)
}

// FreeLarge takes a large value back. The runtime reuses its memory after the
// next collection; the accounting is exact at once.
func (a *Arena) FreeLarge(i uint32) {
	a.largeBytes -= int64(cap(a.large[i]))
	a.large[i] = nil
	a.vacant = append(a.vacant, i)
	if len(a.vacant) == len(a.large) {
		a.large, a.vacant = nil, nil
	}
}

// LargeBytes is what the large values take of the Go heap.
func (a *Arena) LargeBytes() int64 { return a.largeBytes }
