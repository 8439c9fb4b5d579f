package differential

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/wire"
)

// everyCommand are the commands of all descriptions, in small letters.
func everyCommand() map[string]bool {
	all := map[string]bool{}
	for line := range strings.Lines(descriptions) {
		for c := range strings.SplitSeq(line, ";") {
			if fields := strings.Fields(c); len(fields) > 0 {
				all[strings.ToLower(fields[0])] = true
			}
		}
	}
	return all
}

// TestRecipes makes each command many times.
func TestRecipes(t *testing.T) {
	m := &maker{rand.New(rand.NewPCG(1, 2))}
	all := recipes(everyCommand())
	if len(all) < 150 {
		t.Fatalf("only %d recipes", len(all))
	}
	for _, rec := range all {
		for range 200 {
			for _, c := range m.make(rec) {
				if len(c) == 0 || c[0] == "" || len(c) > 300 {
					t.Fatalf("%q", c)
				}
			}
		}
	}
	if got := recipes(map[string]bool{"spop": true, "get": true}); len(got) != 1 {
		t.Errorf("SPOP goes with SCARD and DEL, which there are not: %d recipes", len(got))
	}
}

func TestGrammar(t *testing.T) {
	m := &maker{rand.New(rand.NewPCG(1, 2))}
	seen := map[string]bool{}
	for range 5000 {
		seen[strings.ToUpper(strings.Join(parse("A [B] (C|D) {E|F zero}").make(m, nil), " "))] = true
	}
	for _, want := range []string{"A C", "A B D", "A C E", "A D F 0", "A B C F 0 E", "A C E E"} {
		if !seen[want] {
			t.Errorf("%q is never made", want)
		}
	}
	for _, bad := range []string{"A (B", "A B)", "A nothing", "A [B", "A {B|C"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q is accepted", bad)
				}
			}()
			parse(bad)
		}()
	}
}

func TestSame(t *testing.T) {
	for _, test := range []struct {
		command, ours, theirs string
		same                  bool
	}{
		{"GET a", "$1\r\na\r\n", "$1\r\na\r\n", true},
		{"GET a", "$1\r\na\r\n", "$1\r\nb\r\n", false},
		{"GET a", "$-1\r\n", "*-1\r\n", false},
		{"SMEMBERS a", "*2\r\n:1\r\n:2\r\n", "*2\r\n:2\r\n:1\r\n", true},
		{"LRANGE a 0 -1", "*2\r\n:1\r\n:2\r\n", "*2\r\n:2\r\n:1\r\n", false},
		{"HGETALL a", "%2\r\n:1\r\n:2\r\n:3\r\n:4\r\n", "%2\r\n:3\r\n:4\r\n:1\r\n:2\r\n", true},
		{"HGETALL a", "%2\r\n:1\r\n:2\r\n:3\r\n:4\r\n", "%2\r\n:3\r\n:2\r\n:1\r\n:4\r\n", false},
		{"SSCAN a 0 COUNT 1000000", "*2\r\n$1\r\n0\r\n*2\r\n:1\r\n:2\r\n", "*2\r\n$1\r\n0\r\n*2\r\n:2\r\n:1\r\n", true},
		{"SSCAN a 0 COUNT 1000000", "*2\r\n$1\r\n0\r\n*1\r\n:1\r\n", "*2\r\n$1\r\n0\r\n*1\r\n:2\r\n", false},
		{"SPOP a", "$1\r\na\r\n", "$1\r\nb\r\n", true},
		{"SPOP a", "$1\r\na\r\n", "$-1\r\n", false},
		{"TTL a", ":100000\r\n", ":99999\r\n", true},
		{"TTL a", ":-1\r\n", ":-2\r\n", false},
		{"GEODIST a b c", "$6\r\n1.0001\r\n", "$6\r\n1.0002\r\n", true},
		{"GEODIST a b c", "$6\r\n1.0001\r\n", "$6\r\n1.0004\r\n", false},
		{"XPENDING a g - + 1", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:5\r\n:1\r\n", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:7\r\n:1\r\n", true},
		{"XPENDING a g - + 1", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:5\r\n:1\r\n", "*1\r\n*4\r\n$3\r\n1-1\r\n$1\r\nc\r\n:5\r\n:2\r\n", false},
	} {
		ours, err1 := wire.ReadReply(bufio.NewReader(strings.NewReader(test.ours)))
		theirs, err2 := wire.ReadReply(bufio.NewReader(strings.NewReader(test.theirs)))
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if got := same(strings.Fields(test.command), ours, theirs); got != test.same {
			t.Errorf("%s: %s and %s: %v", test.command, ours, theirs, got)
		}
	}
}

// fakeServer answers every command with OK, but those that reply knows.
func fakeServer(t *testing.T, reply func(args []string) string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for {
					args, err := readCommand(r)
					if err != nil {
						return
					}
					answer := reply(args)
					if answer == "" {
						answer = "+OK\r\n"
					}
					if _, err := io.WriteString(conn, answer); err != nil || answer == "bye" {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func readCommand(r *bufio.Reader) ([]string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
	args := make([]string, n)
	for i := range args {
		if line, err = r.ReadString('\n'); err != nil {
			return nil, err
		}
		size, _ := strconv.Atoi(strings.TrimSpace(line[1:]))
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

// TestRun wants a difference to be found, and shown by no more commands than it takes:
// here, a SET before a DEL of any key, or an INCR that kills the server.
func TestRun(t *testing.T) {
	basic := func(args []string) string {
		switch strings.ToUpper(args[0]) {
		case "COMMAND":
			return "*4\r\n$3\r\nset\r\n$3\r\nget\r\n$3\r\ndel\r\n$4\r\nincr\r\n"
		case "KEYS":
			return "*0\r\n"
		}
		return ""
	}
	theirs := fakeServer(t, basic)
	set := false
	wrong := fakeServer(t, func(args []string) string {
		switch name := strings.ToUpper(args[0]); {
		case name == "FLUSHALL":
			set = false
		case name == "SET":
			set = true
		case name == "DEL" && set:
			return ":1\r\n"
		}
		return basic(args)
	})
	dies := fakeServer(t, func(args []string) string {
		if strings.ToUpper(args[0]) == "INCR" {
			return "bye"
		}
		return basic(args)
	})
	for _, test := range []struct {
		ours  string
		lasts time.Duration // unless a difference ends it
		want  string
	}{
		{theirs, time.Second, ""},
		{wrong, time.Minute, "SET;DEL"},
		{dies, time.Minute, "INCR"},
	} {
		restart := func() error { return nil }
		o := Options{Ours: Server{Addr: test.ours, Restart: restart}, Theirs: Server{Addr: theirs, Restart: restart},
			For: test.lasts, Seed: 7, ShrinkFor: time.Minute}
		stats, m, err := Run(o)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if m != nil {
			var names []string
			for _, c := range m.Commands {
				names = append(names, strings.ToUpper(c[0]))
			}
			got = strings.Join(names, ";")
		}
		if got != test.want {
			t.Errorf("found %q, want %q: %v", got, test.want, m)
		}
		if test.want == "" && (stats.Commands < 1000 || stats.Rounds == 0) {
			t.Errorf("%+v", stats)
		}
	}
}

func ExampleCommand_String() {
	fmt.Println(Command{"SET", "a b", "\x00\"", strings.Repeat("x", 100), "plain"})
	// Output: SET "a b" "\x00\"" "x"*100 plain
}
