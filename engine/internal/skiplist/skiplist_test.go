package skiplist

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

// set is a list with its dict, and what should be in them, in order.
type set struct {
	t     testing.TB
	arena *slab.Arena
	dict  *dict.Dict
	list  *List
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
	list, ok := New(arena, d)
	if !ok {
		t.Fatal("no memory")
	}
	return &set{t: t, arena: arena, dict: d, list: list}
}

func (s *set) find(member string) int {
	return slices.IndexFunc(s.model, func(p pair) bool { return p.member == member })
}

// add adds a member or changes its score.
func (s *set) add(score float64, member string) {
	if i := s.find(member); i >= 0 {
		s.list.Update(s.model[i].score, s.dict.Find([]byte(member)), score)
		s.model[i].score = score
	} else {
		r, err := s.dict.Add([]byte(member), nil, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		if _, ok := s.list.Insert(score, r); !ok {
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
	s.list.Delete(s.model[i].score, r)
	s.dict.DeleteRef(r)
	s.model = slices.Delete(s.model, i, i+1)
}

// check compares everything that the list tells with the model.
func (s *set) check() {
	s.t.Helper()
	l := s.list
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
	rank, n := s.list.InScoreRange(&r)
	s.checkRange(r, rank, n, func(p pair) bool { return r.AtLeastMin(p.score) && r.AtMostMax(p.score) })
}

func (s *set) checkLex(r LexRange) {
	s.t.Helper()
	rank, n := s.list.InLexRange(&r)
	s.checkRange(r, rank, n, func(p pair) bool {
		return r.AtLeastMin([]byte(p.member)) && r.AtMostMax([]byte(p.member))
	})
}

func (s *set) deleteRange(rank, n int) {
	s.list.DeleteRange(rank, n)
	s.model = slices.Delete(s.model, rank, rank+n)
}

// free gives everything back and wants nothing to be left.
func (s *set) free() {
	s.list.Free()
	s.dict.Clear()
	if used := s.arena.Used(); used != 0 {
		s.t.Fatalf("%d bytes leaked", used)
	}
}

func TestEmpty(t *testing.T) {
	s := newSet(t)
	s.check()
	if s.list.First() != 0 || s.list.Last() != 0 {
		t.Fatal("an empty list has nodes")
	}
	s.checkScores(ScoreRange{Min: math.Inf(-1), Max: math.Inf(1)})
	s.checkLex(LexRange{Min: LexBound{Inf: -1}, Max: LexBound{Inf: 1}})
	s.list.DeleteRange(0, 0)
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

// Redis's own estimates: a node has 1.33 levels on average.
func TestNodesAreSmall(t *testing.T) {
	s := newSet(t)
	const n = 10_000
	empty := s.list.Used()
	for i := range n {
		r, _ := s.dict.Add(fmt.Appendf(nil, "%d", i), nil, 0)
		s.list.Insert(float64(i), r)
	}
	if per := float64(s.list.Used()-empty) / n; per > 27.5 {
		t.Fatalf("%.2f bytes per node", per)
	}
}

func TestOutOfMemory(t *testing.T) {
	s := newSet(t)
	for i := range 100 {
		s.add(float64(i), fmt.Sprint(i))
	}
	s.arena.SetLimit(s.arena.Used() + 64)
	var failed bool
	for i := range 10 {
		r, err := s.dict.Add([]byte{byte(i)}, nil, 0)
		if err != nil {
			failed = true
			break
		}
		if _, ok := s.list.Insert(5, r); !ok {
			s.dict.DeleteRef(r)
			failed = true
			break
		}
		s.model = append(s.model, pair{5, string([]byte{byte(i)})})
		slices.SortFunc(s.model, comparePairs)
	}
	if !failed {
		t.Fatal("the limit was ignored")
	}
	s.check()
	if _, ok := New(s.arena, s.dict); ok {
		t.Fatal("a list without memory")
	}
	s.free()
}

// TestModel and FuzzList do the same operations: three bytes each.
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
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 0))
		ops := make([]byte, 900)
		for i := 0; i < len(ops)-8; i += 8 {
			binary.LittleEndian.PutUint64(ops[i:], rng.Uint64())
		}
		newSet(t).run(ops)
	}
}

func FuzzList(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0, 1, 2, 9, 200, 4, 11, 0, 7}, 20))
	f.Fuzz(func(t *testing.T, ops []byte) { newSet(t).run(ops[:min(len(ops), 600)]) })
}

func TestNoAllocations(t *testing.T) {
	s := newSet(t)
	var refs []dict.Ref
	for i := range 1000 {
		r, _ := s.dict.Add(fmt.Appendf(nil, "m%d", i), nil, 0)
		s.list.Insert(float64(i), r)
		refs = append(refs, r)
	}
	i := 0
	r := ScoreRange{Min: 3, Max: 30}
	if n := testing.AllocsPerRun(500, func() {
		s.list.Update(float64(i), refs[i], float64(i)-500)
		s.list.Update(float64(i)-500, refs[i], float64(i))
		s.list.Delete(float64(i), refs[i])
		s.list.Insert(float64(i), refs[i])
		s.list.Rank(float64(i), refs[i])
		s.list.At(i)
		s.list.InScoreRange(&r)
		i++
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func benchmarkList(b *testing.B, n int) (*set, []dict.Ref, []float64) {
	s := newSet(b)
	refs, scores := make([]dict.Ref, n), make([]float64, n)
	for i := range n {
		refs[i], _ = s.dict.Add(fmt.Appendf(nil, "element:%012d", i), nil, 0)
		scores[i] = rand.Float64()
		s.list.Insert(scores[i], refs[i])
	}
	return s, refs, scores
}

func BenchmarkUpdate(b *testing.B) {
	s, refs, scores := benchmarkList(b, 1_000_000)
	for b.Loop() {
		i, score := rand.IntN(len(refs)), rand.Float64()
		s.list.Update(scores[i], refs[i], score)
		scores[i] = score
	}
}

func BenchmarkRank(b *testing.B) {
	s, refs, scores := benchmarkList(b, 1_000_000)
	for b.Loop() {
		i := rand.IntN(len(refs))
		s.list.Rank(scores[i], refs[i])
	}
}
