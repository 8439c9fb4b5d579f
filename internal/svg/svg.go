// Package svg is what the project's drawings have in common: text that can stand
// in an SVG wherever it comes from, and numbers that can be read.
package svg

import (
	"encoding/xml"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes a name fit to be shown, and to stand in XML once it is escaped:
// what is not UTF-8, what XML 1.0 forbids, control characters and those that turn
// the direction of writing become U+FFFD, and a name longer than limit characters
// ends in "…".
func Clean(name string, limit int) string {
	runes := 0
	plain := true
	for _, r := range name {
		runes++
		if r == utf8.RuneError || unprintable(r) {
			plain = false
		}
	}
	if plain && runes <= limit {
		return name
	}
	var b strings.Builder
	runes = 0
	for _, r := range name {
		if runes++; runes > limit {
			b.WriteRune('…')
			break
		}
		if unprintable(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) ||
		r == '\u2028' || r == '\u2029' || r == 0xFFFE || r == 0xFFFF
}

// Escape makes text of what may look like markup.
func Escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s))
	return b.String()
}

// Thousands formats a count with a comma between each three digits.
func Thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
