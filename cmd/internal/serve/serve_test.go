package serve

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestChild is the server that TestSignalsIgnored runs.
func TestChild(t *testing.T) {
	if os.Getenv("SERVE_TEST_SOCKET") == "" {
		t.Skip("run by TestSignalsIgnored")
	}
	srv, stop := Start([]string{"--port", "0", "--unixsocket", os.Getenv("SERVE_TEST_SOCKET"), "--loglevel", "verbose"})
	srv.Serve()
	stop()
}

// TestSignalsIgnored wants a server to outlive the reader of its log, and the
// terminal that it was started from, as redis-server does.
func TestSignalsIgnored(t *testing.T) {
	socket := t.TempDir() + "/s"
	child := exec.Command(os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), "SERVE_TEST_SOCKET="+socket)
	log, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Process.Kill(); child.Wait() })
	for lines := bufio.NewScanner(log); lines.Scan() && !strings.Contains(lines.Text(), "Ready to accept"); {
	}
	log.Close()
	child.Process.Signal(syscall.SIGHUP)
	for range 3 {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(conn, "PING\r\n")
		answer := make([]byte, 7)
		if _, err := io.ReadFull(conn, answer); err != nil {
			t.Fatalf("no answer: %v", err)
		}
		conn.Close() // which the server logs
		time.Sleep(50 * time.Millisecond)
	}
}
