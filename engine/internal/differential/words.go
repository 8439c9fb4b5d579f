package differential

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// maker makes random arguments: few different ones, so that commands meet, and among
// them those at which something changes.
type maker struct{ *rand.Rand }

func pick[T any](m *maker, from ...T) T { return from[m.IntN(len(from))] }

// anyCase lets an option come in small letters now and then.
func (m *maker) anyCase(s string) string {
	if m.IntN(16) == 0 {
		return strings.ToLower(s)
	}
	return s
}

// everything is a COUNT that makes a scan end with its first step.
const everything = "1000000"

// words are what descriptions are made of.
var words map[string]func(*maker) string

func init() {
	words = map[string]func(*maker) string{
		"key": (*maker).key,
		"by": func(m *maker) string {
			return pick(m, "s*", "h0->*", "h*->a", "*", "absent*", "nosort", "#", "s*->")
		},
		// Keys that mostly hold one type.
		"s": keyOf('s'), "l": keyOf('l'), "h": keyOf('h'), "t": keyOf('t'), "z": keyOf('z'),
		"b": keyOf('b'), "p": keyOf('p'), "g": keyOf('g'), "x": keyOf('x'),
		// Sorted sets of one score. In others a range by member depends on the random
		// levels of a skip list.
		"y":     func(m *maker) string { return "y" + strconv.Itoa(m.IntN(3)) },
		"zero":  func(m *maker) string { return "0" },
		"short": func(m *maker) string { return pick(m, "lcs1", "lcs2", "lcs3") },
		"text": func(m *maker) string {
			var b strings.Builder
			for range m.IntN(30) {
				b.WriteString(pick(m, "a", "b", "c", "ab", "ohmy", "mynew"))
			}
			return b.String()
		},

		"value": (*maker).value, "member": (*maker).member, "field": (*maker).member,
		"int": (*maker).integer, "float": (*maker).float, "score": (*maker).score, "index": (*maker).index,
		"count": func(m *maker) string { return m.rarely((*maker).integer, strconv.Itoa(m.IntN(8))) },
		// A COUNT that Redis allocates for.
		"few": func(m *maker) string { return pick(m, "1", "2", "5", "10", "0", "-1", "x") },
		"scount": func(m *maker) string { // a negative one may ask for as many random elements
			return m.rarely(func(m *maker) string {
				return pick(m, "9223372036854775807", "-9223372036854775808", "9223372036854775808", "x", "", "1.0")
			}, strconv.Itoa(m.IntN(16)-8))
		},
		"rank": func(m *maker) string {
			return pick(m, "0", "1", "2", "-1", "-2", "3", "-3", "x", "-9223372036854775808", "9223372036854775807")
		},
		"seconds":  func(m *maker) string { return m.expire(false, 1) },
		"millis":   func(m *maker) string { return m.expire(false, 1000) },
		"secondat": func(m *maker) string { return m.expire(true, 1) },
		"millisat": func(m *maker) string { return m.expire(true, 1000) },
		"db":       func(m *maker) string { return pick(m, "0", "1", "2", "0", "1", "2", "x", "16", "-1", "2147483648") },
		"pattern": func(m *maker) string {
			return pick(m, "*", "a*", "?", "*k", "**", "[a-c]", "[^a-c]", "*\x00*", "\\*", "", "s*", "*[0-9]", "z?")
		},
		"type": func(m *maker) string {
			return pick(m, "string", "list", "set", "zset", "hash", "stream", "STRING", "x", "")
		},
		"offset": (*maker).offset,
		"bit":    func(m *maker) string { return pick(m, "0", "1", "0", "1", "2", "-1", "x") },
		"bittype": func(m *maker) string {
			return pick(m, "u", "i", "u", "i", "U", "x") + pick(m, "1", "2", "5", "8", "13", "16", "31", "32", "33", "63", "64", "65", "0", "-1")
		},
		"bitindex": func(m *maker) string {
			return pick(m, "", "#") + pick(m, "0", "1", "7", "8", "9", "100", "1000", "-1", "4294967296", "9223372036854775807", "x")
		},
		"zmin": func(m *maker) string { return m.bound() },
		"zlex": func(m *maker) string {
			return pick(m, "-", "+", "[", "(", "[", "(", "[a", "(a", "[z", "[0", "(9", "x", "") + pick(m, "", "", m.member())
		},
		"weight": func(m *maker) string {
			return pick(m, "1", "2", "-1", "0", "0.5", "inf", "-inf", "nan", "x", "1e300", "3")
		},
		"lon": func(m *maker) string { return m.degrees(180) },
		"lat": func(m *maker) string { return m.degrees(85.05112878) },
		"dist": func(m *maker) string {
			return pick(m, "0", "1", "100", "1000.5", "200000", "30000000", "-1", "x", "1e3", "inf")
		},
		"unit": func(m *maker) string { return pick(m, "m", "km", "ft", "mi", "KM", "x") },
		"place": func(m *maker) string {
			return pick(m, "Palermo", "Catania", "edge1", "edge2", "Agrigento", "a", "b", "c", "d", "e", "f")
		},
		"id": (*maker).streamID, "addid": (*maker).addID, "rangeid": func(m *maker) string {
			return pick(m, "-", "+", "(", "") + pick(m, "", "", m.streamID())
		},
		"group": func(m *maker) string { return pick(m, "g1", "g2", "g3", "") }, "consumer": func(m *maker) string { return pick(m, "c1", "c2", "c3", "") },
		"numkeys": func(m *maker) string { return pick(m, "1", "2", "1", "2", "1", "2", "3", "0", "-1", "x") },
		"junk":    func(m *maker) string { return pick(m, "x", "", "0", "NX", "WITHSCORES", "LIMIT", m.key(), m.integer()) },
		"far":     func(m *maker) string { return everything },
	}
}

// rarely makes something with f in one of ten cases.
func (m *maker) rarely(f func(*maker) string, otherwise string) string {
	if m.IntN(10) == 0 {
		return f(m)
	}
	return otherwise
}

func keyOf(letter byte) func(*maker) string {
	return func(m *maker) string {
		if m.IntN(25) == 0 {
			return m.key()
		}
		return string(letter) + strconv.Itoa(m.IntN(4))
	}
}

func (m *maker) key() string {
	switch m.IntN(8) {
	case 0:
		return pick(m, "a", "", "a\x00b", "*", "[x]", strings.Repeat("k", 255), strings.Repeat("k", 256), strings.Repeat("K", 9000), "absent")
	default:
		return pick(m, "s", "l", "h", "t", "z", "b", "p", "g", "x") + strconv.Itoa(m.IntN(4))
	}
}

// integers are those around which an encoding or a range ends.
var integers = func() []string {
	var all []string
	for _, bits := range []int{7, 8, 12, 13, 15, 16, 23, 24, 31, 32, 63} {
		for d := int64(-1); d <= 1; d++ {
			n := int64(uint64(1)<<bits) + d
			all = append(all, strconv.FormatInt(n, 10), strconv.FormatInt(-n, 10))
		}
	}
	all = append(all, "9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", "9999", "10000")
	slices.Sort(all)
	return slices.Compact(all)
}()

func (m *maker) integer() string {
	switch m.IntN(5) {
	case 0:
		return pick(m, "-0", "+1", "01", " 1", "1 ", "", "1.0", "1e3", "0x10", "x", "1\x00")
	case 1:
		return pick(m, integers...)
	case 2:
		return strconv.FormatInt(int64(m.Uint64()), 10)
	}
	return strconv.Itoa(m.IntN(200) - 100)
}

// index is a position in something short.
func (m *maker) index() string { return m.rarely((*maker).integer, strconv.Itoa(m.IntN(20)-10)) }

// offset is a position in a string, which must not make it long.
func (m *maker) offset() string {
	return m.rarely(func(m *maker) string {
		return pick(m, "-1", "4294967296", "4294967297", "9223372036854775807", "x", "")
	}, strconv.Itoa(m.IntN(pick(m, 10, 100, 10000))))
}

// member is an element of an aggregate.
func (m *maker) member() string {
	switch m.IntN(12) {
	case 0:
		return pick(m, integers...)
	case 1:
		return pick(m, "", "-0", "01", "1.5", " 1", "a\x00b", "\xff", "\r\n", "inf", "nan")
	case 2:
		// Where the length of an encoded string needs another byte.
		return strings.Repeat(pick(m, "x", "y"), pick(m, 20, 21, 62, 63, 64, 65, 127, 253, 254, 300))
	case 3:
		return strings.Repeat("z", pick(m, 500, 4095, 4096, 5000, 9000)*m.IntN(2))
	case 4, 5:
		return strconv.Itoa(m.IntN(300) - 20)
	}
	return string(rune('a'+m.IntN(20))) + pick(m, "", "", "", "1")
}

func (m *maker) value() string {
	switch m.IntN(6) {
	case 0:
		return m.integer()
	case 1:
		return m.float()
	case 2:
		return strings.Repeat(pick(m, "x", "yz"), pick(m, 1, 3, 22, 43, 44, 45, 100, 127, 128, 200, 255, 256, 300, 1000, 8000, 8200, 16384))
	case 3:
		return m.member()
	}
	b := make([]byte, m.IntN(60))
	for i := range b {
		b[i] = byte(m.Uint32())
	}
	return string(b)
}

// score is a double as zadd takes it.
func (m *maker) score() string {
	switch m.IntN(12) {
	case 0:
		return m.float()
	case 1:
		return pick(m, "inf", "-inf", "+inf", "nan", "0", "-0", "1e400", "1e308", "-1e308", "5e-324", "x", "", " 1", "1 ", "0x10", "9007199254740993", "3.0", "1e21", "1e17", "123456789012345678")
	case 2:
		return strconv.FormatFloat(m.NormFloat64()*1000, 'g', -1, 64)
	}
	return strconv.Itoa(m.IntN(20)) + pick(m, "", "", ".5")
}

func (m *maker) bound() string {
	return pick(m, "", "", "(") + m.rarely((*maker).score, pick(m, "-inf", "+inf", "inf", strconv.Itoa(m.IntN(20)), strconv.Itoa(m.IntN(10))+".5"))
}

// degrees are not round, so that no two places are one: at the same distance the order
// is that of an unstable sort.
func (m *maker) degrees(most float64) string {
	return m.rarely(func(m *maker) string {
		return pick(m, strconv.FormatFloat(most, 'f', -1, 64), strconv.FormatFloat(-most, 'f', -1, 64), strconv.FormatFloat(most+1, 'f', -1, 64), "x", "nan", "inf")
	}, strconv.FormatFloat((m.Float64()*2-1)*most*pick(m, 1, 0.1, 0.001), 'f', pick(m, 8, 15), 64))
}

func (m *maker) streamID() string {
	ms := pick(m, "0", "1", "2", "3", "4", "5", "10", "100")
	return m.rarely(func(m *maker) string {
		return pick(m, "18446744073709551615-18446744073709551615", "18446744073709551616", "0-0", "-", "x", "1-", "-1", "1-x", "")
	}, pick(m, ms, ms+"-"+strconv.Itoa(m.IntN(5)), ms+"-"+strconv.Itoa(m.IntN(5))))
}

// addID is an ID for XADD. They rise, so that most are accepted.
func (m *maker) addID() string {
	if m.IntN(8) == 0 {
		return m.streamID()
	}
	ms := strconv.Itoa(m.IntN(pick(m, 10, 1000, 1000000)))
	return pick(m, ms+"-*", ms+"-"+strconv.Itoa(m.IntN(5)), ms)
}

// Float makes numbers as strtold reads them, and texts that it does not.
func Float(r *rand.Rand) string { return (&maker{r}).float() }

func (m *maker) float() string {
	digits := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(byte('0' + m.IntN(10)))
		}
		return b.String()
	}
	sign := pick(m, "", "", "", "-", "+")
	switch m.IntN(10) {
	case 0:
		return sign + pick(m, "inf", "Infinity", "nan", "NAN(1)", "0", "0.0", ".", "e5", "1e", "1e+", "0x", "0x.p1", "0x1p", "0x.8", "0xp3", "1.5.5", "1_0", "0b1", "0o7", "infx", " 1", "1 ", "5.", ".5",
			"1e4932", "1.18973149535723176502e4932", "1.18973149535723176509e4932", "1e4933", "3.6e-4951", "1.8e-4951", "1.9e-4951", "1e-4940", "1e-5000", "0e99999999999", "0x0p99999", "1e99999999999999999999", "1e-99999999999999999999",
			"18446744073709551615", "18446744073709551616", "36893488147419103233", "0x1.0000000000000001p63", "0x1.00000000000000018p63", "0x1p-16446", "0x1p-16445", "0x1p16383", "0x1p16384", "0x1.ffffffffffffffffp16383")
	case 1:
		return sign + digits(1+m.IntN(40)) + "." + digits(m.IntN(40))
	case 2:
		return sign + digits(1+m.IntN(25)) + pick(m, "e", "E") + strconv.Itoa(m.IntN(60)-30)
	case 3:
		return sign + digits(1) + "." + digits(m.IntN(30)) + "e" + strconv.Itoa(m.IntN(10000)-5000)
	case 4:
		return sign + pick(m, "0x", "0X") + strconv.FormatUint(m.Uint64(), 16) + "." + strconv.FormatUint(m.Uint64(), 16) + "p" + strconv.Itoa(m.IntN(200)-100)
	case 5:
		return sign + "0x" + strconv.FormatUint(m.Uint64(), 16)
	case 6:
		return strconv.FormatFloat(math.Float64frombits(m.Uint64()&^(1<<62)), 'g', -1, 64)
	case 7:
		return sign + strconv.FormatUint(m.Uint64(), 10) + pick(m, ".5", ".25", ".49999999999999999", ".50000000000000001", "")
	case 8:
		return sign + "0." + strings.Repeat("0", m.IntN(20)) + digits(1+m.IntN(20))
	}
	return sign + strconv.Itoa(m.IntN(100)) + "." + digits(1+m.IntN(3))
}

// expire makes a time in units of 1/unit s that does not come while the test runs, or
// has come, or is none. Times from now on differ by so much that what the servers'
// clocks differ by decides nothing.
func (m *maker) expire(absolute bool, unit int64) string {
	if m.IntN(6) == 0 {
		// The end of all times only as a point in time: counted from now on it comes
		// later each ms.
		if absolute && m.IntN(4) == 0 {
			return "9223372036854775"
		}
		return pick(m, "0", "-1", "-100", "x", "", "1.5", "+1", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
			"-9223372036854775", "-9223372036854776")
	}
	n := 1e5 + m.Int64N(1e9)
	if absolute {
		n += 1e11
	}
	return strconv.FormatInt(n*unit, 10)
}
