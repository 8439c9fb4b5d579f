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
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/cmd/loadgen/internal/child"
	"github.com/redscope/redscope/cmd/loadgen/internal/query"
)

const watchHelp = `Usage: loadgen watch [flags]

Measures what it costs a server to be looked at: a redscope server and a
redis-server, each loaded with SETs in turn without and with somebody attached
(A B A C A D …), unpipelined and at -P 16. Attached are probes that only count,
the command watcher of redscope with more and more wanted of it, and bpftrace
scripts that ask the same questions at the functions' entries. A second table
has the cost by the number of clients and keys. The result is in Markdown:
medians, and between brackets the quartiles, of the ratios and differences to
the measurement without, next to it. Needs root, and bin/loadgen, which "go
build -o bin/ ./cmd/..." makes: what "go run" makes has no symbols.

  --rounds N         rounds (7)
  --seconds S        length of one measurement (1)
  --quick            --rounds 2 --seconds 0.3
  --no-bpftrace      without what bpftrace costs
  --against COMMAND  the stock server (redis-server --port {port} --save "")
  --ours COMMAND     the redscope server (the one built into this program)
  -c CLIENTS         connections (50)
  -r KEYSPACE        random keys below KEYSPACE, all set before (1000000)
  --write FILE       put the tables into FILE, between the lines <!-- watch -->
                     and <!-- /watch -->, not on standard output

How far it is and how long it will take is on standard error: nine minutes at
most, with --quick one and a half.

Examples:
  bin/loadgen watch --write docs/bpf.md
  bin/loadgen watch --quick
  bin/loadgen watch --ours 'bin/server --port {port}' --rounds 15
`

var watchPlace = placeOf("watch")

// watchPipelines are those that the ways of looking are measured at.
var watchPipelines = []int{1, 16}

// An attach begins to look at a server. The function that it returns ends that,
// and fails when fewer commands than were sent have been seen.
type attach func(context.Context, *contender) (detach func(sent int64) error, err error)

// A way is a way of looking at a server; nil where there is none.
type way struct {
	name        string
	ours, stock attach
	bpftrace    bool // and slow: a quarter of the requests is enough
}

var ways = []way{
	{"probes that count: one per turn; two per call", counted(0, "loop_turn"), counted(2), false},
	{"probes that count: `command_start`, `command_done`", counted(2, "command_start", "command_done"), nil, false},
	{"counts, histograms of `call`", nil, watched(bpf.CommandOptions{}), false},
	{"counts, histograms of all phases", watched(bpf.CommandOptions{}), watched(bpf.CommandOptions{Phases: true}), false},
	{"the same, and records: of 1 ms, failed, 1 in 1,000", watched(sampling), watched(sampling), false},
	{"the same, every record kept", watched(everything), watched(everything), false},
	{"bpftrace: histograms of `call`", nil, bpftraced(`
uprobe:BINARY:call { @at = nsecs; @client = arg0; }
uretprobe:BINARY:call {
	$command = *(uint64*)(@client + 128);
	@ns[str(*(uint64*)($command + 400)), "call"] = hist(nsecs - @at);
}`), true},
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
uretprobe:BINARY:writeToClient { @ns["any", "write"] = hist(nsecs - @write); }`), true},
}

var (
	sampling   = bpf.CommandOptions{Phases: true, SlowerThan: time.Millisecond, Failed: true, OneIn: 1000}
	everything = bpf.CommandOptions{Phases: true, OneIn: 1}
)

// counted attaches probes that only count, and are hit so many times per command;
// 0 is for less than once.
func counted(perCommand int64, markers ...string) attach {
	return func(_ context.Context, c *contender) (func(int64) error, error) {
		counter, err := bpf.CountHits(c.server.PID, markers...)
		if err != nil {
			return nil, err
		}
		return func(sent int64) error {
			defer counter.Close()
			hits, err := counter.Hits()
			if least := max(1, perCommand*sent); err == nil && sent > 0 && int64(hits) < least {
				err = fmt.Errorf("the probes were hit %d times, not %d", hits, least)
			}
			return err
		}, nil
	}
}

// watched attaches a command watcher, and takes its records as they come.
func watched(opts bpf.CommandOptions) attach {
	return func(_ context.Context, c *contender) (func(int64) error, error) {
		opts := opts
		opts.PID = c.server.PID
		w, err := bpf.StartCommandWatcher(opts)
		if err != nil {
			return nil, err
		}
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
				if err := w.Drain(func(*bpf.CommandRecord) {}); err != nil {
					<-end
					ended <- err
					return
				}
			}
		}()
		return func(sent int64) error {
			defer w.Close()
			close(end)
			if err := errors.Join(<-ended, w.Detach()); err != nil {
				return err
			}
			t, err := w.Totals()
			if err == nil && int64(t.Seen) < sent {
				err = fmt.Errorf("the watcher saw %d commands, not %d", t.Seen, sent)
			}
			return err
		}, nil
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
	return func(ctx context.Context, c *contender) (func(int64) error, error) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.server.PID))
		if err != nil {
			return nil, err
		}
		// Bpftrace does not say when all probes are in place: the script does, when
		// one was hit.
		script := strings.ReplaceAll(script, "BINARY", exe) +
			"\ninterval:ms:50 /@at && !@told/ { @told = 1; printf(\"" + bpftraceReady + "\\n\"); }\n"
		out := &transcript{until: bpftraceReady, ready: make(chan struct{})}
		cmd := exec.CommandContext(ctx, "bpftrace", "-B", "none", "-p", fmt.Sprint(c.server.PID), "-e", script)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			return nil, err
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
			return nil, fmt.Errorf("bpftrace: %w; it said: %s", err, lastLine(end()))
		}
		return func(int64) error {
			if text := end(); !strings.Contains(text, "@ns[") {
				return fmt.Errorf("bpftrace printed no histograms; it said: %s", lastLine(text))
			}
			return nil
		}, nil
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
	*contender
	what     string
	look     attach
	slow     bool
	pipeline int
	clients  int
	keys     int64
	requests int64 // per measurement

	base, rate []float64 // without: CPU µs and requests per second
	more, left []float64 // with: CPU µs per request more, and share of the requests per second
}

func watchMain(args []string) int {
	b := watchBench{compareFlags: compareFlags{size: 3, threads: 1}, seed: uint64(time.Now().UnixNano())}
	var against, ours string
	var quick bool
	fs := flag.NewFlagSet("watch --help", flag.ContinueOnError)
	fs.IntVar(&b.rounds, "rounds", 7, "")
	fs.Float64Var(&b.seconds, "seconds", 1, "")
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
		b.rounds, b.seconds = 2, 0.3
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
		detach, err := ways[0].of(i)(ctx, c)
		if err == nil {
			err = detach(0)
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
	b.steps = b.rounds * (len(byWay) + len(bySize))
	b.begun = time.Now()
	if err := b.measureAll(ctx, byWay, b.seconds); err != nil {
		return err
	}
	// The full servers first: they are emptied for the few keys.
	keys := b.keyspace
	for _, same := range alike(bySize, func(a, b *cell) bool { return a.keys == b.keys }) {
		if same[0].keys != keys {
			keys = same[0].keys
			if err := b.refill(ctx, keys); err != nil {
				return err
			}
		}
		if err := b.measureAll(ctx, same, b.seconds*0.6); err != nil {
			return err
		}
	}
	var text bytes.Buffer
	b.print(&text, byWay, bySize)
	if b.write != "" {
		return watchPlace.write(b.write, text.Bytes())
	}
	_, err := text.WriteTo(os.Stdout)
	return err
}

// of is how a way looks at the contender of that index.
func (w way) of(i int) attach { return []attach{w.ours, w.stock}[i] }

// cells are what will be measured: for the table of the ways, and for that of
// clients and keys.
func (b *watchBench) cells() (byWay, bySize []*cell) {
	for _, w := range ways {
		for i, c := range b.contenders {
			for _, pipeline := range watchPipelines {
				if look := w.of(i); look != nil && !(w.bpftrace && b.noBpftrace) {
					byWay = append(byWay, &cell{contender: c, what: w.name, look: look, slow: w.bpftrace, pipeline: pipeline, clients: b.clients, keys: b.keyspace})
				}
			}
		}
	}
	for _, keys := range []int64{b.keyspace, min(1000, b.keyspace)} {
		for _, clients := range []int{1, 50, 1000} {
			for _, c := range b.contenders {
				bySize = append(bySize, &cell{contender: c, what: sized(clients, keys), look: watched(sampling), pipeline: 1, clients: clients, keys: keys})
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

// measureAll measures the cells round by round, so long each time.
func (b *watchBench) measureAll(ctx context.Context, cells []*cell, seconds float64) error {
	// How many requests take that long; finding out also warms the servers up.
	type load struct {
		*contender
		pipeline, clients int
	}
	requests := map[load]int64{}
	for _, c := range cells {
		least := int64(c.clients * c.pipeline)
		l := load{c.contender, c.pipeline, c.clients}
		if requests[l] == 0 {
			c.requests = max(least, min(2000*int64(c.pipeline), b.keyspace))
			m, err := b.one(ctx, c)
			if err != nil {
				return fmt.Errorf("%s: %w", c.Name, err)
			}
			requests[l] = int64(m.Rate * seconds)
		}
		c.requests = requests[l]
		if c.slow {
			c.requests /= 4
		}
		c.requests = max(least, c.requests)
	}
	for range b.rounds {
		for _, c := range cells {
			if err := b.pair(ctx, c); err != nil {
				return fmt.Errorf("%s: %s: %w", c.Name, c.what, err)
			}
		}
	}
	return nil
}

// one is one measurement. While the seed stays, so do the requests.
func (b *watchBench) one(ctx context.Context, c *cell) (figures, error) {
	f := b.compareFlags
	f.clients, f.keyspace = c.clients, c.keys
	set, _ := selectTests(catalog(payload(f.size), true), "set")
	return f.measure(ctx, c.contender, set[0], c.pipeline, c.requests, b.seed, 0)
}

// pair measures without and with somebody who looks.
func (b *watchBench) pair(ctx context.Context, c *cell) error {
	b.seed++
	without, err := b.one(ctx, c)
	if err != nil {
		return err
	}
	detach, err := c.look(ctx, c.contender)
	if err != nil {
		return err
	}
	with, err := b.one(ctx, c)
	if err != nil {
		_ = detach(0) // what has failed first is told
		return err
	}
	if err := detach(c.requests); err != nil {
		return err
	}
	c.base, c.rate = append(c.base, without.CPU), append(c.rate, without.Rate)
	c.more, c.left = append(c.more, with.CPU-without.CPU), append(c.left, with.Rate/without.Rate)
	b.done++
	eta := time.Since(b.begun) / time.Duration(b.done) * time.Duration(b.steps-b.done)
	fmt.Fprintf(os.Stderr, "%d of %d, ETA %v: %s, -P %d, %s: %+.2f µs, %.0f %% left\n", b.done, b.steps, eta.Round(time.Second),
		c.Name, c.pipeline, c.what, with.CPU-without.CPU, 100*with.Rate/without.Rate)
	return nil
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

// print writes both tables in Markdown.
func (b *watchBench) print(w io.Writer, byWay, bySize []*cell) {
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
		var base, rate []float64
		for _, other := range byWay {
			if other.contender == c.contender && other.pipeline == c.pipeline {
				base, rate = append(base, other.base...), append(rate, other.rate...)
			}
		}
		fmt.Fprintf(w, " of %.2f | of %s/s |", median(base), thousands(int64(median(rate))))
	})
	for _, row := range alike(byWay, sameRow) {
		fmt.Fprintf(w, "| %s |", row[0].what)
		columns(row, func(c *cell) { fmt.Fprintf(w, " %s | %s |", spread(c.more, 1, 2), spread(c.left, 100, 0)+" %") })
	}
	fmt.Fprint(w, "\n| connections, keys |")
	for _, c := range b.contenders {
		fmt.Fprintf(w, " %s: CPU µs per SET more | of |", c.Name)
	}
	fmt.Fprint(w, "\n| --- |", strings.Repeat(" ---: | ---: |", len(b.contenders)), "\n")
	for _, row := range alike(bySize, sameRow) {
		fmt.Fprintf(w, "| %s |", row[0].what)
		for _, c := range row {
			fmt.Fprintf(w, " %s | %.2f |", spread(c.more, 1, 2), median(c.base))
		}
		fmt.Fprintln(w)
	}
	m := thisMachine()
	fmt.Fprintf(w, "\nredis-server is version %s. Medians and quartiles of %d rounds in turn, %d connections, %s keys; the second table with\n", b.contenders[1].Version, b.rounds, b.clients, thousands(b.keyspace))
	fmt.Fprintf(w, "histograms and records, unpipelined. Linux %s, %d CPUs (%s).\n", m.Kernel, m.CPUs, cmp.Or(m.CPU, m.Arch))
}

// spread writes a median, and the quartiles around it.
func spread(v []float64, unit float64, decimals int) string {
	slices.Sort(v)
	at := func(share float64) float64 {
		place := share * float64(len(v)-1)
		low := int(place)
		high := min(low+1, len(v)-1)
		return unit * (v[low] + (v[high]-v[low])*(place-float64(low)))
	}
	return fmt.Sprintf("%.*f (%.*f…%.*f)", decimals, at(0.5), decimals, at(0.25), decimals, at(0.75))
}
