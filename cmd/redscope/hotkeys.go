package main

import (
	"cmp"
	"slices"
)

// hotKeysKept is how many keys are counted at once: a key of more than one command
// in so many is certain to be among them.
const hotKeysKept = 1000

// hotKeys finds the keys that come most often in a stream, in little memory: the
// Space-Saving algorithm (Metwally, Agrawal, El Abbadi 2005). A key that is not
// counted takes the place, and the count, of the one with the lowest.
type hotKeys struct {
	n     uint64 // keys seen
	room  int
	index map[string]int // of a key in heap
	heap  []hotKey       // the lowest count first
}

type hotKey struct {
	key    string // its first bytes
	length uint32 // of the whole key
	count  uint64 // too high by over at most
	over   uint64
}

func newHotKeys(room int) *hotKeys {
	return &hotKeys{room: room, index: make(map[string]int, room)}
}

func (h *hotKeys) add(key string, length uint32) {
	h.n++
	i, ok := h.index[key]
	switch {
	case ok:
	case len(h.heap) < h.room:
		i = len(h.heap)
		h.heap = append(h.heap, hotKey{})
		h.set(i, hotKey{key: key, length: length})
		for ; i > 0 && h.heap[(i-1)/2].count > h.heap[i].count; i = (i - 1) / 2 {
			h.swap(i, (i-1)/2)
		}
	default:
		i = 0
		least := h.heap[0]
		delete(h.index, least.key)
		h.set(0, hotKey{key, length, least.count, least.count})
	}
	h.heap[i].count++
	for {
		least := i
		for _, child := range []int{2*i + 1, 2*i + 2} {
			if child < len(h.heap) && h.heap[child].count < h.heap[least].count {
				least = child
			}
		}
		if least == i {
			return
		}
		h.swap(i, least)
		i = least
	}
}

func (h *hotKeys) set(i int, k hotKey) {
	h.heap[i] = k
	h.index[k.key] = i
}

func (h *hotKeys) swap(i, j int) {
	a, b := h.heap[i], h.heap[j]
	h.set(i, b)
	h.set(j, a)
}

// top returns the keys that come most often, at most n. Those are left out that may
// have come only once.
func (h *hotKeys) top(n int) []hotKey {
	all := slices.DeleteFunc(slices.Clone(h.heap), func(k hotKey) bool { return k.count-k.over < 2 })
	slices.SortFunc(all, func(a, b hotKey) int {
		return cmp.Or(cmp.Compare(b.count-b.over, a.count-a.over), cmp.Compare(a.key, b.key))
	})
	return all[:min(n, len(all))]
}
