package bpf

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/require"
)

// startServer builds and starts bin/server in an empty directory, and returns
// the directory and a function that makes it run one setCommand.
func startServer(t *testing.T) (dir string, set func()) {
	t.Helper()
	require.Tool(t, "go")
	dir = t.TempDir()
	path := filepath.Join(dir, "bin", "server")
	if err := buildServerAt(path); err != nil {
		t.Fatal(err)
	}
	c := startRedisServer(t, path).dial(t)
	return dir, func() {
		if reply := c.do("SET test:key:name 10000000000"); reply != "+OK" {
			t.Errorf("reply %q", reply)
		}
	}
}

// The script must print the stack of each SET, and end cleanly. bpftrace needs a
// server that is called slowly; testdata/spin is not.
func TestBpftraceScript(t *testing.T) {
	require.Tool(t, "bpftrace")
	needEBPF(t)
	dir, set := startServer(t)
	script, err := filepath.Abs("bpftrace/set.bt")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bpftrace", script)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := time.AfterFunc(2*patience, func() { cmd.Process.Kill() })
	defer killed.Stop()

	const sets = 5
	frame := regexp.MustCompile(`^\t[0-9a-f]+ (\S+)\+\d+ \((.*)\)$`)
	var stacks [][]string
	var all strings.Builder
	out := bufio.NewScanner(stdout)
	sent := false
	for out.Scan() {
		line := out.Text()
		all.WriteString(line + "\n")
		if strings.HasPrefix(line, "redis set") {
			for range sets {
				set()
			}
			sent = true
			continue
		}
		m := frame.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if m[1] == "setCommand" {
			stacks = append(stacks, nil)
			if len(stacks) == sets {
				// END must still run. On a busy machine bpftrace misses a signal
				// that comes while it prints.
				go func() {
					for cmd.Process.Signal(syscall.SIGINT) == nil {
						time.Sleep(time.Second)
					}
				}()
			}
		}
		if len(stacks) > 0 {
			stacks[len(stacks)-1] = append(stacks[len(stacks)-1], m[1])
		}
		if want := filepath.Join(dir, "bin", "server"); m[1] == "setCommand" && m[2] != want {
			t.Errorf("file %q, want %q", m[2], want)
		}
	}
	err = cmd.Wait()
	if err != nil || !sent || len(stacks) != sets {
		t.Fatalf("%d stacks of %d, bpftrace: %v\n%s%s", len(stacks), sets, err, all.String(), stderr.String())
	}
	if !strings.Contains(all.String(), "exit ") {
		t.Errorf("END did not print:\n%s", all.String())
	}
	// The chain without the direct caller, as the script's note says.
	want := append([]string{chain[0]}, chain[2:]...)
	for i, got := range stacks {
		if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			t.Errorf("stack %d:\n got %v\nwant %v and what is below", i, got, want)
		}
	}
}

// `bpftrace -l` must list the command by its plain name.
func TestBpftraceLists(t *testing.T) {
	require.Tool(t, "bpftrace")
	needEBPF(t) // bpftrace runs for root only
	dir, _ := startServer(t)
	cmd := exec.Command("bpftrace", "-l", "uprobe:bin/server:*")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range chain {
		if !strings.Contains(string(out), "uprobe:bin/server:"+name+"\n") {
			t.Errorf("%s is not listed", name)
		}
	}
}
