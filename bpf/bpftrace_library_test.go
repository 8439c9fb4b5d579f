package bpf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/require"
)

// Each script of bpf/bpftrace, on a real server that does what the script is
// about, prints what is expected of it.
func TestBpftraceLibrary(t *testing.T) {
	require.Tool(t, "bpftrace")
	require.Tool(t, "go")
	needEBPF(t)
	if testing.Short() {
		t.Skip("a minute of bpftrace's own work")
	}
	stock := require.Redis(t)
	ours := describedServer(t)

	const few = "SET test:key 1\r\nGET test:key\r\nGET not:there\r\n"
	var expiring, evicted strings.Builder
	for i := range 300 {
		fmt.Fprintf(&expiring, "SET e:%d x PX 1\r\n", i)
		fmt.Fprintf(&evicted, "SET %d:%d %s\r\n", time.Now().UnixNano(), i, strings.Repeat("x", 10000))
	}
	const sleep = "DEBUG SLEEP 0.05\r\n"

	tested := map[string]bool{"set.bt": true} // by TestBpftraceScript
	for _, c := range []struct {
		script, server string
		threshold      string // µs, for the scripts that take one
		commands       string
		want           string // regular expression
	}{
		{"slow.bt", ours, "1", few, `(?m)^ +\d+ us  command \d+, key "test:key", client \d+, done, reply of 5 bytes$`},
		{"slow-stock.bt", stock, "1", few, `(?m)^ +\d+ us  set "test:key", client \d+$`},
		{"latency.bt", ours, "", few, `(?s)@ns\[\d+\]: *\n\[.*@ns\[\d+\]: *\n\[`},
		{"latency-stock.bt", stock, "", few, `(?s)@ns\[[gs]et\]: *\n\[.*@ns\[[gs]et\]: *\n\[`},
		{"misses.bt", ours, "", few, `@misses\[not:there\]: \d+`},
		{"misses-stock.bt", stock, "", few, `@misses\[not:there\]: \d+`},
		{"expiry.bt", ours, "1", expiring.String(), `(?s)\d+ us  of expiry, \d+ keys.*@us: *\n[\[(]`},
		{"expiry-stock.bt", stock, "1", expiring.String(), `(?s)\d+ us  of expiry.*@us: *\n[\[(]`},
		{"eviction-stock.bt", stock, "1", evicted.String(), `(?s)\d+ us  of eviction.*@us: *\n[\[(]`},
		{"loop.bt", ours, "40000", sleep, `(?s)[5-9]\d{4} us  in one turn.*@us: *\n[\[(]`},
		{"loop.bt", stock, "40000", sleep, `(?s)[5-9]\d{4} us  in one turn.*@us: *\n[\[(]`},
		{"alloc.bt", ours, "", "INFO\r\n", `(?s)@allocations\[\d+\]: \d+.*@bytes\[\d+\]: \d{3,}`},
		{"alloc-stock.bt", stock, "", few, `(?s)@allocations\[set\]: \d+.*@bytes\[set\]: \d+`},
	} {
		tested[c.script] = true
		t.Run(c.script+" "+filepath.Base(c.server), func(t *testing.T) {
			pid, do := serveCommands(t, c.server)
			args := []string{"-p", strconv.Itoa(pid), filepath.Join("bpftrace", c.script), c.server}
			if c.threshold != "" {
				args = append(args, c.threshold)
			}
			want := regexp.MustCompile(c.want)
			for d := 300 * time.Millisecond; ; d *= 3 {
				out := bpftraceDuring(t, d, args, func() { do(c.commands) })
				if want.MatchString(out) {
					return
				}
				if d > patience {
					t.Fatalf("printed no %s:\n%s", c.want, out)
				}
			}
		})
	}
	scripts, err := filepath.Glob("bpftrace/*.bt")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scripts {
		if !tested[filepath.Base(s)] {
			t.Errorf("%s is not tested", s)
		}
	}
}

// describedServer builds bin/server with the notes in it.
func describedServer(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "server")
	if err := buildServerAt(path); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	described, err := AddUSDT(file, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, described, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveCommands starts a server, and returns a function that sends inline
// commands to it and waits until they are done.
func serveCommands(t *testing.T, path string) (pid int, do func(commands string)) {
	t.Helper()
	server := startRedisServer(t, path, "--save", "", "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")
	conn := server.dial(t)
	replies := make([]byte, 64<<10)
	return server.Process.Pid, func(commands string) {
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprint(conn, commands, "PING\r\n"); err != nil {
			t.Error(err)
		}
		for tail := ""; !strings.HasSuffix(tail, "+PONG\r\n"); {
			n, err := conn.Read(replies)
			if err != nil {
				t.Error(err)
				return
			}
			tail += string(replies[:n])
			tail = tail[max(0, len(tail)-7):]
		}
	}
}

// bpftraceDuring runs bpftrace, does work over and over for d once it has attached, lets
// it end as by Ctrl-C, and returns what it printed.
func bpftraceDuring(t *testing.T, d time.Duration, args []string, work func()) string {
	t.Helper()
	cmd := exec.Command("bpftrace", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	kill := time.AfterFunc(d+3*patience, func() { cmd.Process.Kill() })
	defer kill.Stop()
	until(t, "bpftrace attached", func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		// It does not say so, but waits then, and only then, for what its probes tell.
		at, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", cmd.Process.Pid))
		return string(at) == "ep_poll" || string(at) == "do_epoll_wait"
	})
	end := time.Now().Add(d)
	for time.Now().Before(end) && !t.Failed() {
		work()
		time.Sleep(10 * time.Millisecond) // bpftrace prints slowly
	}
	for {
		// On a busy machine bpftrace misses a signal that comes while it prints.
		cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
			return out.String()
		case <-time.After(time.Second):
		}
	}
}
