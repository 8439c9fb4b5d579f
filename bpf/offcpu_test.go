package bpf

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// startOffCPU begins to record, or skips the test on a kernel that cannot.
func startOffCPU(t *testing.T, pid int) *Profiler {
	t.Helper()
	needEBPF(t)
	needTables(t)
	p, err := StartProfile(ProfileOptions{PID: pid, OffCPU: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// stopOffCPU ends the recording and checks what is so in every one: no thread
// was off a CPU for longer than it lasted.
func stopOffCPU(t *testing.T, p *Profiler) *Profile {
	t.Helper()
	profile, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	byThread := map[uint32]time.Duration{}
	for _, s := range profile.Samples {
		byThread[s.TID] += time.Duration(s.Count) * time.Microsecond
		if len(s.Stack) == 0 || !s.Stack[0].Kernel || s.Stack[0].Symbol != "__schedule" {
			t.Errorf("a thread left its CPU at %v", names(s.Stack))
		}
	}
	for tid, off := range byThread {
		if off > profile.Duration {
			t.Errorf("thread %d was off a CPU for %v of %v", tid, off, profile.Duration)
		}
	}
	if !profile.OffCPU || profile.Frequency != 0 || profile.Lost != 0 {
		t.Errorf("OffCPU %v, %d Hz, %d lost", profile.OffCPU, profile.Frequency, profile.Lost)
	}
	return profile
}

// The kernel wakes nobody before the time: so 30 sleeps of 10 ms are 300 ms blocked, but
// for what passes between the setting of the clock and leaving the CPU, when something
// interrupts, and for a sleep that it rarely does not tell of; what is more is in the time
// to wait for a CPU or within the recording's length.
func TestOffCPUOfKnownSleeps(t *testing.T) {
	needEBPF(t)
	needTables(t)
	path := buildDeep(t, "-Wl,-z,now") // the walk does not lead out of the linker's resolving
	const last = 100 * time.Millisecond
	var forever time.Duration
	for range 3 { // the last sleep may be the one that is not told of
		var naps time.Duration
		naps, forever = recordNaps(t, path, last)
		if naps < 270*time.Millisecond {
			t.Errorf("blocked for %v in 30 sleeps of 10 ms", naps)
		}
		if forever >= last {
			return
		}
	}
	t.Errorf("blocked for %v in a sleep that had lasted for %v", forever, last)
}

// recordNaps records 30 sleeps of 10 ms and one without an end, until that has lasted for
// so long, and returns how long the program was blocked in each of the two.
func recordNaps(t *testing.T, path string, last time.Duration) (naps, forever time.Duration) {
	t.Helper()
	deep := start(t, path, "naps", "30")
	p := startOffCPU(t, deep.Process.Pid)
	fmt.Fprintln(deep.stdin)
	until(t, "asleep for ever, in pause(2)", func() bool {
		now, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(deep.Process.Pid), "syscall"))
		if err != nil {
			t.Skip(err)
		}
		return strings.HasPrefix(string(now), "34 ")
	})
	time.Sleep(last)
	profile := stopOffCPU(t, p)
	var queued time.Duration
	for _, s := range profile.Samples {
		stack, off := names(s.Stack), time.Duration(s.Count)*time.Microsecond
		if !s.Whole {
			t.Errorf("%v does not reach main", stack)
		}
		i := slices.Index(stack, "naps")
		switch {
		case i < 1 || stack[i+1] != "main":
			t.Errorf("%v in %v", off, stack)
		case s.Queued:
			queued += off
		case stack[i-1] == "usleep":
			naps += off
		case stack[i-1] == "pause":
			forever += off
		}
	}
	t.Logf("30 sleeps of 10 ms: %v; then %v; waiting for a CPU %v; in all %v", naps, forever, queued, profile.Duration)
	return naps, forever
}

// A thread that computes is never blocked, but waits for its CPU when it shares it.
func TestOffCPUOfAComputation(t *testing.T) {
	needEBPF(t)
	needTables(t)
	path := buildDeep(t)
	deep := start(t, path, "plain", "5")
	// One CPU for two that want all of it.
	other := start(t, path, "plain", "5")
	for _, pid := range []int{deep.Process.Pid, other.Process.Pid} {
		pin(t, pid)
	}
	p := startOffCPU(t, deep.Process.Pid)
	burn(t, deep.Process.Pid, 300*time.Millisecond)
	var queued uint64
	for _, s := range stopOffCPU(t, p).Samples {
		if !s.Queued {
			t.Errorf("blocked for %d µs in %v", s.Count, names(s.Stack))
		}
		if !s.Whole || !slices.Contains(names(s.Stack), "leaf") {
			t.Errorf("%v", names(s.Stack))
		}
		queued += s.Count
	}
	if queued == 0 {
		t.Error("two computed on one CPU, and none waited")
	}
}

// A server under load waits for requests, in epoll_wait called by its event loop.
func TestOffCPUOfStockRedis(t *testing.T) {
	needEBPF(t)
	needTables(t)
	redis := startRedis(t)
	p := startOffCPU(t, redis.Process.Pid)
	burn(t, redis.Process.Pid, time.Second)
	profile := stopOffCPU(t, p)
	var epoll, queued uint64
	for _, s := range profile.Samples {
		if s.Queued {
			queued += s.Count
		}
		if !s.Whole {
			t.Logf("%d µs of %s have the stack %v", s.Count, s.Comm, names(s.Stack))
		}
		user := slices.DeleteFunc(slices.Clone(s.Stack), func(f Frame) bool { return f.Kernel })
		if s.Queued || s.TID != s.PID || len(user) == 0 || user[0].Symbol != "epoll_wait" {
			continue
		}
		epoll += s.Count
		if rest := exported(names(user)); !slices.Equal(rest, []string{"epoll_wait", "aeMain", "main", "__libc_start_main", "_start"}) {
			t.Errorf("epoll_wait was called by %v", rest)
		}
	}
	total := profile.Count()
	t.Logf("%v: %d µs off the CPU, %d in epoll_wait, %d waiting for a CPU, %d in stacks that break off", profile.Duration, total, epoll, queued, profile.Broken)
	if profile.Broken*100 > total || epoll == 0 || queued == 0 {
		t.Errorf("%d µs, %d in epoll_wait, %d waiting for a CPU, %d broken", total, epoll, queued, profile.Broken)
	}
}

// pin binds a process to the first CPU.
func pin(t *testing.T, pid int) {
	t.Helper()
	var set unix.CPUSet
	set.Set(onlineCPUs()[0])
	if err := unix.SchedSetaffinity(pid, &set); err != nil {
		t.Fatal(err)
	}
}
