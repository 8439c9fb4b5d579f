package main

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/require"
)

// runUSDTOn builds a server and adds the notes to it.
func runUSDTOn(t *testing.T) (path string) {
	t.Helper()
	path = copyAs(t, buildServer(t), "server")
	if status, out, errs := runRedscope(t, "", "usdt", path); status != 0 || out != "" || errs != "" {
		t.Fatalf("status %d: %q %q", status, out, errs)
	}
	return path
}

// A server with the notes is the same program, to the Go tools too, and a second
// run leaves the file alone.
func TestUSDTFile(t *testing.T) {
	path := copyAs(t, buildServer(t), "server")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o751); err != nil {
		t.Fatal(err)
	}
	tools := [][]string{{path, "--version"}, {"go", "version", "-m", path}, {"go", "tool", "nm", "-n", path},
		{"go", "tool", "objdump", "-s", "^setCommand$", path}}
	answers := func() (all []string) {
		for _, tool := range tools {
			out, err := exec.Command(tool[0], tool[1:]...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %v\n%s", tool, err, out)
			}
			all = append(all, string(out))
		}
		return all
	}
	before := answers()
	if status, _, errs := runRedscope(t, "", "usdt", link); status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	for i, after := range answers() {
		if after != before[i] {
			t.Errorf("%v prints something else", tools[i])
		}
	}
	first, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if first.Mode() != 0o751 {
		t.Errorf("mode %v", first.Mode())
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is one no more: %v", err)
	}
	if status, _, errs := runRedscope(t, "", "usdt", path); status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	second, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(first, second) || !first.ModTime().Equal(second.ModTime()) {
		t.Error("a second run writes the file again")
	}

	// What is refused stays as it was.
	script := filepath.Join(filepath.Dir(path), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		script: "not an executable in ELF format", filepath.Dir(path): "is not a file", filepath.Join(filepath.Dir(path), "none"): "no such file",
	} {
		status, _, errs := runRedscope(t, "", "usdt", name)
		if !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 || status != 1 {
			t.Errorf("%s: status %d, %q; want …%s…", name, status, errs, want)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("temporary files remain: %v", entries)
	}
}

// bpftrace and tplist list each marker.
func TestUSDTListed(t *testing.T) {
	require.Tool(t, "bpftrace")
	if err := bpf.Supported(); err != nil { // bpftrace runs for root only
		require.Missing(t, "ebpf", err.Error())
	}
	path := runUSDTOn(t)
	var names []string
	for _, m := range probe.Markers {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	check := func(out []byte, prefix string) {
		t.Helper()
		var got []string
		for line := range strings.Lines(string(out)) {
			got = append(got, strings.TrimPrefix(strings.TrimSpace(line), prefix))
		}
		slices.Sort(got)
		if !slices.Equal(got, names) {
			t.Errorf("listed %v, want %v", got, names)
		}
	}
	out, err := exec.Command("bpftrace", "-l", "usdt:"+path+":*").Output()
	if err != nil {
		t.Fatal(err)
	}
	check(out, "usdt:"+path+":redscope:")
	require.Tool(t, "bcc")
	if out, err = exec.Command("tplist-bpfcc", "-l", path).Output(); err != nil {
		t.Fatal(err)
	}
	check(out, path+" redscope:")
}

// bpftrace raises a marker's semaphore, in one process or in all that run the
// file, gets its arguments, and lowers the semaphore when it ends. CONFIG SET
// markers always adds one to it, which serves a probe that raises nothing.
func TestUSDTAttach(t *testing.T) {
	require.Tool(t, "bpftrace")
	require.Tool(t, "redis")
	path := runUSDTOn(t)
	pid := startServer(t, path)
	semaphore := semaphoreReader(t, path, pid, "command_start")
	wait := func(want uint16) {
		t.Helper()
		for end := time.Now().Add(patience); semaphore() != want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the semaphore is %d, want %d", semaphore(), want)
			}
		}
	}
	hits := func(args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "bpftrace", args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		// Without the semaphore the server never comes to the marker.
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "hit 1 test:key:name 3\n") {
			t.Errorf("%v: no passing of the marker, %v\n%s", args, err, out)
		}
	}
	markers := func(mode string) {
		t.Helper()
		out, err := exec.Command("redis-cli", "-p", portOf(t, pid), "CONFIG", "SET", "markers", mode).CombinedOutput()
		if err != nil || string(out) != "OK\n" {
			t.Fatalf("%v, %s", err, out)
		}
	}
	const print = ` { printf("hit %d %s %d\n", ARG0 > 0, str(ARG2, ARG3), ARG4); exit(); }`
	usdt := "usdt:" + path + ":redscope:command_start /arg3 == 13/" + strings.ReplaceAll(print, "ARG", "arg")
	wait(0)
	for _, args := range [][]string{{"-p", strconv.Itoa(pid), "-e", usdt}, {"-e", usdt}} {
		hits(args...)
		wait(0)
	}
	markers("always")
	wait(1)
	hits("-e", usdt)
	wait(1)
	m := slices.IndexFunc(probe.Markers, func(m probe.Marker) bool { return m.Name == "command_start" })
	hits("-e", "uprobe:"+path+`:"`+probe.Markers[m].Symbol+`" /sarg3 == 13/`+strings.ReplaceAll(print, "ARG", "sarg"))
	markers("auto")
	wait(0)
}

// portOf returns the port that a server was told to listen on.
func portOf(t *testing.T, pid int) string {
	t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(string(line), "\x00")
	return args[slices.Index(args, "--port")+1]
}

// semaphoreReader returns a function that reads a marker's semaphore in a
// process whose executable is at path, and is no PIE.
func semaphoreReader(t *testing.T, path string, pid int, marker string) func() uint16 {
	t.Helper()
	e, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	syms, err := e.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	s := slices.IndexFunc(syms, func(s elf.Symbol) bool { return s.Name == probe.SemaphoreSymbol })
	m := slices.IndexFunc(probe.Markers, func(m probe.Marker) bool { return m.Name == marker })
	if s < 0 || m < 0 {
		t.Fatalf("no symbol %s, or no marker %s", probe.SemaphoreSymbol, marker)
	}
	at := int64(syms[s].Value) + 2*int64(probe.Markers[m].Semaphore)
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Close() })
	return func() uint16 {
		var word [2]byte
		if _, err := mem.ReadAt(word[:], at); err != nil {
			t.Fatal(err)
		}
		return binary.NativeEndian.Uint16(word[:])
	}
}
