package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redscope/redscope/cmd/loadgen/internal/load"
)

const benchHelp = `Usage: loadgen                     the main job: a server of its own, a million SETs, a flame graph
       loadgen run [flags]         the same with other settings: loadgen run --help
       loadgen compare [flags]     two servers against each other: loadgen compare --help
       loadgen watch [flags]       what looking at a server costs it: loadgen watch --help
       loadgen FLAGS [COMMAND...]  load a server that runs already; any flag will do

The letters mean what they mean to redis-benchmark.
  -h HOST            server (127.0.0.1)
  -p PORT            port (6379)
  -s SOCKET          unix socket; overrides -h and -p
  -a PASSWORD        AUTH; --user NAME for another user than the default one
  --dbnum N          SELECT N
  -3                 HELLO 3, replies in RESP3
  -c CLIENTS         connections (50)
  -n REQUESTS        requests of each test (100000)
  -d BYTES           size of the values (3)
  -k 0|1             1 keeps connections, 0 opens a new one for each batch (1)
  -r KEYSPACE        __rand_int__ becomes twelve digits, 0 to KEYSPACE-1
  -P REQUESTS        pipeline: requests on their way per connection (1)
  -t TESTS           some of ping,set,get,incr,mset,lpush,… (all); hget, zrange_100
                     and setbit are not in redis-benchmark and run when named
  -l                 repeat until interrupted
  -q                 one line per test, no progress
  -x                 read the command's last argument from standard input
  -I                 open the connections and do nothing
  --threads N        generator threads (1)
  --csv, --json      results for programs; --csv has redis-benchmark's columns

Not in redis-benchmark:
  --rate R           R requests per second, however fast the server is; latency
                     counts from when a request was due (no coordinated omission)
  --seq START        __seq_int__ becomes START, START+1, … in as many digits
  --seed N           of the random numbers (taken from the clock)

COMMAND, when given, is sent instead of the tests.

Examples:
  loadgen -p 6379 -t set,get -n 1000000 -r 1000000 -P 16
  loadgen -n 1000000 -c 1 --seq 10000000000 SET test:key:name __seq_int__
  loadgen -t get -r 1000000 --rate 20000 -n 200000
  loadgen -r 10000 -n 10000 --json LPUSH mylist __rand_int__
`

type benchFlags struct {
	target   load.Target
	clients  int
	requests int64
	size     int
	keep     int
	keyspace int64
	pipeline int
	tests    string
	loop     bool
	quiet    bool
	stdin    bool
	idle     bool
	threads  int
	csv      bool
	json     bool
	rate     float64
	seq      string
	seed     uint64
}

func benchMain(args []string) int {
	var f benchFlags
	fs := flag.NewFlagSet("--help", flag.ContinueOnError)
	fs.StringVar(&f.target.Host, "h", "127.0.0.1", "")
	fs.IntVar(&f.target.Port, "p", 6379, "")
	fs.StringVar(&f.target.Socket, "s", "", "")
	fs.StringVar(&f.target.Password, "a", "", "")
	fs.StringVar(&f.target.User, "user", "", "")
	fs.IntVar(&f.target.DB, "dbnum", 0, "")
	fs.BoolVar(&f.target.RESP3, "3", false, "")
	fs.IntVar(&f.clients, "c", 50, "")
	fs.Int64Var(&f.requests, "n", 100000, "")
	fs.IntVar(&f.size, "d", 3, "")
	fs.IntVar(&f.keep, "k", 1, "")
	fs.Int64Var(&f.keyspace, "r", -1, "")
	fs.IntVar(&f.pipeline, "P", 1, "")
	fs.StringVar(&f.tests, "t", "", "")
	fs.BoolVar(&f.loop, "l", false, "")
	fs.BoolVar(&f.quiet, "q", false, "")
	fs.BoolVar(&f.stdin, "x", false, "")
	fs.BoolVar(&f.idle, "I", false, "")
	fs.IntVar(&f.threads, "threads", 1, "")
	fs.BoolVar(&f.csv, "csv", false, "")
	fs.BoolVar(&f.json, "json", false, "")
	fs.Float64Var(&f.rate, "rate", 0, "")
	fs.StringVar(&f.seq, "seq", "000000000000", "")
	fs.Uint64Var(&f.seed, "seed", uint64(time.Now().UnixNano()), "")
	if status, done := parse(fs, args, benchHelp); done {
		return status
	}
	if err := f.check(); err != nil {
		return fail(err)
	}
	tests, err := f.choose(fs.Args(), os.Stdin)
	if err != nil {
		return fail(err)
	}
	ctx, stop := interruptible(func() {})
	defer stop()
	if f.idle {
		err = f.stayIdle(ctx)
	} else {
		err = f.runTests(ctx, tests)
	}
	if err != nil {
		return fail(err)
	}
	return exitDone
}

func (f *benchFlags) check() error {
	for _, v := range []struct {
		flag  string
		value int64
	}{{"-c", int64(f.clients)}, {"-n", f.requests}, {"-P", int64(f.pipeline)}, {"-d", int64(f.size)}, {"--threads", int64(f.threads)}} {
		if v.value < 1 {
			return usagef("%s must be at least 1", v.flag)
		}
	}
	switch {
	case f.rate < 0 || math.IsNaN(f.rate) || math.IsInf(f.rate, 0):
		return usagef("--rate must be a number of requests per second")
	case f.target.Port < 1 || f.target.Port > 65535:
		return usagef("-p must be a port, 1 to 65535")
	case f.csv && f.json:
		return usagef("--csv and --json exclude each other")
	case f.keep != 0 && f.keep != 1:
		return usagef("-k is 0 or 1")
	case f.size > 1<<30:
		return usagef("-d is at most %d bytes", 1<<30)
	}
	return nil
}

// choose returns the command given, or else the tests that -t names.
func (f *benchFlags) choose(command []string, stdin io.Reader) ([]test, error) {
	if len(command) > 0 {
		title := strings.Join(command, " ")
		if f.stdin {
			last, err := io.ReadAll(stdin)
			if err != nil {
				return nil, fmt.Errorf("cannot read the last argument from standard input: %w", err)
			}
			command = append(command, string(last))
		}
		return []test{{title: title, command: load.Command{Args: command}}}, nil
	}
	if f.stdin {
		return nil, usagef("-x needs a command to complete")
	}
	tests := catalog(payload(f.size), f.keyspace >= 0)
	if f.tests == "" {
		return slices.DeleteFunc(tests, func(t test) bool { return t.own }), nil
	}
	selected, unknown := selectTests(tests, f.tests)
	if len(unknown) > 0 {
		return nil, usagef("-t: there is no test called %s", strings.Join(unknown, ", "))
	}
	return selected, nil
}

func (f *benchFlags) options(t test) load.Options {
	f.seed++
	return load.Options{
		Target: f.target, Command: t.command, Requests: f.requests, Clients: f.clients, Pipeline: f.pipeline,
		Threads: f.threads, Keyspace: f.keyspace, SeqStart: f.seq, Seed: f.seed, Rate: f.rate, Reconnect: f.keep == 0,
	}
}

func (f *benchFlags) runTests(ctx context.Context, tests []test) error {
	if f.csv {
		fmt.Println(`"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"`)
	}
	var refused error
	for {
		for _, t := range tests {
			opts := f.options(t)
			d := newDisplay(os.Stderr, t.title, f.quiet)
			d.attach(&opts)
			res, err := load.Run(ctx, opts)
			d.clear()
			if res != nil {
				if printErr := f.print(t.title, res); printErr != nil {
					return printErr
				}
			}
			if ctx.Err() != nil {
				return fmt.Errorf("interrupted after %s of %s requests", thousands(res.Requests), thousands(f.requests))
			}
			if err != nil {
				return err
			}
			if res.Errors > 0 && refused == nil {
				refused = fmt.Errorf("%s: %s of %s requests were answered by an error, the first: %s",
					t.title, thousands(res.Errors), thousands(res.Requests), res.FirstError)
			}
		}
		if !f.loop {
			return refused
		}
	}
}

// benchJSON is one line of --json. Latencies are in milliseconds.
type benchJSON struct {
	Test       string             `json:"test"`
	Requests   int64              `json:"requests"`
	Errors     int64              `json:"errors"`
	FirstError string             `json:"first_error,omitempty"`
	Clients    int                `json:"clients"`
	Pipeline   int                `json:"pipeline"`
	Threads    int                `json:"threads"`
	Rate       float64            `json:"rate,omitempty"`
	Seconds    float64            `json:"seconds"`
	Throughput float64            `json:"requests_per_second"`
	LatencyMS  map[string]float64 `json:"latency_ms"`
	ClientCPU  float64            `json:"loadgen_cpu_seconds"`
}

// latencyMS is the percentiles of a result in milliseconds, by name.
func latencyMS(res *load.Result) map[string]float64 {
	ms := map[string]float64{"avg": res.Latency.Mean() / 1e6, "min": float64(res.Latency.Min()) / 1e6}
	for _, q := range quantiles {
		ms[q.name] = float64(res.Quantile(q.q)) / 1e6
	}
	return ms
}

func (f *benchFlags) print(title string, res *load.Result) error {
	switch {
	case f.csv:
		row := []string{title, strconv.FormatFloat(res.Throughput(), 'f', 2, 64),
			millis(time.Duration(res.Latency.Mean())), millis(time.Duration(res.Latency.Min())),
			millis(res.Quantile(0.5)), millis(res.Quantile(0.95)), millis(res.Quantile(0.99)), millis(res.Quantile(1))}
		for i := range row {
			row[i] = `"` + strings.ReplaceAll(row[i], `"`, `""`) + `"`
		}
		_, err := fmt.Println(strings.Join(row, ","))
		return err
	case f.json:
		return json.NewEncoder(os.Stdout).Encode(benchJSON{
			Test: title, Requests: res.Requests, Errors: res.Errors, FirstError: res.FirstError, Clients: f.clients,
			Pipeline: f.pipeline, Threads: f.threads, Rate: f.rate, Seconds: res.Elapsed.Seconds(),
			Throughput: res.Throughput(), LatencyMS: latencyMS(res), ClientCPU: res.CPU.Seconds(),
		})
	case f.quiet:
		_, err := fmt.Printf("%s: %.2f requests per second, p50=%s msec\n", title, res.Throughput(), millis(res.Quantile(0.5)))
		return err
	}
	fmt.Printf("%s: %s requests in %.2f s, %d clients, pipeline %d\n", title, thousands(res.Requests), res.Elapsed.Seconds(), f.clients, f.pipeline)
	printResult(os.Stdout, res)
	if busy := res.CPU.Seconds() / res.Elapsed.Seconds() / float64(f.threads); busy > 0.95 {
		fmt.Printf("  note        the generator used %.0f %% of its %d thread(s): it may be what limits the rate; try --threads\n", 100*busy, f.threads)
	}
	return nil
}

// stayIdle holds the connections open until it is interrupted.
func (f *benchFlags) stayIdle(ctx context.Context) error {
	closeAll, err := load.OpenIdle(f.target, f.clients)
	if err != nil {
		return err
	}
	defer closeAll()
	fmt.Fprintf(os.Stderr, "%d idle connections to %s; interrupt to end\n", f.clients, f.target)
	<-ctx.Done()
	return nil
}
