// Package oracle starts a real redis-server, for the tests of what has to do the
// same, byte for byte, and asks it how it lays out a value. It is for tests only, and
// must never leave a server behind, not even when the test is killed.
package oracle

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/port"
	"github.com/redscope/redscope/internal/require"
	"github.com/redscope/redscope/internal/wire"
)

// Server is a redis-server of this machine that runs for one test.
type Server struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// patience is how long the server may take: it only passes when a test fails.
const patience = time.Minute

// Start starts one, which does not compress what it dumps and checks all of what it
// restores but the checksum, unless args say otherwise, or ends the test as
// require.Tool does.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	addr := Listen(t, append([]string{"--rdbcompression", "no", "--sanitize-dump-payload", "yes", "--enable-debug-command", "yes"}, args...)...)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &Server{t, conn, bufio.NewReader(conn)}
	s.Do("DEBUG", "SET-SKIP-CHECKSUM-VALIDATION", "1")
	return s
}

// Listen starts a redis-server with these arguments besides, of which the first may
// be a configuration file, for the duration of the test, and returns its address. It
// ends the test as require.Tool does.
func Listen(t testing.TB, args ...string) (addr string) {
	t.Helper()
	require.Tool(t, "redis")
	port := strconv.Itoa(port.Free(t))
	options := []string{"--port", port, "--save", "", "--dir", t.TempDir()}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		options = append(slices.Clone(args), options...)
	} else {
		options = append(options, args...)
	}
	addr = net.JoinHostPort("127.0.0.1", port)
	if !answers(t, addr, run(t, options)) {
		t.Fatalf("redis-server %q does not run", args)
	}
	return addr
}

// answers waits until the server accepts connections, or has ended.
func answers(t testing.TB, addr string, ended <-chan struct{}) bool {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			// Leave no client behind: scripts count them.
			io.WriteString(conn, "QUIT\r\n")
			io.Copy(io.Discard, conn)
			conn.Close()
		}
		select {
		case <-ended:
			return false
		default:
		}
		if err == nil {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("redis-server does not accept connections on %s", addr)
	return false
}

// run starts redis-server and tells when it has ended, which it has after the test.
func run(t testing.TB, args []string) (ended <-chan struct{}) {
	t.Helper()
	cmd := exec.Command("redis-server", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan struct{})
	go func() {
		// The death signal is sent when the *thread* that started the child ends
		// (prctl(2)), so that thread stays for as long as the child runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is killed
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
	})
	return done
}

// Do sends one command and returns the text of its reply, which is neither an array
// nor null.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	s.conn.SetDeadline(time.Now().Add(patience))
	if _, err := s.conn.Write(wire.Command(args...)); err != nil {
		s.t.Fatal(err)
	}
	v, err := wire.ReadReply(s.r)
	if err != nil || v.Items != nil || v.Kind == wire.NilBulk {
		s.t.Fatalf("%.50q: reply %s, %v", args, v, err)
	}
	return v.Text
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
