// Package query asks a server a few questions: is it there, what is in it, what
// did it count. It is for before and after a run, and must never be used to
// measure: it allocates, and waits for each answer.
package query

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redscope/redscope/internal/wire"
)

// timeout bounds each question and its answer.
const timeout = 10 * time.Second

// Conn is a connection. It is not for concurrent use.
type Conn struct {
	conn net.Conn
	in   *bufio.Reader
}

// An Error is an error reply, as the server worded it.
type Error string

func (e Error) Error() string { return string(e) }

// Dial connects to a TCP port of host.
func Dial(host string, port int) (*Conn, error) {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(port)), timeout)
	if err != nil {
		return nil, err
	}
	return &Conn{conn: c, in: bufio.NewReader(c)}, nil
}

// Close closes the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Do sends a command whose reply is one value, not an aggregate, and returns it
// as text; the null bulk is the empty text.
func (c *Conn) Do(args ...string) (string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := c.conn.Write(wire.Command(args...)); err != nil {
		return "", err
	}
	v, err := wire.ReadReply(c.in)
	if err != nil {
		return "", err
	}
	switch v.Kind {
	case '+', ':', '$', wire.NilBulk:
		return v.Text, nil
	case '-':
		return "", Error(v.Text)
	}
	return "", fmt.Errorf("unexpected reply %s to %s", v, args[0])
}

// Info returns the fields of a section of INFO.
func (c *Conn) Info(section string) (map[string]string, error) {
	text, err := c.Do("INFO", section)
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// Calls returns how often INFO commandstats says that a command, named in lower
// case, was called; 0 when it does not list it.
func (c *Conn) Calls(command string) (int64, error) {
	stats, err := c.Info("commandstats")
	if err != nil {
		return 0, err
	}
	for pair := range strings.SplitSeq(stats["cmdstat_"+command], ",") {
		if n, ok := strings.CutPrefix(pair, "calls="); ok {
			return strconv.ParseInt(n, 10, 64)
		}
	}
	return 0, nil
}
