package flame

import (
	"cmp"
	"slices"

	"github.com/redscope/redscope/internal/svg"
)

// maxLevels bounds how many levels are drawn: beyond, a picture is taller than
// anyone scrolls. What lies deeper stays counted in its ancestors.
const maxLevels = 2000

// maxBoxes bounds how many frames are drawn, the widest first: a browser takes a
// second or so for as many.
const maxBoxes = 40_000

// maxLabel bounds a name in the picture, in characters.
const maxLabel = 1000

// rootName is the frame under all others.
const rootName = "all"

// box is a frame in the picture: all stacks that agree from the root up to it.
type box struct {
	name   string // cleaned, without the kernel's suffix
	kernel bool
	level  int   // 0 for the root
	x      int64 // counts to its left
	n      int64 // its own and its descendants' counts
	before int64 // likewise in the earlier profile
	parent int   // index of the parent's box; -1 for the root
}

// picture is what a flame graph shows.
type picture struct {
	boxes  []box // by level from the root, then from left to right
	levels int
	total  int64
	before int64 // total of the earlier profile
	narrow int   // frames left out for being too narrow
	cut    int64 // counts of the stacks cut at maxLevels
}

// frameKey is what makes two frames of equal ancestry the same box.
type frameKey struct {
	name   string
	kernel bool
}

// node is a box before it has a place.
type node struct {
	key    int32 // index into the keys
	parent int32
	level  int32
	n      int64
	before int64
}

// layout places the stacks of the given total. Boxes of less than the share
// minShare of the total are left out.
//
// Children stand in the order of their names, so that two profiles of one
// program look alike; left to right is no time axis.
func layout(stacks []Stack, total int64, minShare float64) picture {
	var (
		keys  []frameKey
		ids   = map[frameKey]int32{}
		nodes = []node{{key: -1, parent: -1}}
		// children finds a node by its parent (high half) and its key (low half).
		children = map[uint64]int32{}
		pic      = picture{total: total}
		// The stack before this one and its nodes: neighbours share their trunk,
		// which then needs no looking up.
		last  []Frame
		trail []int32
	)
	for _, s := range stacks {
		at := int32(0)
		nodes[0].n += s.Count
		nodes[0].before += s.Before
		shared := true
		for i, f := range s.Frames {
			if i+1 >= maxLevels {
				pic.cut += s.Count
				break
			}
			if shared = shared && i < len(trail) && f == last[i]; shared {
				at = trail[i]
				nodes[at].n += s.Count
				nodes[at].before += s.Before
				continue
			}
			trail = trail[:i]
			key := frameKey{f.display(), f.Kernel}
			id, ok := ids[key]
			if !ok {
				id = int32(len(keys))
				ids[key] = id
				keys = append(keys, key)
			}
			edge := uint64(at)<<32 | uint64(id)
			child, ok := children[edge]
			if !ok {
				child = int32(len(nodes))
				children[edge] = child
				nodes = append(nodes, node{key: id, parent: at, level: int32(i + 1)})
			}
			nodes[child].n += s.Count
			nodes[child].before += s.Before
			at = child
			trail = append(trail, at)
		}
		last = s.Frames
		trail = trail[:min(len(trail), len(last))]
	}
	pic.before = nodes[0].before

	rank := rankKeys(keys)
	least := max(int64(minShare*float64(total)), 1)
	kept := make([]int32, 0, len(nodes))
	for i := range nodes {
		switch {
		case i == 0 || nodes[i].n >= least:
			kept = append(kept, int32(i))
		case nodes[i].n > 0:
			pic.narrow++
		}
	}
	if len(kept) > maxBoxes {
		slices.SortFunc(kept, func(a, b int32) int {
			x, y := &nodes[a], &nodes[b]
			return cmp.Or(cmp.Compare(y.n, x.n), cmp.Compare(x.level, y.level), cmp.Compare(a, b))
		})
		pic.narrow += len(kept) - maxBoxes
		kept = kept[:maxBoxes]
	}
	// A child's count is at most its parent's, so that every kept node's parent
	// is kept too, and has its place when the next level is sorted.
	slices.SortStableFunc(kept, func(a, b int32) int { return cmp.Compare(nodes[a].level, nodes[b].level) })
	place := make([]int32, len(nodes)) // node → box
	names := make([]string, len(keys))
	filled := make([]int64, 0, len(kept)) // box → counts given to its children
	for len(kept) > 0 {
		level := nodes[kept[0]].level
		end := 1
		for end < len(kept) && nodes[kept[end]].level == level {
			end++
		}
		slices.SortFunc(kept[:end], func(a, b int32) int {
			x, y := &nodes[a], &nodes[b]
			return cmp.Or(cmp.Compare(place[x.parent], place[y.parent]), cmp.Compare(rank[x.key], rank[y.key]))
		})
		for _, i := range kept[:end] {
			nd := &nodes[i]
			b := box{name: rootName, level: int(nd.level), n: nd.n, before: nd.before, parent: -1}
			if nd.key >= 0 {
				if names[nd.key] == "" {
					names[nd.key] = svg.Clean(keys[nd.key].name, maxLabel)
				}
				b.name = names[nd.key]
				b.kernel = keys[nd.key].kernel
				b.parent = int(place[nd.parent])
				b.x = pic.boxes[b.parent].x + filled[b.parent]
				filled[b.parent] += nd.n
			}
			place[i] = int32(len(pic.boxes))
			pic.boxes = append(pic.boxes, b)
			filled = append(filled, 0)
		}
		kept = kept[end:]
		pic.levels++
	}
	return pic
}

// rankKeys returns each key's place in the order of names.
func rankKeys(keys []frameKey) []int32 {
	order := make([]int32, len(keys))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		x, y := keys[a], keys[b]
		if c := cmp.Compare(x.name, y.name); c != 0 {
			return c
		}
		if x.kernel == y.kernel {
			return 0
		}
		if x.kernel {
			return 1
		}
		return -1
	})
	rank := make([]int32, len(keys))
	for i, k := range order {
		rank[k] = int32(i)
	}
	return rank
}
