package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/cmd/loadgen/internal/child"
	"github.com/redscope/redscope/cmd/loadgen/internal/query"
)

const watchHelp = `Usage: loadgen watch [flags]

Measures what it costs a server to be looked at: a redscope server and a
redis-server, each loaded with SETs in turn without and with somebody attached
(A B A C A D A), unpipelined and at -P 16. Attached are probes that only count,
the command watcher of redscope with more and more wanted of it, and bpftrace
scripts that ask the same questions at the functions' entries. A second table
has the cost by the number of clients and keys. The result is in Markdown:
medians, and between brackets the quartiles, of the ratios and differences to
the mean of the measurements without before and after. Needs root, and
bin/loadgen, which "go build -o bin/ ./cmd/..." makes: what "go run" makes has
no symbols. Interrupted, it writes what the complete rounds gave.

  --rounds N         rounds (9)
  --seconds S        length of one measurement (0.3)
  --quick            --rounds 2 --seconds 0.2
  --no-bpftrace      without what bpftrace costs
  --against COMMAND  the stock server (redis-server --port {port} --save "")
  --ours COMMAND     the redscope server (the one built into this program)
  -c CLIENTS         connections (50)
  -r KEYSPACE        random keys below KEYSPACE, all set before (1000000)
  --write FILE       put the tables into FILE, between the lines <!-- watch -->
                     and <!-- /watch -->, not on standard output

How far it is and how long it will take is on standard error: ten minutes or so,
with --quick two.

Examples:
  bin/loadgen watch --write docs/bpf.md
  bin/loadgen watch --quick
  bin/loadgen watch --ours 'bin/server --port {port}' --rounds 21
`

var watchPlace = placeOf("watch")

// watchPipelines are those that the ways of looking are measured at.
var watchPipelines = []int{1, 16}

// An attach begins to look at a server.
type attach func(context.Context, *contender) (look, error)

// look is somebody who looks.
type look struct {
	// settled tells whether the cost is what it will be; nil when it is at once.
	settled func() bool
	// detach ends it, and fails when not all commands were seen that were sent
	// meanwhile.
	detach func(sent int64) error
}

// A way is a way of looking at a server; nil where there is none.
type way struct {
	name        string
	ours, stock attach
	pace        pace
}

// pace is how long a way takes to be measured.
type pace int

const (
	usual pace = iota
	slow       // bpftrace: a quarter of the requests is enough
	long       // looks a part of the time: twenty times as many requests, in every third round
)

var ways = []way{
	{"probes that count: one per turn; two per call", counted(0, "loop_turn"), counted(2), usual},
	{"probes that count: `command_start`, `command_done`", counted(2, "command_start", "command_done"), nil, usual},
	{"counts, bytes, histograms of `call` and total", nil, watched(bpf.CommandOptions{}), usual},
	{"the same, and records: of 1 ms, failed, 1 in 1,000", nil, watched(sampling(false)), usual},
	{"counts, bytes, histograms of all phases", watched(bpf.CommandOptions{}), watched(bpf.CommandOptions{Phases: true}), usual},
	{"all phases, and records: of 1 ms, failed, 1 in 1,000", watched(sampling(true)), watched(sampling(true)), usual},
	{"the same, within a budget of 10 %", watched(budgeted), watched(budgeted), long},
	{"all phases, and every record", watched(everything), watched(everything), usual},
	{"bpftrace: histograms of `call`", nil, bpftraced(`
uprobe:BINARY:call { @at = nsecs; @client = arg0; }
uretprobe:BINARY:call {
	$command = *(uint64*)(@client + 128);
	@ns[str(*(uint64*)($command + 400)), "call"] = hist(nsecs - @at);
}`), slow},
	{"bpftrace: histograms of read, parse, call, write", bpftraced(`
uprobe:BINARY:readQueryFromClient { @at = nsecs; }
uprobe:BINARY:processInputBuffer { @read = nsecs - @at; @at = nsecs; }
uprobe:BINARY:processCommand {
	if (@call) { @ns["set", "call"] = hist(nsecs - @call); @call = (uint64)0; }
	@parse = nsecs - @at;
	@at = nsecs;
}
uprobe:BINARY:setCommand {
	@ns["set", "read"] = hist(@read);
	@ns["set", "parse"] = hist(@parse);
	@call = nsecs;
}
uprobe:BINARY:writeToClient {
	if (@call) { @ns["set", "call"] = hist(nsecs - @call); @call = (uint64)0; }
	if (@write) { @ns["set", "write"] = hist(nsecs - @write); }
	@write = nsecs;
}
uprobe:BINARY:afterSleep /@write/ { @ns["set", "write"] = hist(nsecs - @write); @write = (uint64)0; }`), bpftraced(`
uprobe:BINARY:readQueryFromClient { @at = nsecs; }
uprobe:BINARY:processInputBuffer { @read = nsecs - @at; @at = nsecs; }
uprobe:BINARY:processCommand { @parse = nsecs - @at; @at = nsecs; }
uprobe:BINARY:call { @call = nsecs; @client = arg0; }
uretprobe:BINARY:call {
	$command = *(uint64*)(@client + 128);
	$name = str(*(uint64*)($command + 400));
	@ns[$name, "read"] = hist(@read);
	@ns[$name, "parse"] = hist(@parse);
	@ns[$name, "call"] = hist(nsecs - @call);
}
uprobe:BINARY:writeToClient { @write = nsecs; }
uretprobe:BINARY:writeToClient { @ns["any", "write"] = hist(nsecs - @write); }`), slow},
}

var (
	budgeted   = bpf.CommandOptions{Phases: true, SlowerThan: time.Millisecond, Failed: true, OneIn: 1000, Budget: 0.1}
	everything = bpf.CommandOptions{Phases: true, OneIn: 1}
)

func sampling(phases bool) bpf.CommandOptions {
	return bpf.CommandOptions{Phases: phases, SlowerThan: time.Millisecond, Failed: true, OneIn: 1000}
}

// counted attaches probes that only count, and are hit so many times per command;
// 0 is for less than once.
func counted(perCommand int64, markers ...string) attach {
	return func(_ context.Context, c *contender) (look, error) {
		counter, err := bpf.CountHits(c.server.PID, markers...)
		if err != nil {
			return look{}, err
		}
		return look{detach: func(sent int64) error {
			defer counter.Close()
			hits, err := counter.Hits()
			if least := max(1, perCommand*sent); err == nil && sent > 0 && int64(hits) < least {
				err = fmt.Errorf("the probes were hit %d times, not %d", hits, least)
			}
			return err
		}}, nil
	}
}

// watched attaches a command watcher, and takes its records as they come.
func watched(opts bpf.CommandOptions) attach {
	return func(_ context.Context, c *contender) (look, error) {
		opts := opts
		opts.PID = c.server.PID
		w, err := bpf.StartCommandWatcher(opts)
		if err != nil {
			return look{}, err
		}
		var settled atomic.Bool
		end, ended := make(chan struct{}), make(chan error)
		go func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-end:
					ended <- nil
					return
				case <-tick.C:
				}
				err := w.Drain(func(*bpf.CommandRecord) {})
				if err == nil && opts.Budget > 0 && !settled.Load() {
					var b bpf.Budget
					b, _, err = w.Budget()
					// Nothing is owed from the time when it found out what to shed.
					settled.Store(b.Elapsed() >= time.Second && float64(b.Cost) <= b.Share*float64(b.CPU))
				}
				if err != nil {
					<-end
					ended <- err
					return
				}
			}
		}()
		l := look{detach: func(sent int64) error {
			defer w.Close()
			close(end)
			if err := errors.Join(<-ended, w.Detach()); err != nil {
				return err
			}
			t, err := w.Totals()
			switch {
			case err != nil:
				return err
			case int64(t.Seen) < sent:
				return fmt.Errorf("the watcher saw %d commands, not %d", t.Seen, sent)
			case t.Seen != t.Sent+t.Filtered+t.Dropped:
				return fmt.Errorf("of %d commands the watcher sent %d, filtered %d and dropped %d", t.Seen, t.Sent, t.Filtered, t.Dropped)
			}
			return nil
		}}
		if opts.Budget > 0 {
			l.settled = settled.Load
		}
		return l, nil
	}
}

const (
	// bpftrace needs a while to compile, to attach and to take its probes out.
	bpftraceWithin = time.Minute
	bpftraceReady  = "attached"
)

// bpftraced attaches a bpftrace script, whose @at is set by a command and whose
// @ns are the histograms that were wanted.
func bpftraced(script string) attach {
	return func(ctx context.Context, c *contender) (look, error) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.server.PID))
		if err != nil {
			return look{}, err
		}
		// Bpftrace does not say when all probes are in place: the script does, when
		// one was hit.
		script := strings.ReplaceAll(script, "BINARY", exe) +
			"\ninterval:ms:50 /@at && !@told/ { @told = 1; printf(\"" + bpftraceReady + "\\n\"); }\n"
		out := &transcript{until: bpftraceReady, ready: make(chan struct{})}
		cmd := exec.CommandContext(ctx, "bpftrace", "-B", "none", "-p", fmt.Sprint(c.server.PID), "-e", script)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			return look{}, err
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // what it printed tells
			close(ended)
		}()
		end := func() string {
			_ = cmd.Process.Signal(unix.SIGINT)
			select {
			case <-ended:
			case <-time.After(bpftraceWithin):
				_ = cmd.Process.Kill()
				<-ended
			}
			return out.String()
		}
		if err := c.sendUntil(out.ready, ended); err != nil {
			return look{}, fmt.Errorf("bpftrace: %w; it said: %s", err, lastLine(end()))
		}
		return look{detach: func(int64) error {
			if text := end(); !strings.Contains(text, "@ns[") {
				return fmt.Errorf("bpftrace printed no histograms; it said: %s", lastLine(text))
			}
			return nil
		}}, nil
	}
}

// sendUntil sends commands until somebody is ready to see them, or has ended.
func (c *contender) sendUntil(ready, ended <-chan struct{}) error {
	q, err := query.Dial(child.Host, c.server.Port)
	if err != nil {
		return err
	}
	defer q.Close()
	late := time.After(bpftraceWithin)
	for {
		if _, err := q.Do("SET", "key:000000000000", payload(3)); err != nil {
			return err
		}
		select {
		case <-ready:
			return nil
		case <-ended:
			return errors.New("it ended")
		case <-late:
			return fmt.Errorf("it saw no command within %v", bpftraceWithin)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// transcript is what a program prints; ready is closed at a certain word.
type transcript struct {
	until string
	ready chan struct{}
	mu    sync.Mutex
	text  []byte
	told  bool
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if !t.told && bytes.Contains(t.text, []byte(t.until)) {
		t.told = true
		close(t.ready)
	}
	return len(p), nil
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// watchBench is the state of one run.
type watchBench struct {
	compareFlags
	seconds    float64
	noBpftrace bool

	begun       time.Time
	done, steps int
	seed        uint64
}

// A cell is what is measured round by round: a server without and with somebody
// who looks.
type cell struct {
	condition
	what     string
	look     attach
	pace     pace
	outcomes []outcome
}

// A condition is what without and with somebody have in common.
type condition struct {
	*contender
	pipeline int
	clients  int
	keys     int64
}

// An outcome is what a round gave.
type outcome struct {
	round      int
	base, rate float64 // without: CPU µs per request, and requests per second
	more, left float64 // with: CPU µs per request more, and share of the requests per second
}

// all lists one of the figures of all rounds.
func (c *cell) all(figure func(outcome) float64) (v []float64) {
	for _, o := range c.outcomes {
		v = append(v, figure(o))
	}
	return v
}

func base(o outcome) float64 { return o.base }
func rate(o outcome) float64 { return o.rate }
func more(o outcome) float64 { return o.more }
func left(o outcome) float64 { return o.left }

func watchMain(args []string) int {
	b := watchBench{compareFlags: compareFlags{size: 3, threads: 1}, seed: uint64(time.Now().UnixNano())}
	var against, ours string
	var quick bool
	fs := flag.NewFlagSet("watch --help", flag.ContinueOnError)
	fs.IntVar(&b.rounds, "rounds", 9, "")
	fs.Float64Var(&b.seconds, "seconds", 0.3, "")
	fs.BoolVar(&b.noBpftrace, "no-bpftrace", false, "")
	fs.BoolVar(&quick, "quick", false, "")
	fs.StringVar(&against, "against", `redis-server --port {port} --save ""`, "")
	fs.StringVar(&ours, "ours", "self", "")
	fs.IntVar(&b.clients, "c", 50, "")
	fs.Int64Var(&b.keyspace, "r", 1000000, "")
	fs.StringVar(&b.write, "write", "", "")
	if status, done := parse(fs, args, watchHelp); done {
		return status
	}
	if quick {
		b.rounds, b.seconds = 2, 0.2
	}
	switch {
	case fs.NArg() > 0:
		return fail(usagef("watch takes no argument %q; see loadgen watch --help", fs.Arg(0)))
	case b.rounds < 1 || b.clients < 1 || b.keyspace < 1 || !(b.seconds > 0 && b.seconds <= 60):
		return fail(usagef("--rounds, -c and -r must be at least 1, --seconds above 0 and at most 60"))
	}
	b.contenders = contenders{{Name: "redscope", Command: ours}, {Name: "redis-server", Command: against}}
	if err := b.run(); err != nil {
		return fail(err)
	}
	return exitDone
}

func (b *watchBench) run() error {
	if b.write != "" {
		if _, _, err := watchPlace.around(b.write); err != nil {
			return err
		}
	}
	if err := bpf.Supported(); err != nil {
		return err
	}
	if _, err := exec.LookPath("bpftrace"); err != nil && !b.noBpftrace {
		return fmt.Errorf("%w: install bpftrace, which is among what is measured, or give --no-bpftrace", err)
	}
	ctx, stop := interruptible(func() {}) // the servers die with this process
	defer stop()
	defer b.stopAll()
	for i, c := range b.contenders {
		if err := c.start(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		// What cannot be looked at shall be known before minutes have passed.
		l, err := ways[0].of(i)(ctx, c)
		if err == nil {
			err = l.detach(0)
		}
		if err != nil {
			if c.Command == "self" {
				err = fmt.Errorf("%w; if it has no symbols, as what go run makes, build it: go build -o bin/ ./cmd/... and bin/loadgen watch", err)
			}
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	fmt.Fprintf(os.Stderr, "setting %s keys\n", thousands(b.keyspace))
	if err := b.prefill(ctx); err != nil {
		return err
	}

	byWay, bySize := b.cells()
	for _, c := range slices.Concat(byWay, bySize) {
		b.steps += len(c.rounds(b.rounds))
	}
	b.begun = time.Now()
	err := b.measureAll(ctx, byWay)
	// The full servers first: they are emptied for the few keys.
	keys := b.keyspace
	for _, same := range alike(bySize, func(a, b *cell) bool { return a.keys == b.keys }) {
		if err == nil && same[0].keys != keys {
			keys = same[0].keys
			err = b.refill(ctx, keys)
		}
		if err == nil {
			err = b.measureAll(ctx, same)
		}
	}
	var text bytes.Buffer
	if interrupted := err != nil && ctx.Err() != nil; err != nil && !interrupted {
		return err
	}
	if b.print(&text, byWay, bySize) == 0 {
		return err // interrupted in the first round
	}
	if b.write != "" {
		return errors.Join(watchPlace.write(b.write, text.Bytes()), err)
	}
	_, failed := text.WriteTo(os.Stdout)
	return errors.Join(failed, err)
}

// of is how a way looks at the contender of that index.
func (w way) of(i int) attach { return []attach{w.ours, w.stock}[i] }

// cells are what will be measured: for the table of the ways, and for that of
// clients and keys.
func (b *watchBench) cells() (byWay, bySize []*cell) {
	for _, w := range ways {
		for i, c := range b.contenders {
			for _, pipeline := range watchPipelines {
				if look := w.of(i); look != nil && !(w.pace == slow && b.noBpftrace) {
					byWay = append(byWay, &cell{condition: condition{c, pipeline, b.clients, b.keyspace}, what: w.name, look: look, pace: w.pace})
				}
			}
		}
	}
	for _, keys := range []int64{b.keyspace, min(1000, b.keyspace)} {
		for _, clients := range []int{1, 50, 1000} {
			for _, c := range b.contenders {
				bySize = append(bySize, &cell{condition: condition{c, 1, clients, keys}, what: sized(clients, keys), look: watched(sampling(false))})
			}
		}
	}
	return byWay, bySize
}

func sized(clients int, keys int64) string {
	return fmt.Sprintf("%s, %s", thousands(int64(clients)), thousands(keys))
}

// refill empties the servers and sets so many keys.
func (b *watchBench) refill(ctx context.Context, keys int64) error {
	all := b.keyspace
	defer func() { b.keyspace = all }()
	b.keyspace = keys
	for _, c := range b.contenders {
		if err := c.empty(); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return b.prefill(ctx)
}

// measureAll measures the cells round by round. When it fails, what the last round
// gave is forgotten.
func (b *watchBench) measureAll(ctx context.Context, cells []*cell) error {
	// How many requests take long enough; finding out also warms the servers up.
	requests := map[condition]int64{}
	chains := map[condition][]*cell{}
	var order []condition
	for _, c := range cells {
		if chains[c.condition] == nil {
			m, err := b.one(ctx, c.condition, max(c.least(), min(2000*int64(c.pipeline), b.keyspace)))
			if err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
			requests[c.condition] = max(c.least(), int64(m.Rate*b.seconds))
			order = append(order, c.condition)
		}
		chains[c.condition] = append(chains[c.condition], c)
	}
	for round := range b.rounds {
		for _, c := range order {
			if err := b.chain(ctx, round, chains[c], requests[c]); err != nil {
				for _, c := range cells {
					c.outcomes = slices.DeleteFunc(c.outcomes, func(o outcome) bool { return o.round == round })
				}
				return err
			}
		}
	}
	return nil
}

// least is the least that can be sent: one batch for each client.
func (c condition) least() int64 { return int64(c.clients * c.pipeline) }

// rounds are those of so many in which the cell is measured.
func (c *cell) rounds(n int) (all []int) {
	for round := range n {
		if c.pace != long || round%3 == 0 {
			all = append(all, round)
		}
	}
	return all
}

// one is one measurement. While the seed stays, so do the requests.
func (b *watchBench) one(ctx context.Context, c condition, requests int64) (figures, error) {
	f := b.compareFlags
	f.clients, f.keyspace = c.clients, c.keys
	set, _ := selectTests(catalog(payload(f.size), true), "set")
	return f.measure(ctx, c.contender, set[0], c.pipeline, requests, b.seed, 0)
}

// chain measures one round of cells of one condition: without, with the first,
// without, with the second, and so on. What a machine does of its own passes slowly,
// hence many short ones, each beside two neighbours.
func (b *watchBench) chain(ctx context.Context, round int, cells []*cell, requests int64) error {
	b.seed++
	before, err := b.one(ctx, cells[0].condition, requests)
	if err != nil {
		return fmt.Errorf("%s: %w", cells[0].Name, err)
	}
	for _, c := range cells {
		if !slices.Contains(c.rounds(b.rounds), round) {
			continue
		}
		with, err := b.with(ctx, c, requests)
		var after figures
		if err == nil {
			after, err = b.one(ctx, c.condition, requests)
		}
		if err != nil {
			return fmt.Errorf("%s: %s: %w", c.Name, c.what, err)
		}
		o := outcome{round: round, base: (before.CPU + after.CPU) / 2, rate: (before.Rate + after.Rate) / 2}
		o.more, o.left = with.CPU-o.base, with.Rate/o.rate
		c.outcomes = append(c.outcomes, o)
		before = after
		b.done++
		eta := time.Since(b.begun) / time.Duration(b.done) * time.Duration(b.steps-b.done)
		fmt.Fprintf(os.Stderr, "%d of %d, ETA %v: %s, -P %d, %s: %+.2f µs, %.0f %% left\n", b.done, b.steps, eta.Round(time.Second),
			c.Name, c.pipeline, c.what, o.more, 100*o.left)
	}
	return nil
}

// settleWithin is how long a way may take until its cost is what it will be.
const settleWithin = time.Minute

// with measures with somebody who looks.
func (b *watchBench) with(ctx context.Context, c *cell, requests int64) (m figures, err error) {
	l, err := c.look(ctx, c.contender)
	if err != nil {
		return m, err
	}
	var sent int64
	send := func(n int64) {
		if m, err = b.one(ctx, c.condition, n); err == nil {
			sent += n
		}
	}
	for late := time.Now().Add(settleWithin); l.settled != nil && !l.settled() && err == nil; {
		if send(requests); time.Now().After(late) {
			err = fmt.Errorf("its cost has not settled within %v", settleWithin)
		}
	}
	if err == nil {
		switch c.pace {
		case slow:
			requests = max(c.least(), requests/4)
		case long:
			requests *= 20
		}
		send(requests)
	}
	if err != nil {
		_ = l.detach(0) // what has failed first is told
		return m, err
	}
	return m, l.detach(sent)
}

func sameRow(a, b *cell) bool { return a.what == b.what }

// alike parts the cells where neighbours differ.
func alike(cells []*cell, same func(a, b *cell) bool) (parts [][]*cell) {
	for i, c := range cells {
		if i == 0 || !same(cells[i-1], c) {
			parts = append(parts, nil)
		}
		parts[len(parts)-1] = append(parts[len(parts)-1], c)
	}
	return parts
}

// print writes both tables in Markdown, of the rows that were measured, and tells in
// how many rounds they were.
func (b *watchBench) print(w io.Writer, byWay, bySize []*cell) (rounds int) {
	none := func(c *cell) bool { return len(c.outcomes) == 0 }
	byWay, bySize = slices.DeleteFunc(byWay, none), slices.DeleteFunc(bySize, none)
	if len(byWay) == 0 {
		return 0
	}
	fmt.Fprint(w, "| CPU µs per SET more, and throughput left |")
	for _, c := range b.contenders {
		for _, pipeline := range watchPipelines {
			fmt.Fprintf(w, " %s%s | |", c.Name, map[bool]string{true: ", -P " + fmt.Sprint(pipeline)}[pipeline > 1])
		}
	}
	fmt.Fprint(w, "\n| --- |", strings.Repeat(" ---: | ---: |", len(b.contenders)*len(watchPipelines)), "\n| nothing |")
	columns := func(row []*cell, each func(*cell)) {
		for _, c := range b.contenders {
			for _, pipeline := range watchPipelines {
				i := slices.IndexFunc(row, func(m *cell) bool { return m.contender == c && m.pipeline == pipeline })
				if i < 0 {
					fmt.Fprint(w, " | |")
					continue
				}
				each(row[i])
			}
		}
		fmt.Fprintln(w)
	}
	columns(byWay, func(c *cell) {
		var bases, rates []float64
		for _, other := range byWay {
			if other.condition == c.condition {
				bases, rates = append(bases, other.all(base)...), append(rates, other.all(rate)...)
			}
		}
		fmt.Fprintf(w, " of %.2f | of %s/s |", median(bases), thousands(int64(median(rates))))
	})
	for _, row := range alike(byWay, sameRow) {
		fmt.Fprintf(w, "| %s |", row[0].what)
		columns(row, func(c *cell) {
			fmt.Fprintf(w, " %s | %s |", spread(c.all(more), 1, 2), spread(c.all(left), 100, 0)+" %")
		})
	}
	if len(bySize) > 0 {
		fmt.Fprint(w, "\n| connections, keys |")
		for _, c := range b.contenders {
			fmt.Fprintf(w, " %s: CPU µs per SET more | of |", c.Name)
		}
		fmt.Fprint(w, "\n| --- |", strings.Repeat(" ---: | ---: |", len(b.contenders)), "\n")
	}
	for _, row := range alike(bySize, sameRow) {
		fmt.Fprintf(w, "| %s |", row[0].what)
		for _, c := range row {
			fmt.Fprintf(w, " %s | %.2f |", spread(c.all(more), 1, 2), median(c.all(base)))
		}
		fmt.Fprintln(w)
	}
	rounds = b.rounds
	for _, c := range slices.Concat(byWay, bySize) {
		if c.pace != long {
			rounds = min(rounds, len(c.outcomes))
		}
	}
	of := fmt.Sprintf("%d rounds in turn", rounds)
	if rounds < b.rounds || len(bySize) == 0 {
		of = fmt.Sprintf("at least %d of %d rounds in turn (it was interrupted)", rounds, b.rounds)
	}
	m := thisMachine()
	fmt.Fprintf(w, "\nredis-server is version %s. Medians and quartiles of %s, of a budget's every third; %d connections, %s keys. The second table is\n", b.contenders[1].Version, of, b.clients, thousands(b.keyspace))
	fmt.Fprintf(w, "of histograms and records, of redis-server without phases, unpipelined. Linux %s, %d CPUs (%s).\n", m.Kernel, m.CPUs, cmp.Or(m.CPU, m.Arch))
	return rounds
}

// spread writes a median, and the quartiles around it.
func spread(v []float64, unit float64, decimals int) string {
	return fmt.Sprintf("%.*f (%.*f…%.*f)", decimals, unit*median(v), decimals, unit*quantile(v, 0.25), decimals, unit*quantile(v, 0.75))
}
