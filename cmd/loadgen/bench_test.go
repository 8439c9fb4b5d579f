package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/cmd/loadgen/internal/child"
	"github.com/redscope/redscope/cmd/loadgen/internal/load"
	"github.com/redscope/redscope/internal/port"
	"github.com/redscope/redscope/internal/require"
)

func startRedis(t *testing.T) *child.Server {
	t.Helper()
	require.Tool(t, "redis")
	port := port.Free(t)
	s, err := child.Start(context.Background(), []string{"redis-server", "--port", strconv.Itoa(port), "--save", ""}, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// loadgen runs the program and returns its standard output.
func loadgen(t *testing.T, args ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), envMain+"=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("loadgen %q: %v: %s", args, err, &stderr)
	}
	return stdout.String()
}

// monitored returns the commands that the server executed while f ran, each
// different one once, with the random digits blanked.
func monitored(t *testing.T, s *child.Server, f func()) []string {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort(child.Host, strconv.Itoa(s.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "MONITOR\r\n")
	in := bufio.NewReader(c)
	if line, err := in.ReadString('\n'); err != nil || line != "+OK\r\n" {
		t.Fatalf("MONITOR: %q, %v", line, err)
	}
	done := make(chan []string)
	digits := regexp.MustCompile(`\d{12}`)
	go func() {
		var seen []string
		for {
			line, err := in.ReadString('\n')
			if err != nil || strings.Contains(line, `"end of test"`) {
				done <- seen
				return
			}
			_, command, _ := strings.Cut(line, "] ")
			command = digits.ReplaceAllString(strings.TrimSpace(command), "#")
			// redis-benchmark asks for the configuration first.
			if !strings.Contains(command, "CONFIG") && !slices.Contains(seen, command) {
				seen = append(seen, command)
			}
		}
	}()
	f()
	end, err := net.Dial("tcp", net.JoinHostPort(child.Host, strconv.Itoa(s.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	fmt.Fprint(end, "ECHO \"end of test\"\r\n")
	select {
	case seen := <-done:
		return seen
	case <-time.After(patience):
		t.Fatal("the end of the test did not come by")
		return nil
	}
}

// The letters mean what they mean to redis-benchmark: the same flags make the
// server see the same commands, in the same order.
func TestCommandsAreRedisBenchmarks(t *testing.T) {
	s := startRedis(t)
	for _, flags := range []string{
		"-n 1 -c 1 -r 1000000", "-n 1 -c 1", "-n 1 -c 1 -r 0 -t set,get", "-n 1 -c 1 -d 40 -t set,mset,lpush", "-n 2 -c 1 -P 2 -t ping",
		"-n 1 -c 1 -t lrange_300,PING_INLINE", "-n 1 -c 1 -r 5 zadd z __rand_int__ m:__rand_int__", "-n 1 -c 1 -d 1 -t set --dbnum 3",
		"-n 1 -c 1 set k __rand_int__",
	} {
		args := append([]string{"-p", strconv.Itoa(s.Port), "-q"}, strings.Fields(flags)...)
		theirs := monitored(t, s, func() {
			if out, err := exec.Command("redis-benchmark", args...).CombinedOutput(); err != nil {
				t.Fatalf("redis-benchmark %s: %v: %s", flags, err, out)
			}
		})
		ours := monitored(t, s, func() { loadgen(t, args...) })
		if len(theirs) == 0 || !slices.Equal(ours, theirs) {
			t.Errorf("%s:\nwe send    %q\nthey send  %q", flags, ours, theirs)
		}
	}
}

// Programs that read redis-benchmark's output can read ours.
func TestOutputsAreRedisBenchmarks(t *testing.T) {
	s := startRedis(t)
	number := regexp.MustCompile(`\d+\.\d+`)
	for _, flags := range []string{"--csv -n 1000 -t set,get,mset -P 2", "-q -n 1000 -t incr", "--csv -n 1000 -t lrange"} {
		args := append([]string{"-p", strconv.Itoa(s.Port)}, strings.Fields(flags)...)
		out, err := exec.Command("redis-benchmark", args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		// With -q it overwrites its progress with the result.
		var theirs []string
		for line := range strings.Lines(string(out)) {
			line = line[strings.LastIndex(strings.TrimSpace(line), "\r")+1:]
			if line = strings.TrimSpace(line); line != "" {
				theirs = append(theirs, number.ReplaceAllString(line, "#"))
			}
		}
		var ours []string
		for line := range strings.Lines(loadgen(t, args...)) {
			ours = append(ours, number.ReplaceAllString(strings.TrimSpace(line), "#"))
		}
		if !slices.Equal(ours, theirs) {
			t.Errorf("%s:\nwe print    %q\nthey print  %q", flags, ours, theirs)
		}
	}
}

func TestBenchJSON(t *testing.T) {
	s := startRedis(t)
	var got benchJSON
	out := loadgen(t, "-p", strconv.Itoa(s.Port), "-n", "5000", "-c", "5", "--seq", "10000000000", "--json", "SET", "test:key:name", load.SeqInt)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Test != "SET test:key:name __seq_int__" || got.Requests != 5000 || got.Errors != 0 || got.Clients != 5 || got.LatencyMS["p99"] <= 0 {
		t.Errorf("got %+v", got)
	}
}

func TestBenchReportsErrors(t *testing.T) {
	s := startRedis(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	loadgen(t, "-p", strconv.Itoa(s.Port), "-n", "1", "SET", "text", "x")
	cmd := exec.Command(self, "-p", strconv.Itoa(s.Port), "-n", "10", "-q", "INCR", "text")
	cmd.Env = append(os.Environ(), envMain+"=1")
	out, err := cmd.CombinedOutput()
	want := "10 of 10 requests were answered by an error, the first: ERR value is not an integer or out of range"
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), want) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestCompare(t *testing.T) {
	require.Tool(t, "redis")
	var got struct {
		Servers []contender
		Medians []summary
		Rounds  []figures
	}
	const command = `redis-server --port {port} --save ""`
	out := loadgen(t, "compare", "--json", "--rounds", "3", "-P", "1,16", "-n", "2000,20000", "-r", "20000",
		"--server", "a="+command, "--server", "b="+command+" --hz 20", "--server", "c="+command)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Servers) != 3 || len(got.Medians) != 6 || len(got.Rounds) != 18 {
		t.Fatalf("%d servers, %d medians, %d rounds; want 3, 6, 18", len(got.Servers), len(got.Medians), len(got.Rounds))
	}
	for i, m := range got.Rounds {
		if want := string("abc"[i%3]); m.Server != want {
			t.Errorf("measurement %d is of %s, want %s: they take turns", i, m.Server, want)
		}
		if m.Rate <= 0 || m.CPU <= 0 || m.RSS <= 0 || m.P50 <= 0 || m.Errors != 0 {
			t.Errorf("measurement %d is %+v", i, m)
		}
	}
	// 20,000 keys are there: a Redis without any takes less than this.
	for _, s := range got.Servers {
		if s.FilledRSS < 12<<20 {
			t.Errorf("%s: %d bytes resident with its keys", s.Name, s.FilledRSS)
		}
	}
}

// With --rate both get the same, and ours says what its collector took.
func TestCompareAtRate(t *testing.T) {
	require.Tool(t, "redis")
	var got struct {
		Servers []contender
		Rounds  []figures
	}
	out := loadgen(t, "compare", "--json", "--rounds", "1", "-P", "1", "-n", "2000", "-r", "1000", "--rate", "1000")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Servers) != 2 || got.Servers[0].Collects || !got.Servers[1].Collects {
		t.Errorf("the servers are %+v", got.Servers)
	}
	for _, m := range got.Rounds {
		if m.Rate > 1001 || m.Rate <= 0 || m.GC < 0 || m.GC > 1 || m.Cycles < 0 {
			t.Errorf("at 1000 requests a second: %+v", m)
		}
	}
	out = loadgen(t, "compare", "--rounds", "1", "-P", "1", "-n", "2000", "-r", "1000", "--rate", "half")
	for _, want := range []string{" requests a round, ", " a second\n", "of the CPU time of ours: "} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q: %s", want, out)
		}
	}
}

// tableLine is a line of the table: a name and figures.
var tableLine = regexp.MustCompile(`(?m)^\| [A-Za-z0-9_ ()]+ \| [0-9,]+( MiB|\.\d MiB)? \| [0-9,]+(\.\d MiB)? \| \d+\.\d\d×( \(\d+\.\d\d–\d+\.\d\d\) \| \d+\.\d\d× \(\d+\.\d\d–\d+\.\d\d\))? \|$`)

// Two redis-servers have everything that the table needs, whatever ours has.
func TestCompareTable(t *testing.T) {
	require.Tool(t, "redis")
	doc := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(doc, []byte("before\n"+comparePlace.begin+"old\n"+comparePlace.end+"behind\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const command = `redis-server --port {port} --save ""`
	args := []string{"compare", "--table", "--rounds", "1", "-n", "2000", "-r", "2000", "--ours", command}
	if out := loadgen(t, append(args, "--write", doc, "-t", "get,lpush,rpop,mset,rss_strings")...); out != "" {
		t.Errorf("with --write it also prints %q", out)
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	if !strings.HasPrefix(got, "before\n"+comparePlace.begin+"| -P 16, 2,000 keys |") || !strings.HasSuffix(got, ").\n"+comparePlace.end+"behind\n") || strings.Contains(got, "old") {
		t.Errorf("the document is\n%s", got)
	}
	if lines := tableLine.FindAllString(got, -1); len(lines) != 5 {
		t.Errorf("%d lines of figures in\n%s", len(lines), got)
	}

	var result struct {
		Medians []summary
		Rounds  []figures
		Memory  []memoryFigures
	}
	out := loadgen(t, append(args, "--rounds", "2", "--json", "-t", "rpop,zrange_100,rss_lists")...)
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatal(err)
	}
	if len(result.Medians) != 4 || len(result.Rounds) != 8 || len(result.Memory) != 2 || result.Memory[0].RSS <= 0 {
		t.Errorf("got %+v", result)
	}
}

// What a line needs is found in the catalog.
func TestTableRows(t *testing.T) {
	tb := table{tests: catalog("VXK", true)}
	for _, row := range speedRows {
		if got := tb.find(row.test); !strings.HasPrefix(strings.ToLower(got.title), row.test) {
			t.Errorf("%s finds %q", row.test, got.title)
		}
		if row.data != "" && len(tb.find(row.data).command.Args) == 0 {
			t.Errorf("%s has no data", row.test)
		}
	}
}

// A server that lacks a command is told before anything is measured.
func TestCompareTableRefused(t *testing.T) {
	require.Tool(t, "redis")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "compare", "--table", "--against", `redis-server --port {port} --save "" --rename-command HGET ""`)
	cmd.Env = append(os.Environ(), envMain+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "redis-server refuses HGET; its first error: ERR unknown command 'HGET'") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestSummary(t *testing.T) {
	f := compareFlags{contenders: contenders{{Name: "a"}, {Name: "b"}}}
	var group []figures
	// The machine is twice as slow in the second round: the ratio stays.
	for _, r := range []struct{ a, b float64 }{{100, 200}, {50, 100}, {90, 270}} {
		group = append(group, figures{Rate: r.a}, figures{Rate: r.b})
	}
	s := f.summarize(group)
	if s[0].Median.Rate != 90 || s[1].Median.Rate != 200 || s[0].Ratio.Rate != 1 || s[1].Ratio.Rate != 2 {
		t.Errorf("got %+v", s)
	}
	if s[1].Low.Rate != 2 || s[1].High.Rate != 2.5 {
		t.Errorf("the middle half of 2, 2 and 3 is %v to %v", s[1].Low.Rate, s[1].High.Rate)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("the median of 1 to 4 is %v", got)
	}
}

func TestProgress(t *testing.T) {
	d := &display{title: "redis-set"}
	p := load.Progress{Done: 250000, Total: 1000000, Elapsed: 2 * time.Second, Rate: 123456.7, P99: 612 * time.Microsecond}
	if got, want := d.line(p), "redis-set: 250,000 requests of 1,000,000 (25 %), 123,456/s, ETA 6s, p99 0.612 ms"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, width := range []int{20, 60, 79, 200} {
		bar := d.bar(p, width)
		if n := len([]rune(bar)); n > width {
			t.Errorf("the bar is %d wide on a terminal of %d: %q", n, width, bar)
		}
	}
	bar := d.bar(p, 200)
	if full, empty := strings.Count(bar, "█"), strings.Count(bar, "·"); full != 12 || empty != 38 {
		t.Errorf("a quarter of 50 is drawn as %d and %d", full, empty)
	}
}

// On a terminal the progress is one line, redrawn.
func TestProgressOnTerminal(t *testing.T) {
	s := startRedis(t)
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals: %v", err)
	}
	defer ptmx.Close()
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-p", strconv.Itoa(s.Port), "-n", "15000", "--rate", "10000", "-t", "set")
	cmd.Env = append(os.Environ(), envMain+"=1")
	cmd.Stderr = tty
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	// With the last descriptor of the terminal gone, reading ends with EIO.
	tty.Close()
	text, err := io.ReadAll(ptmx)
	if err != nil && !errors.Is(err, unix.EIO) {
		t.Fatal(err)
	}
	got := string(text)
	if strings.Contains(got, "\n") || strings.Count(got, "\r") < 3 || !strings.Contains(got, "█") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("the terminal got %q", got)
	}
}
