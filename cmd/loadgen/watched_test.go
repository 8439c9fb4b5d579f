package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/require"
)

// Both tables have a figure wherever there is something to measure, and the
// servers end with the program.
func TestWatch(t *testing.T) {
	needEBPF(t)
	require.Tool(t, "go")
	require.Tool(t, "bpftrace")
	dir := t.TempDir()
	self, doc, redis := filepath.Join(dir, "loadgen"), filepath.Join(dir, "doc.md"), filepath.Join(dir, "redis-server")
	build := exec.Command("go", "build", "-o", self, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // also with the race detector
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// A file of its own, by which its processes are found.
	data, err := os.ReadFile(require.Redis(t))
	if err := errors.Join(err, os.WriteFile(redis, data, 0o755), os.WriteFile(doc, []byte("before\n"+watchPlace.begin+watchPlace.end+"behind\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	args := []string{"watch", "--rounds", "1", "--seconds", "0.02", "-r", "2000", "-c", "10", "--write", doc, "--against", redis + ` --port {port} --save ""`}
	rows, alone := len(ways), 3
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
