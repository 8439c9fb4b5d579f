package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
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

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/flame"
	"github.com/redscope/redscope/internal/require"
)

// The main job as a newcomer runs it: the program that `go run ./cmd/loadgen`
// makes, which has no symbol table, and its own server.

// builtJob prepares a run of the built program in an empty directory, which it
// leaves its files in.
func builtJob(t *testing.T, args ...string) *job {
	t.Helper()
	require.Tool(t, "go")
	// Not t.TempDir, which only its owner can enter.
	dir, err := os.MkdirTemp("", "loadgen-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "loadgen")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // also with the race detector
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o755)); err != nil {
		t.Fatal(err)
	}
	j := &job{t: t, dir: filepath.Join(dir, "redscope-out"), cmd: exec.Command(path, args...)}
	if err := os.Mkdir(j.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	j.cmd.Dir = dir
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "OTEL_") {
			j.cmd.Env = append(j.cmd.Env, v)
		}
	}
	j.cmd.Stdout, j.cmd.Stderr = &j.stdout, &j.stderr
	return j
}

// end waits for the run's end, and fails the test when any process of the
// program is left, or half a file.
func (j *job) end() (status int) {
	j.t.Helper()
	timer := time.AfterFunc(patience, func() { j.cmd.Process.Kill() })
	defer timer.Stop()
	var exit *exec.ExitError
	if err := j.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		j.t.Fatal(err)
	}
	if left := running(j.t, j.cmd.Path); len(left) > 0 {
		j.t.Errorf("left running: %v", left)
	}
	checkNoParts(j.t, j)
	return j.cmd.ProcessState.ExitCode()
}

// running lists the processes that execute the file at path.
func running(t *testing.T, path string) (pids []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil || len(links) == 0 {
		t.Fatalf("cannot list processes: %v", err)
	}
	for _, link := range links {
		if exe, err := os.Readlink(link); err == nil && exe == path {
			pids = append(pids, filepath.Base(filepath.Dir(link)))
		}
	}
	return pids
}

func needEBPF(t *testing.T) {
	t.Helper()
	if err := bpf.Supported(); err != nil {
		require.Missing(t, "ebpf", err.Error())
	}
}

// The chain of a SET, leaf first.
var setChain = []string{"setCommand", "call", "processCommand", "processCommandAndResetClient", "processInputBuffer",
	"readQueryFromClient", "callHandler", "connSocketEventHandler", "aeProcessEvents", "aeMain", "main.main"}

func TestBuiltInMainJob(t *testing.T) {
	needEBPF(t)
	var args []string
	n := int64(1000000)
	if testing.Short() {
		args, n = []string{"run", "-n", "50000"}, 50000
	}
	j := builtJob(t, args...)
	if err := j.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if status := j.end(); status != 0 {
		t.Fatalf("exit status %d: %s", status, &j.stderr)
	}
	// By name, since users know them by name.
	want := []string{"flame.svg", "profile.pb.gz", "report.json", "stack.txt", "stacks.folded", "trace.json"}
	if got := slices.Sorted(slices.Values(j.files())); !slices.Equal(got, want) {
		t.Fatalf("files %v, want %v", got, want)
	}
	rep := j.report()
	checkReport(t, rep, n)
	if p := rep.Profile; p.Source != "ebpf" || p.Frequency != 99 || p.Samples == 0 || p.Lost != 0 || !nearlyWhole(p.Note) {
		t.Errorf("profile: %+v", p)
	}
	if got, want := rep.Throughput, float64(n)/rep.Seconds; got < want*0.999 || got > want*1.001 {
		t.Errorf("%v requests per second, but %v in %v s", got, n, rep.Seconds)
	}
	for _, name := range want {
		path := filepath.Join("redscope-out", name)
		if !slices.Contains(rep.Files, path) || !strings.Contains(j.stdout.String(), "\n  "+path+"\n") {
			t.Errorf("%s is not named in the report or on the terminal", path)
		}
	}
	checkProfile(t, j, rep)
	checkSVG(t, j, true, inEveryProfile)
	checkStackFile(t, j)
	checkTrace(t, j, rep)
}

// nearlyWhole reports whether a profile's note says nothing, or no more than that one
// stack in 200 breaks off: those of threads that are just made, and of a thread that
// is in the trap of the probe for stack.txt, cannot be walked.
func nearlyWhole(note string) bool {
	var whole, all int
	n, _ := fmt.Sscanf(note, "%d of %d stacks reach main;", &whole, &all)
	return note == "" || n == 2 && all-whole <= 1+all/200 && !strings.Contains(note, "\n")
}

// checkProfile compares the two forms of the profile with the report, and has
// the real reader read the second.
func checkProfile(t *testing.T, j *job, rep report) {
	t.Helper()
	for _, name := range []string{fileFolded, filePprof} {
		f, err := os.Open(filepath.Join(j.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		p, err := flame.Read(f, "")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n, err := flame.Total(p.Stacks); err != nil || n != rep.Profile.Samples {
			t.Errorf("%s has %d samples, the report %d (%v)", name, n, rep.Profile.Samples, err)
		}
	}
	checkSampleCount(t, rep)
	out, err := exec.Command("go", "tool", "pprof", "-top", "-nodecount=0", "-nodefraction=0", filepath.Join(j.dir, filePprof)).CombinedOutput()
	if err != nil {
		t.Fatalf("go tool pprof: %v\n%s", err, out)
	}
	if !bytes.HasPrefix(out, []byte("File: loadgen\n")) {
		t.Errorf("go tool pprof takes it for the profile of another file:\n%s", out)
	}
	for _, name := range inEveryProfile {
		if !regexp.MustCompile(`(?m) ` + regexp.QuoteMeta(name) + `$`).Match(out) {
			t.Errorf("go tool pprof does not name %s:\n%s", name, out)
		}
	}
}

// checkSampleCount wants a sample for each period of the CPU time that the kernel
// says the server used. The sampler's clock runs on each CPU, whoever is there, so
// chance decides whether it finds the server: each of the stretches that the server
// runs for gives as many samples as it has periods, or one fewer or more, which
// together vary by no more than the square root of their number. Five times that is
// beyond chance. A virtual machine that is itself kept from its CPU misses ticks of the
// clock, too, and may count that time as the server's: a twentieth is allowed for it.
func checkSampleCount(t *testing.T, rep report) {
	t.Helper()
	if rep.Profile.Source != "ebpf" {
		return
	}
	mean := rep.Server.CPUSeconds * float64(rep.Profile.Frequency)
	t.Logf("%d samples, %.0f expected", rep.Profile.Samples, mean)
	if float64(rep.Profile.Samples) < 0.95*mean-5*math.Sqrt(mean)-1 {
		t.Errorf("%d samples of %.2f s of CPU time at %d Hz, %.0f expected", rep.Profile.Samples, rep.Server.CPUSeconds, rep.Profile.Frequency, mean)
	}
}

// With this many samples, an eighth that is lost cannot be chance.
func TestBuiltInMainJobSamplesAll(t *testing.T) {
	if testing.Short() {
		t.Skip("needs seconds of the server's CPU time")
	}
	needEBPF(t)
	j := builtJob(t, "run", "-q", "-F", "1999")
	if err := j.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if status := j.end(); status != 0 {
		t.Fatalf("exit status %d: %s", status, &j.stderr)
	}
	rep := j.report()
	checkSampleCount(t, rep)
	if rep.Profile.Source != "ebpf" {
		t.Errorf("profile: %+v", rep.Profile)
	}
}

// inEveryProfile is what a profile of some seconds has samples of.
var inEveryProfile = []string{"main.main", "aeMain", "readQueryFromClient", "writeToClient"}

// checkSVG reads the flame graph as XML: its title, the palette's blue, and the
// functions that it must have.
func checkSVG(t *testing.T, j *job, kernel bool, functions []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(j.dir, fileFlame))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Title string `xml:"title"`
	}
	if err := xml.Unmarshal(text, &doc); err != nil || doc.Title != "redis-set" {
		t.Errorf("title %q, %v", doc.Title, err)
	}
	frames := regexp.MustCompile(`<rect [^>]*fill="#(..)(..)(..)"[^>]*><title>([^\n]+)\n`).FindAllSubmatch(text, -1)
	names := make(map[string]bool)
	inKernel := false
	for _, m := range frames[1:] { // the first is "all", which is grey
		r, _ := strconv.ParseUint(string(m[1]), 16, 8)
		g, _ := strconv.ParseUint(string(m[2]), 16, 8)
		b, _ := strconv.ParseUint(string(m[3]), 16, 8)
		name := string(m[4])
		if b <= r || b <= g {
			t.Errorf("%s is #%s%s%s, which is not blue", name, m[1], m[2], m[3])
		}
		names[name] = true
		inKernel = inKernel || strings.HasSuffix(name, "_[k]")
	}
	for _, name := range functions {
		if !names[name] {
			t.Errorf("the flame graph does not have %s", name)
		}
	}
	if inKernel != kernel {
		t.Errorf("kernel frames: %v, want %v", inKernel, kernel)
	}
}

func checkStackFile(t *testing.T, j *job) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(j.dir, fileStack))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^\t[0-9a-f]+ (\S+)\+\d+ \(` + regexp.QuoteMeta(j.cmd.Path) + `\)$`)
	stacks := strings.Split(strings.TrimSuffix(string(text), "\n\n"), "\n\n")
	if len(stacks) != stackCount {
		t.Errorf("%d stacks, want %d", len(stacks), stackCount)
	}
	for _, s := range stacks {
		var names []string
		for l := range strings.SplitSeq(s, "\n") {
			m := line.FindStringSubmatch(l)
			if m == nil {
				t.Fatalf("line %q", l)
			}
			names = append(names, m[1])
		}
		if len(names) < len(setChain) || !slices.Equal(names[:len(setChain)], setChain) {
			t.Errorf("the stack is %v, want %v and what is below", names, setChain)
		}
	}
}

// checkTrace reads the trace as OTLP/JSON: each sampled read has one tree.
func checkTrace(t *testing.T, j *job, rep report) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(j.dir, fileTrace))
	if err != nil {
		t.Fatal(err)
	}
	type span struct {
		TraceID  string `json:"traceId"`
		SpanID   string `json:"spanId"`
		ParentID string `json:"parentSpanId"`
		Name     string
		Start    int64 `json:"startTimeUnixNano,string"`
		End      int64 `json:"endTimeUnixNano,string"`
	}
	var doc struct {
		ResourceSpans []struct {
			ScopeSpans []struct{ Spans []span }
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	spans := make(map[string]span)
	for _, r := range doc.ResourceSpans {
		for _, s := range r.ScopeSpans {
			for _, sp := range s.Spans {
				spans[sp.TraceID+sp.SpanID] = sp
			}
		}
	}
	places := make(map[string]int)
	for _, s := range spans {
		place := s.Name
		child := s
		for child.ParentID != "" {
			parent, ok := spans[child.TraceID+child.ParentID]
			if !ok {
				t.Fatalf("%s has no parent", place)
			}
			if child.Start < parent.Start || child.End > parent.End {
				t.Errorf("%s is not within %s", child.Name, parent.Name)
			}
			place = parent.Name + " > " + place
			child = parent
		}
		places[place]++
		if at := time.Unix(0, s.Start); at.Before(rep.Started.Add(-time.Minute)) || at.After(time.Now()) {
			t.Fatalf("%s began at %v, the run at %v", place, at, rep.Started)
		}
	}
	reads := places["readQueryFromClient"]
	// About 200: five standard deviations on either side.
	if reads < 130 || reads > 270 {
		t.Errorf("%d reads, want about %d", reads, tracedReads)
	}
	for _, want := range []string{"readQueryFromClient > SET", "readQueryFromClient > SET > call",
		"readQueryFromClient > SET > call > setCommand", "readQueryFromClient > writeToClient"} {
		// What is asked before and after the load may be sampled, too.
		if places[want] < reads-5 || places[want] > reads {
			t.Errorf("%d times %s in %d reads", places[want], want, reads)
		}
	}
}

// Without the rights for eBPF, the server's own profile takes its place, and
// the user is told.
func TestBuiltInMainJobUnprivileged(t *testing.T) {
	j := builtJob(t, "run", "-n", "100000", "-q")
	if os.Getuid() == 0 {
		if err := os.Chmod(j.dir, 0o777); err != nil { // regardless of the umask
			t.Fatal(err)
		}
		j.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}} // nobody
	} else if bpf.Supported() == nil {
		t.Skip("this user may use eBPF, and cannot become another")
	}
	if err := j.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if status := j.end(); status != 0 {
		t.Fatalf("exit status %d: %s", status, &j.stderr)
	}
	rep := j.report()
	checkReport(t, rep, 100000)
	if p := rep.Profile; p.Source != "pprof" || p.Samples == 0 || !strings.Contains(p.Note, "CAP_BPF") {
		t.Errorf("profile: %+v", p)
	}
	if !strings.Contains(j.stdout.String(), "from the server's own profiler; not with eBPF: ") {
		t.Errorf("the user is not told:\n%s", &j.stdout)
	}
	want := []string{fileFlame, filePprof, fileReport, fileFolded, fileTrace}
	if got := slices.Sorted(slices.Values(j.files())); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("files %v, want %v", got, want)
	}
	checkProfile(t, j, rep)
	checkSVG(t, j, false, inEveryProfile)
	checkTrace(t, j, rep)
}

// Ctrl-C stops the built-in server and keeps what there is.
func TestBuiltInMainJobInterrupted(t *testing.T) {
	j := builtJob(t, "run", "-n", "1000000000000")
	j.cmd.Stderr = nil
	progress, err := j.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := j.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, func() { j.cmd.Process.Kill() })
	defer timer.Stop()
	first := make([]byte, 200)
	n, err := progress.Read(first) // comes after a second of load
	if err != nil || !bytes.HasPrefix(first, []byte("redis-set: ")) {
		t.Fatalf("progress %q, %v", first[:n], err)
	}
	j.cmd.Process.Signal(os.Interrupt)
	if _, err := io.Copy(&j.stderr, progress); err != nil {
		t.Fatal(err)
	}
	if status := j.end(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if got := j.lastLine(); !strings.HasPrefix(got, "loadgen: interrupted after ") || !strings.Contains(got, "redscope-out") {
		t.Errorf("the last line is %q", got)
	}
	rep := j.report()
	if rep.Requests == 0 || rep.Profile.Samples == 0 || !strings.HasPrefix(rep.Failure, "interrupted") {
		t.Errorf("the report is %+v", rep)
	}
	for _, name := range []string{fileFlame, fileFolded, filePprof, fileTrace} {
		if !slices.Contains(j.files(), name) {
			t.Errorf("no %s among %v", name, j.files())
		}
	}
	checkSVG(t, j, rep.Profile.Source == "ebpf", []string{"main.main", "aeMain"})
}
