package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/redscope/redscope/bpf"
)

// hotKeySample is how many commands pass for each whose key is looked at: enough
// that the records cost nothing, and a key of one percent of a busy server's
// commands is seen hundreds of times a second.
const hotKeySample = 101

// hotShare is the share of commands from which on a key is worth a line.
const hotShare = 0.01

func runTop(ctx context.Context, args []string) error {
	fs := newFlags("top", "-p PROCESS [--every TIME] [--for TIME] [--phase NAME] [--json]", `
  redscope top -p server
  redscope top -p server --for 10s
  redscope top -p 4711 --phase total --every 5s
  redscope top -p 4711 --for 1s --json

Shows what a server does, by command: calls and errors per second, the share of
the event loop's time, and how long a phase took (call, unless --phase says
another; redscope trace -h names them). Every command is counted. On a terminal
the picture is renewed, elsewhere it is printed once, at the end. Keys are
counted in one command of 101.
`)
	flags := addWatchFlags(fs)
	every := fs.Duration("every", time.Second, "renew the picture after that `TIME`")
	phaseName := fs.String("phase", "call", "show the times of that `PHASE`")
	asJSON := fs.Bool("json", false, "JSON at the end in place of the table; times in ns")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if *every < 100*time.Millisecond {
		return usagef("--every must be 100ms at least")
	}
	phase := bpf.Phase(0)
	for phase.String() != *phaseName {
		if phase++; phase == bpf.PhaseCount {
			return usagef("there is no phase %q; redscope trace -h names them", *phaseName)
		}
	}
	opts, err := flags.options(operands)
	if err != nil {
		return err
	}
	opts.OneIn, opts.Cost, opts.Sizes = hotKeySample, true, *asJSON
	live := isTerminal(os.Stdout) && !*asJSON
	if !live {
		waiting("watching all commands", opts.PID)
	}

	keys := newHotKeys(hotKeysKept)
	last := picture{}
	renew := func(w *bpf.CommandWatcher, elapsed time.Duration) error {
		if !live {
			return nil
		}
		now, err := takePicture(w, elapsed)
		if err != nil {
			return err
		}
		var b strings.Builder
		b.WriteString("\x1b[H\x1b[2J") // home, clear
		now.since(last).write(&b, phase, keys)
		last = now
		_, err = os.Stdout.WriteString(b.String())
		return err
	}
	start := time.Now()
	w, exited, err := watch(ctx, opts, *flags.duration, *every, func(r *bpf.CommandRecord) {
		if r.KeyLen > 0 {
			keys.add(string(r.FirstKey()), r.KeyLen)
		}
	}, renew)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := notes(w, opts.PID, exited); err != nil {
		return err
	}
	whole, err := takePicture(w, time.Since(start))
	if err != nil {
		return err
	}
	a, err := accountOf(w)
	if err != nil {
		return err
	}
	if *asJSON {
		return errors.Join(whole.writeJSON(os.Stdout, keys), a.write(os.Stdout, true))
	}
	var b strings.Builder
	if live {
		b.WriteString("\x1b[H\x1b[2J")
	}
	whole.write(&b, phase, keys)
	b.WriteByte('\n')
	_, err = io.WriteString(os.Stdout, b.String())
	return errors.Join(err, a.write(os.Stdout, false))
}

// picture is what was seen up to a time, or between two.
type picture struct {
	elapsed time.Duration
	stats   []bpf.CommandStats
	totals  bpf.CommandTotals
	cost    bpf.CommandCost
}

func takePicture(w *bpf.CommandWatcher, elapsed time.Duration) (p picture, err error) {
	p.elapsed = elapsed
	var errs [3]error
	p.stats, errs[0] = w.Snapshot()
	p.totals, errs[1] = w.Totals()
	p.cost, errs[2] = w.Cost()
	return p, errors.Join(errs[:]...)
}

// since returns what came after an earlier picture.
func (p picture) since(before picture) picture {
	d := picture{elapsed: p.elapsed - before.elapsed, totals: p.totals, cost: p.cost}
	d.totals.Turns -= before.totals.Turns
	d.totals.Idle -= before.totals.Idle
	d.totals.Seen -= before.totals.Seen
	d.cost.Hits -= before.cost.Hits
	d.cost.Commands -= before.cost.Commands
	d.cost.RunTime -= before.cost.RunTime
	for _, s := range p.stats {
		i := slices.IndexFunc(before.stats, func(b bpf.CommandStats) bool { return b.Name == s.Name })
		if i >= 0 {
			b := before.stats[i]
			s.Calls -= b.Calls
			s.Failed -= b.Failed
			s.Refused -= b.Refused
			s.ReplyBytes -= b.ReplyBytes
			for phase := range s.Phases {
				s.Phases[phase] = s.Phases[phase].Sub(b.Phases[phase])
			}
		}
		if s.Calls+s.Refused > 0 {
			d.stats = append(d.stats, s)
		}
	}
	return d
}

// busy is the share of the time in which the event loop did not wait for events.
func (p picture) busy() float64 {
	return max(0, 1-p.totals.Idle.Seconds()/p.elapsed.Seconds())
}

// byLoopTime are the commands, those first that took most of the loop's time.
func (p picture) byLoopTime() []bpf.CommandStats {
	return slices.SortedStableFunc(slices.Values(p.stats), func(a, b bpf.CommandStats) int {
		return cmp.Compare(b.Phases[bpf.PhaseCall].Sum, a.Phases[bpf.PhaseCall].Sum)
	})
}

func (p picture) write(b *strings.Builder, phase bpf.Phase, keys *hotKeys) {
	seconds := p.elapsed.Seconds()
	perTurn := 0.0
	if p.totals.Turns > 0 {
		perTurn = float64(p.totals.Seen) / float64(p.totals.Turns)
	}
	fmt.Fprintf(b, "%.0f commands/s   loop busy %.0f %%   %.1f commands per wake-up", float64(p.totals.Seen)/seconds, 100*p.busy(), perTurn)
	if p.cost.Commands > 0 {
		fmt.Fprintf(b, "   looking: %d ns of eBPF per command", p.cost.RunTime.Nanoseconds()/int64(p.cost.Commands))
	}
	if p.totals.Missed > 0 {
		fmt.Fprintf(b, "   %d not seen", p.totals.Missed)
	}
	fmt.Fprintf(b, "\n\n%-20s %10s %6s %9s  %s: %5s %7s %7s %7s\n", "command", "calls/s", "loop", "errors/s", phase, "p50", "p99", "p99.9", "max")
	for _, s := range p.byLoopTime() {
		h := s.Phases[phase]
		fmt.Fprintf(b, "%-20s %10.0f %5.1f%% %9.1f  %*s %7s %7s %7s\n", commandName(s.Name), float64(s.Calls)/seconds,
			100*s.Phases[bpf.PhaseCall].Sum.Seconds()/seconds, float64(s.Failed+s.Refused)/seconds,
			len(phase.String())+7, short(h.Quantile(0.5)), short(h.Quantile(0.99)), short(h.Quantile(0.999)), short(h.Quantile(1)))
	}
	title := "\nkeys\n"
	for _, k := range keys.top(5) {
		if share := float64(k.count) / float64(keys.n); share >= hotShare {
			fmt.Fprintf(b, "%s%5.1f%%  %s\n", title, 100*share, quoteKey([]byte(k.key), k.length))
			title = ""
		}
	}
}

// jsonCommand is a command as --json shows it.
type jsonCommand struct {
	Command    string                `json:"command"`
	Calls      uint64                `json:"calls"`
	Failed     uint64                `json:"failed"`
	Refused    uint64                `json:"refused"`
	ReplyBytes uint64                `json:"reply_bytes"`
	Phases     map[string]jsonTiming `json:"phases"` // ns
}

type jsonTiming struct {
	Count uint64        `json:"count"`
	Sum   time.Duration `json:"sum"`
	P50   time.Duration `json:"p50"`
	P99   time.Duration `json:"p99"`
	P999  time.Duration `json:"p999"`
	Max   time.Duration `json:"max"`
}

func (p picture) writeJSON(out io.Writer, keys *hotKeys) error {
	type jsonKey struct {
		Key   string  `json:"key"` // its first 32 bytes
		Share float64 `json:"share"`
	}
	report := struct {
		Seconds float64       `json:"seconds"`
		Busy    float64       `json:"loop_busy"`
		Turns   uint64        `json:"turns"`
		Cost    time.Duration `json:"ebpf_ns"`
		Table   []jsonCommand `json:"table"`
		Keys    []jsonKey     `json:"keys"`
	}{p.elapsed.Seconds(), p.busy(), p.totals.Turns, p.cost.RunTime, []jsonCommand{}, []jsonKey{}}
	for _, s := range p.byLoopTime() {
		c := jsonCommand{commandName(s.Name), s.Calls, s.Failed, s.Refused, s.ReplyBytes, map[string]jsonTiming{}}
		for phase, h := range s.Phases {
			if n := h.Count(); n > 0 {
				c.Phases[bpf.Phase(phase).String()] = jsonTiming{n, h.Sum, h.Quantile(0.5), h.Quantile(0.99), h.Quantile(0.999), h.Quantile(1)}
			}
		}
		report.Table = append(report.Table, c)
	}
	for _, k := range keys.top(10) {
		report.Keys = append(report.Keys, jsonKey{k.key, float64(k.count) / float64(keys.n)})
	}
	return json.NewEncoder(out).Encode(report)
}
