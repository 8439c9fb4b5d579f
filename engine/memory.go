package engine

import (
	"fmt"
	"math"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/internal/quicklist"
)

// memoryOverhead says what the memory is used for, in bytes
// (getMemoryOverheadData).
type memoryOverhead struct {
	used     int64 // keys and everything else
	active   int64 // used, and what the heap and the arena hold unused beyond that
	resident int64 // of the process
	peak     int64 // of used, so far
	startup  int64 // of used, when the server began
	clients  int64
	keys     int64
	tables   []tableOverhead
	overhead int64 // of used, what is not data
	dataset  int64 // of used, what is not overhead
}

// tableOverhead is what a database that is not empty takes beside its entries.
type tableOverhead struct {
	db            int
	main, expires int64
}

func (s *Server) memoryOverhead() memoryOverhead {
	used, unused := s.usedMemory()
	s.memory.peak = max(s.memory.peak, used)
	o := memoryOverhead{
		used: used, active: used + unused + s.arena.Stats().Idle, resident: residentMemory(),
		peak: s.memory.peak, startup: s.memory.startup,
	}
	for _, c := range s.clients.list {
		o.clients += c.memory()
	}
	o.overhead = o.startup + o.clients
	for _, db := range s.db {
		if db.dict.Len() == 0 {
			continue
		}
		main, expires := db.dict.Overhead()
		o.tables = append(o.tables, tableOverhead{db.id, main, expires})
		o.keys += int64(db.dict.Len())
		o.overhead += main + expires
	}
	o.overhead = min(used, o.overhead)
	o.dataset = used - o.overhead
	return o
}

// sinceStartup is what is used beyond what the empty server took, at least 1.
func (o *memoryOverhead) sinceStartup() int64 { return max(1, o.used-o.startup) }

func ratio(a, b int64) float64 { return float64(a) / float64(max(1, b)) }

// systemMemory is what the machine has, in bytes.
func systemMemory() int64 {
	var system unix.Sysinfo_t
	if unix.Sysinfo(&system) != nil {
		return 0
	}
	return int64(system.Totalram) * int64(system.Unit)
}

var memoryHelp = []string{
	"DOCTOR",
	"    Return memory problems reports.",
	"MALLOC-STATS",
	"    Return internal statistics report from the memory allocator.",
	"PURGE",
	"    Attempt to purge dirty pages for reclamation by the allocator.",
	"STATS",
	"    Return information about the memory usage of the server.",
	"USAGE <key> [SAMPLES <count>]",
	"    Return memory in bytes used by <key> and its value. Nested values are",
	"    sampled up to <count> times (default: 5, 0 means sample all).",
}

func memoryCommand(c *client) {
	switch c.cmd.name {
	case "help":
		addReplyHelp(c, memoryHelp)
	case "usage":
		memoryUsage(c)
	case "stats":
		memoryStats(c)
	case "malloc-stats":
		addReplyVerbatim(c, c.srv.allocatorReport(), "txt")
	case "doctor":
		o := c.srv.memoryOverhead()
		addReplyVerbatim(c, o.doctor(int64(len(c.srv.clients.list))), "txt")
	case "purge":
		c.srv.purgeMemory()
		addReply(c, shared.ok)
	}
}

// memoryUsage replies what a key and its value take. SAMPLES is checked and
// otherwise ignored: the memory of every value is counted as it changes, so that
// there is nothing to estimate.
func memoryUsage(c *client) {
	for args := c.argv[3:]; len(args) > 0; args = args[2:] {
		if !equalFoldC(args[0], "samples") || len(args) < 2 {
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
		n, ok := intArgument(c, args[1])
		if !ok {
			return
		}
		if n < 0 {
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	// As in Redis a look from outside: an expired key that is still there counts,
	// and no LRU time or hit is noted.
	r := c.db.dict.FindHash(c.hash(c.argv[2]), c.argv[2])
	if r == 0 {
		addReplyNull(c)
		return
	}
	addReplyLongLong(c, c.db.valueMemory(r))
}

// memoryStatsFields is the number of fields of MEMORY STATS that do not depend on
// the databases.
const memoryStatsFields = 27

func memoryStats(c *client) {
	o := c.srv.memoryOverhead()
	bytes := func(name string, n int64) {
		addReplyBulkString(c, name)
		addReplyLongLong(c, n)
	}
	number := func(name string, n float64) {
		addReplyBulkString(c, name)
		addReplyDouble(c, n)
	}
	addReplyMapLen(c, memoryStatsFields+len(o.tables))
	bytes("peak.allocated", o.peak)
	bytes("total.allocated", o.used)
	bytes("startup.allocated", o.startup)
	bytes("replication.backlog", 0)
	bytes("clients.slaves", 0)
	bytes("clients.normal", o.clients)
	bytes("cluster.links", 0)
	bytes("aof.buffer", 0)
	bytes("lua.caches", 0)
	bytes("functions.caches", 0)
	for _, t := range o.tables {
		addReplyBulkString(c, "db."+strconv.Itoa(t.db))
		addReplyMapLen(c, 3)
		bytes("overhead.hashtable.main", t.main)
		bytes("overhead.hashtable.expires", t.expires)
		bytes("overhead.hashtable.slot-to-keys", 0)
	}
	bytes("overhead.total", o.overhead)
	bytes("keys.count", o.keys)
	perKey := int64(0)
	if o.keys > 0 {
		perKey = o.sinceStartup() / o.keys
	}
	bytes("keys.bytes-per-key", perKey)
	bytes("dataset.bytes", o.dataset)
	number("dataset.percentage", 100*ratio(o.dataset, o.sinceStartup()))
	number("peak.percentage", 100*ratio(o.used, o.peak))
	bytes("allocator.allocated", o.used)
	bytes("allocator.active", o.active)
	bytes("allocator.resident", o.resident)
	number("allocator-fragmentation.ratio", ratio(o.active, o.used))
	bytes("allocator-fragmentation.bytes", o.active-o.used)
	number("allocator-rss.ratio", ratio(o.resident, o.active))
	bytes("allocator-rss.bytes", o.resident-o.active)
	// What is resident and not the allocator's: the runtime's own counts as its.
	number("rss-overhead.ratio", 1)
	bytes("rss-overhead.bytes", 0)
	number("fragmentation", ratio(o.resident, o.used))
	bytes("fragmentation.bytes", o.resident-o.used)
}

// allocatorReport is MEMORY MALLOC-STATS: the arena by size class, and the heap.
func (s *Server) allocatorReport() string {
	var b strings.Builder
	stats := s.arena.Stats()
	objects, unused := heapMemory()
	fmt.Fprintf(&b, "___ Begin %s statistics ___\n", allocatorName)
	fmt.Fprintf(&b, "Slots: %d, blocks: %d, large values: %d\n", stats.Slots, stats.Blocks, stats.Large)
	fmt.Fprintf(&b, "Committed for slots: %d, of these in no class: %d\n", stats.Committed, stats.Idle)
	fmt.Fprintf(&b, "Heap objects, large values among them: %d, unused in their spans: %d\n", objects, unused)
	fmt.Fprintf(&b, "%8s %8s %12s %12s\n", "size", "spans", "slots", "bytes")
	for _, class := range s.arena.Classes() {
		fmt.Fprintf(&b, "%8d %8d %12d %12d\n", class.Size, class.Spans, class.Live, int64(class.Size)*class.Live)
	}
	fmt.Fprintf(&b, "--- End %s statistics ---\n", allocatorName)
	return b.String()
}

// The limits of MEMORY DOCTOR, Redis's own.
const (
	doctorLeast       = 5 << 20   // bytes; below, there is nothing to say
	doctorPeak        = 1.5       // of the peak to what is used now
	doctorTotal       = 1.4       // of resident to used memory
	doctorAllocator   = 1.1       // of active to used, and of resident to active memory
	doctorBytes       = 10 << 20  // and so many bytes at least
	doctorClientBytes = 200 << 10 // per client, on average
)

// doctor is the report of MEMORY DOCTOR, of a server with so many clients. Its
// greetings are Redis's; what it finds and advises is about this server's memory.
func (o *memoryOverhead) doctor(clients int64) string {
	if o.used < doctorLeast {
		return "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these conditions. " +
			"Please, leave for your mission on Earth and fill it with some data. The new Sam and I will be back to our programming as soon as I finished rebooting.\n"
	}
	var b strings.Builder
	issue := func(found bool, text string, args ...any) {
		if found {
			fmt.Fprintf(&b, " * "+text+"\n\n", args...)
		}
	}
	issue(ratio(o.peak, o.used) > doctorPeak,
		"Peak memory: %s were in use once, which is much more than now. Spans of slots that are partly free stay resident, and are filled again before new ones are taken. "+
			"If the peak was an accident, MEMORY PURGE gives back what is wholly free.", humanBytes(o.peak))
	issue(ratio(o.resident, o.used) > doctorTotal && o.resident-o.used > doctorBytes,
		"High total RSS: the process holds %s of memory for %s in use. The lines below say where; if there are none, it is the Go runtime and the program itself.",
		humanBytes(o.resident), humanBytes(o.used))
	issue(ratio(o.active, o.used) > doctorAllocator && o.active-o.used > doctorBytes,
		"High allocator fragmentation: %s are held for slots and heap objects that are free now. MEMORY PURGE gives whole free spans back to the system; MEMORY MALLOC-STATS shows which sizes they have.",
		humanBytes(o.active-o.used))
	issue(ratio(o.resident, o.active) > doctorAllocator && o.resident-o.active > doctorBytes,
		"High allocator RSS overhead: %s are resident and not in use, mostly memory that the garbage collector has freed and not given back yet. MEMORY PURGE asks it to.",
		humanBytes(o.resident-o.active))
	perClient := o.clients / max(1, clients)
	issue(perClient > doctorClientBytes,
		"Big client buffers: clients take %s on average. Look for the large ones with CLIENT LIST (omem, qbuf), and bound them with client-output-buffer-limit.", humanBytes(perClient))
	if b.Len() == 0 {
		return "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n"
	}
	return "Sam, I detected a few issues in this Redis instance memory implants:\n\n" + b.String() + "I'm here to keep you safe, Sam. I want to help you.\n"
}

// purgeMemory gives free memory back to the system: the arena's at once, the
// heap's on another thread, since that takes a garbage collection.
func (s *Server) purgeMemory() {
	s.arena.Trim()
	if s.memory.purging.CompareAndSwap(false, true) {
		go func() {
			debug.FreeOSMemory()
			s.memory.purging.Store(false)
		}()
	}
}

// objectRefcount is what Redis would count: the small integers are shared.
func objectRefcount(e encoding, value []byte) int64 {
	if e == encodingInt {
		if n := intValue(value); n >= 0 && n < sharedIntegers {
			return math.MaxInt32
		}
	}
	return 1
}

// debugObject is DEBUG OBJECT. Like MEMORY USAGE it looks from outside.
func debugObject(c *client) {
	s, db, key := c.srv, c.db, c.argv[2]
	r := db.dict.FindHash(c.hash(key), key)
	if r == 0 {
		addReplyErrorObject(c, shared.nokeyerr)
		return
	}
	meta, value := db.dict.Meta(r), db.dict.Value(r)
	e := metaEncoding(meta)
	payload := rdbSaveObject(s, db, r, s.payload[:0])
	if cap(payload) <= keptPayload {
		s.payload = payload
	}
	text := fmt.Sprintf("Value at:%p refcount:%d encoding:%s serializedlength:%d lru:%d lru_seconds_idle:%d",
		value, objectRefcount(e, value), encodingNames[e], len(payload), metaLRU(meta), estimateObjectIdleTime(s, db.dict, r))
	if e == encodingQuicklist {
		text += debugQuicklist(listAt(db, r))
	}
	addReplyStatus(c, text)
}

// debugQuicklist is what DEBUG OBJECT adds for a list.
func debugQuicklist(l quicklist.List) string {
	size, compressed := 0, 0
	l.EachNode(func(n quicklist.Node) bool {
		size += n.Size
		return true
	})
	if l.Depth() != 0 {
		compressed = 1 // whether it may be, not whether it is
	}
	return fmt.Sprintf(" ql_nodes:%d ql_avg_node:%.2f ql_listpack_max:%d ql_compressed:%d ql_uncompressed_size:%d",
		l.Nodes(), ratio(l.Len(), int64(l.Nodes())), l.Fill(), compressed, size)
}
