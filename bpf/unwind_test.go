package bpf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/redscope/redscope/internal/require"
)

// startRedis starts a stock redis-server, and SET, GET and LRANGE by 50 clients
// that go on until the test ends.
func startRedis(t testing.TB) *redisServer {
	t.Helper()
	require.Tool(t, "redis")
	redis := startRedisServer(t, "redis-server", "--save", "")
	// lrange_100 begins with as many LPUSH.
	for _, l := range []struct{ clients, command, requests string }{{"20", "set", "1000000"}, {"20", "get", "1000000"}, {"10", "lrange_100", "5000"}} {
		load := exec.Command("redis-benchmark", "-p", redis.port, "-c", l.clients, "-t", l.command, "-n", l.requests, "-r", "100000", "-q", "-l")
		if err := load.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { load.Process.Kill(); load.Wait() })
	}
	return redis
}

// Debian's redis-server has no frame pointers, and neither has its libc: its
// unwind tables lead to main, from its own code, from libraries and from the
// kernel.
func TestProfileOfStockRedis(t *testing.T) {
	needEBPF(t)
	needTables(t)
	redis := startRedis(t)
	p, err := StartProfile(ProfileOptions{PID: redis.Process.Pid, Frequency: 999})
	if err != nil {
		t.Fatal(err)
	}
	burn(t, redis.Process.Pid, 3*time.Second)
	profile, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	var whole, kernel, wholeKernel, library, wholeLibrary, write uint64
	seen := map[string]uint64{}
	for _, s := range profile.Samples {
		user := slices.DeleteFunc(slices.Clone(s.Stack), func(f Frame) bool { return f.Kernel })
		// Not by Whole alone, which is the unwinder's own opinion.
		reaches := s.Whole
		if s.TID == s.PID {
			reaches = reaches && slices.Contains(names(user), "main") && user[len(user)-1].Symbol == "_start"
		}
		if reaches {
			whole += s.Count
		} else {
			t.Logf("%d samples of %s have the stack %v", s.Count, s.Comm, names(s.Stack))
		}
		add := func(n, ofWhole *uint64) {
			*n += s.Count
			if reaches {
				*ofWhole += s.Count
			}
		}
		if s.Stack[0].Kernel {
			add(&kernel, &wholeKernel)
		} else if strings.Contains(s.Stack[0].Module, "/lib") {
			add(&library, &wholeLibrary)
		}
		all := names(s.Stack)
		if slices.Contains(all, "ksys_write") {
			write += s.Count
		}
		for _, command := range []string{"setCommand", "getGenericCommand", "lrangeCommand"} {
			i := slices.Index(all, command)
			if i < 0 {
				continue
			}
			seen[command] += s.Count
			// The chain has no gap: what is between are static functions.
			if rest := exported(all[i:]); !slices.Equal(rest, []string{command, "call", "processCommand", "processInputBuffer",
				"readQueryFromClient", "aeMain", "main", "__libc_start_main", "_start"}) {
				t.Errorf("below %s is %v", command, rest)
			}
		}
	}
	total := profile.Count()
	t.Logf("%d samples, %d whole, %d broken, %d lost, %d of %d in the kernel, %d of %d in libraries, commands: %v",
		total, whole, profile.Broken, profile.Lost, wholeKernel, kernel, wholeLibrary, library, seen)
	if whole*100 < total*99 || wholeKernel*100 < kernel*99 {
		t.Errorf("%d of %d samples reach main, %d of %d of those in the kernel; want 99%%", whole, total, wholeKernel, kernel)
	}
	if total < 1000 || kernel == 0 || library == 0 || write == 0 || len(seen) < 3 {
		t.Errorf("%d samples, %d in the kernel, %d writing, %d in libraries, %v", total, kernel, write, library, seen)
	}
	if profile.Broken > total-whole || profile.Lost != 0 || len(profile.Limits) != 0 {
		t.Errorf("broken %d, lost %d, limits %q", profile.Broken, profile.Lost, profile.Limits)
	}
}

// exported leaves out the frames without a name.
func exported(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "" })
}

// needTables skips a test on a kernel that cannot walk by tables, where
// TestProfileByFramePointersOnly says what there is instead.
func needTables(t testing.TB) {
	t.Helper()
	if err := canUnwind(ebpf.PerfEvent); err != nil {
		t.Skip(err)
	}
}

// As on a kernel without bpf_loop: it is said, and the broken stacks are counted.
func TestProfileByFramePointersOnly(t *testing.T) {
	needEBPF(t)
	redis := startRedis(t)
	p, err := startProfile(ProfileOptions{PID: redis.Process.Pid, Frequency: 499}, errors.New("this kernel lacks x"))
	if err != nil {
		t.Fatal(err)
	}
	burn(t, redis.Process.Pid, 700*time.Millisecond)
	profile, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range profile.Samples {
		if s.Whole != isRoot(slices.DeleteFunc(slices.Clone(s.Stack), func(f Frame) bool { return f.Kernel })) {
			t.Errorf("Whole is %v for %v", s.Whole, names(s.Stack))
		}
	}
	if profile.Count() < 50 || profile.Broken == 0 {
		t.Errorf("%d samples, %d broken", profile.Count(), profile.Broken)
	}
	if want := []string{"stacks are walked by frame pointers only: this kernel lacks x"}; !slices.Equal(profile.Limits, want) {
		t.Errorf("limits %q, want %q", profile.Limits, want)
	}
}

// buildDeep compiles the C program for the unwinder.
func buildDeep(t testing.TB, flags ...string) string {
	t.Helper()
	require.Tool(t, "gcc")
	path := filepath.Join(t.TempDir(), "deep")
	// Tail calls would leave no frame, and no library calls if gcc computed them.
	args := append([]string{"-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls", "-fno-builtin", "-o", path, "testdata/deep/deep.c"}, flags...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// profileDeep samples the program once it has come to its computation.
func profileDeep(t *testing.T, path, mode string, depth int) *Profile {
	t.Helper()
	deep := start(t, path, mode, fmt.Sprint(depth))
	burn(t, deep.Process.Pid, 50*time.Millisecond)
	p, err := StartProfile(ProfileOptions{PID: deep.Process.Pid, Frequency: 999})
	if err != nil {
		t.Fatal(err)
	}
	enough := 200 * time.Millisecond
	if mode == "interrupted" {
		enough = 1500 * time.Millisecond
	}
	burn(t, deep.Process.Pid, enough)
	profile, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	return profile
}

// runs shortens repetitions: f f f g becomes "3 f", "1 g".
func runs(names []string) []string {
	var out []string
	for i := 0; i < len(names); {
		n := i
		for n < len(names) && names[n] == names[i] {
			n++
		}
		out = append(out, fmt.Sprint(n-i, " ", names[i]))
		i = n
	}
	return out
}

// Frames of all forms that gcc makes, counted exactly.
func TestProfileOfC(t *testing.T) {
	needEBPF(t)
	needTables(t)
	for _, c := range []struct {
		name  string
		flags []string
		modes []string
	}{
		{"default", nil, []string{"plain", "vla", "aligned", "realigned_vla", "sorted", "interrupted", "plt"}},
		{"static at a fixed address", []string{"-static", "-no-pie"}, []string{"sorted"}},
		{"with frame pointers", []string{"-fno-omit-frame-pointer"}, []string{"realigned_vla"}},
		{"for AVX", []string{"-mavx2", "-O3"}, []string{"realigned_vla"}},
		{"lazy binding, IBT", []string{"-Wl,-z,lazy", "-Wl,-z,ibtplt", "-fcf-protection"}, []string{"plt"}},
	} {
		path := buildDeep(t, c.flags...)
		for _, mode := range c.modes {
			t.Run(c.name+"/"+mode, func(t *testing.T) {
				const depth = 97
				profile := profileDeep(t, path, mode, depth)
				frames := map[string]uint64{} // by what is above main's
				for _, s := range profile.Samples {
					user := names(slices.DeleteFunc(slices.Clone(s.Stack), func(f Frame) bool { return f.Kernel }))
					i := slices.Index(user, "main")
					if i < 0 || !s.Whole || user[len(user)-1] != "_start" {
						t.Errorf("Whole %v: %v", s.Whole, runs(user))
						continue
					}
					r := runs(user[:i])
					if r[len(r)-1] != fmt.Sprint(depth, " ", mode) {
						t.Errorf("%v", r)
					}
					frames[strings.Join(r[:len(r)-1], ", ")] += s.Count
				}
				t.Logf("%d samples: %v", profile.Count(), frames)
				if profile.Count() < 50 || profile.Broken != 0 || profile.Cut != 0 {
					t.Errorf("%d samples, %d broken, %d cut", profile.Count(), profile.Broken, profile.Cut)
				}
				leaf := "1 leaf"
				if mode == "sorted" {
					leaf = "1 leaf, 1 compare"
				}
				if mode != "plt" && !slices.ContainsFunc(keys(frames), func(k string) bool { return strings.HasPrefix(k, leaf) }) {
					t.Errorf("no sample in %s", leaf)
				}
				if mode == "interrupted" && !slices.ContainsFunc(keys(frames), func(k string) bool {
					return strings.HasPrefix(k, "1 leaf, 1 handler, ") && strings.HasSuffix(k, ", 1 leaf")
				}) {
					t.Error("no sample in the signal's handler")
				}
			})
		}
	}
}

func keys[V any](m map[string]V) []string {
	var k []string
	for key := range m {
		k = append(k, key)
	}
	return k
}

// A stack deeper than what is kept is counted as cut, and its leaf end is right.
func TestProfileOfADeepStack(t *testing.T) {
	needEBPF(t)
	needTables(t)
	profile := profileDeep(t, buildDeep(t), "plain", 1000)
	for _, s := range profile.Samples {
		user := names(slices.DeleteFunc(slices.Clone(s.Stack), func(f Frame) bool { return f.Kernel }))
		if r := runs(user); s.Whole || r[len(r)-1] != "126 plain" {
			t.Errorf("Whole %v: %v", s.Whole, r)
		}
	}
	if profile.Count() < 50 || profile.Cut != profile.Count() || profile.Broken != profile.Count() {
		t.Errorf("%d samples, %d cut, %d broken", profile.Count(), profile.Cut, profile.Broken)
	}
}

// A program whose .eh_frame is damaged: fewer frames, and the reason.
func TestProfileWithADamagedTable(t *testing.T) {
	needEBPF(t)
	needTables(t)
	path := buildDeep(t, "-Wl,-z,noseparate-code")
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := openImage(path, path)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	s := b.elf.Section(".eh_frame")
	damaged := bytes.Clone(file)
	for i := range s.Size {
		damaged[s.Offset+i] ^= 0xa5
	}
	bad := filepath.Join(t.TempDir(), "deep")
	if err := os.WriteFile(bad, damaged, 0o755); err != nil {
		t.Fatal(err)
	}
	profile := profileDeep(t, bad, "plain", 10)
	for _, s := range profile.Samples {
		if s.Whole || len(s.Stack) < 1 {
			t.Errorf("Whole %v: %v", s.Whole, names(s.Stack))
		}
	}
	if profile.Count() < 50 || len(profile.Limits) != 1 || !strings.Contains(profile.Limits[0], "deep: its unwind table cannot be used") {
		t.Errorf("%d samples, limits %q", profile.Count(), profile.Limits)
	}
}

// lookupRow is the search in c/unwind.h.
func lookupRow(rows []unwindRow, off uint32) unwindRow {
	i, exact := slices.BinarySearchFunc(rows, off, func(r unwindRow, off uint32) int { return cmp.Compare(r.PC, off) })
	if !exact {
		i--
	}
	return rows[i]
}
