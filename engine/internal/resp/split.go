package resp

import (
	"fmt"
	"strings"
)

// SplitArgs splits a line into words as Redis's sdssplitargs does: words stand
// in double quotes (with the escapes \n \r \t \b \a \xFF \\ and any other
// character for itself), in single quotes (with \' only), or bare. ok is false
// when a quote is not closed or not followed by a space. The words are copies.
func SplitArgs(line []byte) (args [][]byte, ok bool) {
	for i := 0; ; {
		for i < len(line) && isSpace(line[i]) {
			i++
		}
		if i == len(line) {
			return args, true
		}
		word := []byte{}
	scan:
		for i < len(line) {
			switch c := line[i]; {
			case isSpace(c):
				break scan
			case c == '"':
				word, i, ok = doubleQuoted(line, i+1, word)
			case c == '\'':
				word, i, ok = singleQuoted(line, i+1, word)
			default:
				word = append(word, c)
				i++
				continue
			}
			if !ok || i < len(line) && !isSpace(line[i]) {
				return nil, false
			}
		}
		args = append(args, word)
	}
}

// doubleQuoted reads from behind an opening quote and returns the place behind
// the closing one.
func doubleQuoted(line []byte, i int, word []byte) ([]byte, int, bool) {
	for ; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			return word, i + 1, true
		case c == '\\' && i+3 < len(line) && line[i+1] == 'x' && isHex(line[i+2]) && isHex(line[i+3]):
			word = append(word, hex(line[i+2])<<4|hex(line[i+3]))
			i += 3
		case c == '\\' && i+1 < len(line):
			i++
			word = append(word, unescaped(line[i]))
		default:
			word = append(word, c)
		}
	}
	return nil, i, false
}

func singleQuoted(line []byte, i int, word []byte) ([]byte, int, bool) {
	for ; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\'':
			return word, i + 1, true
		case c == '\\' && i+1 < len(line) && line[i+1] == '\'':
			i++
			word = append(word, '\'')
		default:
			word = append(word, c)
		}
	}
	return nil, i, false
}

func unescaped(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func hex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// Quote quotes a word so that SplitArgs gives it back, as Redis's sdscatrepr does.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '\\', '"':
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
