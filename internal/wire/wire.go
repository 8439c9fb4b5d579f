// Package wire is a client's side of Redis's protocol: commands are written and replies
// read, losing nothing. It is for tests, fuzzers and questions, and must never be in
// what is measured: it allocates, and copies all that comes.
package wire

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Reply is one RESP value. Kind is the first byte on the wire, except that null
// strings and arrays have kinds of their own.
type Reply struct {
	Kind  byte
	Text  string  // of everything that is not an aggregate
	Items []Reply // of an aggregate; of a map and an attribute, keys and values in turn
}

// The kinds of $-1 and *-1.
const (
	NilBulk  = 'n'
	NilArray = 'N'
)

// ReadReply reads one value. An attribute is a value by itself, before the one that it
// is of.
func ReadReply(r *bufio.Reader) (Reply, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		if line != "" {
			err = fmt.Errorf("half a reply, %q, and then: %w", line, err)
		}
		return Reply{}, err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || line == "" {
		return Reply{}, fmt.Errorf("reply line %q does not end in \\r\\n", line)
	}
	v := Reply{Kind: line[0], Text: line[1:]}
	switch v.Kind {
	case '+', '-', ':', ',', '#', '(', '_':
		return v, nil
	case '$', '=', '*', '~', '%', '>', '|':
	default:
		return v, fmt.Errorf("reply of unknown type: %q", line)
	}
	n, err := strconv.Atoi(v.Text)
	if err != nil || n < -1 {
		return v, fmt.Errorf("reply with bad length: %q", line)
	}
	v.Text = ""
	switch {
	case n == -1 && v.Kind == '$':
		return Reply{Kind: NilBulk}, nil
	case n == -1 && v.Kind == '*':
		return Reply{Kind: NilArray}, nil
	case n == -1:
		return v, fmt.Errorf("reply with bad length: %q", line)
	case v.Kind == '$' || v.Kind == '=':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return v, fmt.Errorf("in a string of %d bytes: %w", n, err)
		}
		if string(b[n:]) != "\r\n" {
			return v, fmt.Errorf("string of %d bytes ends in %q, not \\r\\n", n, b[n:])
		}
		v.Text = string(b[:n])
		return v, nil
	case v.Kind == '%' || v.Kind == '|':
		n *= 2
	}
	for range n {
		item, err := ReadReply(r)
		if err != nil {
			return v, fmt.Errorf("in an aggregate of %d: %w", n, err)
		}
		v.Items = append(v.Items, item)
	}
	return v, nil
}

// Equal reports whether two values came as the same bytes.
func (v Reply) Equal(o Reply) bool {
	return v.Kind == o.Kind && v.Text == o.Text && slices.EqualFunc(v.Items, o.Items, Reply.Equal)
}

// Command encodes a command as clients send it.
func Command(args ...string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b
}

// String renders a value on one line, a long run of one byte as "x"*100.
func (v Reply) String() string {
	switch v.Kind {
	case NilBulk:
		return "(nil)"
	case NilArray:
		return "(nil array)"
	case '_':
		return "(null)"
	case '$':
		if len(v.Text) > 32 && strings.Count(v.Text, v.Text[:1]) == len(v.Text) {
			return strconv.Quote(v.Text[:1]) + "*" + strconv.Itoa(len(v.Text))
		}
		return strconv.Quote(v.Text)
	case '+', '-', ':', ',', '#', '(', '=':
		return string(v.Kind) + v.Text
	}
	return string(v.Kind) + fmt.Sprint(v.Items)
}
