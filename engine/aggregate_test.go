package engine

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/internal/wire"
)

// replyTo runs commands on a client without a socket and returns the raw replies.
func (c *client) replyTo(commands ...[]string) string {
	var b []byte
	for _, args := range commands {
		b = append(b, wire.Command(args...)...)
	}
	c.query, c.pos = b, 0
	processInputBuffer(c)
	replies := string(c.buf[c.sent:])
	c.buf = c.buf[:c.sent]
	return replies
}

// aggregateCommands are what must not allocate, with what has to be there before.
var aggregateCommands = []struct {
	name    string
	before  func(i int) []string
	command func(i int) []string
}{
	{"HGET-small", smallHash, func(i int) []string { return []string{"HGET", "h" + strconv.Itoa(i), "field3"} }},
	{"HSET-small", smallHash, func(i int) []string { return []string{"HSET", "h" + strconv.Itoa(i), "field3", "eulav"} }},
	{"HINCRBY-small", smallHash, func(i int) []string { return []string{"HINCRBY", "h" + strconv.Itoa(i), "number", "1"} }},
	{"HMGET-small", smallHash, func(i int) []string { return []string{"HMGET", "h" + strconv.Itoa(i), "field1", "number", "none"} }},
	{"HGET-large", largeHash, func(i int) []string { return []string{"HGET", "h", "field:" + strconv.Itoa(i)} }},
	{"HSET-large", largeHash, func(i int) []string { return []string{"HSET", "h", "field:" + strconv.Itoa(i), "eulav"} }},
	{"SADD-intset", smallSet, func(i int) []string { return []string{"SADD", "s" + strconv.Itoa(i), "77"} }},
	{"SISMEMBER-intset", smallSet, func(i int) []string { return []string{"SISMEMBER", "s" + strconv.Itoa(i), "77"} }},
	{"SADD-packed", packedSet, func(i int) []string { return []string{"SADD", "p" + strconv.Itoa(i), "pear"} }},
	{"SISMEMBER-packed", packedSet, func(i int) []string { return []string{"SISMEMBER", "p" + strconv.Itoa(i), "pear"} }},
	{"SRANDMEMBER-packed", packedSet, func(i int) []string { return []string{"SRANDMEMBER", "p" + strconv.Itoa(i), "2"} }},
	{"SADD-large", largeSet, func(i int) []string { return []string{"SADD", "s", "member:" + strconv.Itoa(i)} }},
	{"SISMEMBER-large", largeSet, func(i int) []string { return []string{"SISMEMBER", "s", "member:" + strconv.Itoa(i)} }},
	{"ZADD-small", smallZset, func(i int) []string { return []string{"ZADD", "z" + strconv.Itoa(i), strconv.Itoa(i), "b"} }},
	{"ZINCRBY-small", smallZset, func(i int) []string { return []string{"ZINCRBY", "z" + strconv.Itoa(i), "0.5", "c"} }},
	{"ZRANGE-small", smallZset, func(i int) []string { return []string{"ZRANGE", "z" + strconv.Itoa(i), "0", "-1", "WITHSCORES"} }},
	{"ZADD-large", largeZset, func(i int) []string {
		return []string{"ZADD", "z", strconv.Itoa(i * 7919 % 1009), "member:" + strconv.Itoa(i)}
	}},
	{"ZSCORE-large", largeZset, func(i int) []string { return []string{"ZSCORE", "z", "member:" + strconv.Itoa(i)} }},
	{"ZRANK-large", largeZset, func(i int) []string { return []string{"ZRANK", "z", "member:" + strconv.Itoa(i)} }},
	{"ZRANGEBYSCORE-large", largeZset, func(i int) []string {
		return []string{"ZRANGEBYSCORE", "z", strconv.Itoa(i), "inf", "LIMIT", "1", "10"}
	}},
}

func smallHash(i int) []string {
	return []string{"HSET", "h" + strconv.Itoa(i), "field1", "value", "field2", "value", "field3", "value", "number", "1", "last", "x"}
}
func largeHash(i int) []string { return []string{"HSET", "h", "field:" + strconv.Itoa(i), "value"} }
func smallSet(i int) []string {
	return []string{"SADD", "s" + strconv.Itoa(i), "1", "20000", "77", "-5", "12"}
}
func packedSet(i int) []string {
	return []string{"SADD", "p" + strconv.Itoa(i), "apple", "7", "pear", "plum", "fig"}
}
func largeSet(i int) []string { return []string{"SADD", "s", "member:" + strconv.Itoa(i)} }
func smallZset(i int) []string {
	return []string{"ZADD", "z" + strconv.Itoa(i), "1", "a", "2.5", "b", "-3", "c", "7", "d", "100000", "last"}
}
func largeZset(i int) []string {
	return []string{"ZADD", "z", strconv.Itoa(i), "member:" + strconv.Itoa(i)}
}

// aggregateReads returns a client of a server that was given size commands before,
// and reads of 16 commands each.
func aggregateReads(t testing.TB, size int, before, command func(int) []string) (*client, [][]byte) {
	_, c := benchmarkServer(t)
	for i := range size {
		c.replyTo(before(i))
	}
	reads := make([][]byte, size/16)
	i := 0
	for j := range reads {
		var b []byte
		for range 16 {
			b = append(b, wire.Command(command(i)...)...)
			i = (i + 7919) % size
		}
		reads[j] = b
	}
	return c, reads
}

func BenchmarkAggregates(b *testing.B) {
	for _, a := range aggregateCommands {
		b.Run(a.name, func(b *testing.B) {
			c, reads := aggregateReads(b, 50_000, a.before, a.command)
			benchmarkReads(b, c, reads)
		})
	}
}

func TestAggregatesDoNotAllocate(t *testing.T) {
	for _, a := range aggregateCommands {
		c, reads := aggregateReads(t, 800, a.before, a.command)
		n := 0
		if allocs := testing.AllocsPerRun(1000, func() {
			c.query, c.pos = reads[n%len(reads)], 0
			processInputBuffer(c)
			if c.buf[0] == '-' {
				t.Fatalf("%s: %s", a.name, c.buf)
			}
			c.buf = c.buf[:0]
			n++
		}); allocs != 0 {
			t.Errorf("%s: %v allocations in 16 commands", a.name, allocs)
		}
	}
}

// What a hash or set occupies is given back when it goes, whichever way.
func TestAggregatesGiveBack(t *testing.T) {
	s, c := benchmarkServer(t)
	fill := func(n int) {
		for i := range n {
			f := "field:" + strconv.Itoa(i)
			c.replyTo([]string{"HSET", "h", f, strings.Repeat("v", i%200)}, []string{"SADD", "s", f}, []string{"SADD", "i", strconv.Itoa(i * i)})
		}
	}
	ways := map[string]func(){
		"DEL": func() { c.replyTo([]string{"DEL", "h", "s", "i"}) },
		"SET": func() {
			c.replyTo([]string{"SET", "h", "x"}, []string{"SET", "s", "x"}, []string{"SET", "i", "x"}, []string{"DEL", "h", "s", "i"})
		},
		"RENAME": func() {
			c.replyTo([]string{"SET", "x", "y"}, []string{"RENAME", "x", "h"}, []string{"RENAME", "h", "s"}, []string{"RENAME", "s", "i"}, []string{"DEL", "i"})
		},
		"COPY": func() {
			c.replyTo([]string{"COPY", "h", "h2"}, []string{"COPY", "s", "h2", "REPLACE"}, []string{"COPY", "i", "s2"}, []string{"DEL", "h", "s", "i", "h2", "s2"})
		},
		"FLUSHALL": func() { c.replyTo([]string{"MOVE", "h", "1"}, []string{"FLUSHALL"}) },
		"PEXPIRE":  func() { c.replyTo([]string{"PEXPIRE", "h", "-1"}, []string{"PEXPIRE", "s", "0"}, []string{"DEL", "i"}) },
		"SPOP":     func() { c.replyTo([]string{"DEL", "h"}, []string{"SPOP", "s", "9999"}, []string{"SPOP", "i", "9999"}) },
		"SREM": func() {
			for i := range 3000 {
				f := "field:" + strconv.Itoa(i)
				c.replyTo([]string{"HDEL", "h", f}, []string{"SREM", "s", f}, []string{"SREM", "i", strconv.Itoa(i * i)})
			}
		},
		"SINTERSTORE": func() {
			c.replyTo([]string{"SUNIONSTORE", "h", "s", "i"}, []string{"SDIFFSTORE", "i", "h", "s"}, []string{"SINTERSTORE", "s", "s", "none"},
				[]string{"SDIFF", "h", "i"}, []string{"SUNION", "h", "i"}, []string{"SDIFFSTORE", "h", "h", "h"}, []string{"DEL", "i"})
		},
	}
	for name, remove := range ways {
		for _, n := range []int{3, 600, 3000} {
			fill(n)
			remove()
			if used := s.arena.Used(); used != 0 {
				t.Fatalf("%s of %d leaves %d bytes; keys left: %q", name, n, used, c.replyTo([]string{"KEYS", "*"}))
			}
			for i, o := range s.objects.objects {
				if o != nil {
					t.Fatalf("%s of %d leaves object %d", name, n, i)
				}
			}
		}
	}
}

// A write that finds no memory says so and changes nothing.
func TestAggregatesOutOfMemory(t *testing.T) {
	s, c := benchmarkServer(t)
	words := func(name string, n int, f func(i int) string) []string {
		args := []string{name, "k"}
		for i := range n {
			args = append(args, f(i))
		}
		return args
	}
	long := strings.Repeat("x", 100)
	text := func(i int) string { return fmt.Sprintf("%s:%d", long[:i%90], i) }
	number := func(i int) string { return strconv.Itoa(i * 1_000_003) }
	begins := map[string][]string{
		"":       nil,
		"hash":   words("HSET", 20, number),
		"table":  words("HSET", 2000, text),
		"packed": words("SADD", 6, func(i int) string { return "word" + number(i) }),
		"ints":   words("SADD", 300, number),
		"set":    words("SADD", 700, text),
	}
	writes := [][]string{
		words("HSET", 2, text), words("HSET", 40, text), words("HSET", 4000, text), words("HSETNX", 2, func(int) string { return long }),
		{"HINCRBY", "k", "n", "1"}, {"HINCRBYFLOAT", "k", "n", "1.5"}, {"HSET", "k", "0", long[:60]},
		words("SADD", 1, text), words("SADD", 100, text), words("SADD", 2000, number), words("SADD", 2000, text), {"SADD", "k", "99999999999999"},
		{"SPOP", "k", "295"}, {"SUNIONSTORE", "k", "k", "other"}, {"SUNIONSTORE", "new", "k", "other"}, {"SDIFFSTORE", "k", "other", "k"},
		{"SINTERSTORE", "new", "k", "k"}, {"SMOVE", "other", "k", "o3"}, {"SMOVE", "k", "other", "1000003"}, {"COPY", "k", "new"},
		{"SUNION", "k", "other"}, {"SDIFF", "other", "k"},
		words("HDEL", 5, number), words("SREM", 5, number), {"SPOP", "k"},
	}
	refused, step := 0, int64(2)
	if testing.Short() {
		step = 4
	}
	for kind, begin := range begins {
		for _, write := range writes {
			for room := int64(0); room < 200_000; room = room*step + 8 {
				s.arena.SetLimit(0)
				c.replyTo([]string{"FLUSHALL"})
				c.replyTo(words("SADD", 20, func(i int) string { return "o" + strconv.Itoa(i) }), []string{"RENAME", "k", "other"})
				if begin != nil {
					c.replyTo(begin)
				}
				before := contents(s.db[0])
				s.arena.SetLimit(s.arena.Used() + room)
				reply := c.replyTo(write)
				s.arena.SetLimit(0)
				if !strings.HasPrefix(reply, "-OOM") {
					if strings.Contains(reply, "OOM") {
						t.Fatalf("%.60q to %s: %.300q", write, kind, reply)
					}
					break // there is enough
				}
				refused++
				if after := contents(s.db[0]); after != before {
					t.Fatalf("%.60q to %s, refused with room for %d, changed\n%.2000s\nto\n%.2000s", write, kind, room, before, after)
				}
			}
		}
	}
	if refused < 100 {
		t.Errorf("only %d writes refused", refused)
	}
}

// contents spells out all hashes and sets of a database.
func contents(db *redisDb) string {
	var lines []string
	it := db.dict.SafeIterator()
	for it.Next() {
		r := it.Ref()
		var items []string
		var scratch [20]byte
		switch metaType(db.dict.Meta(r)) {
		case typeHash:
			for h := hashTypeInitIterator(hashTypeAt(db, r)); hashTypeNext(&h); {
				items = append(items, fmt.Sprintf("%q", h.field(&scratch)), fmt.Sprintf("%q", h.value(&scratch)))
			}
		case typeSet:
			s := setTypeInitIterator(setTypeAt(db, r))
			for m := setTypeNext(&s, &scratch); m != nil; m = setTypeNext(&s, &scratch) {
				items = append(items, fmt.Sprintf("%q", m))
			}
		}
		sortPairs(items, metaType(db.dict.Meta(r)) == typeHash)
		lines = append(lines, fmt.Sprintf("%q %s: %s", db.dict.Key(r), encodingNames[metaEncoding(db.dict.Meta(r))], strings.Join(items, " ")))
	}
	it.Release()
	sortPairs(lines, false)
	return strings.Join(lines, "\n")
}

// Every member that is in the set all the time is seen by a scan, while the table
// grows and shrinks.
func TestScanOfTablesUnderResize(t *testing.T) {
	_, c := benchmarkServer(t)
	member := func(i int) string { return "m" + strconv.Itoa(i) }
	for _, command := range []string{"SSCAN", "HSCAN"} {
		for round := range 6 {
			c.replyTo([]string{"FLUSHALL"})
			add := func(i int) {
				if command == "SSCAN" {
					c.replyTo([]string{"SADD", "k", member(i)})
				} else {
					c.replyTo([]string{"HSET", "k", member(i), strings.Repeat("v", 65)})
				}
			}
			const always = 500
			for i := range always {
				add(i)
			}
			if round%2 == 1 {
				for i := range 3_000 {
					add(always + i)
				}
			}
			seen, next := map[string]bool{}, always
			for cursor, turns := "0", 0; ; turns++ {
				v := parseReply(t, c.replyTo([]string{command, "k", cursor, "COUNT", "10"}))
				cursor = v.Items[0].Text
				for _, item := range v.Items[1].Items {
					seen[item.Text] = true
				}
				if cursor == "0" {
					break
				}
				for range 30 {
					if round%2 == 0 {
						add(next)
					} else {
						c.replyTo([]string{"SREM", "k", member(next)}, []string{"HDEL", "k", member(next)})
					}
					next++
				}
				if turns > 20_000 {
					t.Fatal("the scan does not end")
				}
				if round%2 == 0 && turns > 60 {
					next -= 30 // grown enough
				}
			}
			for i := range always {
				if !seen[member(i)] {
					t.Fatalf("%s round %d: %s was not seen", command, round, member(i))
				}
			}
		}
	}
}

// Each member, and each pair of members, comes as often as the others.
func TestRandomMembersAreFair(t *testing.T) {
	s, c := benchmarkServer(t)
	const n, draws = 12, 2_000
	for _, kind := range []string{"ints", "packed", "table"} {
		c.replyTo([]string{"FLUSHALL"})
		if kind != "ints" {
			s.config.SetMaxIntsetEntries, s.config.HashMaxListpackEntries = 0, 0
		}
		for i := range n {
			c.replyTo([]string{"SADD", "s", strconv.Itoa(i)}, []string{"HSET", "h", strconv.Itoa(i), "x"})
		}
		if kind == "table" {
			makeSetTable(c, "s")
		}
		for _, command := range [][]string{
			{"SRANDMEMBER", "s", "1"}, {"SRANDMEMBER", "s", "3"}, {"SRANDMEMBER", "s", "9"}, {"SRANDMEMBER", "s", "-3"},
			{"HRANDFIELD", "h", "1"}, {"HRANDFIELD", "h", "3"}, {"HRANDFIELD", "h", "9"}, {"HRANDFIELD", "h", "-3"},
			{"SPOP", "copy", "1"}, {"SPOP", "copy", "3"}, {"SPOP", "copy", "11"},
		} {
			counts, all := map[string]int{}, 0
			for range draws {
				if command[0] == "SPOP" {
					c.replyTo([]string{"COPY", "s", "copy", "REPLACE"})
				}
				for _, item := range parseReply(t, c.replyTo(command)).Items {
					counts[item.Text]++
					all++
				}
			}
			for m, k := range counts {
				// More than six standard deviations.
				if want := float64(all) / n; float64(k) < want*0.5 || float64(k) > want*1.5 {
					t.Errorf("%s, %v: %s came %d times of %d", kind, command, m, k, all)
				}
			}
			if len(counts) != n {
				t.Errorf("%s, %v: %d of %d came", kind, command, len(counts), n)
			}
		}
	}
}

var _ heapObject = (*hashTable)(nil)
var _ heapObject = (*setTable)(nil)

func TestObjectMemory(t *testing.T) {
	s, c := benchmarkServer(t)
	c.replyTo([]string{"SADD", "s", "a", "b"}, []string{"HSET", "h", "f", strings.Repeat("v", 100)})
	makeSetTable(c, "s")
	for _, key := range []string{"s", "h"} {
		r := s.db[0].dict.Find([]byte(key))
		o := s.db[0].objectAt(r)
		copied, err := o.dup()
		if err != nil || copied.memory() != o.memory() || o.memory() < 200 {
			t.Errorf("%s takes %d bytes, its copy %d, %v", key, o.memory(), copied.memory(), err)
		}
		copied.free()
	}
	if r := s.db[0].dict.Find([]byte("s")); s.db[0].objectAt(r).(*setTable).Find([]byte("a")) == dict.Ref(0) {
		t.Error("freeing the copy hurt")
	}
}

// makeSetTable makes a set a table, whatever it was, with the same members.
func makeSetTable(c *client, key string) {
	tooLong := strings.Repeat("x", packedMaxBytes)
	c.replyTo([]string{"SADD", key, tooLong}, []string{"SREM", key, tooLong})
}

func parseReply(t testing.TB, raw string) wire.Reply {
	t.Helper()
	v, err := wire.ReadReply(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	return v
}

// sortPairs sorts items, or pairs of them by the first.
func sortPairs(items []string, pairs bool) {
	if !pairs {
		slices.Sort(items)
		return
	}
	chunks := slices.Collect(slices.Chunk(slices.Clone(items), 2))
	slices.SortFunc(chunks, slices.Compare)
	copy(items, slices.Concat(chunks...))
}
