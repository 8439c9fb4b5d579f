package engine

import (
	"errors"

	"github.com/redscope/redscope/engine/internal/dict"
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
var errBadFormat = errors.New("Bad data format")

// rdbObjectType returns how the value at r is written.
func rdbObjectType(db *redisDb, r dict.Ref) rdb.Type {
	meta := db.dict.Meta(r)
	switch metaType(meta) {
	case typeString:
		return rdb.TypeString
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
	case !e.ownsMore():
		return rdb.AppendString(b, value, compress)
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

// dropLoaded frees what a value owns that will not be stored.
func (db *redisDb) dropLoaded(v loadedValue) {
	if v.e.ownsMore() {
		db.releaseValue(v.e, v.bytes)
	}
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
