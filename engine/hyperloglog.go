package engine

import (
	"encoding/binary"
	"math"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/hll"
)

// hllScratch is what the commands need while they run, kept for the next.
type hllScratch struct {
	value     []byte // a HyperLogLog being changed
	registers [hll.Registers]byte
}

func replyCorruptHLL(c *client) {
	addReplyError(c, "-INVALIDOBJ Corrupted HLL object detected")
}

// isHLLObjectOrReply reports whether the value at r is a HyperLogLog, and tells the
// client if it is none.
//
//go:noinline
func isHLLObjectOrReply(c *client, r dict.Ref) bool {
	if checkType(c, r, typeString) {
		return false
	}
	d := c.db.dict
	if metaEncoding(d.Meta(r)) == encodingInt || !hll.IsValid(d.Value(r)) {
		addReplyError(c, "-WRONGTYPE Key is not a valid HyperLogLog string value.")
		return false
	}
	return true
}

// room returns the scratch, empty.
func (h *hllScratch) room() []byte {
	if h.value == nil {
		h.value = make([]byte, 0, hll.DenseSize)
	}
	return h.value[:0]
}

// edit returns the HyperLogLog v to be changed: a dense one in its place, one that
// may change its length in the scratch.
func (h *hllScratch) edit(v []byte) []byte {
	if hll.IsDense(v) {
		return v
	}
	return append(h.room(), v...)
}

// storeHLL puts what edit returned, changed, under key: over the entry r, or a new
// one when r is 0.
func storeHLL(c *client, hash uint64, key []byte, r dict.Ref, v []byte) bool {
	d := c.db.dict
	switch {
	case r == 0:
		_, ok := dbAdd(c, c.db, hash, key, typeString, encodingRaw, v)
		return ok
	case &v[0] == &d.Value(r)[0]:
		makeRaw(d, r)
		return true
	}
	_, ok := dbSetBytes(c, c.db, r, encodingRaw, v)
	return ok
}

// makeRaw makes a string that is none of encodingInt one of encodingRaw, as
// dbUnshareStringValue does.
func makeRaw(d *dict.Dict, r dict.Ref) {
	d.SetMeta(r, makeMeta(typeString, encodingRaw, metaLRU(d.Meta(r))))
}

func pfaddCommand(c *client) {
	s, d := c.srv, c.db.dict
	key := c.argv[1]
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	updated := int64(0)
	var v []byte
	if r == 0 {
		v = hll.AppendNew(s.hll.room())
		updated++
	} else {
		if !isHLLObjectOrReply(c, r) {
			return
		}
		v = s.hll.edit(d.Value(r))
	}
	for _, element := range c.argv[2:] {
		var changed, ok bool
		if v, changed, ok = hll.Add(v, element, int(s.config.HLLSparseMaxBytes)); !ok {
			// As in Redis, the elements before this one stay.
			if updated > 0 {
				hll.Invalidate(v)
			}
			if storeHLL(c, hash, key, r, v) {
				replyCorruptHLL(c)
			}
			return
		}
		if changed {
			updated++
		}
	}
	if updated == 0 {
		makeRaw(d, r)
		addReply(c, shared.czero)
		return
	}
	hll.Invalidate(v)
	if !storeHLL(c, hash, key, r, v) {
		return
	}
	keyModified(c)
	s.dirty += updated - 1
	addReply(c, shared.cone)
}

// mergeHLLs raises the registers in the scratch to those of all the keys, and
// reports whether one of these is dense. ok is false when it has told the client
// that something is wrong.
func mergeHLLs(c *client, keys [][]byte) (dense, ok bool) {
	h := &c.srv.hll
	clear(h.registers[:])
	for _, key := range keys {
		r := lookupKeyRead(c, key)
		if r == 0 {
			continue
		}
		if !isHLLObjectOrReply(c, r) {
			return false, false
		}
		v := c.db.dict.Value(r)
		dense = dense || hll.IsDense(v)
		if !hll.Merge(&h.registers, v) {
			replyCorruptHLL(c)
			return false, false
		}
	}
	return dense, true
}

// pfcountCommand writes the estimate that it has made to the key, as Redis does,
// although the command counts as one that only reads.
func pfcountCommand(c *client) {
	if len(c.argv) > 2 {
		if _, ok := mergeHLLs(c, c.argv[1:]); ok {
			addReplyLongLong(c, int64(hll.CountRegisters(&c.srv.hll.registers)))
		}
		return
	}
	r := lookupKeyReadOrReply(c, c.argv[1], shared.czero)
	if r == 0 || !isHLLObjectOrReply(c, r) {
		return
	}
	d := c.db.dict
	makeRaw(d, r)
	v := d.Value(r)
	n, valid := hll.Cached(v)
	if !valid {
		var ok bool
		if n, ok = hll.Count(v); !ok {
			replyCorruptHLL(c)
			return
		}
		hll.SetCached(v, n)
		keyModified(c)
	}
	addReplyLongLong(c, int64(n))
}

func pfmergeCommand(c *client) {
	s, d := c.srv, c.db.dict
	dense, ok := mergeHLLs(c, c.argv[1:])
	if !ok {
		return
	}
	key := c.argv[1]
	hash := c.hash(key)
	r := lookupKeyHash(c, c.db, hash, key, lookupWrite)
	var v []byte
	if r == 0 {
		v = hll.AppendNew(s.hll.room())
	} else {
		v = s.hll.edit(d.Value(r))
	}
	if dense {
		v, _ = hll.ToDense(v) // it is sound: it has been merged
	}
	for i, value := range s.hll.registers {
		if value != 0 {
			v, _, _ = hll.Raise(v, i, value, int(s.config.HLLSparseMaxBytes))
		}
	}
	hll.Invalidate(v)
	if storeHLL(c, hash, key, r, v) {
		keyModified(c)
		addReply(c, shared.ok)
	}
}

// pfselftestCommand adds a hundred thousand elements to a sparse and to a dense
// HyperLogLog: these must have the same registers throughout, and estimates within
// four standard errors of the truth.
func pfselftestCommand(c *client) {
	const elements = 100_000
	const standardError = 1.04 / (1 << 7) // over the root of the number of registers
	sparse := hll.AppendNew(nil)
	dense, _ := hll.ToDense(hll.AppendNew(nil))
	next := 1
	for i := 1; i <= elements; i++ {
		var element [8]byte
		binary.LittleEndian.PutUint64(element[:], uint64(i))
		dense, _, _ = hll.Add(dense, element[:], 0)
		sparse, _, _ = hll.Add(sparse, element[:], int(c.srv.config.HLLSparseMaxBytes))
		if i != next && i != elements {
			continue
		}
		next *= 10
		n, _ := hll.Count(dense)
		if m, ok := hll.Count(sparse); !ok || m != n {
			addReplyErrorFormat(c, "TESTFAILED dense/sparse disagree after %d elements: %d and %d", i, n, m)
			return
		}
		if off := math.Abs(float64(n) - float64(i)); off > max(1, 4*standardError*float64(i)) {
			addReplyErrorFormat(c, "TESTFAILED Too big error. card:%d abserr:%v", i, off)
			return
		}
	}
	addReply(c, shared.ok)
}
