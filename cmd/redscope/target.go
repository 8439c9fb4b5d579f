package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// targetPID turns the value of -p into a pid: a number, or the name of a process
// that runs once.
func targetPID(arg string) (int, error) {
	if arg == "" {
		return 0, usagef("which process? -p takes a pid or a name")
	}
	if pid, err := strconv.Atoi(arg); err == nil {
		if pid <= 0 {
			return 0, usagef("-p %s: a pid is a positive number", arg)
		}
		return pid, nil
	}
	found, err := processesNamed("/proc", arg)
	if err != nil {
		return 0, err
	}
	switch len(found) {
	case 0:
		return 0, fmt.Errorf("no process is called %q", arg)
	case 1:
		return found[0].pid, nil
	}
	var list strings.Builder
	for _, p := range found {
		fmt.Fprintf(&list, "\n  %d  %s", p.pid, p.cmdline)
	}
	return 0, fmt.Errorf("%d processes are called %q; say which with -p PID:%s", len(found), arg, list.String())
}

type process struct {
	pid     int
	cmdline string
}

// processesNamed lists the processes whose name, or whose executable's file
// name, is name, by pid. It leaves out this one, and kernel threads.
func processesNamed(proc, name string) ([]process, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		// A process that has exited meanwhile has nothing to read.
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		exe = strings.TrimSuffix(exe, " (deleted)")
		if strings.TrimSpace(string(comm)) != name && filepath.Base(exe) != name {
			continue
		}
		text := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
		if r := []rune(text); len(r) > 100 {
			text = string(r[:100]) + "…"
		}
		found = append(found, process{pid, text})
	}
	slices.SortFunc(found, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	return found, nil
}
