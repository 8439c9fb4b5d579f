package quicklist

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/redscope/redscope/engine/internal/lzf"
	"github.com/redscope/redscope/engine/internal/slab"
	"github.com/redscope/redscope/internal/oracle"
)

func newSpace(t testing.TB, limit int64) *Space {
	t.Helper()
	a, err := slab.New(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return NewSpace(a)
}

func newList(s *Space, fill, depth int) List {
	return s.New(make([]byte, HeaderSize), fill, depth)
}

func text(v []byte, n int64, isInt bool) string {
	if isInt {
		return strconv.FormatInt(n, 10)
	}
	return string(v)
}

func all(l List, backwards bool) (out []string) {
	start := int64(0)
	if backwards {
		start = l.Len() - 1
	}
	for it := l.From(start, backwards); it.Valid(); it.Next() {
		out = append(out, text(it.Get()))
	}
	return out
}

// element returns a value of the kinds that nodes treat differently.
func element(r *rand.Rand) string {
	switch r.IntN(12) {
	case 0, 1:
		return strconv.Itoa(r.IntN(200) - 100)
	case 2:
		return strconv.FormatUint(r.Uint64()>>r.IntN(64), 10)
	case 3:
		return string(bytes.Repeat([]byte("ab"), r.IntN(300)))
	case 4:
		b := make([]byte, r.IntN(3000))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	case 5:
		if r.IntN(8) == 0 {
			return string(bytes.Repeat([]byte("large "), 1000+r.IntN(6000)))
		}
		return ""
	default:
		return "e" + strconv.Itoa(r.IntN(10))
	}
}

// step is one change, chosen by r, to a list, to a slice that has to stay equal, and
// by the command that does the same to a real one.
func step(r *rand.Rand, l List, m []string) (model []string, command []string, ok bool) {
	v := element(r)
	b := []byte(v)
	index := 0
	if len(m) > 0 {
		index = r.IntN(len(m))
	}
	switch op := r.IntN(20); {
	case op < 3 || len(m) == 0 && op < 10:
		return append([]string{v}, m...), []string{"LPUSH", "l", v}, l.Push(b, true)
	case op < 7:
		return append(m, v), []string{"RPUSH", "l", v}, l.Push(b, false)
	case len(m) == 0:
		return m, nil, true
	case op < 9:
		return m[1:], []string{"LPOP", "l"}, l.Drop(true)
	case op < 10:
		return m[:len(m)-1], []string{"RPOP", "l"}, l.Drop(false)
	case op < 15:
		// The first that equals the element at index, as LINSERT finds it.
		index = slices.Index(m, m[index])
		it := l.From(0, false)
		for range index {
			it.Next()
		}
		where, after := "BEFORE", r.IntN(2) == 0
		command = []string{"LINSERT", "l", where, m[index], v}
		if after {
			command[2] = "AFTER"
			index++
		}
		return slices.Insert(m, index, v), command, l.Insert(&it, b, after)
	case op < 16:
		fromHead, toHead := r.IntN(2) == 0, r.IntN(2) == 0
		side := map[bool]string{true: "LEFT", false: "RIGHT"}
		command = []string{"LMOVE", "l", "l", side[fromHead], side[toHead]}
		v, rest := m[len(m)-1], m[:len(m)-1:len(m)-1]
		if fromHead {
			v, rest = m[0], m[1:]
		}
		if toHead {
			return append([]string{v}, rest...), command, l.Rotate(fromHead, toHead)
		}
		return append(rest, v), command, l.Rotate(fromHead, toHead)
	case op < 18:
		backwards := r.IntN(2) == 0
		it := l.From(int64(index), backwards)
		command = []string{"LSET", "l", strconv.Itoa(index), v}
		m[index] = v
		return m, command, l.Replace(&it, b)
	case op < 19:
		n := r.IntN(5) - 2
		gone := m[index]
		command = []string{"LREM", "l", strconv.Itoa(n), gone}
		kept := []string{}
		left := n
		if n < 0 {
			slices.Reverse(m)
			left = -n
		}
		removed := int64(0)
		for _, e := range m {
			if e == gone && (n == 0 || left > 0) {
				left--
				removed++
				continue
			}
			kept = append(kept, e)
		}
		if n < 0 {
			slices.Reverse(kept)
		}
		got, ok := l.Remove([]byte(gone), int64(n))
		return kept, command, ok && got == removed
	default:
		// As LTRIM does it.
		from := min(index, r.IntN(20))
		to := min(len(m)-1, max(from, len(m)-1-r.IntN(10)))
		command = []string{"LTRIM", "l", strconv.Itoa(from), strconv.Itoa(to)}
		ok := l.DeleteRange(0, int64(from)) && l.DeleteRange(int64(to-from+1), int64(len(m)-1-to))
		return m[from : to+1], command, ok
	}
}

// nodesOf decodes a DUMP of a list: what each node holds, uncompressed.
func nodesOf(t *testing.T, dump string) (nodes []Node) {
	t.Helper()
	b := []byte(dump)
	length := func() int {
		n := int(b[0] & 0x3f)
		switch b[0] >> 6 {
		case 0:
			b = b[1:]
		case 1:
			n = n<<8 | int(b[1])
			b = b[2:]
		default:
			n = int(b[1])<<24 | int(b[2])<<16 | int(b[3])<<8 | int(b[4])
			b = b[5:]
		}
		return n
	}
	take := func(n int) []byte {
		v := b[:n]
		b = b[n:]
		return v
	}
	if take(1)[0] != 18 { // RDB_TYPE_LIST_QUICKLIST_2
		t.Fatalf("no list: %.40q", dump)
	}
	for range length() {
		node := Node{Plain: length() == 1}
		switch b[0] {
		case 0xc0, 0xc1, 0xc2:
			n := map[byte]int{0xc0: 1, 0xc1: 2, 0xc2: 4}[b[0]]
			v := take(n + 1)[1:]
			x := int64(int8(v[0]))
			if n == 2 {
				x = int64(int16(uint16(v[0]) | uint16(v[1])<<8))
			} else if n == 4 {
				x = int64(int32(uint32(v[0]) | uint32(v[1])<<8 | uint32(v[2])<<16 | uint32(v[3])<<24))
			}
			node.Data = strconv.AppendInt(nil, x, 10)
		case 0xc3:
			take(1)
			z, n := length(), length()
			raw, err := lzf.Decompress(nil, take(z), n)
			if err != nil {
				t.Fatal(err)
			}
			node.Data = raw
		default:
			node.Data = take(length())
		}
		nodes = append(nodes, node)
	}
	return nodes
}

// raws returns what the nodes of a list hold, uncompressed.
func raws(t *testing.T, l List) (nodes []Node) {
	t.Helper()
	l.EachNode(func(n Node) bool {
		data := bytes.Clone(n.Data)
		if n.Compressed {
			var err error
			if data, err = lzf.Decompress(nil, n.Data, n.Size); err != nil {
				t.Fatal(err)
			}
		}
		nodes = append(nodes, Node{Data: data, Plain: n.Plain})
		return true
	})
	return nodes
}

var settings = []struct{ fill, depth, threshold int }{
	{-2, 0, DefaultPackedThreshold},
	{-1, 1, DefaultPackedThreshold},
	{-5, 0, DefaultPackedThreshold},
	{-3, 2, 1000},
	{4, 1, DefaultPackedThreshold},
	{3, 3, 300},
	{128, 0, 2000},
	{1, 2, DefaultPackedThreshold},
	{0, 1, 50},
	{32767, 1, 100},
}

// TestModel holds lists against slices, and when the oracle is here their nodes
// against those of Redis.
func TestModel(t *testing.T) {
	for _, set := range settings {
		t.Run(fmt.Sprintf("%+v", set), func(t *testing.T) { model(t, set.fill, set.depth, set.threshold, 2500, nil) })
	}
}

func TestNodesAsRedis(t *testing.T) {
	c := oracle.Start(t, "--rdbcompression", "yes")
	for _, set := range settings {
		t.Run(fmt.Sprintf("%+v", set), func(t *testing.T) {
			c.Do("FLUSHALL")
			c.Do("CONFIG", "SET", "list-max-listpack-size", strconv.Itoa(set.fill), "list-compress-depth", strconv.Itoa(set.depth))
			c.Do("DEBUG", "QUICKLIST-PACKED-THRESHOLD", strconv.Itoa(set.threshold))
			model(t, set.fill, set.depth, set.threshold, 1500, c)
		})
	}
}

func model(t *testing.T, fill, depth, threshold, steps int, c *oracle.Server) {
	s := newSpace(t, 0)
	s.PackedThreshold = threshold
	l := newList(s, fill, depth)
	var m []string
	r := rand.New(rand.NewPCG(uint64(fill), uint64(depth)))
	for i := range steps {
		var command []string
		var ok bool
		m, command, ok = step(r, l, m)
		fail := func(format string, args ...any) {
			t.Helper()
			t.Fatalf("step %d, %.60q: %s", i, command, fmt.Sprintf(format, args...))
		}
		if !ok {
			fail("refused")
		}
		if err := l.Check(); err != nil {
			fail("%v", err)
		}
		if i%16 == 0 || i == steps-1 {
			if got := all(l, false); !slices.Equal(got, m) {
				fail("got\n%.300q\nwant\n%.300q", got, m)
			}
			got := all(l, true)
			slices.Reverse(got)
			if !slices.Equal(got, m) {
				fail("backwards differs")
			}
		}
		if len(m) > 0 {
			if first, last := text(l.End(true)), text(l.End(false)); first != m[0] || last != m[len(m)-1] {
				fail("ends are %.40q and %.40q", first, last)
			}
			k := r.IntN(len(m))
			if it := l.From(int64(k), false); text(it.Get()) != m[k] || !it.Equal([]byte(m[k])) || it.Equal([]byte(m[k]+"?")) {
				fail("element %d is %.40q, not %.40q", k, text(it.Get()), m[k])
			}
		}
		if c == nil || command == nil {
			continue
		}
		c.Do(command...)
		if c.Do("EXISTS", "l") == "0" {
			if len(m) > 0 {
				fail("the oracle has no list")
			}
			// A new key gets a new list.
			continue
		}
		want, got := nodesOf(t, c.Do("DUMP", "l")), raws(t, l)
		for j := range max(len(got), len(want)) {
			if j >= len(got) || j >= len(want) || got[j].Plain != want[j].Plain || !bytes.Equal(got[j].Data, want[j].Data) {
				fail("node %d of %d (Redis: %d) differs", j, len(got), len(want))
			}
		}
	}
	used := s.arena.Used()
	if l.Memory() != used {
		t.Errorf("Memory() = %d of %d", l.Memory(), used)
	}
	to := newList(s, 0, 0)
	if !l.CopyTo(to) {
		t.Fatal("no copy")
	}
	if err := to.Check(); err != nil || !slices.Equal(all(to, false), m) || to.Depth() != depth {
		t.Errorf("the copy differs: %v", err)
	}
	to.Free()
	if s.arena.Used() != used {
		t.Errorf("the copy leaves %d bytes", s.arena.Used()-used)
	}
	l.Free()
	if s.arena.Used() != 0 || l.Len() != 0 || l.Check() != nil {
		t.Errorf("Free leaves %d bytes", s.arena.Used())
	}
}

// Whatever memory is refused, the list stays whole, and what is refused is not there.
func TestOutOfMemory(t *testing.T) {
	for _, set := range settings {
		s := newSpace(t, 0)
		s.PackedThreshold = set.threshold
		l := newList(s, set.fill, set.depth)
		var m []string
		r := rand.New(rand.NewPCG(3, 4))
		for range 300 {
			m, _, _ = step(r, l, m)
		}
		refused := 0
		for i := range 2000 {
			// Just enough for a few slots, or not.
			s.arena.SetLimit(s.arena.Used() + int64(r.IntN(5000)))
			before := slices.Clone(m)
			after, command, ok := step(r, l, m)
			s.arena.SetLimit(0)
			if err := l.Check(); err != nil && !l.compressedEnd() {
				t.Fatalf("%+v step %d, %.60q (%t): %v", set, i, command, ok, err)
			}
			got := all(l, false)
			switch {
			case ok:
				if !slices.Equal(got, after) {
					t.Fatalf("%+v step %d, %.60q differs", set, i, command)
				}
				m = after
			case command[0] == "LREM" || command[0] == "LTRIM":
				m = got
				refused++
			default:
				if !slices.Equal(got, before) {
					t.Fatalf("%+v step %d: %.60q failed and changed the list", set, i, command)
				}
				m = before
				refused++
			}
		}
		if refused < 50 {
			t.Errorf("%+v: only %d refused", set, refused)
		}
		l.Free()
		if s.arena.Used() != 0 {
			t.Errorf("%+v: %d bytes leak", set, s.arena.Used())
		}
	}
}

// compressedEnd reports whether a node near an end could not be uncompressed for want
// of memory.
func (l List) compressedEnd() bool {
	i, depth, n := 0, l.Depth(), l.Nodes()
	found := false
	l.EachNode(func(x Node) bool {
		found = found || x.Compressed && (i < depth || i >= n-depth)
		i++
		return true
	})
	return found
}

func FuzzModel(f *testing.F) {
	f.Add(uint64(1), 3)
	f.Add(uint64(2), 5)
	f.Fuzz(func(t *testing.T, seed uint64, which int) {
		set := settings[uint(which)%uint(len(settings))]
		s := newSpace(t, 0)
		s.PackedThreshold = set.threshold
		l := newList(s, set.fill, set.depth)
		var m []string
		r := rand.New(rand.NewPCG(seed, 0))
		for range 300 {
			m, _, _ = step(r, l, m)
			if err := l.Check(); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(all(l, false), m) {
			t.Fatal("differs")
		}
		l.Free()
		if s.arena.Used() != 0 {
			t.Fatalf("%d bytes leak", s.arena.Used())
		}
	})
}

// TestAppendNode rebuilds a list from its nodes, as loading a file does.
func TestAppendNode(t *testing.T) {
	s := newSpace(t, 0)
	s.PackedThreshold = 500
	l, to := newList(s, -1, 1), newList(s, -1, 1)
	r := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		l.Push([]byte(element(r)), false)
	}
	for _, n := range raws(t, l) {
		if !to.AppendNode(n.Data, n.Plain) {
			t.Fatal("refused")
		}
	}
	if err := to.Check(); err != nil || !slices.Equal(all(l, false), all(to, false)) || to.Memory() > l.Memory() {
		t.Errorf("%v, %d bytes from %d", err, to.Memory(), l.Memory())
	}
}

// A list must cost little more than its listpacks.
func TestMemory(t *testing.T) {
	for _, n := range []int{1, 10, 100, 100_000} {
		s := newSpace(t, 0)
		l := newList(s, -2, 0)
		for range n {
			l.Push([]byte("element of 22 bytes..."), false)
		}
		need := int64(n*24 + l.Nodes()*(emptyListpack+nodeSize))
		if got := l.Memory(); got > need*4/3+8 {
			t.Errorf("%d elements occupy %d bytes, of which %d are needed", n, got, need)
		}
	}
}

func TestAllocs(t *testing.T) {
	s := newSpace(t, 0)
	l := newList(s, -2, 0)
	v := []byte("some element")
	for range 10_000 {
		l.Push(v, false)
	}
	if n := testing.AllocsPerRun(2000, func() {
		l.Push(v, true)
		l.Push(v, false)
		for it := l.From(5000, false); it.index < 100; it.Next() {
			it.Get()
		}
		l.Drop(true)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPush(b *testing.B) {
	for _, head := range []bool{true, false} {
		v := []byte("xxx")
		b.Run(map[bool]string{true: "head", false: "tail"}[head], func(b *testing.B) {
			s := newSpace(b, 0)
			l := newList(s, -2, 0)
			b.ReportAllocs()
			for b.Loop() {
				if l.Len() == 1_000_000 {
					l.Free()
				}
				l.Push(v, head)
			}
		})
	}
}

func BenchmarkRange100(b *testing.B) {
	s := newSpace(b, 0)
	l := newList(s, -2, 0)
	for range 1000 {
		l.Push([]byte("xxx"), true)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for it := l.From(0, false); n < 100; it.Next() {
			v, _, _ := it.Get()
			n += len(v) / 3
		}
	}
}
