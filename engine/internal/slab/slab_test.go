package slab

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func newArena(t testing.TB, limit int64) *Arena {
	a, err := New(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func (a *Arena) bytes(r Ref, n int) []byte { return unsafe.Slice((*byte)(a.Ptr(r)), n) }

func residentKiB(t testing.TB) (kib int) {
	b, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Skip("needs /proc/self/smaps_rollup: ", err)
	}
	for line := range strings.Lines(string(b)) {
		_, _ = fmt.Sscanf(line, "Rss: %d kB", &kib)
	}
	return kib
}

func TestClasses(t *testing.T) {
	for n := 1; n <= MaxSlot; n++ {
		size := RoundUp(n)
		up := (n + 7) &^ 7
		switch {
		case size < n, size%8 != 0:
			t.Fatalf("RoundUp(%d) = %d", n, size)
		case n <= smallMax && size != up:
			t.Fatalf("RoundUp(%d) = %d, want the next multiple of 8", n, size)
		case n > smallMax && float64(size-up) > float64(size)/8:
			t.Fatalf("RoundUp(%d) = %d wastes more than 12.5 %%", n, size)
		case n&(n-1) == 0 && n >= 8 && size != n:
			t.Fatalf("RoundUp(%d) = %d, want a class for each power of two", n, size)
		}
	}
	for i := range classes.count {
		if size := int(classes.size[i]); spanSize%size > spanSize/8 {
			t.Errorf("class of %d bytes leaves %d bytes of a span unused", size, spanSize%size)
		}
	}
}

// Slots never overlap, keep their contents, and the accounts are right, whatever the
// order of allocations.
func TestSlots(t *testing.T) {
	type slot struct {
		r    Ref
		n    int
		mark byte
	}
	a := newArena(t, 0)
	rng := rand.New(rand.NewPCG(1, 2))
	var live []slot
	var used int64
	for i := range 200_000 {
		if len(live) > 0 && rng.IntN(100) < 30+40*(i>>14&1) {
			j := rng.IntN(len(live))
			s := live[j]
			if got := a.bytes(s.r, s.n); bytes.Count(got, []byte{s.mark}) != s.n {
				t.Fatalf("slot %#x of %d bytes was overwritten", s.r, s.n)
			}
			used -= int64(a.SlotSize(s.r))
			a.Free(s.r)
			live[j] = live[len(live)-1]
			live = live[:len(live)-1]
		} else {
			n := 1 + rng.IntN(100)
			if rng.IntN(20) == 0 {
				n = 1 + rng.IntN(MaxSlot)
			}
			r, ok := a.Alloc(n)
			if !ok || r == 0 || a.SlotSize(r) != RoundUp(n) {
				t.Fatalf("Alloc(%d) = %#x %v, size %d", n, r, ok, a.SlotSize(r))
			}
			used += int64(a.SlotSize(r))
			b := a.bytes(r, n)
			for k := range b {
				b[k] = byte(i)
			}
			live = append(live, slot{r, n, byte(i)})
		}
		if a.Used() != used {
			t.Fatalf("Used = %d, want %d", a.Used(), used)
		}
	}
	for _, s := range live {
		a.Free(s.r)
	}
	if s := a.Stats(); s != (Stats{}) {
		t.Fatalf("emptied, but %+v", s)
	}
}

// What one class gave back serves another.
func TestSpansAreReused(t *testing.T) {
	a := newArena(t, 0)
	keep, _ := a.Alloc(2000)
	for _, size := range []int{16, 32, 1000, MaxSlot} {
		var refs []Ref
		for n := 0; n < 8<<20; n += RoundUp(size) {
			r, _ := a.Alloc(size)
			refs = append(refs, r)
		}
		for _, r := range refs {
			a.Free(r)
		}
	}
	if s := a.Stats(); s.Committed > 12<<20 || s.Slots != int64(RoundUp(2000)) {
		t.Fatalf("8 MiB at a time committed %+v", s)
	}
	a.Free(keep)
}

func TestLimit(t *testing.T) {
	a := newArena(t, 1<<20)
	var refs []Ref
	for {
		r, ok := a.Alloc(1024)
		if !ok {
			break
		}
		refs = append(refs, r)
	}
	if len(refs) != 1024 {
		t.Fatalf("a limit of 1 MiB gave %d slots of 1 KiB", len(refs))
	}
	if _, ok := a.AllocBlock(1 << 20); ok {
		t.Error("AllocBlock beyond the limit")
	}
	if _, ok := a.AllocLarge(make([]byte, 100)); ok {
		t.Error("AllocLarge beyond the limit")
	}
	a.Free(refs[0])
	if _, ok := a.Alloc(1024); !ok {
		t.Error("no slot after one was freed")
	}
}

// The address range itself can run out too.
func TestRangeExhausted(t *testing.T) {
	a := newArena(t, 0)
	a.size = 4 << 20 // as if the system had refused more
	n := 0
	for ; ; n++ {
		if _, ok := a.Alloc(MaxSlot); !ok {
			break
		}
	}
	if want := (4<<20 - spanSize) / MaxSlot; n != want {
		t.Fatalf("%d slots in 4 MiB, want %d", n, want)
	}
	a.size = maxRange
}

func TestBlocks(t *testing.T) {
	a := newArena(t, 0)
	for _, n := range []int{64, 4096, MaxSlot, 32 << 10, 4 << 20} {
		b, ok := a.AllocBlock(n)
		if !ok || b.Size != n || uintptr(b.Ptr)%min(64, uintptr(n)) != 0 {
			t.Fatalf("AllocBlock(%d) = %+v %v", n, b, ok)
		}
		v := unsafe.Slice((*byte)(b.Ptr), n)
		if bytes.Count(v, []byte{0}) != n {
			t.Fatalf("block of %d bytes is not zeroed", n)
		}
		for i := range v {
			v[i] = byte(i * 7)
		}
		for _, to := range []int{n * 2, n * 4, n / 2} {
			if b, ok = a.ResizeBlock(b, to); !ok || b.Size != to || a.Used() != int64(to) {
				t.Fatalf("ResizeBlock to %d = %+v %v, used %d", to, b, ok, a.Used())
			}
			v = unsafe.Slice((*byte)(b.Ptr), min(n, to))
			for i := range v {
				if v[i] != byte(i*7) {
					t.Fatalf("resized from %d to %d: byte %d is lost", n, to, i)
				}
			}
		}
		a.FreeBlock(b)
		if a.Used() != 0 {
			t.Fatalf("Used = %d", a.Used())
		}
	}
}

func TestLarge(t *testing.T) {
	a := newArena(t, 0)
	x, _ := a.AllocLarge([]byte("some"))
	y, _ := a.AllocLargeGrowing([]byte("other"), 100_000)
	if string(a.Large(x)) != "some" || string(a.Large(y)) != "other"+string(make([]byte, 100_000-5)) {
		t.Fatal("contents differ")
	}
	a.ResizeLarge(x, 1_000_000)
	if string(a.Large(x)) != "some"+string(make([]byte, 1_000_000-4)) {
		t.Fatal("contents differ after growing")
	}
	a.ResizeLarge(x, 3)
	if string(a.Large(x)) != "som" || a.LargeSize(x) > 100 {
		t.Fatalf("cut to %q, which occupies %d bytes", a.Large(x), a.LargeSize(x))
	}
	if a.Used() != a.LargeSize(x)+a.LargeSize(y) {
		t.Fatal("accounts differ")
	}
	a.FreeLarge(x)
	if z, _ := a.AllocLarge(nil); z != x {
		t.Fatalf("number %d, want %d again", z, x)
	}
	a.FreeLarge(x)
	a.FreeLarge(y)
	if a.Used() != 0 || a.large != nil {
		t.Fatal("not empty")
	}
}

// Growing byte by byte must not copy the value each time.
func TestLargeGrowthIsAmortised(t *testing.T) {
	a := newArena(t, 0)
	x, _ := a.AllocLarge(make([]byte, 20_000))
	moves := 0
	for n := 20_001; n <= 1_000_000; n++ {
		before := a.LargeSize(x)
		a.ResizeLarge(x, n)
		if a.LargeSize(x) != before {
			moves++
		}
	}
	if moves > 30 {
		t.Fatalf("moved %d times", moves)
	}
}

func TestMemoryIsReturned(t *testing.T) {
	const size = 64 << 20
	fill := func(a *Arena) (refs []Ref) {
		for n := 0; n < size; n += 1024 {
			r, _ := a.Alloc(1024)
			clear(a.bytes(r, 1024))
			refs = append(refs, r)
		}
		return refs
	}
	a := newArena(t, 0)
	keep, _ := a.Alloc(8)
	before := residentKiB(t)
	gone := func(what string) {
		t.Helper()
		if kib := residentKiB(t) - before; kib > 8<<10 {
			t.Errorf("%s left %d KiB resident", what, kib)
		}
	}
	refs := fill(a)
	// Not exact, as the runtime may return memory of its own meanwhile.
	if kib := residentKiB(t) - before; kib < size>>10*3/4 {
		t.Fatalf("%d KiB resident for %d", kib, size>>10)
	}
	for _, r := range refs {
		a.Free(r)
	}
	if s := a.Stats(); s.Idle < size {
		t.Errorf("%+v, want %d bytes idle", s, size)
	}
	if got := a.Trim(); got < size {
		t.Errorf("Trim returned %d bytes", got)
	}
	gone("Trim")
	refs = fill(a)
	a.Free(keep)
	for _, r := range refs {
		a.Free(r)
	}
	gone("freeing all")
	fill(a)
	a.Reset()
	gone("Reset")
}

// An arena with a little of everything must touch little.
func TestSmallArenaStaysSmall(t *testing.T) {
	before := residentKiB(t)
	a := newArena(t, 0)
	for i := range classes.count {
		r, _ := a.Alloc(int(classes.size[i]))
		clear(a.bytes(r, a.SlotSize(r)))
	}
	if kib := residentKiB(t) - before; kib > 1500 {
		t.Errorf("one slot of each class occupies %d KiB", kib)
	}
}

func BenchmarkAllocFree(b *testing.B) {
	a := newArena(b, 0)
	var ring [1024]Ref
	b.ReportAllocs()
	for i := range b.N {
		if r := ring[i%1024]; r != 0 {
			a.Free(r)
		}
		ring[i%1024], _ = a.Alloc(16 + i%64)
	}
}

// TestChildLimited is what TestLimitedAddressSpace runs.
func TestChildLimited(t *testing.T) {
	if os.Getenv("SLAB_TEST_LIMITED") == "" {
		t.Skip("run by TestLimitedAddressSpace")
	}
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var pages uint64
	fmt.Sscan(string(status), &pages)
	limit := pages*uint64(os.Getpagesize()) + 300<<20
	if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		t.Fatal(err)
	}
	a, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := a.Alloc(100); !ok {
		t.Error("no slot")
	}
	if _, ok := a.AllocLarge(make([]byte, 40<<20)); !ok {
		t.Error("no large value")
	}
}

// TestLimitedAddressSpace wants an arena to leave the Go heap as much of a
// limited address space as it takes: without, the runtime ends the process.
func TestLimitedAddressSpace(t *testing.T) {
	if underRace {
		t.Skip("the race detector needs more address space than the limit")
	}
	child := exec.Command(os.Args[0], "-test.run=^TestChildLimited$")
	child.Env = append(os.Environ(), "SLAB_TEST_LIMITED=1")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v: %.300s", err, out)
	}
}
