package engine

import (
	"errors"
	"strconv"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/intset"
	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/quicklist"
	"github.com/redscope/redscope/engine/internal/rdb"
)

// This file writes values as DUMP and RDB files hold them, and reads them again.
// The bytes are those that Redis writes: small encodings and the nodes of lists and
// streams as they lie in memory, everything else element by element.

// sanitizeMode is the value of sanitize-dump-payload.
type sanitizeMode int

const (
	sanitizeNo sanitizeMode = iota
	sanitizeYes
	sanitizeClients // what clients send, but not what is loaded from a file
)

// errBadFormat says that a payload is no value.
var errBadFormat = errors.New("bad data format")

// rdbObjectType returns how the value at r is written.
func rdbObjectType(db *redisDb, r dict.Ref) rdb.Type {
	meta := db.dict.Meta(r)
	switch e := metaEncoding(meta); metaType(meta) {
	case typeString:
		return rdb.TypeString
	case typeZset:
		if e == encodingListpack {
			return rdb.TypeZsetListpack
		}
		return rdb.TypeZset2
	case typeSet:
		if e == encodingIntset {
			return rdb.TypeSetIntset
		}
		return rdb.TypeSet
	case typeHash:
		if e == encodingListpack {
			return rdb.TypeHashListpack
		}
		return rdb.TypeHash
	case typeList:
		return rdb.TypeListQuicklist2
	case typeStream:
		return rdb.TypeStreamListpacks2
	}
	panic("engine: a value of unknown type")
}

// rdbSaveObject appends the value at r to b, in the form that rdbObjectType tells.
//
//go:noinline
func rdbSaveObject(s *Server, db *redisDb, r dict.Ref, b []byte) []byte {
	meta, value := db.dict.Meta(r), db.dict.Value(r)
	compress := s.config.RDBCompression
	switch e := metaEncoding(meta); {
	case e == encodingInt:
		return rdb.AppendInt(b, intValue(value))
	case metaType(meta) == typeSet && e != encodingIntset:
		return rdbSaveSet(b, setTypeAt(db, r), compress)
	case !e.ownsMore():
		return rdb.AppendString(b, value, compress)
	case e == encodingQuicklist:
		return rdbSaveList(b, db.lists.At(value), compress)
	}
	switch o := db.objectAt(r).(type) {
	case *zset:
		return rdbSaveZset(b, o, compress)
	case *stream:
		return rdbSaveStream(b, o, compress)
	case *hashTable:
		b = rdb.AppendLen(b, uint64(o.Len()))
		it := o.UnsafeIterator()
		for it.Next() {
			b = rdb.AppendString(b, o.Key(it.Ref()), compress)
			b = rdb.AppendString(b, o.Value(it.Ref()), compress)
		}
		it.Release()
	}
	return b
}

func rdbSaveSet(b []byte, s setType, compress bool) []byte {
	b = rdb.AppendLen(b, uint64(setTypeSize(s)))
	var scratch [20]byte
	it := setTypeInitIterator(s)
	for m := setTypeNext(&it, &scratch); m != nil; m = setTypeNext(&it, &scratch) {
		b = rdb.AppendString(b, m, compress)
	}
	return b
}

func rdbSaveList(b []byte, l quicklist.List, compress bool) []byte {
	b = rdb.AppendLen(b, uint64(l.Nodes()))
	l.EachNode(func(n quicklist.Node) bool {
		container := uint64(rdb.NodePacked)
		if n.Plain {
			container = rdb.NodePlain
		}
		b = rdb.AppendLen(b, container)
		if n.Compressed {
			b = rdb.AppendCompressed(b, n.Data, n.Size)
		} else {
			b = rdb.AppendString(b, n.Data, compress)
		}
		return true
	})
	return b
}

// rdbSaveZset appends the members from the last to the first, so that who reads them
// finds the place of each at the head.
func rdbSaveZset(b []byte, z *zset, compress bool) []byte {
	b = rdb.AppendLen(b, uint64(z.tree.Len()))
	for n := z.tree.Last(); n != 0; n = z.tree.Prev(n) {
		b = rdb.AppendString(b, z.tree.Member(n), compress)
		b = rdb.AppendDouble(b, z.tree.Score(n))
	}
	return b
}

// loadedValue is a value that belongs to no key yet: its bytes as an entry will hold
// them.
type loadedValue struct {
	t     objectType
	e     encoding
	bytes []byte
}

// rdbLoader reads one value.
type rdbLoader struct {
	*rdb.Reader
	s  *Server
	db *redisDb
	// deep asks for what Redis checks with sanitize-dump-payload only. The structure
	// of listpacks and such is always checked: a bad one could not be walked.
	deep bool

	field, value []byte // scratch for strings
	number       [8]byte
	header       [quicklist.HeaderSize]byte
}

// rdbLoadObject reads a value of type t. It returns errBadFormat when there is none
// or it is not sound, and another error when memory is out. The value may be a view
// of the payload.
//
//go:noinline
func rdbLoadObject(s *Server, db *redisDb, t rdb.Type, r *rdb.Reader) (loadedValue, error) {
	l := rdbLoader{Reader: r, s: s, db: db, deep: s.config.SanitizeDumpPayload != sanitizeNo}
	switch t {
	case rdb.TypeString:
		return l.loadString()
	case rdb.TypeZset, rdb.TypeZset2:
		return l.loadZset(t == rdb.TypeZset)
	case rdb.TypeZsetListpack:
		lp, err := l.pairs()
		return l.zsetOf(lp, err)
	case rdb.TypeZsetZiplist:
		lp, err := l.ziplistPairs()
		return l.zsetOf(lp, err)
	case rdb.TypeSet:
		return l.loadSet()
	case rdb.TypeSetIntset:
		return l.loadIntset()
	case rdb.TypeHash:
		return l.loadHash()
	case rdb.TypeHashListpack:
		lp, err := l.pairs()
		return l.hashOf(lp, err)
	case rdb.TypeHashZiplist:
		lp, err := l.ziplistPairs()
		return l.hashOf(lp, err)
	case rdb.TypeHashZipmap:
		return l.loadHashZipmap()
	case rdb.TypeList, rdb.TypeListZiplist, rdb.TypeListQuicklist, rdb.TypeListQuicklist2:
		return l.loadList(t)
	case rdb.TypeStreamListpacks, rdb.TypeStreamListpacks2:
		return l.loadStream(t == rdb.TypeStreamListpacks)
	}
	return loadedValue{}, errBadFormat
}

func (l *rdbLoader) loadString() (loadedValue, error) {
	value, ok := l.String(&l.value)
	if !ok {
		return loadedValue{}, errBadFormat
	}
	value, e := encodeString(value, &l.number)
	return loadedValue{typeString, e, value}, nil
}

// object makes an object of this encoding a value.
func (l *rdbLoader) object(t objectType, e encoding, o heapObject) loadedValue {
	number := l.db.objects.add(o)
	return loadedValue{t, e, append(l.number[:0], number[:]...)}
}

// loadZset reads members and scores one by one; scores are text when old says so.
func (l *rdbLoader) loadZset(old bool) (loadedValue, error) {
	n := l.Len()
	if n == rdb.LenError || n == 0 {
		return loadedValue{}, errBadFormat
	}
	z := newZset(l.db.arena)
	v, err := l.readZset(z, n, old)
	if err != nil || v.e != encodingSkiplist {
		z.free()
	}
	return v, err
}

func (l *rdbLoader) readZset(z *zset, n uint64, old bool) (loadedValue, error) {
	longest, total := 0, 0
	for ; n > 0; n-- {
		member, ok := l.String(&l.field)
		if !ok {
			return loadedValue{}, errBadFormat
		}
		score, ok := 0.0, false
		if old {
			score, ok = l.TextDouble()
		} else {
			score, ok = l.Double()
		}
		hash := dict.Hash(member)
		if !ok || score != score || z.dict.FindHash(hash, member) != 0 {
			return loadedValue{}, errBadFormat
		}
		if err := z.addHash(hash, member, score); err != nil {
			return loadedValue{}, err
		}
		longest = max(longest, len(member))
		total += len(member)
	}
	cfg := l.s.config
	if int64(z.tree.Len()) > cfg.ZsetMaxListpackEntries || int64(longest) > cfg.ZsetMaxListpackValue || !listpack.SafeToAdd(nil, total) {
		return l.object(typeZset, encodingSkiplist, z), nil
	}
	lp := listpack.New()
	for p := z.tree.First(); p != 0; p = z.tree.Next(p) {
		lp = zzlAppend(lp, z.tree.Member(p), z.tree.Score(p))
	}
	return loadedValue{typeZset, encodingListpack, lp}, nil
}

// zsetOf makes a value of a listpack of members and scores, in the encoding that its
// length wants. Whether it is in order is not checked, as in Redis, but a score that
// is no number would be fatal to the order.
func (l *rdbLoader) zsetOf(lp []byte, err error) (loadedValue, error) {
	if err != nil {
		return loadedValue{}, err
	}
	for p := listpack.First(lp); p >= 0; {
		p = listpack.Next(lp, p)
		if score := zzlGetScore(lp, p); score != score {
			return loadedValue{}, errBadFormat
		}
		p = listpack.Next(lp, p)
	}
	v := sortedSet{lp: lp}
	if int64(zsetLength(&v)) <= l.s.config.ZsetMaxListpackEntries {
		return loadedValue{typeZset, encodingListpack, lp}, nil
	}
	if duplicates(lp) {
		return loadedValue{}, errBadFormat
	}
	if err := zsetConvert(l.db.arena, &v); err != nil {
		return loadedValue{}, err
	}
	return l.object(typeZset, encodingSkiplist, v.z), nil
}

// loadList reads a list of any form.
func (l *rdbLoader) loadList(t rdb.Type) (loadedValue, error) {
	list := createList(l.s, &l.header)
	var err error
	switch t {
	case rdb.TypeList:
		err = l.readElements(list)
	case rdb.TypeListZiplist:
		err = l.readZiplist(list)
	default:
		err = l.readNodes(list, t == rdb.TypeListQuicklist)
	}
	if err == nil && list.Len() == 0 {
		err = errBadFormat
	}
	if err != nil {
		list.Free()
		return loadedValue{}, err
	}
	return loadedValue{typeList, encodingQuicklist, l.header[:]}, nil
}

func (l *rdbLoader) readElements(list quicklist.List) error {
	n := l.Len()
	if n == rdb.LenError {
		return errBadFormat
	}
	for ; n > 0; n-- {
		v, ok := l.String(&l.value)
		if !ok {
			return errBadFormat
		}
		if !list.Push(v, listTail) {
			return dict.ErrOutOfMemory
		}
	}
	return nil
}

func (l *rdbLoader) readZiplist(list quicklist.List) (err error) {
	zl, ok := l.String(&l.value)
	if !ok || !rdb.Ziplist(zl, func(s []byte, n int64, isInt bool) bool {
		if isInt {
			l.field = strconv.AppendInt(l.field[:0], n, 10)
			s = l.field
		}
		if !list.Push(s, listTail) {
			err = dict.ErrOutOfMemory
		}
		return err == nil
	}) && err == nil {
		return errBadFormat
	}
	return err
}

// readNodes reads nodes; old says that they are ziplists. Empty ones are left out.
func (l *rdbLoader) readNodes(list quicklist.List, old bool) error {
	n := l.Len()
	if n == rdb.LenError {
		return errBadFormat
	}
	for ; n > 0; n-- {
		container := uint64(rdb.NodePacked)
		if !old {
			if container = l.Len(); container != rdb.NodePacked && container != rdb.NodePlain {
				return errBadFormat
			}
		}
		data, ok := l.String(&l.value)
		if !ok || len(data) == 0 {
			return errBadFormat
		}
		switch {
		case old:
			l.field, ok = appendZiplist(listpack.AppendNew(l.field[:0]), data)
			data = l.field
		case container == rdb.NodePacked:
			l.countSanitization()
			ok = listpack.Valid(data, true)
		}
		if !ok {
			return errBadFormat
		}
		if container == rdb.NodePacked && listpack.Len(data) == 0 {
			continue
		}
		if !list.AppendNode(data, container == rdb.NodePlain) {
			return dict.ErrOutOfMemory
		}
	}
	return nil
}

// loadSet reads members one by one.
func (l *rdbLoader) loadSet() (loadedValue, error) {
	n := l.Len()
	if n == rdb.LenError || n == 0 {
		return loadedValue{}, errBadFormat
	}
	set := newSetBuilder(l.s, l.db)
	if err := l.readSet(&set, n); err != nil {
		set.free()
		return loadedValue{}, err
	}
	return l.set(&set), nil
}

func (l *rdbLoader) readSet(set *setBuilder, n uint64) error {
	set.room = l.likely(n)
	if n > uint64(maxIntset(l.s)) {
		// No intset in the end, and a long one takes its time.
		if err := set.becomeHashtable(); err != nil {
			return err
		}
	}
	for ; n > 0; n-- {
		member, ok := l.String(&l.field)
		if !ok {
			return errBadFormat
		}
		added, err := set.add(member)
		if err != nil {
			return err
		}
		if !added {
			return errBadFormat
		}
	}
	return nil
}

// set makes a value of what has been built. Until it is stored nothing else must be
// built.
func (l *rdbLoader) set(set *setBuilder) loadedValue {
	if set.table != nil {
		return l.object(typeSet, set.e, set.table)
	}
	v := loadedValue{typeSet, set.e, set.bytes}
	set.free()
	return v
}

// likely returns n, or how many elements what is left of the payload can hold when
// that is fewer.
func (l *rdbLoader) likely(n uint64) int { return int(min(n, uint64(l.Rest()))) }

func (l *rdbLoader) loadIntset() (loadedValue, error) {
	is, ok := l.String(&l.value)
	if !ok {
		return loadedValue{}, errBadFormat
	}
	l.countSanitization()
	if !intset.Valid(is, l.deep) {
		return loadedValue{}, errBadFormat
	}
	if int64(intset.Len(is)) <= l.s.config.SetMaxIntsetEntries {
		return loadedValue{typeSet, encodingIntset, is}, nil
	}
	if !intset.Valid(is, true) {
		return loadedValue{}, errBadFormat // two that are the same would both be members
	}
	set := newSetBuilder(l.s, l.db)
	set.bytes = append(set.bytes[:0], is...)
	if err := set.becomeHashtable(); err != nil {
		set.free()
		return loadedValue{}, err
	}
	return l.set(&set), nil
}

// loadHash reads fields and values one by one.
func (l *rdbLoader) loadHash() (loadedValue, error) {
	n := l.Len()
	if n == rdb.LenError || n == 0 {
		return loadedValue{}, errBadFormat
	}
	table := &hashTable{dict.New(l.db.arena)}
	table.Reserve(l.likely(n))
	v, err := l.readHash(table, n)
	if err != nil || v.e != encodingHashtable {
		table.free()
	}
	return v, err
}

// readHash fills the table, in any case, since it tells whether a field comes twice,
// and a listpack for as long as the fields and values suit one. Without deep, a
// listpack may hold a field twice, as in Redis.
func (l *rdbLoader) readHash(table *hashTable, n uint64) (loadedValue, error) {
	cfg := l.s.config
	var lp []byte
	if n <= uint64(cfg.HashMaxListpackEntries) {
		lp = listpack.New()
	}
	repeated := false
	for ; n > 0; n-- {
		field, ok1 := l.String(&l.field)
		value, ok2 := l.String(&l.value)
		if !ok1 || !ok2 {
			return loadedValue{}, errBadFormat
		}
		isNew, err := table.set(field, value)
		if err != nil {
			return loadedValue{}, err
		}
		repeated = repeated || !isNew
		if lp == nil {
			continue
		}
		if int64(max(len(field), len(value))) > cfg.HashMaxListpackValue || !listpack.SafeToAdd(lp, len(field)+len(value)) {
			lp = nil
			continue
		}
		lp = listpack.Append(listpack.Append(lp, field), value)
	}
	if repeated && (lp == nil || l.deep) {
		return loadedValue{}, errBadFormat
	}
	if lp != nil {
		return loadedValue{typeHash, encodingListpack, lp}, nil
	}
	return l.object(typeHash, encodingHashtable, table), nil
}

// hashOf makes a value of a listpack of fields and values, in the encoding that its
// length wants.
func (l *rdbLoader) hashOf(lp []byte, err error) (loadedValue, error) {
	if err != nil {
		return loadedValue{}, err
	}
	n := listpack.Len(lp) / 2
	if int64(n) <= l.s.config.HashMaxListpackEntries {
		return loadedValue{typeHash, encodingListpack, lp}, nil
	}
	return l.hashTableOf(lp, n)
}

func (l *rdbLoader) hashTableOf(lp []byte, n int) (loadedValue, error) {
	if duplicates(lp) {
		return loadedValue{}, errBadFormat
	}
	table, err := hashTypeConvert(l.db, lp, n)
	if err != nil {
		return loadedValue{}, err
	}
	return l.object(typeHash, encodingHashtable, table), nil
}

func (l *rdbLoader) loadHashZipmap() (loadedValue, error) {
	zm, ok := l.String(&l.value)
	if !ok {
		return loadedValue{}, errBadFormat
	}
	lp, longest := listpack.New(), 0
	if !rdb.Zipmap(zm, func(field, value []byte) bool {
		longest = max(longest, len(field), len(value))
		lp = listpack.Append(listpack.Append(lp, field), value)
		return true
	}) || duplicates(lp) {
		return loadedValue{}, errBadFormat
	}
	if int64(longest) > l.s.config.HashMaxListpackValue {
		return l.hashTableOf(lp, listpack.Len(lp)/2)
	}
	return l.hashOf(lp, nil)
}

// pairs reads a listpack of pairs, of which there must be one.
func (l *rdbLoader) pairs() ([]byte, error) {
	lp, ok := l.String(&l.value)
	if !ok {
		return nil, errBadFormat
	}
	l.countSanitization()
	if !listpack.Valid(lp, true) {
		return nil, errBadFormat
	}
	if n := listpack.Len(lp); n == 0 || n%2 != 0 || l.deep && duplicates(lp) {
		return nil, errBadFormat
	}
	return lp, nil
}

// duplicates reports whether two pairs of a listpack begin with the same.
func duplicates(lp []byte) bool {
	seen := make(map[string]bool, listpack.Len(lp)/2)
	var scratch [20]byte
	for p := listpack.First(lp); p >= 0; p = listpack.Next(lp, listpack.Next(lp, p)) {
		s := listpack.Bytes(lp, p, &scratch)
		if seen[string(s)] {
			return true
		}
		seen[string(s)] = true
	}
	return false
}

func (l *rdbLoader) countSanitization() {
	if l.deep {
		l.s.stat.sanitizations++
	}
}

// ziplistPairs reads a ziplist of pairs as a listpack. Like Redis it checks such an
// old one in any case.
func (l *rdbLoader) ziplistPairs() ([]byte, error) {
	zl, ok := l.String(&l.value)
	if !ok {
		return nil, errBadFormat
	}
	lp, ok := appendZiplist(listpack.New(), zl)
	if n := listpack.Len(lp); !ok || n == 0 || n%2 != 0 || duplicates(lp) {
		return nil, errBadFormat
	}
	return lp, nil
}

// appendZiplist appends the entries of a ziplist to a listpack.
func appendZiplist(lp, zl []byte) ([]byte, bool) {
	ok := rdb.Ziplist(zl, func(s []byte, n int64, isInt bool) bool {
		if isInt {
			lp = listpack.AppendInt(lp, n)
		} else {
			lp = listpack.Append(lp, s)
		}
		return true
	})
	return lp, ok
}
