package dict

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/redscope/redscope/engine/internal/slab"
)

func testKey(i int) []byte { return []byte(fmt.Sprintf("key:%012d", i)) }

func add(t testing.TB, d *Dict, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := d.Add(testKey(i), []byte("xyz"), uint32(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t testing.TB, d *Dict, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if !d.Delete(testKey(i)) {
			t.Fatalf("%s is missing", testKey(i))
		}
	}
}

// Truncate works without any memory to be had.
func TestTruncateWithoutMemory(t *testing.T) {
	for _, size := range []int{100, 300, 5000, 100_000} {
		for n := 0; n < size; n = n*2 + 1 {
			a := newArena(t, 0)
			d := New(a)
			want := value(size, 1)
			r, _ := d.Add([]byte("k"), want, 0)
			a.SetLimit(1)
			r = d.Truncate(r, n)
			if err := d.check(); err != nil || r != d.Find([]byte("k")) || !bytes.Equal(d.Value(r), want[:n]) {
				t.Errorf("%d bytes cut to %d: %q, %v", size, n, d.Value(r), err)
			}
			a.SetLimit(0)
			r, err := d.SetExpire(r, 1)
			if err != nil || !bytes.Equal(d.Value(r), want[:n]) || !d.Persist(r) || !bytes.Equal(d.Value(r), want[:n]) {
				t.Errorf("%d bytes cut to %d and set to expire: %q, %v", size, n, d.Value(r), err)
			}
			if r, err = d.SetValue(r, want); err != nil || !bytes.Equal(d.Value(r), want) {
				t.Errorf("%d bytes cut to %d and set again: %v", size, n, err)
			}
			if err := d.check(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDup(t *testing.T) {
	a := newArena(t, 0)
	d := New(a)
	add(t, d, 0, 5000)
	_, _ = d.Add([]byte("large"), value(100_000, 1), 7)
	c, err := d.Dup()
	if err != nil || c.check() != nil || d.check() != nil || c.Len() != d.Len() {
		t.Fatalf("%d entries of %d, %v", c.Len(), d.Len(), err)
	}
	it := d.UnsafeIterator()
	for it.Next() {
		r := c.Find(d.Key(it.Ref()))
		if r == 0 || c.Meta(r) != d.Meta(it.Ref()) || !bytes.Equal(c.Value(r), d.Value(it.Ref())) {
			t.Fatalf("%q is not the same in the copy", d.Key(it.Ref()))
		}
	}
	used := a.Used()
	a.SetLimit(used + 50_000)
	if _, err := d.Dup(); !errors.Is(err, ErrOutOfMemory) || a.Used() != used {
		t.Errorf("a copy without memory: %v, %d bytes left behind", err, a.Used()-used)
	}
	c.Clear()
	if d.Used() != a.Used() || d.check() != nil {
		t.Error("clearing the copy hurt")
	}
}

func finish(d *Dict) {
	for d.Rehash(1000) {
	}
}

func TestEntryFitsIts32Bytes(t *testing.T) {
	d := New(newArena(t, 0))
	r, _ := d.Add(testKey(1), []byte("123456789"), 0)
	if n := d.MemoryUsage(r); n != 32 {
		t.Errorf("a 16-byte key with 9 bytes of value takes %d bytes", n)
	}
	r, _ = d.SetExpire(r, 1)
	if n := d.MemoryUsage(r); n != 48 {
		t.Errorf("with an expire time %d bytes", n)
	}
}

func TestBytesPerKey(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n /= 8 // the buckets as full
	}
	a := newArena(t, 0)
	d := New(a)
	add(t, d, 0, n)
	finish(d)
	perKey := float64(d.Used()) / float64(n)
	t.Logf("%.1f bytes per key", perKey)
	if perKey > 45 {
		t.Errorf("%.1f bytes per key, want at most 45", perKey)
	}
	if c := a.Stats(); c.Committed > c.Slots+4<<20 {
		t.Errorf("%d bytes committed for %d in slots", c.Committed, c.Slots)
	}
	d.Clear()
	if a.Stats() != (slab.Stats{}) || d.Len() != 0 {
		t.Errorf("after Clear %+v", a.Stats())
	}
}

// The collector must have nothing to do with the number of entries.
func TestHeapObjects(t *testing.T) {
	if invariants {
		t.Skip("with -tags invariants the arena keeps a map of its slots")
	}
	d := New(newArena(t, 0))
	objects := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapObjects
	}
	add(t, d, 0, 1000)
	before := objects()
	n := 1_000_000
	if testing.Short() {
		n /= 8
	}
	for i := 1000; i < n; i++ {
		_, _ = d.Add(testKey(i), []byte("xyz"), 0)
	}
	// A few may be the runtime's own.
	if after := objects(); after > before+100 {
		t.Errorf("%d entries added %d objects", n, after-before)
	}
	for i := range 100 {
		_, _ = d.Add(value(20, uint32(i)), make([]byte, 100_000), 0)
	}
	if after := objects(); after > before+300 {
		t.Errorf("100 large values added %d objects", after-before)
	}
	runtime.KeepAlive(d)
}

func TestNoAllocations(t *testing.T) {
	d := New(newArena(t, 0))
	add(t, d, 0, 10_000)
	key, fresh := testKey(77), []byte("fresh")
	i := 0
	for name, f := range map[string]func(){
		"Find":     func() { d.Find(key) },
		"SetValue": func() { i++; _, _ = d.SetValue(d.Find(key), fresh[:i%5]) },
		"Grow":     func() { i++; _, _ = d.Grow(d.Find(key), i%600) },
		"expire":   func() { r, _ := d.SetExpire(d.Find(key), 5); d.Persist(r) },
		"add":      func() { _, _ = d.Add(fresh, fresh, 1); d.Delete(fresh) },
		"iterate": func() {
			it := d.SafeIterator()
			it.Next()
			_ = it.Release()
		},
		"Scan":   func() { d.Scan(5, func(r Ref) { i++ }) },
		"random": func() { d.RandomEntry(); d.FairRandom() },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// The guarantee of SCAN, with tables growing and shrinking at every point of the scan:
// each round changes the size and rehashes a random part between two calls.
func TestScanWhileResizing(t *testing.T) {
	const stay = 300
	rng := rand.New(rand.NewPCG(4, 4))
	resized := 0
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	for round := range rounds {
		d := New(newArena(t, 0))
		add(t, d, 0, stay)
		others := stay // keys from stay to others come and go
		if round%2 == 0 {
			others = 6000
			add(t, d, stay, others)
		}
		seen := map[uint32]bool{}
		cursor, calls := uint64(0), 0
		for {
			cursor = d.Scan(cursor, func(r Ref) { seen[d.Meta(r)] = true })
			if cursor == 0 {
				break
			}
			calls++
			switch mask := d.tables[0].mask; rng.IntN(16) {
			case 0:
				n := min(rng.IntN(2000), 20_000-others)
				add(t, d, others, others+n)
				others += n
			case 1:
				n := rng.IntN(others - stay + 1)
				remove(t, d, others-n, others)
				others -= n
			case 2, 3, 4, 5:
				d.Rehash(rng.IntN(20))
			case 6, 7:
				finish(d)
				if d.tables[0].mask != mask {
					resized++
				}
			}
		}
		for i := range uint32(stay) {
			if !seen[i] {
				t.Fatalf("round %d: key %d missed in %d calls", round, i, calls)
			}
		}
		if err := d.check(); err != nil {
			t.Fatal(err)
		}
	}
	if resized < rounds {
		t.Errorf("only %d resizes, too few to show anything", resized)
	}
}

// Without a resize each entry comes exactly once.
func TestScanOnce(t *testing.T) {
	for _, n := range []int{0, 1, 12, 13, 1000, 5000} {
		d := New(newArena(t, 0))
		add(t, d, 0, n)
		finish(d)
		seen := map[uint32]int{}
		cursor := uint64(0)
		for {
			cursor = d.Scan(cursor, func(r Ref) { seen[d.Meta(r)]++ })
			if cursor == 0 {
				break
			}
		}
		for i := range uint32(n) {
			if seen[i] != 1 {
				t.Fatalf("of %d: key %d seen %d times", n, i, seen[i])
			}
		}
	}
}

// fn may delete what it is given; a scan that deletes all ends with an empty dict.
func TestScanDeleting(t *testing.T) {
	d := New(newArena(t, 0))
	add(t, d, 0, 5000)
	deleted := 0
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		cursor = d.Scan(cursor, func(r Ref) {
			d.DeleteRef(r)
			deleted++
		})
		if err := d.check(); err != nil {
			t.Fatal(err)
		}
	}
	if deleted != 5000 || d.Len() != 0 || d.Used() != 0 {
		t.Fatalf("deleted %d, Len %d, Used %d", deleted, d.Len(), d.Used())
	}
}

func TestSafeIteratorPausesRehash(t *testing.T) {
	d := New(newArena(t, 0))
	add(t, d, 0, 1000)
	for i := 1000; !d.rehashing; i++ {
		add(t, d, i, i+1)
	}
	idx := d.rehashIdx
	it := d.SafeIterator()
	n := 0
	for it.Next() {
		n++
		d.Find(testKey(n))
		if n%2 == 0 {
			d.DeleteRef(it.Ref())
		}
		if d.rehashIdx != idx || d.Rehash(5) != true || d.rehashIdx != idx {
			t.Fatal("rehashed under a safe iterator")
		}
	}
	if err := it.Release(); err != nil {
		t.Fatal(err)
	}
	if n < 1000 {
		t.Errorf("saw %d entries", n)
	}
	d.Find(testKey(1))
	if d.rehashing && d.rehashIdx == idx {
		t.Error("does not rehash after Release")
	}
	finish(d)
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
}

func TestUnsafeIteratorNotices(t *testing.T) {
	changes := map[string]func(d *Dict){
		"add":      func(d *Dict) { add(t, d, 5000, 5001) },
		"delete":   func(d *Dict) { remove(t, d, 5, 6) },
		"replace":  func(d *Dict) { remove(t, d, 5, 6); add(t, d, 5, 6) },
		"move":     func(d *Dict) { _, _ = d.SetValue(d.Find(testKey(7)), make([]byte, 100)) },
		"clear":    func(d *Dict) { d.Clear() },
		"resizing": func(d *Dict) { d.resize(1024) },
	}
	for name, change := range changes {
		d := New(newArena(t, 0))
		add(t, d, 0, 1000)
		finish(d)
		it := d.UnsafeIterator()
		it.Next()
		d.Find(testKey(3))
		d.SetMeta(it.Ref(), 1)
		if err := it.Release(); err != nil {
			t.Errorf("%s: %v before anything changed", name, err)
		}
		change(d)
		if err := it.Release(); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: Release = %v", name, err)
		}
	}
}

// Entries added while a safe iterator keeps the table from growing make long chains,
// which go when it is released.
func TestAddWhilePaused(t *testing.T) {
	d := New(newArena(t, 0))
	d.PauseRehash()
	add(t, d, 0, 5000)
	if d.tables[0].mask != 0 || d.children == 0 {
		t.Fatal("the table grew while paused")
	}
	d.ResumeRehash()
	finish(d)
	if d.tables[0].mask == 0 || d.children > 200 {
		t.Errorf("%+v", d.Stats())
	}
	d.PauseRehash()
	remove(t, d, 0, 5000)
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	d.ResumeRehash()
	if err := d.check(); err != nil || d.Used() != 0 {
		t.Fatal(err, d.Used())
	}
}

func TestShrinks(t *testing.T) {
	d := New(newArena(t, 0))
	add(t, d, 0, 100_000)
	finish(d)
	full := d.tables[0].mask
	remove(t, d, 1000, 100_000)
	finish(d)
	if d.tables[0].mask >= full/16 {
		t.Errorf("1000 entries left in %d buckets", d.tables[0].mask+1)
	}
	for i := range 1000 {
		if d.Find(testKey(i)) == 0 {
			t.Fatalf("key %d is lost", i)
		}
	}
}

func TestRehashFor(t *testing.T) {
	d := New(newArena(t, 0))
	add(t, d, 0, 100_000)
	finish(d)
	d.resize(1 << 17)
	if !d.RehashFor(0) {
		t.Error("done in no time")
	}
	d.PauseRehash()
	if !d.RehashFor(time.Hour) {
		t.Error("done though paused")
	}
	d.ResumeRehash()
	if d.RehashFor(time.Hour) {
		t.Error("not done in an hour")
	}
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
}

func TestReserve(t *testing.T) {
	d := New(newArena(t, 0))
	d.Reserve(10_000)
	mask := d.tables[0].mask
	add(t, d, 0, 10_000)
	if d.rehashing || d.tables[0].mask != mask {
		t.Error("grew although there was room")
	}
}

// chi2 is the statistic of counts against a uniform distribution.
func chi2(counts map[Ref]int, cells, throws int) float64 {
	want := float64(throws) / float64(cells)
	x := float64(cells-len(counts)) * want
	for _, n := range counts {
		x += (float64(n) - want) * (float64(n) - want) / want
	}
	return x
}

func TestRandom(t *testing.T) {
	const n, throws = 700, 700 * 200
	for _, rehashing := range []bool{false, true} {
		d := New(newArena(t, 0))
		add(t, d, 0, n)
		finish(d)
		if rehashing {
			d.resize(4 << 7)
			d.Rehash(20)
			d.PauseRehash()
		}
		fair, cheap := map[Ref]int{}, map[Ref]int{}
		for range throws {
			fair[d.FairRandom()]++
			cheap[d.RandomEntry()]++
		}
		// With 699 degrees of freedom, 1000 is 8 standard deviations out.
		if x := chi2(fair, n, throws); x > 1000 {
			t.Errorf("rehashing %v: FairRandom is not fair: chi² = %.0f", rehashing, x)
		}
		if len(cheap) != n {
			t.Errorf("rehashing %v: RandomEntry returned %d of %d entries", rehashing, len(cheap), n)
		}
	}
	d := New(newArena(t, 0))
	if d.RandomEntry() != 0 || d.FairRandom() != 0 {
		t.Error("entry of an empty dict")
	}
	d.PauseRehash()
	add(t, d, 0, 5000)
	remove(t, d, 1, 5000)
	if r := d.Find(testKey(0)); d.FairRandom() != r || d.RandomEntry() != r {
		t.Error("the only entry is not found at random")
	}
}

func TestLargeKeysAndValues(t *testing.T) {
	size := 32 << 20
	if os.Getenv("REDSCOPE_BENCH_LARGE") != "" {
		size = 512 << 20
	}
	a := newArena(t, 0)
	d := New(a)
	key, val := bytes.Repeat([]byte("k"), size), bytes.Repeat([]byte("v"), size)
	r, err := d.Add(key, val, 7)
	if err != nil {
		t.Fatal(err)
	}
	if d.Find(key) != r || d.Find(key[1:]) != 0 || !bytes.Equal(d.Value(r), val) || !bytes.Equal(d.Key(r), key) {
		t.Fatal("not what was added")
	}
	if n := d.MemoryUsage(r); n < int64(2*size) || n > int64(2*size)+1<<20 {
		t.Fatalf("MemoryUsage = %d", n)
	}
	if r, err = d.SetExpire(r, 1); err != nil || !bytes.Equal(d.Value(r), val) {
		t.Fatal("lost by SetExpire", err)
	}
	if !d.Persist(r) || !bytes.Equal(d.Value(r), val) {
		t.Fatal("lost by Persist")
	}
	if r, err = d.SetValue(r, []byte("short")); err != nil || string(d.Value(r)) != "short" {
		t.Fatal(err)
	}
	if r, err = d.Grow(r, size); err != nil || len(d.Value(r)) != size || string(d.Value(r)[:7]) != "short\x00\x00" {
		t.Fatal(err)
	}
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	d.DeleteRef(r)
	if a.Used() != 0 {
		t.Fatalf("%d bytes left", a.Used())
	}
	if size == 512<<20 {
		return
	}
	if _, err = New(newArena(t, 1<<20)).Add([]byte("k"), val, 0); !errors.Is(err, ErrOutOfMemory) {
		t.Fatalf("Add beyond the limit: %v", err)
	}
}

// A rehash that runs out of memory half way leaves every entry to be found, and goes on
// when there is some.
func TestRehashOutOfMemory(t *testing.T) {
	a := newArena(t, 0)
	d := New(a)
	add(t, d, 0, 5000)
	finish(d)
	d.resize(1) // a shrink that needs hundreds of child buckets
	a.SetLimit(a.Used() + 10*bucketSize)
	for range 1000 {
		d.Rehash(1)
	}
	if !d.rehashing {
		t.Fatal("rehashed without memory")
	}
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	for i := range 5000 {
		if d.Find(testKey(i)) == 0 {
			t.Fatalf("key %d is lost", i)
		}
	}
	a.SetLimit(0)
	finish(d)
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	remove(t, d, 0, 5000)
	if a.Used() != 0 {
		t.Fatalf("%d bytes left", a.Used())
	}
}

// Two dicts in one arena do not disturb each other; clearing one leaves the other.
func TestSharedArena(t *testing.T) {
	a := newArena(t, 0)
	x, y := New(a), New(a)
	add(t, x, 0, 20_000)
	add(t, y, 0, 20_000)
	for i := range 100 {
		r, _ := x.SetExpire(x.Find(testKey(i)), 5)
		_, _ = x.SetValue(r, make([]byte, 20_000))
	}
	if x.Used()+y.Used() != a.Used() {
		t.Errorf("%d + %d != %d", x.Used(), y.Used(), a.Used())
	}
	x.Clear()
	if x.Used() != 0 || y.Used() != a.Used() || x.Expiring() != 0 {
		t.Errorf("after Clear %d, %d of %d", x.Used(), y.Used(), a.Used())
	}
	for _, d := range []*Dict{x, y} {
		if err := d.check(); err != nil {
			t.Fatal(err)
		}
	}
	add(t, x, 0, 100)
	remove(t, y, 0, 20_000)
	if y.Used() != 0 || x.Used() != a.Used() {
		t.Errorf("after deleting %d, %d of %d", y.Used(), x.Used(), a.Used())
	}
}

// While a large table is being left, what was passed is given back: reading it again
// must find it empty, and lookups, scans and random entries must not care.
func TestLargeTableIsGivenBack(t *testing.T) {
	const n = 600_000 // 2^16 buckets: 4 MiB
	d := New(newArena(t, 0))
	add(t, d, 0, n)
	finish(d)
	buckets := int(d.tables[0].mask + 1)
	if buckets*bucketSize < 2*releaseStep {
		t.Fatalf("%d buckets are too few for this test", buckets)
	}
	d.resize(buckets * 2)
	d.Rehash(buckets * 3 / 4)
	if err := d.check(); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < n; i += 7 {
		if r := d.Find(testKey(i)); r == 0 || d.Meta(r) != uint32(i) {
			t.Fatalf("key %d is lost", i)
		}
	}
}

func TestPrefetchIsHarmless(t *testing.T) {
	d := New(newArena(t, 0))
	for i := range 3000 {
		h := Hash(testKey(i))
		d.Prefetch(h)
		d.PrefetchEntry(h)
		add(t, d, i, i+1)
		d.Prefetch(h)
		d.PrefetchEntry(h)
	}
}
