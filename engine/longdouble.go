package engine

import (
	"bytes"
	"math"
	"math/big"
	"strings"
)

// longDouble is C's long double on x86-64, which INCRBYFLOAT computes with: 64
// bits of mantissa, rounded to nearest, ties to even. big.Float rounds its sums
// and quotients so; that its exponent has no end is taken care of here. float64
// would not do: 0.1+0.2 must make 0.3.
//
// Numbers too small for a full mantissa (below 2^-16382) keep it nevertheless:
// with 17 digits after the point nobody can see the difference.
type longDouble struct {
	f big.Float // prec 64, also for the zero value
}

const (
	longDoublePrec = 64
	longDoubleMax  = 16384  // exponent of the largest finite number, as big.Float.MantExp counts
	longDoubleTiny = -16445 // what is at most half of 2^longDoubleTiny rounds to 0
	// maxLongDoubleChars is MAX_LONG_DOUBLE_CHARS: a longer text is no number.
	maxLongDoubleChars = 5 * 1024
)

// parse reads a number as C's strtold does, except that all of the text has to be
// one, that NaN is none, and that one too large or too small is none. It returns
// false for what is no number.
func (x *longDouble) parse(text []byte) bool {
	x.f.SetPrec(longDoublePrec)
	if len(text) == 0 || len(text) >= maxLongDoubleChars {
		return false
	}
	negative := text[0] == '-'
	if negative || text[0] == '+' {
		text = text[1:]
	}
	if equalFoldASCII(text, "inf") || equalFoldASCII(text, "infinity") {
		x.f.SetInf(negative)
		return true
	}
	base, digitBits, mark := 10, 0, byte('e')
	if len(text) > 2 && text[0] == '0' && text[1]|0x20 == 'x' {
		base, digitBits, mark = 16, 4, 'p'
		text = text[2:]
	}
	digits, point, rest := splitDigits(text, base)
	if len(digits) == 0 {
		return false
	}
	exponent, ok := 0, true
	if len(rest) > 0 {
		if rest[0]|0x20 != mark {
			return false
		}
		if exponent, ok = parseExponent(rest[1:]); !ok {
			return false
		}
	}
	significant := strings.TrimLeft(digits, "0")
	if significant == "" {
		x.f.SetInt64(0)
		if negative {
			x.f.Neg(&x.f)
		}
		return true
	}
	// The number is digits * base^-point, times 10 or 2 to the exponent. What the
	// size of the exponent alone decides is not computed: it could be billions.
	if base == 16 {
		exponent -= digitBits * point
		if size := exponent + digitBits*len(significant); size > longDoubleMax+digitBits || size < longDoubleTiny-digitBits {
			return false
		}
	} else {
		exponent -= point
		if size := exponent + len(significant); size > 4940 || size < -4960 {
			return false
		}
	}
	var n, d big.Int
	n.SetString(significant, base)
	d.SetInt64(1)
	scale := &n
	if exponent < 0 {
		scale, exponent = &d, -exponent
	}
	if base == 16 {
		scale.Lsh(scale, uint(exponent))
	} else {
		var power big.Int
		scale.Mul(scale, power.Exp(big.NewInt(10), big.NewInt(int64(exponent)), nil))
	}
	// Both are exact, so that the quotient is rounded once.
	var numerator, denominator big.Float
	x.f.Quo(numerator.SetInt(&n), denominator.SetInt(&d))
	if negative {
		x.f.Neg(&x.f)
	}
	return x.f.MantExp(nil) <= longDoubleMax && !x.isTiny(&n, &d)
}

// isTiny reports whether n/d, which x is, rounds to 0.
func (x *longDouble) isTiny(n, d *big.Int) bool {
	if x.f.MantExp(nil) > longDoubleTiny {
		return false
	}
	var scaled big.Int
	return scaled.Lsh(n, 1-longDoubleTiny).Cmp(d) <= 0
}

// splitDigits takes from text the digits of a number with at most one point in or
// around them, and returns them without it, how many come after it, and the rest.
func splitDigits(text []byte, base int) (digits string, point int, rest []byte) {
	i, at := 0, -1
	for ; i < len(text); i++ {
		c := text[i]
		switch {
		case c >= '0' && c <= '9':
		case base == 16 && (c|0x20) >= 'a' && (c|0x20) <= 'f':
		case c == '.' && at < 0:
			at = i
		default:
			goto end
		}
	}
end:
	if at < 0 {
		return string(text[:i]), 0, text[i:]
	}
	return string(text[:at]) + string(text[at+1:i]), i - at - 1, text[i:]
}

// parseExponent reads a decimal exponent, and lets one that is out of all bounds
// stay there.
func parseExponent(text []byte) (int, bool) {
	negative := len(text) > 0 && text[0] == '-'
	if negative || len(text) > 0 && text[0] == '+' {
		text = text[1:]
	}
	if len(text) == 0 {
		return 0, false
	}
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(n*10+int(c-'0'), math.MaxInt32)
	}
	if negative {
		n = -n
	}
	return n, true
}

// add adds y to x. It returns false when the sum is no finite number.
func (x *longDouble) add(y *longDouble) bool {
	x.f.SetPrec(longDoublePrec)
	if x.f.IsInf() || y.f.IsInf() {
		return false
	}
	x.f.Add(&x.f, &y.f)
	return x.f.MantExp(nil) <= longDoubleMax
}

// ceilMilliseconds takes the number for seconds and returns them in ms, rounded up.
// It returns false when they are more than an int64 holds.
func (x *longDouble) ceilMilliseconds() (int64, bool) {
	var ms big.Float
	ms.SetPrec(longDoublePrec).Mul(&x.f, big.NewFloat(1000))
	if ms.Cmp(new(big.Float).SetInt64(math.MaxInt64)) > 0 {
		return 0, false
	}
	n, accuracy := ms.Int64() // towards zero; out of bounds, the bound
	if accuracy == big.Below {
		n++
	}
	return n, true
}

// appendHuman appends the number to b, which is empty: with up to 17 digits after the point,
// without an exponent, without zeroes at the end (ld2string's LD_STR_HUMAN).
func (x *longDouble) appendHuman(b []byte) []byte {
	return trimHuman(x.f.Append(b, 'f', 17))
}

// trimHuman takes the zeroes at the end off a number with digits after the point, and
// the sign off a zero.
func trimHuman(b []byte) []byte {
	b = bytes.TrimSuffix(bytes.TrimRight(b, "0"), []byte("."))
	if string(b) == "-0" {
		return b[1:]
	}
	return b
}
