package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redscope/redscope/bpf"
)

// drainEvery is how often records are fetched from the kernel, which has room for
// 50,000: two and a half million a second.
const drainEvery = 20 * time.Millisecond

// lookEvery is how often a process is looked for that takes the place of one that
// has exited.
const lookEvery = 200 * time.Millisecond

// patientLooks is how many times a process is tried that cannot be watched: it may
// have begun a moment ago.
const patientLooks = 25

// watchFlags are those of the commands that look at every command of a server.
type watchFlags struct {
	processes       listFlag
	all             *bool
	duration        *time.Duration
	phases, returns *bool
	budget          *string
}

// listFlag is the values of a flag that may be repeated; one may hold several with
// commas between.
type listFlag []string

func (l *listFlag) String() string { return strings.Join(*l, ",") }

func (l *listFlag) Set(value string) error {
	*l = append(*l, strings.Split(value, ",")...)
	return nil
}

func addWatchFlags(fs *flag.FlagSet) *watchFlags {
	f := &watchFlags{
		all:      fs.Bool("all", false, "with a name that several processes have, watch all of them"),
		duration: fs.Duration("for", 0, "end after that `TIME`; 0 is at Ctrl-C"),
		phases:   fs.Bool("phases", false, "of a stock server, also what comes before and after a command's call: one more probe per read and per turn"),
		returns:  fs.Bool("returns", false, "of a stock server, the end of a call by its return: a little cheaper, but profilers' stacks end at call meanwhile"),
		budget:   fs.String("budget", "", "see less rather than cost a server more than that `SHARE` of its processor time: 2%, 0.5%"),
	}
	fs.Var(&f.processes, "p", "`PROCESS` to look into: a pid, or a name, which is followed over restarts; may be repeated")
	return f
}

// options returns what the flags say of whom to watch, and how.
func (f *watchFlags) options(operands []string) (opts bpf.CommandOptions, list []*target, err error) {
	if len(operands) != 0 {
		return opts, nil, usagef("there is no operand %q", operands[0])
	}
	if *f.duration < 0 {
		return opts, nil, usagef("--for cannot be negative")
	}
	opts.Phases, opts.Returns = *f.phases, *f.returns
	if opts.Budget, err = parseBudget(*f.budget); err != nil {
		return opts, nil, err
	}
	list, err = targets(f.processes, *f.all)
	return opts, list, err
}

// target is a server to watch: a process, and when it was given by its name those
// that take its place one after the other.
type target struct {
	name   string // of the processes
	follow bool   // with another of that name
	process
	w *bpf.CommandWatcher // nil while there is none to watch

	waiting bool        // for a process that can be watched
	failed  map[int]int // how many times a process could not be
	began   time.Time   // to watch w
	past    picture     // what was seen of those that have exited
}

// String names the process that is watched, or was the last.
func (t *target) String() string {
	if t.pid == 0 {
		return t.name
	}
	return fmt.Sprintf("%s[%d]", t.name, t.pid)
}

// picture is what was seen so far of all processes that the target has been.
func (t *target) picture() (picture, error) {
	if t.w == nil {
		return t.past, nil
	}
	now, err := takePicture(t.w, time.Since(t.began))
	return t.past.plus(now), err
}

// watching is all that is watched.
type watching struct {
	targets  []*target
	accounts []account       // of each process that was watched
	notes    []string        // not yet printed
	limits   map[string]bool // that were noted
	live     bool            // the terminal is redrawn: print notes at the end
	opts     bpf.CommandOptions
	looked   time.Time // for processes
	// explained takes the explanations, if opts asks for them.
	explained func(*target, []bpf.Explanation) error
}

// watch runs a watcher for each target until the time is over, ctx ends or nothing
// is left to watch. It calls record with each record, and every with the time since
// the start as often as interval says. In the end all are closed, and what was seen
// is in the targets' pictures and in the accounts.
func watch(ctx context.Context, ws *watching, duration, interval time.Duration, record func(*target, *bpf.CommandRecord), every func(time.Duration) error) error {
	defer ws.close()
	ws.limits = map[string]bool{}
	if err := ws.begin(); err != nil {
		return err
	}
	start := time.Now()
	if duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, duration)
		defer cancel()
	}
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for next := interval; ; {
		over := false
		select {
		case <-ctx.Done():
			if err := ws.detach(); err != nil {
				return err
			}
			over = true
		case <-tick.C:
		}
		more := false
		for _, t := range ws.targets {
			if err := ws.drain(t, record, over); err != nil {
				return err
			}
			more = more || t.w != nil || t.waiting
		}
		if over || !more {
			break
		}
		ws.look()
		if elapsed := time.Since(start); every != nil && elapsed >= next {
			next = elapsed.Truncate(interval) + interval
			if err := every(elapsed); err != nil {
				return err
			}
		}
	}
	for _, t := range ws.targets {
		t.waiting = false
	}
	if len(ws.accounts) == 0 {
		ws.printNotes()
		return errors.New("no process was watched")
	}
	return nil
}

// begin starts the watchers. A target that cannot be watched is left out, unless it
// is the only one.
func (ws *watching) begin() error {
	var errs []error
	left := 0
	for _, t := range ws.targets {
		err := error(noneCalled(t.name))
		if t.pid != 0 {
			err = ws.start(t, t.process)
		}
		if err == nil {
			left++
			continue
		}
		errs = append(errs, err)
		t.waiting = errors.Is(err, bpf.ErrStarting) || t.follow && (t.pid == 0 || gone(t.pid))
		if t.waiting {
			left++
		}
	}
	if len(errs) == 1 && left == 0 {
		return errs[0]
	}
	for _, err := range errs {
		ws.note("%v", err)
	}
	if left == 0 {
		return fmt.Errorf("none of these %d processes can be watched", len(errs))
	}
	return nil
}

// start begins to watch a process as a target.
func (ws *watching) start(t *target, p process) error {
	opts, was := ws.opts, !gone(p.pid)
	opts.PID = p.pid
	w, err := bpf.StartCommandWatcher(opts)
	switch {
	case err != nil && was && gone(p.pid):
		return fmt.Errorf("pid %d exited before it could be watched", p.pid)
	case err != nil:
		return err
	}
	t.w, t.process, t.began, t.waiting, t.failed = w, p, time.Now(), false, nil
	if stopped(p.pid) {
		ws.note("%v is stopped, by SIGSTOP or a debugger: it executes nothing", t)
	}
	return nil
}

// detach takes all probes out.
func (ws *watching) detach() error {
	var errs []error
	for _, t := range ws.targets {
		if t.w != nil {
			errs = append(errs, t.w.Detach())
		}
	}
	return errors.Join(errs...)
}

// drain takes a target's records. When its process has exited, or over tells that
// they are the last, its account is made.
func (ws *watching) drain(t *target, record func(*target, *bpf.CommandRecord), over bool) error {
	if t.w == nil {
		return nil
	}
	err := t.w.Drain(func(r *bpf.CommandRecord) { record(t, r) })
	exited := errors.Is(err, bpf.ErrExited)
	if err != nil && !exited {
		return err
	}
	if ws.opts.Explain {
		list, err := t.w.Explain(exited || over)
		if err == nil {
			err = ws.explained(t, list)
		}
		if err != nil {
			return err
		}
	}
	if !exited && !over {
		return nil
	}
	if err := t.w.Detach(); err != nil {
		return err
	}
	now, err := takePicture(t.w, time.Since(t.began))
	if err != nil {
		return err
	}
	limits, err := t.w.Limits()
	if err != nil {
		return err
	}
	t.w.Close()
	t.w = nil
	t.past = t.past.plus(now)
	a := accountOf(now)
	a.Target, a.PID = t.name, t.pid
	ws.accounts = append(ws.accounts, a)
	for _, l := range limits {
		if len(ws.targets) > 1 {
			l = fmt.Sprintf("%s: %s", t.name, l)
		}
		if !ws.limits[l] {
			ws.limits[l] = true
			ws.note("%s", l)
		}
	}
	switch {
	case over:
	case !gone(t.pid):
		t.waiting = true
		ws.note("%v began anew", t) // DEBUG RESTART
	case t.follow:
		t.waiting = true
		ws.note("%v exited; waiting for another %s", t, t.name)
	default:
		ws.note("pid %d exited", t.pid)
	}
	return nil
}

// look starts watchers for those processes that targets wait for and that are
// there by now.
func (ws *watching) look() {
	if time.Since(ws.looked) < lookEvery {
		return
	}
	ws.looked = time.Now()
	named := map[string][]process{}
	for _, t := range ws.targets {
		if !t.waiting {
			continue
		}
		candidates := []process{t.process}
		if t.follow {
			if _, known := named[t.name]; !known {
				named[t.name], _ = processesNamed("/proc", t.name)
			}
			candidates = ws.successors(t, named[t.name])
		} else if gone(t.pid) {
			t.waiting = false
			ws.note("pid %d exited before it could be watched", t.pid)
			continue
		}
		for _, p := range candidates {
			before := t.String()
			err := ws.start(t, p)
			if err == nil {
				if t.String() != before {
					ws.note("watching %v", t)
				}
				break
			}
			if t.failed == nil {
				t.failed = map[int]int{}
			}
			if t.failed[p.pid]++; t.failed[p.pid] != patientLooks {
				continue
			}
			ws.note("%v", err)
			if !t.follow {
				t.waiting = false
			}
		}
	}
}

// successors are those processes that can take the place of a target's, those with
// the same executable first. The forks that a server leaves when it is killed
// cannot.
func (ws *watching) successors(t *target, named []process) []process {
	found := slices.DeleteFunc(slices.Clone(named), func(p process) bool {
		return p.forked || t.failed[p.pid] >= patientLooks ||
			slices.ContainsFunc(ws.targets, func(other *target) bool { return other.w != nil && other.pid == p.pid })
	})
	slices.SortStableFunc(found, func(a, b process) int {
		switch {
		case (a.exe == t.exe) == (b.exe == t.exe):
			return 0
		case a.exe == t.exe:
			return -1
		}
		return 1
	})
	return found
}

// close ends the watching of what is still watched.
func (ws *watching) close() {
	for _, t := range ws.targets {
		if t.w != nil {
			t.w.Close()
			t.w = nil
		}
	}
}

// note says on standard error what happened, and what could not be seen.
func (ws *watching) note(format string, args ...any) {
	ws.notes = append(ws.notes, fmt.Sprintf(format, args...))
	if !ws.live {
		ws.printNotes()
	}
}

func (ws *watching) printNotes() {
	for _, n := range ws.notes {
		fmt.Fprintf(os.Stderr, "note: %s\n", n)
	}
	ws.notes = nil
}

// account says what became of all commands.
type account struct {
	Target         string `json:"target,omitempty"` // none of the sum
	PID            int    `json:"pid,omitempty"`
	Commands       uint64 `json:"commands"` // counted one by one in the kernel
	Spans          uint64 `json:"spans"`
	Filtered       uint64 `json:"filtered"`
	Dropped        uint64 `json:"dropped"`
	NotLookedAt    uint64 `json:"not_looked_at"`   // of Filtered, to keep to the budget
	ServerCommands uint64 `json:"server_commands"` // as the server counts them itself

	Looking *looking `json:"looking,omitempty"`
}

func accountOf(p picture) (a account) {
	for _, s := range p.stats {
		a.Commands += s.Calls + s.Refused
	}
	a.Spans, a.Filtered, a.Dropped, a.ServerCommands = p.totals.Sent, p.totals.Filtered, p.totals.Dropped, p.totals.Seen
	a.NotLookedAt, a.Looking = p.totals.Shed, p.looking
	return a
}

// writeAccounts ends a command's output with the accounts of the processes, if there
// were several, and the sum.
func (ws *watching) writeAccounts(out io.Writer, asJSON bool) error {
	var sum account
	all := ws.accounts
	for _, a := range all {
		sum.Commands += a.Commands
		sum.Spans += a.Spans
		sum.Filtered += a.Filtered
		sum.Dropped += a.Dropped
		sum.NotLookedAt += a.NotLookedAt
		sum.ServerCommands += a.ServerCommands
		sum.Looking = sum.Looking.plus(a.Looking)
	}
	if len(all) == 1 {
		all = nil
	}
	for _, a := range append(all, sum) {
		if err := a.write(out, asJSON); err != nil {
			return err
		}
	}
	return nil
}

func (a account) write(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(a)
	}
	who := ""
	if a.PID != 0 {
		who = fmt.Sprintf("%s[%d]: ", a.Target, a.PID)
	}
	if a.Looking != nil {
		fmt.Fprintf(out, "%s%v\n", who, a.Looking)
	}
	commands := fmt.Sprintf("%d commands", a.Commands)
	if a.NotLookedAt > 0 {
		commands += fmt.Sprintf(" looked at, %d not", a.NotLookedAt)
	}
	_, err := fmt.Fprintf(out, "%s%s: %d shown, %d filtered, %d dropped; the server counts %d\n", who, commands, a.Spans, a.Filtered, a.Dropped, a.ServerCommands)
	return err
}

// commandName names a command that may be unknown to the server.
func commandName(name string) string {
	if name == "" {
		return "(unknown)"
	}
	return name
}

// quoteKey shows the first bytes of a key.
func quoteKey(key []byte, length uint32) string {
	q := strconv.Quote(string(key))
	if int(length) > len(key) {
		q += "…"
	}
	return q
}

// waiting says on a terminal what is going on.
func (ws *watching) waiting(what string) {
	if !isTerminal(os.Stderr) {
		return
	}
	names := make([]string, len(ws.targets))
	for i, t := range ws.targets {
		names[i] = t.String()
	}
	fmt.Fprintf(os.Stderr, "%s of %s; Ctrl-C ends\n", what, strings.Join(names, ", "))
}
