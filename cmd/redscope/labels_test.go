package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redscope/redscope/flame"
	"github.com/redscope/redscope/internal/require"
)

// A server under ZADD, LRANGE and SET is drawn by command, and its profile by the real
// go tool pprof, redscope flame and redscope diff.
func TestRecordByCommand(t *testing.T) {
	require.Tool(t, "go")
	if !testing.Short() {
		t.Run("redscope", func(t *testing.T) { testRecordByCommand(t, buildServer(t)) })
	}
	t.Run("redis-server", func(t *testing.T) { testRecordByCommand(t, require.Redis(t)) })
}

func testRecordByCommand(t *testing.T, path string) {
	pid, client := watchedServer(t, path)
	ctx, stop := context.WithCancel(t.Context())
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		for n := 0; ctx.Err() == nil; n++ {
			pipe := client.Pipeline()
			for i := range 50 {
				key := n*50 + i
				pipe.Set(ctx, fmt.Sprint("user:", key), "value", time.Minute)
				pipe.ZAdd(ctx, "order:scores", redis.Z{Score: float64(key % 1000), Member: key % 1000})
				pipe.LRange(ctx, "order:list", 0, 20)
			}
			pipe.RPush(ctx, "order:list", n)
			pipe.LTrim(ctx, "order:list", -100, -1)
			pipe.Exec(ctx)
		}
	}()
	t.Cleanup(func() { stop(); <-loaded })

	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		status, out, errs := runRedscope(t, dir, args...)
		if status != 0 {
			t.Fatalf("redscope %v: status %d: %s", args, status, errs)
		}
		return out
	}
	read := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	// record returns the folded stacks, of which there are so many samples at least and
	// some of each that is wanted, since it records for longer and longer: a busy machine
	// may leave the server without a CPU for a while.
	record := func(least int64, want []string, args ...string) (folded string) {
		t.Helper()
		for d := 700 * time.Millisecond; ; d *= 3 {
			folded = run(append([]string{"record", "-p", strconv.Itoa(pid), "-F", "1999", "-d", d.String(), "--folded", "-"}, args...)...)
			stacks, err := flame.ReadFolded(strings.NewReader(folded))
			if err != nil {
				t.Fatal(err)
			}
			samples, err := flame.Total(stacks)
			if err != nil {
				t.Fatal(err)
			}
			missing := slices.IndexFunc(want, func(part string) bool { return !strings.Contains("\n"+folded, part) })
			if samples >= least && missing < 0 {
				return folded
			}
			if d > patience {
				t.Fatalf("record %q: %d samples, not all of %q in\n%s", args, samples, want, folded)
			}
		}
	}

	by := record(300, []string{"\nSET;user:;", "\nZADD;order:;", "\nLRANGE;order:;", "\n(write);"}, "--by", "command,key", "-o", "by.svg", "--pprof", "p.pb.gz")
	for line := range strings.Lines(by) {
		if strings.Count(line, ";") < 2 {
			t.Fatalf("%q", line)
		}
	}
	if svg := read("by.svg"); !bytes.Contains(svg, []byte("LRANGE")) || !bytes.Contains(svg, []byte("order:")) {
		t.Error("by.svg lacks LRANGE or order:")
	}

	// The real pprof.
	pprof := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("go", append(append([]string{"tool", "pprof", "-symbolize=none"}, args...), filepath.Join(dir, "p.pb.gz"))...)
		cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+dir)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go tool pprof %v: %v: %s", args, err, errs.String())
		}
		return string(out)
	}
	if out := pprof("-tagfocus", "command=ZADD", "-top"); !strings.Contains(out, "zaddGenericCommand") || strings.Contains(out, "setCommand") {
		t.Errorf("-tagfocus command=ZADD:\n%s", out)
	}
	if out := pprof("-tagfocus", "key=user:", "-tagfocus", "command=SET", "-top"); !strings.Contains(out, "setCommand") || strings.Contains(out, "lrangeCommand") {
		t.Errorf("-tagfocus command=SET:\n%s", out)
	}
	if out := pprof("-tags"); !strings.Contains(out, " phase: ") || !strings.Contains(out, ": execute") {
		t.Errorf("-tags:\n%s", out)
	}

	// One command of the profile, and two compared.
	folded := run("flame", "p.pb.gz", "--command", "lrange", "--by", "phase,command", "-o", "lrange.svg", "--folded", "-")
	for line := range strings.Lines(folded) {
		if !regexp.MustCompile(`^(execute|process|parse|gc|runtime|other);LRANGE;`).MatchString(line) {
			t.Errorf("flame --command lrange: %s", line)
		}
	}
	if !strings.Contains(folded, ";lrangeCommand;") {
		t.Errorf("flame --command lrange:\n%s", folded)
	}
	run("diff", "p.pb.gz", "--command", "lrange,ZADD", "-o", "diff.svg")
	if svg := read("diff.svg"); !bytes.Contains(svg, []byte("lrange → ZADD")) || !bytes.Contains(svg, []byte("zadd")) || !bytes.Contains(svg, []byte("larger share")) {
		t.Error("diff.svg is no comparison of two commands")
	}
	run("diff", "p.pb.gz", "p.pb.gz", "--command", "set")
	if svg := read("diff.svg"); bytes.Contains(svg, []byte("zadd")) || !bytes.Contains(svg, []byte("setCommand")) {
		t.Error("diff.svg is not of SET alone")
	}
	if status, _, errs := runRedscope(t, dir, "diff", "p.pb.gz", "--command", "set,hget"); status != 1 || !strings.Contains(errs, "no samples of hget; there are ") {
		t.Errorf("a command that there is not: status %d, %s", status, errs)
	}

	if set := record(1, []string{"setCommand"}, "--command", "SET", "--off-cpu=false", "-o", ""); strings.Contains(set, "lrangeCommand") {
		t.Errorf("record --command SET:\n%s", set)
	}
	// Without the options, nothing is known of commands.
	plain := record(1, nil, "-o", "")
	var threads []string // redis-server names each: bio_close_file, jemalloc_bg_thd
	comms, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range comms {
		if comm, err := os.ReadFile(name); err == nil {
			threads = append(threads, strings.TrimSpace(string(comm)))
		}
	}
	for line := range strings.Lines(plain) {
		if thread, _, _ := strings.Cut(line, ";"); !slices.Contains(threads, thread) {
			t.Errorf("record: %s is under none of the threads %q", line, threads)
		}
	}
}

func TestRecordByCommandOfNoServer(t *testing.T) {
	pid, _ := startSpin(t, "redscope-spin-d")
	dir := t.TempDir()
	// It has functions of Redis's names.
	status, _, errs := runRedscope(t, dir, "record", "-p", strconv.Itoa(pid), "-d", "500ms", "--by", "command")
	if status != 0 || !strings.Contains(errs, "note: the commands are told by their functions on the stack") {
		t.Errorf("status %d, %s", status, errs)
	}
	sleep := exec.Command("sleep", "1000")
	start(t, sleep)
	status, _, errs = runRedscope(t, dir, "record", "-p", strconv.Itoa(sleep.Process.Pid), "-d", "100ms", "--by", "command")
	if status != 1 || !strings.Contains(errs, "neither a redscope server nor") || strings.Count(errs, "\n") != 1 {
		t.Errorf("status %d, %s", status, errs)
	}
	status, _, errs = runRedscope(t, dir, "record", "-p", strconv.Itoa(sleep.Process.Pid), "-d", "100ms", "--pprof", "p.pb.gz")
	if status != 0 || strings.Contains(errs, "server") {
		t.Errorf("status %d, %s", status, errs)
	}
}

func TestGroup(t *testing.T) {
	stack := func(count int64, names ...string) flame.Stack {
		s := flame.Stack{Frames: []flame.Frame{{Name: "main"}}, Count: count}
		for i, name := range []string{"command", "key", "phase"} {
			if names[i] != "" {
				s.Labels = append(s.Labels, flame.Label{Name: name, Value: names[i]})
			}
		}
		return s
	}
	stacks := []flame.Stack{
		stack(1, "GET", "user:", "execute"), stack(2, "(read)", "", "read"), stack(4, "PING", "", "process"),
		stack(8, "(unknown command)", "", "process"),
	}
	for by, want := range map[string]string{
		"":                  "main 15",
		"command":           "(read);main 2\n(unknown command);main 8\nGET;main 1\nPING;main 4",
		"command,phase":     "(read);main 2\n(unknown command);process;main 8\nGET;execute;main 1\nPING;process;main 4",
		"key":               "(no key);main 12\n(read);main 2\nuser:;main 1",
		"phase,key,command": "(read);main 2\nexecute;user:;GET;main 1\nprocess;(no key);(unknown command);main 8\nprocess;(no key);PING;main 4",
	} {
		l := labels{by: by}
		if err := l.parse(); err != nil {
			t.Fatal(err)
		}
		grouped, err := l.group(stacks, "it")
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := flame.WriteFolded(&b, grouped); err != nil || strings.TrimSpace(b.String()) != want {
			t.Errorf("--by %s: %v\n%s\nwant\n%s", by, err, &b, want)
		}
	}
	kept, err := keep(stacks, []string{"get", "(READ)"}, "it")
	if err != nil || len(kept) != 2 {
		t.Errorf("%v %v", kept, err)
	}
}
