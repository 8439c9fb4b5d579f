package engine

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMemoryDoctor holds the two greetings against the oracle's, and wants every
// issue to be found and no other.
func TestMemoryDoctor(t *testing.T) {
	const mb = 1 << 20
	fine := memoryOverhead{used: 100 * mb, active: 105 * mb, resident: 110 * mb, peak: 120 * mb, clients: 1 * mb}
	for _, c := range []struct {
		name    string
		clients int64
		change  func(*memoryOverhead)
		issues  []string
	}{
		{"fine", 10, func(*memoryOverhead) {}, nil},
		{"peak", 10, func(o *memoryOverhead) { o.peak = 200 * mb }, []string{"Peak memory: 200.00M"}},
		{"resident", 10, func(o *memoryOverhead) { o.resident, o.active = 150*mb, 140*mb }, []string{"High total RSS: the process holds 150.00M", "High allocator fragmentation: 40.00M"}},
		{"runtime", 10, func(o *memoryOverhead) { o.resident = 130 * mb }, []string{"High allocator RSS overhead: 25.00M"}},
		{"clients", 3, func(*memoryOverhead) {}, []string{"Big client buffers: clients take 341.33K"}},
		{"small", 1, func(o *memoryOverhead) {
			*o = memoryOverhead{used: 6 * mb, active: 12 * mb, resident: 15 * mb, peak: 6 * mb}
		}, nil},
	} {
		o := fine
		c.change(&o)
		got := o.doctor(c.clients)
		if n := strings.Count(got, " * "); n != len(c.issues) {
			t.Errorf("%s: %d issues, want %d:\n%s", c.name, n, len(c.issues), got)
		}
		for _, want := range c.issues {
			if !strings.Contains(got, " * "+want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, got)
			}
		}
	}
	empty := memoryOverhead{used: 4 * mb, peak: 100 * mb}
	oracle := dial(t, startOracle(t))
	if got, want := empty.doctor(1), oracle.do(t, "MEMORY", "DOCTOR").Text; got != want {
		t.Errorf("empty: got %q, want %q", got, want)
	}
	// More than next to nothing, and less than what the limits begin at. The oracle
	// looks at its resident memory ten times a second.
	for i := range 100 {
		oracle.do(t, "SET", fmt.Sprint("key:", i), strings.Repeat("x", 64<<10))
	}
	got, want := fine.doctor(10), ""
	for end := time.Now().Add(patience); want != got && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		want = oracle.do(t, "MEMORY", "DOCTOR").Text
	}
	if got != want {
		t.Errorf("fine: got %q, want %q", got, want)
	}
}

// TestMemoryUsage wants what the keys take one by one to be what the arena has
// handed out for them, buckets aside.
func TestMemoryUsage(t *testing.T) {
	s := newDirectServer(t)
	db := s.db[0]
	for i := range 2000 {
		key := fmt.Sprint("key:", i)
		s.do("SET", key, strings.Repeat("x", i*7))
		if i%3 == 0 {
			s.do("EXPIRE", key, "100")
		}
	}
	total := int64(0)
	for i := range 2000 {
		reply := s.do("MEMORY", "USAGE", fmt.Sprint("key:", i))
		n, err := strconv.ParseInt(strings.Trim(reply, ":\r\n"), 10, 64)
		if err != nil || n < int64(i*7) || n > int64(i*7)+int64(i*7)/6+64 {
			t.Fatalf("key %d with %d bytes takes %q", i, i*7, reply)
		}
		total += n
	}
	buckets, expires := db.dict.Overhead()
	if used := db.dict.Used(); total+buckets+expires != used {
		t.Errorf("the keys take %d, buckets and expires %d and %d, the dict says %d", total, buckets, expires, used)
	}
	o := s.memoryOverhead()
	if o.keys != 2000 || len(o.tables) != 1 || o.tables[0] != (tableOverhead{0, buckets, expires}) || o.overhead+o.dataset != o.used || o.dataset < 0 {
		t.Errorf("%+v", o)
	}
	live := int64(0)
	for _, class := range s.arena.Classes() {
		live += int64(class.Size) * class.Live
	}
	if slots := s.arena.Stats().Slots; live != slots {
		t.Errorf("the classes have %d bytes of slots, the arena %d", live, slots)
	}
	s.do("FLUSHALL")
	if reply := s.do("MEMORY", "PURGE"); reply != "+OK\r\n" {
		t.Error(reply)
	}
}

// TestMemoryUsageOfCollections wants keys of every type, small and large, to take
// what the arena hands out for them, and little beyond on the heap.
func TestMemoryUsageOfCollections(t *testing.T) {
	s := newDirectServer(t)
	keys := 50
	if testing.Short() {
		keys = 10
	}
	for _, command := range []string{"HSET", "SADD ints", "SADD", "ZADD", "RPUSH"} {
		for _, n := range []int{1, 20, 1000} {
			t.Run(fmt.Sprint(command, " ", n), func(t *testing.T) {
				s.do("FLUSHALL")
				for key := range keys {
					for i := range n {
						name, member, number := fmt.Sprint("key:", key), fmt.Sprint("member:", i), fmt.Sprint(i)
						reply := ""
						switch command {
						case "HSET":
							reply = s.do("HSET", name, member, number)
						case "SADD ints":
							reply = s.do("SADD", name, number)
						case "SADD":
							reply = s.do("SADD", name, member)
						case "ZADD":
							reply = s.do("ZADD", name, number, member)
						case "RPUSH":
							if s.do("RPUSH", name, member) == fmt.Sprintf(":%d\r\n", i+1) {
								reply = ":1\r\n"
							}
						}
						if reply != ":1\r\n" {
							t.Fatal(reply)
						}
					}
				}
				total := int64(0)
				for key := range keys {
					n, err := strconv.ParseInt(strings.Trim(s.do("MEMORY", "USAGE", fmt.Sprint("key:", key)), ":\r\n"), 10, 64)
					if err != nil {
						t.Fatal(err)
					}
					total += n
				}
				buckets, _ := s.db[0].dict.Overhead()
				if arena := s.arena.Used() - buckets; total < arena || total > arena+int64(keys)*1000 {
					t.Errorf("the keys take %d, in the arena %d", total, arena)
				}
			})
		}
	}
}

// TestDebugObjectAgainstOracle holds encoding and serialized length of values of
// every type against the oracle.
func TestDebugObjectAgainstOracle(t *testing.T) {
	args := []string{"--enable-debug-command", "yes"}
	theirs, ours := dial(t, startOracle(t, args...)), dial(t, startOurs(t, args...))
	var elements []string
	for i := range 42 {
		elements = append(elements, fmt.Sprint(strings.Repeat("a", 80), i))
	}
	commands := [][]string{
		{"SET", "string", strings.Repeat("abc", 100)},
		{"HSET", "hash", "field", "value", "number", "17"},
		{"SADD", "intset", "1", "2", "70000"},
		{"SADD", "set", "a", "b", "c"},
		{"ZADD", "zset", "1", "a", "2.5", "b"},
		{"RPUSH", "list", "a", "b", "c"},
		{"CONFIG", "SET", "list-max-listpack-size", "5"},
		append([]string{"RPUSH", "nodes"}, elements...),
		{"CONFIG", "SET", "list-compress-depth", "1"},
		append([]string{"RPUSH", "compressed"}, elements...),
	}
	for name, start := range map[string][]string{"hashtable": {"HSET", "hashtable"}, "largeset": {"SADD", "largeset"}, "skiplist": {"ZADD", "skiplist"}} {
		for i := range 600 {
			start = append(start, fmt.Sprint(i)) // a score, where it takes one
			if name != "largeset" {
				start = append(start, fmt.Sprint("member:", i))
			}
		}
		commands = append(commands, start)
	}
	shape := regexp.MustCompile(`^(Value at:)0x[0-9a-f]+( refcount:\d+ encoding:\w+ serializedlength:\d+ )lru:\d+ lru_seconds_idle:\d( ql_.*)?$`)
	for _, command := range commands {
		var replies [2][]string
		for i, c := range []*testConn{theirs, ours} {
			if v := c.do(t, command...); strings.HasPrefix(v.Text, "ERR") {
				t.Fatalf("%.20q: %v", command, v)
			}
			if command[0] == "CONFIG" {
				replies[i] = []string{""}
				continue
			}
			text := c.do(t, "DEBUG", "OBJECT", command[1]).Text
			if replies[i] = shape.FindStringSubmatch(text); replies[i] == nil {
				t.Fatalf("%s: %q", command[1], text)
			}
		}
		if got, want := replies[1][1:], replies[0][1:]; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", command[1], got, want)
		}
	}
}
