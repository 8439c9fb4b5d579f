package resp

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/redcon"
)

// read feeds stream to a Reader in pieces of the given size and returns the
// commands and the error that ended it. In pieces of odd sizes, there is room for
// the arguments, which is the shorter way.
func read(stream []byte, piece int, o *Options) (commands [][][]byte, rest int, err error) {
	var r Reader
	var buf []byte
	room := make([][]byte, 0, piece%2*128)
	for at := 0; at < len(stream); {
		n := min(piece, len(stream)-at)
		// A new array each time: what the Reader remembers must not be addresses.
		buf = append(append(make([]byte, 0, len(buf)+n), buf...), stream[at:at+n]...)
		at += n
		for {
			args, used, err := r.Next(buf, room, o)
			if err != nil {
				return commands, len(buf), err
			}
			if used == 0 {
				if r.Missing(buf) < 0 {
					panic("negative count of missing bytes")
				}
				break
			}
			if len(args) > 0 {
				kept := make([][]byte, len(args))
				for i, a := range args {
					kept[i] = bytes.Clone(a)
				}
				commands = append(commands, kept)
			}
			buf = buf[used:]
		}
	}
	return commands, len(buf), nil
}

var defaults = &Options{MaxBulk: 512 << 20}

func TestCommands(t *testing.T) {
	stream := "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$12\r\nhello\r\nworld\r\n" + // a bulk may hold anything
		"PING\r\n\r\nset a \"b\\x41\\n\"  'c\\'d'\n" +
		"*0\r\n*-1\r\n*1\r\n$4\r\nQUIT\r\n"
	want := [][]string{{"SET", "", "hello\r\nworld"}, {"PING"}, {"set", "a", "bA\n", "c'd"}, {"QUIT"}}
	for piece := 1; piece <= len(stream); piece++ {
		got, rest, err := read([]byte(stream), piece, defaults)
		if err != nil || rest != 0 || len(got) != len(want) {
			t.Fatalf("in pieces of %d: %q, %d bytes left, %v", piece, got, rest, err)
		}
		for i := range want {
			for j := range want[i] {
				if string(got[i][j]) != want[i][j] {
					t.Fatalf("in pieces of %d: command %d is %q, want %q", piece, i, got[i], want[i])
				}
			}
		}
	}
}

// The texts and limits are those of networking.c in Redis 7.0.
func TestProtocolErrors(t *testing.T) {
	unauthenticated := &Options{MaxBulk: 512 << 20, Unauthenticated: true}
	for _, c := range []struct {
		stream string
		o      *Options
		want   string
	}{
		{"*x\r\n", defaults, "invalid multibulk length"},
		{"*\r\n", defaults, "invalid multibulk length"},
		{"*+1\r\n", defaults, "invalid multibulk length"},
		{"*01\r\n", defaults, "invalid multibulk length"},
		{"*2147483648\r\n", defaults, "invalid multibulk length"},
		{"*99999999999999999999999\r\n", defaults, "invalid multibulk length"},
		{"*11\r\n", unauthenticated, "unauthenticated multibulk length"},
		{"*1\r\n$16385\r\n", unauthenticated, "unauthenticated bulk length"},
		{"*1\r\n$-1\r\n", defaults, "invalid bulk length"},
		{"*1\r\n$-2\r\n", defaults, "invalid bulk length"},
		{"*1\r\n$536870913\r\n", defaults, "invalid bulk length"},
		{"*1\r\nX1\r\na\r\n", defaults, "expected '$', got 'X'"},
		{"*" + strings.Repeat("1", MaxInline), defaults, "too big mbulk count string"},
		{"*1\r\n$" + strings.Repeat("1", MaxInline), defaults, "too big bulk count string"},
		{strings.Repeat("x", MaxInline+1), defaults, "too big inline request"},
		{"set a \"b\r\n", defaults, "unbalanced quotes in request"},
		{"set a \"b\"c\r\n", defaults, "unbalanced quotes in request"},
	} {
		for _, piece := range []int{1, 7, len(c.stream), len(c.stream) + 1} {
			_, _, err := read([]byte(c.stream), piece, c.o)
			if err == nil || err.Error() != "Protocol error: "+c.want {
				t.Errorf("%.40q in pieces of %d: %v, want %q", c.stream, piece, err, c.want)
			}
		}
	}
}

func TestParseInt(t *testing.T) {
	for _, s := range []string{"0", "1", "-1", "9223372036854775807", "-9223372036854775808", "42"} {
		want, _ := strconv.ParseInt(s, 10, 64)
		if got, ok := ParseInt([]byte(s)); !ok || got != want {
			t.Errorf("%s: %d %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "-", "+1", "01", "-0", " 1", "1 ", "1a", "9223372036854775808", "-9223372036854775809", "18446744073709551616"} {
		if got, ok := ParseInt([]byte(s)); ok {
			t.Errorf("%q was read as %d", s, got)
		}
	}
}

// However the bytes are cut, the same commands come out; and what redcon's
// codec writes is read back as it was.
func FuzzReader(f *testing.F) {
	f.Add([]byte("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n\r\n\r\n"), uint16(3), []byte("v"))
	f.Add([]byte("*2\r\n$:\r\n"+strings.Repeat("x", 10)+"\r\n$011\r\nxxxxxxxxxxx\r\n*:\r\n$100\r\n"+strings.Repeat("x", 100)+"\r\n"), uint16(1), []byte(""))
	f.Add([]byte("SET a \"b\\x00\"\r\n*1\r\n$-2\r\n"), uint16(1), []byte(""))
	f.Add([]byte("*2\r\n$1\r\na\x00\r\n"), uint16(2), []byte("\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16, arg []byte) {
		whole, rest, err := read(stream, len(stream)|1, defaults)
		cut, cutRest, cutErr := read(stream, int(piece%64)+1, defaults)
		// An error ends the stream wherever it is found, so that only what came
		// before it is compared.
		if (err == nil) != (cutErr == nil) || err != nil && err.Error() != cutErr.Error() || err == nil && rest != cutRest {
			t.Fatalf("whole: %v and %d left; cut: %v and %d left", err, rest, cutErr, cutRest)
		}
		if len(whole) != len(cut) {
			t.Fatalf("whole %q, cut %q", whole, cut)
		}
		for i := range whole {
			if !bytes.Equal(bytes.Join(whole[i], []byte{0}), bytes.Join(cut[i], []byte{0})) {
				t.Fatalf("whole %q, cut %q", whole, cut)
			}
		}

		written := redcon.AppendArray(nil, 2)
		written = redcon.AppendBulk(written, arg)
		written = redcon.AppendBulk(written, stream)
		back, rest, err := read(written, int(piece)+1, defaults)
		if err != nil || rest != 0 || len(back) != 1 || !bytes.Equal(back[0][0], arg) || !bytes.Equal(back[0][1], stream) {
			t.Fatalf("wrote %q, read %q: %v", written, back, err)
		}
	})
}

var benchmarkSet = []byte("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$3\r\nxxx\r\n")

func BenchmarkReader(b *testing.B) {
	var r Reader
	args := make([][]byte, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		r.Next(benchmarkSet, args[:0], defaults)
	}
}

func BenchmarkRedcon(b *testing.B) {
	args := make([][]byte, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		redcon.ReadNextCommand(benchmarkSet, args[:0])
	}
}
