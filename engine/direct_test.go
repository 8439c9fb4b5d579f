package engine

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/internal/dict"
)

// directServer is a server without a loop, and a client that executes commands
// as processInputBuffer does, without a socket in between.
type directServer struct {
	*Server
	c    *client
	peer int // the other end of the client's socket
}

func newDirectServer(t testing.TB, args ...string) *directServer {
	t.Helper()
	s := newServer(t, args...)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := createClient(s, pair[0], &unix.SockaddrUnix{}, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		unix.Close(pair[1])
	})
	return &directServer{s, c, pair[1]}
}

// run executes a command and returns its reply, a view until the next.
func (s *directServer) run(argv [][]byte) []byte {
	s.c.argv, s.c.argHash = argv, 0
	if len(argv) > 1 {
		s.c.argHash = dict.Hash(argv[1])
	}
	processCommandAndResetClient(s.c)
	reply := s.c.buf
	s.c.buf = reply[:0]
	return reply
}

func (s *directServer) do(args ...string) string {
	var argv [][]byte
	for _, a := range args {
		argv = append(argv, []byte(a))
	}
	return string(s.run(argv))
}

// stored is what a database holds under a key.
type stored struct {
	value    string
	encoding encoding
	expire   int64
}

// contents returns what is in the databases, by number and key.
func (s *directServer) contents() map[string]stored {
	all := map[string]stored{}
	for _, db := range s.db {
		it := db.dict.UnsafeIterator()
		for it.Next() {
			r := it.Ref()
			if metaType(db.dict.Meta(r)) == typeList {
				all[fmt.Sprint(db.id, " ")+string(db.dict.Key(r))] = stored{listText(db, r), encodingQuicklist, getExpire(db, r)}
				continue
			}
			all[fmt.Sprint(db.id, " ")+string(db.dict.Key(r))] = stored{string(db.dict.Value(r)), metaEncoding(db.dict.Meta(r)), getExpire(db, r)}
		}
		if err := it.Release(); err != nil {
			panic(err)
		}
	}
	return all
}

// TestNoAllocations wants the commands on the hot path to leave the collector
// alone.
func TestNoAllocations(t *testing.T) {
	s := newDirectServer(t)
	s.do("SET", "key:000000000000", "xxx")
	s.do("SET", "n", "10000000000")
	s.do("SET", "e", "xxx", "EX", "1000")
	s.do("SET", "raw", strings.Repeat("x", 200))
	s.do("SET", "long", strings.Repeat("x", 50000))
	s.do("RPUSH", "list", "a", "b", "c", "1", "2", "3")
	s.do("PFADD", "sparse", "a")
	for i := range 3000 {
		s.do("PFADD", "dense", fmt.Sprint(i))
	}
	key := []byte("new:000000000000")
	next := func() { // keys that were not there before
		for i := len(key) - 1; ; i-- {
			if key[i]++; key[i] <= '9' {
				return
			}
			key[i] = '0'
		}
	}
	runs := 2000
	if testing.Short() {
		runs /= 4
	}
	for _, test := range []struct {
		command string
		prepare func()
	}{
		{"GET key:000000000000", nil},
		{"GET n", nil},
		{"GET absent", nil},
		{"SET key:000000000000 yyy", nil},
		{"SET key:000000000000 10000000000", nil},
		{"SET e yyy EX 1000", nil},
		{"SET e yyy PX 100000 XX", nil},
		{"SET e yyy XX GET", nil},
		{"SET $ xxx", next},
		{"SET $ 12345", next},
		{"SET $ xxx EX 1000", next},
		{"SETEX $ 1000 xxx", next},
		{"SETNX n 1", nil},
		{"MSET a 1 b 2 c 3", nil},
		{"MGET a b c d", nil},
		{"INCR n", nil},
		{"INCRBY n 1000", nil},
		{"APPEND raw x", nil},
		{"STRLEN raw", nil},
		{"GETRANGE raw 0 9", nil},
		{"SETRANGE raw 10 xxx", nil},
		{"SETBIT raw 1001 1", nil},
		{"SETBIT long 160000 0", nil},
		{"GETBIT long 1001", nil},
		{"BITCOUNT raw 1 -2", nil},
		{"BITPOS long 1 3 -1 BIT", nil},
		{"BITOP XOR d raw long", nil},
		{"BITOP AND d d raw n", nil},
		{"BITOP NOT long long", nil},
		{"BITFIELD raw INCRBY u5 #3 7 OVERFLOW SAT GET i64 1 SET u8 0 1", nil},
		{"BITFIELD_RO n GET u5 #3", nil},
		{"LPUSH list x 17", nil},
		{"RPUSH list yyy", nil},
		{"RPUSHX list yyy", nil},
		{"RPUSH $ x", next},
		{"LPOP list", nil},
		{"RPOP list", nil},
		{"RPUSH list 1 2 3 4 5 6 7 8", nil},
		{"RPOP list 3", nil},
		{"LLEN list", nil},
		{"LINDEX list 3", nil},
		{"LSET list 3 x", nil},
		{"LRANGE list 0 9", nil},
		{"LPOS list c", nil},
		{"LINSERT list AFTER c d", nil},
		{"LREM list 1 d", nil},
		{"LTRIM list 0 5000", nil},
		{"LMOVE list list LEFT RIGHT", nil},
		{"LMOVE list other LEFT LEFT", nil},
		{"BLPOP list 5", nil},
		{"PFADD sparse a b c", nil},
		{"PFADD dense $", next},
		{"PFCOUNT dense", nil},
		{"PFCOUNT sparse dense", nil},
		{"PFMERGE merged sparse dense", nil},
		{"EXPIRE key:000000000000 1000", nil},
		{"TTL key:000000000000", nil},
		{"TTL absent", nil},
		{"PERSIST key:000000000000", nil},
		{"EXISTS a b c d", nil},
		{"DEL absent", nil},
		{"DEL $", func() { next(); s.db[0].dict.Add(key, key, stringMeta(s.c, encodingRaw)) }},
		{"GETDEL $", func() { next(); s.db[0].dict.Add(key, key, stringMeta(s.c, encodingRaw)) }},
		{"RENAME a b", func() {
			s.db[0].dict.Delete([]byte("a"))
			s.db[0].dict.Add([]byte("a"), key, stringMeta(s.c, encodingRaw))
		}},
		{"COPY b c REPLACE", nil},
		{"TYPE a", nil},
		{"OBJECT ENCODING b", nil},
		{"DBSIZE", nil},
		{"RANDOMKEY", nil},
		{"SCAN 0 MATCH k* COUNT 20", nil},
	} {
		t.Run(test.command, func(t *testing.T) {
			args := strings.Fields(test.command)
			argv := make([][]byte, len(args))
			for i, a := range args {
				if argv[i] = []byte(a); a == "$" {
					argv[i] = key
				}
			}
			run := func() {
				if test.prepare != nil {
					test.prepare()
				}
				if reply := s.run(argv); reply[0] == '-' {
					t.Fatalf("%q", reply)
				}
			}
			run()
			if n := testing.AllocsPerRun(runs, run); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// TestOutOfMemory gives every command that writes less memory than it needs, a
// little more each time, until it succeeds. Before that, it must answer -OOM and
// change nothing.
func TestOutOfMemory(t *testing.T) {
	more := func(room int64) int64 { return max(room+1, room*17/16) }
	if testing.Short() {
		more = func(room int64) int64 { return max(room+8, room*3/2) }
	}
	long := strings.Repeat("x", 20000)
	for _, command := range []string{
		"SET new x", "SET new x EX 100", "SET new $", "SET new $ EX 100", "SET $ x", "SET $ $",
		"SET short $", "SET short $ EX 100", "SET short $ GET", "SET short $ EX 100 GET", "SET short x EX 100",
		"SET dying $ EX 100", "SET dying $ KEEPTTL", "SET dying $",
		"GETSET short $", "GETSET new $", "SETNX new $", "SETEX short 100 $",
		"GETEX short EX 100", "GETEX long EX 100", "EXPIRE short 100", "EXPIRE long 100",
		"MSET new 1 short $ other $", "MSET short $ short $$ long $$", "MSETNX new 1 other $",
		"APPEND short $", "APPEND long $", "APPEND n $", "APPEND new $",
		"SETRANGE short 100 $", "SETRANGE n 1 $", "SETRANGE new 50000 x", "SETRANGE long 90000 x",
		"SETBIT new 1 1", "SETBIT new 900000 1", "SETBIT short 1000 1", "SETBIT short 900000 1", "SETBIT longdying 900000 1",
		"BITFIELD new SET u8 #5000 255", "BITFIELD short INCRBY u8 #5000 300 OVERFLOW FAIL SET u1 0 2",
		"BITOP OR new short long", "BITOP NOT new long", "BITOP XOR short n short long", "BITOP AND n long", "BITOP OR dying dying long", "BITOP NOT dying longdying",
		"PFADD new a", "PFADD sparse a b c d e f g h i j k l m n o p q r s t u v w x y z", "PFMERGE sparse dense", "PFMERGE new sparse dense",
		"SORT elements STORE new", "SORT elements STORE short", "SORT elements ALPHA STORE elements", "SORT elements GET # GET long STORE longdying", "SORT ranked ALPHA",
		"INCR new", "INCRBYFLOAT n 1e300", "INCRBYFLOAT new 1e4000",
		"RENAME long new", "RENAME dying new", "RENAME longdying short", "RENAME longdying new",
		"LPUSH new x", "RPUSH new a $ b", "LPUSH list x $ 1 $", "RPUSHX list $", "LINSERT list BEFORE b $", "LINSERT list AFTER e longer", "LINSERT nodes AFTER 7 $",
		"LSET list 1 $", "LSET nodes 200 $", "LMOVE list new LEFT RIGHT", "LMOVE list nodes RIGHT LEFT", "LMOVE list list LEFT RIGHT",
		"RPOPLPUSH nodes nodes", "COPY nodes new", "COPY nodes list REPLACE", "RENAME list n", "MOVE nodes 1",
		"MOVE long 1", "MOVE longdying 1", "COPY longdying short REPLACE", "COPY longdying n DB 1",
	} {
		t.Run(command, func(t *testing.T) {
			command := strings.Split(strings.ReplaceAll(command, "$", long), " ")
			s := newDirectServer(t)
			s.do("MSET", "short", "x", "n", "12", "long", long)
			s.do("SET", "dying", "x", "PXAT", "9000000000000")
			s.do("SET", "longdying", long, "PXAT", "9000000000000")
			s.do("RPUSH", "list", "a", "b", "c", "d", "e")
			nodes, dense := []string{"RPUSH", "nodes"}, []string{"PFADD", "dense"}
			for i := range 500 { // enough for some nodes, of which the first is full
				nodes = append(nodes, strconv.Itoa(i), long[:50])
			}
			for i := range 1500 {
				dense = append(dense, strconv.Itoa(i))
			}
			s.do(nodes...)
			s.do(dense...)
			s.do("PFADD", "sparse", "0")
			for i := range 50 {
				s.do("RPUSH", "elements", fmt.Sprint(100-i))
				s.do("ZADD", "ranked", fmt.Sprint(i), fmt.Sprint(100-i))
			}
			failures := 0
			before := s.contents() // and still after each refusal
			for room := int64(0); ; room = more(room) {
				s.arena.SetLimit(s.arena.Used() + room)
				dirty := s.dirty
				reply := s.do(command...)
				if !strings.HasPrefix(reply, "-") {
					break
				}
				if !strings.HasPrefix(reply, "-OOM ") || strings.Count(reply, "\r\n") != 1 {
					t.Fatalf("with %d bytes to spare: %.100q", room, reply)
				}
				if s.dirty != dirty {
					t.Errorf("with %d bytes to spare: a change was counted", room)
				}
				if d := differences(s.contents(), before); d != "" {
					t.Fatalf("with %d bytes to spare: %s", room, d)
				}
				failures++
			}
			if failures == 0 {
				t.Error("succeeds without memory")
			}
		})
	}
}

func differences(got, want map[string]stored) string {
	for k, v := range want {
		if g, ok := got[k]; g != v {
			return fmt.Sprintf("key %.50q was %.80v, is %.80v (%t)", k, v, g, ok)
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("%d keys instead of %d", len(got), len(want))
	}
	return ""
}

// threadTime is the processor time of the calling thread.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return time.Duration(now.Nano())
}

// TestActiveExpire shows that keys whose time has come go although nobody asks
// for them, within the cycle's share of the time, and that those whose time has
// not come stay.
func TestActiveExpire(t *testing.T) {
	s := newDirectServer(t)
	const dying, living = 100000, 20000
	add := func(db int, prefix string, n int, when int64) {
		d := s.db[db].dict
		for i := range n {
			r, err := d.Add(fmt.Appendf(nil, "%s:%d", prefix, i), []byte("x"), 0)
			if err != nil {
				t.Fatal(err)
			}
			if when > 0 {
				if _, err := d.SetExpire(r, when); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	past, future := s.loopClock.unixMs-1, s.loopClock.unixMs+1e9
	for _, db := range []int{0, 3} {
		add(db, "dying", dying, past)
		add(db, "living", living, future)
		add(db, "plain", living, 0)
	}
	limit := time.Duration(expireSlowTimePercent) * time.Second / time.Duration(100*s.cron.hz)
	cutShort := time.Duration(math.MaxInt64) // the shortest cycle that ran out of time
	cycles := 0
	left := func() int { return s.db[0].dict.Len() + s.db[3].dict.Len() - 4*living }
	// By the thread's own clock, which stands still while others run.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ; cycles < 20000 && left() > 0; cycles++ {
		start := threadTime(t)
		activeExpireCycle(s.Server, expireCycleSlow)
		if s.expire.timedOut {
			cutShort = min(cutShort, threadTime(t)-start)
		} else if left() > 2*2*living {
			// It has seen a tenth, in one of many samples of 20; but not by chance
			// when two thirds are there.
			t.Fatalf("a cycle ended content, with %d expired keys and %d others", left(), 2*living)
		}
	}
	if left() != 0 {
		t.Errorf("%d keys are left after %d cycles", left(), cycles)
	}
	if cutShort != math.MaxInt64 && cutShort > 2*limit {
		t.Errorf("every cycle that was cut short took %v or more, may take %v", cutShort, limit)
	}
	if s.stat.expiredKeys != 2*dying {
		t.Errorf("%d keys counted as expired, want %d", s.stat.expiredKeys, 2*dying)
	}
	t.Logf("%d cycles", cycles)
}

// TestActiveExpireCutShort gives the cycle more than it can do in its time: it
// stops, and beforeSleep's fast cycles go on where it stopped.
func TestActiveExpireCutShort(t *testing.T) {
	s := newDirectServer(t)
	d := s.db[0].dict
	for i := range 300000 {
		r, err := d.Add(fmt.Appendf(nil, "%d", i), []byte("x"), 0)
		if err == nil {
			_, err = d.SetExpire(r, s.loopClock.unixMs-1)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.cron.hz = maxHz // half a millisecond
	activeExpireCycle(s.Server, expireCycleSlow)
	left := d.Len()
	if left == 0 || s.stat.expiredTimeCap != 1 {
		t.Fatalf("%d keys left, cut short %d times: the test needs more keys", left, s.stat.expiredTimeCap)
	}
	start := time.Now()
	activeExpireCycle(s.Server, expireCycleFast)
	fast := d.Len()
	if fast >= left {
		t.Error("the fast cycle has not gone on")
	}
	activeExpireCycle(s.Server, expireCycleFast)
	if d.Len() != fast && time.Since(start) < 2*expireFastDuration*time.Microsecond {
		t.Error("a fast cycle followed at once on another")
	}
}

// TestExpiredKeysDoNotShow holds keys whose time has come, and which nothing has
// deleted yet, against what redis-server 7.0.15 tells of them with active expiry
// off: DBSIZE counts them, nothing returns them, and KEYS alone leaves them there.
func TestExpiredKeysDoNotShow(t *testing.T) {
	s := newDirectServer(t)
	for i := range 100 {
		s.do("SET", fmt.Sprint(i), "x", "PXAT", "1")
	}
	for _, step := range []struct{ command, want string }{
		{"DBSIZE", ":100\r\n"},
		{"KEYS *", "*0\r\n"},
		{"DBSIZE", ":100\r\n"},
		{"EXISTS 1", ":0\r\n"},
		{"TTL 2", ":-2\r\n"},
		{"TYPE 3", "+none\r\n"},
		{"DBSIZE", ":97\r\n"},
		{"SCAN 0 COUNT 1000", "*2\r\n$1\r\n0\r\n*0\r\n"},
		{"DBSIZE", ":0\r\n"},
	} {
		if got := s.do(strings.Fields(step.command)...); got != step.want {
			t.Errorf("%s: got %q, want %q", step.command, got, step.want)
		}
	}
	s.do("SET", "a", "x", "PXAT", "1")
	if got := s.do("RANDOMKEY"); got != "$-1\r\n" || s.db[0].dict.Len() != 0 {
		t.Errorf("RANDOMKEY: got %q, %d keys left", got, s.db[0].dict.Len())
	}
}

func BenchmarkCommands(b *testing.B) {
	for _, command := range []string{"SET key:000000000000 xxx", "GET key:000000000000", "INCR n", "INCRBYFLOAT f 0.1", "EXPIRE key:000000000000 1000", "MSET a 1 b 2 c 3 d 4"} {
		b.Run(strings.Fields(command)[0], func(b *testing.B) {
			s := newDirectServer(b)
			s.do("SET", "key:000000000000", "yyy")
			var argv [][]byte
			for _, a := range strings.Fields(command) {
				argv = append(argv, []byte(a))
			}
			b.ReportAllocs()
			for b.Loop() {
				s.run(argv)
			}
		})
	}
}
