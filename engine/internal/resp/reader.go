// Package resp reads commands from a client's bytes: RESP multibulk and inline
// ones, at whatever byte the stream is cut; and splits and quotes words as inline
// commands and configurations have them. Replies are written with redcon's codec;
// docs/adr/0002-reading-commands.md says why the reading is our own.
//
// The package knows neither clients nor sockets. It never copies an argument of a
// multibulk command, never allocates for a well-formed one whose arguments fit in the
// slice that it was given, and never looks at a byte twice when more bytes arrive.
package resp

import "bytes"

// Limits of the protocol that cannot be configured, from server.h.
const (
	// MaxInline is PROTO_INLINE_MAX_SIZE: the length of an inline command, and of
	// the line that announces a count, in bytes.
	MaxInline = 64 * 1024
	// maxCount is the largest number of arguments that may be announced.
	maxCount = 1<<31 - 1
	// An unauthenticated client may announce no more than this.
	maxCountUnauthenticated = 10
	maxBulkUnauthenticated  = 16384
)

// A ProtocolError is what the client did wrong, in Redis's words and without
// the prefix "Protocol error: ". The connection cannot go on.
type ProtocolError string

func (e ProtocolError) Error() string { return "Protocol error: " + string(e) }

const (
	errBigInline     ProtocolError = "too big inline request"
	errQuotes        ProtocolError = "unbalanced quotes in request"
	errBigCount      ProtocolError = "too big mbulk count string"
	errCount         ProtocolError = "invalid multibulk length"
	errCountNoAuth   ProtocolError = "unauthenticated multibulk length"
	errBigBulkCount  ProtocolError = "too big bulk count string"
	errBulkLen       ProtocolError = "invalid bulk length"
	errBulkLenNoAuth ProtocolError = "unauthenticated bulk length"
)

type span struct{ start, end int }

// Reader holds what has been understood of a command that has not come in
// whole. Its zero value is ready for a client's first byte.
type Reader struct {
	left  int    // arguments still to come; 0 between commands
	bulk  int    // length of the argument under way; -1 before its line
	pos   int    // how far into the buffer the command has been understood
	spans []span // the arguments so far, by place, since the buffer may move
}

// Options are a client's limits.
type Options struct {
	MaxBulk         int64 // proto-max-bulk-len, bytes
	Unauthenticated bool  // the client must authenticate first
}

// Missing returns how many bytes must follow buf, which holds a command that
// has been cut, before its present argument is whole; 0 when that is unknown.
func (r *Reader) Missing(buf []byte) int {
	if r.left == 0 || r.bulk < 0 {
		return 0
	}
	return max(0, r.pos+r.bulk+2-len(buf))
}

// Next reads one command from the start of buf and appends its arguments, as
// views into buf, to argv. It returns the arguments and the number of bytes
// that the command took. The number is 0 when the command has not come in
// whole: Next then wants to be called again with the same bytes and more behind
// them. A command may have no arguments; it is to be passed over.
func (r *Reader) Next(buf []byte, argv [][]byte, o *Options) ([][]byte, int, error) {
	if r.left > 0 {
		return r.resume(buf, argv, o)
	}
	if o.MaxBulk > usualBulk && !o.Unauthenticated {
		if args, n := usual(buf, argv); n > 0 {
			return args, n, nil
		}
	}
	if len(buf) == 0 {
		return argv, 0, nil
	}
	if buf[0] != '*' {
		return inline(buf, argv)
	}
	count, first, err := countLine(buf)
	switch {
	case first == 0 || err != nil:
		return argv, 0, err
	case count > maxCount:
		return argv, 0, errCount
	case count > maxCountUnauthenticated && o.Unauthenticated:
		return argv, 0, errCountNoAuth
	case count <= 0:
		return argv, first, nil
	}

	// Most commands have come in whole: take it in one go, noting nothing.
	pos, got := first, argv
	for range count {
		length, start, err := bulkLine(buf, pos, o)
		if err != nil {
			return argv, 0, err
		}
		if start == 0 || len(buf)-start < length+2 {
			// Cut: begin again from the first argument, this time taking notes.
			r.left, r.bulk, r.pos = int(count), -1, first
			return r.resume(buf, argv, o)
		}
		got = append(got, buf[start:start+length:start+length])
		// Redis does not look at the two bytes behind an argument either.
		pos = start + length + 2
	}
	return got, pos, nil
}

// resume goes on with a command that has been cut.
func (r *Reader) resume(buf []byte, argv [][]byte, o *Options) ([][]byte, int, error) {
	for r.left > 0 {
		if r.bulk < 0 {
			length, start, err := bulkLine(buf, r.pos, o)
			if start == 0 || err != nil {
				return argv, 0, err
			}
			r.bulk, r.pos = length, start
		}
		if len(buf)-r.pos < r.bulk+2 {
			return argv, 0, nil
		}
		r.spans = append(r.spans, span{r.pos, r.pos + r.bulk})
		r.pos += r.bulk + 2
		r.bulk = -1
		r.left--
	}
	for _, s := range r.spans {
		argv = append(argv, buf[s.start:s.end:s.end])
	}
	n := r.pos
	*r = Reader{}
	return argv, n, nil
}

// usualBulk is the length in bytes of the longest argument that usual reads.
const usualBulk = 999

// usual is Next for a command as most are: it has come in whole, its arguments are
// fewer than a hundred, none longer than usualBulk, and there is room for them in
// argv. For another it returns 0 bytes.
func usual(buf []byte, argv [][]byte) ([][]byte, int) {
	if len(buf) < 5 || buf[0] != '*' {
		return nil, 0
	}
	count, pos := uint(buf[1])-'0', 4
	if count == 0 || count > 9 {
		return nil, 0
	}
	if buf[2] != '\r' {
		digit := uint(buf[2]) - '0'
		if digit > 9 || buf[3] != '\r' {
			return nil, 0
		}
		count, pos = 10*count+digit, 5
	}
	room := argv[len(argv):cap(argv)]
	if count > uint(len(room)) {
		return nil, 0
	}
	room = room[:count]
	for i := range room {
		if len(buf) < pos+6 || buf[pos] != '$' {
			return nil, 0
		}
		first := uint(buf[pos+1]) - '0'
		n, start := first, pos+4
		if buf[pos+2] != '\r' {
			digit := uint(buf[pos+2]) - '0'
			if first == 0 || digit > 9 {
				return nil, 0
			}
			n, start = 10*n+digit, pos+5
			if buf[pos+3] != '\r' {
				digit = uint(buf[pos+3]) - '0'
				if digit > 9 || buf[pos+4] != '\r' {
					return nil, 0
				}
				n, start = 10*n+digit, pos+6
			}
		}
		if first > 9 {
			return nil, 0
		}
		end := start + int(n)
		if len(buf) < end+2 {
			return nil, 0
		}
		room[i] = buf[start:end:end]
		// Redis does not look at the two bytes behind an argument either.
		pos = end + 2
	}
	return argv[:len(argv)+int(count)], pos
}

// countLine reads the line that announces a command. next is where its first
// argument's line begins, 0 when the line has not come in whole.
func countLine(buf []byte) (count int64, next int, err error) {
	return announced(buf, 0, errBigCount, errCount)
}

// bulkLine reads the line that announces an argument. start is where the
// argument begins, 0 when the line has not come in whole.
func bulkLine(buf []byte, pos int, o *Options) (length, start int, err error) {
	n, start, err := announced(buf, pos, errBigBulkCount, errBulkLen)
	switch {
	case start == 0 || err != nil:
		return 0, 0, err
	case n < 0 || n > o.MaxBulk:
		return 0, 0, errBulkLen
	case n > maxBulkUnauthenticated && o.Unauthenticated:
		return 0, 0, errBulkLenNoAuth
	}
	return int(n), start, nil
}

// announced reads the line at pos, a type byte and a number. next is where the
// following line begins, 0 when the line has not come in whole.
func announced(buf []byte, pos int, tooLong, malformed ProtocolError) (n int64, next int, err error) {
	b := buf[pos:]
	end := bytes.IndexByte(b[:min(len(b), MaxInline+2)], '\r')
	// Redis searches with strchr, which sees nothing behind a NUL.
	if nul := bytes.IndexByte(b[:max(end, 0)], 0); nul >= 0 {
		end = -1
	}
	if end < 0 {
		if len(b) > MaxInline {
			return 0, 0, tooLong
		}
		return 0, 0, nil
	}
	if end+2 > len(b) {
		return 0, 0, nil
	}
	if malformed == errBulkLen && b[0] != '$' {
		return 0, 0, ProtocolError("expected '$', got '" + string(b[:1]) + "'")
	}
	if end == 0 {
		return 0, 0, malformed
	}
	n, ok := ParseInt(b[1:end])
	if !ok {
		return 0, 0, malformed
	}
	return n, pos + end + 2, nil
}

// inline reads a command that a person typed: words up to a newline.
func inline(buf []byte, argv [][]byte) ([][]byte, int, error) {
	end := bytes.IndexByte(buf, '\n')
	if nul := bytes.IndexByte(buf[:max(end, 0)], 0); nul >= 0 {
		end = -1
	}
	if end < 0 {
		if len(buf) > MaxInline {
			return argv, 0, errBigInline
		}
		return argv, 0, nil
	}
	args, ok := SplitArgs(bytes.TrimSuffix(buf[:end], []byte("\r")))
	if !ok {
		return argv, 0, errQuotes
	}
	return append(argv, args...), end + 1, nil
}

// ParseInt reads a decimal integer as Redis's string2ll does: no sign but a
// minus, no leading zero, no space, nothing behind it.
func ParseInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	if len(b) == 1 {
		return int64(b[0] - '0'), b[0]-'0' <= 9
	}
	digits, negative := b, false
	if b[0] == '-' {
		digits, negative = b[1:], true
	}
	if digits[0] < '1' || digits[0] > '9' {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		d := uint64(c - '0')
		if d > 9 || n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	switch {
	case negative && n <= 1<<63:
		return -int64(n), true
	case !negative && n < 1<<63:
		return int64(n), true
	}
	return 0, false
}
