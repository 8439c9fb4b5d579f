package child

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/port"
	"github.com/redscope/redscope/internal/require"
)

// The words are those that a shell makes of the line.
func TestCommand(t *testing.T) {
	for _, line := range []string{
		`redis-server --port {port} --save ""`,
		`  a   b	c  `,
		`'/a dir/server' "two words" it\'s 'a"b' "a'b" x""y \  "q\"q"`,
		`server --save '' --requirepass "{port}"`,
	} {
		got, err := Command(line, 7200)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		out, err := exec.Command("sh", "-c", `printf '%s\0' `+strings.ReplaceAll(line, "{port}", "7200")).Output()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
	for _, line := range []string{"", "  ", `a 'b`, `a "b`, `a \`} {
		if got, err := Command(line, 1); err == nil {
			t.Errorf("%q was accepted as %q", line, got)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var out tail
	for range 1000 {
		out.Write([]byte("a line of some length, again and again\n"))
	}
	out.Write([]byte("the last\n\n"))
	lines := out.lines()
	if lines[len(lines)-1] != "the last" || len(out.text) > tailBytes {
		t.Errorf("%d bytes, the last line %q", len(out.text), lines[len(lines)-1])
	}
}

func startRedis(t *testing.T, command string) *Server {
	t.Helper()
	require.Tool(t, "redis")
	port := port.Free(t)
	args, err := Command(command, port)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(context.Background(), args, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// The CPU time is what the kernel gives to who waits for the process.
func TestCPU(t *testing.T) {
	s := startRedis(t, `redis-server --port {port} --save ""`)
	if out, err := exec.Command("redis-benchmark", "-p", strconv.Itoa(s.Port), "-n", "100000", "-P", "16", "-t", "set", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err := s.CPU()
	if err != nil {
		t.Fatal(err)
	}
	rss, err := s.RSS()
	if err != nil || rss < 4<<20 || rss > 200<<20 {
		t.Errorf("resident: %d, %v", rss, err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	want := s.state.UserTime() + s.state.SystemTime()
	// It used a little more until it ended.
	if got > want || got < want-100*time.Millisecond || got < 10*time.Millisecond {
		t.Errorf("the CPU time is %v, then %v when it ended", got, want)
	}
}

// A wrapper's server is found, measured and stopped.
func TestWrapper(t *testing.T) {
	s := startRedis(t, `sh -c 'redis-server --port {port} --save ""; true'`)
	comm, err := os.ReadFile("/proc/" + strconv.Itoa(s.PID) + "/comm")
	if err != nil || !bytes.HasPrefix(comm, []byte("redis-server")) {
		t.Errorf("process %d is %q, %v", s.PID, comm, err)
	}
	pid := s.PID
	s.Kill()
	// Dead, whether or not the process that inherited it has taken note.
	gone := func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	}
	for end := time.Now().Add(time.Minute); !gone(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server was left running")
		}
	}
}

// Somebody else's answer on the port is not taken for the server's.
func TestForeignServer(t *testing.T) {
	other := startRedis(t, `redis-server --port {port} --save ""`)
	_, err := Start(context.Background(), []string{"sleep", "60"}, other.Port)
	if err == nil || !strings.Contains(err.Error(), "is not free") {
		t.Errorf("a port in use: %v", err)
	}
	// As if the other one had taken the port after that check.
	s := &Server{Port: other.Port, group: os.Getpid(), done: make(chan struct{})}
	if err := s.ready(); err == nil || !strings.Contains(err.Error(), "not the server that was started") {
		t.Errorf("got %v", err)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	port := port.Free(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := Start(ctx, []string{"sleep", "60"}, port); err == nil || time.Since(began) > readyWithin {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
