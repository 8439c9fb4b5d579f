// Package child runs a server as a child process for as long as it is needed:
// it waits until the server answers, notices when it dies, reads what it
// consumed, and stops it. It must never leave a process behind, not even when
// the parent is killed.
package child

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/cmd/loadgen/internal/query"
)

// Host is where the servers listen: the loopback, so that nobody else reaches
// them.
const Host = "127.0.0.1"

const (
	readyWithin = 15 * time.Second       // from the start until it answers PING
	stopWithin  = 10 * time.Second       // from SIGTERM until SIGKILL
	pollEvery   = 5 * time.Millisecond   // between attempts to reach it
	pipesWithin = 500 * time.Millisecond // from its death until its pipes are given up
	tailBytes   = 4096                   // of its output that are kept
)

// A Server is a running child.
type Server struct {
	Port int
	Args []string // the command line, program first

	// PID is the process that serves: the child itself, or a process of its
	// group when the command is a wrapper.
	PID int

	group int // process group = pid of the child
	done  chan struct{}
	state *os.ProcessState // valid when done is closed
	out   tail
}

// FreePort finds a port of the loopback that nobody listens on. Another process
// could take it before the server does; Start notices.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", Host+":0")
	if err != nil {
		return 0, fmt.Errorf("cannot find a free port on %s: %w", Host, err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Command splits a command line into words as a shell does, with quotes and
// backslashes but no expansion, after replacing {port}.
func Command(line string, port int) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	escaped := false
	for _, r := range strings.ReplaceAll(line, "{port}", strconv.Itoa(port)) {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("the command %q ends within a quotation", line)
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, errors.New("the server's command is empty")
	}
	return words, nil
}

// Start runs the command line args, which must make a server listen on port of
// Host, and returns when it answers. When ctx ends before, so does the server.
func Start(ctx context.Context, args []string, port int) (*Server, error) {
	// Asked first, because a server that cannot have the port and one that
	// answers there in its place are hard to tell apart afterwards.
	l, err := net.Listen("tcp", net.JoinHostPort(Host, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("port %d is not free (%w): choose another one, or stop the process that listens there", port, cause(err))
	}
	l.Close()

	s := &Server{Port: port, Args: args, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The death signal is sent when the *thread* that started the child
		// ends (prctl(2)), so that thread stays for as long as the child runs.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = &s.out, &s.out
		cmd.WaitDelay = pipesWithin
		// A group of its own: a terminal's Ctrl-C reaches us alone, and we stop
		// the server in order; and what the server starts can be killed with it.
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		err := cmd.Start()
		if err == nil {
			s.group = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // how it ended is in ProcessState
		s.state = cmd.ProcessState
		s.killGroup()
		close(s.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start the server %s: %w", args[0], cause(err))
	}
	if err := s.waitReady(ctx); err != nil {
		s.Kill()
		return nil, err
	}
	return s, nil
}

func (s *Server) waitReady(ctx context.Context) error {
	deadline := time.Now().Add(readyWithin)
	for {
		err := s.ready()
		if err == nil {
			return nil
		}
		var foreign foreignError
		if errors.As(err, &foreign) {
			return err
		}
		select {
		case <-s.done:
			return fmt.Errorf("the server %s did not come up: %s", s.Args[0], s.Ending())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollEvery):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server %s did not answer on port %d within %v (%w)%s", s.Args[0], s.Port, readyWithin, cause(err), s.words())
		}
	}
}

// foreignError says that somebody else answers in the server's place.
type foreignError struct{ port, pid int }

func (e foreignError) Error() string {
	return fmt.Sprintf("port %d is answered by process %d, which is not the server that was started: choose another port", e.port, e.pid)
}

func (s *Server) ready() error {
	c, err := query.Dial(Host, s.Port)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Do("PING"); err != nil {
		return err
	}
	info, err := c.Info("server")
	if err != nil {
		return err
	}
	s.PID = s.group
	if pid, err := strconv.Atoi(info["process_id"]); err == nil && pid != s.group {
		if group, err := unix.Getpgid(pid); err != nil || group != s.group {
			return foreignError{s.Port, pid}
		}
		s.PID = pid
	}
	return nil
}

// Done is closed when the child has died.
func (s *Server) Done() <-chan struct{} { return s.done }

// Ending says how the child ended and what it said last. The child must have died.
func (s *Server) Ending() string {
	how := "ended without a status"
	if s.state != nil {
		how = s.state.String()
	}
	return how + s.words()
}

// words are the last lines of the output, for the end of a message.
func (s *Server) words() string {
	lines := s.out.lines()
	if len(lines) == 0 {
		return ", without a word"
	}
	// One line of a message: the last three say why, in every server known.
	return "; it said: " + strings.Join(lines[max(0, len(lines)-3):], " | ")
}

// Stop ends the server in order, as SIGTERM does, and reports when it did not
// end well.
func (s *Server) Stop() error {
	select {
	case <-s.done:
	default:
		// Signalled by its id, which cannot be another's while Wait has not returned.
		_ = unix.Kill(s.PID, unix.SIGTERM)
	}
	select {
	case <-s.done:
	case <-time.After(stopWithin):
		s.Kill()
		return fmt.Errorf("the server did not stop within %v and was killed", stopWithin)
	}
	if s.state != nil && !s.state.Success() {
		return fmt.Errorf("the server ended with %s", s.Ending())
	}
	return nil
}

// Kill ends the server and whatever it started, at once.
func (s *Server) Kill() {
	select {
	case <-s.done:
		return
	default:
	}
	s.killGroup()
	<-s.done
}

func (s *Server) killGroup() { _ = unix.Kill(-s.group, unix.SIGKILL) }

// CPU is the CPU time, user and system, of all threads of the server so far,
// those that ended included, in nanoseconds as the scheduler counts them. It
// is read from the process's CPU clock; /proc/PID/stat counts in ticks of 10 ms,
// and /proc/PID/task/*/schedstat forgets threads that ended.
func (s *Server) CPU() (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED, linux/posix-timers_types.h
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^s.PID<<3|sched), &ts); err != nil {
		return 0, fmt.Errorf("cannot read the CPU time of process %d: %w", s.PID, err)
	}
	return time.Duration(ts.Nano()), nil
}

// RSS is the resident memory of the server in bytes, exactly: the counters of
// /proc/PID/status lag behind by up to some pages per CPU, so the mappings are
// summed where the kernel lets us.
func (s *Server) RSS() (int64, error) {
	for _, file := range []string{"smaps_rollup", "status"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.PID, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) >= 2 && (fields[0] == "Rss:" || fields[0] == "VmRSS:") {
				kib, err := strconv.ParseInt(fields[1], 10, 64)
				return kib << 10, err
			}
		}
	}
	return 0, fmt.Errorf("cannot read the resident memory of process %d", s.PID)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - tailBytes; over > 0 {
		t.text = t.text[:copy(t.text, t.text[over:])]
	}
	return len(p), nil
}

func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for line := range strings.Lines(string(t.text)) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// cause strips the address and the call that net and exec put around an error
// number, which the message says in its own words.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
