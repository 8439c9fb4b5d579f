package engine

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/resp"
)

// objectType is what TYPE tells of a value.
type objectType uint8

// The numbers are those of Redis's OBJ_STRING and so on; 5 is a module's type.
const (
	typeString objectType = 0
	typeList   objectType = 1
	typeSet    objectType = 2
	typeZset   objectType = 3
	typeHash   objectType = 4
	typeStream objectType = 6
)

var typeNames = [...]string{
	typeString: "string", typeList: "list", typeSet: "set", typeZset: "zset", typeHash: "hash", typeStream: "stream",
}

// encoding is how a value is kept. OBJECT ENCODING tells encodingNames, which are
// Redis's: what Redis keeps as a hashtable is one to clients, however small it is here.
type encoding uint8

const (
	encodingRaw       encoding = iota // a string that was changed, or a long one
	encodingInt                       // a string that is an integer: 8 bytes, little-endian
	encodingEmbstr                    // a short string, as it was set
	encodingListpack                  // a hash or sorted set: the bytes of a listpack
	encodingIntset                    // a set: the bytes of an intset
	encodingPacked                    // a small set, of strings too: the bytes of a listpack
	encodingQuicklist                 // a list: the header of a quicklist, whose nodes lie in the arena
	encodingHashtable                 // a set or hash: the number of an object
	encodingSkiplist                  // a sorted set: the number of an object
	encodingStream                    // a stream: the number of an object
)

var encodingNames = [...]string{
	encodingRaw: "raw", encodingInt: "int", encodingEmbstr: "embstr", encodingListpack: "listpack", encodingIntset: "intset",
	encodingPacked: "hashtable", encodingQuicklist: "quicklist", encodingHashtable: "hashtable", encodingSkiplist: "skiplist", encodingStream: "stream",
}

// ownsMore reports whether a value of this encoding is more than the bytes in its
// entry, so that it must not be copied or dropped as bytes.
func (e encoding) ownsMore() bool { return e >= encodingQuicklist }

// isObject reports whether the value in the entry is the number of an object.
func (e encoding) isObject() bool { return e >= encodingHashtable }

// A heapObject is a value with a structure of its own. Its Go part is on the heap,
// which holds few of them, since small values are bytes in their entries; what it
// has many of, it keeps in the arena.
type heapObject interface {
	// free gives back what the object has in the arena. It is not used again.
	free()
	// memory returns the bytes that the object takes, in the arena and on the heap.
	memory() int64
	// dup returns a copy, or slab.ErrOutOfMemory.
	dup() (heapObject, error)
}

// objectTable gives the objects of all databases numbers, by which entries of the
// key space refer to them without holding a Go pointer.
type objectTable struct {
	objects []heapObject
	unused  []uint32
}

// objectNumber is a number as an entry holds it, little-endian.
type objectNumber = [4]byte

func (t *objectTable) add(o heapObject) (number objectNumber) {
	n := uint32(len(t.objects))
	if last := len(t.unused) - 1; last >= 0 {
		n, t.unused = t.unused[last], t.unused[:last]
		t.objects[n] = o
	} else {
		t.objects = append(t.objects, o)
	}
	binary.LittleEndian.PutUint32(number[:], n)
	return number
}

func (t *objectTable) at(number []byte) heapObject {
	return t.objects[binary.LittleEndian.Uint32(number)]
}

func (t *objectTable) remove(number []byte) {
	n := binary.LittleEndian.Uint32(number)
	t.objects[n] = nil
	t.unused = append(t.unused, n)
}

// objectAt returns the object at r, whose encoding must be one of an object.
func (db *redisDb) objectAt(r dict.Ref) heapObject { return db.objects.at(db.dict.Value(r)) }

// ownsMaxSize is the longest value of an encoding that ownsMore, in bytes.
const ownsMaxSize = 64

// releaseValue frees what a value of the given encoding owns beside its bytes, if anything.
func (db *redisDb) releaseValue(e encoding, value []byte) {
	switch {
	case e == encodingQuicklist:
		db.lists.At(value).Free()
	case e.isObject():
		db.objects.at(value).free()
		db.objects.remove(value)
	}
}

// dupValue returns the bytes for an entry that shall hold a copy of the value at r:
// a view of that value, or something in scratch.
func (db *redisDb) dupValue(r dict.Ref, scratch *[ownsMaxSize]byte) ([]byte, error) {
	value := db.dict.Value(r)
	switch e := metaEncoding(db.dict.Meta(r)); {
	case e == encodingQuicklist:
		return listTypeDup(db, value, scratch)
	case e.isObject():
		o, err := db.objects.at(value).dup()
		if err != nil {
			return nil, err
		}
		number := db.objects.add(o)
		return append(scratch[:0], number[:]...), nil
	}
	return value, nil
}

// valueMemory returns the bytes that the entry and the value at r take.
func (db *redisDb) valueMemory(r dict.Ref) int64 {
	n := db.dict.MemoryUsage(r)
	switch e := metaEncoding(db.dict.Meta(r)); {
	case e == encodingQuicklist:
		n += listAt(db, r).Memory()
	case e.isObject():
		n += db.objectAt(r).memory()
	}
	return n
}

// scratchMax bounds what is kept of the scratch buffer, in bytes.
const scratchMax = 1 << 20

// keepScratch keeps what Server.scratch has grown to. A command builds in it what
// it stores as a whole, and leaves nothing there for another.
func (s *Server) keepScratch(b []byte) {
	if cap(b) <= scratchMax {
		s.scratch = b[:0]
	}
}

// randomEntries returns n different entries, chosen at random, or all when there
// are no more. They are in a buffer of the server's.
func randomEntries(s *Server, d *dict.Dict, n int) []dict.Ref {
	refs := s.refs[:0]
	if n*3 <= d.Len() { // few of many: a second throw is seldom needed
		seen := make(map[dict.Ref]struct{}, n)
		for len(refs) < n {
			r := d.FairRandom()
			if _, ok := seen[r]; !ok {
				seen[r] = struct{}{}
				refs = append(refs, r)
			}
		}
		s.refs = refs
		return refs
	}
	it := d.UnsafeIterator()
	for it.Next() {
		refs = append(refs, it.Ref())
	}
	s.refs = refs
	if n >= len(refs) {
		return refs
	}
	for i := range n {
		j := i + rand.IntN(len(refs)-i)
		refs[i], refs[j] = refs[j], refs[i]
	}
	return refs[:n]
}

// embstrLimit is OBJ_ENCODING_EMBSTR_SIZE_LIMIT: the longest string, in bytes,
// that Redis keeps in one allocation with its object. Here every short string
// is, but OBJECT ENCODING has to tell the same.
const embstrLimit = 44

// A value's meta word in the dict is that of Redis's robj: the type in the low
// four bits, the encoding in the next four, and above them 24 bits of LRU time.
const lruMask = 1<<24 - 1

func makeMeta(t objectType, e encoding, lru uint32) uint32 {
	return uint32(t) | uint32(e)<<4 | lru<<8
}

func metaType(meta uint32) objectType   { return objectType(meta & 15) }
func metaEncoding(meta uint32) encoding { return encoding(meta >> 4 & 15) }
func metaLRU(meta uint32) uint32        { return meta >> 8 }

// intValue reads a value of encodingInt.
func intValue(v []byte) int64 { return int64(binary.LittleEndian.Uint64(v)) }

func putInt(b *[8]byte, n int64) []byte {
	binary.LittleEndian.PutUint64(b[:], uint64(n))
	return b[:]
}

// encodeString chooses the encoding of a string that a client sent, and returns
// what to store: the string itself, or in scratch the eight bytes of an integer
// (tryObjectEncoding).
func encodeString(value []byte, scratch *[8]byte) ([]byte, encoding) {
	if len(value) <= 20 {
		if n, ok := resp.ParseInt(value); ok {
			return putInt(scratch, n), encodingInt
		}
	}
	if len(value) <= embstrLimit {
		return value, encodingEmbstr
	}
	return value, encodingRaw
}

// stringBytes returns the string at r. scratch holds the digits of an integer;
// the result is valid until the next write to the key space.
func stringBytes(d *dict.Dict, r dict.Ref, scratch *[20]byte) []byte {
	v := d.Value(r)
	if metaEncoding(d.Meta(r)) == encodingInt {
		return strconv.AppendInt(scratch[:0], intValue(v), 10)
	}
	return v
}

// parseInt64 reads an argument as getLongLongFromObject does: one that
// string2ll accepts.
func parseInt64(b []byte) (int64, bool) { return resp.ParseInt(b) }

// intArgument reads an integer argument, or tells the client that it is none.
func intArgument(c *client, b []byte) (int64, bool) {
	n, ok := parseInt64(b)
	if !ok {
		addReplyErrorObject(c, shared.notinterr)
	}
	return n, ok
}

// intArguments reads two, as the bounds of a range.
func intArguments(c *client, b1, b2 []byte) (n1, n2 int64, ok bool) {
	if n1, ok = intArgument(c, b1); ok {
		n2, ok = intArgument(c, b2)
	}
	return n1, n2, ok
}

// randomArguments reads how many random elements HRANDFIELD or ZRANDMEMBER wants, and
// whether with what belongs to each, which is asked for by name.
func randomArguments(c *client, name string) (count int64, with, ok bool) {
	count, ok = intArgumentRange(c, c.argv[2], -math.MaxInt64, math.MaxInt64, "")
	if !ok {
		return 0, false, false
	}
	with = len(c.argv) == 4
	if len(c.argv) > 4 || with && !equalFoldC(c.argv[3], name) {
		addReplyErrorObject(c, shared.syntaxerr)
		return 0, false, false
	}
	if with && (count < -math.MaxInt64/2 || count > math.MaxInt64/2) {
		addReplyError(c, "value is out of range")
		return 0, false, false
	}
	return count, with, true
}

// intArgument32 reads an integer argument of 32 bits, or tells the client, with
// message when it is not empty, that it is none.
func intArgument32(c *client, b []byte, message string) (int64, bool) {
	return intArgumentRange(c, b, math.MinInt32, math.MaxInt32, message)
}

// intArgumentRange reads an integer argument within bounds, or tells the client,
// with message when it is not empty, that it is none.
func intArgumentRange(c *client, b []byte, low, high int64, message string) (int64, bool) {
	n, ok := parseInt64(b)
	switch {
	case ok && low <= n && n <= high:
		return n, true
	case message != "":
		addReplyError(c, message)
	case !ok:
		addReplyErrorObject(c, shared.notinterr)
	default:
		addReplyErrorFormat(c, "value is out of range, value must between %d and %d", low, high)
	}
	return 0, false
}

// cString returns what Redis sees of an argument where it treats it as a C
// string: what comes before the first NUL.
func cString(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// equalFoldC is equalFoldASCII for an option, which Redis compares as a C string.
func equalFoldC(b []byte, lower string) bool {
	if len(b) > len(lower) && b[len(lower)] == 0 {
		b = b[:len(lower)]
	}
	return equalFoldASCII(b, lower)
}

// sharedIntegers is OBJ_SHARED_INTEGERS: Redis keeps one object for each integer
// from 0 up to it, whose reference count is the largest there is.
const sharedIntegers = 10000

var objectHelp = []string{
	"ENCODING <key>",
	"    Return the kind of internal representation used in order to store the value",
	"    associated with a <key>.",
	"FREQ <key>",
	"    Return the access frequency index of the <key>. The returned integer is",
	"    proportional to the logarithm of the recent access frequency of the key.",
	"IDLETIME <key>",
	"    Return the idle time of the <key>, that is the approximated number of",
	"    seconds elapsed since the last access to the key.",
	"REFCOUNT <key>",
	"    Return the number of references of the value associated with the specified",
	"    <key>.",
}

const switchingPolicies = " Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."

func objectCommand(c *client) {
	if c.cmd.name == "help" {
		addReplyHelp(c, objectHelp)
		return
	}
	r := lookupKey(c, c.db, c.argv[2], lookupNoTouch)
	if r == 0 {
		addReplyNull(c)
		return
	}
	d := c.db.dict
	e := metaEncoding(d.Meta(r))
	switch c.cmd.name {
	case "encoding":
		addReplyBulkString(c, encodingNames[e])
	case "refcount":
		addReplyLongLong(c, objectRefcount(e, d.Value(r)))
	case "idletime":
		if c.srv.config.MaxmemoryPolicy.isLFU() {
			addReplyError(c, "An LFU maxmemory policy is selected, idle time not tracked."+switchingPolicies)
			return
		}
		addReplyLongLong(c, estimateObjectIdleTime(c.srv, d, r))
	case "freq":
		if !c.srv.config.MaxmemoryPolicy.isLFU() {
			addReplyError(c, "An LFU maxmemory policy is not selected, access frequency not tracked."+switchingPolicies)
			return
		}
		_, n := lfuDecrAndReturn(c.srv, metaLRU(d.Meta(r)))
		addReplyLongLong(c, int64(n))
	}
}
