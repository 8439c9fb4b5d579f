package differential

import (
	"bufio"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redscope/redscope/engine/internal/resp"
	"github.com/redscope/redscope/internal/wire"
)

// quote writes a string as redis-cli and the scripts in testdata read it, and a long
// run of one byte as the latter alone do: "x"*100.
func quote(s string) string {
	if len(s) > 32 && strings.Count(s, s[:1]) == len(s) {
		return resp.Quote(s[:1]) + "*" + strconv.Itoa(len(s))
	}
	return resp.Quote(s)
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
func (c *conn) pipeline(commands []Command) ([]wire.Reply, error) {
	c.SetDeadline(time.Now().Add(30 * time.Second))
	go func() {
		w := bufio.NewWriterSize(c.Conn, 1<<16)
		for _, args := range commands {
			w.Write(wire.Command(args...))
		}
		w.Flush() // an error shows when the reply does not come
	}()
	replies := make([]wire.Reply, 0, len(commands))
	for range commands {
		v, err := wire.ReadReply(c.r)
		if err != nil {
			return replies, err
		}
		replies = append(replies, v)
	}
	return replies, nil
}

func (c *conn) do(args ...string) (wire.Reply, error) {
	v, err := c.pipeline([]Command{args})
	if err != nil {
		return wire.Reply{}, err
	}
	return v[0], nil
}
