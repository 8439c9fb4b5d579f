package engine

import (
	"bytes"
	"math"
	"slices"
	"strconv"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/pqsort"
	"github.com/redscope/redscope/engine/internal/quicklist"
)

// sortOptions are the options of SORT.
type sortOptions struct {
	desc, alpha  bool
	start, count int64
	store        []byte   // the key; nil without STORE
	by           []byte   // the pattern of the keys of weights; nil without BY
	nosort       bool     // BY a pattern without *
	get          [][]byte // patterns
}

// sortItem is an element that is sorted. It lies in the scratch, and so does its
// weight, when that is text.
type sortItem struct {
	at, size   int
	by, bySize int // bySize is -1 when no key has a weight
	score      float64
}

// sortScratch is what SORT needs while it runs, kept for the next.
type sortScratch struct {
	text  []byte
	items []sortItem
	key   []byte // made from a pattern
}

func (s *sortScratch) put(b []byte) (at, size int) {
	at = len(s.text)
	s.text = append(s.text, b...)
	return at, len(b)
}

func (s *sortScratch) add(element []byte) {
	at, size := s.put(element)
	s.items = append(s.items, sortItem{at: at, size: size, by: at, bySize: size})
}

func (s *sortScratch) element(i *sortItem) []byte { return s.text[i.at:][:i.size] }

func (s *sortScratch) weight(i *sortItem) []byte { return s.text[i.by:][:i.bySize] }

// reset forgets what was sorted, and what was too much to be kept.
func (s *sortScratch) reset() {
	const kept = 1 << 20 // bytes
	s.text, s.items = s.text[:0], s.items[:0]
	if cap(s.text) > kept {
		s.text = nil
	}
	if cap(s.items) > kept/40 {
		s.items = nil
	}
}

// parseSortOptions reads the options behind the key, or tells the client what is
// wrong with them.
func parseSortOptions(c *client, readOnly bool) (o sortOptions, ok bool) {
	o.count = -1
	for args := c.argv[2:]; len(args) > 0; args = args[1:] {
		switch opt, left := args[0], len(args)-1; {
		case equalFoldC(opt, "asc"):
			o.desc = false
		case equalFoldC(opt, "desc"):
			o.desc = true
		case equalFoldC(opt, "alpha"):
			o.alpha = true
		case equalFoldC(opt, "limit") && left >= 2:
			if o.start, o.count, ok = intArguments(c, args[1], args[2]); !ok {
				return o, false
			}
			args = args[2:]
		case !readOnly && equalFoldC(opt, "store") && left >= 1:
			o.store = args[1]
			args = args[1:]
		case equalFoldC(opt, "by") && left >= 1:
			o.by = args[1]
			// Once it is not to be sorted, another pattern changes nothing.
			o.nosort = o.nosort || bytes.IndexByte(cString(o.by), '*') < 0
			args = args[1:]
		case equalFoldC(opt, "get") && left >= 1:
			o.get = append(o.get, args[1])
			args = args[1:]
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return o, false
		}
	}
	return o, true
}

// lookupKeyByPattern returns the string that a pattern leads to when element takes
// the place of its *: under a key, or with -> in a field of a hash. # is the
// element itself. ok is false when there is none. scratch holds the digits of an
// integer.
//
//go:noinline
func lookupKeyByPattern(c *client, pattern, element []byte, scratch *[20]byte) (value []byte, ok bool) {
	text := cString(pattern)
	if string(text) == "#" {
		return element, true
	}
	star := bytes.IndexByte(text, '*')
	if star < 0 {
		return nil, false
	}
	rest := pattern[star+1:] // of which what stands behind a NUL belongs to the key
	var field []byte
	if arrow := bytes.Index(text[star+1:], []byte("->")); arrow >= 0 && star+1+arrow+2 < len(text) {
		field, rest = rest[arrow+2:], rest[:arrow]
	}
	s := &c.srv.sort
	s.key = append(append(append(s.key[:0], pattern[:star]...), element...), rest...)
	db := c.db
	r := lookupKeyHash(c, db, dict.Hash(s.key), s.key, lookupNone)
	if r == 0 {
		return nil, false
	}
	switch t := metaType(db.dict.Meta(r)); {
	case field != nil && t == typeHash:
		return hashTypeGetValue(hashTypeAt(db, r), field, scratch)
	case field == nil && t == typeString:
		return stringBytes(db.dict, r, scratch), true
	}
	return nil, false
}

// loadSortItems puts n elements of what is sorted, from the one that first others
// come before, into the scratch; of a set, all. They are copies: what a compressed
// list shows does not last.
func loadSortItems(c *client, r dict.Ref, first, n int, reverse bool) {
	s := &c.srv.sort
	var scratch [20]byte
	switch metaType(c.db.dict.Meta(r)) {
	case typeList:
		l := listAt(c.db, r)
		at := int64(first)
		if reverse {
			at = l.Len() - 1 - at
		}
		for it := l.From(at, reverse); it.Valid() && n > 0; it.Next() {
			v, number, isInt := it.Get()
			if isInt {
				v = strconv.AppendInt(scratch[:0], number, 10)
			}
			s.add(v)
			n--
		}
	case typeZset:
		v := zsetAt(c.db, r)
		if reverse {
			first = zsetLength(&v) - 1 - first
		}
		var at zsetCursor
		for at.from(&v, first); at.valid() && n > 0; at.step(reverse) {
			s.add(at.member())
			n--
		}
	case typeSet:
		it := setTypeInitIterator(setTypeAt(c.db, r))
		for v := setTypeNext(&it, &scratch); v != nil; v = setTypeNext(&it, &scratch) {
			s.add(v)
		}
	}
}

// weighSortItems finds what the items are to be sorted by, and reports whether that
// is a number throughout, where it has to be.
func weighSortItems(c *client, o *sortOptions) (ok bool) {
	s := &c.srv.sort
	var scratch [20]byte
	ok = true
	for i := range s.items {
		item := &s.items[i]
		weight := s.element(item)
		if o.by != nil {
			var found bool
			if weight, found = lookupKeyByPattern(c, o.by, s.element(item), &scratch); !found {
				item.bySize = -1 // as a number, 0
				continue
			}
			if o.alpha {
				item.by, item.bySize = s.put(weight)
			}
		}
		if !o.alpha {
			text := cString(weight)
			d, n, outOfRange := strtod(text)
			if n != len(text) || outOfRange || math.IsNaN(d) {
				ok = false
			}
			item.score = d
		}
	}
	return ok
}

// sortCompare orders two items. Redis compares texts by the locale, which here is
// that of C: byte by byte, up to a NUL.
func (o *sortOptions) sortCompare(s *sortScratch, a, b *sortItem) int {
	order := 0
	switch {
	case !o.alpha && a.score != b.score:
		order = 1
		if a.score < b.score {
			order = -1
		}
	case !o.alpha:
		order = bytes.Compare(s.element(a), s.element(b))
	case a.bySize < 0 || b.bySize < 0:
		order = min(a.bySize, 0) - min(b.bySize, 0)
	case o.store != nil:
		order = bytes.Compare(s.weight(a), s.weight(b))
	default:
		order = bytes.Compare(cString(s.weight(a)), cString(s.weight(b)))
	}
	if o.desc {
		return -order
	}
	return order
}

// sortCommandGeneric is SORT, and with readOnly SORT_RO.
//
//go:noinline
func sortCommandGeneric(c *client, readOnly bool) {
	o, ok := parseSortOptions(c, readOnly)
	if !ok {
		return
	}
	r := lookupKeyRead(c, c.argv[1])
	size, isSet := 0, false
	if r != 0 {
		if r, size, ok = sortableOrReply(c, r); !ok {
			return
		}
		isSet = metaType(c.db.dict.Meta(r)) == typeSet
	}
	if o.nosort && isSet && o.store != nil {
		// A set has no order of its own; what is stored must not depend on chance.
		o.nosort, o.alpha, o.by = false, true, nil
	}
	start := int(min(max(o.start, 0), int64(size)))
	end := size // exclusive
	if o.count >= 0 {
		end = min(size, start+int(min(o.count, int64(size))))
	}
	s := &c.srv.sort
	defer s.reset()
	if o.nosort && !isSet {
		if start < end {
			loadSortItems(c, r, start, end-start, o.desc)
		}
		start, end = 0, end-start
	} else if size > 0 {
		loadSortItems(c, r, 0, size, false)
	}
	if !o.nosort {
		if !weighSortItems(c, &o) {
			addReplyError(c, "One or more scores can't be converted into double")
			return
		}
		// Redis sorts a part by another method, which shows in items that are equal.
		if o.by != nil && end-start < size {
			pqsort.Sort(s.items, start, end-1, func(a, b *sortItem) int { return o.sortCompare(s, a, b) })
		} else {
			slices.SortStableFunc(s.items, func(a, b sortItem) int { return o.sortCompare(s, &a, &b) })
		}
	}
	if o.store != nil {
		storeSorted(c, &o, s.items[start:end])
	} else {
		replySorted(c, &o, s.items[start:end])
	}
}

// sortableOrReply returns the number of elements of the value at r, or tells the
// client that it cannot be sorted. A sorted set becomes a skiplist, as in Redis, and
// r may change.
func sortableOrReply(c *client, r dict.Ref) (_ dict.Ref, size int, ok bool) {
	switch metaType(c.db.dict.Meta(r)) {
	case typeList:
		return r, int(listAt(c.db, r).Len()), true
	case typeSet:
		return r, setTypeSize(setTypeAt(c.db, r)), true
	case typeZset:
		v := zsetAt(c.db, r)
		size = zsetLength(&v)
		if v.z != nil {
			return r, size, true
		}
		if err := zsetConvert(c.db.arena, &v); err != nil {
			replyNoMemory(c, err)
			return r, 0, false
		}
		r, ok = dbSetObject(c, c.db, r, encodingSkiplist, v.z)
		return r, size, ok
	}
	addReplyErrorObject(c, shared.wrongtypeerr)
	return r, 0, false
}

func replySorted(c *client, o *sortOptions, items []sortItem) {
	s := &c.srv.sort
	addReplyArrayLen(c, len(items)*max(1, len(o.get)))
	var scratch [20]byte
	for i := range items {
		element := s.element(&items[i])
		if o.get == nil {
			addReplyBulk(c, element)
		}
		for _, pattern := range o.get {
			if v, ok := lookupKeyByPattern(c, pattern, element, &scratch); ok {
				addReplyBulk(c, v)
			} else {
				addReplyNull(c)
			}
		}
	}
}

// sortStoreFill is the fill of the list that STORE makes. Redis forgets there what the
// configuration says.
const sortStoreFill = -2

// storeSorted makes a list of the items and puts it in place of what the
// destination holds.
func storeSorted(c *client, o *sortOptions, items []sortItem) {
	s, db := &c.srv.sort, c.db
	hash := c.hash(o.store)
	if len(items) == 0 {
		if r := lookupKeyHash(c, db, hash, o.store, lookupWrite); r != 0 {
			dbDelete(c.srv, db, hash, r)
			keyModified(c)
		}
		addReply(c, shared.czero)
		return
	}
	var header [quicklist.HeaderSize]byte
	l := c.srv.lists.New(header[:], sortStoreFill, 0)
	var scratch [20]byte
	stored, ok := 0, true
	for i := 0; i < len(items) && ok; i++ {
		element := s.element(&items[i])
		if o.get == nil {
			ok = l.Push(element, listTail)
			stored++
		}
		for _, pattern := range o.get {
			v, _ := lookupKeyByPattern(c, pattern, element, &scratch)
			ok = ok && l.Push(v, listTail) // what there is not is an empty string
			stored++
		}
	}
	if !ok {
		l.Free()
		replyNoMemory(c, dict.ErrOutOfMemory)
		return
	}
	r := lookupKeyHash(c, db, hash, o.store, lookupWrite)
	if _, ok := setKey(c, db, hash, o.store, r, header[:], makeMeta(typeList, encodingQuicklist, c.srv.loopClock.lru), noExpire); !ok {
		l.Free()
		return
	}
	keyModified(c)
	c.srv.dirty += int64(stored - 1)
	addReplyLongLong(c, int64(stored))
}

func sortCommand(c *client) { sortCommandGeneric(c, false) }

func sortroCommand(c *client) { sortCommandGeneric(c, true) }

// sortGetKeys finds the last STORE, which is the one that counts.
func sortGetKeys(argv [][]byte, keys []keyReference) []keyReference {
	keys = append(keys, keyReference{1, keyRO | keyAccess})
	store := 0
	for i := 2; i < len(argv); i++ {
		switch {
		case equalFoldC(argv[i], "limit"):
			i += 2
		case equalFoldC(argv[i], "get"), equalFoldC(argv[i], "by"):
			i++
		case equalFoldC(argv[i], "store") && i+1 < len(argv):
			store = i + 1
		}
	}
	if store > 0 {
		keys = append(keys, keyReference{store, keyOW | keyUpdate})
	}
	return keys
}

// sortROGetKeys leaves out the keys that patterns lead to: they depend on what is
// sorted.
func sortROGetKeys(_ [][]byte, keys []keyReference) []keyReference {
	return append(keys, keyReference{1, keyRO | keyAccess})
}
