package engine

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// setMembers are members of all kinds, of which the first n make sets that are
// packed or not: integers, what only looks like one, and strings of some length.
func setMembers(n int) []string {
	all := []string{"", "0", "-0", "7", "007", "+7", "127", "128", "-5", "9223372036854775807", "9223372036854775808", " 1", "1e3", "a\x00b", "a", "b"}
	for i := len(all); i < n; i++ {
		all = append(all, fmt.Sprint("member:", i))
	}
	return append(all[:n:n], strings.Repeat("x", 300), strings.Repeat("y", 64), strings.Repeat("y", 63))
}

func (c *client) members(t *testing.T, key string) []string {
	t.Helper()
	var members []string
	for _, item := range parseReply(t, c.replyTo([]string{"SMEMBERS", key})).Items {
		members = append(members, item.Text)
	}
	slices.Sort(members)
	return members
}

// TestSetsAgainstModel changes sets around the limits of a packed one, and holds
// all there is to ask about them against Go's map.
func TestSetsAgainstModel(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 0))
		s, c := benchmarkServer(t)
		s.config.SetMaxIntsetEntries = []int64{0, 4, 512}[seed%3]
		db := s.db[0]
		all := setMembers([]int{8, 16, packedMaxEntries + 8}[random.IntN(3)])
		pick := func() string { return all[random.IntN(len(all))] }
		model := map[string]bool{}
		packed, wasHashtable := 0, false
		for step := range 400 {
			var command []string
			want := ""
			switch op := random.IntN(20); {
			case op < 10:
				command = []string{"SADD", "s"}
				before := len(model)
				for range 1 + random.IntN(3)*random.IntN(3) {
					m := pick()
					command, model[m] = append(command, m), true
				}
				want = fmt.Sprintf(":%d\r\n", len(model)-before)
			case op < 17:
				command = []string{"SREM", "s"}
				before := len(model)
				for range 1 + random.IntN(3) {
					m := pick()
					command = append(command, m)
					delete(model, m)
				}
				want = fmt.Sprintf(":%d\r\n", before-len(model))
			case op < 18:
				c.replyTo([]string{"COPY", "s", "copy", "REPLACE"}, []string{"RENAME", "copy", "s"})
			case op < 19 && len(model) > 0:
				dump := parseReply(t, c.replyTo([]string{"DUMP", "s"})).Text
				command, want = []string{"RESTORE", "s", "0", dump, "REPLACE"}, "+OK\r\n"
				wasHashtable = false
			default:
				m := pick()
				command, want = []string{"SISMEMBER", "s", m}, ":0\r\n"
				if model[m] {
					want = ":1\r\n"
				}
			}
			if command != nil {
				if got := c.replyTo(command); got != want {
					t.Fatalf("seed %d, step %d: %.300q: got %q, want %q", seed, step, command, got, want)
				}
			}
			if got, want := c.members(t, "s"), slices.Sorted(maps.Keys(model)); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: after %.300q: %.900q, want %.900q", seed, step, command, got, want)
			}
			r := db.dict.Find([]byte("s"))
			if r == 0 {
				wasHashtable = false
				continue
			}
			e := metaEncoding(db.dict.Meta(r))
			if wasHashtable && e == encodingIntset {
				t.Fatalf("seed %d, step %d: %.300q has made an intset again", seed, step, command)
			}
			wasHashtable = e != encodingIntset
			if told := c.replyTo([]string{"OBJECT", "ENCODING", "s"}); wasHashtable != strings.Contains(told, "hashtable") {
				t.Fatalf("encoding %d is told as %q", e, told)
			}
			if e == encodingPacked {
				packed++
				if lp := db.dict.Value(r); len(lp) > packedMaxBytes || len(model) > packedMaxEntries {
					t.Fatalf("seed %d, step %d: %d members in %d bytes", seed, step, len(model), len(lp))
				}
			}
			if buckets, _ := db.dict.Overhead(); db.valueMemory(r)+buckets < s.arena.Used() {
				t.Fatalf("the key takes %d and buckets %d of %d", db.valueMemory(r), buckets, s.arena.Used())
			}
		}
		if packed == 0 {
			t.Errorf("seed %d: never packed", seed)
		}
		c.replyTo([]string{"DEL", "s"})
		if used := s.arena.Used(); used != 0 {
			t.Fatalf("seed %d: %d bytes are left", seed, used)
		}
	}
}

// TestSetOperationsOfEveryKind unites, intersects and subtracts sets of every kind.
func TestSetOperationsOfEveryKind(t *testing.T) {
	s, c := benchmarkServer(t)
	kinds := map[string]encoding{"ints": encodingIntset, "packed": encodingPacked, "table": encodingHashtable}
	c.replyTo([]string{"SADD", "ints", "1", "2", "3", "7"}, []string{"SADD", "packed", "a", "b", "2", "7", "07"}, []string{"SADD", "table", "b", "c", "3", "7", "07"})
	makeSetTable(c, "table")
	sets := map[string][]string{}
	for key, want := range kinds {
		r := s.db[0].dict.Find([]byte(key))
		if e := metaEncoding(s.db[0].dict.Meta(r)); e != want {
			t.Fatalf("%s has encoding %d", key, e)
		}
		sets[key] = c.members(t, key)
	}
	sets["none"] = nil
	for a, first := range sets {
		for b, second := range sets {
			for _, op := range []struct {
				name string
				want []string
			}{
				{"SUNION", slices.Concat(first, second)},
				{"SINTER", slices.DeleteFunc(slices.Clone(first), func(m string) bool { return !slices.Contains(second, m) })},
				{"SDIFF", slices.DeleteFunc(slices.Clone(first), func(m string) bool { return slices.Contains(second, m) })},
			} {
				slices.Sort(op.want)
				op.want = slices.Compact(op.want)
				var got []string
				for _, item := range parseReply(t, c.replyTo([]string{op.name, a, b})).Items {
					got = append(got, item.Text)
				}
				slices.Sort(got)
				stored := c.replyTo([]string{op.name + "STORE", "to", a, b})
				if !slices.Equal(got, op.want) || stored != fmt.Sprintf(":%d\r\n", len(got)) || !slices.Equal(c.members(t, "to"), op.want) {
					t.Errorf("%s %s %s: %q, stored %q %q, want %q", op.name, a, b, got, stored, c.members(t, "to"), op.want)
				}
			}
		}
	}
}

// TestScanOfPackedSet wants all of a packed set at once, with whatever cursor: a
// scan that began before the set became a table is over then, and one that began on
// a table misses nothing when the set is made anew and is packed.
func TestScanOfPackedSet(t *testing.T) {
	s, c := benchmarkServer(t)
	many := []string{"SADD", "s"}
	for i := range 200 {
		many = append(many, fmt.Sprint("member:", i))
	}
	c.replyTo(many)
	began := parseReply(t, c.replyTo([]string{"SSCAN", "s", "0", "COUNT", "2"}))
	if began.Items[0].Text == "0" {
		t.Fatal("a scan of 200 members was over at once")
	}
	c.replyTo([]string{"SPOP", "s", "190"})
	if r := s.db[0].dict.Find([]byte("s")); metaEncoding(s.db[0].dict.Meta(r)) != encodingPacked {
		t.Fatal("what SPOP has left of a large set is not packed")
	}
	for _, cursor := range []string{began.Items[0].Text, "0"} {
		v := parseReply(t, c.replyTo([]string{"SSCAN", "s", cursor, "COUNT", "1"}))
		var seen []string
		for _, item := range v.Items[1].Items {
			seen = append(seen, item.Text)
		}
		slices.Sort(seen)
		if v.Items[0].Text != "0" || !slices.Equal(seen, c.members(t, "s")) || len(seen) != 10 {
			t.Errorf("from cursor %s: %q and %q", cursor, v.Items[0].Text, seen)
		}
	}
	if v := parseReply(t, c.replyTo([]string{"SSCAN", "s", "0", "MATCH", "none*"})); v.Items[0].Text != "0" || len(v.Items[1].Items) != 0 {
		t.Error(v)
	}
}
