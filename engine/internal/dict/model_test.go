package dict

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/redscope/redscope/engine/internal/slab"
)

// model is what a dict must be equivalent to.
type model struct {
	t       testing.TB
	d       *Dict
	arena   *slab.Arena
	entries map[string]modelEntry
	ops     int
}

type modelEntry struct {
	value   []byte
	meta    uint32
	expire  int64
	expires bool
}

func newArena(t testing.TB, limit int64) *slab.Arena {
	a, err := slab.New(limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func newModel(t testing.TB, limit int64) *model {
	a := newArena(t, limit)
	return &model{t: t, d: New(a), arena: a, entries: map[string]modelEntry{}}
}

// value returns n bytes that depend on what.
func value(n int, what uint32) []byte {
	v := make([]byte, n)
	for i := range v {
		v[i] = byte(uint32(i)*7 + what)
	}
	return v
}

func (m *model) set(key string, v []byte, meta uint32) error {
	r := m.d.Find([]byte(key))
	var err error
	e, exists := m.entries[key]
	if (r != 0) != exists {
		m.t.Fatalf("Find(%.40q) = %#x, want presence %v", key, r, exists)
	}
	if r == 0 {
		if r, err = m.d.Add([]byte(key), v, meta); err != nil {
			return err
		}
	} else {
		if r, err = m.d.SetValue(r, v); err != nil {
			return err
		}
		m.d.SetMeta(r, meta)
	}
	e.value, e.meta = append([]byte(nil), v...), meta
	m.entries[key] = e
	m.verify(key, r)
	return nil
}

func (m *model) grow(key string, n int) error {
	r := m.d.Find([]byte(key))
	if r == 0 {
		return nil
	}
	e := m.entries[key]
	if n <= len(e.value) && n%2 == 0 {
		r = m.d.Truncate(r, n)
	} else {
		var err error
		if r, err = m.d.Grow(r, n); err != nil {
			return err
		}
	}
	if n <= len(e.value) {
		e.value = e.value[:n]
	} else {
		e.value = append(e.value[:len(e.value):len(e.value)], make([]byte, n-len(e.value))...)
	}
	m.entries[key] = e
	m.verify(key, r)
	return nil
}

func (m *model) expire(key string, ms int64) error {
	r := m.d.Find([]byte(key))
	if r == 0 {
		return nil
	}
	r, err := m.d.SetExpire(r, ms)
	if err != nil {
		return err
	}
	e := m.entries[key]
	e.expire, e.expires = ms, true
	m.entries[key] = e
	m.verify(key, r)
	return nil
}

func (m *model) persist(key string) {
	r := m.d.Find([]byte(key))
	if r == 0 {
		return
	}
	e := m.entries[key]
	if m.d.Persist(r) != e.expires {
		m.t.Fatalf("Persist(%.40q) = %v", key, !e.expires)
	}
	e.expire, e.expires = 0, false
	m.entries[key] = e
	m.verify(key, r)
}

func (m *model) delete(key string) {
	_, exists := m.entries[key]
	if got := m.d.Delete([]byte(key)); got != exists {
		m.t.Fatalf("Delete(%.40q) = %v", key, got)
	}
	delete(m.entries, key)
}

// rename moves a value to another key as the RENAME command does.
func (m *model) rename(from, to string) error {
	r := m.d.Find([]byte(from))
	if r == 0 || from == to {
		return nil
	}
	m.delete(to)
	e := m.entries[from]
	r, err := m.d.Add([]byte(to), m.d.Value(m.d.Find([]byte(from))), e.meta)
	if err != nil {
		return err
	}
	m.entries[to] = modelEntry{value: e.value, meta: e.meta}
	m.verify(to, r)
	m.delete(from)
	return nil
}

func (m *model) verify(key string, r Ref) {
	m.t.Helper()
	e := m.entries[key]
	switch ms, ok := m.d.Expire(r); {
	case string(m.d.Key(r)) != key:
		m.t.Fatalf("key of %.40q is %.40q", key, m.d.Key(r))
	case !bytes.Equal(m.d.Value(r), e.value):
		m.t.Fatalf("value of %.40q: %d bytes %.40q, want %d bytes %.40q", key, len(m.d.Value(r)), m.d.Value(r), len(e.value), e.value)
	case m.d.Meta(r) != e.meta:
		m.t.Fatalf("meta of %.40q is %#x, want %#x", key, m.d.Meta(r), e.meta)
	case ms != e.expire || ok != e.expires:
		m.t.Fatalf("expire of %.40q is %d %v, want %d %v", key, ms, ok, e.expire, e.expires)
	}
}

// step is called after each operation.
func (m *model) step() {
	m.t.Helper()
	if m.d.Len() != len(m.entries) {
		m.t.Fatalf("Len = %d, want %d", m.d.Len(), len(m.entries))
	}
	if m.d.Used() != m.arena.Used() {
		m.t.Fatalf("Used = %d, the arena's %d", m.d.Used(), m.arena.Used())
	}
	m.ops++
	if invariants && (len(m.entries) < 200 || m.ops%64 == 0) || m.ops%4096 == 0 {
		m.check()
	}
}

func (m *model) check() {
	m.t.Helper()
	if err := m.d.check(); err != nil {
		m.t.Fatal(err)
	}
}

// compare checks all entries, by lookup, by iterator, and the index of expires.
func (m *model) compare() {
	m.t.Helper()
	m.check()
	expiring := 0
	for key, e := range m.entries {
		r := m.d.Find([]byte(key))
		if r == 0 {
			m.t.Fatalf("%.40q is missing", key)
		}
		m.verify(key, r)
		if e.expires {
			expiring++
		}
	}
	seen := map[string]bool{}
	it := m.d.UnsafeIterator()
	for it.Next() {
		seen[string(m.d.Key(it.Ref()))] = true
	}
	if err := it.Release(); err != nil {
		m.t.Fatal(err)
	}
	if len(seen) != len(m.entries) {
		m.t.Fatalf("iterator saw %d entries of %d", len(seen), len(m.entries))
	}
	if m.d.Expiring() != expiring {
		m.t.Fatalf("Expiring = %d, want %d", m.d.Expiring(), expiring)
	}
	for i := range expiring {
		if !m.entries[string(m.d.Key(m.d.ExpiringAt(i)))].expires {
			m.t.Fatalf("ExpiringAt(%d) does not expire", i)
		}
	}
}

// scanner runs a SCAN across other operations and checks its guarantee.
type scanner struct {
	cursor  uint64
	started bool
	must    map[string]bool // present since the start
	seen    map[string]bool
}

func (s *scanner) step(m *model) {
	if !s.started {
		s.started = true
		s.cursor = 0
		s.seen = map[string]bool{}
		s.must = map[string]bool{}
		for k := range m.entries {
			s.must[k] = true
		}
	}
	s.cursor = m.d.Scan(s.cursor, func(r Ref) { s.seen[string(m.d.Key(r))] = true })
	if s.cursor != 0 {
		return
	}
	s.started = false
	for k := range s.must {
		if !s.seen[k] {
			m.t.Fatalf("scan missed %.40q", k)
		}
	}
}

func (s *scanner) deleted(key string) {
	if s.started {
		delete(s.must, key)
	}
}

// sizes are value lengths around the limits of the layout.
var sizes = []int{0, 1, 3, 9, 10, 17, 100, 254, 255, 256, 1000, 4000, 8190, 8200,
	slab.MaxSlot - 60, slab.MaxSlot - 40, slab.MaxSlot - 32, slab.MaxSlot - 28, slab.MaxSlot - 24, slab.MaxSlot - 20, slab.MaxSlot, slab.MaxSlot + 1, 40000, 100000}

// run interprets program as operations.
func (m *model) run(program []byte) {
	var scan scanner
	keys := 300
	key := func(b []byte) string {
		n := int(binary.LittleEndian.Uint16(b)) % keys
		switch n % 61 {
		case 1:
			return string(value(255+n%3, uint32(n)))
		case 2:
			return string(value(largeKey-1+n%3, uint32(n)))
		case 3:
			return string(value(20000, uint32(n)))
		case 0:
			if n == 0 {
				return ""
			}
		}
		return fmt.Sprintf("key:%d", n)
	}
	for len(program) >= 6 {
		op, arg := program[0], program[1]
		k := key(program[2:])
		other := key(program[4:])
		size := sizes[int(arg)%len(sizes)]
		if op < 128 {
			size = int(arg) % 24 // most values are small
		}
		program = program[6:]
		switch op % 16 {
		case 0, 1, 2, 3, 4:
			_ = m.set(k, value(size, uint32(op)), uint32(arg)<<24|uint32(op))
		case 5, 6:
			_ = m.grow(k, size)
		case 7:
			_ = m.expire(k, int64(arg)<<32|int64(op))
		case 8:
			m.persist(k)
		case 9, 10:
			m.delete(k)
			scan.deleted(k)
		case 11:
			_ = m.rename(k, other)
			scan.deleted(k)
			scan.deleted(other)
		case 12, 13:
			scan.step(m)
		case 14:
			m.bulk(arg, &scan)
		case 15:
			m.iterate(arg, other, &scan)
		}
		m.step()
	}
	m.compare()
}

// bulk adds or deletes many entries, to make the table grow and shrink.
func (m *model) bulk(arg byte, scan *scanner) {
	first := int(arg) % 7 * 500
	for i := first; i < first+400; i++ {
		k := fmt.Sprintf("bulk:%d", i)
		if arg&8 == 0 {
			_ = m.set(k, value(3, 0), 0)
		} else {
			m.delete(k)
			scan.deleted(k)
		}
	}
}

// iterate walks over all entries while deleting and adding some.
func (m *model) iterate(arg byte, other string, scan *scanner) {
	want := map[string]bool{}
	for k := range m.entries {
		want[k] = true
	}
	it := m.d.SafeIterator()
	n := 0
	for it.Next() {
		k := string(m.d.Key(it.Ref()))
		if _, ok := m.entries[k]; !ok {
			m.t.Fatalf("iterator returned %.40q, which is not there", k)
		}
		delete(want, k)
		n++
		switch {
		case arg%5 == 0 && n%3 == 0:
			m.delete(k)
			scan.deleted(k)
		case arg%5 == 1 && n%7 == 0:
			m.delete(other)
			scan.deleted(other)
			delete(want, other)
		case arg%5 == 2 && n < 100:
			_ = m.set(fmt.Sprintf("bulk:%d", 4000+n), nil, 1)
		case arg%5 == 3:
			_ = m.expire(k, int64(n))
		}
	}
	if err := it.Release(); err != nil {
		m.t.Fatal(err)
	}
	if len(want) != 0 {
		m.t.Fatalf("iterator missed %d entries", len(want))
	}
}

func (m *model) empty() {
	m.t.Helper()
	for k := range m.entries {
		m.delete(k)
	}
	m.step()
	m.check()
	if m.d.Used() != 0 || m.arena.Used() != 0 {
		m.t.Fatalf("empty, but %d bytes used, %+v", m.d.Used(), m.arena.Stats())
	}
}

func randomProgram(rng *rand.Rand, n int) []byte {
	p := make([]byte, n*6)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}

func TestModel(t *testing.T) {
	for seed := range uint64(6) {
		m := newModel(t, 0)
		m.run(randomProgram(rand.New(rand.NewPCG(seed, 1)), 2000))
		m.empty()
	}
}

// With little memory any operation may fail, and must then change nothing.
func TestModelOutOfMemory(t *testing.T) {
	for seed := range uint64(10) {
		m := newModel(t, 20_000+int64(seed)*10_000)
		m.run(randomProgram(rand.New(rand.NewPCG(seed, 2)), 2000))
		m.empty()
	}
}

func FuzzDict(f *testing.F) {
	f.Add(uint32(0), randomProgram(rand.New(rand.NewPCG(1, 3)), 200))
	f.Add(uint32(30_000), randomProgram(rand.New(rand.NewPCG(2, 3)), 200))
	f.Fuzz(func(t *testing.T, limit uint32, program []byte) {
		m := newModel(t, int64(limit))
		m.run(program)
		m.empty()
	})
}
