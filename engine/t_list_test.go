package engine

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/internal/wire"
)

// listText returns the elements of the list at r, or what is wrong with it.
func listText(db *redisDb, r dict.Ref) string {
	l := listAt(db, r)
	if err := l.Check(); err != nil {
		return err.Error()
	}
	var b strings.Builder
	for it := l.From(0, false); it.Valid(); it.Next() {
		v, n, isInt := it.Get()
		if isInt {
			fmt.Fprintf(&b, "%d ", n)
		} else {
			fmt.Fprintf(&b, "%q ", v)
		}
	}
	return b.String()
}

// list makes commands on lists that are few, in nodes that are small, with elements
// that are often equal.
func (m commandMaker) list() []string {
	key := func() string { return pick(m, "l1", "l2", "l3", "l4") }
	if m.IntN(60) == 0 {
		key = m.key
	}
	element := func() string {
		return pick(m, "a", "b", "c", "", "1", "2", "02", m.integer(), m.value(), string(rune('d'+m.IntN(20))),
			strings.Repeat("x", m.IntN(200)), strings.Repeat("long ", m.IntN(3)*m.IntN(1000)))
	}
	index := func() string { return pick(m, strconv.Itoa(m.IntN(60)-30), strconv.Itoa(m.IntN(6)-3), m.integer()) }
	side := func() string { return pick(m, "LEFT", "RIGHT", "left") }
	several := func(args []string, n int, f func() string) []string {
		for range 1 + m.IntN(n) {
			args = append(args, f())
		}
		return args
	}
	switch m.IntN(40) {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		return several([]string{pick(m, "LPUSH", "RPUSH", "RPUSH", "LPUSHX", "RPUSHX"), key()}, 6, element)
	case 8, 9, 10, 11:
		return []string{"LINSERT", key(), pick(m, "BEFORE", "AFTER"), element(), element()}
	case 12, 13, 14:
		return []string{"LSET", key(), index(), element()}
	case 15, 16:
		return []string{pick(m, "LPOP", "RPOP"), key()}
	case 17:
		return []string{pick(m, "LPOP", "RPOP"), key(), pick(m, "0", "1", "3", index())}
	case 18, 19:
		return []string{"LRANGE", key(), index(), index()}
	case 20:
		return []string{"LRANGE", key(), "0", "-1"}
	case 21:
		return []string{"LTRIM", key(), strconv.Itoa(m.IntN(4)), strconv.Itoa(-m.IntN(4))}
	case 22:
		return []string{"LTRIM", key(), index(), index()}
	case 23, 24, 25:
		return []string{"LREM", key(), pick(m, "0", "1", "-1", "2", "-3", index()), element()}
	case 26, 27:
		args := []string{"LPOS", key(), element()}
		for m.IntN(2) == 0 {
			args = append(args, pick(m, "RANK", "COUNT", "MAXLEN"), pick(m, "1", "2", "-1", "-2", "0", index()))
		}
		return args
	case 28, 29, 30:
		return []string{"LMOVE", key(), key(), side(), side()}
	case 31:
		return []string{"RPOPLPUSH", key(), key()}
	case 32:
		args := several([]string{"LMPOP", strconv.Itoa(1 + m.IntN(3))}, 3, key)
		return append(append(args, side()), pick(m, nil, nil, []string{"COUNT", pick(m, "1", "4", index())})...)
	case 33:
		// Only what does not wait, or not for long.
		return append(several([]string{pick(m, "BLPOP", "BRPOP")}, 3, key), pick(m, "0.001", "-1", "nan", "0.0015"))
	case 34:
		return []string{"BLMOVE", key(), key(), side(), side(), "0.001"}
	case 35:
		return []string{pick(m, "LLEN", "TYPE"), key()}
	case 36:
		return []string{"LINDEX", key(), index()}
	case 37:
		return []string{"OBJECT", "ENCODING", key()}
	case 38:
		k, to := key(), key()
		return pick(m, []string{"COPY", k, to, "REPLACE"}, []string{"COPY", k, to}, []string{"RENAME", k, to},
			[]string{"DEL", k}, []string{"PERSIST", k}, []string{"EXPIRE", k, "1000"}, []string{"EXISTS", k, to}, []string{"SET", k, "x"})
	}
	return pick(m, []string{"CONFIG", "SET", "list-max-listpack-size", pick(m, "-2", "-1", "1", "2", "5", "128", "0")},
		[]string{"CONFIG", "SET", "list-compress-depth", pick(m, "0", "0", "1", "2")})
}

func TestListDifferential(t *testing.T) {
	differential(t, differentialTime(), commandMaker.list)
}

// BenchmarkLists is the path of commands on one list, without the socket.
func BenchmarkLists(b *testing.B) {
	for _, test := range []struct{ name, prepare, command string }{
		{"LPUSH", "", "LPUSH l xxx"},
		{"RPUSH", "", "RPUSH l xxx"},
		{"LPUSH-RPOP", "RPUSH l xxx xxx", "LPUSH l xxx|RPOP l"},
		{"LRANGE_100", "RPUSH l" + strings.Repeat(" xxx", 1000), "LRANGE l 0 99"},
		{"LRANGE_100 of integers", "RPUSH l" + strings.Repeat(" 12345", 1000), "LRANGE l 0 99"},
	} {
		b.Run(test.name, func(b *testing.B) {
			s, c := benchmarkServer(b)
			if test.prepare != "" {
				c.query, c.pos = wire.Command(strings.Fields(test.prepare)...), 0
				processInputBuffer(c)
			}
			var read []byte
			commands := strings.Split(test.command, "|")
			for i := range 16 {
				read = append(read, wire.Command(strings.Fields(commands[i%len(commands)])...)...)
			}
			b.ReportAllocs()
			before := cpuTime()
			n := 0
			for b.Loop() {
				c.query, c.pos = read, 0
				processInputBuffer(c)
				c.buf = c.buf[:0]
				if n++; n%10000 == 0 && strings.HasSuffix(test.name, "PUSH") {
					emptyData(s, s.db)
				}
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(n*16), "cpu-ns/command")
		})
	}
}
