package engine

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	random "github.com/redscope/redscope/engine/internal/differential"
	"github.com/redscope/redscope/internal/wire"
)

// This file sends the same random commands to redis-server and to ours, and
// compares every reply.

var (
	differentialFlag = flag.Duration("differential", 5*time.Second, "how long TestDifferential sends commands")
	seedFlag         = flag.Uint64("seed", 1, "seed of the random tests; 0 takes one from the clock")
)

// differentialTime is a fifth in short mode, which is for what is slow in itself.
func differentialTime() time.Duration {
	if testing.Short() {
		return *differentialFlag / 5
	}
	return *differentialFlag
}

func newRand(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// pipeline sends commands in one write and returns their replies.
func (c *testConn) pipeline(t testing.TB, commands [][]string) []wire.Reply {
	t.Helper()
	c.SetDeadline(time.Now().Add(60 * time.Second))
	sent := make(chan error, 1)
	go func(conn net.Conn) {
		w := bufio.NewWriterSize(conn, 1<<16)
		for _, args := range commands {
			w.Write(wire.Command(args...))
		}
		sent <- w.Flush()
	}(c.Conn)
	replies := make([]wire.Reply, len(commands))
	for i := range replies {
		var err error
		if replies[i], err = wire.ReadReply(c.r); err != nil {
			t.Fatalf("%.200q: %v", commands[i], err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return replies
}

// commandMaker makes random commands on few keys, so that they meet.
type commandMaker struct{ *rand.Rand }

func pick[T any](m commandMaker, from ...T) T { return from[m.IntN(len(from))] }

func (m commandMaker) key() string {
	return pick(m, "a", "b", "c", "d", "key:000000000001", "", "a\x00b", "*", "[x]",
		strings.Repeat("k", 255), strings.Repeat("k", 256), strings.Repeat("K", 9000), strconv.Itoa(m.IntN(100)))
}

func (m commandMaker) integer() string {
	switch m.IntN(4) {
	case 0:
		return pick(m, "0", "1", "-1", "-0", "+1", "01", " 1", "1 ", "", "1.0", "1e3", "0x10", "x", "1\x00",
			"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809",
			"9223372036854775806", "18446744073709551616", "2147483647", "2147483648", "-2147483649", "9999", "10000")
	case 1:
		return strconv.FormatInt(int64(m.Uint64()), 10)
	}
	return strconv.Itoa(m.IntN(200) - 100)
}

func (m commandMaker) value() string {
	switch m.IntN(5) {
	case 0:
		return m.integer()
	case 1:
		return m.float()
	case 2:
		return strings.Repeat(pick(m, "x", "yz"), pick(m, 1, 3, 22, 43, 44, 45, 100, 127, 128, 200, 255, 256, 300, 1000, 8000, 8200, 16384, 20000))
	}
	b := make([]byte, m.IntN(60))
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return string(b)
}

func (m commandMaker) float() string { return random.Float(m.Rand) }

// expire makes a time that does not come while the test runs, or has come, or is
// none. Times from now on differ by so much that what the servers' clocks differ
// by decides nothing.
func (m commandMaker) expire(absolute bool) string {
	if m.IntN(4) == 0 {
		return m.noExpire(absolute)
	}
	n := 1e5 + m.Int64N(1e9)
	if absolute {
		n += 1e11
	}
	return strconv.FormatInt(n*1000, 10)
}

// noExpire makes what is no time to come, or one at the end of all times. The
// latter only as a point in time: counted from now on it comes later each ms.
func (m commandMaker) noExpire(absolute bool) string {
	if absolute && m.IntN(4) == 0 {
		return "9223372036854775"
	}
	return pick(m, "0", "-1", "-100", "x", "", "1.5", "+1", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
		"-9223372036854775", "-9223372036854776")
}

func (m commandMaker) anyCase(s string) string {
	if m.IntN(4) == 0 {
		return strings.ToLower(s)
	}
	return s
}

func (m commandMaker) expireOption() []string {
	switch o := m.anyCase(pick(m, "EX", "PX", "EXAT", "PXAT")); {
	case m.IntN(20) == 0:
		return []string{o}
	case strings.HasSuffix(strings.ToUpper(o), "AT"):
		return []string{o, m.expire(true)}
	default:
		return []string{o, m.expire(false)}
	}
}

func (m commandMaker) command() []string {
	k := m.key
	switch n := m.IntN(62); n {
	case 0, 1, 2, 3:
		return []string{"SET", k(), m.value()}
	case 4, 5, 6, 7:
		args := []string{"SET", k(), m.value()}
		for range m.IntN(4) {
			switch m.IntN(5) {
			case 0, 1:
				args = append(args, m.expireOption()...)
			default:
				args = append(args, m.anyCase(pick(m, "NX", "XX", "GET", "KEEPTTL", "GET", "KEEPTTL", "PERSIST", "NX\x00x", "x", "")))
			}
		}
		return args
	case 8, 9:
		return []string{"GET", k()}
	case 10:
		return []string{"GETSET", k(), m.value()}
	case 11:
		return []string{"GETDEL", k()}
	case 12, 13:
		args := []string{"GETEX", k()}
		for range m.IntN(3) {
			if m.IntN(3) > 0 {
				args = append(args, m.expireOption()...)
			} else {
				args = append(args, m.anyCase(pick(m, "PERSIST", "PERSIST", "KEEPTTL", "x")))
			}
		}
		return args
	case 14:
		return []string{"SETNX", k(), m.value()}
	case 15:
		return []string{"SETEX", k(), m.expire(false), m.value()}
	case 16:
		return []string{"PSETEX", k(), m.expire(false), m.value()}
	case 17, 18:
		args := []string{pick(m, "MSET", "MSETNX")}
		for range m.IntN(4) {
			args = append(args, k(), m.value())
		}
		if m.IntN(20) == 0 {
			args = append(args, k())
		}
		return args
	case 19, 20:
		args := []string{pick(m, "MGET", "EXISTS", "TOUCH", "DEL", "UNLINK")}
		for range m.IntN(4) {
			args = append(args, k())
		}
		return args
	case 21, 22, 23:
		return []string{"APPEND", k(), m.value()}
	case 24:
		return []string{"STRLEN", k()}
	case 25, 26:
		return []string{pick(m, "GETRANGE", "SUBSTR"), k(), m.integer(), m.integer()}
	case 27, 28:
		offset := m.integer()
		if n, err := strconv.ParseInt(offset, 10, 64); err == nil && n > 70000 && n < 536870900 {
			offset = "100"
		}
		return []string{"SETRANGE", k(), offset, m.value()}
	case 29, 30:
		return []string{pick(m, "INCR", "DECR"), k()}
	case 31, 32, 33:
		return []string{pick(m, "INCRBY", "DECRBY"), k(), m.integer()}
	case 34, 35:
		return []string{"INCRBYFLOAT", k(), m.float()}
	case 36:
		return []string{pick(m, "DEL", "UNLINK"), k()}
	case 37:
		return []string{"EXISTS", k(), k()}
	case 38:
		return []string{pick(m, "TYPE", "TOUCH"), k()}
	case 39, 40:
		return []string{"OBJECT", m.anyCase("ENCODING"), k()}
	case 41:
		return []string{"KEYS", pick(m, "*", "a*", "?", "*k", "**", "[a-c]", "[^a-c]", "*\x00*", "\\*", "\\[x]", "", "key:*[0-9]")}
	case 42:
		args := []string{"SCAN", "0", "COUNT", "100000"}
		if m.IntN(2) == 0 {
			args = append(args, "MATCH", pick(m, "*", "a*", "**", "[a-c]", ""))
		}
		if m.IntN(4) == 0 {
			args = append(args, "TYPE", pick(m, "string", "STRING", "list", ""))
		}
		if m.IntN(10) == 0 {
			args = append(args, pick(m, "x", "COUNT", "0"))
		}
		return args
	case 43:
		return []string{"SCAN", pick(m, "x", " 0", "-", "1x", "18446744073709551616", "-18446744073709551616")}
	case 44, 45:
		return []string{pick(m, "RENAME", "RENAMENX"), k(), k()}
	case 46, 47:
		args := []string{"COPY", k(), k()}
		for range m.IntN(3) {
			args = append(args, pick(m, "REPLACE", "replace", "DB", "0", "1", "2", "x"))
		}
		return args
	case 48:
		return []string{"MOVE", k(), pick(m, "0", "1", "2", "x", "99", "2147483648")}
	case 49:
		return []string{"SWAPDB", pick(m, "0", "1", "2"), pick(m, "0", "1", "x", "-1", "99", "2147483648")}
	case 50, 51:
		return []string{"SELECT", pick(m, "0", "1", "2", "0", "1", "2", "x", "16", "-1", "2147483648", "9223372036854775808")}
	case 52:
		if m.IntN(30) == 0 {
			return []string{pick(m, "FLUSHDB", "FLUSHALL"), pick(m, "ASYNC", "sync", "x")}
		}
		return []string{"GET", k()}
	case 53, 54, 55, 56, 57:
		name := pick(m, "EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT")
		args := []string{name, k(), m.expire(strings.HasSuffix(name, "AT"))}
		for range m.IntN(3) {
			args = append(args, m.anyCase(pick(m, "NX", "XX", "GT", "LT", "GT", "LT", "x", "LT\x00x", "x\x00y", "\r\n x\r\n")))
		}
		return args
	case 58, 59, 60:
		return []string{pick(m, "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"), k()}
	}
	args := []string{pick(m, "PERSIST", "TTL", "SETEX", "GETRANGE", "OBJECT", "COPY", "GET", "MSET", "RANDOMKEY", "DBSIZE")}
	for range 1 + m.IntN(4) {
		args = append(args, k())
	}
	return args
}

// sameReply compares two replies to a command, as far as it has to have the same:
// not the order of keys, nor the last seconds of a time that depends on the clock.
func sameReply(args []string, got, want wire.Reply) bool {
	name := strings.ToUpper(args[0])
	switch {
	case name == "KEYS" || name == "SCAN":
		for _, v := range []wire.Reply{got, want} {
			if name == "SCAN" && len(v.Items) == 2 {
				v = v.Items[1]
			}
			slices.SortFunc(v.Items, func(a, b wire.Reply) int { return strings.Compare(a.Text, b.Text) })
		}
	case strings.HasSuffix(name, "TTL") || strings.HasSuffix(name, "EXPIRETIME"):
		g, err1 := strconv.ParseInt(got.Text, 10, 64)
		w, err2 := strconv.ParseInt(want.Text, 10, 64)
		if err1 == nil && err2 == nil && g > 10 && w > 10 && max(g-w, w-g) < 5000 {
			return true
		}
	}
	return got.Equal(want)
}

func TestDifferential(t *testing.T) {
	differential(t, differentialTime(), commandMaker.command)
}

// differential sends commands that next makes to both servers until the time is
// over.
func differential(t *testing.T, duration time.Duration, next func(commandMaker) []string) {
	t.Helper()
	theirs, ours := dial(t, startOracle(t)), dial(t, startOurs(t))
	m := commandMaker{newRand(t)}
	sent := 0
	replies := map[byte]int{}
	for end := time.Now().Add(duration); time.Now().Before(end); {
		batch := make([][]string, 200)
		for i := range batch {
			batch[i] = next(m)
		}
		want := theirs.pipeline(t, batch)
		got := ours.pipeline(t, batch)
		for i, args := range batch {
			replies[want[i].Kind]++
			if !sameReply(args, got[i], want[i]) {
				var before strings.Builder
				for j := max(0, i-30); j < i; j++ {
					fmt.Fprintf(&before, "\n%.60q  %.80q", batch[j], linesOf(want[j], "")[0])
				}
				t.Fatalf("after %d commands: %.200q\ngot  %.300s\nwant %.300s\nbefore:%s", sent+i, args, got[i], want[i], before.String())
			}
		}
		sent += len(batch)
	}
	errors := replies['-']
	t.Logf("%d commands, %d errors", sent, errors)
	if sent == 0 || errors == 0 || errors > sent*2/3 {
		t.Error("the commands are no good mixture")
	}
}

// TestIncrByFloatDifferential adds pairs of numbers.
func TestIncrByFloatDifferential(t *testing.T) {
	theirs, ours := dial(t, startOracle(t)), dial(t, startOurs(t))
	m := commandMaker{newRand(t)}
	sent, sums := 0, 0
	for end := time.Now().Add(differentialTime() / 2); time.Now().Before(end); {
		var batch [][]string
		for range 200 {
			batch = append(batch, []string{"SET", "n", m.float()})
			for range 1 + m.IntN(3) {
				batch = append(batch, []string{"INCRBYFLOAT", "n", m.float()})
			}
		}
		want, got := theirs.pipeline(t, batch), ours.pipeline(t, batch)
		for i, args := range batch {
			if !got[i].Equal(want[i]) {
				t.Fatalf("%q\n%q\ngot  %.5000s\nwant %.5000s", batch[i-1], args, got[i], want[i])
			}
			if args[0] == "INCRBYFLOAT" {
				sent++
			}
			if want[i].Kind == '$' {
				sums++
			}
		}
	}
	t.Logf("%d sums of %d", sums, sent)
	if sums < sent/4 {
		t.Errorf("only %d sums of %d", sums, sent)
	}
}
