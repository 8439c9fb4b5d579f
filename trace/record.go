package trace

import "github.com/redscope/redscope/engine"

// kind says which hook an event came from.
type kind uint8

const (
	commandEvent kind = iota + 1
	readEvent
	writeEvent
)

// Indices into record.at, the times of an event in nanoseconds since the epoch.
const (
	parse     = iota // commands
	process          //
	callStart        //
	procStart        //
	procEnd          //
	callEnd          //
	end              // commands, reads and writes
	times
)

const (
	start   = parse   // reads and writes
	readEnd = process // reads
)

// Where record.text holds what.
const (
	errAt   = engine.MaxHookKey // commands: the key is before it
	localAt = 64                // reads: the peer's address is before it
)

// A record is one event as it lies in the ring: 256 bytes, four cache lines of
// amd64, without a pointer, so that the garbage collector never looks at the
// ring and a copy needs no write barrier. One layout serves all three events;
// three rings would lose the order between them.
//
// The text is in the second half, which most records leave alone: what one
// processor does not write, and the other does not read, need not travel
// between them.
type record struct {
	header
	text [128]byte
}

// A header is all of a record but its text: two cache lines.
type header struct {
	kind     kind
	failed   bool  // writes: write(2) failed
	textLen  uint8 // bytes of key, or of the peer's address, in text
	text2Len uint8 // bytes of error prefix, or of the local address
	keyPos   int32
	command  int32
	args     int32
	db       int32

	read   uint64
	client uint64
	loop   uint64
	at     [times]int64

	bytes  int64 // reads and writes: bytes; commands: bytes of reply
	count  int64 // reads: commands
	keyLen int64 // commands: length of the whole key
}

// putCommand copies e. The key is left out unless a span will show it: that is
// one copy less, and no user data in memory that nobody asked for.
func (r *record) putCommand(e *engine.CommandEvent, withKey bool) {
	r.kind = commandEvent
	r.failed = false
	r.command = int32(e.Command)
	r.args = int32(e.Args)
	r.db = int32(e.DB)
	r.read = e.Read
	r.client = e.Client
	r.loop = e.Loop
	r.at = [times]int64{e.Parse, e.Process, e.CallStart, e.ProcStart, e.ProcEnd, e.CallEnd, e.End}
	r.bytes = int64(e.ReplySize)
	r.keyLen = int64(e.KeyLen)
	r.keyPos = int32(e.KeyPos)
	r.textLen = 0
	if withKey {
		r.textLen = uint8(copy(r.text[:errAt], e.Key[:min(e.KeyLen, len(e.Key))]))
	}
	r.text2Len = uint8(copy(r.text[errAt:], e.Err[:min(e.ErrLen, len(e.Err))]))
}

// putRead copies e. An address longer than 64 bytes, which only the path of a
// unix socket can be, loses its end.
func (r *record) putRead(e *engine.ReadEvent) {
	r.kind = readEvent
	r.failed = false
	r.db = int32(e.DB)
	r.read = e.Read
	r.client = e.Client
	r.loop = e.Loop
	r.at[start], r.at[readEnd], r.at[end] = e.Start, e.ReadEnd, e.End
	r.bytes = int64(e.Bytes)
	r.count = int64(e.Commands)
	r.textLen = uint8(copy(r.text[:localAt], e.Peer))
	r.text2Len = uint8(copy(r.text[localAt:], e.Local))
}

func (r *record) putWrite(e *engine.WriteEvent) {
	r.kind = writeEvent
	r.failed = e.Failed
	r.textLen, r.text2Len = 0, 0
	r.read = e.Read
	r.client = e.Client
	r.loop = e.Loop
	r.at[start], r.at[end] = e.Start, e.End
	r.bytes = int64(e.Bytes)
}

// copyTo makes to equal to r, except for text that r does not have.
func (r *record) copyTo(to *record) {
	to.header = r.header
	if r.textLen|r.text2Len != 0 {
		to.text = r.text
	}
}

// The following are parts of r.
func (r *record) key() []byte   { return r.text[:r.textLen] }
func (r *record) error() []byte { return r.text[errAt:][:r.text2Len] }
func (r *record) peer() []byte  { return r.text[:r.textLen] }
func (r *record) local() []byte { return r.text[localAt:][:r.text2Len] }
