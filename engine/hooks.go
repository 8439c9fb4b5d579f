package engine

// Hooks are the functions that the server calls at points on a command's path,
// so that somebody can watch without a probe: trace/ builds OpenTelemetry spans
// from them. A nil func is skipped at the cost of one load and one branch.
//
// Every hook is called on the event-loop thread, the one that owns the key
// space. It must not block, lock, allocate per call, or keep a slice that it
// was given: copy what is needed and return. Times are nanoseconds since the
// Unix epoch, taken from the monotonic clock plus an offset fixed when the
// server started, so that differences never run backwards.
type Hooks struct {
	// SampleRead is asked once before each socket read whether what follows
	// from it should be reported; a read that finds nothing is not. The other hooks fire only for reads for which
	// it returned true: head sampling costs the commands that were not sampled
	// one call per read and nothing per command. nil means no read is sampled.
	SampleRead func(clientID uint64) bool

	// CommandDone fires after each command of a sampled read, in order of
	// execution, before its reply is written to the socket.
	CommandDone func(CommandEvent)

	// ReadDone fires when all complete commands of a sampled read have been
	// executed. Every CommandDone of that read came before it. What CLIENT PAUSE
	// held up is executed in a read of its own, of no bytes.
	ReadDone func(ReadEvent)

	// ReplyWritten fires when replies of a sampled read went to the socket. A
	// read whose replies take several writes fires it several times.
	ReplyWritten func(WriteEvent)
}

// MaxHookKey is the number of bytes of a key that an event carries at most.
const MaxHookKey = 64

// ReadEvent describes one socket read: the span readQueryFromClient.
type ReadEvent struct {
	Read     uint64 // identifies the read: rises by one per sampled read, from 1
	Client   uint64 // CLIENT ID
	Loop     uint64 // turn of the event loop in which it happened
	Start    int64  // before read(2)
	ReadEnd  int64  // after read(2)
	End      int64  // after the last command of the read
	Bytes    int    // what read(2) returned
	Commands int    // complete commands found, whether executed or refused
	DB       int    // selected database at the end
	Peer     string // address of the client, "ip:port"; a path for a unix socket
	Local    string // address of the server, the same form
}

// CommandEvent describes one command: the spans processCommand, call and the
// command's own function.
type CommandEvent struct {
	Read      uint64 // the read it came in with
	Client    uint64 // CLIENT ID
	Loop      uint64 // turn of the event loop
	Batch     int    // position within the read, from 0
	Command   int    // index for Server.CommandName; -1 when there is no such command
	Args      int    // number of arguments, the command's name included
	DB        int    // selected database when it began; who makes events from outside says -1, not known
	Parse     int64  // parsing began
	Process   int64  // parsing ended, processCommand began
	CallStart int64  // call began; 0 when a check refused the command
	ProcStart int64  // the command's function began; 0 likewise
	ProcEnd   int64  // the command's function returned; 0 likewise
	CallEnd   int64  // call returned; 0 likewise
	End       int64  // processCommand returned
	ReplySize int    // bytes of reply
	KeyLen    int    // length of the first key; 0 when it has none
	KeyPos    int    // position of that key among the arguments; 0 when it has none
	// Key holds the first min(KeyLen, MaxHookKey) bytes of the first key.
	Key [MaxHookKey]byte
	// ErrLen and Err hold the error reply's prefix, as "ERR" or "WRONGTYPE";
	// ErrLen is 0 when the command succeeded.
	ErrLen int
	Err    [16]byte
}

// WriteEvent describes one socket write: the span writeToClient.
type WriteEvent struct {
	Read   uint64 // the newest sampled read whose replies it carries
	Client uint64 // CLIENT ID
	Loop   uint64 // turn of the event loop
	Start  int64  // before write(2)
	End    int64  // after write(2)
	Bytes  int    // what write(2) accepted
	Failed bool   // write(2) failed; the client is being closed
}
