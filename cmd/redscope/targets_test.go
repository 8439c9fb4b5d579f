package main

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/internal/klog"
	"github.com/redscope/redscope/internal/require"
)

func TestForked(t *testing.T) {
	for stat, want := range map[string]bool{
		"":                                     false,
		"10 (redis-server) S 1 10":             false,
		"10 (redis-server) S 1 10 10 0 -1 0":   false, // executed a program
		"10 (redis-server) S 1 10 9 0 -1 64":   true,
		"10 (a) S 1 (b) S 1 10 9 0 -1 4194368": true,
		"10 (redis-server) S 1 10 10 0 -1 64":  false, // a daemon
	} {
		if got := forked(10, []byte(stat)); got != want {
			t.Errorf("%q: %v", stat, got)
		}
	}
}

// serverCopies are the paths of a server of ours and a stock one, under names that no
// other process has.
func serverCopies(t *testing.T) map[string]string {
	t.Helper()
	copies := map[string]string{}
	for kind, path := range map[string]string{"ours": buildServer(t), "stock": require.Redis(t)} {
		copies[kind] = copyAs(t, path, fmt.Sprintf("%s-%d", kind, os.Getpid()))
	}
	return copies
}

func copyAs(t *testing.T, path, name string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// load sends a few commands to a server now and again, until the test ends or the
// server is gone.
func load(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		in := bufio.NewReader(conn)
		for {
			if _, err := io.WriteString(conn, "SET key value\r\nGET key\r\n"); err != nil {
				return
			}
			for range 3 {
				if _, err := in.ReadString('\n'); err != nil {
					return
				}
			}
			time.Sleep(time.Millisecond)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-ended })
}

// tracer is a redscope trace --json that is running.
type tracer struct {
	*exec.Cmd
	t        *testing.T
	stderr   said
	seen     sync.Map // CLOCK_MONOTONIC of the last record, by pid
	accounts []account
	ended    chan struct{} // when the output has
}

// said is what a program has printed so far.
type said struct {
	sync.Mutex
	text bytes.Buffer // not embedded: its ReadFrom would be used, without the lock
}

func (s *said) Write(b []byte) (int, error) {
	s.Lock()
	defer s.Unlock()
	return s.text.Write(b)
}

func (s *said) String() string {
	s.Lock()
	defer s.Unlock()
	return s.text.String()
}

func startTrace(t *testing.T, args ...string) *tracer {
	t.Helper()
	tr := &tracer{t: t, ended: make(chan struct{})}
	tr.Cmd = redscope(t, "", append([]string{"trace", "--slower-than", "0", "--one-in", "100", "--json"}, args...)...)
	tr.Cmd.Stderr = &tr.stderr
	out, err := tr.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, tr.Cmd)
	go func() {
		defer close(tr.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if bytes.Contains(lines.Bytes(), []byte(`"commands":`)) {
				var a account
				if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
					t.Error(err)
				}
				tr.accounts = append(tr.accounts, a)
				continue
			}
			var r jsonRecord
			if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
				t.Error(err)
			}
			tr.seen.Store(r.PID, r.Start)
		}
	}()
	return tr
}

// await waits for a record of a process, of a command that is yet to come.
func (tr *tracer) await(pid int) {
	tr.t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		tr.t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if last, ok := tr.seen.Load(pid); ok && last.(int64) > now.Nano() {
			return
		}
		if time.Now().After(end) {
			tr.t.Fatalf("no command of pid %d was seen", pid)
		}
	}
}

// interrupt ends it, and returns the accounts, which have been checked.
func (tr *tracer) interrupt() []account {
	tr.t.Helper()
	if err := tr.Process.Signal(os.Interrupt); err != nil {
		tr.t.Fatal(err)
	}
	<-tr.ended
	if err := tr.Wait(); err != nil {
		tr.t.Fatalf("%v: %s", err, &tr.stderr)
	}
	checkAccounts(tr.t, tr.accounts)
	return tr.accounts
}

// checkAccounts wants each to add up, and the last to be the sum of those before. What
// was missed, as the end of a call is when a server executes itself, is dropped.
func checkAccounts(t *testing.T, accounts []account) {
	t.Helper()
	var sum account
	for i, a := range accounts {
		if a.Commands > a.ServerCommands || a.Commands+a.Dropped < a.ServerCommands || a.Spans+a.Filtered+a.Dropped != a.ServerCommands {
			t.Errorf("%+v does not add up", a)
		}
		if i < len(accounts)-1 {
			sum.Commands += a.Commands
			sum.Spans += a.Spans
			sum.Filtered += a.Filtered
			sum.Dropped += a.Dropped
			sum.ServerCommands += a.ServerCommands
		}
	}
	if len(accounts) > 1 && accounts[len(accounts)-1] != sum {
		t.Errorf("%+v is not the sum of those before", accounts)
	}
}

// Two servers of one name, one of the other kind and a pid that there is not: who
// they are is asked, each is counted for itself, and the last is reported.
func TestSeveralTargets(t *testing.T) {
	paths := serverCopies(t)
	name := filepath.Base(paths["stock"])
	pids, addrs := make([]int, 3), make([]string, 3)
	for i, kind := range []string{"stock", "stock", "ours"} {
		pids[i], addrs[i] = launchServer(t, paths[kind])
	}
	slices.Sort(pids[:2]) // as those of a name are: pids begin anew now and then
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}

	status, _, errs := runRedscope(t, "", "top", "-p", name)
	if status != 1 || !strings.Contains(errs, "--all") || !strings.Contains(errs, fmt.Sprintf("\n  %d  ", pids[1])) {
		t.Errorf("a name of two: status %d, %s", status, errs)
	}
	status, _, errs = runRedscope(t, "", "top", "-p", strconv.Itoa(gone.Process.Pid), "-p", strconv.Itoa(gone.Process.Pid+1<<22))
	if status != 1 || !strings.Contains(errs, fmt.Sprintf("note: pid %d: no such process\n", gone.Process.Pid)) || !strings.Contains(errs, "none of these 2 ") {
		t.Errorf("two pids that there are not: status %d, %s", status, errs)
	}

	for _, addr := range addrs {
		load(t, addr)
	}
	list := fmt.Sprintf("%d,%d", pids[2], gone.Process.Pid)
	tr := startTrace(t, "-p", name, "--all", "-p", list, "-p", strconv.Itoa(pids[0]))
	for _, pid := range pids {
		tr.await(pid)
	}
	accounts := tr.interrupt()
	for i, a := range accounts {
		if want := append(slices.Clone(pids), 0)[i]; a.PID != want || a.Spans == 0 {
			t.Errorf("account %d is of pid %d, want %d: %+v", i, a.PID, want, a)
		}
	}
	if got := tr.stderr.String(); len(accounts) != 4 || got != fmt.Sprintf("note: pid %d: no such process\n", gone.Process.Pid) {
		t.Errorf("%d accounts, it says %s", len(accounts), got)
	}

	// All are attached before the time begins, which has a key of one command in 101.
	args := []string{"top", "-p", name, "--all", "-p", strconv.Itoa(pids[2]), "--for", "3s"}
	status, out, errs := runRedscope(t, "", args...)
	if status != 0 || errs != "" {
		t.Fatalf("status %d: %s", status, errs)
	}
	for _, pid := range pids[:2] {
		server := fmt.Sprintf("\n%s[%d] ", name, pid)
		if n := strings.Count("\n"+out, server); n != 4 {
			t.Errorf("%d lines of %s, want its rates, SET, GET and a key", n, server)
		}
		if want := fmt.Sprintf("\n%s[%d]: ", name, pid); !strings.Contains(out, want) {
			t.Errorf("no account of %s", want)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
	status, out, errs = runRedscope(t, "", append(args, "--json")...)
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 7 {
		t.Fatalf("%d lines, want three pictures, three accounts and the sum:\n%s", len(lines), out)
	}
	accounts = nil
	for i, line := range lines {
		var p struct {
			PID   int
			Table []jsonCommand
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		if i < 3 {
			if p.PID != pids[i] || len(p.Table) != 2 || p.Table[0].Calls == 0 {
				t.Errorf("picture %d: %s", i, line)
			}
			continue
		}
		var a account
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		accounts = append(accounts, a)
	}
	checkAccounts(t, accounts)
}

// A server is killed in the middle of its work and comes again: the watching goes on,
// and accounts for both. What a killed server leaves behind is not taken for it.
func TestFollowsRestarts(t *testing.T) {
	for kind, path := range serverCopies(t) {
		t.Run(kind, func(t *testing.T) {
			name := filepath.Base(path)
			saving := []string{}
			if kind == "stock" {
				saving = []string{"--rdb-key-save-delay", "100000000"} // µs
			}
			first, addr := launchServer(t, path, saving...)
			if kind == "stock" {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprint(conn, "SET key value\r\nBGSAVE\r\n")
				in := bufio.NewReader(conn)
				for range 2 {
					if line, err := in.ReadString('\n'); err != nil || line[0] != '+' {
						t.Fatal(line, err)
					}
				}
				both, err := processesNamed("/proc", name)
				fork := slices.IndexFunc(both, func(p process) bool { return p.forked })
				if err != nil || len(both) != 2 || fork < 0 {
					t.Fatalf("%+v, %v; want a server and its fork", both, err)
				}
				t.Cleanup(func() { syscall.Kill(both[fork].pid, syscall.SIGKILL) })
			}
			load(t, addr)
			tr := startTrace(t, "-p", name)
			tr.await(first)
			// A pid is the process alone.
			byPID := startTrace(t, "-p", strconv.Itoa(first))
			byPID.await(first)
			if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-byPID.ended
			if err := byPID.Wait(); err != nil {
				t.Error(err)
			}
			if got := byPID.stderr.String(); len(byPID.accounts) != 1 || got != fmt.Sprintf("note: pid %d exited\n", first) {
				t.Errorf("%+v, it says %s", byPID.accounts, got)
			}
			checkAccounts(t, byPID.accounts)

			second, addr := launchServer(t, path)
			load(t, addr)
			tr.await(second)
			accounts := tr.interrupt()
			if len(accounts) != 3 || accounts[0].PID != first || accounts[1].PID != second || accounts[1].Spans == 0 {
				t.Errorf("accounts %+v of pids %d and %d", accounts, first, second)
			}
			want := fmt.Sprintf("note: %s[%d] exited; waiting for another %s\nnote: watching %s[%d]\n", name, first, name, name, second)
			if got := tr.stderr.String(); got != want {
				t.Errorf("it says %s\nwant %s", got, want)
			}
		})
	}
}

// A server that executes itself again is another one under the same pid.
func TestFollowsDebugRestart(t *testing.T) {
	pid, client := watchedServer(t, require.Redis(t))
	tr := startTrace(t, "-p", strconv.Itoa(pid))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if client.Ping(ctx).Err() != nil {
				time.Sleep(10 * time.Millisecond) // until it is there again
			}
		}
	}()
	t.Cleanup(func() { stop(); <-done })
	tr.await(pid)
	client.Do(ctx, "DEBUG", "RESTART")
	for end := time.Now().Add(patience); !strings.Contains(tr.stderr.String(), "began anew"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the restart was not noticed")
		}
	}
	tr.await(pid)
	if accounts := tr.interrupt(); len(accounts) != 3 || accounts[1].PID != pid || accounts[1].Spans == 0 {
		t.Errorf("accounts %+v", accounts)
	}
}

// untouched reports whether the code of a process is that of its file.
func untouched(t *testing.T, pid int) bool {
	t.Helper()
	exe, err := elf.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	text := slices.IndexFunc(exe.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 })
	want, err := io.ReadAll(exe.Progs[text].Open())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var start, end uint64
		var perms string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &start, &end, &perms); err != nil || !strings.Contains(perms, "x") || !strings.HasSuffix(line, path+"\n") {
			continue
		}
		got := make([]byte, len(want))
		if _, err := mem.ReadAt(got, int64(start+exe.Progs[text].Off%0x1000)); err != nil {
			t.Fatal(err)
		}
		return bytes.Equal(got, want)
	}
	t.Fatalf("pid %d has no code", pid)
	return false
}

// A redscope killed by SIGKILL leaves no probe in any of those that it watched.
func TestKilledLeavesNothing(t *testing.T) {
	if err := bpf.Supported(); err != nil {
		require.Missing(t, "ebpf", err.Error())
	}
	var pids []int
	var args []string
	for _, path := range serverCopies(t) {
		pid, addr := launchServer(t, path)
		load(t, addr)
		pids = append(pids, pid)
		args = append(args, "-p", strconv.Itoa(pid))
	}
	tr := startTrace(t, args...)
	for _, pid := range pids {
		tr.await(pid)
		if untouched(t, pid) {
			t.Errorf("pid %d is watched, but its code is that of its file", pid)
		}
	}
	leaks := klog.LeakedProbes()
	tr.Process.Kill()
	tr.Wait()
	// The kernel takes the probes out when it tears the process down, or fails to: then
	// they go with the next redscope.
	for _, pid := range pids {
		next := false
		for end := time.Now().Add(patience); !untouched(t, pid); time.Sleep(10 * time.Millisecond) {
			if !next && klog.LeakedProbes() > leaks {
				next = true
				startAttached(t, pid, "top").interrupt()
			}
			if time.Now().After(end) {
				t.Fatalf("there is still a probe in pid %d", pid)
			}
		}
	}
}
