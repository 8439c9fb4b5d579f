package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/wire"
)

// pairsReply and anyOrder say what of a reply has no order: the items, or items in
// pairs.
var (
	pairsReply = map[string]bool{"HGETALL": true, "HSCAN": true, "HRANDFIELD": true}
	anyOrder   = map[string]bool{"HKEYS": true, "HVALS": true, "SMEMBERS": true, "SINTER": true, "SUNION": true, "SDIFF": true, "SSCAN": true, "SPOP": true, "SRANDMEMBER": true}
)

// inOrder sorts what has no order.
func inOrder(args []string, v wire.Reply) wire.Reply {
	name := strings.ToUpper(args[0])
	if name == "DUMP" && v.Text != "" && (v.Text[0] == 2 || v.Text[0] == 4) {
		v.Text = v.Text[:1] // a table, of a set or a hash
	}
	items := &v.Items
	if strings.HasSuffix(name, "SCAN") && len(v.Items) == 2 {
		items = &v.Items[1].Items
	}
	size := 1
	if pairsReply[name] && (name != "HRANDFIELD" || len(args) > 3) {
		size = 2
	} else if !anyOrder[name] && !pairsReply[name] {
		return v
	}
	if v.Kind == '%' || len(*items)%size != 0 {
		return v
	}
	parts := slices.Collect(slices.Chunk(slices.Clone(*items), size))
	slices.SortFunc(parts, func(a, b []wire.Reply) int {
		return slices.CompareFunc(a, b, func(a, b wire.Reply) int { return strings.Compare(a.Text, b.Text) })
	})
	*items = slices.Concat(parts...)
	return v
}

// aggregate makes commands on hashes and sets that are few, so that they meet, small
// enough to become empty, and on both sides of the limits of their encodings.
func (m commandMaker) aggregate() []string {
	hash := func() string { return pick(m, "h1", "h2", "h3", "h4") }
	set := func() string { return pick(m, "s1", "s2", "s3", "s4", "s5") }
	if m.IntN(40) == 0 {
		hash, set = m.key, m.key
	}
	field := func() string {
		return pick(m, "a", "b", "c", "", "1", "2", "-7", "300", "01", "9223372036854775807", "-9223372036854775808", "70000",
			strings.Repeat("f", 64), strings.Repeat("f", 65), string(rune('d'+m.IntN(20))), fmt.Sprint(m.IntN(20)), fmt.Sprint(1<<m.IntN(62)))
	}
	value := func() string {
		return pick(m, m.integer(), m.integer(), m.value(), field(), strings.Repeat("v", m.IntN(70)))
	}
	several := func(args []string, n int, f func() string) []string {
		for range 1 + m.IntN(n) {
			args = append(args, f())
		}
		return args
	}
	switch m.IntN(40) {
	case 0, 1, 2, 3, 4:
		args := []string{pick(m, "HSET", "HSET", "HMSET"), hash()}
		for range 1 + m.IntN(4)*m.IntN(3) {
			args = append(args, field(), value())
		}
		if m.IntN(50) == 0 {
			args = append(args, "odd")
		}
		return args
	case 5:
		return []string{"HSETNX", hash(), field(), value()}
	case 6, 7:
		return []string{pick(m, "HGET", "HSTRLEN", "HEXISTS"), hash(), field()}
	case 8:
		return several([]string{"HMGET", hash()}, 4, field)
	case 9, 10, 11:
		return several([]string{"HDEL", hash()}, 6, field)
	case 12:
		return []string{pick(m, "HLEN", "HKEYS", "HVALS", "HGETALL"), hash()}
	case 13, 14:
		return []string{"HINCRBY", hash(), field(), m.integer()}
	case 15:
		return []string{"HINCRBYFLOAT", hash(), field(), m.float()}
	case 16:
		return []string{"HRANDFIELD", hash(), "9999", "WITHVALUES"}
	case 17:
		args := []string{pick(m, "HSCAN", "SSCAN"), pick(m, hash(), set()), "0", "COUNT", "100000"}
		if m.IntN(2) == 0 {
			args = append(args, "MATCH", pick(m, "*", "a*", "[0-9]*", "f*", "", "?"))
		}
		return args
	case 18, 19, 20, 21, 22:
		return several([]string{"SADD", set()}, 5, field)
	case 23, 24:
		return several([]string{"SREM", set()}, 8, field)
	case 25:
		return []string{"SMOVE", set(), set(), field()}
	case 26:
		return []string{"SISMEMBER", set(), field()}
	case 27:
		return several([]string{"SMISMEMBER", set()}, 5, field)
	case 28:
		return []string{pick(m, "SCARD", "SMEMBERS"), set()}
	case 29:
		return []string{pick(m, "SPOP", "SRANDMEMBER"), set(), "9999"}
	case 30, 31:
		return several([]string{pick(m, "SINTER", "SUNION", "SDIFF")}, 4, set)
	case 32, 33:
		return several([]string{pick(m, "SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"), set()}, 4, set)
	case 34:
		args := several([]string{"SINTERCARD", "2", set()}, 2, set)
		return append(args, pick(m, []string{}, []string{"LIMIT", m.integer()})...)
	case 35:
		return []string{"DUMP", pick(m, hash(), set())}
	case 36, 37:
		return []string{"OBJECT", "ENCODING", pick(m, hash(), set())}
	case 38:
		k, to := hash(), hash()
		if m.IntN(2) == 0 {
			k, to = set(), set()
		}
		return pick(m, []string{"COPY", k, to, "REPLACE"}, []string{"COPY", k, to}, []string{"RENAME", k, to}, []string{"TYPE", k},
			[]string{"DEL", k}, []string{"PERSIST", k}, []string{"EXPIRE", k, "1000"}, []string{"EXISTS", k, to}, []string{"DEL", k, to})
	}
	return pick(m, []string{"CONFIG", "SET", "hash-max-listpack-entries", pick(m, "0", "2", "5", "512")},
		[]string{"CONFIG", "SET", "hash-max-listpack-value", pick(m, "3", "64", "64", "64")},
		[]string{"CONFIG", "SET", "set-max-intset-entries", pick(m, "0", "3", "512")})
}

func TestAggregateDifferential(t *testing.T) {
	theirs, ours := dial(t, startOracle(t)), dial(t, startOurs(t))
	m := commandMaker{newRand(t)}
	sent := 0
	var last []string
	for end := time.Now().Add(differentialTime()); time.Now().Before(end); {
		batch := make([][]string, 200)
		for i := range batch {
			batch[i] = m.aggregate()
		}
		want, got := theirs.pipeline(t, batch), ours.pipeline(t, batch)
		for i, args := range batch {
			if got, want := inOrder(args, got[i]), inOrder(args, want[i]); !got.Equal(want) {
				t.Fatalf("after %d commands: %.200q\ngot  %.300s\nwant %.300s\nbefore:\n%s", sent+i, args, got, want, strings.Join(last[max(0, len(last)-60):], "\n"))
			}
			last = append(last, fmt.Sprintf("%.60q", args))
		}
		sent += len(batch)
		last = last[max(0, len(last)-100):]
	}
	t.Logf("%d commands", sent)
}
