package engine

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/wire"
)

// The scripts in testdata/<group>/<command>.txt say what a server must reply.
// What they expect is what redis-server 7.0.15 replied: -update writes it, and
// TestScriptsAgainstOracle holds it against the real one. TestScripts holds our
// server to it, in each of scriptModes.
//
//	# A comment. Blank lines mean nothing.
//	server --requirepass x       first line only: run on a server of its own, started so
//	> SET foo "b\x00r"           send a command, quoted as in redis-cli
//	+OK                          and expect this reply, as linesOf renders it
//	> SET foo "x"*4096           a quoted argument times a number
//	2> GET foo                   the same from a second connection; likewise 3>, …
//	>> "*1\r\n$4\r\nPI" "NG\r\n" send these bytes, to which any number of replies may come
//	sleep 20ms
//
// What varies is expected so, in place of one value or as the head of an
// aggregate, whose items follow, indented:
//
//	~ :(?P<id>[0-9]+)            the rendering matches this regular expression in full;
//	                             what a named group matched later steps send for ${id}
//	:100..120                    an integer in this range
//	*3 unordered                 these items in any order; of a map (%3), these entries
//	silent                       no reply
//	closed                       after the replies, the server closes the connection
//
// -update keeps an expectation that holds, so what varies is written by hand.

var (
	oracleFlag = flag.String("oracle", "auto", "`host:port` of a redis-server 7.0.15 to hold the scripts against; auto starts one")
	updateFlag = flag.Bool("update", false, "rewrite the expectations of TestScriptsAgainstOracle that do not hold")
)

// sendFunc sends what a step sends.
type sendFunc func(conn net.Conn, b []byte) error

// scriptModes are the ways in which our server runs each script.
var scriptModes = []struct {
	name string
	send sendFunc
}{
	{"whole", func(conn net.Conn, b []byte) error {
		_, err := conn.Write(b)
		return err
	}},
	{"split", sendBytewise},
}

// sendBytewise sends the first 2000 bytes one by one, so that the server sees
// its input end at every point of a command; what follows is only payload.
func sendBytewise(conn net.Conn, b []byte) error {
	single := min(len(b), 2000)
	for i := range single {
		if _, err := conn.Write(b[i : i+1]); err != nil {
			return err
		}
	}
	_, err := conn.Write(b[single:])
	return err
}

func TestScripts(t *testing.T) {
	for _, mode := range scriptModes {
		t.Run(mode.name, func(t *testing.T) {
			addr := startOurs(t)
			for _, s := range readScripts(t) {
				t.Run(s.name(), func(t *testing.T) {
					at := addr
					if s.server != nil {
						at = startOurs(t, s.server...)
					}
					s.run(t, at, mode.send, false)
				})
			}
		})
	}
}

func TestScriptsAgainstOracle(t *testing.T) {
	if testing.Short() {
		t.Skip("short mode is for race and invariants, and this has none of our server in it")
	}
	addr := *oracleFlag
	if addr == "auto" {
		addr = startOracle(t)
	}
	for _, s := range readScripts(t) {
		t.Run(s.name(), func(t *testing.T) {
			at := addr
			if s.server != nil {
				if *oracleFlag != "auto" {
					t.Skip("the script needs a server of its own: run with -oracle=auto")
				}
				at = startOracle(t, s.server...)
			}
			s.run(t, at, scriptModes[0].send, *updateFlag)
			if *updateFlag {
				s.write(t)
			}
		})
	}
}

// TestEveryCommandHasItsScript wants testdata/<group>/<command>.txt for each
// row of the command table, and each subcommand to be sent there.
func TestEveryCommandHasItsScript(t *testing.T) {
	for _, cmd := range newCommandTable().commands.rows {
		file := filepath.Join("testdata", string(cmd.group), cmd.name+".txt")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("%s has no script: %v", cmd.name, err)
			continue
		}
		for _, sub := range cmd.subcommands {
			if !regexp.MustCompile(`(?im)^\d*> ` + cmd.name + " " + sub.name + `\b`).Match(text) {
				t.Errorf("%s never sends %s %s", file, cmd.name, sub.name)
			}
		}
	}
}

// script is a parsed file.
type script struct {
	file   string
	server []string // arguments of the server it wants for itself; nil for any server
	head   []string // lines before the first step
	steps  []*scriptStep
}

// scriptStep is a line that does something, and what is expected of it.
type scriptStep struct {
	line    int // in the file, from 1
	text    string
	client  int    // that sends; 0 for sleep
	args    string // that it sends, as written
	command bool   // args are those of a command, which has one reply
	sleep   time.Duration
	want    []expectation
	silent  bool
	closed  bool
	tail    []string // comments and blank lines after it

	// What an oracleMode lets vary: the order of the items of a reply, that of the
	// bytes of a DUMP.
	anyItems, anyBytes bool
}

// expectation is a line of an expected reply, with those indented below it.
type expectation struct {
	text  string
	items []expectation
}

func (s *script) name() string {
	return strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(s.file), "testdata/"), ".txt")
}

var (
	stepLine = regexp.MustCompile(`^(\d*)(>>?) (.*)$`)
	variable = regexp.MustCompile(`\$\{\w+\}`)
)

func readScripts(t *testing.T) []*script {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	var scripts []*script
	for _, file := range files {
		s, err := readScript(file)
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, s)
	}
	return scripts
}

func readScript(file string) (*script, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := &script{file: file}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if args, ok := strings.CutPrefix(lines[0], "server"); ok {
		if s.server, err = splitArgs(args); err != nil {
			return nil, fmt.Errorf("%s:1: %v", file, err)
		}
		s.server = append([]string{}, s.server...) // not nil
		s.head = lines[:1]
	}
	var expected []string // lines of the current step
	finish := func() error {
		if len(expected) == 0 {
			return nil
		}
		step := s.steps[len(s.steps)-1]
		step.want, err = parseExpectations(expected)
		expected = nil
		return err
	}
	for i, line := range lines[len(s.head):] {
		n := i + len(s.head) + 1
		fail := func(err error) error { return fmt.Errorf("%s:%d: %q: %v", file, n, line, err) }
		m := stepLine.FindStringSubmatch(line)
		pause, isSleep := strings.CutPrefix(line, "sleep ")
		switch {
		case m != nil || isSleep:
			if err := finish(); err != nil {
				return nil, fail(err)
			}
			step := &scriptStep{line: n, text: line}
			s.steps = append(s.steps, step)
			if isSleep {
				if step.sleep, err = time.ParseDuration(pause); err != nil {
					return nil, fail(err)
				}
				continue
			}
			step.client = 1
			if m[1] != "" {
				step.client, _ = strconv.Atoi(m[1])
			}
			step.command = m[2] == ">"
			step.args = m[3]
			if _, err := splitArgs(step.args); err != nil {
				return nil, fail(err)
			}
		case line == "" || line == "#" || strings.HasPrefix(line, "# "):
			if len(s.steps) == 0 {
				s.head = append(s.head, line)
			} else {
				step := s.steps[len(s.steps)-1]
				step.tail = append(step.tail, line)
			}
		case len(s.steps) == 0:
			return nil, fail(errors.New("expected before anything is sent"))
		case len(s.steps[len(s.steps)-1].tail) > 0:
			return nil, fail(errors.New("expected after a comment or a blank line"))
		case line == "silent":
			s.steps[len(s.steps)-1].silent = true
		case line == "closed":
			s.steps[len(s.steps)-1].closed = true
		default:
			expected = append(expected, line)
		}
	}
	if err := finish(); err != nil {
		return nil, fmt.Errorf("%s: %v", file, err)
	}
	return s, nil
}

// data returns the bytes that the step sends.
func (step *scriptStep) data(vars map[string]string) ([]byte, error) {
	var unknown error
	args, err := splitArgs(variable.ReplaceAllStringFunc(step.args, func(name string) string {
		name = name[2 : len(name)-1]
		v, ok := vars[name]
		if !ok {
			unknown = fmt.Errorf("nothing has matched (?P<%s>…)", name)
		}
		return v
	}))
	if !step.command {
		return []byte(strings.Join(args, "")), errors.Join(unknown, err)
	}
	return wire.Command(args...), errors.Join(unknown, err)
}

// parseExpectations turns lines into trees by their indentation.
func parseExpectations(lines []string) ([]expectation, error) {
	var out []expectation
	for len(lines) > 0 {
		if strings.HasPrefix(lines[0], " ") {
			return nil, fmt.Errorf("%q is indented too far", lines[0])
		}
		e := expectation{text: lines[0]}
		n := 1
		var items []string
		for n < len(lines) && strings.HasPrefix(lines[n], "  ") {
			items = append(items, lines[n][2:])
			n++
		}
		var err error
		if e.items, err = parseExpectations(items); err != nil {
			return nil, err
		}
		out = append(out, e)
		lines = lines[n:]
	}
	return out, nil
}

var rangeExpectation = regexp.MustCompile(`^:(-?\d+)\.\.(-?\d+)$`)

// matches reports whether v is what e expects, and sets in vars what named
// groups matched.
func (e expectation) matches(v wire.Reply, vars map[string]string) bool {
	if pattern, ok := strings.CutPrefix(e.text, "~ "); ok {
		re := regexp.MustCompile(`^(?s:` + pattern + `)$`)
		m := re.FindStringSubmatch(strings.Join(linesOf(v, ""), "\n"))
		for i, name := range re.SubexpNames() {
			if m != nil && name != "" {
				vars[name] = m[i]
			}
		}
		return m != nil
	}
	if m := rangeExpectation.FindStringSubmatch(e.text); m != nil {
		low, err1 := strconv.ParseInt(m[1], 10, 64)
		high, err2 := strconv.ParseInt(m[2], 10, 64)
		n, err3 := strconv.ParseInt(v.Text, 10, 64)
		return v.Kind == ':' && err1 == nil && err2 == nil && err3 == nil && low <= n && n <= high
	}
	head, unordered := strings.CutSuffix(e.text, " unordered")
	if linesOf(v, "")[0] != head || len(v.Items) != len(e.items) {
		return false
	}
	if !unordered {
		for i, item := range e.items {
			if !item.matches(v.Items[i], vars) {
				return false
			}
		}
		return true
	}
	size := 1 // of what is permuted
	if v.Kind == '%' {
		size = 2
	}
	left := slices.Collect(slices.Chunk(v.Items, size))
	for want := range slices.Chunk(e.items, size) {
		i := slices.IndexFunc(left, func(got []wire.Reply) bool {
			for j := range got {
				if !want[j].matches(got[j], vars) {
					return false
				}
			}
			return true
		})
		if i < 0 {
			return false
		}
		left = slices.Delete(left, i, i+1)
	}
	return true
}

func (e expectation) lines(indent string) []string {
	out := []string{indent + e.text}
	for _, item := range e.items {
		out = append(out, item.lines(indent+"  ")...)
	}
	return out
}

// splitArgs splits a line as redis-cli does; a quoted argument may be followed
// by *N, which repeats it N times.
func splitArgs(line string) ([]string, error) {
	var args []string
	for {
		line = strings.TrimLeft(line, " ")
		if line == "" {
			return args, nil
		}
		var arg []byte
		i := 0
		switch line[0] {
		case '"':
			for i = 1; ; i++ {
				if i >= len(line) {
					return nil, errors.New("unbalanced quotes")
				}
				c := line[i]
				if c == '"' {
					break
				}
				if c == '\\' && i+1 < len(line) {
					i++
					c = line[i]
					if c == 'x' && i+2 < len(line) {
						n, err := strconv.ParseUint(line[i+1:i+3], 16, 8)
						if err != nil {
							return nil, err
						}
						c = byte(n)
						i += 2
					} else if j := strings.IndexByte("nrtba", c); j >= 0 {
						c = "\n\r\t\b\a"[j]
					}
				}
				arg = append(arg, c)
			}
			i++
		case '\'':
			end := strings.IndexByte(line[1:], '\'')
			if end < 0 {
				return nil, errors.New("unbalanced quotes")
			}
			arg = []byte(line[1 : 1+end])
			i = end + 2
		default:
			i = len(line)
			if end := strings.IndexByte(line, ' '); end >= 0 {
				i = end
			}
			arg = []byte(line[:i])
		}
		rest, _, _ := strings.Cut(line[i:], " ")
		if times, ok := strings.CutPrefix(rest, "*"); ok {
			n, err := strconv.Atoi(times)
			if err != nil {
				return nil, err
			}
			arg = bytes.Repeat(arg, n)
		} else if rest != "" {
			return nil, errors.New("closing quote must be followed by a space or *N")
		}
		line = line[i+len(rest):]
		args = append(args, string(arg))
	}
}

// run plays the script on the server at addr. With update it puts what comes in
// the place of expectations that do not hold.
func (s *script) run(t *testing.T, addr string, send sendFunc, update bool) {
	if s.server == nil { // the server is shared: leave nothing of the script before
		control := dial(t, addr)
		control.do(t, "FLUSHALL")
		control.do(t, "CONFIG", "RESETSTAT")
		control.Close()
	}
	clients := map[int]*testConn{}
	vars := map[string]string{}
	for _, step := range s.steps {
		if step.client == 0 {
			time.Sleep(step.sleep)
			continue
		}
		c := clients[step.client]
		if c == nil {
			c = dial(t, addr)
			clients[step.client] = c
		}
		c.SetDeadline(time.Now().Add(patience))
		data, err := step.data(vars)
		if err != nil {
			t.Fatalf("%s:%d: %s: %v", s.file, step.line, step.text, err)
		}
		if err := send(c, data); err != nil && !isClosed(err) {
			t.Fatalf("%s:%d: %s: %v", s.file, step.line, step.text, err)
		}
		if update {
			s.updateStep(t, step, c, vars)
		} else if !s.checkStep(t, step, c, vars) {
			return // what follows would be out of step
		}
		if step.closed {
			c.Close()
			delete(clients, step.client)
		}
	}
	for n, c := range clients {
		if v, err := readSoon(c, 10*time.Millisecond); err == nil {
			t.Errorf("%s: at the end, client %d has a reply that nobody expected: %s", s.file, n, v)
		}
		c.Close()
	}
}

// checkStep compares what comes with what the step expects; false means that
// the connection is no longer usable.
func (s *script) checkStep(t *testing.T, step *scriptStep, c *testConn, vars map[string]string) bool {
	if step.command && len(step.want) == 0 && !step.silent && !step.closed {
		t.Errorf("%s:%d: %s: expects nothing: fill in with -update", s.file, step.line, step.text)
		return false
	}
	for _, want := range step.want {
		v, err := wire.ReadReply(c.r)
		if err != nil {
			t.Errorf("%s:%d: %s\ngot  %v\nwant %s", s.file, step.line, step.text, err, strings.Join(want.lines(""), "\n     "))
			return false
		}
		if step.anyItems {
			want = want.loosened()
		}
		if !want.matches(v, vars) && !(step.anyBytes && want.isShuffled(v)) {
			t.Errorf("%s:%d: %s\ngot  %s\nwant %s", s.file, step.line, step.text,
				strings.Join(linesOf(v, ""), "\n     "), strings.Join(want.lines(""), "\n     "))
		}
	}
	if step.silent {
		if v, err := readSoon(c, 30*time.Millisecond); err == nil {
			t.Errorf("%s:%d: %s\ngot  %s\nwant silence", s.file, step.line, step.text, v)
		} else if isClosed(err) {
			t.Errorf("%s:%d: %s\ngot  %v\nwant silence", s.file, step.line, step.text, err)
			return false
		}
	}
	if step.closed {
		if v, err := wire.ReadReply(c.r); err == nil {
			t.Errorf("%s:%d: %s\ngot  %s\nwant the connection closed", s.file, step.line, step.text, v)
		} else if !isClosed(err) {
			t.Errorf("%s:%d: %s\ngot  %v\nwant the connection closed", s.file, step.line, step.text, err)
		}
	}
	return true
}

// updateStep reads what comes and makes it the expectation.
func (s *script) updateStep(t *testing.T, step *scriptStep, c *testConn, vars map[string]string) {
	var got []wire.Reply
	var err error
	replies := len(step.want) // that must come
	if step.command && !step.silent && !step.closed {
		replies = max(1, replies)
	}
	for len(got) < replies && err == nil {
		var v wire.Reply
		if v, err = wire.ReadReply(c.r); err == nil {
			got = append(got, v)
		}
	}
	if step.silent {
		// What comes next must find this executed, as it does in checkStep.
		time.Sleep(30 * time.Millisecond)
	}
	for !step.command && !step.silent && err == nil { // bytes may have any number of replies
		var v wire.Reply
		if v, err = readSoon(c, 150*time.Millisecond); err == nil {
			got = append(got, v)
		}
	}
	if err == nil && step.closed {
		_, err = wire.ReadReply(c.r)
	}
	if err != nil && !isClosed(err) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%s:%d: %s: %v", s.file, step.line, step.text, err)
	}
	step.closed = isClosed(err)
	if len(got) == len(step.want) {
		ok := true
		for i, want := range step.want {
			ok = ok && want.matches(got[i], vars)
		}
		if ok {
			return
		}
	}
	if len(step.want) > 0 {
		t.Logf("%s:%d: %s: expectation replaced", s.file, step.line, step.text)
	}
	old := step.want
	step.want = nil
	for i, v := range got {
		if len(old) == len(got) {
			step.want = append(step.want, old[i].updated(v, vars))
		} else {
			step.want = append(step.want, expectReply(v))
		}
	}
}

// expectReply returns what expects v and nothing else.
func expectReply(v wire.Reply) expectation {
	e := expectation{text: linesOf(v, "")[0]}
	for _, item := range v.Items {
		e.items = append(e.items, expectReply(item))
	}
	return e
}

// updated returns an expectation of v that keeps of e what holds.
func (e expectation) updated(v wire.Reply, vars map[string]string) expectation {
	if e.matches(v, vars) {
		return e
	}
	out := expectReply(v)
	switch head, unordered := strings.CutSuffix(e.text, " unordered"); {
	case head != out.text || len(e.items) != len(out.items):
	case unordered:
		out.text = e.text
	default:
		for i := range e.items {
			out.items[i] = e.items[i].updated(v.Items[i], vars)
		}
	}
	return out
}

// readSoon reads a reply that begins within d.
func readSoon(c *testConn, d time.Duration) (wire.Reply, error) {
	c.SetReadDeadline(time.Now().Add(d))
	defer c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.r.Peek(1); err != nil {
		return wire.Reply{}, err
	}
	c.SetReadDeadline(time.Now().Add(patience))
	return wire.ReadReply(c.r)
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// write puts the script back into its file.
func (s *script) write(t *testing.T) {
	lines := slices.Clone(s.head)
	for _, step := range s.steps {
		lines = append(lines, step.text)
		for _, want := range step.want {
			lines = append(lines, want.lines("")...)
		}
		if step.silent {
			lines = append(lines, "silent")
		}
		if step.closed {
			lines = append(lines, "closed")
		}
		lines = append(lines, step.tail...)
	}
	if err := os.WriteFile(s.file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestExpectations shows that expectations can fail.
func TestExpectations(t *testing.T) {
	for _, test := range []struct {
		want, wire string
		ok         bool
	}{
		{"+OK", "+OK\r\n", true},
		{"+OK", "$2\r\nOK\r\n", false},
		{"+OK", "+OK!\r\n", false},
		{`"OK"`, "$2\r\nOK\r\n", true},
		{`"a\r\n\x00\""`, "$5\r\na\r\n\x00\"\r\n", true},
		{`"x"*40`, "$40\r\n" + strings.Repeat("x", 40) + "\r\n", true},
		{`"x"*40`, "$41\r\n" + strings.Repeat("x", 41) + "\r\n", false},
		{"(nil)", "$-1\r\n", true},
		{"(nil)", "*-1\r\n", false},
		{"(nil)", "_\r\n", false},
		{"(nil array)", "*-1\r\n", true},
		{":1", ":1\r\n", true},
		{":1", ":01\r\n", false},
		{":-5..5", ":-5\r\n", true},
		{":-5..5", ":6\r\n", false},
		{":1..5", "+3\r\n", false},
		{`~ "[ab]+"`, "$2\r\nab\r\n", true},
		{`~ "[ab]+"`, "$3\r\nabc\r\n", false},
		{`~ "[ab]+"`, "+ab\r\n", false},
		{"*0", "*0\r\n", true},
		{"*0", "~0\r\n", false},
		{"*2\n  :1\n  :2", "*2\r\n:1\r\n:2\r\n", true},
		{"*2\n  :1\n  :2", "*2\r\n:2\r\n:1\r\n", false},
		{"*2 unordered\n  :1\n  :2", "*2\r\n:2\r\n:1\r\n", true},
		{"*2 unordered\n  :1\n  :2", "*2\r\n:2\r\n:2\r\n", false},
		{"*2 unordered\n  :1\n  :2", "*3\r\n:1\r\n:2\r\n:3\r\n", false},
		{"%2 unordered\n  +a\n  :1\n  +b\n  :2", "%2\r\n+b\r\n:2\r\n+a\r\n:1\r\n", true},
		{"%2 unordered\n  +a\n  :1\n  +b\n  :2", "%2\r\n+b\r\n:1\r\n+a\r\n:2\r\n", false},
		{"*1\n  *1\n    :1", "*1\r\n*1\r\n:1\r\n", true},
		{"*1\n  *1\n    :1", "*1\r\n*1\r\n:2\r\n", false},
	} {
		want, err := parseExpectations(strings.Split(test.want, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		v, err := wire.ReadReply(bufio.NewReader(strings.NewReader(test.wire)))
		if err != nil {
			t.Fatal(err)
		}
		if got := len(want) == 1 && want[0].matches(v, nil); got != test.ok {
			t.Errorf("%q matches %q: %t", test.want, test.wire, got)
		}
	}
}
