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
	"strings"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/latency"
)

func runTrace(ctx context.Context, args []string) error {
	fs := newFlags("trace", "-p PROCESS [-p PROCESS]… [--all] [--slower-than TIME] [--failed] [--one-in N] [--for TIME] [--budget SHARE] [--json] [--otlp ENDPOINT]", `
  redscope trace -p server
  redscope trace -p server --slower-than 200us --for 10s
  redscope trace -p 4711 --slower-than 0 --failed
  redscope trace -p 4711 --one-in 1000 --json > commands.json
  redscope trace -p redis-server --slower-than 1ms --budget 0.5%
  redscope trace -p server -p redis-server --failed
  redscope trace -p redis-server --phases --otlp localhost:4317

Shows single commands, phase by phase: wait, behind other clients since the
event loop woke up; read and parse; queue, behind commands of the same read;
call, the command's own function; hold, until the turn's replies are written;
write. All commands are measured in the kernel; only those that are asked for
leave it. The last line says what became of all. A stock redis-server shows the
call, and with --phases the rest too, of which read, parse, hold and write need
Linux 6.3.
`)
	flags := addWatchFlags(fs)
	slower := fs.Duration("slower-than", time.Millisecond, "show commands whose call, or all of whose phases, took that `TIME`; 0 is none")
	failed := fs.Bool("failed", false, "show commands that were answered with an error")
	oneIn := fs.Uint64("one-in", 0, "show one command in `N` besides; 0 is none, 1 all")
	otlp := fs.String("otlp", "", "send spans to the collector at `ENDPOINT` instead of showing the commands: host:port for gRPC, http://… for HTTP")
	asJSON := fs.Bool("json", false, "one line of JSON per command; times in ns, CLOCK_MONOTONIC")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if *slower < 0 {
		return usagef("--slower-than cannot be negative")
	}
	opts, list, err := flags.options(operands)
	if err != nil {
		return err
	}
	opts.SlowerThan, opts.OneIn, opts.Failed = *slower, *oneIn, *failed
	ws := &watching{targets: list, opts: opts}
	var sent *exporter
	if *otlp != "" {
		if sent, err = newExporter(ctx, *otlp, list); err != nil {
			return err
		}
	}
	ws.waiting("tracing commands")

	out := bufio.NewWriter(os.Stdout)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var writeError error
	err = watch(ctx, ws, *flags.duration, drainEvery, func(t *target, r *bpf.CommandRecord) {
		switch {
		case writeError != nil:
		case sent != nil:
			writeError = sent.add(t, r)
		case *asJSON:
			writeError = writeRecord(out, t, r)
		case len(list) > 1:
			writeError = writeWaterfall(out, t.String(), r)
		default:
			writeError = writeWaterfall(out, "", r)
		}
	}, func(time.Duration) error {
		return cmp.Or(writeError, out.Flush())
	})
	if err != nil {
		return err
	}
	var lost error
	if sent != nil {
		lost = sent.close()
	}
	return errors.Join(cmp.Or(writeError, ws.writeAccounts(out, *asJSON), out.Flush()), lost)
}

// jsonRecord is a command as --json shows it. Times are CLOCK_MONOTONIC in ns.
type jsonRecord struct {
	Target     string           `json:"target"`
	PID        int              `json:"pid"`
	Command    string           `json:"command"`
	Client     uint64           `json:"client"`
	Key        string           `json:"key,omitempty"` // its first 32 bytes
	KeyBytes   uint32           `json:"key_bytes,omitempty"`
	Args       uint32           `json:"args,omitempty"`
	Batch      uint32           `json:"batch"`
	ReplyBytes uint32           `json:"reply_bytes"`
	Error      string           `json:"error,omitempty"`
	Refused    bool             `json:"refused,omitempty"`
	Blocked    bool             `json:"blocked,omitempty"`
	Kept       []string         `json:"kept"`
	Start      int64            `json:"start"`
	Phases     map[string]int64 `json:"phases"` // ns
}

func writeRecord(out io.Writer, t *target, r *bpf.CommandRecord) error {
	return json.NewEncoder(out).Encode(recordOf(t, r))
}

func recordOf(t *target, r *bpf.CommandRecord) jsonRecord {
	j := jsonRecord{
		Target: t.name, PID: t.pid,
		Command: commandName(r.Name), Client: r.Client, Key: string(r.FirstKey()), KeyBytes: r.KeyLen, Args: r.Args, Batch: r.Batch,
		ReplyBytes: r.ReplyBytes, Error: r.ErrorCode(), Refused: r.Flags&probe.CommandRefused != 0, Blocked: r.Flags&probe.CommandBlocked != 0,
		Kept: kept(r), Start: r.Start, Phases: map[string]int64{},
	}
	if d, ok := r.Socket(); ok {
		j.Phases["socket"] = int64(d)
	}
	for p := bpf.Phase(0); p < bpf.PhaseCount; p++ {
		if d, ok := r.Phase(p); ok {
			j.Phases[p.String()] = int64(d)
		}
	}
	return j
}

// kept says why a record was kept.
func kept(r *bpf.CommandRecord) []string {
	why := []string{}
	for _, k := range []struct {
		holds bool
		name  string
	}{{r.Slow, "slow"}, {r.Failed, "failed"}, {r.Sampled, "sampled"}} {
		if k.holds {
			why = append(why, k.name)
		}
	}
	return why
}

// waterfallWidth is the width in characters of the longest bar.
const waterfallWidth = 50

func writeWaterfall(out io.Writer, server string, r *bpf.CommandRecord) error {
	var b strings.Builder
	waterfall(&b, server, r)
	b.WriteByte('\n')
	_, err := io.WriteString(out, b.String())
	return err
}

// waterfall shows a record as a line and a bar for each phase, set off by those
// before it. It names the server unless that is "".
func waterfall(b *strings.Builder, server string, r *bpf.CommandRecord) {
	total, _ := r.Phase(bpf.PhaseTotal)
	fmt.Fprintf(b, "%s", commandName(r.Name))
	if r.KeyLen > 0 {
		fmt.Fprintf(b, " %s", quoteKey(r.FirstKey(), r.KeyLen))
	}
	fmt.Fprintf(b, "  %s  client %d", latency.Format(total), r.Client)
	if server != "" {
		fmt.Fprintf(b, " of %s", server)
	}
	if r.Batch > 0 {
		fmt.Fprintf(b, ", number %d of its read", r.Batch+1)
	}
	if e := r.ErrorCode(); e != "" {
		fmt.Fprintf(b, ", error %s", e)
	}
	if r.Flags&probe.CommandBlocked != 0 {
		b.WriteString(", after it had blocked")
	}
	b.WriteByte('\n')
	var before time.Duration
	bar := func(name string, d time.Duration, known bool) {
		if !known {
			return
		}
		from, to := barEnds(before, before+d, total)
		line := fmt.Sprintf("  %-6s %7s  %s%s", name, latency.Format(d), strings.Repeat(" ", from), strings.Repeat("█", to-from))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		before += d
	}
	d, ok := r.Socket()
	bar("socket", d, ok)
	for p := range bpf.PhaseTotal {
		d, ok := r.Phase(p)
		bar(p.String(), d, ok)
	}
}

// barEnds scales a phase to the waterfall's width. What is not nothing has a mark.
func barEnds(from, to, total time.Duration) (int, int) {
	if total <= 0 {
		return 0, 0
	}
	scale := func(d time.Duration) int { return int(min(d, total) * waterfallWidth / total) }
	a, b := scale(from), scale(to)
	if to > from && a == b {
		a = min(a, waterfallWidth-1)
		b = a + 1
	}
	return a, b
}
