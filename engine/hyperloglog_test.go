package engine

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// hllCommand makes commands on HyperLogLogs, some of which a client has spoilt.
func (m commandMaker) hllCommand() []string {
	k := func() string { return pick(m, "a", "b", "c", "d", "e") }
	switch m.IntN(24) {
	case 0, 1, 2, 3, 4, 5, 6:
		args := []string{"PFADD", k()}
		for range m.IntN(pick(m, 2, 5, 5, 60)) {
			args = append(args, pick(m, m.value(), strconv.Itoa(m.IntN(2000))))
		}
		return args
	case 7, 8, 9:
		return []string{"PFCOUNT", k()}
	case 10, 11:
		args := []string{"PFCOUNT"}
		for range m.IntN(4) {
			args = append(args, k())
		}
		return args
	case 12, 13:
		args := []string{"PFMERGE", k()}
		for range m.IntN(4) {
			args = append(args, k())
		}
		return args
	case 14:
		return []string{"CONFIG", "SET", "hll-sparse-max-bytes", pick(m, "0", "18", "30", "100", "3000", "3000", "20000")}
	case 15:
		return []string{"DEL", k()}
	case 16:
		return []string{"OBJECT", "ENCODING", k()}
	case 17:
		// Opcodes at random; mostly they make the wrong number of registers.
		var b strings.Builder
		b.WriteString(pick(m, "HYLL\x01", "HYLL\x01", "HYLL\x01", "HYLL\x00", "HYLL\x02", "HYLX\x01"))
		b.WriteString(strings.Repeat("\x00", 10) + pick(m, "\x00", "\x80"))
		left := 16384
		for left > 0 && m.IntN(20) > 0 {
			switch m.IntN(3) {
			case 0:
				n := 1 + m.IntN(64)
				b.WriteByte(byte(n - 1))
				left -= n
			case 1:
				n := 1 + m.IntN(min(left, 16384))
				b.WriteByte(0x40 | byte((n-1)>>8))
				b.WriteByte(byte(n - 1))
				left -= n
			case 2:
				n := m.IntN(4)
				b.WriteByte(0x80 | byte(m.IntN(32))<<2 | byte(n))
				left -= n + 1
			}
		}
		if left > 0 && m.IntN(2) == 0 {
			b.WriteByte(0x40 | byte((left-1)>>8))
			b.WriteByte(byte(left - 1))
		}
		return []string{"SET", k(), b.String()}
	case 18:
		if m.IntN(4) == 0 {
			return []string{"SET", k(), "HYLL\x00" + strings.Repeat("\x00", 11) + strings.Repeat(pick(m, "\x00", "\x41\x10\x04", "\xff", "\x55"), 12288)[:12288]}
		}
		return []string{"SET", k(), pick(m, "", "x", "12", "HYLL", "HYLL\x00"+strings.Repeat("\x00", 100))}
	case 19:
		// In the header only: an opcode that is cut off makes redis-server read
		// beyond the string.
		return []string{"SETRANGE", k(), strconv.Itoa(m.IntN(16)), string([]byte{byte(m.Uint32())})}
	}
	return []string{"GET", k()}
}

func TestHLLDifferential(t *testing.T) {
	differential(t, differentialTime()/2, commandMaker.hllCommand)
}

// TestHLLAgainstOracle adds the same elements to both, and compares the bytes and
// the estimates on the way from sparse to dense and far beyond.
func TestHLLAgainstOracle(t *testing.T) {
	theirs, ours := dial(t, startOracle(t)), dial(t, startOurs(t))
	n := 0
	for step := range 120 {
		size := 1 + step*step/8
		args := []string{"PFADD", "h"}
		for range size {
			args = append(args, fmt.Sprint("element:", n))
			n++
		}
		for _, command := range [][]string{args, {"GET", "h"}, {"PFCOUNT", "h"}, {"GET", "h"}, {"PFADD", fmt.Sprint("h", step%5), args[2], args[len(args)-1]}, {"PFMERGE", "m", "h0", "h1", "h2", "h3", "h4"}, {"GET", "m"}, {"PFCOUNT", "h", "m"}} {
			want, got := theirs.do(t, command...), ours.do(t, command...)
			if !got.Equal(want) {
				t.Fatalf("after %d elements, %.50q: got %.200s, want %.200s", n, command, got, want)
			}
		}
	}
}

// TestHLLSelfTest is not a script: redis-server's takes many seconds.
func TestHLLSelfTest(t *testing.T) {
	if reply := newDirectServer(t).do("PFSELFTEST"); reply != "+OK\r\n" {
		t.Errorf("got %q", reply)
	}
}
