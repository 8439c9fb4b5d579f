package engine

import (
	"bufio"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/engine/internal/rdb"
	"github.com/redscope/redscope/engine/internal/resp"
	"github.com/redscope/redscope/internal/wire"
)

var mutantsFlag = flag.Duration("mutants", 3*time.Second, "how long TestRestoreMutants sends damaged payloads")

// makers fill a key of each kind in each encoding.
var makers = []string{
	"SET k abc", "SET k 12345", "SET k -9223372036854775808", "SETRANGE k 1000 x", "SETBIT k 10000 1",
	"RPUSH k a 1 -1 bbbb 70000 hello", "RPUSH k 1 2 3;CONFIG SET list-max-listpack-size 2;DEL k;RPUSH k a b c d e f g h;LREM k 1 d",
	"CONFIG SET list-max-listpack-size 5;CONFIG SET list-compress-depth 1;RPUSH k $ $ $ $ $ $ $ $ $ $ $ $ $ $ $ $ $ $ $ $ $ $;LSET k 9 x",
	"SADD k 1 2 3", "SADD k 70000 -5", "SADD k 9223372036854775807 1", "SADD k a 1 hello", "CONFIG SET set-max-intset-entries 2;SADD k 1 2 3",
	"HSET k a 1 b hello c 70000", "HSET k a $", "CONFIG SET hash-max-listpack-entries 1;HSET k a 1 b 2 c $",
	"ZADD k 1 a 2.5 b inf c -1e300 d", "CONFIG SET zset-max-listpack-entries 2;ZADD k 1 a 2.5 b inf c 1 d 1 e", "GEOADD k 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
	"XADD k 1-1 f v;XADD k 1-2 f w;XADD k 2-5 g 1 h 2;XDEL k 1-2",
	"CONFIG SET stream-node-max-entries 2;XADD k 1 a 1;XADD k 2 a 2;XADD k 3 a 3;XADD k 4 b $;XADD k 5 a 5;XTRIM k MAXLEN 4;XGROUP CREATE k g 0;XGROUP CREATE k h 3;" +
		"XREADGROUP GROUP g one COUNT 2 STREAMS k >;XREADGROUP GROUP g two COUNT 1 STREAMS k >;XACK k g 2;XGROUP CREATECONSUMER k h nobody",
	"XGROUP CREATE k g $ MKSTREAM", "XADD k 5-0 a b;XDEL k 5-0",
}

// make runs the commands of a line on empty servers with default settings; "$" is a
// long string.
func makeKey(t testing.TB, line string, servers ...*testConn) {
	t.Helper()
	for _, c := range servers {
		reset(t, c)
		for command := range strings.SplitSeq(line, ";") {
			args := strings.Fields(command)
			for i, a := range args {
				if a == "$" && args[0] != "XGROUP" {
					args[i] = strings.Repeat("long ", 20)
				}
			}
			if v := c.do(t, args...); v.Kind == '-' {
				t.Fatalf("%q: %s", args, v)
			}
		}
	}
}

func reset(t testing.TB, c *testConn) {
	t.Helper()
	for _, args := range [][]string{{"FLUSHALL"}, {"CONFIG", "SET", "list-max-listpack-size", "-2", "list-compress-depth", "0", "set-max-intset-entries", "512",
		"hash-max-listpack-entries", "512", "zset-max-listpack-entries", "128", "stream-node-max-entries", "100", "sanitize-dump-payload", "yes"}} {
		if v := c.do(t, args...); v.Kind == '-' {
			t.Fatalf("%q: %s", args, v)
		}
	}
}

// restore makes a payload of body and restores it.
func restore(t testing.TB, c *testConn, payload string) wire.Reply {
	t.Helper()
	return c.do(t, "RESTORE", "k", "0", payload, "REPLACE")
}

// walks read all of a value, and change it, by its type.
var walks = map[string][]string{
	"string": {"STRLEN k", "APPEND k x", "GETRANGE k 0 -1", "SETRANGE k 3 y", "BITCOUNT k"},
	"list":   {"LLEN k", "LRANGE k 0 -1", "LRANGE k -3 -1", "LINDEX k 1", "LPOS k a COUNT 0", "LINSERT k BEFORE a x", "LSET k 0 y", "RPUSH k z", "LPUSH k w", "LREM k 1 x", "RPOP k", "LTRIM k 1 -2", "LRANGE k 0 -1"},
	"set":    {"SCARD k", "SMEMBERS k", "SISMEMBER k 1", "SADD k 5 new", "SREM k 1", "SMEMBERS k"},
	"hash":   {"HLEN k", "HGETALL k", "HGET k a", "HSET k a z new 1", "HSTRLEN k b", "HDEL k b", "HGETALL k", "HSET k large $", "HGETALL k"},
	"zset":   {"ZCARD k", "ZRANGE k 0 -1 WITHSCORES", "ZRANGEBYSCORE k -inf +inf", "ZREVRANGE k 0 -1", "ZRANK k b", "ZSCORE k a", "ZADD k 2 new", "ZINCRBY k 1 a", "ZREM k b", "ZPOPMIN k", "ZRANGE k 0 -1 WITHSCORES", "ZADD k 1 $", "ZRANGE k 0 -1 WITHSCORES"},
	"stream": {"XLEN k", "XRANGE k - +", "XREVRANGE k + -", "XINFO STREAM k", "XINFO GROUPS k", "XADD k 18446744073709551615-18446744073709551615 a b", "XDEL k 1-1", "XPENDING k g", "XREADGROUP GROUP g one STREAMS k 0", "XACK k g 3-0", "XTRIM k MAXLEN 2", "XRANGE k - +"},
}

// walk sends the commands of a type and returns the replies, those that have no order
// in order.
func walk(t testing.TB, c *testConn, kind string) (all []string) {
	t.Helper()
	for _, command := range walks[kind] {
		args := strings.Fields(command)
		for i, a := range args {
			if a == "$" {
				args[i] = strings.Repeat("long ", 20)
			}
		}
		lines := linesOf(c.do(t, args...), "")
		if args[0] == "SMEMBERS" || args[0] == "HGETALL" {
			slices.Sort(lines)
		}
		all = append(all, command+"\n"+strings.Join(lines, "\n"))
	}
	return all
}

// TestDumpAgainstOracle restores what either server dumps on the other.
func TestDumpAgainstOracle(t *testing.T) {
	theirs, ours := dial(t, startOracle(t)), dial(t, startOurs(t))
	for _, line := range makers {
		makeKey(t, line, theirs, ours)
		encoding := theirs.do(t, "OBJECT", "ENCODING", "k").Text
		theirDump, ourDump := theirs.do(t, "DUMP", "k").Text, ours.do(t, "DUMP", "k").Text
		// A hash table has no order, and a group has times.
		exact := encoding != "hashtable" && !strings.Contains(line, "XREADGROUP") && !strings.Contains(line, "XGROUP")
		if exact && ourDump != theirDump {
			t.Errorf("%s:\ngot  %q\nwant %q", line, ourDump, theirDump)
			continue
		}
		exact = encoding != "hashtable"
		for _, dump := range []string{theirDump, ourDump} {
			for _, c := range []*testConn{theirs, ours} {
				if v := restore(t, c, dump); v.Text != "OK" {
					t.Errorf("%s: %s", line, v)
				}
				if got := c.do(t, "DUMP", "k").Text; exact && got != dump {
					t.Errorf("%s, restored:\ngot  %q\nwant %q", line, got, dump)
				}
				if got := c.do(t, "OBJECT", "ENCODING", "k").Text; got != encoding {
					t.Errorf("%s, restored: encoding %s, want %s", line, got, encoding)
				}
			}
			kind := theirs.do(t, "TYPE", "k").Text
			if got, want := walk(t, ours, kind), walk(t, theirs, kind); !slices.Equal(got, want) {
				t.Errorf("%s: %s", line, firstDifference(got, want))
			}
		}
	}
}

// scriptPayloads returns the payloads that a script restores.
func scriptPayloads(t testing.TB) (all []string) {
	text, err := os.ReadFile("testdata/generic/restore.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if words, ok := resp.SplitArgs([]byte(strings.TrimPrefix(line, "> "))); ok && len(words) > 3 && string(words[0]) == "RESTORE" && len(words[3]) > 11 {
			all = append(all, string(words[3]))
		}
	}
	return all
}

// mutate damages a payload and gives it the checksum that it then has.
func mutate(r *rand.Rand, payload string) string {
	b := []byte(payload[:len(payload)-10])
	for range 1 + r.IntN(2) {
		i := r.IntN(len(b))
		switch r.IntN(5) {
		case 0:
			b[i] = byte(r.Uint32())
		case 1:
			b[i] ^= 1 << r.IntN(8)
		case 2:
			b[i] += byte(r.IntN(3)) - 1
		case 3:
			b[i] = []byte{0, 1, 2, 0x7f, 0x80, 0x81, 0xc0, 0xc3, 0xf0, 0xf4, 0xfe, 0xff}[r.IntN(12)]
		case 4:
			if j := r.IntN(len(b)); r.IntN(4) == 0 && i < j {
				b = slices.Delete(b, i, min(j, i+4))
			} else {
				b[i], b[j] = b[j], b[i]
			}
		}
	}
	return string(rdb.AppendFooter(b, 0))
}

// TestRestoreMutants damages payloads, and wants our server to accept and refuse what
// Redis does, checking deeply, and what both accept to be the same value. It knows
// that Redis may die of one.
func TestRestoreMutants(t *testing.T) {
	ours := dial(t, startOurs(t))
	theirs := dial(t, startOracle(t))
	var seeds []string
	for _, line := range makers {
		makeKey(t, line, theirs)
		for _, compress := range []string{"yes", "no"} {
			theirs.do(t, "CONFIG", "SET", "rdbcompression", compress)
			seeds = append(seeds, theirs.do(t, "DUMP", "k").Text)
		}
	}
	seeds = append(seeds, scriptPayloads(t)...)
	reset(t, ours)
	reset(t, theirs)
	r := newRand(t)
	duration := *mutantsFlag
	if testing.Short() {
		duration /= 3
	}
	sent, accepted, stricter, laxer, deaths := 0, 0, 0, 0, 0
	for end := time.Now().Add(duration); time.Now().Before(end); sent++ {
		payload := mutate(r, seeds[r.IntN(len(seeds))])
		if t := rdb.Type(payload[0]); t >= rdb.TypeSet && t <= rdb.TypeZset2 && rdb.NewReader([]byte(payload[1:])).Len() > 1<<20 {
			continue // Redis makes a table of that size first, and scans it in the end
		}
		got := restore(t, ours, payload)
		theirs.SetDeadline(time.Now().Add(20 * time.Second))
		theirs.Write(wire.Command("RESTORE", "k", "0", payload, "REPLACE"))
		want, err := wire.ReadReply(theirs.r)
		if err == nil && want.Text == "OK" && got.Text == "OK" {
			accepted++
			kind := ours.do(t, "TYPE", "k").Text
			mine := walk(t, ours, kind)
			var his []string
			if his, err = tryWalk(theirs, kind); err == nil && !slices.Equal(mine, his) {
				t.Errorf("%q: %s", payload, firstDifference(mine, his))
			}
		} else if err == nil && want.Text != got.Text {
			if got.Text == "OK" {
				laxer++
				t.Errorf("%q: we accept it", payload)
			} else {
				stricter++
				t.Logf("%q: Redis accepts it", payload)
			}
			theirs.do(t, "DEL", "k")
		}
		if err != nil {
			deaths++
			t.Logf("%q: Redis is dead: %v; we say %s", payload, err, got)
			theirs = dial(t, startOracle(t))
			reset(t, theirs)
		}
		ours.do(t, "DEL", "k")
	}
	t.Logf("%d payloads, %d accepted by both; Redis alone accepted %d, we alone %d; Redis died %d times", sent, accepted, stricter, laxer, deaths)
	if stricter > 2+sent/1000 { // a slow machine sends few: the first may be there
		t.Error("more than one in a thousand is refused by us alone")
	}
}

// tryWalk is walk on a server that may die of it.
func tryWalk(c *testConn, kind string) (all []string, err error) {
	c.SetDeadline(time.Now().Add(20 * time.Second))
	for _, command := range walks[kind] {
		args := strings.Fields(command)
		for i, a := range args {
			if a == "$" {
				args[i] = strings.Repeat("long ", 20)
			}
		}
		c.Write(wire.Command(args...))
		v, err := wire.ReadReply(c.r)
		if err != nil {
			return nil, err
		}
		lines := linesOf(v, "")
		if args[0] == "SMEMBERS" || args[0] == "HGETALL" {
			slices.Sort(lines)
		}
		all = append(all, command+"\n"+strings.Join(lines, "\n"))
	}
	return all, nil
}

// FuzzRestore restores anything, in each way to check it, and uses it. Nothing may
// panic, and when the key is gone so is its memory.
func FuzzRestore(f *testing.F) {
	for i, p := range scriptPayloads(f) {
		f.Add([]byte(p[:len(p)-10]), i%8)
	}
	s := newDirectServer(f)
	for _, line := range makers {
		s.do("FLUSHALL")
		for command := range strings.SplitSeq(line, ";") {
			s.do(strings.Fields(command)...)
		}
		if dump, err := wire.ReadReply(bufio.NewReader(strings.NewReader(s.do("DUMP", "k")))); err == nil && len(dump.Text) > 10 {
			f.Add([]byte(dump.Text[:len(dump.Text)-10]), 0)
		}
	}
	s.do("FLUSHALL")
	settings := []string{"list-max-listpack-size", "hash-max-listpack-entries", "zset-max-listpack-entries", "set-max-intset-entries", "stream-node-max-entries"}
	f.Fuzz(func(t *testing.T, body []byte, mode int) {
		for _, name := range settings {
			s.do("CONFIG", "SET", name, map[bool]string{true: "1", false: "128"}[mode&2 != 0])
		}
		s.do("CONFIG", "SET", "list-compress-depth", map[bool]string{true: "1", false: "0"}[mode&4 != 0])
		s.do("CONFIG", "SET", "sanitize-dump-payload", map[bool]string{true: "yes", false: "no"}[mode&1 != 0])
		s.do("SET", "x", "")
		used := s.arena.Used()
		if payload := string(rdb.AppendFooter(slices.Clip(body), 0)); s.do("RESTORE", "k", "0", payload) == "+OK\r\n" {
			kind := strings.Trim(s.do("TYPE", "k"), "+\r\n")
			dump := s.do("DUMP", "k")
			s.do("COPY", "k", "copy")
			for _, command := range walks[kind] {
				args := strings.Fields(command)
				for i, a := range args {
					if a == "$" {
						args[i] = strings.Repeat("long ", 20)
					}
				}
				s.do(args...)
			}
			s.do("DEL", "k")
			s.do("DEL", "copy")
			if v, err := wire.ReadReply(bufio.NewReader(strings.NewReader(dump))); err != nil || s.do("RESTORE", "k", "0", v.Text) != "+OK\r\n" {
				t.Errorf("what was dumped after it was restored cannot be restored again: %q", dump)
			}
			s.do("DEL", "k")
		}
		if now := s.arena.Used(); now != used {
			t.Errorf("%d bytes are lost", now-used)
		}
	})
}
