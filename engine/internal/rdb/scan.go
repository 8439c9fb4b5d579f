package rdb

import (
	"bytes"
	"math"
	"strconv"
)

// scanDouble reads the number that text begins with, as C's sscanf with %lg does:
// after spaces, decimal or hexadecimal, an infinity or NaN, and up to a NUL.
func scanDouble(text []byte) (float64, bool) {
	if i := bytes.IndexByte(text, 0); i >= 0 {
		text = text[:i]
	}
	s := scanner(bytes.TrimLeft(text, " \t\n\v\f\r"))
	sign := 1.0
	if s.accept("-") {
		sign = -1
	} else {
		s.accept("+")
	}
	switch {
	case s.accept("nN"):
		return math.NaN(), s.accept("aA") && s.accept("nN")
	case s.accept("iI"):
		// sscanf cannot take back what it has read of a longer word.
		ok := s.accept("nN") && s.accept("fF") && (!s.accept("iI") || s.accept("nN") && s.accept("iI") && s.accept("tT") && s.accept("yY"))
		return math.Inf(int(sign)), ok
	}
	number := s
	digits, mark, exponent := "0123456789", "eE", ""
	if len(s) >= 2 && s[0] == '0' && s[1]|0x20 == 'x' {
		digits, mark, exponent = "0123456789abcdefABCDEF", "pP", "p0"
		s = s[2:]
	}
	n := s.skip(digits)
	point := s.accept(".")
	if point {
		n += s.skip(digits)
	}
	if n == 0 {
		return sign * 0, point && exponent != "" // "0x." is 0, but "0x" and "." are nothing
	}
	end := s
	if s.accept(mark) {
		if !s.accept("-") {
			s.accept("+")
		}
		if s.skip("0123456789") > 0 {
			end, exponent = s, ""
		}
	}
	number = number[:len(number)-len(end)]
	// What is too large is infinite, in Go as in C.
	f, _ := strconv.ParseFloat(string(number)+exponent, 64)
	return sign * f, true
}

// scanner is the text that has not been read.
type scanner []byte

// accept passes over the next character if it is one of set.
func (s *scanner) accept(set string) bool { return s.skipAtMost(1, set) == 1 }

// skip passes over the characters of set, and returns how many there were.
func (s *scanner) skip(set string) int { return s.skipAtMost(len(*s), set) }

func (s *scanner) skipAtMost(most int, set string) int {
	n := 0
	for n < most && n < len(*s) && bytes.IndexByte([]byte(set), (*s)[n]) >= 0 {
		n++
	}
	*s = (*s)[n:]
	return n
}
