package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/cmd/loadgen/internal/child"
	"github.com/redscope/redscope/cmd/loadgen/internal/query"
	"github.com/redscope/redscope/internal/port"
	"github.com/redscope/redscope/internal/require"
)

// The test binary is also the program under test, as the environment says, and
// a stand-in for a server, when its first argument is argStandIn.
const (
	argStandIn = "stand-in" // then how it behaves, and the port

	envMain = "LOADGEN_TEST_MAIN"  // run main
	envFile = "LOADGEN_TEST_FSIZE" // limit on the size of files, in bytes
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == argStandIn {
		standIn(os.Args[2], os.Args[3])
		return
	}
	if os.Getenv(envMain) != "" {
		if n, err := strconv.ParseUint(os.Getenv(envFile), 10, 64); err == nil {
			if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: n}); err != nil {
				panic(err)
			}
		}
		main()
		return
	}
	os.Exit(m.Run())
}

// standIn is as much of a server as the main job needs, so that its tests need
// no Redis.
func standIn(how, port string) {
	if how == "dies at once" {
		fmt.Fprintln(os.Stderr, "# Fatal: the moon is full")
		os.Exit(3)
	}
	// Ends in order at SIGTERM, as servers do.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		if how != "ignores SIGTERM" {
			os.Exit(0)
		}
	}()
	l, err := net.Listen("tcp", child.Host+":"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var mu sync.Mutex
	var value string
	var sets, clients int
	var lost bool
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			mu.Lock()
			clients++
			mu.Unlock()
			in, out := bufio.NewReader(c), bufio.NewWriter(c)
			for {
				args, err := readCommand(in)
				mu.Lock()
				if err != nil {
					clients--
					mu.Unlock()
					c.Close()
					return
				}
				switch strings.ToUpper(args[0]) {
				case "SET":
					sets++
					value = args[2]
					if how == "loses a write" && !lost {
						lost, sets = true, sets-1
					}
					if how == "dies midway" && sets == 1000 {
						fmt.Fprintln(os.Stderr, "# Out of memory allocating 42 bytes!")
						os.Exit(3)
					}
					io.WriteString(out, map[bool]string{true: "-OOM command not allowed when used memory > 'maxmemory'.\r\n", false: "+OK\r\n"}[how == "refuses"])
				case "GET":
					fmt.Fprintf(out, "$%d\r\n%s\r\n", len(value), value)
				case "DBSIZE":
					io.WriteString(out, ":1\r\n")
				case "INFO":
					text := fmt.Sprintf("# Server\r\nredis_version:0.0.1\r\nprocess_id:%d\r\n", os.Getpid())
					switch args[1] {
					case "commandstats":
						text = fmt.Sprintf("# Commandstats\r\ncmdstat_set:calls=%d,usec=1\r\n", sets)
					case "clients":
						text = fmt.Sprintf("# Clients\r\nconnected_clients:%d\r\n", clients)
					}
					fmt.Fprintf(out, "$%d\r\n%s\r\n", len(text), text)
				default:
					io.WriteString(out, "+PONG\r\n")
				}
				mu.Unlock()
				if in.Buffered() == 0 {
					out.Flush()
				}
			}
		}()
	}
}

func readCommand(in *bufio.Reader) ([]string, error) {
	var n int
	if _, err := fmt.Fscanf(in, "*%d\r\n", &n); err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		var size int
		if _, err := fmt.Fscanf(in, "$%d\r\n", &size); err != nil {
			return nil, err
		}
		text := make([]byte, size+2)
		if _, err := io.ReadFull(in, text); err != nil {
			return nil, err
		}
		args[i] = string(text[:size])
	}
	return args, nil
}

// patience is how long tests wait for what must come: it only passes when a test
// fails.
const patience = 10 * time.Minute

// job is a run of the program.
type job struct {
	t              *testing.T
	cmd            *exec.Cmd
	dir            string
	stdout, stderr bytes.Buffer
	port           int
}

// newJob prepares "loadgen run" with a stand-in that behaves as how says, or
// with the server command given in its place.
func newJob(t *testing.T, how, command string, args ...string) *job {
	t.Helper()
	j := &job{t: t, dir: filepath.Join(t.TempDir(), "out"), port: port.Free(t)}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if command == "" {
		command = fmt.Sprintf("'%s' %s '%s' {port}", self, argStandIn, how)
	}
	args = append([]string{"run", "--out", j.dir, "--server-command", command, "-p", strconv.Itoa(j.port)}, args...)
	j.cmd = exec.Command(self, args...)
	j.cmd.Env = append(os.Environ(), envMain+"=1")
	j.cmd.Stdout, j.cmd.Stderr = &j.stdout, &j.stderr
	return j
}

// run runs it to its end and returns the exit status.
func (j *job) run() int {
	j.t.Helper()
	if err := j.cmd.Start(); err != nil {
		j.t.Fatal(err)
	}
	return j.wait()
}

func (j *job) wait() int {
	j.t.Helper()
	timer := time.AfterFunc(patience, func() { j.cmd.Process.Kill() })
	defer timer.Stop()
	err := j.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		j.t.Fatal(err)
	}
	j.serverIsGone()
	return j.cmd.ProcessState.ExitCode()
}

// serverIsGone fails the test when something listens on the server's port still.
func (j *job) serverIsGone() {
	j.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(child.Host, strconv.Itoa(j.port))); err == nil {
			l.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	j.t.Errorf("the server was left running: %v", err)
}

// lastLine is the message that the run ended with; progress comes before it.
func (j *job) lastLine() string {
	lines := strings.Split(strings.TrimSpace(j.stderr.String()), "\n")
	return lines[len(lines)-1]
}

// files lists what is in the output directory.
func (j *job) files() []string {
	j.t.Helper()
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		j.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (j *job) report() report {
	j.t.Helper()
	text, err := os.ReadFile(filepath.Join(j.dir, fileReport))
	if err != nil {
		j.t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(text, &rep); err != nil {
		j.t.Fatal(err)
	}
	return rep
}

func TestMainJob(t *testing.T) {
	j := newJob(t, "works", "", "-n", "20000")
	if status := j.run(); status != 0 {
		t.Fatalf("exit status %d: %s", status, &j.stderr)
	}
	checkReport(t, j.report(), 20000)
	for _, want := range []string{"redis-set: 20,000 requests in ", " requests per second\n", " p50 ", " p99.9 ", "the last value is 10000019999", "report.json\n"} {
		if !strings.Contains(j.stdout.String(), want) {
			t.Errorf("the output lacks %q: %s", want, &j.stdout)
		}
	}
}

func TestMainJobOnRedis(t *testing.T) {
	require.Tool(t, "redis")
	j := newJob(t, "", `redis-server --port {port} --save ""`, "-n", "50000")
	if status := j.run(); status != 0 {
		t.Fatalf("exit status %d: %s", status, &j.stderr)
	}
	rep := j.report()
	checkReport(t, rep, 50000)
	if !strings.HasPrefix(rep.Server.Version, "7.") {
		t.Errorf("the version is %q", rep.Server.Version)
	}
	if rep.Profile.Source == "ebpf" {
		for _, name := range []string{fileFlame, fileFolded, filePprof, fileStack} {
			if !slices.Contains(j.files(), name) {
				t.Errorf("there is no %s among %v", name, j.files())
			}
		}
	}
}

func checkReport(t *testing.T, rep report, n int64) {
	t.Helper()
	if rep.Failure != "" || rep.Requests != n || rep.Errors != 0 || rep.Throughput <= 0 || rep.Server.CPUSeconds <= 0 || rep.Server.ResidentSize <= 0 {
		t.Errorf("the report is %+v", rep)
	}
	v := rep.Verified
	if v == nil || !v.OK || v.Calls != n || v.Keys != "1" || v.LastValue != strconv.FormatInt(9999999999+n, 10) {
		t.Errorf("verified: %+v", v)
	}
	if l := rep.LatencyMS; l["min"] <= 0 || l["min"] > l["p50"] || l["p50"] > l["p99"] || l["p99"] > l["max"] {
		t.Errorf("latencies: %v", l)
	}
}

func TestMainJobFailures(t *testing.T) {
	for _, c := range []struct {
		how    string
		report bool // there is a report that names the failure
		want   string
	}{
		{"dies at once", false, "did not come up: exit status 3; it said: # Fatal: the moon is full"},
		{"dies midway", true, "requests: exit status 3; it said: # Out of memory allocating 42 bytes!"},
		{"loses a write", true, "the server did not do what was sent: it counts 4,999 SETs of 5,000"},
		{"refuses", true, "5,000 of 5,000 requests were answered by an error, the first: OOM command not allowed"},
	} {
		t.Run(c.how, func(t *testing.T) {
			j := newJob(t, c.how, "", "-n", "5000", "-q")
			if status := j.run(); status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
			if got := j.stderr.String(); !strings.Contains(got, c.want) || strings.Count(got, "\n") != 1 {
				t.Errorf("got %q, want one line with %q", got, c.want)
			}
			checkNoParts(t, j)
			if !c.report {
				return
			}
			if rep := j.report(); !strings.Contains(rep.Failure, c.want) {
				t.Errorf("the report names the failure %q", rep.Failure)
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	j := newJob(t, "works", "", "-n", "10")
	l, err := net.Listen("tcp", net.JoinHostPort(child.Host, strconv.Itoa(j.port)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	earlier := filepath.Join(j.dir, fileFlame)
	if err := errors.Join(os.MkdirAll(j.dir, 0o755), os.WriteFile(earlier, []byte("earlier"), 0o644)); err != nil {
		t.Fatal(err)
	}
	_ = j.cmd.Run() // its status is looked at next
	if status := j.cmd.ProcessState.ExitCode(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if want := fmt.Sprintf("loadgen: port %d is not free (address already in use): choose another one, or stop the process that listens there\n", j.port); j.stderr.String() != want {
		t.Errorf("got %q, want %q", &j.stderr, want)
	}
	if text, err := os.ReadFile(earlier); string(text) != "earlier" {
		t.Errorf("the earlier run's file is %q, %v", text, err)
	}
}

func TestNoSuchServer(t *testing.T) {
	j := newJob(t, "", "/nowhere/redis-server --port {port}")
	if status := j.run(); status != 1 || !strings.Contains(j.stderr.String(), "cannot start the server /nowhere/redis-server: no such file or directory") {
		t.Errorf("exit status %d, %q", status, &j.stderr)
	}
}

// begin starts a run that lasts until it is stopped, and returns when the load
// has begun.
func (j *job) begin() {
	j.t.Helper()
	if err := j.cmd.Start(); err != nil {
		j.t.Fatal(err)
	}
	// More than all connections together can have sent without an answer.
	j.await("the load did not begin", func(c *query.Conn) bool {
		n, err := c.Calls("set")
		return err == nil && n > 1000
	})
}

// await asks the server until it is as f wants it.
func (j *job) await(otherwise string, f func(*query.Conn) bool) {
	j.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		c, err := query.Dial(child.Host, j.port)
		if err != nil {
			continue
		}
		done := f(c)
		c.Close()
		if done {
			return
		}
	}
	j.cmd.Process.Kill()
	j.t.Fatalf("%s: %s", otherwise, &j.stderr)
}

func TestInterrupt(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		j := newJob(t, "works", "", "-n", "1000000000000")
		j.begin()
		j.cmd.Process.Signal(sig)
		if status := j.wait(); status != 1 {
			t.Errorf("%v: exit status %d, want 1", sig, status)
		}
		if got := j.lastLine(); !strings.HasPrefix(got, "loadgen: interrupted after ") || !strings.Contains(got, j.dir) {
			t.Errorf("%v: the last line is %q", sig, got)
		}
		rep := j.report()
		if rep.Requests == 0 || !strings.HasPrefix(rep.Failure, "interrupted") {
			t.Errorf("%v: the report is %+v", sig, rep)
		}
		checkNoParts(t, j)
	}
}

func TestKilled(t *testing.T) {
	j := newJob(t, "works", "", "-n", "1000000000000")
	j.begin()
	j.cmd.Process.Kill()
	j.wait() // which checks that the server is gone
}

// checkNoParts fails the test when the output directory has half a file.
func checkNoParts(t *testing.T, j *job) {
	t.Helper()
	for _, name := range j.files() {
		if !slices.Contains(outFiles, name) {
			t.Errorf("%s was left", name)
		}
	}
}

func TestFileTooLarge(t *testing.T) {
	j := newJob(t, "works", "", "-n", "2000", "-q")
	j.cmd.Env = append(j.cmd.Env, envFile+"=100") // less than any file
	if status := j.run(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if got := j.lastLine(); !strings.Contains(got, "cannot write "+j.dir) || !strings.Contains(got, "file too large: the limit on file sizes (ulimit -f) is too low") {
		t.Errorf("the last line is %q", got)
	}
	if files := j.files(); len(files) > 0 {
		t.Errorf("left: %v", files)
	}
}

func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system of 4 KiB")
	}
	j := newJob(t, "works", "", "-n", "2000", "-q")
	if err := os.MkdirAll(j.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", j.dir, "tmpfs", 0, "size=4k,nr_inodes=16"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	defer unix.Unmount(j.dir, 0)
	if err := os.WriteFile(filepath.Join(j.dir, "others"), bytes.Repeat([]byte("x"), 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	if status := j.run(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if got := j.lastLine(); !strings.Contains(got, "cannot write "+j.dir) || !strings.Contains(got, "no space left on device: free some space") {
		t.Errorf("the last line is %q", got)
	}
	if files := j.files(); !slices.Equal(files, []string{"others"}) {
		t.Errorf("left: %v", files)
	}
}

func TestOutputDirectoryCannotBeMade(t *testing.T) {
	j := newJob(t, "works", "", "-n", "10", "--out", "/proc/nothing")
	if status := j.run(); status != 1 || !strings.Contains(j.stderr.String(), "cannot make the directory for the results") {
		t.Errorf("exit status %d, %q", status, &j.stderr)
	}
}

func TestUsage(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		want   string // in stdout for status 0, in stderr otherwise
	}{
		{"--help", 0, "Examples:"},
		{"-h", 0, "Examples:"},
		{"run --help", 0, "Examples:"},
		{"compare --help", 0, "Examples:"},
		{"watch --help", 0, "Examples:"},
		{"watch nonsense", 2, "takes no argument"},
		{"watch --rounds 0", 2, "must be at least 1"},
		{"watch --seconds 61", 2, "at most 60"},
		{"watch --write /dev/null", 1, "no line <!-- watch -->"},
		{"--nonsense", 2, "not defined: -nonsense"},
		{"-c 0", 2, "-c must be at least 1"},
		{"-p 70000 PING", 2, "-p must be a port"},
		{"-t set,nonsense", 2, "there is no test called nonsense"},
		{"-x", 2, "-x needs a command"},
		{"run nonsense", 2, "takes no argument"},
		{"run -n 0", 2, "must be at least 1"},
		{"compare --server nonsense", 2, "want NAME=COMMAND"},
		{"compare -P 1,2 -n 1,2,x", 2, `"x" is not a number`},
		{"compare --rate fast", 2, "--rate must be a number of requests per second, or half"},
		{"compare --rate 5 --table", 2, "does not go with --table"},
		{"compare --rounds 0", 2, "must be at least 1"},
		{"compare --write README.md", 2, "--write goes with --table"},
		{"compare --table -P 1,16", 2, "one pipeline"},
		{"compare --table -r -1", 2, "-r of at least 1"},
		{"compare --table --server a=b", 2, "two servers, not 1"},
		{"compare --table -t get,ping", 2, "no line called ping"},
		{"compare --table --json --write x", 2, "not --json"},
		{"compare --table --write /dev/null", 1, "no line <!-- compare -->"},
		{"-p 1 -n 1 PING", 1, "cannot connect to 127.0.0.1:1: connection refused"},
	} {
		cmd := exec.Command(self, strings.Fields(c.args)...)
		cmd.Env = append(os.Environ(), envMain+"=1")
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run() // its status is looked at next
		got := stderr.String()
		if c.status == 0 {
			got = stdout.String()
		}
		if status := cmd.ProcessState.ExitCode(); status != c.status || !strings.Contains(got, c.want) {
			t.Errorf("loadgen %s: exit status %d, %q; want %d, %q", c.args, status, got, c.status, c.want)
		}
		if c.status != 0 && (strings.Count(got, "\n") != 1 || stdout.Len() > 0) {
			t.Errorf("loadgen %s: more than one line: %q %q", c.args, got, &stdout)
		}
	}
}

// A second interrupt does not wait for anything.
func TestSecondInterrupt(t *testing.T) {
	j := newJob(t, "ignores SIGTERM", "", "-n", "1000000000000", "-q")
	j.begin()
	j.cmd.Process.Signal(syscall.SIGINT)
	j.await("the first interrupt does not end the load", func(c *query.Conn) bool {
		info, err := c.Info("clients")
		return err == nil && info["connected_clients"] == "1"
	})
	j.cmd.Process.Signal(syscall.SIGINT)
	if status := j.wait(); status != 1 {
		t.Errorf("exit status %d", status)
	}
	if got := j.lastLine(); got != "loadgen: killed by a second interrupt" {
		t.Errorf("the last line is %q", got)
	}
}
