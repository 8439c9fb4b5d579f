package engine

import (
	"math"
	"unsafe"
)

// lcsOptions are the options of LCS.
type lcsOptions struct {
	length, ranges, lengths bool  // LEN, IDX, WITHMATCHLEN
	shortest                int64 // MINMATCHLEN: no shorter range is told
}

// parseLCSOptions reads the options of LCS from args, or tells the client what is
// wrong with them.
func parseLCSOptions(c *client, args [][]byte) (o lcsOptions, ok bool) {
	for ; len(args) > 0; args = args[1:] {
		switch {
		case equalFoldC(args[0], "idx"):
			o.ranges = true
		case equalFoldC(args[0], "len"):
			o.length = true
		case equalFoldC(args[0], "withmatchlen"):
			o.lengths = true
		case equalFoldC(args[0], "minmatchlen") && len(args) > 1:
			if o.shortest, ok = intArgument(c, args[1]); !ok {
				return o, false
			}
			args = args[1:]
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return o, false
		}
	}
	if o.ranges && o.length {
		addReplyError(c, "If you want both the length and indexes, please just use IDX.")
		return o, false
	}
	return o, true
}

// lcsTable has the length of the longest common subsequence for each pair of
// beginnings of two strings: that of a[:i] and b[:j] at i*(len(b)+1)+j.
type lcsTable struct {
	a, b   []byte
	length []uint32
}

// fill expects a table of zeroes.
func (t *lcsTable) fill() {
	width := len(t.b) + 1
	for i, x := range t.a {
		above := t.length[i*width:][:width]
		row := t.length[(i+1)*width:][:width]
		left := uint32(0)
		for j, y := range t.b {
			if x == y {
				left = above[j] + 1
			} else {
				left = max(left, above[j+1])
			}
			row[j+1] = left
		}
	}
}

func (t *lcsTable) at(i, j int) uint32 { return t.length[i*(len(t.b)+1)+j] }

// reply walks back from the end of both strings, as Redis does: of several longest
// subsequences it must find the same.
func (t *lcsTable) reply(c *client, o *lcsOptions) {
	i, j := len(t.a), len(t.b)
	length := t.at(i, j)
	if o.length {
		addReplyLongLong(c, int64(length))
		return
	}
	var text []byte // the subsequence
	matches, mark := 0, 0
	if o.ranges {
		addReplyMapLen(c, 2)
		addReplyBulkString(c, "matches")
		mark = addReplyDeferredLen(c)
	} else {
		text = make([]byte, length)
	}
	for left := length; i > 0 && j > 0; {
		// A match goes on as long as the characters before are the same.
		run := 0
		for i > 0 && j > 0 && t.a[i-1] == t.b[j-1] {
			i, j, left = i-1, j-1, left-1
			if text != nil {
				text[left] = t.a[i]
			}
			run++
		}
		switch {
		case run == 0:
			if t.at(i-1, j) > t.at(i, j-1) {
				i--
			} else {
				j--
			}
		case o.ranges && int64(run) >= o.shortest:
			matches++
			if o.lengths {
				addReplyArrayLen(c, 3)
			} else {
				addReplyArrayLen(c, 2)
			}
			for _, start := range [2]int{i, j} {
				addReplyArrayLen(c, 2)
				addReplyLongLong(c, int64(start))
				addReplyLongLong(c, int64(start+run-1))
			}
			if o.lengths {
				addReplyLongLong(c, int64(run))
			}
		}
	}
	if !o.ranges {
		addReplyBulk(c, text)
		return
	}
	addReplyBulkString(c, "len")
	addReplyLongLong(c, int64(length))
	setDeferredArrayLen(c, mark, matches)
}

// lcsCommand finds the longest common subsequence of two strings.
func lcsCommand(c *client) {
	var scratch [2][20]byte
	var strs [2][]byte // what does not exist is empty
	for i := range strs {
		r := lookupKeyRead(c, c.argv[1+i])
		if r == 0 {
			continue
		}
		if metaType(c.db.dict.Meta(r)) != typeString {
			addReplyError(c, "The specified keys must contain string values")
			return
		}
		strs[i] = stringBytes(c.db.dict, r, &scratch[i])
	}
	o, ok := parseLCSOptions(c, c.argv[3:])
	if !ok {
		return
	}
	a, b := strs[0], strs[1]
	if len(a) >= math.MaxUint32-1 || len(b) >= math.MaxUint32-1 {
		addReplyError(c, "String too long for LCS")
		return
	}
	size := uint64(len(a)+1) * uint64(len(b)+1)
	if size > uint64(c.srv.config.ProtoMaxBulkLen)/4 {
		addReplyError(c, "Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
		return
	}
	block, ok := c.srv.arena.AllocBlock(int(size * 4))
	if !ok {
		addReplyError(c, "Insufficient memory, failed allocating transient memory for LCS")
		return
	}
	t := lcsTable{a, b, unsafe.Slice((*uint32)(block.Ptr), size)}
	t.fill()
	t.reply(c, &o)
	c.srv.arena.FreeBlock(block)
}
