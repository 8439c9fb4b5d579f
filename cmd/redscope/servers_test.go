package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/cmd/internal/capture"
	"github.com/redscope/redscope/flame"
	"github.com/redscope/redscope/internal/port"
	"github.com/redscope/redscope/internal/require"
)

// launchServer starts a server at path on a free port, with arguments besides.
func launchServer(t *testing.T, path string, args ...string) (pid int, addr string) {
	t.Helper()
	return launchCommand(t, exec.Command(path, args...))
}

func launchCommand(t *testing.T, cmd *exec.Cmd) (pid int, addr string) {
	t.Helper()
	if err := bpf.Supported(); err != nil {
		require.Missing(t, "ebpf", err.Error())
	}
	port := strconv.Itoa(port.Free(t))
	addr = net.JoinHostPort("127.0.0.1", port)
	cmd.Args = slices.Concat(cmd.Args[:1], []string{"--port", port, "--save", ""}, cmd.Args[1:])
	if cmd.Dir == "" {
		cmd.Dir = t.TempDir()
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	start(t, cmd)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return cmd.Process.Pid, addr
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// startServer launches a server, and SETs that go on until the test ends.
func startServer(t *testing.T, path string) (pid int) {
	t.Helper()
	pid, addr := launchServer(t, path)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-ended })
	go func() {
		defer close(ended)
		// Pipelined, so that the server does more of its own work than the kernel's.
		const batch = 16
		sets := strings.Repeat("SET test:key:name 10000000000\r\n", batch)
		in := bufio.NewReader(conn)
		for {
			if _, err := io.WriteString(conn, sets); err != nil {
				return
			}
			for range batch {
				if _, err := in.ReadString('\n'); err != nil {
					return
				}
			}
		}
	}()
	return pid
}

// builtIn is where buildServer builds; TestMain removes it.
var builtIn string

var buildOnce = sync.OnceValues(func() (path string, err error) {
	if builtIn, err = os.MkdirTemp("", "redscope-server"); err != nil {
		return "", err
	}
	path = filepath.Join(builtIn, "bin", "server")
	build := exec.Command("go", "build", "-o", path, "../server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // also with the race detector
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// buildServer builds our server as bin/server.
func buildServer(t *testing.T) string {
	t.Helper()
	require.Tool(t, "go")
	path, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// stackOf runs redscope stack on setCommand and returns the names of one stack.
func stackOf(t *testing.T, pid int) (names []string) {
	t.Helper()
	status, out, errs := runRedscope(t, "", "stack", "-p", strconv.Itoa(pid), "setCommand", "-d", patience.String())
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	if errs != "" {
		t.Errorf("it says %s", errs)
	}
	line := regexp.MustCompile(`^\t[0-9a-f]+ (\S+)\+\d+ \(/\S+\)$`)
	for l := range strings.SplitSeq(strings.TrimSuffix(out, "\n\n"), "\n") {
		if m := line.FindStringSubmatch(l); m != nil {
			names = append(names, m[1])
		} else {
			names = append(names, strings.TrimPrefix(l, "\t"))
		}
	}
	return names
}

// recorded runs redscope record, for longer and longer until parts are in what
// it wrote, and returns the stacks, also as folded text.
func recorded(t *testing.T, pid int, parts ...string) (stacks []flame.Stack, folded string) {
	t.Helper()
	for d := 2 * time.Second; ; d *= 3 {
		status, out, errs := runRedscope(t, t.TempDir(), "record", "-p", strconv.Itoa(pid), "-d", d.String(), "-F", "999", "-o=", "--folded", "-")
		if status != 0 {
			t.Fatalf("status %d: %s", status, errs)
		}
		missing := slices.IndexFunc(parts, func(p string) bool { return !strings.Contains(out, p) })
		if missing >= 0 {
			if d < patience {
				continue
			}
			t.Errorf("no sample has %s:\n%s", parts[missing], out)
		}
		p, err := flame.Read(strings.NewReader(out), "")
		if err != nil {
			t.Fatal(err)
		}
		return p.Stacks, out
	}
}

// The server of this repository under load: its whole chain, in stacks and in
// samples.
func TestOurServer(t *testing.T) {
	path := buildServer(t)
	pid := startServer(t, path)
	if got := stackOf(t, pid); len(got) < len(chain) || !slices.Equal(got[:len(chain)], chain) {
		t.Errorf("the stack is %v, want %v and what is below", got, chain)
	}

	rootFirst := slices.Clone(chain)
	slices.Reverse(rootFirst)
	stacks, folded := recorded(t, pid, strings.Join(rootFirst, ";"), "beforeSleep;handleClientsWithPendingWrites;writeToClient;")
	// A chain without gaps in every sample within a SET.
	var all, cut int64
	for _, s := range stacks {
		var names []string
		for _, f := range s.Frames {
			names = append(names, f.Name)
		}
		all += s.Count
		if slices.Contains(names, capture.Truncated) {
			cut += s.Count
		}
		if i := slices.Index(names, "setCommand"); i >= 0 && (i < len(chain) || !slices.Equal(names[i-len(chain)+1:i+1], rootFirst)) {
			t.Errorf("a sample's stack is %v", names)
		}
	}
	// That of a thread that is just being made cannot be walked.
	if cut > 1+all/200 {
		t.Errorf("%d of %d stacks are cut short:\n%s", cut, all, folded)
	}

	status, out, errs := runRedscope(t, "", "probes", path)
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	for _, name := range chain {
		// Never on the stack check, which is single-stepped.
		line := regexp.MustCompile(`(?m)^uprobe:` + regexp.QuoteMeta(path+":"+name) + `\t[0-9a-f]+\+\d+\temulated\tpush %rbp after the stack check$`)
		if !line.MatchString(out) {
			t.Errorf("%s is not listed, or with another site", name)
		}
	}
}

// A redis-server that nobody modified, compiled without frame pointers: its chain
// from main, by its unwind table. Static functions have no names.
func TestStockServer(t *testing.T) {
	pid := startServer(t, require.Redis(t))
	got := slices.DeleteFunc(stackOf(t, pid), func(n string) bool { return strings.Contains(n, "[unknown]") })
	want := []string{"setCommand", "call", "processCommand", "processInputBuffer", "readQueryFromClient", "aeMain", "main", "__libc_start_main", "_start"}
	if !slices.Equal(got, want) {
		t.Errorf("the stack is %v, want %v", got, want)
	}
	_, folded := recorded(t, pid, ";call;setCommand")
	for line := range strings.Lines(folded) {
		if strings.Contains(line, "setCommand") && !strings.Contains(line, ";_start;__libc_start_main;") {
			t.Errorf("a sample's stack is %s", line)
		}
	}

	// Where it waits.
	status, out, errs := runRedscope(t, t.TempDir(), "record", "-p", strconv.Itoa(pid), "-d", "2s", "--off-cpu", "-o=", "--folded", "-")
	if status != 0 || !strings.Contains(errs, "µs off the CPU") {
		t.Fatalf("status %d: %s", status, errs)
	}
	if !strings.Contains(out, ";main;aeMain;") || !strings.Contains(out, "epoll_wait;") {
		t.Errorf("it does not wait in epoll_wait:\n%s", out)
	}
}
