package bpf

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/require"
)

// needEBPF skips, or fails, a test on a machine without eBPF.
func needEBPF(t testing.TB) {
	t.Helper()
	if err := Supported(); err != nil {
		require.Missing(t, "ebpf", err.Error())
	}
}

// target is a running program to look at.
type target struct {
	*exec.Cmd
	stdin io.WriteCloser
}

// spinDir holds the built test program; TestMain removes it.
var spinDir string

var buildSpin = sync.OnceValues(func() (string, error) {
	var err error
	if spinDir, err = os.MkdirTemp("", "redscope-spin"); err != nil {
		return "", err
	}
	path := filepath.Join(spinDir, "spin")
	build := exec.Command("go", "build", "-o", path, "./testdata/spin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // also with the race detector
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func TestMain(m *testing.M) {
	if what := os.Getenv(helperEnv); what != "" {
		helper(what)
		return
	}
	code := m.Run()
	os.RemoveAll(spinDir)
	os.Exit(code)
}

// spinPath is the path of the built test program.
func spinPath(t testing.TB) string {
	t.Helper()
	require.Tool(t, "go")
	path, err := buildSpin()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a program that prints a line when it is ready, and ends it with
// the test.
func start(t testing.TB, path string, args ...string) target {
	t.Helper()
	return startCommand(t, exec.Command(path, args...))
}

func startCommand(t testing.TB, cmd *exec.Cmd) target {
	t.Helper()
	stdin, stdout := startPiped(t, cmd)
	if _, err := stdout.ReadString('\n'); err != nil {
		t.Fatalf("%s did not become ready: %v", cmd.Path, err)
	}
	return target{cmd, stdin}
}

// startPiped starts a program that ends with the test.
func startPiped(t testing.TB, cmd *exec.Cmd) (io.WriteCloser, *bufio.Reader) {
	t.Helper()
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return stdin, bufio.NewReader(stdout)
}

// patience is how long tests wait for what must come: it only passes when a test
// fails.
const patience = 3 * time.Minute

// burn waits until a process has used d more of processor time: then a profile
// has samples of it, however little a busy machine gives it.
func burn(t *testing.T, pid int, d time.Duration) {
	t.Helper()
	used := func() time.Duration { return cpuTime(t, pid) }
	begin := used()
	for end := time.Now().Add(patience); used() < begin+d; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d used %v of processor time in %v", pid, used()-begin, patience)
		}
	}
}

// names are the symbols of a stack, leaf first.
func names(frames []Frame) []string {
	var n []string
	for _, f := range frames {
		n = append(n, f.Symbol)
	}
	return n
}

// chain is the contract: what a SET passes, leaf first.
var chain = []string{"setCommand", "call", "processCommand", "processCommandAndResetClient", "processInputBuffer",
	"readQueryFromClient", "callHandler", "connSocketEventHandler", "aeProcessEvents", "aeMain", "main.main"}

func TestTraceStacksShowsTheDirectCaller(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t))
	n := 0
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := TraceStacks(ctx, StackOptions{PID: spin.Process.Pid, Function: "setCommand", Count: 3}, func(s Stack) {
		n++
		if got := names(s.Frames); len(got) < len(chain) || !slices.Equal(got[:len(chain)], chain) {
			t.Errorf("stack %d:\n got %v\nwant %v and what is below", n, got, chain)
		}
		if !s.Whole {
			t.Error("the stack does not reach the goroutine's start")
		}
		if s.TID != uint32(spin.Process.Pid) {
			t.Errorf("TID %d, want the locked main thread %d", s.TID, spin.Process.Pid)
		}
		if s.Comm != "spin" {
			t.Errorf("Comm %q", s.Comm)
		}
		if s.Frames[0].Module != spin.Path {
			t.Errorf("Module %q, want %q", s.Frames[0].Module, spin.Path)
		}
	})
	if err != nil || n != 3 {
		t.Fatalf("%d stacks, error %v; want 3 and none", n, err)
	}
}

func TestTraceStacksOfAFunctionWithoutFrame(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t))
	want := append([]string{"spinLeaf"}, chain...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n := 0
	err := TraceStacks(ctx, StackOptions{PID: spin.Process.Pid, Function: "spinLeaf", Count: 1}, func(s Stack) {
		n++
		if got := names(s.Frames); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			t.Errorf("got  %v\nwant %v and what is below", got, want)
		}
	})
	if err != nil || n != 1 {
		t.Fatalf("%d stacks, error %v", n, err)
	}
}

// More than the ring holds (some 980), faster than it is read: what is lost must
// not count.
func TestTraceStacksDeliversTheCount(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t))
	const want = 4000
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n := 0
	var lost uint64
	err := TraceStacks(ctx, StackOptions{PID: spin.Process.Pid, Function: "setCommand", Count: want}, func(s Stack) {
		n++
		lost = s.Lost
	})
	if err != nil || n != want || ctx.Err() != nil {
		t.Fatalf("%d stacks of %d, %d lost, error %v", n, want, lost, err)
	}
	t.Logf("%d stacks, %d lost", n, lost)
}

func TestProfile(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t))
	p, err := StartProfile(ProfileOptions{PID: spin.Process.Pid})
	if err != nil {
		t.Fatal(err)
	}
	burn(t, spin.Process.Pid, 2*time.Second)
	profile, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	total, inChain := profile.Count(), uint64(0)
	leaves, called := map[string]uint64{}, map[string]uint64{}
	// A sample taken between two instructions of a function's prologue lacks the
	// caller, so only the outer part is the same in all.
	outer := strings.Join(chain[4:], " ")
	for _, s := range profile.Samples {
		// Functions without a frame, which a walk along the frame pointers
		// takes for called by their caller's caller.
		if leaf := s.Stack[0].Symbol; leaf == "spinLeaf" || leaf == "runtime.memmove" {
			leaves[leaf] += s.Count
			if len(s.Stack) > 2 && s.Stack[1].Symbol == "setCommand" && s.Stack[2].Symbol == "call" {
				called[leaf] += s.Count
			} else {
				t.Errorf("%d samples in %s+%d have the stack %v", s.Count, leaf, s.Stack[0].Offset, names(s.Stack))
			}
		}
		if strings.Contains(strings.Join(names(s.Stack), " "), outer) {
			inChain += s.Count
		}
		if s.PID != uint32(spin.Process.Pid) {
			t.Errorf("a sample of pid %d", s.PID)
		}
	}
	t.Logf("%d samples in %v, %d in the chain, %d broken, %d lost", total, profile.Duration, inChain, profile.Broken, profile.Lost)
	if most := uint64(99 * 2 * profile.Duration.Seconds()); total < 20 || total > most {
		t.Errorf("%d samples at 99 Hz of a thread that spun for 2 s in %v", total, profile.Duration)
	}
	if inChain*10 < total*9 {
		t.Errorf("%d of %d samples are in the chain, want nine in ten", inChain, total)
	}
	t.Logf("in functions without frame: %v, with the direct caller: %v", leaves, called)
	for _, leaf := range []string{"spinLeaf", "runtime.memmove"} {
		if leaves[leaf] < 5 {
			t.Errorf("%d samples in %s", leaves[leaf], leaf)
		}
	}
	if profile.Lost != 0 || profile.Cut != 0 {
		t.Errorf("lost %d, cut %d; want none", profile.Lost, profile.Cut)
	}
}
