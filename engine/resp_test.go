package engine

import (
	"strconv"
	"strings"

	"github.com/redscope/redscope/engine/internal/resp"
	"github.com/redscope/redscope/internal/wire"
)

// This file renders replies, losing nothing, so that scripts can spell out what a server
// sent.

// linesOf renders a value, one line for each scalar and each aggregate's head,
// items indented by two spaces more than their aggregate:
//
//	+OK  -ERR text  :1  ,1.5  #t  (123     as on the wire
//	"a\r\n\x00"                            a string, quoted as redis-cli does
//	"x"*100                                a string of one byte repeated
//	=txt:"…"                               a verbatim string
//	(nil)  (nil array)  (null)             $-1  *-1  _
//	*2  ~2  %1  >2  |1                     array, set, map, push, attribute
func linesOf(v wire.Reply, indent string) []string {
	head := indent
	switch v.Kind {
	case '+', '-', ':', ',', '#', '(':
		head += string(v.Kind) + escapeText(v.Text)
	case '_':
		head += "(null)"
	case wire.NilBulk:
		head += "(nil)"
	case wire.NilArray:
		head += "(nil array)"
	case '$':
		head += quoteArg(v.Text)
	case '=':
		head += "=" + v.Text[:min(4, len(v.Text))] + quoteArg(v.Text[min(4, len(v.Text)):])
	case '%', '|':
		head += string(v.Kind) + strconv.Itoa(len(v.Items)/2)
	default:
		head += string(v.Kind) + strconv.Itoa(len(v.Items))
	}
	out := []string{head}
	for _, item := range v.Items {
		out = append(out, linesOf(item, indent+"  ")...)
	}
	return out
}

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
		return resp.Quote(s[:1]) + "*" + strconv.Itoa(len(s))
	}
	return resp.Quote(s)
}
