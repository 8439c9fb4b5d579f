package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/redscope/redscope/bpf"
)

// drainEvery is how often records are fetched from the kernel, which has room for
// 50,000: two and a half million a second.
const drainEvery = 20 * time.Millisecond

// watchFlags are those of the commands that look at every command of a server.
type watchFlags struct {
	process         *string
	duration        *time.Duration
	phases, returns *bool
	budget          *string
}

func addWatchFlags(fs *flag.FlagSet) watchFlags {
	return watchFlags{
		process:  fs.String("p", "", "`PROCESS` to look into: a pid, or a name if only one process has it"),
		duration: fs.Duration("for", 0, "end after that `TIME`; 0 is at Ctrl-C"),
		phases:   fs.Bool("phases", false, "of a stock server, also what comes before a command's call: two more probes per read"),
		returns:  fs.Bool("returns", false, "of a stock server, the end of a call by its return: a little cheaper, but profilers' stacks end at call meanwhile"),
		budget:   fs.String("budget", "", "see less rather than cost the server more than that `SHARE` of its processor time: 2%, 0.5%"),
	}
}

// options returns what the flags say of whom to watch, and how.
func (f watchFlags) options(operands []string) (opts bpf.CommandOptions, err error) {
	if len(operands) != 0 {
		return opts, usagef("there is no operand %q", operands[0])
	}
	if *f.duration < 0 {
		return opts, usagef("--for cannot be negative")
	}
	opts.Phases, opts.Returns = *f.phases, *f.returns
	if opts.Budget, err = parseBudget(*f.budget); err != nil {
		return opts, err
	}
	opts.PID, err = targetPID(*f.process)
	return opts, err
}

// watch runs a watcher until the time is over, ctx ends or the process exits. It
// calls record with each record, and every with the time since the start as often
// as interval says. What was seen can still be asked of the watcher that it returns.
func watch(ctx context.Context, opts bpf.CommandOptions, duration, interval time.Duration, record func(*bpf.CommandRecord), every func(*bpf.CommandWatcher, time.Duration) error) (w *bpf.CommandWatcher, exited bool, err error) {
	if w, err = bpf.StartCommandWatcher(opts); err != nil {
		return nil, false, err
	}
	start := time.Now()
	if duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, duration)
		defer cancel()
	}
	fail := func(err error) (*bpf.CommandWatcher, bool, error) {
		w.Close()
		return nil, false, err
	}
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	for next := interval; ; {
		over := false
		select {
		case <-ctx.Done():
			if err := w.Detach(); err != nil {
				return fail(err)
			}
			over = true
		case <-tick.C:
		}
		switch err := w.Drain(record); {
		case errors.Is(err, bpf.ErrExited):
			return w, true, nil
		case err != nil:
			return fail(err)
		}
		if over {
			return w, false, nil
		}
		if elapsed := time.Since(start); every != nil && elapsed >= next {
			next = elapsed.Truncate(interval) + interval
			if err := every(w, elapsed); err != nil {
				return fail(err)
			}
		}
	}
}

// account says what became of all commands.
type account struct {
	Commands       uint64 `json:"commands"` // counted one by one in the kernel
	Spans          uint64 `json:"spans"`
	Filtered       uint64 `json:"filtered"`
	Dropped        uint64 `json:"dropped"`
	NotLookedAt    uint64 `json:"not_looked_at"`   // of Filtered, to keep to the budget
	ServerCommands uint64 `json:"server_commands"` // as the server counts them itself

	Looking *looking `json:"looking,omitempty"`
}

func accountOf(w *bpf.CommandWatcher) (a account, err error) {
	stats, err := w.Snapshot()
	if err != nil {
		return a, err
	}
	t, err := w.Totals()
	if err != nil {
		return a, err
	}
	for _, s := range stats {
		a.Commands += s.Calls + s.Refused
	}
	a.Spans, a.Filtered, a.Dropped, a.NotLookedAt, a.ServerCommands = t.Sent, t.Filtered, t.Dropped, t.Shed, t.Seen
	a.Looking, err = lookingOf(w)
	return a, err
}

// write ends a command's output with the account.
func (a account) write(out io.Writer, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(a)
	}
	counted := fmt.Sprintf("%d commands", a.Commands)
	if a.NotLookedAt > 0 {
		counted += fmt.Sprintf(" looked at, %d not", a.NotLookedAt)
	}
	if a.Looking != nil {
		fmt.Fprintln(out, a.Looking)
	}
	_, err := fmt.Fprintf(out, "%s: %d shown, %d filtered, %d dropped; the server counts %d\n", counted, a.Spans, a.Filtered, a.Dropped, a.ServerCommands)
	return err
}

// short writes a duration in at most six characters.
func short(d time.Duration) string {
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		// From what would be rounded up to it.
		if d >= unit.size-unit.size/2000 {
			v := float64(d) / float64(unit.size)
			decimals := 2
			for _, limit := range []float64{9.995, 99.95} {
				if v >= limit {
					decimals--
				}
			}
			return strconv.FormatFloat(v, 'f', decimals, 64) + unit.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
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

// notes says on standard error what could not be seen.
func notes(w *bpf.CommandWatcher, pid int, exited bool) error {
	if exited {
		fmt.Fprintf(os.Stderr, "note: pid %d exited\n", pid)
	}
	limits, err := w.Limits()
	for _, l := range limits {
		fmt.Fprintf(os.Stderr, "note: %s\n", l)
	}
	return err
}

func waiting(what string, pid int) {
	if isTerminal(os.Stderr) {
		fmt.Fprintf(os.Stderr, "%s of pid %d; Ctrl-C ends\n", what, pid)
	}
}
