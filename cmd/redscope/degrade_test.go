package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
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

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/internal/require"
)

// These make redscope's surroundings poorer than they are; see degrade.
const (
	withoutCapabilities = "REDSCOPE_TEST_WITHOUT_CAPABILITIES" // any value
	withoutDirectories  = "REDSCOPE_TEST_WITHOUT"              // with colons between; wants a mount namespace of its own
)

// degrade takes from this process what the environment says.
func degrade() {
	fail := func(what string, err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, what, err)
			os.Exit(3)
		}
	}
	if dirs := os.Getenv(withoutDirectories); dirs != "" {
		fail("keeping mounts to ourselves:", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
		for dir := range strings.SplitSeq(dirs, ":") {
			if err := unix.Mount("none", dir, "tmpfs", 0, ""); !errors.Is(err, unix.ENOENT) {
				fail("hiding "+dir+":", err)
			}
		}
	}
	if os.Getenv(withoutCapabilities) != "" {
		runtime.LockOSThread()
		for _, c := range []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_BPF, unix.CAP_PERFMON} {
			fail("dropping a capability:", unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0))
		}
		// Root gets those that are left by executing a program.
		os.Unsetenv(withoutCapabilities)
		fail("executing itself:", unix.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
}

// redscopeAs runs redscope with other attributes or surroundings, and returns what
// runRedscope does.
func redscopeAs(t *testing.T, attr *syscall.SysProcAttr, env string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
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
	cmd := exec.Command("/proc/self/fd/3", args...)
	cmd.ExtraFiles = []*os.File{exe}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), asMain+"=1", env)
	cmd.SysProcAttr = attr
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); errors.Is(err, unix.EPERM) {
		require.Missing(t, "ebpf", err.Error())
	} else if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// few are the first n of all with -short, else all.
func few[T any](n int, all ...T) []T {
	if testing.Short() {
		return all[:n]
	}
	return all
}

// looks are the commands that look into a process, for a short time.
func looks(pid int) [][]string {
	p := strconv.Itoa(pid)
	return [][]string{
		{"top", "-p", p, "--for", "100ms"},
		{"trace", "-p", p, "--for", "100ms"},
		{"stack", "-p", p, "setCommand", "-d", "100ms"},
		{"record", "-p", p, "-d", "100ms", "-o=", "--folded", "-"},
	}
}

// work is a command that looks into a busy server, and what it must print.
type work struct{ args, want string }

func works(pid string) []work {
	return []work{
		{"top -p " + pid + " --for TIME", "SET "},
		{"stack -p " + pid + " setCommand", "setCommand+"},
		{"trace -p " + pid + " --one-in 1000 --for TIME", "SET "},
		{"record -p " + pid + " -d TIME -o= --folded -", "aeMain;"},
	}
}

// does runs the command and wants it to print what it must; for longer and longer, as
// a busy machine may leave the server without a CPU for a while.
func (w work) does(t *testing.T, run func(args ...string) (status int, stdout, stderr string)) (stderr string) {
	t.Helper()
	for d := 200 * time.Millisecond; ; d *= 5 {
		args := strings.ReplaceAll(w.args, "TIME", d.String())
		status, out, errs := run(strings.Fields(args)...)
		if status == 0 && strings.Contains(out, w.want) {
			return errs
		}
		if status != 0 || d > patience {
			t.Errorf("%s: status %d, %s\n%s", args, status, errs, out)
			return errs
		}
	}
}

// refuses wants redscope to fail with one line that says want.
func refuses(t *testing.T, what string, status int, stderr, want string) {
	t.Helper()
	if status != 1 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, want) {
		t.Errorf("%s: status %d, want 1 and a line with …%s…:\n%s", what, status, want, stderr)
	}
}

// alive wants a server to answer.
func alive(t *testing.T, addr string) {
	t.Helper()
	client := newClient(t, addr)
	if err := client.Ping(context.Background()).Err(); err != nil {
		t.Errorf("the server does not answer: %v", err)
	}
}

func TestWithoutCapabilities(t *testing.T) {
	pid, addr := launchServer(t, buildServer(t))
	for _, args := range few(1, looks(pid)...) {
		status, _, errs := redscopeAs(t, nil, withoutCapabilities+"=1", args...)
		refuses(t, "as root, "+args[0], status, errs, "eBPF needs CAP_BPF and CAP_PERFMON: run as root")
		nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		status, _, errs = redscopeAs(t, nobody, "", args...)
		refuses(t, "as nobody, "+args[0], status, errs, "it belongs to another user or is protected; run as root")
	}
	alive(t, addr)
}

// The capabilities that the error names are enough for another user's processes.
func TestWithFewCapabilities(t *testing.T) {
	for _, path := range few(1, require.Redis(t), buildServer(t)) {
		p := strconv.Itoa(startServer(t, path))
		for _, w := range few(2, works(p)...) {
			attr := &syscall.SysProcAttr{
				Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
				AmbientCaps: []uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_SYS_PTRACE},
			}
			errs := w.does(t, func(args ...string) (int, string, string) { return redscopeAs(t, attr, "", args...) })
			if note := "note: what looking costs is not measured: that needs CAP_SYS_ADMIN\n"; strings.HasPrefix(w.args, "top") && errs != note {
				t.Errorf("top of %s says %s", path, errs)
			}
		}
	}
}

// One's own processes want CAP_SYS_PTRACE not even.
func TestOwnProcessWithoutPtrace(t *testing.T) {
	server := exec.Command(require.Redis(t))
	server.Dir = "/"
	nobody := syscall.Credential{Uid: 65534, Gid: 65534}
	server.SysProcAttr = &syscall.SysProcAttr{Credential: &nobody}
	pid, addr := launchCommand(t, server)
	load(t, addr)
	attr := &syscall.SysProcAttr{Credential: &nobody, AmbientCaps: []uintptr{unix.CAP_BPF, unix.CAP_PERFMON}}
	for _, w := range works(strconv.Itoa(pid))[:2] {
		w.does(t, func(args ...string) (int, string, string) { return redscopeAs(t, attr, "", args...) })
	}
}

// Without BTF only the time off the CPU is missing, without tracefs nothing.
func TestWithoutKernelFiles(t *testing.T) {
	p := strconv.Itoa(startServer(t, buildServer(t)))
	attr := func() *syscall.SysProcAttr { return &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} }
	env := withoutDirectories + "=/sys/kernel/btf:/sys/kernel/tracing:/sys/kernel/debug"
	for _, w := range few(2, works(p)...) {
		w.does(t, func(args ...string) (int, string, string) { return redscopeAs(t, attr(), env, args...) })
	}
	status, _, errs := redscopeAs(t, attr(), env, "record", "-p", p, "--off-cpu", "-d", "100ms", "-o=", "--folded", "-")
	refuses(t, "record --off-cpu", status, errs, "needs the kernel's BTF")
	status, _, errs = redscopeAs(t, attr(), env, "why", "-p", p, "--for", "100ms")
	if status != 0 || !strings.Contains(errs, "waited for a CPU is not seen: that needs Linux 5.18 and the kernel's BTF") ||
		!strings.Contains(errs, "in its socket before the event loop woke up is not seen: that needs Linux 6.3 and the kernel's BTF") {
		t.Errorf("why: status %d, %s", status, errs)
	}
}

func TestOfWhatIsNoServer(t *testing.T) {
	if err := bpf.Supported(); err != nil {
		require.Missing(t, "ebpf", err.Error())
	}
	sleep := exec.Command("sleep", "1000")
	start(t, sleep)
	zombie := exec.Command("true")
	start(t, zombie)
	for end := time.Now().Add(patience); !gone(zombie.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("true does not end")
		}
	}
	for _, args := range looks(sleep.Process.Pid)[:3] {
		status, _, errs := runRedscope(t, "", args...)
		want := "watching commands needs a redscope server or a Redis, Valkey or KeyDB server"
		if args[0] == "stack" {
			want = "sleep has no "
		}
		refuses(t, "sleep, "+args[0], status, errs, want)
	}
	// The test program itself is a Go program without markers that are passed.
	for _, args := range looks(os.Getpid())[:2] {
		status, _, errs := runRedscope(t, "", args...)
		if status != 1 || strings.Count(errs, "\n") != 1 {
			t.Errorf("a Go program that is no server, %s: status %d, %s", args[0], status, errs)
		}
	}
	for _, args := range looks(zombie.Process.Pid) {
		status, _, errs := runRedscope(t, "", args...)
		refuses(t, "a zombie, "+args[0], status, errs, "zombie")
	}
}

// A server of ours without a symbol table: what is found by the runtime's own table
// of functions works.
func TestStrippedServer(t *testing.T) {
	require.Tool(t, "go")
	if testing.Short() {
		t.Skip("builds a server")
	}
	path := filepath.Join(t.TempDir(), "server")
	build := exec.Command("go", "build", "-ldflags=-s", "-o", path, "../server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pid := startServer(t, path)
	for _, args := range looks(pid)[:2] {
		status, _, errs := runRedscope(t, "", args...)
		refuses(t, args[0], status, errs, "Its markers cannot be found; `redscope record`, `stack` and `probes` work")
	}
	p := strconv.Itoa(pid)
	for _, w := range []work{works(p)[1], works(p)[3], {"probes " + path + " setCommand", ":setCommand\t"}} {
		w.does(t, func(args ...string) (int, string, string) { return runRedscope(t, "", args...) })
	}
}

// Programs whose files are damaged, as far as the kernel still runs them.
func TestDamagedExecutables(t *testing.T) {
	whole, err := os.ReadFile(require.Redis(t))
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	sections := le.Uint64(whole[0x28:]) // e_shoff
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range few(2, []struct {
		name   string
		damage func([]byte) []byte
		want   string
	}{
		{"no-sections", func(b []byte) []byte { le.PutUint64(b[0x28:], 0); le.PutUint32(b[0x3c:], 0); return b }, "no symbol table"},
		{"wild-offset", func(b []byte) []byte { le.PutUint64(b[0x28:], 1<<64-4096); return b }, "a damaged one"},
		{"cut", func(b []byte) []byte { return b[:sections] }, "a damaged one"},
		{"garbage", func(b []byte) []byte {
			for i := range b[sections:] {
				b[sections:][i] = byte(rng.Uint32())
			}
			return b
		}, "a damaged one"},
	}...) {
		name := c.name
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, c.damage(bytes.Clone(whole)), 0o755); err != nil {
			t.Fatal(err)
		}
		pid, addr := launchServer(t, path)
		for _, args := range looks(pid) {
			status, _, errs := runRedscope(t, "", args...)
			if args[0] == "record" { // works, without names
				if status != 0 {
					t.Errorf("%s, record: status %d, %s", name, status, errs)
				}
				continue
			}
			refuses(t, name+", "+args[0], status, errs, c.want)
		}
		alive(t, addr)
	}
	// Anything may be in a file.
	for range len(few(3, make([]int, 20)...)) {
		b := bytes.Clone(whole)
		for range 50 {
			at := rng.Uint64N(uint64(len(b)))
			if rng.IntN(2) == 0 {
				at = sections + rng.Uint64N(uint64(len(b))-sections)
			}
			b[at] = byte(rng.Uint32())
		}
		path := filepath.Join(t.TempDir(), "any")
		if err := os.WriteFile(path, b[:len(b)-rng.IntN(100)], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := bpf.Functions(path); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("more than a line: %v", err)
		}
	}
	// An architecture that no probe is placed for.
	b := bytes.Clone(whole)
	le.PutUint16(b[0x12:], 3) // EM_386
	path := filepath.Join(t.TempDir(), "386")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if status, out, errs := runRedscope(t, "", "probes", path, "setCommand"); status != 0 || !strings.Contains(out, "not placed in code for EM_386") {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
}

// Of a process that is stopped nothing is seen, and nobody waits for it.
func TestStoppedServer(t *testing.T) {
	for _, path := range few(1, buildServer(t), require.Redis(t)) {
		kind := filepath.Base(path)
		pid, addr := launchServer(t, path)
		look := func(how string) {
			for _, args := range looks(pid) {
				status, _, errs := runRedscope(t, "", args...)
				switch args[0] {
				case "stack":
					refuses(t, kind+", "+how, status, errs, "setCommand was not called within 100ms")
				case "record":
					if status != 0 {
						t.Errorf("%s, %s: record: status %d, %s", kind, how, status, errs)
					}
				default:
					if want := fmt.Sprintf("[%d] is stopped, by SIGSTOP or a debugger: it executes nothing\n", pid); status != 0 || !strings.HasSuffix(errs, want) {
						t.Errorf("%s, %s: %s: status %d, %s", kind, how, args[0], status, errs)
					}
				}
			}
		}
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); !stopped(pid); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it does not stop")
			}
		}
		look("SIGSTOP")
		syscall.Kill(pid, syscall.SIGCONT)
		alive(t, addr)

		runtime.LockOSThread() // the kernel knows the debugger by its thread
		if err := syscall.PtraceAttach(pid); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); !stopped(pid); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it does not stop")
			}
		}
		look("ptrace")
		if _, err := syscall.Wait4(pid, nil, syscall.WALL|syscall.WUNTRACED, nil); err != nil {
			t.Fatal(err)
		}
		if err := syscall.PtraceDetach(pid); err != nil {
			t.Fatal(err)
		}
		runtime.UnlockOSThread()
		alive(t, addr)
	}
}

// As from a host into a container.
func TestServerInOtherNamespaces(t *testing.T) {
	for _, path := range serverCopies(t) {
		cmd := exec.Command(path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
		pid, addr := launchCommand(t, cmd)
		load(t, addr)
		for _, p := range []string{strconv.Itoa(pid), filepath.Base(path)} {
			works(p)[0].does(t, func(args ...string) (int, string, string) { return runRedscope(t, "", args...) })
		}
	}
}

// A process that exits while redscope attaches.
func TestExitsMeanwhile(t *testing.T) {
	paths := []string{buildServer(t), require.Redis(t)}
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	for i := range rounds {
		pid, _ := launchServer(t, paths[i%2])
		args := looks(pid)[i/2%3]
		args[slices.Index(args, "100ms")] = patience.String() // it does not end by itself before
		cmd := redscope(t, "", args...)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 10 * time.Millisecond) // anywhere in its beginning
		syscall.Kill(pid, syscall.SIGKILL)
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 0 && code != 1 || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s, killed after %d ms: status %d, %s", args[0], i*10, code, &errs)
		}
	}
}

// What cannot be written is said in a line.
func TestOutputThatCannotBeWritten(t *testing.T) {
	pid := startServer(t, buildServer(t))
	p := strconv.Itoa(pid)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, args := range few(3, []string{
		"top -p " + p + " --for 100ms", "top -p " + p + " --for 100ms --json", "top -p " + p + " --for 100ms -o -",
		"why -p " + p + " --slower-than 1ns --for 300ms", "trace -p " + p + " --one-in 1000", "trace -p " + p + " --one-in 1000 --json",
		"stack -p " + p + " setCommand -n 0",
		"record -p " + p + " -d 1s -o= --folded -", "record -p " + p + " -d 1s -o /dev/full",
		"probes " + buildServer(t),
	}...) {
		cmd := redscope(t, t.TempDir(), strings.Fields(args)...)
		var errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = full, &errs
		cmd.Run()
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		if status := cmd.ProcessState.ExitCode(); status != 1 || strings.Count(errs.String(), "no space left on device") != 1 ||
			!strings.Contains(lines[len(lines)-1], "no space left on device") {
			t.Errorf("%s: status %d, %s", args, status, &errs)
		}
	}
	// Nobody reads on.
	for _, args := range []string{"trace -p " + p + " --one-in 1000 --json", "stack -p " + p + " setCommand -n 0"} {
		cmd := redscope(t, "", strings.Fields(args)...)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = w, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		r.Close()
		cmd.Wait() // by SIGPIPE, as other programs
		if errs.Len() != 0 || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE {
			t.Errorf("%s: %v, %s", args, cmd.ProcessState, &errs)
		}
	}
}

// The table of what is missing in docs/redscope.md says what these tests have found.
func TestDocsSayWhatIsNeeded(t *testing.T) {
	checked := map[string]func(*testing.T){
		"CAP_BPF, CAP_PERFMON":                 TestWithoutCapabilities,
		"CAP_SYS_PTRACE":                       TestOwnProcessWithoutPtrace,
		"CAP_SYS_ADMIN":                        TestWithFewCapabilities,
		"Linux 5.8 (ring buffers)":             nil, // TestOldKernels in bpf
		"Linux 5.15":                           nil,
		"Linux 6.3":                            nil, // TestWhyOnOldKernel in bpf
		"the kernel's BTF, in /sys/kernel/btf": TestWithoutKernelFiles,
		"tracefs":                              TestWithoutKernelFiles,
		"our server's symbol table (`-ldflags=-s`, `strip`)":        TestStrippedServer,
		"a C server's .symtab, with .dynsym there (Debian's build)": TestTopOfStockServer,
		"a C server's symbols, all of them":                         TestDamagedExecutables,
		"a program file that is whole":                              TestDamagedExecutables,
		"a server: any other program":                               TestOfWhatIsNoServer,
		"a process that runs (SIGSTOP, a debugger)":                 TestStoppedServer,
		"redscope's own pid and mount namespace":                    TestServerInOtherNamespaces,
		"room for the output":                                       TestOutputThatCannotBeWritten,
	}
	text, err := os.ReadFile("../../docs/redscope.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n| missing | what works without | what does not |\n|---|---|---|\n")
	table, _, ok := strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	if !ok || len(rows) != len(checked) {
		t.Fatalf("%d rows, %d are checked", len(rows), len(checked))
	}
	for _, row := range rows {
		missing, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
		if _, ok := checked[missing]; !ok {
			t.Errorf("nothing checks %q", missing)
		}
	}
}
