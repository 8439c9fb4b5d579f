package bpf

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/require"
)

// redisServer is our server, built and started.
type redisServer struct {
	*exec.Cmd
	port string
}

var buildServer = sync.OnceValues(func() (string, error) {
	if _, err := buildSpin(); err != nil { // makes spinDir
		return "", err
	}
	path := filepath.Join(spinDir, "server")
	out, err := exec.Command("go", "build", "-o", path, "../cmd/server").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func newRedisServer(t *testing.T) *redisServer {
	t.Helper()
	needEBPF(t)
	require.Tool(t, "go")
	path, err := buildServer()
	if err != nil {
		t.Fatal(err)
	}
	s := &redisServer{port: freePort(t)}
	s.Cmd = exec.Command(path, "--port", s.port, "--enable-debug-command", "yes")
	s.Dir = t.TempDir()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill(); s.Wait() })
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			conn.Close()
			return s
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// respClient is a connection that is spoken to in inline commands.
type respClient struct {
	t *testing.T
	net.Conn
	in *bufio.Reader
}

func (s *redisServer) dial(t *testing.T) *respClient {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &respClient{t, conn, bufio.NewReader(conn)}
}

// do sends a line and returns the first line of the reply, or the whole of a bulk.
func (c *respClient) do(line string) string {
	c.t.Helper()
	c.send(line)
	return c.reply()
}

func (c *respClient) send(line string) {
	c.t.Helper()
	if _, err := fmt.Fprint(c, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *respClient) reply() string {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	line = strings.TrimRight(line, "\r\n")
	if n, err := strconv.Atoi(strings.TrimPrefix(line, "$")); line[0] == '$' && err == nil && n >= 0 {
		bulk := make([]byte, n+2)
		for got := 0; got < len(bulk); {
			n, err := c.in.Read(bulk[got:])
			if err != nil {
				c.t.Fatal(err)
			}
			got += n
		}
		return string(bulk[:n])
	}
	return line
}

// commandstats returns the calls and the refused calls of all commands, by the
// names that INFO gives them, and their sums under "".
func (c *respClient) commandstats() (calls, refused map[string]uint64) {
	c.t.Helper()
	calls, refused = map[string]uint64{}, map[string]uint64{}
	for line := range strings.Lines(c.do("INFO commandstats")) {
		name, rest, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "cmdstat_")), ":calls=")
		if !ok {
			continue
		}
		var n, no uint64
		fmt.Sscanf(rest, "%d", &n)
		_, rest, _ = strings.Cut(rest, "rejected_calls=")
		fmt.Sscanf(rest, "%d", &no)
		calls[name], refused[name] = n, no
		calls[""] += n
		refused[""] += no
	}
	return calls, refused
}

func watchCommands(t *testing.T, opts CommandOptions) *CommandWatcher {
	t.Helper()
	w, err := StartCommandWatcher(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func (w *CommandWatcher) totals(t *testing.T) CommandTotals {
	t.Helper()
	totals, err := w.Totals()
	if err != nil {
		t.Fatal(err)
	}
	return totals
}

// statsName is the name of a command as INFO commandstats has it.
func statsName(name string) string { return strings.ToLower(strings.Replace(name, " ", "|", 1)) }

func TestCommandRecordIsOneInCAndGo(t *testing.T) {
	c, g := reflect.TypeFor[turnCommand](), reflect.TypeFor[probe.Command]()
	if c.Size() != g.Size() {
		t.Errorf("%d bytes in C, %d in Go", c.Size(), g.Size())
	}
	for i := range g.NumField() {
		f := g.Field(i)
		in, ok := c.FieldByName(f.Name)
		if !ok || in.Offset != f.Offset || in.Type.Size() != f.Type.Size() {
			t.Errorf("%s is at %d in Go, at %d in C (%t)", f.Name, f.Offset, in.Offset, ok)
		}
	}
}

func TestCommandsAreCounted(t *testing.T) {
	s := newRedisServer(t)
	c := s.dial(t)
	c.do("SET before 1")
	w := watchCommands(t, CommandOptions{PID: s.Process.Pid, OneIn: 1})
	c.do("PING") // the turn after this command is watched
	before, refused := c.commandstats()
	_ = refused
	for range 100 {
		c.do("SET key value")
		c.do("GET key")
	}
	c.do("LPUSH key x")
	c.do("NONSENSE")
	c.do("GET")
	after, _ := c.commandstats()
	w.Detach()
	n := 0
	for range 1 {
		w.Drain(func(r *CommandRecord) {
			n++
			if n < 5 || r.ErrorCode() != "" {
				t.Logf("%s %q %q %+v", r.Name, r.FirstKey(), r.ErrorCode(), r.Command)
				for p := range Phase(PhaseCount) {
					d, ok := r.Phase(p)
					t.Log(p, d, ok)
				}
			}
		})
	}
	t.Log(before[""], after[""], n)
	t.Logf("%+v", w.totals(t))
	stats, err := w.Snapshot()
	for _, s := range stats {
		t.Log(s.Name, s.Calls, s.Failed, s.Refused, s.ReplyBytes, s.Phases[PhaseCall].Quantile(0.5), s.Phases[PhaseTotal].Quantile(0.99))
	}
	t.Log(err)
}
