package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// targetPID turns the value of -p into a pid: a number, or the name of a process
// that runs once.
func targetPID(arg string) (int, error) {
	pid, named, err := lookUp(arg)
	if err != nil || named == nil {
		return pid, err
	}
	if len(named) > 1 {
		return 0, ambiguous(arg, named, "say which with -p PID")
	}
	return named[0].pid, nil
}

// lookUp returns the pid that arg is, or else the processes of that name, at least
// one.
func lookUp(arg string) (pid int, named []process, err error) {
	if arg == "" {
		return 0, nil, usagef("which process? -p takes a pid or a name")
	}
	if pid, err := strconv.Atoi(arg); err == nil {
		if pid <= 0 {
			return 0, nil, usagef("-p %s: a pid is a positive number", arg)
		}
		return pid, nil, nil
	}
	if named, err = processesNamed("/proc", arg); err == nil && len(named) == 0 {
		err = noneCalled(arg)
	}
	return 0, named, err
}

// noneCalled is the error for a name that no process has.
type noneCalled string

func (n noneCalled) Error() string { return fmt.Sprintf("no process is called %q", string(n)) }

// ambiguous is the error for a name that several processes have.
func ambiguous(name string, found []process, todo string) error {
	var list strings.Builder
	for _, p := range found {
		fmt.Fprintf(&list, "\n  %d  %s", p.pid, p.cmdline)
	}
	return fmt.Errorf("%d processes are called %q; %s:%s", len(found), name, todo, list.String())
}

// targets are the processes that the values of -p stand for, each pid once, for
// commands that can look at many.
func targets(args []string, all bool) ([]*target, error) {
	if len(args) == 0 {
		args = []string{""}
	}
	var list []*target
	add := func(t *target) {
		if i := slices.IndexFunc(list, func(other *target) bool { return t.pid != 0 && other.pid == t.pid }); i >= 0 {
			list[i].follow = list[i].follow || t.follow
			return
		}
		list = append(list, t)
	}
	for _, arg := range args {
		pid, named, err := lookUp(arg)
		// A fork of a server is no server of its own: it saves the data and goes.
		if servers := slices.DeleteFunc(slices.Clone(named), func(p process) bool { return p.forked }); len(servers) > 0 {
			named = servers
		}
		switch {
		case errors.As(err, new(noneCalled)) && len(args) > 1:
			add(&target{name: arg, follow: true})
		case err != nil:
			return nil, err
		case named == nil:
			add(&target{name: commOf(pid), process: process{pid: pid}})
		case len(named) > 1 && !all:
			return nil, ambiguous(arg, named, "watch all of them with --all, or say which with -p PID")
		}
		for _, p := range named {
			add(&target{name: arg, follow: true, process: p})
		}
	}
	return list, nil
}

// commOf is the name of a process, "pid" when it has gone.
func commOf(pid int) string {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "pid"
	}
	return strings.TrimSpace(string(comm))
}

type process struct {
	pid     int
	exe     string // its executable's path, as it sees it
	cmdline string
	forked  bool // from one that runs the same program, and in its session
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
		// A process that has exited meanwhile has nothing to read.
		dir := filepath.Join(proc, e.Name())
		comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		exe = strings.TrimSuffix(exe, " (deleted)")
		if strings.TrimSpace(string(comm)) != name && filepath.Base(exe) != name {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(cmdline) == 0 {
			continue
		}
		text := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
		if r := []rune(text); len(r) > 100 {
			text = string(r[:100]) + "…"
		}
		stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
		found = append(found, process{pid, exe, text, forked(pid, stat)})
	}
	slices.SortFunc(found, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	return found, nil
}

// forked tells from /proc/PID/stat whether a process was forked and has executed
// no program since. A daemon, which leads a session, does not count.
func forked(pid int, stat []byte) bool {
	const forkNoExec = 0x40 // PF_FORKNOEXEC, include/linux/sched.h
	behindName := stat[bytes.LastIndexByte(stat, ')')+1:]
	f := strings.Fields(string(behindName)) // state ppid pgrp session tty_nr tpgid flags, proc(5)
	if len(f) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(f[6], 10, 64)
	return err == nil && flags&forkNoExec != 0 && f[3] != strconv.Itoa(pid)
}

// stopped reports whether a process is stopped by a signal or a debugger.
func stopped(pid int) bool {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, state, _ := bytes.Cut(status, []byte("\nState:"))
	state = bytes.TrimSpace(state)
	return len(state) > 0 && (state[0] == 'T' || state[0] == 't')
}

// gone reports whether a process has exited: it has no program any more.
func gone(pid int) bool {
	_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return errors.Is(err, fs.ErrNotExist)
}
