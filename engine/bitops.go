package engine

import (
	"math"

	"github.com/redscope/redscope/engine/internal/bitmap"
	"github.com/redscope/redscope/engine/internal/dict"
)

// The commands on the bits of strings. Bit 0 is the highest bit of the first byte.

// bitScratch is what BITOP and BITFIELD need while they run, kept for the next.
type bitScratch struct {
	sources [][]byte
	digits  []byte // of sources that are integers
	ops     []bitfieldOp
}

// getBitOffsetFromArgument reads the number of a bit, or tells the client what is
// wrong with it. With width, an argument #n means the n-th field of so many bits.
//
//go:noinline
func getBitOffsetFromArgument(c *client, arg []byte, width int) (uint64, bool) {
	scale := int64(1)
	if width > 0 && len(arg) > 0 && arg[0] == '#' {
		arg, scale = arg[1:], int64(width)
	}
	n, ok := parseInt64(arg)
	// The product may wrap, as it does in Redis; what it wraps to is checked.
	n *= scale
	if !ok || n < 0 || n>>3 >= c.srv.config.ProtoMaxBulkLen {
		addReplyError(c, "bit offset is not an integer or out of range")
		return 0, false
	}
	return uint64(n), true
}

// lookupStringForBitCommand makes the string under the first key one of
// encodingRaw that has bit last, and returns its entry. changed says that it was
// created or has grown.
//
//go:noinline
func lookupStringForBitCommand(c *client, last uint64) (r dict.Ref, changed, ok bool) {
	db, key := c.db, c.argv[1]
	d := db.dict
	hash := c.hash(key)
	size := int(last>>3) + 1
	if r = lookupKeyHash(c, db, hash, key, lookupWrite); r == 0 {
		r, ok = growOrAddRaw(c, hash, key, 0, size)
		return r, true, ok
	}
	if checkType(c, r, typeString) {
		return 0, false, false
	}
	before := stringLen(d, r)
	if metaEncoding(d.Meta(r)) == encodingRaw && before >= size {
		return r, false, true
	}
	r, ok = growRaw(c, db, r, max(before, size))
	return r, before < size, ok
}

func setbitCommand(c *client) {
	offset, ok := getBitOffsetFromArgument(c, c.argv[2], 0)
	if !ok {
		return
	}
	on, ok := parseInt64(c.argv[3])
	if !ok || on&^1 != 0 {
		addReplyError(c, "bit is not an integer or out of range")
		return
	}
	r, changed, ok := lookupStringForBitCommand(c, offset)
	if !ok {
		return
	}
	p := &c.db.dict.Value(r)[offset>>3]
	shift := 7 - offset&7
	old := int64(*p >> shift & 1)
	if changed || old != on {
		*p = *p&^(1<<shift) | byte(on)<<shift
		keyModified(c)
	}
	addReplyLongLong(c, old)
}

func getbitCommand(c *client) {
	offset, ok := getBitOffsetFromArgument(c, c.argv[2], 0)
	if !ok {
		return
	}
	r := lookupKeyReadOrReply(c, c.argv[1], shared.czero)
	if r == 0 || checkType(c, r, typeString) {
		return
	}
	var scratch [20]byte
	addReplyLongLong(c, int64(bitmap.Field(stringBytes(c.db.dict, r, &scratch), offset, 1)))
}

// bitRange is the range of BITCOUNT or BITPOS in a string: the first and the last
// bit, or in GETRANGE byte. It is empty when the last is the one before the first.
type bitRange struct{ first, last int64 }

// clip turns positions from the start, or negative from the end, in units of which
// the string has total, each of so many bits, into a range within the string.
func clip(start, end, total, bits int64) bitRange {
	if start < 0 {
		start = max(0, start+total)
	}
	if end < 0 {
		end = max(0, end+total)
	}
	end = min(end, total-1)
	if start > end {
		return bitRange{0, -1}
	}
	return bitRange{start * bits, end*bits + bits - 1}
}

// bitUnitArgument reads BYTE or BIT and returns how many bits that is.
func bitUnitArgument(c *client, arg []byte) (int64, bool) {
	switch {
	case equalFoldC(arg, "bit"):
		return 1, true
	case equalFoldC(arg, "byte"):
		return 8, true
	}
	addReplyErrorObject(c, shared.syntaxerr)
	return 0, false
}

func bitcountCommand(c *client) {
	r := lookupKeyReadOrReply(c, c.argv[1], shared.czero)
	if r == 0 || checkType(c, r, typeString) {
		return
	}
	var scratch [20]byte
	v := stringBytes(c.db.dict, r, &scratch)
	size := int64(len(v))
	where := bitRange{0, 8*size - 1}
	switch len(c.argv) {
	case 2:
	case 4, 5:
		start, end, ok := intArguments(c, c.argv[2], c.argv[3])
		if !ok {
			return
		}
		// Before the unit is looked at, as in Redis.
		if start < 0 && end < 0 && start > end {
			addReply(c, shared.czero)
			return
		}
		bits := int64(8)
		if len(c.argv) == 5 {
			if bits, ok = bitUnitArgument(c, c.argv[4]); !ok {
				return
			}
		}
		where = clip(start, end, size*8/bits, bits)
	default:
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	if where.last < where.first {
		addReply(c, shared.czero)
		return
	}
	addReplyLongLong(c, bitmap.CountRange(v, where.first, where.last))
}

func bitposCommand(c *client) {
	bit, ok := intArgument(c, c.argv[2])
	if !ok {
		return
	}
	if bit&^1 != 0 {
		addReplyError(c, "The bit argument must be 1 or 0.")
		return
	}
	r := lookupKeyRead(c, c.argv[1])
	if r == 0 {
		// An endless string of zeroes.
		addReplyLongLong(c, -bit)
		return
	}
	if checkType(c, r, typeString) {
		return
	}
	var scratch [20]byte
	v := stringBytes(c.db.dict, r, &scratch)
	size := int64(len(v))
	start, end, bits := int64(0), int64(math.MaxInt64), int64(8)
	argc := len(c.argv)
	if argc > 6 {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	if argc >= 4 {
		if start, ok = intArgument(c, c.argv[3]); !ok {
			return
		}
	}
	if argc == 6 {
		if bits, ok = bitUnitArgument(c, c.argv[5]); !ok {
			return
		}
	}
	if argc >= 5 {
		if end, ok = intArgument(c, c.argv[4]); !ok {
			return
		}
	}
	where := clip(start, end, size*8/bits, bits)
	pos := int64(-1)
	if where.first <= where.last {
		pos = bitmap.Pos(v, bit == 1, where.first, where.last)
		// Behind a string whose end was not given there are zeroes.
		if pos < 0 && bit == 0 && argc < 5 {
			pos = 8 * size
		}
	}
	addReplyLongLong(c, pos)
}

// bitopOperation reads the name of an operation of BITOP.
func bitopOperation(name []byte) (op bitmap.Op, ok bool) {
	switch {
	case equalFoldC(name, "and"):
		return bitmap.And, true
	case equalFoldC(name, "or"):
		return bitmap.Or, true
	case equalFoldC(name, "xor"):
		return bitmap.Xor, true
	case equalFoldC(name, "not"):
		return bitmap.Not, true
	}
	return 0, false
}

// bitopCommand makes the result in the place of the destination: of what is there
// already, when that is one of the sources or has the right size, or of a copy of
// the longest source. Everything that can fail comes before the first bit changes.
func bitopCommand(c *client) {
	op, ok := bitopOperation(c.argv[1])
	if !ok {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	if op == bitmap.Not && len(c.argv) != 4 {
		addReplyError(c, "BITOP NOT must be called with a single source key.")
		return
	}
	d, target := c.db.dict, c.argv[2]
	hash := c.hash(target)
	s := &c.srv.bits
	s.sources, s.digits = s.sources[:0], s.digits[:0]
	defer func() { clear(s.sources) }() // they are views
	longest, own := 0, 0
	size := 0
	for _, key := range c.argv[3:] {
		r := lookupKeyRead(c, key)
		var v []byte // nothing, when there is no such key
		switch {
		case r == 0:
		case checkType(c, r, typeString):
			return
		case metaEncoding(d.Meta(r)) == encodingInt:
			var scratch [20]byte
			before := len(s.digits)
			s.digits = append(s.digits, stringBytes(d, r, &scratch)...)
			v = s.digits[before:]
		default:
			v = d.Value(r)
		}
		if string(key) == string(target) {
			own++
		}
		if len(v) > size {
			longest, size = len(s.sources), len(v)
		}
		s.sources = append(s.sources, v)
	}
	r := lookupKeyHash(c, c.db, hash, target, lookupWrite)
	if size == 0 {
		if r != 0 {
			dbDelete(c.srv, c.db, hash, r)
			keyModified(c)
		}
		addReply(c, shared.czero)
		return
	}
	switch {
	case own > 0 && r != 0:
		if r, ok = bitopOntoItself(c, op, r, hash, own, size); !ok {
			return
		}
	default:
		if r, ok = bitopOnto(c, op, r, hash, longest); !ok {
			return
		}
	}
	makeRaw(d, r)
	d.Persist(r)
	keyModified(c)
	addReplyLongLong(c, int64(size))
}

// bitopOnto makes the result of sources that the destination, r or 0 if there is
// none, does not belong to.
func bitopOnto(c *client, op bitmap.Op, r dict.Ref, hash uint64, longest int) (dict.Ref, bool) {
	d, s := c.db.dict, &c.srv.bits
	source := s.sources[longest]
	meta := uint32(0)
	if r != 0 {
		meta = d.Meta(r)
	}
	if r == 0 || metaType(meta) != typeString || metaEncoding(meta) == encodingInt || len(d.Value(r)) != len(source) {
		var ok bool
		if r, ok = setKey(c, c.db, hash, c.argv[2], r, source, stringMeta(c, encodingRaw), noExpire); !ok {
			return 0, false
		}
		if op != bitmap.Not {
			// The copy stands for the source; the order does not matter.
			s.sources[longest] = s.sources[0]
			s.sources[0] = d.Value(r)
		}
	}
	bitmap.Combine(op, d.Value(r), s.sources)
	return r, true
}

// bitopOntoItself makes the result where the destination is own of the sources,
// and of so many bytes.
func bitopOntoItself(c *client, op bitmap.Op, r dict.Ref, hash uint64, own, size int) (dict.Ref, bool) {
	d, s := c.db.dict, &c.srv.bits
	target := c.argv[2]
	before := stringLen(d, r)
	r, ok := growRaw(c, c.db, r, size)
	if !ok {
		return 0, false
	}
	// It comes first, and once: again, it adds nothing to AND and OR, and undoes
	// itself in XOR.
	others := s.sources[:0]
	for i, key := range c.argv[3:] {
		if string(key) != string(target) {
			others = append(others, s.sources[i])
		}
	}
	s.sources = append(others, nil)
	copy(s.sources[1:], others)
	v := d.Value(r)
	s.sources[0] = v[:before]
	if op == bitmap.Xor && own%2 == 0 {
		s.sources[0] = nil
	}
	bitmap.Combine(op, v, s.sources)
	return r, true
}

// What BITFIELD does with a number that does not fit.
type bitfieldOverflow uint8

const (
	overflowWrap bitfieldOverflow = iota
	overflowSat
	overflowFail
)

// bitfieldOp is one operation of BITFIELD.
type bitfieldOp struct {
	kind     byte // 'g', 's' or 'i': GET, SET or INCRBY
	signed   bool
	overflow bitfieldOverflow
	width    uint
	offset   uint64
	value    int64
}

// getBitfieldTypeFromArgument reads i or u and a width, or tells the client that
// this is none.
//
//go:noinline
func getBitfieldTypeFromArgument(c *client, arg []byte) (signed bool, width uint, ok bool) {
	arg = cString(arg)
	widest := int64(0)
	if len(arg) > 0 {
		switch arg[0] {
		case 'i':
			signed, widest = true, 64
		case 'u':
			widest = 63
		}
		arg = arg[1:]
	}
	n, ok := parseInt64(arg)
	if !ok || n < 1 || n > widest {
		addReplyError(c, "Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.")
		return false, 0, false
	}
	return signed, uint(n), true
}

// parseBitfieldOps reads the operations of BITFIELD into the scratch, and returns
// the last bit that they write, and whether they write any.
func parseBitfieldOps(c *client) (last uint64, writes, ok bool) {
	ops := c.srv.bits.ops[:0]
	overflow := overflowWrap
	for args := c.argv[2:]; len(args) > 0; {
		op := bitfieldOp{overflow: overflow}
		name, rest := args[0], args[1:]
		switch {
		case equalFoldC(name, "get") && len(rest) >= 2:
			op.kind = 'g'
		case equalFoldC(name, "set") && len(rest) >= 3:
			op.kind = 's'
		case equalFoldC(name, "incrby") && len(rest) >= 3:
			op.kind = 'i'
		case equalFoldC(name, "overflow") && len(rest) >= 1:
			switch {
			case equalFoldC(rest[0], "wrap"):
				overflow = overflowWrap
			case equalFoldC(rest[0], "sat"):
				overflow = overflowSat
			case equalFoldC(rest[0], "fail"):
				overflow = overflowFail
			default:
				addReplyError(c, "Invalid OVERFLOW type specified")
				return 0, false, false
			}
			args = rest[1:]
			continue
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return 0, false, false
		}
		if op.signed, op.width, ok = getBitfieldTypeFromArgument(c, rest[0]); !ok {
			return 0, false, false
		}
		if op.offset, ok = getBitOffsetFromArgument(c, rest[1], int(op.width)); !ok {
			return 0, false, false
		}
		args = rest[2:]
		if op.kind != 'g' {
			writes = true
			last = max(last, op.offset+uint64(op.width)-1)
			if op.value, ok = intArgument(c, rest[2]); !ok {
				return 0, false, false
			}
			args = rest[3:]
		}
		ops = append(ops, op)
	}
	c.srv.bits.ops = ops
	return last, writes, true
}

// bitfieldGeneric is BITFIELD, and with readOnly BITFIELD_RO.
//
//go:noinline
func bitfieldGeneric(c *client, readOnly bool) {
	last, writes, ok := parseBitfieldOps(c)
	if !ok {
		return
	}
	var scratch [20]byte
	var v []byte // what a key that does not exist has
	changed := false
	if writes {
		if readOnly {
			addReplyError(c, "BITFIELD_RO only supports the GET subcommand")
			return
		}
		var r dict.Ref
		if r, changed, ok = lookupStringForBitCommand(c, last); !ok {
			return
		}
		v = c.db.dict.Value(r)
	} else if r := lookupKeyRead(c, c.argv[1]); r != 0 {
		if checkType(c, r, typeString) {
			return
		}
		v = stringBytes(c.db.dict, r, &scratch)
	}
	addReplyArrayLen(c, len(c.srv.bits.ops))
	for i := range c.srv.bits.ops {
		op := &c.srv.bits.ops[i]
		old := bitmap.SignedField(v, op.offset, op.width)
		if !op.signed {
			old = int64(bitmap.Field(v, op.offset, op.width))
		}
		if op.kind == 'g' {
			addReplyLongLong(c, old)
			continue
		}
		start := int64(0) // what value is added to
		if op.kind == 'i' {
			start = old
		}
		sum, over := op.add(start)
		if over && op.overflow == overflowFail {
			addReplyNull(c)
			continue
		}
		if op.kind == 'i' {
			addReplyLongLong(c, sum)
		} else {
			addReplyLongLong(c, old)
		}
		bitmap.SetField(v, op.offset, op.width, uint64(sum))
		if changed || old != sum {
			keyModified(c)
		}
	}
}

// add returns start plus the value of the operation, made to fit as its overflow
// says, and whether it had to be. start fits.
func (op *bitfieldOp) add(start int64) (sum int64, over bool) {
	sum = start + op.value
	low, high := int64(0), int64(1)<<op.width-1
	if op.signed {
		high = int64(uint64(1)<<(op.width-1) - 1)
		low = -high - 1
	}
	// When 64 bits have overflown, the sign of the value tells which end was passed.
	// What SET writes to an unsigned field is itself unsigned, so -1 is too large.
	// To Redis, so is what lies further below high than 64 bits can tell.
	wrapped := (start^sum)&(op.value^sum) < 0
	switch {
	case wrapped && op.value > 0, !wrapped && sum > high, op.kind == 's' && op.value < 0 && (!op.signed || op.width < 64 && high-op.value < 0):
		if op.overflow == overflowSat {
			return high, true
		}
	case wrapped, sum < low:
		if op.overflow == overflowSat {
			return low, true
		}
	default:
		return sum, false
	}
	if op.signed {
		return sum << (64 - op.width) >> (64 - op.width), true
	}
	return sum & high, true
}

func bitfieldCommand(c *client) { bitfieldGeneric(c, false) }

func bitfieldroCommand(c *client) { bitfieldGeneric(c, true) }

// bitfieldGetKeys tells a BITFIELD that only reads from one that writes.
func bitfieldGetKeys(argv [][]byte, keys []keyReference) []keyReference {
	for args := argv[2:]; len(args) > 0; {
		switch rest := len(args) - 1; {
		case equalFoldC(args[0], "get") && rest >= 2:
			args = args[3:]
		case equalFoldC(args[0], "overflow") && rest >= 1:
			args = args[2:]
		default:
			return append(keys, keyReference{1, keyRW | keyAccess | keyUpdate})
		}
	}
	return append(keys, keyReference{1, keyRO | keyAccess})
}
