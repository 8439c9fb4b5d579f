package btree

// ScoreRange is a range of scores. Its bounds may be infinite and are no NaN.
type ScoreRange struct {
	Min, Max     float64
	MinEx, MaxEx bool // the bound itself is not in the range
}

// AtLeastMin reports whether a score is not below the range.
func (s *ScoreRange) AtLeastMin(score float64) bool {
	return score > s.Min || score == s.Min && !s.MinEx
}

// AtMostMax reports whether a score is not above the range.
func (s *ScoreRange) AtMostMax(score float64) bool {
	return score < s.Max || score == s.Max && !s.MaxEx
}

// Empty reports whether no score can be in the range.
func (s *ScoreRange) Empty() bool {
	return s.Min > s.Max || s.Min == s.Max && (s.MinEx || s.MaxEx)
}

// LexBound is one end of a LexRange.
type LexBound struct {
	Member []byte
	Inf    int8 // -1 before all members, 1 behind all, 0 at Member
	Ex     bool // Member itself is not in the range
}

// compare returns how the bound is to a member, or to another bound when that is
// infinite.
func (b *LexBound) compare(to []byte, inf int8) int {
	switch {
	case b.Inf != inf:
		return int(b.Inf) - int(inf)
	case b.Inf != 0:
		return 0
	case string(b.Member) < string(to):
		return -1
	case string(b.Member) > string(to):
		return 1
	}
	return 0
}

// LexRange is a range of members, compared as bytes. It means something where all
// scores are the same.
type LexRange struct{ Min, Max LexBound }

// AtLeastMin reports whether a member is not below the range.
func (s *LexRange) AtLeastMin(member []byte) bool {
	c := s.Min.compare(member, 0)
	return c < 0 || c == 0 && !s.Min.Ex
}

// AtMostMax reports whether a member is not above the range.
func (s *LexRange) AtMostMax(member []byte) bool {
	c := s.Max.compare(member, 0)
	return c > 0 || c == 0 && !s.Max.Ex
}

// Empty reports whether no member can be in the range.
func (s *LexRange) Empty() bool {
	c := s.Min.compare(s.Max.Member, s.Max.Inf)
	return c > 0 || c == 0 && (s.Min.Ex || s.Max.Ex)
}

// count returns how many entries come first that below holds for. below tells it for
// the entry, or in an inner node the child's first, at i.
func (t *Tree) count(below func(x *node, i int) bool) (n int) {
	if t.root == 0 {
		return 0
	}
	r := t.root
	for level := t.height; ; level-- {
		x := t.node(r)
		low, high := 0, int(x.n)
		for low < high {
			if half := (low + high) / 2; below(x, half) {
				low = half + 1
			} else {
				high = half
			}
		}
		if level == 0 {
			return n + low
		}
		i := max(low-1, 0)
		for _, count := range x.counts()[:i] {
			n += int(count)
		}
		r = x.children()[i]
	}
}

// scoreCount returns how many entries come first that have a score below the given
// one, or with orEqual that one too.
func (t *Tree) scoreCount(score float64, orEqual bool) int {
	return t.count(func(x *node, i int) bool {
		s := x.scores()[i]
		return s < score || orEqual && s == score
	})
}

// lexCount returns how many entries come first whose member is below the bound, or
// with orEqual at it.
func (t *Tree) lexCount(bound *LexBound, orEqual bool) int {
	return t.count(func(x *node, i int) bool {
		c := bound.compare(t.dict.Key(x.refs()[i]), 0)
		return c > 0 || orEqual && c == 0
	})
}

// InScoreRange returns how many entries come before the first in the range, and how
// many are in it.
func (t *Tree) InScoreRange(s *ScoreRange) (rank, n int) {
	if s.Empty() {
		return 0, 0
	}
	rank = t.scoreCount(s.Min, s.MinEx)
	return rank, t.scoreCount(s.Max, !s.MaxEx) - rank
}

// InLexRange is InScoreRange for members.
func (t *Tree) InLexRange(s *LexRange) (rank, n int) {
	if s.Empty() {
		return 0, 0
	}
	rank = t.lexCount(&s.Min, s.Min.Ex)
	return rank, max(0, t.lexCount(&s.Max, !s.Max.Ex)-rank)
}
