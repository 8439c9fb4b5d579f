// Package oracle asks a real redis-server how it lays out a value, for the tests of
// the packages that have to do the same byte for byte. It is for tests only.
package oracle

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/require"
)

// Server is a redis-server of this machine that runs for one test.
type Server struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// Start starts one, which does not compress what it dumps and checks all of what it
// restores but the checksum, unless args say otherwise, or ends the test as
// require.Tool does.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	require.Tool(t, "redis")
	dir := t.TempDir()
	socket := filepath.Join(dir, "redis.sock")
	cmd := exec.Command("redis-server", append([]string{"--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir,
		"--rdbcompression", "no", "--sanitize-dump-payload", "yes", "--enable-debug-command", "yes"}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 500 {
		if conn, err := net.Dial("unix", socket); err == nil {
			t.Cleanup(func() { conn.Close() })
			s := &Server{t, conn, bufio.NewReader(conn)}
			s.Do("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", "1")
			return s
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("redis-server does not accept connections")
	return nil
}

// Do sends one command and returns the text of its reply, which is not an array.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	s.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(s.conn, b.String()); err != nil {
		s.t.Fatal(err)
	}
	line, err := s.r.ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line[0] != '$' {
		return line[1:]
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 {
		s.t.Fatalf("%.50q: reply %q", args, line)
	}
	body := make([]byte, n+2)
	if _, err := io.ReadFull(s.r, body); err != nil {
		s.t.Fatal(err)
	}
	return string(body[:n])
}

// Dump returns what DUMP tells of a value that is one string in RDB, as all small
// encodings are: its RDB type, and that string.
func (s *Server) Dump(key string) (rdbType byte, value []byte) {
	s.t.Helper()
	payload := []byte(s.Do("DUMP", key))
	const footer = 2 + 8 // version and checksum
	payload = payload[:len(payload)-footer]
	rdbType, payload = payload[0], payload[1:]
	n := 0
	switch payload[0] >> 6 {
	case 0:
		n, payload = int(payload[0]), payload[1:]
	case 1:
		n, payload = int(payload[0]&0x3f)<<8|int(payload[1]), payload[2:]
	case 2:
		n, payload = int(binary.BigEndian.Uint32(payload[1:])), payload[5:]
	}
	if n != len(payload) {
		s.t.Fatalf("%s, RDB type %d, is not one string of %d bytes but %d", key, rdbType, n, len(payload))
	}
	return rdbType, payload
}

// Payload returns a payload for RESTORE from what Dump returns, which the test may
// have changed. It has no checksum.
func Payload(rdbType byte, value []byte) string {
	b := []byte{rdbType, 0x80}
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	b = append(b, value...)
	b = append(b, 10, 0) // RDB version of 7.0
	return string(append(b, make([]byte, 8)...))
}
