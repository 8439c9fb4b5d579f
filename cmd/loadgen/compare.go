package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redscope/redscope/cmd/loadgen/internal/child"
	"github.com/redscope/redscope/cmd/loadgen/internal/load"
	"github.com/redscope/redscope/cmd/loadgen/internal/query"
)

const compareHelp = `Usage: loadgen compare [flags]

Starts servers, loads them in turn (A B A B …) with the same requests, and
prints per round and as medians: requests per second, latency, the server's CPU
time per request, and its resident memory, each also as a ratio to the first
server. All servers run the whole time, one is loaded at a time.

  --against COMMAND  the first server (redis-server --port {port} --save "")
  --ours COMMAND     the second one (the server built into this program)
  --server NAME=COMMAND
                     instead of both: name any number of servers; the first is
                     what the others are compared with. COMMAND "self FLAGS…"
                     is the built-in server with the given flags.
  --rounds N         rounds (9)
  -t TESTS           tests, as for the benchmark (set)
  -P LIST            pipelines (1,16,128)
  -n LIST            requests per measurement: one number, or one per pipeline
                     (200000,1000000,2000000 for the default pipelines)
  -c CLIENTS         connections (50)
  -d BYTES           size of the values (3)
  -r KEYSPACE        random keys below KEYSPACE, all of which are set before the
                     first round (1000000); -1: one key, nothing set before
  --rate R           R requests per second are due, as for the benchmark; half:
                     half of what the first server answers without a limit
  --threads N        generator threads (1)
  --table            instead: the table of all types, see below
  --write FILE       put the table into FILE, between the lines <!-- compare -->
                     and <!-- /compare -->, not on standard output
  --json             the whole result as JSON on standard output

With --table, two servers are compared in thirteen commands at -P 16, with -n
1000000 requests a round (fewer where one does more), and in the memory of a
million keys of each type. Each line begins with empty servers. The result is
in Markdown, with the middle half of the rounds beside each ratio; it takes
about ten minutes. -t chooses lines: get, set, incr, lpush, rpop,
lrange_100, sadd, hset, hget, zadd, zrange_100, mset, setbit, rss_strings,
rss_hashes, rss_zsets, rss_intsets, rss_sets, rss_lists.

In each COMMAND, {port} is replaced by a free port of 127.0.0.1.

Examples:
  loadgen compare
  loadgen compare --rounds 5 -t set,get -P 16 -n 2000000
  loadgen compare --server plain='self' --server traced='self --trace-sample 0.01' -P 16
  loadgen compare -t get,set -P 1 -n 1000000 -r 10000000 --rate half --rounds 3
  loadgen compare --table --write README.md
  loadgen compare --table -t get,set,rss_strings
  loadgen compare --server redis='redis-server --port {port} --save ""' \
                  --server valkey='valkey-server --port {port} --save ""'
`

// A contender is one of the servers compared.
type contender struct {
	Name    string `json:"name"`
	Command string `json:"command"`
	Version string `json:"version"`
	// FilledRSS is the resident memory in bytes when all keys had been set and
	// no round had begun.
	FilledRSS int64 `json:"rss_filled_bytes"`
	// Collects says that the server tells what its garbage collector takes.
	Collects bool `json:"collects_garbage"`
	server   *child.Server
}

// contenders is the flag --server.
type contenders []*contender

func (c *contenders) String() string { return "" }

func (c *contenders) Set(v string) error {
	name, command, ok := strings.Cut(v, "=")
	if !ok || name == "" || command == "" {
		return errors.New("want NAME=COMMAND")
	}
	for _, other := range *c {
		if other.Name == name {
			return fmt.Errorf("two servers are called %q", name)
		}
	}
	*c = append(*c, &contender{Name: name, Command: command})
	return nil
}

type compareFlags struct {
	contenders contenders
	rounds     int
	tests      string
	pipelines  string
	requests   string
	clients    int
	size       int
	keyspace   int64
	threads    int
	json       bool
	write      string
	rate       string // "", "half" or a number
}

// figures is one measurement: one server, one test, one pipeline, one round.
type figures struct {
	Test     string  `json:"test"`
	Pipeline int     `json:"pipeline"`
	Round    int     `json:"round"` // from 1
	Server   string  `json:"server"`
	Rate     float64 `json:"requests_per_second"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	P999     float64 `json:"p999_ms"`
	CPU      float64 `json:"cpu_us_per_request"` // of the server
	RSS      int64   `json:"rss_bytes"`          // of the server, after the load
	// IdleCPU is the CPU time of the servers that were not loaded, in seconds
	// per second: what they took away from the machine.
	IdleCPU float64 `json:"idle_cpu"`
	// GeneratorCPU is the share of its threads that the generator used: near 1,
	// it is the generator that was measured.
	GeneratorCPU float64 `json:"generator_cpu"`
	Errors       int64   `json:"errors"`
	// GC is the CPU time of the server's garbage collector as a share of all its
	// CPU time, and Cycles how often it ran; 0 where the server tells neither.
	GC     float64 `json:"gc_cpu_share"`
	Cycles int64   `json:"gc_cycles"`
}

// summary is the medians over the rounds, and the medians of the ratios to the
// first server within each round: what the two have in common at that time, a
// busy machine for one, cancels out. Between Low and High is the middle half of
// those ratios.
type summary struct {
	Test     string  `json:"test"`
	Pipeline int     `json:"pipeline"`
	Server   string  `json:"server"`
	Median   metrics `json:"median"`
	Ratio    metrics `json:"ratio"`
	Low      metrics `json:"ratio_lower_quartile"`
	High     metrics `json:"ratio_upper_quartile"`
}

type metrics struct {
	Rate float64 `json:"requests_per_second"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	CPU  float64 `json:"cpu_us_per_request"`
	RSS  float64 `json:"rss_bytes"`
}

func compareMain(args []string) int {
	var f compareFlags
	var against, ours string
	var table bool
	fs := flag.NewFlagSet("compare --help", flag.ContinueOnError)
	fs.Var(&f.contenders, "server", "")
	fs.StringVar(&against, "against", `redis-server --port {port} --save ""`, "")
	fs.StringVar(&ours, "ours", "self", "")
	fs.IntVar(&f.rounds, "rounds", 9, "")
	fs.StringVar(&f.tests, "t", "", "")
	fs.StringVar(&f.pipelines, "P", "", "")
	fs.StringVar(&f.requests, "n", "", "")
	fs.IntVar(&f.clients, "c", 50, "")
	fs.IntVar(&f.size, "d", 3, "")
	fs.Int64Var(&f.keyspace, "r", 1000000, "")
	fs.IntVar(&f.threads, "threads", 1, "")
	fs.BoolVar(&f.json, "json", false, "")
	fs.BoolVar(&table, "table", false, "")
	fs.StringVar(&f.write, "write", "", "")
	fs.StringVar(&f.rate, "rate", "", "")
	if status, done := parse(fs, args, compareHelp); done {
		return status
	}
	if fs.NArg() > 0 {
		return fail(usagef("compare takes no argument %q; see loadgen compare --help", fs.Arg(0)))
	}
	if len(f.contenders) == 0 {
		f.contenders = contenders{{Name: "against", Command: against}, {Name: "ours", Command: ours}}
		if table {
			f.contenders[0].Name, f.contenders[1].Name = "redis-server", "redscope"
		}
	}
	run := f.run
	rate, err := strconv.ParseFloat(f.rate, 64)
	switch {
	case f.rate != "" && f.rate != "half" && (err != nil || math.IsInf(rate, 0) || !(rate > 0)):
		return fail(usagef("--rate must be a number of requests per second, or half"))
	case f.rate != "" && table:
		return fail(usagef("--rate does not go with --table"))
	case f.rounds < 1 || f.clients < 1 || f.size < 1 || f.threads < 1:
		return fail(usagef("--rounds, -c, -d and --threads must be at least 1"))
	case table:
		run = f.runTable
	case f.write != "":
		return fail(usagef("--write goes with --table"))
	}
	if err := run(); err != nil {
		return fail(err)
	}
	return exitDone
}

// numbers parses a comma-separated list of numbers of at least 1.
func numbers(flag, list string) ([]int64, error) {
	var out []int64
	for field := range strings.SplitSeq(list, ",") {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil || n < 1 {
			return nil, usagef("%s: %q is not a number of at least 1", flag, field)
		}
		out = append(out, n)
	}
	return out, nil
}

func (f *compareFlags) run() error {
	pipelines, err := numbers("-P", cmp.Or(f.pipelines, "1,16,128"))
	if err != nil {
		return err
	}
	requests, err := numbers("-n", cmp.Or(f.requests, "200000,1000000,2000000"))
	if err != nil {
		return err
	}
	if len(requests) != 1 && len(requests) < len(pipelines) {
		return usagef("-n names %d numbers for %d pipelines: give one, or one for each", len(requests), len(pipelines))
	}
	tests, unknown := selectTests(catalog(payload(f.size), f.keyspace >= 0), cmp.Or(f.tests, "set"))
	if len(unknown) > 0 {
		return usagef("-t: there is no test called %s", strings.Join(unknown, ", "))
	}

	ctx, stop := interruptible(func() {}) // the servers die with this process
	defer stop()
	defer f.stopAll()
	for _, c := range f.contenders {
		if err := c.start(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	if err := f.prefill(ctx); err != nil {
		return err
	}

	var all []figures
	seed := uint64(time.Now().UnixNano())
	for _, t := range tests {
		for i, pipeline := range pipelines {
			n := requests[min(i, len(requests)-1)]
			rate, _ := strconv.ParseFloat(f.rate, 64) // checked above; 0 for "half"
			if f.rate == "half" {
				seed++
				m, err := f.measure(ctx, f.contenders[0], t, int(pipeline), n, seed, 0)
				if err != nil {
					return fmt.Errorf("%s: %w", f.contenders[0].Name, err)
				}
				rate = m.Rate / 2
			}
			if !f.json {
				fmt.Printf("\n%s, pipeline %d, %s requests a round", t.title, pipeline, thousands(n))
				if rate > 0 {
					fmt.Printf(", %s a second", thousands(int64(rate)))
				}
				fmt.Println()
				printHeader(os.Stdout)
			}
			var group []figures
			for round := 1; round <= f.rounds; round++ {
				seed++ // the same keys in the same order for all servers of a round
				for _, c := range f.contenders {
					m, err := f.measure(ctx, c, t, int(pipeline), n, seed, rate)
					if err != nil {
						return fmt.Errorf("%s: %w", c.Name, err)
					}
					m.Round = round
					group = append(group, m)
					if !f.json {
						printRow(os.Stdout, fmt.Sprintf("round %d", round), c.Name, metricsOf(m))
					}
				}
			}
			all = append(all, group...)
			if !f.json {
				summaries := f.summarize(group)
				for _, s := range summaries {
					printRow(os.Stdout, "median", s.Server, s.Median)
				}
				for _, s := range summaries[1:] {
					printRatio(os.Stdout, s)
				}
				f.notes(group)
			}
		}
	}
	if !f.json {
		f.printFilled()
		return nil
	}
	return f.printJSON(f.summaries(all), all, nil)
}

func (c *contender) start(ctx context.Context) error {
	port, err := child.FreePort()
	if err != nil {
		return err
	}
	args, err := child.Command(c.Command, port)
	if err != nil {
		return usagef("%v", err)
	}
	if args[0] == "self" {
		if args, err = ownServer(port, nil, args[1:]); err != nil {
			return err
		}
	}
	if c.server, err = child.Start(ctx, args, port); err != nil {
		return err
	}
	q, err := query.Dial(child.Host, port)
	if err != nil {
		return err
	}
	defer q.Close()
	info, err := q.Info("server")
	if err != nil {
		return err
	}
	c.Version = info["redis_version"]
	_, _, c.Collects, err = collections(q)
	return err
}

// collections reads from INFO how often the server's garbage collector ran, and
// how much CPU time it took. A server that has none does not tell.
func collections(q *query.Conn) (cycles int64, cpu time.Duration, told bool, err error) {
	info, err := q.Info("redscope")
	if err != nil || info["go_gc_cpu_seconds"] == "" {
		return 0, 0, false, err
	}
	seconds, err := strconv.ParseFloat(info["go_gc_cpu_seconds"], 64)
	if err == nil {
		cycles, err = strconv.ParseInt(info["go_gc_cycles"], 10, 64)
	}
	return cycles, time.Duration(seconds * 1e9), true, err
}

// collections asks the server of a contender that collects garbage.
func (c *contender) collections() (cycles int64, cpu time.Duration, err error) {
	if !c.Collects {
		return 0, 0, nil
	}
	q, err := query.Dial(child.Host, c.server.Port)
	if err != nil {
		return 0, 0, err
	}
	defer q.Close()
	cycles, cpu, _, err = collections(q)
	return cycles, cpu, err
}

// stopAll stops the servers. How one ends after its measurements is no result.
func (f *compareFlags) stopAll() {
	for _, c := range f.contenders {
		if c.server != nil {
			c.server.Kill()
		}
	}
}

// prefill sets every key that the tests may draw, once and in order, so that
// every server holds the same when its memory is read.
func (f *compareFlags) prefill(ctx context.Context) error {
	for _, c := range f.contenders {
		if f.keyspace > 0 {
			res, err := load.Run(ctx, load.Options{
				Target:   load.Target{Host: child.Host, Port: c.server.Port},
				Command:  load.Command{Args: []string{"SET", "key:" + load.SeqInt, payload(f.size)}},
				Requests: f.keyspace, Clients: f.clients, Pipeline: 64, Keyspace: -1, SeqStart: "000000000000",
			})
			if err == nil && res.Errors > 0 {
				err = fmt.Errorf("an error was the answer to %d SETs, the first: %s", res.Errors, res.FirstError)
			}
			if err != nil {
				return fmt.Errorf("%s: cannot set the %s keys: %w", c.Name, thousands(f.keyspace), c.explain(ctx, err))
			}
		}
		// What the load left behind in buffers and on the way to a collector is
		// not the data: let the server tidy up.
		time.Sleep(time.Second)
		var err error
		if c.FilledRSS, err = c.server.RSS(); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

// explain says why a load failed when the reason is not in its error.
func (c *contender) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case <-c.server.Done():
		return fmt.Errorf("the server died: %s", c.server.Ending())
	case <-time.After(time.Second):
		return err
	}
}

// measure loads one server with n requests, rate of them per second, or as many
// as it answers when rate is 0.
func (f *compareFlags) measure(ctx context.Context, c *contender, t test, pipeline int, n int64, seed uint64, rate float64) (figures, error) {
	cyclesBefore, gcBefore, err := c.collections()
	if err != nil {
		return figures{}, err
	}
	before, err := f.cpuTimes()
	if err != nil {
		return figures{}, err
	}
	res, err := load.Run(ctx, load.Options{
		Target: load.Target{Host: child.Host, Port: c.server.Port}, Command: t.command, Requests: n, Clients: f.clients,
		Pipeline: pipeline, Threads: f.threads, Keyspace: f.keyspace, SeqStart: "0", Seed: seed, Rate: rate,
	})
	if err != nil {
		return figures{}, c.explain(ctx, err)
	}
	if res.Errors > 0 {
		return figures{}, fmt.Errorf("%s of %s requests were answered by an error, the first: %s", thousands(res.Errors), thousands(n), res.FirstError)
	}
	after, err := f.cpuTimes()
	if err != nil {
		return figures{}, err
	}
	cycles, gc, err := c.collections()
	if err != nil {
		return figures{}, err
	}
	m := figures{
		Test: t.title, Pipeline: pipeline, Server: c.Name, Rate: res.Throughput(), Errors: res.Errors,
		P50: float64(res.Quantile(0.5)) / 1e6, P99: float64(res.Quantile(0.99)) / 1e6, P999: float64(res.Quantile(0.999)) / 1e6,
		GeneratorCPU: res.CPU.Seconds() / res.Elapsed.Seconds() / float64(f.threads),
	}
	for i, other := range f.contenders {
		used := after[i] - before[i]
		if other == c {
			m.CPU = float64(used) / 1e3 / float64(res.Requests)
			m.Cycles, m.GC = cycles-cyclesBefore, float64(gc-gcBefore)/float64(used)
		} else {
			m.IdleCPU += used.Seconds() / res.Elapsed.Seconds()
		}
	}
	m.RSS, err = c.server.RSS()
	return m, err
}

func (f *compareFlags) cpuTimes() ([]time.Duration, error) {
	times := make([]time.Duration, len(f.contenders))
	for i, c := range f.contenders {
		var err error
		if times[i], err = c.server.CPU(); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return times, nil
}

func metricsOf(m figures) metrics {
	return metrics{m.Rate, m.P50, m.P99, m.P999, m.CPU, float64(m.RSS)}
}

// values gives access to the metrics one by one.
func (m *metrics) values() []*float64 {
	return []*float64{&m.Rate, &m.P50, &m.P99, &m.P999, &m.CPU, &m.RSS}
}

// summarize takes the measurements of one test and pipeline, round by round.
func (f *compareFlags) summarize(group []figures) []summary {
	var out []summary
	for i, c := range f.contenders {
		s := summary{Test: group[0].Test, Pipeline: group[0].Pipeline, Server: c.Name}
		for k := range s.Median.values() {
			var plain, ratio []float64
			for round := range slices.Chunk(group, len(f.contenders)) {
				first, own := metricsOf(round[0]), metricsOf(round[i])
				v := *own.values()[k]
				plain = append(plain, v)
				ratio = append(ratio, v / *first.values()[k])
			}
			*s.Median.values()[k] = median(plain)
			*s.Ratio.values()[k] = median(ratio)
			*s.Low.values()[k], *s.High.values()[k] = quantile(ratio, 0.25), quantile(ratio, 0.75)
		}
		out = append(out, s)
	}
	return out
}

// summaries summarizes what was measured in all groups, one after the other.
func (f *compareFlags) summaries(all []figures) []summary {
	var out []summary
	for group := range slices.Chunk(all, f.rounds*len(f.contenders)) {
		out = append(out, f.summarize(group)...)
	}
	return out
}

func median(v []float64) float64 { return quantile(v, 0.5) }

// quantile is the value that the share q of all does not exceed, between two of them
// where it lies between.
func quantile(v []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(v))
	at := q * float64(len(v)-1)
	low := int(at)
	high := min(low+1, len(v)-1)
	return sorted[low] + (sorted[high]-sorted[low])*(at-float64(low))
}

// The rows of a table are printed as they are measured, hence the fixed widths.

func printHeader(w io.Writer) {
	fmt.Fprintf(w, "%-9s %-10s %11s %9s %9s %9s %10s %12s\n", "", "", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs/req", "RSS")
}

func printRow(w io.Writer, label, name string, m metrics) {
	fmt.Fprintf(w, "%-9s %-10s %11s %9.3f %9.3f %9.3f %10.3f %12s\n", label, name, thousands(int64(m.Rate)), m.P50, m.P99, m.P999, m.CPU, mebibytes(int64(m.RSS)))
}

func printRatio(w io.Writer, s summary) {
	r := s.Ratio
	fmt.Fprintf(w, "%-9s %-10s %10.2f× %8.2f× %8.2f× %8.2f× %9.2f× %11.2f×\n", "ratio", s.Server, r.Rate, r.P50, r.P99, r.P999, r.CPU, r.RSS)
}

// notes says what could have falsified the measurements.
func (f *compareFlags) notes(group []figures) {
	var idle, generator []float64
	for _, m := range group {
		idle = append(idle, 100*m.IdleCPU)
		generator = append(generator, 100*m.GeneratorCPU)
	}
	for i, c := range f.contenders {
		if !c.Collects {
			continue
		}
		share, cycles := 0.0, int64(0)
		for round := range slices.Chunk(group, len(f.contenders)) {
			share += round[i].GC / float64(f.rounds)
			cycles += round[i].Cycles
		}
		fmt.Printf("garbage collection took %.2f %% of the CPU time of %s: %d cycles in %d rounds\n", 100*share, c.Name, cycles, f.rounds)
	}
	fmt.Printf("servers not loaded used %.1f %% of a CPU, the generator %.0f %% of its %d thread(s) (medians)\n", median(idle), median(generator), f.threads)
}

func (f *compareFlags) printFilled() {
	first := f.contenders[0]
	fmt.Printf("\nresident memory with %s keys, before the first round\n", thousands(max(f.keyspace, 0)))
	for _, c := range f.contenders {
		fmt.Printf("%12s  %10s  %.2f×  (version %s: %s)\n", c.Name, mebibytes(c.FilledRSS), float64(c.FilledRSS)/float64(first.FilledRSS), c.Version, c.Command)
	}
}
