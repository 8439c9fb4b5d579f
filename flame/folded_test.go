package flame

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
)

func frames(names ...string) []Frame {
	var out []Frame
	for _, name := range names {
		name, kernel := strings.CutSuffix(name, "_[k]")
		out = append(out, Frame{Name: name, Kernel: kernel})
	}
	return out
}

func readFile(t testing.TB, name string) []Stack {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stacks, err := ReadFolded(f)
	if err != nil {
		t.Fatal(err)
	}
	return stacks
}

// The expectations follow flamegraph.pl's documentation of its input: "foo;bar;baz 5",
// frames from the root, the count after the last white space.
func TestReadFolded(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []Stack
	}{
		{"nothing", "", nil},
		{"one", "main;aeMain;call 12\n", []Stack{{Frames: frames("main", "aeMain", "call"), Count: 12}}},
		{"no final newline", "main 1", []Stack{{Frames: frames("main"), Count: 1}}},
		{"kernel", "main;read;vfs_read_[k] 2\n", []Stack{{Frames: frames("main", "read", "vfs_read_[k]"), Count: 2}}},
		{"spaces in a name", "java;void A.f(int, long) 3\n", []Stack{{Frames: frames("java", "void A.f(int, long)"), Count: 3}}},
		{"several spaces, a tab, CRLF", "a;b   4\r\na\t1\r\n", []Stack{
			{Frames: frames("a", "b"), Count: 4}, {Frames: frames("a"), Count: 1}}},
		{"equal stacks", "a;b 1\nc 5\na;b 2\n", []Stack{
			{Frames: frames("a", "b"), Count: 3}, {Frames: frames("c"), Count: 5}}},
		{"empty lines and zeros", "\n  \na 0\nb 7\n\n", []Stack{{Frames: frames("b"), Count: 7}}},
		{"a nameless frame", "a;;b 1\n", []Stack{{Frames: frames("a", "[unknown]", "b"), Count: 1}}},
		{"a name that is a number", "a;5 6\n", []Stack{{Frames: frames("a", "5"), Count: 6}}},
		{"not UTF-8", "a\xff;b 1\n", []Stack{{Frames: frames("a\xff", "b"), Count: 1}}},
	} {
		got, err := ReadFolded(strings.NewReader(tc.text))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
		} else if !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestReadFoldedErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"no count", "a;b 1\na;b\n", "line 2: no count"},
		{"a word for a count", "a;b x\n", `line 1: the count "x" is not a whole number`},
		{"a fraction", "\n\na;b 1.5\n", `line 3: the count "1.5" is not a whole number`},
		{"negative", "a -1\n", "line 1: the count"},
		{"no stack", "a 1\n 5\n", "line 2: a count without a stack"},
		{"too large", "a 9223372036854775808\n", "line 1: the count"},
		{"too large together", "a 9223372036854775807\nb 1\n", "line 2: the counts add up"},
		{"a long line", "a 1\n" + strings.Repeat("x", maxLine+1) + " 1\n", "line 2: longer than"},
		{"more frames than memory", strings.Repeat(strings.Repeat(";", maxLine-20)+" 1\n", 1) +
			"b" + strings.Repeat(";", maxLine-20) + " 1\nc;" + strings.Repeat(";", maxLine-20) + " 1\n", "line 3: more than"},
		{"a binary file", "\x7fELF\x02\x01\x01", "line 1: no count"},
	} {
		_, err := ReadFolded(strings.NewReader(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestWriteFolded(t *testing.T) {
	stacks := []Stack{
		{Frames: frames("main", "write", "vfs_write_[k]"), Count: 2},
		{Frames: []Frame{{Name: "main", Addr: 1}}, Count: 3},
		{Frames: []Frame{{Name: "main", Addr: 2, Module: "/bin/x"}}, Count: 4},
		{Frames: []Frame{{Name: "f[go.shape.struct { A int; B int }]"}}, Count: 1},
		{Frames: []Frame{{Name: "a\nb"}, {}, {Module: "/lib/libc.so.6"}, {Module: "[vdso]"}}, Count: 1},
		{Frames: frames("gone"), Count: 0},
		{Count: 9},
	}
	const want = `[unknown] 9
a b;[unknown];[libc.so.6];[vdso] 1
f[go.shape.struct { A int: B int }] 1
main 7
main;write;vfs_write_[k] 2
`
	var out bytes.Buffer
	if err := WriteFolded(&out, stacks); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

func FuzzReadFolded(f *testing.F) {
	f.Add([]byte("main;aeMain;call_[k] 12\na;;b 1\n"))
	f.Add([]byte(" 5\n"))
	f.Add([]byte("a\r;_[k] ; b\xff 9223372036854775807\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		stacks, err := ReadFolded(bytes.NewReader(data))
		if err != nil {
			return
		}
		total, err := Total(stacks)
		if err != nil {
			t.Fatalf("what was read does not add up: %v", err)
		}
		var once, twice, svg bytes.Buffer
		if err := WriteFolded(&once, stacks); err != nil {
			t.Fatal(err)
		}
		again, err := ReadFolded(bytes.NewReader(once.Bytes()))
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%q", err, once.Bytes())
		}
		if n, _ := Total(again); n != total {
			t.Fatalf("%d counts became %d", total, n)
		}
		if err := WriteFolded(&twice, again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(once.Bytes(), twice.Bytes()) {
			t.Fatalf("written %q, then %q", once.Bytes(), twice.Bytes())
		}
		if err := WriteSVG(&svg, stacks, SVGOptions{}); err != nil {
			t.Fatal(err)
		}
		parseSVG(t, svg.Bytes())
	})
}
