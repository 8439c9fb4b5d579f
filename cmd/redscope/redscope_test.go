package main

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/flame"
	"github.com/redscope/redscope/internal/require"
)

// asMain makes the test program be redscope, so that tests run it as a user does.
const asMain = "REDSCOPE_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		degrade()
		main()
	}
	code := m.Run()
	os.RemoveAll(builtIn)
	os.Exit(code)
}

// patience is how long tests wait for what must come: it only passes when a test
// fails.
const patience = time.Minute

// redscope prepares a run of redscope.
func redscope(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	cmd.Dir = dir
	return cmd
}

// runRedscope runs it and returns its exit status and what it printed.
func runRedscope(t *testing.T, dir string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := redscope(t, dir, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// start starts a program, which ends with the test.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
}

func TestExitStatus(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.folded"), []byte("main;f 3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad.folded"), []byte("main;f\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   string
		status int
		want   string // part of what it prints
	}{
		{"", 2, "Usage: redscope COMMAND"},
		{"-h", 0, "Examples:"},
		{"nonsense", 2, `no command "nonsense"`},
		{"record -h", 0, "Examples:"},
		{"stack --help", 0, "Examples:"},
		{"probes -h", 0, "Examples:"},
		{"flame -h", 0, "Examples:"},
		{"diff -h", 0, "Examples:"},
		{"record", 2, "which process?"},
		{"record -p 0", 2, "positive"},
		{"record -p 1 -F 0", 2, "from 1 to 10000"},
		{"record -p 1 -F 99 --off-cpu", 2, "no meaning"},
		{"record -p 1 --by nonsense", 2, "command, phase and key"},
		{"record -p 1 --by key,key", 2, "twice"},
		{"record -p 1 --command get,", 2, "a command is missing"},
		{"record -p 1 --key-separator ::", 2, "one byte"},
		{"record -p 1 -d 0s", 2, "must be positive"},
		{"record -p 1 -d seven", 2, "invalid value"},
		{"record -p 1 --nonsense", 2, "not defined"},
		{"record -p 1 extra", 2, `unexpected "extra"`},
		{"record -p 1 --palette nonsense", 2, "no palette"},
		{"record -p 1 -o - --folded -", 2, "standard output"},
		{"record -p 1 -o none/flame.svg", 1, "none/flame.svg"},
		{"record -p no-such-process", 1, "no process is called"},
		{"stack -p 1", 2, "one function"},
		{"stack -p 1 f g", 2, "one function"},
		{"stack -p 1 f -n -3", 2, "negative"},
		{"top -h", 0, "Examples:"},
		{"top", 2, "which process?"},
		{"top -p 1 --phase nonsense", 2, `no phase "nonsense"`},
		{"top -p 1 --every 1ms", 2, "100ms"},
		{"top -p 1 --json -o -", 2, "standard output"},
		{"top -p 1 -o none/latency.svg", 1, "create none/latency.svg"},
		{"trace -h", 0, "Examples:"},
		{"trace -p 1 extra", 2, `no operand "extra"`},
		{"trace -p 1 --slower-than -1s", 2, "negative"},
		{"trace -p 1 --for -1s", 2, "negative"},
		{"probes", 2, "give a file"},
		{"probes none", 1, "no such file"},
		{"flame", 2, "give one file"},
		{"flame none", 1, "none"},
		{"flame bad.folded", 1, "bad.folded"},
		{"flame a.folded -o out.svg", 0, "wrote out.svg"},
		{"flame a.folded --palette io -o - ", 0, "<svg"},
		{"flame a.folded -o -", 0, "<svg"},
		{"flame a.folded --folded - -o=", 0, "main;f 3"},
		{"flame a.folded -o=", 2, "nothing to write"},
		{"diff a.folded", 2, "name two commands"},
		{"diff a.folded --command get", 2, "name two commands"},
		{"diff", 2, "two files"},
		{"diff a.folded --command get,set", 1, "does not tell commands apart"},
		{"flame a.folded --command get", 1, "does not tell commands apart"},
		{"flame a.folded --by command", 1, "does not tell commands apart"},
		{"diff a.folded a.folded", 0, "wrote diff.svg"},
	} {
		status, out, errs := runRedscope(t, dir, strings.Fields(c.args)...)
		if status != c.status || !strings.Contains(out+errs, c.want) {
			t.Errorf("redscope %s: status %d, want %d with …%s…\n%s%s", c.args, status, c.status, c.want, out, errs)
		}
		if status == 2 && len(c.args) > 0 && strings.Count(errs, "\n") != 1 {
			t.Errorf("redscope %s: more than one line on stderr:\n%s", c.args, errs)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func TestParseTakesFlagsAndOperandsInAnyOrder(t *testing.T) {
	for _, args := range []string{"-n 3 a b", "a -n 3 b", "a b -n 3", "a -n=3 -- b"} {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		n := fs.Int("n", 0, "")
		operands, err := parse(fs, strings.Fields(args))
		if err != nil || *n != 3 || !slices.Equal(operands, []string{"a", "b"}) {
			t.Errorf("%s: n=%d, operands %q, error %v", args, *n, operands, err)
		}
	}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	if operands, err := parse(fs, []string{"--", "-x", "y"}); err != nil || !slices.Equal(operands, []string{"-x", "y"}) {
		t.Errorf("%q, %v", operands, err)
	}
}

func TestProcessesNamed(t *testing.T) {
	proc := t.TempDir()
	for pid, p := range map[string]struct{ comm, exe, cmdline string }{
		"10": {"redis-server", "/usr/bin/redis-check-rdb", "redis-server *:6379\x00"},
		"11": {"other", "/opt/redis-server (deleted)", "/opt/redis-server\x00--port\x007000\x00"},
		"12": {"redis-cli", "/usr/bin/redis-cli", "redis-cli\x00"},
		"2":  {"redis-server", "", ""}, // a kernel thread of that name
		"x":  {"redis-server", "", "not a pid\x00"},
	} {
		dir := filepath.Join(proc, pid)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := errors.Join(os.WriteFile(filepath.Join(dir, "comm"), []byte(p.comm+"\n"), 0o644),
			os.WriteFile(filepath.Join(dir, "cmdline"), []byte(p.cmdline), 0o644))
		if p.exe != "" {
			err = errors.Join(err, os.Symlink(p.exe, filepath.Join(dir, "exe")))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := processesNamed(proc, "redis-server")
	want := []process{{10, "/usr/bin/redis-check-rdb", "redis-server *:6379", false}, {11, "/opt/redis-server", "/opt/redis-server --port 7000", false}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestOutputKeepsTheOldFileOnFailure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := create(path)
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := o.write(func(w io.Writer) error { io.WriteString(w, "half"); return boom }); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
	o.discard()
	if data, _ := os.ReadFile(path); string(data) != "old" {
		t.Errorf("the file holds %q", data)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("%d files left", len(entries))
	}
}

// startSpin builds and starts the test program of bpf under the given name.
func startSpin(t *testing.T, name string) (pid int, path string) {
	t.Helper()
	if err := bpf.Supported(); err != nil {
		require.Missing(t, "ebpf", err.Error())
	}
	require.Tool(t, "go")
	path = filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", path, "../../bpf/testdata/spin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // also with the race detector
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return startProgram(t, path), path
}

func startProgram(t *testing.T, path string) (pid int) {
	t.Helper()
	cmd := exec.Command(path)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

// The chain that a SET passes, leaf first.
var chain = []string{"setCommand", "call", "processCommand", "processCommandAndResetClient", "processInputBuffer",
	"readQueryFromClient", "callHandler", "connSocketEventHandler", "aeProcessEvents", "aeMain", "main.main"}

func TestStack(t *testing.T) {
	pid, path := startSpin(t, "redscope-spin-a")
	status, out, errs := runRedscope(t, "", "stack", "-p", "redscope-spin-a", "setCommand", "-n", "2")
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	stacks := strings.Split(strings.TrimSuffix(out, "\n\n"), "\n\n")
	if len(stacks) != 2 {
		t.Fatalf("%d stacks, want 2:\n%s", len(stacks), out)
	}
	line := regexp.MustCompile(`^\t[0-9a-f]+ (\S+)\+\d+ \(` + regexp.QuoteMeta(path) + `\)$`)
	for _, s := range stacks {
		lines := strings.Split(s, "\n")
		for i, want := range chain {
			if i >= len(lines) {
				t.Fatalf("too short:\n%s", s)
			}
			if m := line.FindStringSubmatch(lines[i]); m == nil || m[1] != want {
				t.Errorf("line %d is %q, want %s", i+1, lines[i], want)
			}
		}
	}

	status, _, errs = runRedscope(t, "", "stack", "-p", strconv.Itoa(pid), "aeMain", "-d", "300ms")
	if status != 1 || !strings.Contains(errs, "aeMain was not called within 300ms") {
		t.Errorf("a function that is not called: status %d, %s", status, errs)
	}
	status, _, errs = runRedscope(t, "", "stack", "-p", strconv.Itoa(pid), "noSuchFunction")
	if status != 1 || !strings.Contains(errs, "redscope probes") {
		t.Errorf("a function that there is not: status %d, %s", status, errs)
	}

	// A second of that name: which one?
	startProgram(t, path)
	status, _, errs = runRedscope(t, "", "stack", "-p", "redscope-spin-a", "setCommand")
	if status != 1 || !strings.Contains(errs, fmt.Sprintf("\n  %d  ", pid)) {
		t.Errorf("an ambiguous name: status %d, %s", status, errs)
	}
}

func TestRecord(t *testing.T) {
	pid, _ := startSpin(t, "redscope-spin-b")
	dir := t.TempDir()
	var samples int64
	// A second is enough where the process spins for a tenth of it.
	for d := time.Second; samples < 20; d *= 3 {
		if d > patience {
			t.Fatalf("%d samples of a spinning process", samples)
		}
		status, _, errs := runRedscope(t, dir, "record", "-p", strconv.Itoa(pid), "-d", d.String(), "-F", "499",
			"-o", "flame.svg", "--folded", "s.folded", "--pprof", "s.pb.gz", "--palette", "io", "--title", "redis-set")
		if status != 0 {
			t.Fatalf("status %d: %s", status, errs)
		}
		m := regexp.MustCompile(`(\d+) samples in (\S+) at 499 Hz`).FindStringSubmatch(errs)
		if m == nil {
			t.Fatalf("no summary in %q", errs)
		}
		samples, _ = strconv.ParseInt(m[1], 10, 64)
	}

	svg, err := os.ReadFile(filepath.Join(dir, "flame.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(svg, new(struct{})); err != nil {
		t.Errorf("flame.svg is no XML: %v", err)
	}
	for _, want := range []string{"redis-set", "setCommand", "499 Hz"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("flame.svg does not contain %q", want)
		}
	}
	for _, name := range []string{"s.folded", "s.pb.gz"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p, err := flame.Read(f, "")
		if err != nil {
			t.Fatal(err)
		}
		if total, err := flame.Total(p.Stacks); err != nil || total != samples {
			t.Errorf("%s has %d samples, want %d (%v)", name, total, samples, err)
		}
	}
	folded, _ := os.ReadFile(filepath.Join(dir, "s.folded"))
	if want := "redscope-spin-b;"; !bytes.HasPrefix(folded, []byte(want)) {
		t.Errorf("folded stacks do not begin with the thread's name:\n%s", folded)
	}
}

// awaitSamples waits until a recorder samples a spinning target, and until that
// has used enough of processor time to be in a hundred samples.
func awaitSamples(t *testing.T, recorder, target int) {
	t.Helper()
	await := func(what string, done func() bool) {
		t.Helper()
		for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	await("the recorder opens no perf event", func() bool {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", recorder))
		return slices.ContainsFunc(files, func(file string) bool {
			name, _ := os.Readlink(file)
			return name == "anon_inode:[perf_event]"
		})
	})
	used := func() time.Duration {
		const sched = 2 // CPUCLOCK_SCHED, linux/posix-timers_types.h
		var now unix.Timespec
		if err := unix.ClockGettime(int32(^target<<3|sched), &now); err != nil {
			t.Fatal(err)
		}
		return time.Duration(now.Nano())
	}
	begin := used()
	await("the target does not run", func() bool { return used() > begin+time.Second })
}

func TestRecordKeepsWhatItHasWhenInterrupted(t *testing.T) {
	pid, _ := startSpin(t, "redscope-spin-c")
	for _, c := range []struct {
		name string
		end  func(*exec.Cmd)
		want string
	}{
		{"interrupt", func(cmd *exec.Cmd) { cmd.Process.Signal(os.Interrupt) }, "interrupted after"},
		{"target killed", func(*exec.Cmd) { syscall.Kill(pid, syscall.SIGKILL) }, "the process exited after"},
	} {
		dir := t.TempDir()
		cmd := redscope(t, dir, "record", "-p", strconv.Itoa(pid), "-d", "1h")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		awaitSamples(t, cmd.Process.Pid, pid)
		c.end(cmd)
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v: %s", c.name, err, errs.String())
			}
		case <-time.After(patience):
			cmd.Process.Kill()
			t.Fatalf("%s: still running after %v", c.name, patience)
		}
		if !strings.Contains(errs.String(), c.want) {
			t.Errorf("%s: %q; want …%s…", c.name, errs.String(), c.want)
		}
		svg, err := os.ReadFile(filepath.Join(dir, "flame.svg"))
		if err != nil || !bytes.Contains(svg, []byte("setCommand")) {
			t.Errorf("%s: flame.svg lacks setCommand (%v)", c.name, err)
		}
	}
}

func TestProbes(t *testing.T) {
	path := require.Redis(t)
	status, out, errs := runRedscope(t, "", "probes", path, "setCommand")
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	// What bpftrace -l lists of a redis-server, among others.
	for _, name := range []string{"getsetCommand", "hsetCommand", "lsetCommand", "msetCommand", "resetCommand", "resetCommandTableStats", "setCommand"} {
		line := regexp.MustCompile(`(?m)^uprobe:` + regexp.QuoteMeta(path+":"+name) + `\t[0-9a-f]+\+\d+\t(nop5|emulated|single-step)\t\S.*$`)
		if !line.MatchString(out) {
			t.Errorf("%s is not listed in:\n%s", name, out)
		}
	}
	if status, _, errs := runRedscope(t, "", "probes", path, "noSuchFunction"); status != 1 {
		t.Errorf("a filter that nothing matches: status %d, %s", status, errs)
	}
}
