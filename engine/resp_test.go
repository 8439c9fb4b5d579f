package engine

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// This file reads replies off a connection and renders them, losing nothing, so
// that tests can compare and scripts can spell out what a server sent.

// reply is one RESP value. kind is the first byte on the wire, except that
// null strings and arrays have kinds of their own.
type reply struct {
	kind  byte
	text  string  // of everything that is not an aggregate
	items []reply // of an aggregate; of a map and an attribute, keys and values in turn
}

const (
	nilBulk  = 'n' // $-1
	nilArray = 'N' // *-1
)

// readReply reads one value, attributes before it included as its first items.
func readReply(r *bufio.Reader) (reply, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		if line != "" {
			err = fmt.Errorf("half a reply, %q, and then: %w", line, err)
		}
		return reply{}, err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || line == "" {
		return reply{}, fmt.Errorf("reply line %q does not end in \\r\\n", line)
	}
	v := reply{kind: line[0], text: line[1:]}
	switch v.kind {
	case '+', '-', ':', ',', '#', '(', '_':
		return v, nil
	case '$', '=', '*', '~', '%', '>', '|':
	default:
		return v, fmt.Errorf("reply of unknown type: %q", line)
	}
	n, err := strconv.Atoi(v.text)
	if err != nil || n < -1 {
		return v, fmt.Errorf("reply with bad length: %q", line)
	}
	v.text = ""
	switch {
	case n == -1 && v.kind == '$':
		return reply{kind: nilBulk}, nil
	case n == -1 && v.kind == '*':
		return reply{kind: nilArray}, nil
	case n == -1:
		return v, fmt.Errorf("reply with bad length: %q", line)
	case v.kind == '$' || v.kind == '=':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return v, fmt.Errorf("in a string of %d bytes: %w", n, err)
		}
		if string(b[n:]) != "\r\n" {
			return v, fmt.Errorf("string of %d bytes ends in %q, not \\r\\n", n, b[n:])
		}
		v.text = string(b[:n])
		return v, nil
	case v.kind == '%' || v.kind == '|':
		n *= 2
	}
	for range n {
		item, err := readReply(r)
		if err != nil {
			return v, fmt.Errorf("in an aggregate of %d: %w", n, err)
		}
		v.items = append(v.items, item)
	}
	return v, nil
}

// lines renders a value, one line for each scalar and each aggregate's head,
// items indented by two spaces more than their aggregate:
//
//	+OK  -ERR text  :1  ,1.5  #t  (123     as on the wire
//	"a\r\n\x00"                            a string, quoted as redis-cli does
//	"x"*100                                a string of one byte repeated
//	=txt:"…"                               a verbatim string
//	(nil)  (nil array)  (null)             $-1  *-1  _
//	*2  ~2  %1  >2  |1                     array, set, map, push, attribute
func (v reply) lines(indent string) []string {
	head := indent
	switch v.kind {
	case '+', '-', ':', ',', '#', '(':
		head += string(v.kind) + escapeText(v.text)
	case '_':
		head += "(null)"
	case nilBulk:
		head += "(nil)"
	case nilArray:
		head += "(nil array)"
	case '$':
		head += quoteArg(v.text)
	case '=':
		head += "=" + v.text[:min(4, len(v.text))] + quoteArg(v.text[min(4, len(v.text)):])
	case '%', '|':
		head += string(v.kind) + strconv.Itoa(len(v.items)/2)
	default:
		head += string(v.kind) + strconv.Itoa(len(v.items))
	}
	out := []string{head}
	for _, item := range v.items {
		out = append(out, item.lines(indent+"  ")...)
	}
	return out
}

func (v reply) String() string { return strings.Join(v.lines(""), "\n") }

// escapeText renders the text of a status or an error: as it is, or quoted if it
// has bytes that would not survive in a text file.
func escapeText(s string) string {
	if strings.HasPrefix(s, `"`) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return quoteArg(s)
	}
	return s
}

// quoteArg quotes a string as redis-cli does, and a long run of one byte as
// "x"*100.
func quoteArg(s string) string {
	if len(s) > 32 && strings.Count(s, s[:1]) == len(s) {
		return quoteArg(s[:1]) + "*" + strconv.Itoa(len(s))
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\a':
			b.WriteString(`\a`)
		case '\b':
			b.WriteString(`\b`)
		default:
			if c >= ' ' && c <= '~' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		}
	}
	b.WriteByte('"')
	return b.String()
}
