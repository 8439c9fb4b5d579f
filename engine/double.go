package engine

import (
	"math"
	"strconv"
	"unsafe"
)

// strtod reads a number from the beginning of b as C's strtod does in the C locale:
// decimal or hexadecimal, infinity or NaN, behind spaces and a sign. It returns how
// many bytes belong to it, 0 when there is no number, and whether it is too large, or
// too small, for a double.
func strtod(b []byte) (d float64, n int, outOfRange bool) {
	i := 0
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	start, negative := i, false
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		negative = b[i] == '-'
		i++
	}
	if i < len(b) && b[i]|0x20 >= 'a' {
		if d, n = parseInfOrNaN(b[i:]); n == 0 {
			return 0, 0, false
		}
		n += i
	} else if len(b)-i > 2 && b[i] == '0' && b[i+1]|0x20 == 'x' {
		d, n, outOfRange = parseHexDouble(b[i:])
		n += i
	} else {
		return parseDecimal(b, start, i)
	}
	if negative {
		d = -d
	}
	return d, n, outOfRange
}

// strtoull reads an unsigned integer as C does, with a sign, and a negative one counted
// back from 2^64, but allows nothing before and behind it.
func strtoull(text []byte) (n uint64, ok bool) {
	negative := false
	if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
		negative = text[0] == '-'
		text = text[1:]
	}
	for _, b := range text {
		d := uint64(b - '0')
		if d > 9 || n > math.MaxUint64/10 || n*10 > math.MaxUint64-d {
			return 0, false
		}
		n = n*10 + d
	}
	if negative {
		n = -n
	}
	return n, len(text) > 0
}

func isSpace(b byte) bool { return b == ' ' || '\t' <= b && b <= '\r' }

func isDigit(b byte) bool { return b-'0' <= 9 }

// powersOfTen are those that a double holds exactly.
var powersOfTen = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// parseDecimal is strtod for a decimal number, whose sign is at start and whose
// digits begin at i.
func parseDecimal(b []byte, start, i int) (d float64, n int, outOfRange bool) {
	const exactly = 1<<53 - 1
	var mantissa uint64
	digits, exponent := 0, 0
	long := false // more digits than mantissa holds
	for ; i < len(b) && isDigit(b[i]); i++ {
		digits++
		if long = long || mantissa > exactly/10; !long {
			mantissa = mantissa*10 + uint64(b[i]-'0')
		}
	}
	if i < len(b) && b[i] == '.' && (digits > 0 || i+1 < len(b) && isDigit(b[i+1])) {
		for i++; i < len(b) && isDigit(b[i]); i++ {
			digits++
			if long = long || mantissa > exactly/10; !long {
				mantissa = mantissa*10 + uint64(b[i]-'0')
				exponent--
			}
		}
	}
	if digits == 0 {
		return 0, 0, false
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		j := i + 1
		negative := j < len(b) && b[j] == '-'
		if negative || j < len(b) && b[j] == '+' {
			j++
		}
		if j < len(b) && isDigit(b[j]) {
			e := 0
			for ; j < len(b) && isDigit(b[j]); j++ {
				e = min(e*10+int(b[j]-'0'), math.MaxInt32)
			}
			if negative {
				e = -e
			}
			exponent += e
			i = j
		}
	}
	// The quotient or product of two exact numbers is rounded once.
	if !long && mantissa <= exactly && -22 <= exponent && exponent <= 22 {
		d = float64(mantissa)
		if exponent < 0 {
			d /= powersOfTen[-exponent]
		} else {
			d *= powersOfTen[exponent]
		}
		if b[start] == '-' {
			d = -d
		}
		return d, i, false
	}
	d, err := strconv.ParseFloat(unsafe.String(&b[start], i-start), 64)
	return d, i, err != nil || d == 0 && (mantissa != 0 || long)
}

// parseHexDouble is strtod for what begins with 0x.
func parseHexDouble(b []byte) (d float64, n int, outOfRange bool) {
	i, digits, nonzero := 2, 0, false
	point := false
	for ; i < len(b); i++ {
		if c := b[i]; c == '.' && !point {
			point = true
		} else if isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' {
			digits++
			nonzero = nonzero || c != '0'
		} else {
			break
		}
	}
	if digits == 0 {
		return 0, 1, false // the 0 before the x
	}
	text, end := string(b[:i])+"p0", i
	if i < len(b) && b[i]|0x20 == 'p' {
		j := i + 1
		if j < len(b) && (b[j] == '-' || b[j] == '+') {
			j++
		}
		for ; j < len(b) && isDigit(b[j]); j++ {
			end = j + 1
		}
		if end > i {
			text = string(b[:end])
		}
	}
	d, err := strconv.ParseFloat(text, 64)
	return d, end, err != nil || d == 0 && nonzero
}

// parseInfOrNaN is strtod for what begins with a letter.
func parseInfOrNaN(b []byte) (d float64, n int) {
	switch {
	case len(b) >= 8 && equalFoldASCII(b[:8], "infinity"):
		return math.Inf(1), 8
	case len(b) >= 3 && equalFoldASCII(b[:3], "inf"):
		return math.Inf(1), 3
	case len(b) < 3 || !equalFoldASCII(b[:3], "nan"):
		return 0, 0
	}
	if len(b) > 3 && b[3] == '(' {
		for i := 4; i < len(b); i++ {
			c := b[i]
			if c == ')' {
				return math.NaN(), i + 1
			}
			if !isDigit(c) && c != '_' && !('a' <= c|0x20 && c|0x20 <= 'z') {
				break
			}
		}
	}
	return math.NaN(), 3
}

// parseDouble reads an argument as getDoubleFromObject does: one that is a number
// throughout, no NaN, and not out of range.
func parseDouble(b []byte) (float64, bool) {
	if len(b) == 0 || isSpace(b[0]) {
		return 0, false
	}
	d, n, outOfRange := strtod(b)
	if n != len(b) || d != d || outOfRange && (d == 0 || math.IsInf(d, 0)) {
		return 0, false
	}
	return d, true
}

// doubleArgument reads a number argument, or tells the client, with message when
// it is not empty, that it is none.
func doubleArgument(c *client, b []byte, message string) (float64, bool) {
	d, ok := parseDouble(b)
	switch {
	case ok:
	case message != "":
		addReplyError(c, message)
	default:
		addReplyErrorObject(c, shared.notfloaterr)
	}
	return d, ok
}

// doubleInt returns the integer that a double is (double2ll): one that is not too
// near to the ends of the range. A zero loses its sign.
func doubleInt(d float64) (int64, bool) {
	const end = 1 << 62 // LLONG_MAX/2, as a double
	if d < -end || d > end || d != float64(int64(d)) {
		return 0, false
	}
	return int64(d), true
}
