package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// benchmarkZset makes a sorted set of n members with random scores.
func benchmarkZset(b testing.TB, n int) (*Server, *client) {
	s, c := benchmarkServer(b)
	z := newZset(s.arena)
	for i := range n {
		if err := z.add(fmt.Appendf(nil, "element:%012d", i), rand.Float64()*float64(n)); err != nil {
			b.Fatal(err)
		}
	}
	key := []byte("z")
	if _, ok := dbAddObject(c, c.db, c.hash(key), key, typeZset, encodingSkiplist, z); !ok {
		b.Fatal("no memory")
	}
	return s, c
}

// A pipeline of 16 commands, on a sorted set of 1,000,000 members.
func BenchmarkZset(b *testing.B) {
	const members = 1_000_000
	for name, command := range map[string]func() []string{
		"ZADD": func() []string {
			return []string{"ZADD", "z", fmt.Sprint(rand.IntN(members)), fmt.Sprintf("element:%012d", rand.IntN(members))}
		},
		"ZSCORE": func() []string { return []string{"ZSCORE", "z", fmt.Sprintf("element:%012d", rand.IntN(members))} },
		"ZRANGE_100": func() []string {
			from := rand.IntN(members - 100)
			return []string{"ZRANGE", "z", fmt.Sprint(from), fmt.Sprint(from + 99)}
		},
		"ZRANGE_100_SAME": func() []string { return []string{"ZRANGE", "z", "500000", "500099"} },
	} {
		b.Run(name, func(b *testing.B) {
			_, c := benchmarkZset(b, members)
			reads := pipelines(16, members, func(string) []string { return command() })
			benchmarkReads(b, c, reads)
		})
	}
}

// zaddMembers is a ZADD of n members.
func zaddMembers(key string, n int, member func(i int) string) []string {
	args := []string{"ZADD", key}
	for i := range n {
		args = append(args, fmt.Sprintf("%d.5", i*7919%1009), member(i))
	}
	return args
}

func numbered(i int) string { return fmt.Sprintf("member:%d", i) }

// What a sorted set occupies is given back when it goes, whichever way.
func TestZsetGivesBack(t *testing.T) {
	s, c := benchmarkServer(t)
	for _, n := range []int{3, 100, 2000} {
		for _, ways := range [][]string{
			{"DEL z"},
			{"SET z x", "DEL z"},
			{"RENAME z y", "DEL y"},
			{"COPY z y", "FLUSHALL"},
			{"PEXPIRE z -1"},
			{"ZPOPMIN z 1", "ZPOPMAX z 99999"},
			{"ZMPOP 1 z MAX COUNT 99999"},
			{"ZREMRANGEBYRANK z 1 -2", "ZREMRANGEBYSCORE z -inf inf"},
			{"ZREMRANGEBYLEX z - +", "DEL z"},
			{"ZRANGESTORE z z 0 -1", "ZRANGESTORE y z 0 1", "ZRANGESTORE y z 1 0", "ZRANGESTORE z nokey 0 -1"},
			{"ZUNIONSTORE y 2 z z", "ZINTERSTORE y 2 y z", "ZDIFFSTORE y 2 y z", "ZUNION 2 z z", "ZINTER 2 z z", "ZDIFF 1 z", "ZINTERCARD 1 z", "DEL z"},
			{"GEOSEARCHSTORE y z FROMLONLAT -179 -85 BYRADIUS 100 km", "GEORADIUS z 0 0 1 km STORE z", "DEL z y"},
			{"CONFIG SET zset-max-listpack-entries 0", "ZADD z 1 one", "DEL z", "CONFIG SET zset-max-listpack-entries 128"},
		} {
			c.replyTo(zaddMembers("z", n, numbered))
			for _, command := range ways {
				if reply := c.replyTo(strings.Fields(command)); reply[0] == '-' {
					t.Fatalf("%s: %s", command, reply)
				}
			}
			if used := s.arena.Used(); used != 0 {
				t.Fatalf("%q of %d members leave %d bytes; keys left: %q", ways, n, used, c.replyTo([]string{"KEYS", "*"}))
			}
			for i, o := range s.objects.objects {
				if o != nil {
					t.Fatalf("%q of %d members leave object %d", ways, n, i)
				}
			}
		}
	}
}

// A write that finds no memory says so and changes nothing.
func TestZsetOutOfMemory(t *testing.T) {
	s, c := benchmarkServer(t)
	long := strings.Repeat("x", 100)
	state := func() string {
		return c.replyTo([]string{"ZRANGE", "z", "0", "-1", "WITHSCORES"}, []string{"OBJECT", "ENCODING", "z"},
			[]string{"ZRANGE", "y", "0", "-1", "WITHSCORES"}, []string{"OBJECT", "ENCODING", "y"})
	}
	refused, step := 0, int64(2)
	if testing.Short() {
		step = 4
	}
	for _, n := range []int{0, 3, 127, 128, 400} {
		for _, write := range [][]string{
			{"ZADD", "z", "1", "one"}, {"ZADD", "z", "1", long}, {"ZADD", "z", "1", long, "2", "two", "3", "three"}, {"ZINCRBY", "z", "1.5", "member:1"},
			zaddMembers("z", 50, func(i int) string { return numbered(1000 + i) }), zaddMembers("z", 300, func(i int) string { return numbered(1000 + i) }),
			{"ZRANGESTORE", "y", "z", "0", "-1"}, {"ZUNIONSTORE", "y", "2", "y", "z"}, {"ZUNION", "2", "y", "z"}, {"ZDIFFSTORE", "z", "2", "z", "y"},
			{"ZPOPMIN", "z", "2"}, {"ZREM", "z", "member:1"}, {"ZREMRANGEBYRANK", "z", "1", "-2"}, {"COPY", "z", "y", "REPLACE"},
			{"GEOADD", "z", "1", "1", "one"}, {"GEOSEARCHSTORE", "y", "z", "FROMLONLAT", "-180", "-85", "BYRADIUS", "100", "km"},
		} {
			for room := int64(0); room < 100_000; room = room*step + 8 {
				s.arena.SetLimit(0)
				c.replyTo([]string{"FLUSHALL"}, zaddMembers("y", 5, numbered))
				if n > 0 {
					c.replyTo(zaddMembers("z", n, numbered))
				}
				before := state()
				s.arena.SetLimit(s.arena.Used() + room)
				reply := c.replyTo(write)
				s.arena.SetLimit(0)
				if strings.HasPrefix(reply, "-OOM") {
					refused++
					if after := state(); after != before {
						t.Fatalf("%.80q with %d members and %d bytes left: refused, but changed\n%q\nto\n%q", write, n, room, before, after)
					}
				} else if reply[0] == '-' {
					t.Fatalf("%.80q: %s", write, reply)
				}
				c.replyTo([]string{"DEL", "z", "y"})
				if used := s.arena.Used(); used != 0 {
					t.Fatalf("%.80q with %d members and %d bytes left: %d bytes leaked", write, n, room, used)
				}
			}
		}
	}
	if refused < 100 {
		t.Fatalf("only %d writes were refused", refused)
	}
}
