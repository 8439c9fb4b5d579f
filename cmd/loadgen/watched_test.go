package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/require"
)

// buildSelf makes a loadgen with symbols.
func buildSelf(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "loadgen")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // also with the race detector
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// Both tables have a figure wherever there is something to measure, and the
// servers end with the program.
func TestWatch(t *testing.T) {
	needEBPF(t)
	require.Tool(t, "go")
	require.Tool(t, "bpftrace")
	self, dir := buildSelf(t), t.TempDir()
	doc, redis := filepath.Join(dir, "doc.md"), filepath.Join(dir, "redis-server")
	// A file of its own, by which its processes are found.
	data, err := os.ReadFile(require.Redis(t))
	if err := errors.Join(err, os.WriteFile(redis, data, 0o755), os.WriteFile(doc, []byte("before\n"+watchPlace.begin+watchPlace.end+"behind\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	args := []string{"watch", "--rounds", "1", "--seconds", "0.02", "-r", "2000", "-c", "10", "--write", doc, "--against", redis + ` --port {port} --save ""`}
	rows, alone := len(ways), 4
	if testing.Short() {
		args = append(args, "--no-bpftrace")
		rows, alone = rows-2, alone-1
	}
	cmd := exec.Command(self, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stdout.Len() > 0 {
		t.Fatalf("%v: %s%s", err, &stdout, &stderr)
	}
	if left := append(running(t, self), running(t, redis)...); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	if !strings.HasPrefix(got, "before\n"+watchPlace.begin+"| ") || !strings.HasSuffix(got, ").\n"+watchPlace.end+"behind\n") {
		t.Errorf("the document is\n%s", got)
	}
	const more, left = ` -?\d+\.\d\d \(-?\d+\.\d\d…-?\d+\.\d\d\) \|`, ` \d+ \(\d+…\d+\) % \|`
	for what, c := range map[string]struct {
		line string
		want int
	}{
		"without":               {`\| nothing \|( of \d+\.\d\d \| of [\d,]+/s \|){4}`, 1},
		"ways":                  {`\| [^|]*[a-z][^|]* \|((` + more + left + `){2}| \| \| \| \|){2}`, rows},
		"ways for one alone":    {`\| [^|]* \|( \| \| \| \|.*\d.*|.*\d.* \| \| \| \|)`, alone},
		"connections, and keys": {`\| 1(,000)?, [12],000 \|(` + more + ` \d+\.\d\d \|){2}`, 4},
		"50 connections":        {`\| 50, [12],000 \|(` + more + ` \d+\.\d\d \|){2}`, 2},
	} {
		if lines := regexp.MustCompile("(?m)^"+c.line+"$").FindAllString(got, -1); len(lines) != c.want {
			t.Errorf("%s: %d lines, want %d, in\n%s", what, len(lines), c.want, got)
		}
	}
	if progress := strings.Count(stderr.String(), " left\n"); progress == 0 || !strings.Contains(stderr.String(), ", ETA 0s: ") {
		t.Errorf("%d lines of progress:\n%s", progress, &stderr)
	}
}

// Interrupted in the second round, it writes what the first one gave.
func TestWatchInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("a round takes 20 s")
	}
	needEBPF(t)
	require.Tool(t, "go")
	require.Tool(t, "redis")
	round := 0
	for _, w := range ways {
		for _, look := range []attach{w.ours, w.stock} {
			if look != nil && w.pace != slow {
				round += len(watchPipelines)
			}
		}
	}
	cmd := exec.Command(buildSelf(t), "watch", "--rounds", "9", "--seconds", "0.02", "-r", "2000", "-c", "10", "--no-bpftrace")
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last string
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		last = lines.Text()
		if strings.HasPrefix(last, fmt.Sprintf("%d of ", round+1)) {
			cmd.Process.Signal(os.Interrupt)
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailed || !strings.HasSuffix(last, "interrupted") {
		t.Errorf("%v: %s", err, last)
	}
	if got := stdout.String(); strings.Count(got, "\n| ") != 1+len(ways)-2+1 || !strings.Contains(got, "of at least 1 of 9 rounds in turn (it was interrupted)") {
		t.Error(got)
	}
}
