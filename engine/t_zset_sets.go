package engine

import (
	"strconv"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/intset"
)

// setView is a set to look at.
type setView struct{ is []byte }

func setAt(db *redisDb, r dict.Ref) setView { return setView{db.dict.Value(r)} }
func (s *setView) len() int                 { return intset.Len(s.is) }
func (s *setView) has(m []byte) bool {
	n, ok := parseInt64(m)
	return ok && intset.Find(s.is, n)
}
func (s *setView) each(fn func([]byte) bool) {
	var b [20]byte
	for i := range intset.Len(s.is) {
		if !fn(strconv.AppendInt(b[:0], intset.Get(s.is, i), 10)) {
			return
		}
	}
}

func zscanCommand(c *client) { addReply(c, shared.syntaxerr) }
