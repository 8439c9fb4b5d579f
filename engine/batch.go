package engine

import (
	"unsafe"

	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/resp"
)

// batchSize is how many commands of one read are parsed before the first of
// them is executed. It is about as many cache misses as a core has under way at
// once.
const batchSize = 16

// commandBatch holds commands that have been parsed and wait for their turn. A
// pipeline over many keys spends most of its time waiting for memory, twice per
// command: for the key's bucket and for its entry. While a batch is parsed the
// processor is told of all its buckets, then of all its entries, so that the
// waits overlap. The server has one batch, since one read is processed at a time.
type commandBatch struct {
	ready []parsedCommand
	args  [][]byte // of all commands in ready, one after the other
	empty int      // bytes of the empty commands behind the last of them
	err   error    // what is wrong behind those
	short bool     // what follows has not come in whole
}

type parsedCommand struct {
	first, end int    // its arguments in args
	size       int    // bytes it takes in the query buffer, empty commands before it included
	hash       uint64 // of argv[1]
}

// parse fills the batch from the client's query buffer, with limit commands at
// most.
func (b *commandBatch) parse(c *client, limit int) {
	options := resp.Options{MaxBulk: c.srv.config.ProtoMaxBulkLen, Unauthenticated: c.mustAuthenticate()}
	if options.Unauthenticated {
		limit = 1 // the command may be AUTH, which changes the limits of the next
	}
	if cap(b.args) > keptArgs {
		b.args = nil
	}
	b.ready, b.args, b.empty, b.err, b.short = b.ready[:0], b.args[:0], 0, nil, false
	for pos := c.pos; len(b.ready) < limit && pos < len(c.query); {
		first := len(b.args)
		args, n, err := c.reader.Next(c.query[pos:], b.args, &options)
		if n == 0 {
			b.err, b.short = err, true
			return
		}
		b.args = args
		pos += n
		b.empty += n
		if len(args) == first {
			continue // an empty command
		}
		p := parsedCommand{first: first, end: len(args), size: b.empty}
		b.empty = 0
		if p.end-first > 1 {
			// Nearly always this is the first key. When it is not, a hint has been
			// wasted. For a pipeline on one key, one is enough.
			p.hash = dict.Hash(args[first+1])
			if n := len(b.ready); limit > 1 && (n == 0 || b.ready[n-1].hash != p.hash) {
				c.db.dict.Prefetch(p.hash)
			}
		}
		b.ready = append(b.ready, p)
	}
}

// forget lets go of the arguments, so that a buffer of which they are views can
// be freed before as many others have taken their place.
func (b *commandBatch) forget() {
	if cap(b.args) > keptArgs {
		b.args = nil
	}
	clear(b.args[:cap(b.args)])
}

// prefetchEntries is the second wave of a batch's hints.
func (b *commandBatch) prefetchEntries(d *dict.Dict) {
	last := uint64(0)
	for i := range b.ready {
		if p := &b.ready[i]; p.hash != last && p.end-p.first > 1 {
			d.PrefetchEntry(p.hash)
			last = p.hash
		}
	}
}

// hash returns the hash of a key among the client's arguments; that of argv[1]
// has been computed when the command was parsed.
func (c *client) hash(key []byte) uint64 {
	if len(c.argv) > 1 && unsafe.SliceData(key) == unsafe.SliceData(c.argv[1]) && len(key) == len(c.argv[1]) && len(key) > 0 {
		return c.argHash
	}
	return dict.Hash(key)
}
