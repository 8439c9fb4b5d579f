package main

import (
	"bufio"
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

func runWhy(ctx context.Context, args []string) error {
	fs := newFlags("why", "-p PROCESS [--slower-than TIME] [-n COUNT] [--for TIME] [--json]", `
  redscope why -p server
  redscope why -p redis-server --slower-than 5ms --for 1m
  redscope why -p 4711 -n 10
  redscope why -p 4711 --slower-than 1ms --json > why.json

Says of each slow command where its time went and who is to blame: other
clients' commands that the event loop served before it, while it lay in its socket
already or after the loop had seen it, the loop's own work
(expiry, eviction, rehashing, the append-only file, a fork), the kernel, where it
was blocked and in which function, a CPU that others had, or its own execution.
At the end the causes are added up. It takes the phases of a stock server too,
and some probes on its functions besides.
`)
	flags := addWatchFlags(fs)
	slower := fs.Duration("slower-than", 10*time.Millisecond, "explain commands that took that `TIME`, from their arrival in the socket to the reply")
	count := fs.Int("n", 0, "end after so many explanations; 0 is no end")
	asJSON := fs.Bool("json", false, "one line of JSON per command; times in ns")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if *slower <= 0 {
		return usagef("--slower-than must be more than 0")
	}
	if *count < 0 {
		return usagef("-n cannot be negative")
	}
	opts, list, err := flags.options(operands)
	if err != nil {
		return err
	}
	if opts.Budget > 0 {
		return usagef("--budget is for top and trace: an explanation takes all that there is to see")
	}
	opts.SlowerThan, opts.Explain = *slower, true
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &whyOutput{Writer: bufio.NewWriter(os.Stdout), json: *asJSON, several: len(list) > 1, most: *count}
	ws := &watching{targets: list, opts: opts, explained: func(t *target, list []bpf.Explanation) error {
		if err := out.show(t, list); err != nil {
			return err
		}
		if out.full() {
			cancel()
		}
		return out.Flush()
	}}
	ws.waiting("explaining slow commands")
	if err := watch(ctx, ws, *flags.duration, drainEvery, func(*target, *bpf.CommandRecord) {}, nil); err != nil {
		return err
	}
	return errors.Join(out.summary(), ws.writeAccounts(out, *asJSON), out.Flush())
}

// blame is a cause in one of several servers, "" when there is only one.
type blame struct {
	bpf.Cause
	server string
}

func blames(causes []bpf.Cause) []blame {
	list := make([]blame, len(causes))
	for i, c := range causes {
		list[i].Cause = c
	}
	return list
}

// whyOutput shows explanations and adds their causes up.
type whyOutput struct {
	*bufio.Writer
	json    bool
	several bool // servers
	most    int  // explanations to be shown, 0 for all

	explained int
	commands  int           // with those that are alike
	total     time.Duration // of those that were explained
	causes    []blame
}

func (o *whyOutput) full() bool { return o.most != 0 && o.explained >= o.most }

// show shows explanations and adds them up.
func (o *whyOutput) show(t *target, list []bpf.Explanation) error {
	server := ""
	if o.several {
		server = t.String()
	}
	for i := range list {
		if o.full() {
			return nil
		}
		e := &list[i]
		o.add(server, e)
		if o.json {
			if err := json.NewEncoder(o).Encode(jsonExplanation{recordOf(t, &e.Command), e.Total, e.Alike, e.Others, e.Unseen, jsonCausesOf(blames(e.Causes), e.Total)}); err != nil {
				return err
			}
		} else if _, err := o.WriteString(explanation(server, e)); err != nil {
			return err
		}
	}
	return nil
}

// add adds the causes of an explanation to those of all.
func (o *whyOutput) add(server string, e *bpf.Explanation) {
	o.explained++
	o.commands += 1 + e.Alike
	o.total += e.Total
	for _, c := range e.Causes {
		in := ""
		if c.Kind == bpf.CauseBehind {
			in = server // where the client is
		}
		i := slices.IndexFunc(o.causes, func(d blame) bool {
			return d.Kind == c.Kind && d.What == c.What && d.Client == c.Client && d.server == in
		})
		if i < 0 {
			c.Amount, c.Commands, c.Key = 0, 0, nil // several may have waited for the same
			o.causes = append(o.causes, blame{c, in})
			continue
		}
		o.causes[i].Time += c.Time
		o.causes[i].Blocked += c.Blocked
		o.causes[i].Function = cmp.Or(o.causes[i].Function, c.Function)
	}
}

// Causes beyond these are put together.
const (
	clientsShown = 3
	shareShown   = 0.001
)

// explanation is a waterfall, and the causes below it.
func explanation(server string, e *bpf.Explanation) string {
	var b strings.Builder
	waterfall(&b, server, &e.Command)
	b.WriteString("  why\n")
	writeCauses(&b, blames(e.Causes), e.Total, e.Command.Client)
	if e.Unseen > 0 {
		fmt.Fprintf(&b, "  the kernel did not tell of %d times that the server was off the CPU: what seems to be execution may be that\n", e.Unseen)
	}
	if e.Alike > 0 {
		whose := "this client"
		switch {
		case e.Others == e.Alike:
			whose = "other clients"
		case e.Others > 0:
			whose = fmt.Sprintf("this and %d other clients", e.Others)
		}
		fmt.Fprintf(&b, "  and %d more %s of %s in the same turn\n", e.Alike, commandName(e.Command.Name), whose)
	}
	b.WriteByte('\n')
	return b.String()
}

// writeCauses writes a line for each cause that counts. client is whose command it is
// about, 0 for no one's.
func writeCauses(b *strings.Builder, causes []blame, total time.Duration, client uint64) {
	line := func(t time.Duration, text string) {
		fmt.Fprintf(b, "    %5.1f%% %7s  %s\n", 100*t.Seconds()/max(total.Seconds(), 1e-9), latency.Format(t), text)
	}
	var small, others time.Duration
	smaller, behind := 0, 0
	for i, c := range causes {
		switch {
		case i > 0 && c.Time.Seconds() < shareShown*total.Seconds():
			small += c.Time
			smaller++
			continue
		case c.Kind == bpf.CauseBehind:
			if behind++; behind > clientsShown {
				others += c.Time
				continue
			}
		}
		line(c.Time, causeText(&c, client))
	}
	if behind > clientsShown {
		line(others, fmt.Sprintf("behind %d more", behind-clientsShown))
	}
	if smaller > 0 {
		line(small, fmt.Sprintf("%d smaller causes", smaller))
	}
}

var workTexts = map[string]string{
	bpf.WorkCron.String():    "serverCron, what the server does at regular times",
	bpf.WorkExpire.String():  "deleting expired keys",
	bpf.WorkRehash.String():  "rehashing a database",
	bpf.WorkEvict.String():   "evicting keys: maxmemory is reached",
	bpf.WorkAppend.String():  "writing the append-only file",
	bpf.WorkFork.String():    "forking a child process",
	bpf.WorkDefrag.String():  "active defragmentation",
	bpf.WorkStopped.String(): "stopped by Go's runtime, for garbage collection as a rule",
	bpf.WorkReplies.String(): "writing the replies of the turn",
}

var ownTexts = map[string]string{
	bpf.PhaseRead.String():  "reading it",
	bpf.PhaseParse.String(): "parsing it",
	bpf.PhaseCall.String():  "its own execution",
	bpf.PhaseWrite.String(): "writing its reply",
}

// queueText says who had the CPU. The kernel's idle thread is called swapper.
func queueText(thread string) string {
	switch {
	case thread == "":
		return "waiting for a CPU"
	case strings.HasPrefix(thread, "swapper/"):
		return "waiting for a CPU that had been idle"
	}
	return "waiting for a CPU that " + thread + " had"
}

// causeText is a cause in words.
func causeText(c *blame, client uint64) string {
	var b strings.Builder
	switch c.Kind {
	case bpf.CauseOwn:
		b.WriteString(ownTexts[c.What])
	case bpf.CauseBehind:
		b.WriteString("behind ")
		if c.Commands > 1 {
			fmt.Fprintf(&b, "%d ", c.Commands)
		}
		b.WriteString(commandName(c.What))
		if c.KeyLen > 0 && len(c.Key) > 0 {
			fmt.Fprintf(&b, " %s", quoteKey(c.Key, c.KeyLen))
		}
		if c.Client == client {
			b.WriteString(" of its own pipeline")
		} else {
			fmt.Fprintf(&b, " of client %d", c.Client)
		}
		if c.server != "" {
			b.WriteString(" of " + c.server)
		}
	case bpf.CauseWork:
		b.WriteString(workTexts[c.What])
		if c.Amount > 0 {
			fmt.Fprintf(&b, ", %d keys", c.Amount)
		}
	case bpf.CauseBlocked:
		fmt.Fprintf(&b, "blocked: %s, in %s", c.What, cmp.Or(c.Function, "an unknown function"))
		return b.String()
	case bpf.CauseQueue:
		b.WriteString(queueText(c.What))
	case bpf.CauseStopped:
		b.WriteString("stopped by a signal or a debugger")
		return b.String()
	default:
		b.WriteString("the event loop itself, or what was not seen of it")
	}
	if c.Blocked > 0 {
		fmt.Fprintf(&b, "; %s of it blocked in %s", latency.Format(c.Blocked), cmp.Or(c.Function, "an unknown function"))
	}
	return b.String()
}

// jsonExplanation is an explanation as --json shows it. Times are ns.
type jsonExplanation struct {
	jsonRecord
	Total  time.Duration `json:"total"`
	Alike  int           `json:"alike"`
	Others int           `json:"other_clients"`
	Unseen int           `json:"unseen_switches"` // bpf.Explanation.Unseen
	Why    []jsonCause   `json:"why"`
}

type jsonCause struct {
	Cause    bpf.CauseKind `json:"cause"`
	What     string        `json:"what,omitempty"`
	Server   string        `json:"server,omitempty"`
	Client   uint64        `json:"client,omitempty"`
	Commands int           `json:"commands,omitempty"`
	Key      string        `json:"key,omitempty"`
	Amount   int64         `json:"amount,omitempty"`
	Time     time.Duration `json:"time"`
	Share    float64       `json:"share"`
	Blocked  time.Duration `json:"blocked,omitempty"`
	Function string        `json:"function,omitempty"`
}

func jsonCausesOf(causes []blame, total time.Duration) []jsonCause {
	list := make([]jsonCause, 0, len(causes))
	for _, c := range causes {
		list = append(list, jsonCause{c.Kind, c.What, c.server, c.Client, c.Commands, string(c.Key), c.Amount,
			c.Time, c.Time.Seconds() / max(total.Seconds(), 1e-9), c.Blocked, c.Function})
	}
	return list
}

// summary adds up what was explained.
func (o *whyOutput) summary() error {
	slices.SortStableFunc(o.causes, func(a, b blame) int { return cmp.Compare(b.Time, a.Time) })
	if o.json {
		return json.NewEncoder(o).Encode(struct {
			Slow      int           `json:"slow_commands"`
			Explained int           `json:"explained"`
			Total     time.Duration `json:"total"`
			Why       []jsonCause   `json:"why"`
		}{o.commands, o.explained, o.total, jsonCausesOf(o.causes, o.total)})
	}
	if o.commands == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d slow commands explained, %s in all\n", o.explained, o.commands, latency.Format(o.total))
	writeCauses(&b, o.causes, o.total, 0)
	b.WriteByte('\n')
	_, err := io.WriteString(o, b.String())
	return err
}
