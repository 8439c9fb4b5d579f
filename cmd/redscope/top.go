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
	"github.com/redscope/redscope/latency"
)

// hotKeySample is how many commands pass for each whose key is looked at: enough
// that the records cost nothing, and a key of one percent of a busy server's
// commands is seen hundreds of times a second.
const hotKeySample = 101

// hotShare is the share of commands from which on a key is worth a line.
const hotShare = 0.01

func runTop(ctx context.Context, args []string) error {
	fs := newFlags("top", "-p PROCESS [-p PROCESS]… [--all] [--every TIME] [--for TIME] [--phase NAME] [--budget SHARE] [--json] [-o latency.svg]", `
  redscope top -p server
  redscope top -p server -p 4711,4712
  redscope top -p redis-server --all
  redscope top -p server --for 10s
  redscope top -p server --for 10s -o latency.svg
  redscope top -p 4711 --phase total --every 5s
  redscope top -p 4711 --for 1s --json
  redscope top -p redis-server --budget 2%

Shows what a server does, by command: calls and errors per second, the share of
the event loop's time, and how long a phase took (call, unless --phase says
another; redscope trace -h names them). Every command is counted. On a terminal
the picture is renewed, elsewhere it is printed once, at the end. Keys are
counted in one command of 101.

A server that is given by its name is followed when it is restarted; a pid is
that process alone.
`)
	flags := addWatchFlags(fs)
	every := fs.Duration("every", time.Second, "renew the picture after that `TIME`")
	phaseName := fs.String("phase", "call", "show the times of that `PHASE`")
	asJSON := fs.Bool("json", false, "JSON at the end in place of the table; times in ns")
	svg := fs.String("o", "", "at the end also draw how long commands took, as SVG, into `FILE`; - is standard output, in place of the table")
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
	opts, list, err := flags.options(operands)
	if err != nil {
		return err
	}
	opts.OneIn, opts.Cost = hotKeySample, true
	if *asJSON && *svg == "-" {
		return usagef("only one of --json and -o can go to standard output")
	}
	var drawing *output
	if *svg != "" {
		if drawing, err = create(*svg); err != nil {
			return err
		}
		defer drawing.discard()
	}
	live := isTerminal(os.Stdout) && !*asJSON && *svg != "-"
	ws := &watching{targets: list, opts: opts, live: live}
	if !live {
		ws.waiting("watching all commands")
	}

	keys := map[*target]*hotKeys{}
	last := map[*target]picture{}
	shown := map[*target]picture{} // while nobody looks, what was seen last stays
	for _, t := range list {
		keys[t] = newHotKeys(hotKeysKept)
	}
	// pictures are those of all targets, whole or of the time since the last ones.
	pictures := func(whole bool) ([]targetPicture, error) {
		var all []targetPicture
		for _, t := range list {
			if t.began.IsZero() && !t.waiting {
				continue
			}
			now, err := t.picture()
			if err != nil {
				return nil, err
			}
			d := shown[t]
			d.looking = now.looking
			switch {
			case whole:
				d = now
			case !now.away:
				d = now.since(last[t])
				last[t], shown[t] = now, d
			}
			all = append(all, targetPicture{t, d, keys[t]})
		}
		return all, nil
	}
	renew := func(time.Duration) error {
		if !live {
			return nil
		}
		now, err := pictures(false)
		if err != nil {
			return err
		}
		var b strings.Builder
		b.WriteString("\x1b[H\x1b[2J") // home, clear
		writePictures(&b, now, phase)
		for _, n := range ws.notes[max(0, len(ws.notes)-3):] {
			fmt.Fprintf(&b, "\nnote: %s", n)
		}
		_, err = os.Stdout.WriteString(b.String())
		return err
	}
	err = watch(ctx, ws, *flags.duration, *every, func(t *target, r *bpf.CommandRecord) {
		if r.KeyLen > 0 {
			keys[t].add(string(r.FirstKey()), r.KeyLen)
		}
	}, renew)
	if err != nil {
		return err
	}
	whole, err := pictures(true)
	if err != nil {
		return err
	}
	var page latency.Page
	if drawing != nil {
		page = latencyPage(whole, ws, phase)
	}
	var b strings.Builder
	switch {
	case *svg == "-":
	case *asJSON:
		for _, p := range whole {
			if err := p.writeJSON(&b); err != nil {
				return err
			}
		}
	case live:
		b.WriteString("\x1b[H\x1b[2J")
		fallthrough
	default:
		writePictures(&b, whole, phase)
		b.WriteByte('\n')
		for i := range ws.accounts {
			ws.accounts[i].Looking = nil // it is in the pictures
		}
	}
	if *svg != "-" {
		if err := ws.writeAccounts(&b, *asJSON); err != nil {
			return err
		}
	}
	_, err = os.Stdout.WriteString(b.String())
	ws.printNotes()
	if drawing == nil || err != nil {
		return err
	}
	if err := drawing.write(func(w io.Writer) error { return latency.WriteSVG(w, page) }); err != nil {
		return fmt.Errorf("writing %s: %w", drawing.path, err)
	}
	if *svg != "-" {
		fmt.Fprintln(os.Stderr, "wrote", drawing.path)
	}
	return nil
}

// picture is what was seen up to a time, or between two.
type picture struct {
	elapsed time.Duration // while there was a process
	looked  time.Duration // of that, at it
	looking *looking      // since the start; nil without a budget
	away    bool          // not looking now
	stats   []bpf.CommandStats
	totals  bpf.CommandTotals
	cost    bpf.CommandCost
}

// targetPicture is the picture of a target, and the keys of its commands.
type targetPicture struct {
	of *target
	picture
	keys *hotKeys
}

func takePicture(w *bpf.CommandWatcher, elapsed time.Duration) (p picture, err error) {
	p.elapsed, p.looked = elapsed, elapsed
	var errs [4]error
	p.stats, errs[0] = w.Snapshot()
	p.totals, errs[1] = w.Totals()
	p.cost, errs[2] = w.Cost()
	b, governed, err := w.Budget()
	if errs[3] = err; governed {
		p.looking = lookingOf(b)
		p.elapsed, p.looked, p.away = b.Elapsed(), b.Looked, !b.Looking
	}
	return p, errors.Join(errs[:]...)
}

// since returns what came after an earlier picture.
func (p picture) since(before picture) picture {
	d := picture{elapsed: p.elapsed - before.elapsed, looked: p.looked - before.looked, looking: p.looking, totals: p.totals, cost: p.cost}
	d.totals.Turns -= before.totals.Turns
	d.totals.Idle -= before.totals.Idle
	d.totals.Seen -= before.totals.Seen
	d.cost.Hits -= before.cost.Hits
	d.cost.Commands -= before.cost.Commands
	d.cost.RunTime -= before.cost.RunTime
	for _, s := range p.stats {
		if b := before.of(s.Name); b != nil {
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

// plus returns both together, one after the other.
func (p picture) plus(after picture) picture {
	sum := picture{elapsed: p.elapsed + after.elapsed, looked: p.looked + after.looked, looking: p.looking.plus(after.looking), away: after.away, totals: p.totals, cost: p.cost, stats: slices.Clone(p.stats)}
	sum.totals.Seen += after.totals.Seen
	sum.totals.Sent += after.totals.Sent
	sum.totals.Filtered += after.totals.Filtered
	sum.totals.Dropped += after.totals.Dropped
	sum.totals.Shed += after.totals.Shed
	sum.totals.Missed += after.totals.Missed
	sum.totals.Turns += after.totals.Turns
	sum.totals.Idle += after.totals.Idle
	sum.cost.Hits += after.cost.Hits
	sum.cost.Commands += after.cost.Commands
	sum.cost.RunTime += after.cost.RunTime
	for _, s := range after.stats {
		b := sum.of(s.Name)
		if b == nil {
			sum.stats = append(sum.stats, s)
			continue
		}
		b.Calls += s.Calls
		b.Failed += s.Failed
		b.Refused += s.Refused
		b.ReplyBytes += s.ReplyBytes
		for phase := range s.Phases {
			b.Phases[phase] = b.Phases[phase].Add(s.Phases[phase])
		}
	}
	return sum
}

// of is what was seen of a command, nil for nothing.
func (p picture) of(name string) *bpf.CommandStats {
	if i := slices.IndexFunc(p.stats, func(s bpf.CommandStats) bool { return s.Name == name }); i >= 0 {
		return &p.stats[i]
	}
	return nil
}

// busy is the share of the time in which the event loop did not wait for events,
// where that is known.
func (p picture) busy() (float64, bool) {
	return max(0, 1-share(p.totals.Idle, p.looked)), p.totals.Idle > 0
}

// loop is the share of the event loop's time that a command's function took, and
// false when no call was timed.
func (p picture) loop(s bpf.CommandStats) (part float64, known bool) {
	calls := s.Phases[bpf.PhaseCall]
	n := calls.Count()
	return share(calls.Sum, p.looked) * float64(s.Calls) / float64(max(1, n)), n > 0
}

// share is a part of a time, 0 of none.
func share(part, of time.Duration) float64 {
	if of <= 0 {
		return 0
	}
	return part.Seconds() / of.Seconds()
}

// perSecond is a rate, 0 in no time.
func perSecond(n uint64, in time.Duration) float64 {
	if in <= 0 {
		return 0
	}
	return float64(n) / in.Seconds()
}

// byLoopTime sorts commands, those first that took most of the loop's time.
func byLoopTime(stats []bpf.CommandStats) []bpf.CommandStats {
	return slices.SortedStableFunc(slices.Values(stats), func(a, b bpf.CommandStats) int {
		return cmp.Or(cmp.Compare(b.Phases[bpf.PhaseCall].Sum, a.Phases[bpf.PhaseCall].Sum), cmp.Compare(b.Calls, a.Calls))
	})
}

// writePictures shows what was seen of one server or several.
func writePictures(b *strings.Builder, pictures []targetPicture, phase bpf.Phase) {
	column := 0 // width of the targets' names and of what separates them from the next, if there are several
	var commandsPerSecond float64
	for _, p := range pictures {
		commandsPerSecond += perSecond(p.totals.Seen, p.elapsed)
		if len(pictures) > 1 {
			column = max(column, len(p.of.String())+2)
		}
	}
	name := func(of string) {
		if column > 0 {
			fmt.Fprintf(b, "%-*s", column, of)
		}
	}
	for _, p := range pictures {
		name(p.of.String())
		p.writeRates(b)
	}
	if column > 0 {
		name("all")
		fmt.Fprintf(b, "%.0f commands/s\n", commandsPerSecond)
	}
	b.WriteByte('\n')
	name("server")
	fmt.Fprintf(b, "%-20s %10s %6s %9s  %s: %5s %7s %7s %7s\n", "command", "calls/s", "loop", "errors/s", phase, "p50", "p99", "p99.9", "max")
	type row struct {
		of *targetPicture
		bpf.CommandStats
	}
	var rows []row
	for i := range pictures {
		for _, s := range pictures[i].stats {
			rows = append(rows, row{&pictures[i], s})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.Phases[bpf.PhaseCall].Sum, a.Phases[bpf.PhaseCall].Sum), cmp.Compare(b.Calls, a.Calls))
	})
	for _, s := range rows {
		name(s.of.of.String())
		loop := "-"
		if part, known := s.of.loop(s.CommandStats); known {
			loop = fmt.Sprintf("%.1f%%", 100*part)
		}
		h := s.Phases[phase]
		timed := h.Count() > 0
		quantile := func(q float64) string {
			if !timed {
				return "-"
			}
			return latency.Format(h.Quantile(q))
		}
		looked := s.of.looked
		fmt.Fprintf(b, "%-20s %10.0f %6s %9.1f  %*s %7s %7s %7s\n", commandName(s.Name), perSecond(s.Calls, looked),
			loop, perSecond(s.Failed+s.Refused, looked),
			len(phase.String())+7, quantile(0.5), quantile(0.99), quantile(0.999), quantile(1))
	}
	title := "\nkeys\n"
	for _, p := range pictures {
		for _, k := range p.keys.top(5) {
			if share := float64(k.count) / float64(p.keys.n); share >= hotShare {
				b.WriteString(title)
				name(p.of.String())
				fmt.Fprintf(b, "%5.1f%%  %s\n", 100*share, quoteKey([]byte(k.key), k.length))
				title = ""
			}
		}
	}
}

// writeRates shows what a server does, in a line.
func (p targetPicture) writeRates(b *strings.Builder) {
	if p.of.waiting {
		fmt.Fprintf(b, "waiting for another %s\n", p.of.name)
		return
	}
	b.WriteString(strings.Join(p.rates(), "   "))
	if p.looking != nil {
		fmt.Fprintf(b, "\n%v", p.looking)
	}
	b.WriteByte('\n')
}

// rates says what a server does, and what looking at it costs.
func (p picture) rates() []string {
	all := []string{fmt.Sprintf("%.0f commands/s", perSecond(p.totals.Seen, p.elapsed))}
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if busy, known := p.busy(); known {
		add("loop busy %.0f %%", 100*busy)
	}
	if p.totals.Turns > 0 {
		add("%.1f commands per wake-up", float64(p.cost.Commands)/float64(p.totals.Turns))
	}
	if p.looking == nil && p.cost.Commands > 0 && p.cost.RunTime > 0 {
		add("looking: %d ns of eBPF per command", p.cost.RunTime.Nanoseconds()/int64(p.cost.Commands))
	}
	if p.totals.Missed > 0 {
		add("%d not seen", p.totals.Missed)
	}
	return all
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

func (p targetPicture) writeJSON(out io.Writer) error {
	type jsonKey struct {
		Key   string  `json:"key"` // its first 32 bytes
		Share float64 `json:"share"`
	}
	report := struct {
		Target  string        `json:"target"`
		PID     int           `json:"pid"` // the last
		Seconds float64       `json:"seconds"`
		Busy    *float64      `json:"loop_busy,omitempty"`
		Turns   uint64        `json:"turns"`
		Cost    time.Duration `json:"ebpf_ns"`
		Table   []jsonCommand `json:"table"`
		Keys    []jsonKey     `json:"keys"`
	}{p.of.name, p.of.pid, p.elapsed.Seconds(), nil, p.totals.Turns, p.cost.RunTime, []jsonCommand{}, []jsonKey{}}
	if busy, known := p.busy(); known {
		report.Busy = &busy
	}
	for _, s := range byLoopTime(p.stats) {
		c := jsonCommand{commandName(s.Name), s.Calls, s.Failed, s.Refused, s.ReplyBytes, map[string]jsonTiming{}}
		for phase, h := range s.Phases {
			if n := h.Count(); n > 0 {
				c.Phases[bpf.Phase(phase).String()] = jsonTiming{n, h.Sum, h.Quantile(0.5), h.Quantile(0.99), h.Quantile(0.999), h.Quantile(1)}
			}
		}
		report.Table = append(report.Table, c)
	}
	for _, k := range p.keys.top(10) {
		report.Keys = append(report.Keys, jsonKey{k.key, float64(k.count) / float64(p.keys.n)})
	}
	return json.NewEncoder(out).Encode(report)
}
