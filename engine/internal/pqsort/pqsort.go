// Package pqsort sorts as much of a slice as somebody will look at: SORT with LIMIT
// and GEOSEARCH with COUNT want a few elements out of many.
//
// It is the quicksort of Bentley and McIlroy, "Engineering a Sort Function" (Software:
// Practice and Experience 23, 1993), which leaves out the parts that lie wholly
// outside the range asked for, as Redis's pqsort.c does. The choice of pivots and the
// order of exchanges must stay as they are: they decide where elements that compare
// equal end up, and clients see that.
package pqsort

// insertionMax is the number of elements below which insertion is used, medianMin the
// one from which three elements are looked at for a pivot, and ninther that from which
// nine are.
const (
	insertionMax = 7
	medianMin    = 8
	ninther      = 41
)

// Sort brings the elements first to last of s where they would be if all of s was
// sorted. The others end up on the right side of those, in no order. compare returns
// a number below, equal to or above 0.
func Sort[T any](s []T, first, last int, compare func(a, b *T) int) {
	for {
		n := len(s)
		if n < insertionMax {
			for i := 1; i < n; i++ {
				for k := i; k > 0 && compare(&s[k-1], &s[k]) > 0; k-- {
					s[k-1], s[k] = s[k], s[k-1]
				}
			}
			return
		}
		pivot := n / 2
		if n >= medianMin {
			low, high := 0, n-1
			if n >= ninther {
				d := n / 8
				low = median(s, low, low+d, low+2*d, compare)
				pivot = median(s, pivot-d, pivot, pivot+d, compare)
				high = median(s, high-2*d, high-d, high, compare)
			}
			pivot = median(s, low, pivot, high, compare)
		}
		s[0], s[pivot] = s[pivot], s[0]

		// Equal elements gather at both ends: before a and behind d.
		a, b, c, d := 1, 1, n-1, n-1
		for {
			for b <= c {
				r := compare(&s[b], &s[0])
				if r > 0 {
					break
				}
				if r == 0 {
					s[a], s[b] = s[b], s[a]
					a++
				}
				b++
			}
			for b <= c {
				r := compare(&s[c], &s[0])
				if r < 0 {
					break
				}
				if r == 0 {
					s[c], s[d] = s[d], s[c]
					d--
				}
				c--
			}
			if b > c {
				break
			}
			s[b], s[c] = s[c], s[b]
			b++
			c--
		}
		// Then they go to the middle.
		exchange(s[:b], min(a, b-a))
		exchange(s[b:], min(d-c, n-1-d))

		less, more := b-a, d-c
		if less > 1 && first < less && last >= 0 {
			Sort(s[:less], first, last, compare)
		}
		if more <= 1 || first >= n || last < n-more {
			return
		}
		s, first, last = s[n-more:], first-(n-more), last-(n-more)
	}
}

// exchange exchanges the first n elements of s with the last n.
func exchange[T any](s []T, n int) {
	for i, k := 0, len(s)-n; i < n; i, k = i+1, k+1 {
		s[i], s[k] = s[k], s[i]
	}
}

// median returns which of three elements is neither the least nor the greatest.
func median[T any](s []T, a, b, c int, compare func(a, b *T) int) int {
	if compare(&s[a], &s[b]) < 0 {
		switch {
		case compare(&s[b], &s[c]) < 0:
			return b
		case compare(&s[a], &s[c]) < 0:
			return c
		}
		return a
	}
	switch {
	case compare(&s[b], &s[c]) > 0:
		return b
	case compare(&s[a], &s[c]) < 0:
		return a
	}
	return c
}
