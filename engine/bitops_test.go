package engine

import (
	"strconv"
	"strings"
	"testing"
)

// bitCommand makes commands on the bits of strings, and of what is none.
func (m commandMaker) bitCommand() []string {
	k := func() string { return pick(m, "a", "b", "c", "d", "n", "long") }
	offset := func() string {
		switch m.IntN(12) {
		case 0:
			return pick(m, "-1", "x", "", "4294967296", "4294967295000", "#1", "#x", "1.0", "9223372036854775807", "#9223372036854775807", "#4294967295", "#-1", "#", "##1")
		case 1:
			return strconv.Itoa(m.IntN(200000))
		}
		return strconv.Itoa(m.IntN(200))
	}
	fieldOffset := func() string {
		if m.IntN(3) == 0 {
			return "#" + strconv.Itoa(m.IntN(20))
		}
		return offset()
	}
	width := func() string {
		if m.IntN(20) == 0 {
			return pick(m, "", "i", "u", "u64", "i65", "x8", "i0", "U8", "u8x", "u8\x00x", "i-1", "u+8", "i08")
		}
		if m.IntN(2) == 0 {
			return pick(m, "u", "i") + strconv.Itoa(1+m.IntN(63))
		}
		return pick(m, "u8", "i8", "i64", "u63", "u1", "i1", "i63", "u32")
	}
	field := func() (args []string) {
		for range m.IntN(5) {
			switch m.IntN(5) {
			case 0:
				args = append(args, m.anyCase("GET"), width(), fieldOffset())
			case 1:
				args = append(args, m.anyCase("SET"), width(), fieldOffset(), m.integer())
			case 2, 3:
				args = append(args, m.anyCase("INCRBY"), width(), fieldOffset(), m.integer())
			case 4:
				args = append(args, m.anyCase("OVERFLOW"), m.anyCase(pick(m, "WRAP", "SAT", "FAIL", "SAT", "FAIL", "WRAP", "x")))
			}
		}
		if m.IntN(30) == 0 {
			args = append(args, pick(m, "GET", "SET", "OVERFLOW", "x", "GET\x00"))
		}
		return args
	}
	switch m.IntN(22) {
	case 0, 1:
		v := m.value()
		if m.IntN(3) == 0 {
			v = strings.Repeat(pick(m, "\x00", "\xff", "\x01\x80"), m.IntN(200))
		}
		return []string{"SET", k(), v}
	case 2:
		return []string{"SET", "n", strconv.Itoa(m.IntN(1e6))}
	case 3:
		return []string{"SETRANGE", "long", strconv.Itoa(m.IntN(40000)), m.value()}
	case 4, 5, 6:
		return []string{"SETBIT", k(), offset(), pick(m, "0", "1", "0", "1", "0", "1", "2", "-1", "x", "")}
	case 7, 8:
		return []string{"GETBIT", k(), offset()}
	case 9, 10, 11:
		args := []string{"BITCOUNT", k()}
		if m.IntN(4) > 0 {
			args = append(args, m.integer(), m.integer())
		}
		if m.IntN(2) == 0 {
			args = append(args, m.anyCase(pick(m, "BIT", "BYTE", "BIT", "BYTE", "x", "BIT\x00")))
		}
		return args
	case 12, 13, 14:
		args := []string{"BITPOS", k(), pick(m, "0", "1", "0", "1", "0", "1", "2", "x")}
		for range m.IntN(3) {
			args = append(args, m.integer())
		}
		if m.IntN(2) == 0 {
			args = append(args, m.anyCase(pick(m, "BIT", "BYTE", "BIT", "BYTE", "x")))
		}
		return args
	case 15, 16, 17:
		args := []string{"BITOP", m.anyCase(pick(m, "AND", "OR", "XOR", "NOT", "AND", "OR", "XOR", "x")), k()}
		n := 1 + m.IntN(4)
		if args[1] == "NOT" {
			n = 1
		}
		for range n {
			args = append(args, k())
		}
		return args
	case 18, 19:
		return append([]string{"BITFIELD", k()}, field()...)
	case 20:
		args := append([]string{pick(m, "BITFIELD_RO", "BITFIELD"), k()}, "GET", width(), fieldOffset())
		if m.IntN(4) == 0 {
			args = append(args, field()...)
		}
		return args
	}
	switch key := k(); m.IntN(6) {
	case 0:
		return []string{"DEL", key}
	case 1:
		return []string{"OBJECT", "ENCODING", key}
	case 2:
		return []string{"EXPIRE", key, "100000"}
	case 3:
		return []string{"TTL", key}
	default:
		return []string{"GET", key}
	}
}

func TestBitsDifferential(t *testing.T) {
	differential(t, differentialTime()/2, commandMaker.bitCommand)
}

// bitfieldCommand makes what the others seldom hit upon: fields and numbers about
// every power of two, each read back at once.
func (m commandMaker) bitfieldCommand() []string {
	args := []string{"BITFIELD", "k"}
	for range 1 + m.IntN(3) {
		width := 1 + m.IntN(63)
		field, offset := pick(m, "u", "i")+strconv.Itoa(width), strconv.Itoa(m.IntN(70))
		if m.IntN(8) == 0 {
			field = "i64"
		}
		n := int64(pick(m, uint64(1)<<m.IntN(64), uint64(1)<<width, uint64(1)<<(width-1), m.Uint64())) + int64(m.IntN(5)) - 2
		if m.IntN(2) == 0 {
			n = -n
		}
		args = append(args, "OVERFLOW", pick(m, "WRAP", "SAT", "FAIL"), pick(m, "SET", "INCRBY"), field, offset, strconv.FormatInt(n, 10), "GET", field, offset)
		if m.IntN(20) == 0 {
			args = append(args, "GET", "u64", "0")
		}
	}
	return args
}

func TestBitfieldDifferential(t *testing.T) {
	differential(t, differentialTime()/4, commandMaker.bitfieldCommand)
}
