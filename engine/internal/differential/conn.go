package differential

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Reply is one RESP value. Kind is the first byte on the wire, except that null
// strings and arrays have kinds of their own.
type Reply struct {
	Kind  byte
	Text  string  // of everything that is not an aggregate
	Items []Reply // of an aggregate; of a map, keys and values in turn
}

// The kinds of $-1 and *-1.
const (
	NilBulk  = 'n'
	NilArray = 'N'
)

func readReply(r *bufio.Reader) (Reply, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return Reply{}, err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || line == "" {
		return Reply{}, fmt.Errorf("reply line %q does not end in \\r\\n", line)
	}
	v := Reply{Kind: line[0], Text: line[1:]}
	switch v.Kind {
	case '+', '-', ':', ',', '#', '(', '_':
		return v, nil
	case '$', '=', '*', '~', '%', '>':
	default:
		return v, fmt.Errorf("reply of unknown type: %q", line)
	}
	n, err := strconv.Atoi(v.Text)
	if err != nil || n < -1 {
		return v, fmt.Errorf("reply with bad length: %q", line)
	}
	v.Text = ""
	switch {
	case n == -1 && v.Kind == '$':
		return Reply{Kind: NilBulk}, nil
	case n == -1:
		return Reply{Kind: NilArray}, nil
	case v.Kind == '$' || v.Kind == '=':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return v, err
		}
		v.Text = string(b[:n])
		return v, nil
	case v.Kind == '%':
		n *= 2
	}
	for range n {
		item, err := readReply(r)
		if err != nil {
			return v, err
		}
		v.Items = append(v.Items, item)
	}
	return v, nil
}

// equal compares what two servers sent, byte for byte.
func (v Reply) equal(o Reply) bool {
	return v.Kind == o.Kind && v.Text == o.Text && slices.EqualFunc(v.Items, o.Items, Reply.equal)
}

// String renders a value on one line.
func (v Reply) String() string {
	var b strings.Builder
	v.write(&b)
	return b.String()
}

func (v Reply) write(b *strings.Builder) {
	switch v.Kind {
	case NilBulk:
		b.WriteString("(nil)")
	case NilArray:
		b.WriteString("(nil array)")
	case '_':
		b.WriteString("(null)")
	case '$':
		b.WriteString(quote(v.Text))
	case '+', '-', ':', ',', '#', '(', '=':
		b.WriteByte(v.Kind)
		b.WriteString(v.Text)
	default:
		b.WriteByte(v.Kind)
		b.WriteByte('[')
		for i, item := range v.Items {
			if i > 0 {
				b.WriteByte(' ')
			}
			item.write(b)
		}
		b.WriteByte(']')
	}
}

// quote writes a string as redis-cli and the scripts in testdata read it, and a long
// run of one byte as the latter alone do: "x"*100.
func quote(s string) string {
	if len(s) > 32 && strings.Count(s, s[:1]) == len(s) {
		return quote(s[:1]) + "*" + strconv.Itoa(len(s))
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c >= ' ' && c <= '~':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// plain reports whether an argument needs no quotes.
func plain(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '"' || r == '\'' || r == '\\'
	}) && len(s) <= 32
}

// Command is one command, with its name.
type Command []string

// String renders a command as a line that can be sent with redis-cli, or put into a
// script.
func (c Command) String() string {
	words := make([]string, len(c))
	for i, a := range c {
		if words[i] = a; !plain(a) {
			words[i] = quote(a)
		}
	}
	return strings.Join(words, " ")
}

// conn is a connection to a server.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReaderSize(c, 1<<16)}, nil
}

// pipeline sends commands at once and returns their replies: all, or those before an
// error.
func (c *conn) pipeline(commands []Command) ([]Reply, error) {
	c.SetDeadline(time.Now().Add(30 * time.Second))
	go func() {
		w := bufio.NewWriterSize(c.Conn, 1<<16)
		for _, args := range commands {
			fmt.Fprintf(w, "*%d\r\n", len(args))
			for _, a := range args {
				fmt.Fprintf(w, "$%d\r\n%s\r\n", len(a), a)
			}
		}
		w.Flush() // an error shows when the reply does not come
	}()
	replies := make([]Reply, 0, len(commands))
	for range commands {
		v, err := readReply(c.r)
		if err != nil {
			return replies, err
		}
		replies = append(replies, v)
	}
	return replies, nil
}

func (c *conn) do(args ...string) (Reply, error) {
	v, err := c.pipeline([]Command{args})
	if err != nil {
		return Reply{}, err
	}
	return v[0], nil
}
