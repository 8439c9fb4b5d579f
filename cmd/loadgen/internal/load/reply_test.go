package load

import (
	"bytes"
	"strings"
	"testing"
)

// Replies as the RESP2 and RESP3 specifications (redis.io/docs/reference/protocol-spec) write them.
var replyExamples = []struct {
	name    string
	text    string
	replies int
	errors  int64
	first   string
}{
	{"simple strings", "+OK\r\n+PONG\r\n", 2, 0, ""},
	{"error", "-ERR unknown command 'asdf'\r\n", 1, 1, "ERR unknown command 'asdf'"},
	{"integers", ":0\r\n:-42\r\n:+7\r\n", 3, 0, ""},
	{"bulk", "$5\r\nhello\r\n$0\r\n\r\n", 2, 0, ""},
	{"bulk that looks like a reply", "$7\r\n+OK\r\n-E\r\n", 1, 0, ""},
	{"null bulk", "$-1\r\n", 1, 0, ""},
	{"array", "*2\r\n$5\r\nhello\r\n$5\r\nworld\r\n", 1, 0, ""},
	{"empty and null array", "*0\r\n*-1\r\n", 2, 0, ""},
	{"nested array", "*2\r\n*3\r\n:1\r\n:2\r\n:3\r\n*2\r\n+Hello\r\n-World\r\n", 1, 0, ""},
	{"null", "_\r\n", 1, 0, ""},
	{"booleans", "#t\r\n#f\r\n", 2, 0, ""},
	{"doubles", ",1.23\r\n,inf\r\n,-inf\r\n,nan\r\n", 4, 0, ""},
	{"big number", "(3492890328409238509324850943850943825024385\r\n", 1, 0, ""},
	{"bulk error", "!21\r\nSYNTAX invalid syntax\r\n", 1, 1, "SYNTAX invalid syntax"},
	{"verbatim string", "=15\r\ntxt:Some string\r\n", 1, 0, ""},
	{"map", "%2\r\n+first\r\n:1\r\n+second\r\n*2\r\n:2\r\n:3\r\n", 1, 0, ""},
	{"set", "~3\r\n+orange\r\n+apple\r\n#t\r\n", 1, 0, ""},
	{"attribute", "|1\r\n+key-popularity\r\n%2\r\n$1\r\na\r\n,0.1923\r\n$1\r\nb\r\n,0.0012\r\n*2\r\n:2039123\r\n:9543892\r\n", 1, 0, ""},
	{"attribute inside", "*3\r\n:1\r\n:2\r\n|1\r\n+ttl\r\n:3600\r\n:3\r\n", 1, 0, ""},
	{"push between replies", "+OK\r\n>3\r\n+message\r\n+somechannel\r\n+this is the message\r\n$9\r\nGet-Reply\r\n", 2, 0, ""},
	{"two errors keep the first", "-A one\r\n-B two\r\n", 2, 2, "A one"},
}

func TestRepliesSplitAnywhere(t *testing.T) {
	for _, c := range replyExamples {
		// In one piece, in two at every place, and byte by byte.
		for cut := range len(c.text) + 1 {
			pieces := []string{c.text[:cut], c.text[cut:]}
			if cut == 0 {
				pieces = strings.Split(c.text, "")
			}
			var r replyCounter
			replies := 0
			for _, p := range pieces {
				n, err := r.feed([]byte(p))
				if err != nil {
					t.Fatalf("%s, cut at %d: %v", c.name, cut, err)
				}
				replies += n
			}
			if replies != c.replies || r.errors != c.errors || r.errorText() != c.first {
				t.Errorf("%s, cut at %d: %d replies, %d errors, %q; want %d, %d, %q",
					c.name, cut, replies, r.errors, r.errorText(), c.replies, c.errors, c.first)
			}
		}
	}
}

func TestBadReplies(t *testing.T) {
	for _, text := range []string{"HTTP/1.1 400 Bad Request\r\n", "$x\r\n", "$\r\n", "$--1\r\n", "*1\rx", "$?\r\n", "$1234567890123456789\r\n", "\r\n"} {
		var r replyCounter
		if _, err := r.feed([]byte(text)); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestLongErrorIsCut(t *testing.T) {
	var r replyCounter
	if _, err := r.feed([]byte("-ERR " + strings.Repeat("x", 10000) + "\r\n")); err != nil {
		t.Fatal(err)
	}
	if n := len(r.errorText()); n != maxErrorText {
		t.Errorf("%d bytes were kept, want %d", n, maxErrorText)
	}
}

// Any stream gives the same counts in one piece as in pieces.
func FuzzReplies(f *testing.F) {
	for _, c := range replyExamples {
		f.Add([]byte(c.text), uint8(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		var whole, cut replyCounter
		want, wantErr := whole.feed(stream)
		got := 0
		var gotErr error
		for rest := stream; len(rest) > 0 && gotErr == nil; {
			n := min(int(piece)+1, len(rest))
			var k int
			k, gotErr = cut.feed(rest[:n])
			got += k
			rest = rest[n:]
		}
		if got != want || (gotErr == nil) != (wantErr == nil) || cut.errors != whole.errors || !bytes.Equal(cut.firstError, whole.firstError) {
			t.Errorf("%q in pieces of %d: %d replies, %d errors, %v; in one: %d, %d, %v", stream, int(piece)+1, got, cut.errors, gotErr, want, whole.errors, wantErr)
		}
	})
}

func BenchmarkReplies(b *testing.B) {
	for _, c := range []struct{ name, reply string }{{"OK", "+OK\r\n"}, {"bulk", "$3\r\nVXK\r\n"}, {"integer", ":1000\r\n"}} {
		b.Run(c.name, func(b *testing.B) {
			data := []byte(strings.Repeat(c.reply, 128))
			var r replyCounter
			for b.Loop() {
				if n, err := r.feed(data); n != 128 || err != nil {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/128, "ns/reply")
		})
	}
}
