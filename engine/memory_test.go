package engine

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
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
	if got, want := empty.doctor(1), oracle.do(t, "MEMORY", "DOCTOR").text; got != want {
		t.Errorf("empty: got %q, want %q", got, want)
	}
	oracle.do(t, "SETRANGE", "big", strconv.Itoa(100*mb), "x") // without buffers of that size
	if got, want := fine.doctor(10), oracle.do(t, "MEMORY", "DOCTOR").text; got != want {
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
