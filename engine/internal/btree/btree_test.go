package btree

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/slab"
)

// set is a tree with its dict, and what should be in them, in order.
type set struct {
	t     testing.TB
	arena *slab.Arena
	dict  *dict.Dict
	tree  *Tree
	model []pair
}

type pair struct {
	score  float64
	member string
}

func comparePairs(a, b pair) int {
	return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.member, b.member))
}

func newSet(t testing.TB) *set {
	arena, err := slab.New(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(arena.Close)
	d := dict.New(arena)
	return &set{t: t, arena: arena, dict: d, tree: New(arena, d)}
}

func (s *set) find(member string) int {
	return slices.IndexFunc(s.model, func(p pair) bool { return p.member == member })
}

// add adds a member or changes its score.
func (s *set) add(score float64, member string) {
	if i := s.find(member); i >= 0 {
		if !s.tree.Update(s.model[i].score, s.dict.Find([]byte(member)), score) {
			s.t.Fatal("no memory")
		}
		s.model[i].score = score
	} else {
		r, err := s.dict.Add([]byte(member), nil, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		if !s.tree.Insert(score, r) {
			s.t.Fatal("no memory")
		}
		s.model = append(s.model, pair{score, member})
	}
	slices.SortFunc(s.model, comparePairs)
}

func (s *set) remove(member string) {
	i := s.find(member)
	if i < 0 {
		return
	}
	r := s.dict.Find([]byte(member))
	s.tree.Delete(s.model[i].score, r)
	s.dict.DeleteRef(r)
	s.model = slices.Delete(s.model, i, i+1)
}

// check compares everything that the tree tells with the model.
func (s *set) check() {
	s.t.Helper()
	l := s.tree
	if err := l.Check(); err != nil {
		s.t.Fatal(err)
	}
	if l.Len() != len(s.model) || s.dict.Len() != len(s.model) {
		s.t.Fatalf("%d nodes, %d entries, want %d", l.Len(), s.dict.Len(), len(s.model))
	}
	if used := s.dict.Used() + l.Used(); used != s.arena.Used() {
		s.t.Fatalf("%d bytes in use, %d accounted for", s.arena.Used(), used)
	}
	r := l.First()
	for i, p := range s.model {
		if l.Score(r) != p.score || string(l.Member(r)) != p.member {
			s.t.Fatalf("node %d is %v %q, want %v", i, l.Score(r), l.Member(r), p)
		}
		if rank := l.Rank(p.score, l.Ref(r)); rank != i {
			s.t.Fatalf("rank of node %d is %d", i, rank)
		}
		if at := l.At(i); at != r {
			s.t.Fatalf("At(%d) = %#x, want %#x", i, at, r)
		}
		r = l.Next(r)
	}
	if l.At(-1) != 0 || l.At(len(s.model)) != 0 {
		s.t.Fatal("a node at no rank")
	}
	r = l.Last()
	for _, p := range slices.Backward(s.model) {
		if string(l.Member(r)) != p.member {
			s.t.Fatalf("backwards: %q, want %v", l.Member(r), p)
		}
		r = l.Prev(r)
	}
}

// checkRange compares InScoreRange or InLexRange with the model.
func (s *set) checkRange(what any, rank, n int, in func(pair) bool) {
	s.t.Helper()
	first, count := 0, 0
	for i, p := range s.model {
		if in(p) {
			if count == 0 {
				first = i
			}
			count++
		}
	}
	if n != count || n > 0 && rank != first {
		s.t.Fatalf("%+v: %d from %d on, want %d from %d on, of %v", what, n, rank, count, first, s.model)
	}
}

func (s *set) checkScores(r ScoreRange) {
	s.t.Helper()
	rank, n := s.tree.InScoreRange(&r)
	s.checkRange(r, rank, n, func(p pair) bool { return r.AtLeastMin(p.score) && r.AtMostMax(p.score) })
}

func (s *set) checkLex(r LexRange) {
	s.t.Helper()
	rank, n := s.tree.InLexRange(&r)
	s.checkRange(r, rank, n, func(p pair) bool {
		return r.AtLeastMin([]byte(p.member)) && r.AtMostMax([]byte(p.member))
	})
}

func (s *set) deleteRange(rank, n int) {
	s.tree.DeleteRange(rank, n)
	s.model = slices.Delete(s.model, rank, rank+n)
}

// free gives everything back and wants nothing to be left.
func (s *set) free() {
	s.tree.Free()
	s.dict.Clear()
	if used := s.arena.Used(); used != 0 {
		s.t.Fatalf("%d bytes leaked", used)
	}
}

func TestEmpty(t *testing.T) {
	s := newSet(t)
	s.check()
	if s.tree.First() != 0 || s.tree.Last() != 0 {
		t.Fatal("an empty tree has entries")
	}
	s.checkScores(ScoreRange{Min: math.Inf(-1), Max: math.Inf(1)})
	s.checkLex(LexRange{Min: LexBound{Inf: -1}, Max: LexBound{Inf: 1}})
	s.tree.DeleteRange(0, 0)
	s.free()
}

func TestRanges(t *testing.T) {
	s := newSet(t)
	scores := []float64{math.Inf(-1), -2, 0, 0, 1, 1.5, 3, 3, 3, math.Inf(1)}
	for i, score := range scores {
		s.add(score, string(rune('a'+i)))
	}
	for _, low := range scores {
		for _, high := range scores {
			for ex := range 4 {
				s.checkScores(ScoreRange{low, high, ex&1 != 0, ex&2 != 0})
			}
		}
	}
	s.free()
	s = newSet(t)
	bounds := []LexBound{{Inf: -1}, {Inf: 1}, {Member: []byte{}}, {Member: []byte{}, Ex: true}}
	for i := range 5 {
		m := string(rune('b' + 2*i))
		s.add(0, m)
		for _, b := range []string{m, m + "x"} {
			bounds = append(bounds, LexBound{Member: []byte(b)}, LexBound{Member: []byte(b), Ex: true})
		}
	}
	for _, low := range bounds {
		for _, high := range bounds {
			s.checkLex(LexRange{low, high})
		}
	}
	s.free()
}

// A skip list's node has 1.33 levels of 8 bytes, a score, a member and the way back:
// 27 bytes.
func TestEntriesAreSmall(t *testing.T) {
	for _, order := range []string{"ascending", "descending", "random"} {
		s := newSet(t)
		const n = 100_000
		for i := range n {
			r, _ := s.dict.Add(fmt.Appendf(nil, "%d", i), nil, 0)
			score := float64(i)
			switch order {
			case "descending":
				score = -score
			case "random":
				score = rand.Float64()
			}
			s.tree.Insert(score, r)
		}
		if per := float64(s.tree.Used()) / n; per > 20 || order != "random" && per > 13 {
			t.Errorf("%s: %.2f bytes per entry", order, per)
		}
	}
}

// With any amount of memory left an operation is done or nothing has changed.
func TestOutOfMemory(t *testing.T) {
	smallNodes(t)
	s, rng := newSet(t), rand.New(rand.NewPCG(3, 4))
	inserts, updates := 0, 0
	for i := range 2000 {
		r, err := s.dict.Add(fmt.Appendf(nil, "m%d", i), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := pair{float64(rng.IntN(500)), fmt.Sprintf("m%d", i)}
		s.arena.SetLimit(s.arena.Used() + rng.Int64N(700))
		if s.tree.Insert(p.score, r) {
			s.model = append(s.model, p)
		} else {
			s.dict.DeleteRef(r)
			inserts++
		}
		if len(s.model) > 0 {
			p := &s.model[rng.IntN(len(s.model))]
			score := float64(rng.IntN(500))
			if s.tree.Update(p.score, s.dict.Find([]byte(p.member)), score) {
				p.score = score
			} else {
				updates++
			}
		}
		s.arena.SetLimit(0)
		if i%50 == 0 {
			slices.SortFunc(s.model, comparePairs)
			s.check()
		}
	}
	if inserts == 0 || updates == 0 {
		t.Fatalf("%d inserts and %d updates had no memory", inserts, updates)
	}
	s.free()
}

// smallNodes makes high trees of few entries.
func smallNodes(t testing.TB) {
	leaf, inner := leafRoom, innerRoom
	leafRoom, innerRoom = 8, 8
	t.Cleanup(func() { leafRoom, innerRoom = leaf, inner })
}

// TestModel and FuzzTree do the same operations: three bytes each.
func (s *set) run(ops []byte) {
	for ; len(ops) >= 3; ops = ops[3:] {
		op, a, b := ops[0], ops[1], ops[2]
		score, member := float64(int8(a)>>2)/2, fmt.Sprintf("%c%d", 'a'+b%3, b>>2)
		switch op % 16 {
		case 0, 1, 2, 3, 4, 5, 6:
			s.add(score, member)
		case 7, 8:
			s.remove(member)
		case 9:
			s.add(math.Inf(int(int8(a))), member)
		case 10:
			s.checkScores(ScoreRange{score, float64(b>>2) / 2, a&1 != 0, a&2 != 0})
		case 11:
			if len(s.model) > 0 {
				rank := int(a) % len(s.model)
				s.deleteRange(rank, int(b)%8%(len(s.model)-rank+1))
			}
		case 12:
			// Of a few members with one score, so that the range means something.
			for _, p := range slices.Clone(s.model) {
				s.add(1, p.member)
			}
			s.checkLex(LexRange{LexBound{Member: []byte{'a' + a%4}, Ex: a&8 != 0}, LexBound{Member: []byte(member), Ex: a&4 != 0}})
			s.check()
		default:
			if i := int(a); i < len(s.model) { // a small step
				s.add(s.model[i].score+float64(b)/512, s.model[i].member)
			}
		}
	}
	s.check()
	s.free()
}

func TestModel(t *testing.T) {
	smallNodes(t)
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 0))
		ops := make([]byte, 900)
		for i := 0; i < len(ops)-8; i += 8 {
			binary.LittleEndian.PutUint64(ops[i:], rng.Uint64())
		}
		newSet(t).run(ops)
	}
}

// TestLarge has nodes as they are.
func TestLarge(t *testing.T) {
	s, rng := newSet(t), rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		r, _ := s.dict.Add(fmt.Appendf(nil, "m%d", i), nil, 0)
		score := float64(rng.IntN(5000))
		if i < 8000 {
			score = float64(i)
		}
		s.tree.Insert(score, r)
		s.model = append(s.model, pair{score, fmt.Sprintf("m%d", i)})
	}
	slices.SortFunc(s.model, comparePairs)
	s.check()
	for range 10_000 {
		p := &s.model[rng.IntN(len(s.model))]
		score := float64(rng.IntN(9000))
		s.tree.Update(p.score, s.dict.Find([]byte(p.member)), score)
		p.score = score
	}
	slices.SortFunc(s.model, comparePairs)
	s.check()
	for len(s.model) > 0 {
		rank := rng.IntN(len(s.model))
		s.deleteRange(rank, min(len(s.model)-rank, 1+rng.IntN(1000)))
		s.check()
	}
	s.free()
}

func FuzzTree(f *testing.F) {
	smallNodes(f)
	f.Add(bytes.Repeat([]byte{0, 1, 2, 9, 200, 4, 11, 0, 7}, 20))
	f.Fuzz(func(t *testing.T, ops []byte) { newSet(t).run(ops[:min(len(ops), 600)]) })
}

func TestNoAllocations(t *testing.T) {
	s := newSet(t)
	var refs []dict.Ref
	for i := range 1000 {
		r, _ := s.dict.Add(fmt.Appendf(nil, "m%d", i), nil, 0)
		s.tree.Insert(float64(i), r)
		refs = append(refs, r)
	}
	i := 0
	r := ScoreRange{Min: 3, Max: 30}
	if n := testing.AllocsPerRun(500, func() {
		s.tree.Update(float64(i), refs[i], float64(i)-500)
		s.tree.Update(float64(i)-500, refs[i], float64(i))
		s.tree.Delete(float64(i), refs[i])
		s.tree.Insert(float64(i), refs[i])
		s.tree.Rank(float64(i), refs[i])
		s.tree.At(i)
		s.tree.InScoreRange(&r)
		i++
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func benchmarkTree(b *testing.B, n int) (*set, []dict.Ref, []float64) {
	s := newSet(b)
	refs, scores := make([]dict.Ref, n), make([]float64, n)
	for i := range n {
		refs[i], _ = s.dict.Add(fmt.Appendf(nil, "element:%012d", i), nil, 0)
		scores[i] = rand.Float64()
		s.tree.Insert(scores[i], refs[i])
	}
	return s, refs, scores
}

func BenchmarkUpdate(b *testing.B) {
	s, refs, scores := benchmarkTree(b, 1_000_000)
	for b.Loop() {
		i, score := rand.IntN(len(refs)), rand.Float64()
		s.tree.Update(scores[i], refs[i], score)
		scores[i] = score
	}
}

func BenchmarkRank(b *testing.B) {
	s, refs, scores := benchmarkTree(b, 1_000_000)
	for b.Loop() {
		i := rand.IntN(len(refs))
		s.tree.Rank(scores[i], refs[i])
	}
}
