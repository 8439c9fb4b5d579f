package load

import (
	"bytes"
	"fmt"
)

// maxErrorText bounds how much of the first error reply is kept.
const maxErrorText = 256

// replyCounter counts complete replies in a byte stream that arrives in pieces
// of any size. It knows every type of RESP2 and RESP3 and keeps nothing but
// counts: a value inside a value needs no stack, because only the number of
// values that are still to come matters. RESP3's streamed types (lengths of
// "?") are refused: no Redis sends them to a client that did not ask.
type replyCounter struct {
	state   replyState
	kind    byte  // type byte of the value being read
	number  int64 // length being read
	digits  int   // digits of number seen
	minus   bool  // number is negative
	skip    int64 // bytes of a bulk value and its line end still to come
	pending int64 // values still to come until the reply is complete
	push    bool  // the value is an out-of-band push, not a reply

	errors     int64
	keepError  bool // the line being read goes to firstError
	firstError []byte
}

type replyState uint8

const (
	atType   replyState = iota // a type byte comes next
	inNumber                   // in the length of a bulk value or an aggregate
	inLine                     // in a value that is one line
	atLF                       // the LF after a length
	inBulk                     // in the bytes of a bulk value
)

// feed counts the replies that end within data.
func (r *replyCounter) feed(data []byte) (replies int, err error) {
	for i := 0; i < len(data); {
		switch r.state {
		case atType:
			// The answer to nearly every SET, in one piece.
			if r.pending == 0 && len(data)-i >= 5 && string(data[i:i+5]) == "+OK\r\n" {
				replies++
				i += 5
				continue
			}
			r.kind = data[i]
			if r.pending == 0 {
				r.pending = 1
				r.push = r.kind == '>'
				if r.kind == '-' || r.kind == '!' {
					r.errors++
					r.keepError = r.errors == 1
				}
			}
			i++
			switch r.kind {
			case '+', '-', ':', '_', '#', ',', '(':
				r.state = inLine
			case '$', '!', '=', '*', '~', '%', '>', '|':
				r.state, r.number, r.digits, r.minus = inNumber, 0, 0, false
			default:
				return replies, fmt.Errorf("the server sent %q where a reply should begin", r.kind)
			}
		case inLine:
			rest := data[i:]
			end := bytes.IndexByte(rest, '\n')
			line := rest
			if end >= 0 {
				line = rest[:end]
			}
			if r.keepError {
				r.keep(line)
			}
			if end < 0 {
				return replies, nil
			}
			i += end + 1
			replies += r.valueDone()
		case inNumber:
			switch c := data[i]; {
			case c >= '0' && c <= '9' && r.digits < 18:
				r.number = r.number*10 + int64(c-'0')
				r.digits++
			case c == '-' && r.digits == 0 && !r.minus:
				r.minus = true
			case c == '\r' && r.digits > 0:
				r.state = atLF
			default:
				return replies, fmt.Errorf("the server sent %q in the length of a %q reply", c, r.kind)
			}
			i++
		case atLF:
			if data[i] != '\n' {
				return replies, fmt.Errorf("the server sent %q where a line should end", data[i])
			}
			i++
			replies += r.lengthDone()
		case inBulk:
			n := min(r.skip, int64(len(data)-i))
			if r.keepError {
				r.keep(data[i : i+int(n)])
			}
			r.skip -= n
			i += int(n)
			if r.skip == 0 {
				replies += r.valueDone()
			}
		}
	}
	return replies, nil
}

// lengthDone acts on a complete length.
func (r *replyCounter) lengthDone() int {
	switch r.kind {
	case '$', '!', '=':
		if r.minus { // RESP2's null bulk
			return r.valueDone()
		}
		r.skip = r.number + 2
		r.state = inBulk
		return 0
	case '%':
		r.pending += 2 * r.number
	case '|':
		// Attributes come before the value that they describe.
		r.pending += 2*r.number + 1
	default:
		if !r.minus { // RESP2's null array otherwise
			r.pending += r.number
		}
	}
	return r.valueDone()
}

// valueDone ends one value and returns 1 when that completes a reply.
func (r *replyCounter) valueDone() int {
	r.state = atType
	r.keepError = false
	r.pending--
	if r.pending > 0 || r.push {
		return 0
	}
	return 1
}

func (r *replyCounter) keep(text []byte) {
	room := maxErrorText - len(r.firstError)
	r.firstError = append(r.firstError, text[:min(room, len(text))]...)
}

// errorText is the first error reply without its line end.
func (r *replyCounter) errorText() string {
	return string(bytes.TrimRight(r.firstError, "\r\n"))
}
