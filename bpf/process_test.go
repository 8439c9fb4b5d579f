package bpf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/klog"
	"github.com/redscope/redscope/internal/require"
)

func TestParseMaps(t *testing.T) {
	// proc(5)
	const text = `00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/dbus-daemon
7f10a0000000-7f10a0021000 r-xp 00001000 fd:101 42  /opt/a b (c)/lib.so (deleted)
7f10b0000000-7f10b0001000 rwxp 00000000 00:00 0
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0   [vdso]
`
	got, err := parseMaps([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []mapping{
		{start: 0x400000, end: 0x452000, name: "/usr/bin/dbus-daemon"},
		{start: 0x7f10a0000000, end: 0x7f10a0021000, offset: 0x1000, name: "/opt/a b (c)/lib.so"},
		{start: 0x7f10b0000000, end: 0x7f10b0001000, name: "[anon]"},
		{start: 0x7ffd00000000, end: 0x7ffd00002000, name: "[vdso]"},
	}
	if len(got) != len(want) {
		t.Fatalf("%d executable mappings, want %d: %+v", len(got), len(want), got)
	}
	for i, w := range want {
		g := got[i]
		if g.start != w.start || g.end != w.end || g.offset != w.offset || g.name != w.name {
			t.Errorf("mapping %d: %+v, want %+v", i, g, w)
		}
	}
	if got[0].file.ino != 173521 || got[1].file.ino != 42 || got[3].file != (fileID{}) {
		t.Errorf("files: %+v %+v %+v", got[0].file, got[1].file, got[3].file)
	}
}

func TestOpenProcessErrors(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Skip(err)
	}
	type errorCase struct {
		name string
		pid  int
		want string
	}
	cases := []errorCase{
		{"gone", cmd.Process.Pid, "no such process"},
		{"zero", 0, "positive"},
		{"negative", -1, "positive"},
	}
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		if tid, _ := strconv.Atoi(task.Name()); tid != os.Getpid() {
			cases = append(cases, errorCase{"thread", tid, "thread"})
			break
		}
	}
	if comm, _ := os.ReadFile("/proc/2/comm"); strings.TrimSpace(string(comm)) == "kthreadd" && Supported() == nil {
		cases = append(cases, errorCase{"kernel thread", 2, "kernel thread"})
	}
	for _, c := range cases {
		p, err := openProcess(c.pid)
		if err == nil {
			p.close()
			t.Errorf("%s: no error", c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want …%s…", c.name, err, c.want)
		}
	}
}

// helperEnv makes the test program do something else than test; see TestMain.
const helperEnv = "REDSCOPE_BPF_TEST_HELPER"

// helper runs what helperEnv asks for in a process of its own.
func helper(what string) {
	name, arg, _ := strings.Cut(what, " ")
	pid, _ := strconv.Atoi(arg)
	switch name {
	case "unprivileged": // prints what an unprivileged user is told
		fmt.Println("supported:", Supported())
		_, err := openProcess(pid)
		fmt.Println("process:", err)
	case "watch": // watches all markers until killed, and says once that it does
		said := false
		err := TraceMarkers(context.Background(), MarkerOptions{PID: pid}, func(MarkerEvent) {
			if !said {
				fmt.Println("watching")
				said = true
			}
		})
		fmt.Println(err)
	case "pauses": // looks at all commands and away from them until killed, and says when it looks
		w, err := StartCommandWatcher(CommandOptions{PID: pid, OneIn: 1, Budget: 1, Phases: true})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer w.Close()
		for look := false; err == nil; look = !look {
			err = w.shed(decision{ShedTime, look, 0})
			if look {
				fmt.Println("looking")
			}
		}
		fmt.Println(err)
	case "commands": // watches all commands until killed, and says once that it does
		w, err := StartCommandWatcher(CommandOptions{PID: pid, OneIn: 1})
		if err != nil {
			fmt.Println(err)
			return
		}
		defer w.Close()
		fmt.Println("watching")
		for err == nil {
			err = w.Drain(func(*CommandRecord) {})
			time.Sleep(pollEvery)
		}
		fmt.Println(err)
	}
}

func TestUnprivilegedIsToldWhatIsMissing(t *testing.T) {
	needEBPF(t) // as root, to become somebody else
	// The program itself may lie where only root can go.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{exe}
	cmd.Dir = "/"
	cmd.Env = []string{helperEnv + "=unprivileged " + strconv.Itoa(os.Getpid())}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Skipf("cannot run as nobody: %v %s", err, out)
	}
	for _, want := range []string{"CAP_BPF and CAP_PERFMON", "belongs to another user"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("got %s\nwant …%s…", out, want)
		}
	}
}

// An observer killed by SIGKILL leaves nothing behind, and the target goes on.
func TestKilledObserverLeavesNothing(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	observer := exec.Command(self)
	observer.Env = append(os.Environ(), helperEnv+"=watch "+strconv.Itoa(spin.Process.Pid))
	stdout, err := observer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := observer.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	attached := semaphore(t, spin, probe.Markers[0])
	if line != "watching\n" || attached != 1 {
		t.Errorf("observer said %q, semaphore %d", line, attached)
	}
	killed(t, observer, func() bool {
		return !slices.ContainsFunc(probe.Markers, func(m probe.Marker) bool { return semaphore(t, spin, m) != 0 })
	}, func() {
		ctx, cancel := context.WithCancel(t.Context())
		if err := TraceMarkers(ctx, MarkerOptions{PID: spin.Process.Pid}, func(MarkerEvent) { cancel() }); err != nil {
			t.Error(err)
		}
	})
	if err := spin.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the target did not survive: %v", err)
	}
}

// killed kills an observer and waits until the target is clean, which the kernel sees
// to when it tears the observer down. A probe that it fails to take out goes with the
// next observer, who comes and goes in again.
func killed(t *testing.T, observer *exec.Cmd, clean func() bool, again func()) {
	t.Helper()
	leaks := klog.LeakedProbes()
	observer.Process.Kill()
	observer.Wait()
	until(t, "target clean", func() bool { return clean() || klog.LeakedProbes() > leaks })
	if klog.LeakedProbes() > leaks {
		again()
		until(t, "target clean after the next observer", clean)
	}
}

// copySpin gives a copy of the test program that may be deleted or replaced.
func copySpin(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(spinPath(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "spin")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// oneStack takes one stack of setCommand.
func oneStack(t *testing.T, pid int) Stack {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var stack Stack
	if err := TraceStacks(ctx, StackOptions{PID: pid, Function: "setCommand", Count: 1}, func(s Stack) { stack = s }); err != nil {
		t.Fatal(err)
	}
	return stack
}

func TestReplacedExecutable(t *testing.T) {
	needEBPF(t)
	path := copySpin(t)
	spin := start(t, path)
	// As an upgrade does: another file under the same name.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("not a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := oneStack(t, spin.Process.Pid)
	if got := names(s.Frames); len(got) < len(chain) || !slices.Equal(got[:len(chain)], chain) {
		t.Errorf("got %v", got)
	}
	if s.Frames[0].Module != path {
		t.Errorf("module %q, want %q", s.Frames[0].Module, path)
	}
}

func TestPositionIndependentExecutable(t *testing.T) {
	needEBPF(t)
	require.Tool(t, "go")
	path := filepath.Join(t.TempDir(), "spin")
	build := exec.Command("go", "build", "-buildmode=pie", "-o", path, "./testdata/spin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	spin := start(t, path)
	s := oneStack(t, spin.Process.Pid)
	if got := names(s.Frames); len(got) < len(chain) || !slices.Equal(got[:len(chain)], chain) {
		t.Errorf("got %v", got)
	}
	if !s.Whole {
		t.Error("the stack does not reach the goroutine's start")
	}
}

// As from a host into a container: pids are numbered differently there.
func TestOtherPIDNamespace(t *testing.T) {
	needEBPF(t)
	cmd := exec.Command(spinPath(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	spin := startCommand(t, cmd)
	s := oneStack(t, spin.Process.Pid)
	if got := names(s.Frames); len(got) < len(chain) || !slices.Equal(got[:len(chain)], chain) {
		t.Errorf("got %v", got)
	}
	if s.TID != 1 {
		t.Errorf("TID %d, want 1, as it is numbered in there", s.TID)
	}
	p, err := StartProfile(ProfileOptions{PID: spin.Process.Pid, Frequency: 499})
	if err != nil {
		t.Fatal(err)
	}
	burn(t, spin.Process.Pid, 500*time.Millisecond)
	profile, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if profile.Count() < 20 {
		t.Errorf("%d samples", profile.Count())
	}
}

func TestTraceStacksEndsWithTheTarget(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t))
	n := 0
	err := TraceStacks(t.Context(), StackOptions{PID: spin.Process.Pid, Function: "setCommand"}, func(Stack) {
		if n++; n == 1 {
			spin.Process.Kill()
		}
	})
	if !errors.Is(err, ErrExited) || n == 0 {
		t.Errorf("%d stacks, error %v; want ErrExited", n, err)
	}
}

func TestTraceStacksEndsWithTheContext(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	// Called once only, before we looked.
	if err := TraceStacks(ctx, StackOptions{PID: spin.Process.Pid, Function: "aeMain"}, func(Stack) {
		t.Error("a stack of a function that is not called")
	}); err != nil {
		t.Error(err)
	}
}

func TestTraceStacksUnknownFunction(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t))
	for name, want := range map[string]string{
		"noSuchFunction": "has no function",
		"SetCommand":     "did you mean setCommand?",
		"main":           "did you mean",
	} {
		err := TraceStacks(t.Context(), StackOptions{PID: spin.Process.Pid, Function: name}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want …%s…", name, err, want)
		}
	}
}

func TestProfileEndsWithTheTarget(t *testing.T) {
	needEBPF(t)
	spin := start(t, copySpin(t))
	os.Remove(spin.Path)
	p, err := StartProfile(ProfileOptions{PID: spin.Process.Pid, Frequency: 999})
	if err != nil {
		t.Fatal(err)
	}
	burn(t, spin.Process.Pid, 500*time.Millisecond)
	spin.Process.Kill()
	spin.Wait()
	select {
	case <-p.Exited():
	case <-time.After(patience):
		t.Fatal("its exit was not noticed")
	}
	profile, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if !profile.Exited || profile.Count() < 50 {
		t.Errorf("Exited %v, %d samples", profile.Exited, profile.Count())
	}
	named := uint64(0)
	for _, s := range profile.Samples {
		if slices.Contains(names(s.Stack), "aeMain") {
			named += s.Count
		}
	}
	if named*10 < profile.Count()*8 {
		t.Errorf("%d of %d samples have names after the exit", named, profile.Count())
	}
}

// A thread that starts after the recording is in it; and so is the vdso, where
// reading the clock happens.
func TestProfileSeesNewThreadAndVDSO(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t), "late")
	p, err := StartProfile(ProfileOptions{PID: spin.Process.Pid, Frequency: 499})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(spin.stdin, "go")
	burn(t, spin.Process.Pid, time.Second)
	profile, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	var late, vdso uint64
	for _, s := range profile.Samples {
		if slices.Contains(names(s.Stack), "lateThread") {
			late += s.Count
		}
		if slices.ContainsFunc(s.Stack, func(f Frame) bool { return f.Module == "[vdso]" && f.Symbol != "" }) {
			vdso += s.Count
		}
	}
	t.Logf("%d samples, %d in the late thread, %d with a name in the vdso, %d broken", profile.Count(), late, vdso, profile.Broken)
	if late < 20 || vdso == 0 {
		t.Errorf("%d samples in the late thread, %d in the vdso", late, vdso)
	}
}

func TestStartProfileRefusesFrequency(t *testing.T) {
	for _, f := range []int{-1, MaxFrequency + 1} {
		if _, err := StartProfile(ProfileOptions{PID: os.Getpid(), Frequency: f}); err == nil || !strings.Contains(err.Error(), "frequency") {
			t.Errorf("%d Hz: %v", f, err)
		}
	}
}

// A server that has just been executed is not taken for one of an unknown version.
func TestServerThatIsStarting(t *testing.T) {
	needEBPF(t)
	stock := require.Redis(t)
	ours, err := buildServer()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // the kernel knows the debugger by its thread
	defer runtime.UnlockOSThread()
	for _, path := range []string{stock, ours} {
		cmd := exec.Command(path, "--port", "0", "--unixsocket", filepath.Join(t.TempDir(), "socket"))
		cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true} // stops before its first instruction
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		if _, err := syscall.Wait4(cmd.Process.Pid, nil, 0, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := StartCommandWatcher(CommandOptions{PID: cmd.Process.Pid}); !errors.Is(err, ErrStarting) {
			t.Errorf("%s: %v", path, err)
		}
		if err := syscall.PtraceDetach(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		until(t, path+" watched", func() bool {
			w, err := StartCommandWatcher(CommandOptions{PID: cmd.Process.Pid})
			if err != nil {
				return false
			}
			defer w.Close()
			limits, err := w.Limits()
			if err != nil || len(limits) > 0 {
				t.Errorf("%s: %q, %v", path, limits, err)
			}
			return true
		})
	}
}

// What an older kernel says, as the errors of this one.
func TestOldKernels(t *testing.T) {
	unsupported := fmt.Errorf("map create: %w", ebpf.ErrNotSupported)
	for want, err := range map[string]error{
		"this kernel lacks eBPF ring buffers, in Linux since 5.8; redscope probes, usdt, flame and diff work": lacking("eBPF ring buffers", "5.8", unsupported),
		"in a container, run it with --privileged":                                                            lacking("eBPF ring buffers", "5.8", unix.EPERM),
		"watching commands needs Linux 5.15, this is 5.10; redscope record and stack work from 5.8 on":        oldForCommands(unsupported, 5<<16|10<<8|200),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v; want …%s…", err, want)
		}
	}
	for _, err := range []error{lacking("x", "1.0", nil), oldForCommands(nil, 5<<16)} {
		if err != nil {
			t.Error(err)
		}
	}
	if err := oldForCommands(unsupported, 5<<16|15<<8); err != unsupported {
		t.Errorf("of a kernel that is new enough: %v", err)
	}
}

// memoryText stays where it is, other than what is on a stack.
var memoryText = []byte("what is to be read")

// Memory is the same through its file and through the system call that does without.
func TestMemory(t *testing.T) {
	p, err := openProcess(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	defer p.close()
	file, err := p.memory()
	if err != nil {
		t.Fatal(err)
	}
	defer file.close()
	text := memoryText
	addr := int64(uintptr(unsafe.Pointer(&text[0])))
	for _, m := range []*memory{file, {pid: os.Getpid()}} {
		got := make([]byte, len(text))
		if n, err := m.ReadAt(got, addr); n != len(got) || err != nil || string(got) != string(text) {
			t.Errorf("%q, %d, %v", got, n, err)
		}
		if _, err := m.ReadAt(got, 0); err == nil {
			t.Error("there is something at 0")
		}
	}
}

func TestParseCPUs(t *testing.T) {
	for in, want := range map[string][]int{"0\n": {0}, "0-3,8": {0, 1, 2, 3, 8}, "x": nil} {
		if got := parseCPUs(in); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}
