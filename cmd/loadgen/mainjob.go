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
	"sync/atomic"
	"time"

	"github.com/redscope/redscope/cmd/loadgen/internal/child"
	"github.com/redscope/redscope/cmd/loadgen/internal/load"
	"github.com/redscope/redscope/cmd/loadgen/internal/query"
)

const runHelp = `Usage: loadgen
       loadgen run [flags]

Starts a server as a child process, sends it 1,000,000 SETs of rising numbers
(10000000000, 10000000001, …) to test:key:name, samples its stacks meanwhile,
and leaves a flame graph, the stacks, a trace and a report in redscope-out/.
Sampling with eBPF needs root (or CAP_BPF and CAP_PERFMON); without, the
server's own CPU profile is taken instead.

  -n REQUESTS        how many SETs (1000000)
  -c CLIENTS         connections (50); -c 1 sends them strictly one by one
  -P REQUESTS        pipeline: requests on their way per connection (1)
  -F HZ              stack samples per second of CPU time (99)
  -p PORT            the server's port on 127.0.0.1 (a free one)
  --out DIR          where the files go (redscope-out)
  --server-command COMMAND
                     run this server instead of the built-in one; {port} is
                     replaced by the port
  -q                 no progress

An interrupt (Ctrl-C) stops the server, keeps what there is and exits with 1.

Examples:
  loadgen
  loadgen run -c 1 -n 100000
  loadgen run --server-command 'redis-server --port {port} --save ""' --out stock
`

// The scenario: what the load is, whatever its size.
const (
	scenarioName  = "redis-set"
	scenarioKey   = "test:key:name"
	scenarioStart = "10000000000"
)

type runFlags struct {
	requests      int64
	clients       int
	pipeline      int
	frequency     int
	port          int
	out           string
	serverCommand string
	quiet         bool
}

func runMain(args []string) int {
	var f runFlags
	fs := flag.NewFlagSet("run --help", flag.ContinueOnError)
	fs.Int64Var(&f.requests, "n", 1000000, "")
	fs.IntVar(&f.clients, "c", 50, "")
	fs.IntVar(&f.pipeline, "P", 1, "")
	fs.IntVar(&f.frequency, "F", 99, "")
	fs.IntVar(&f.port, "p", 0, "")
	fs.StringVar(&f.out, "out", "redscope-out", "")
	fs.StringVar(&f.serverCommand, "server-command", "", "")
	fs.BoolVar(&f.quiet, "q", false, "")
	if status, done := parse(fs, args, runHelp); done {
		return status
	}
	switch {
	case fs.NArg() > 0:
		return fail(usagef("run takes no argument %q; see loadgen run --help", fs.Arg(0)))
	case f.requests < 1 || f.clients < 1 || f.pipeline < 1 || f.frequency < 1:
		return fail(usagef("-n, -c, -P and -F must be at least 1"))
	case f.port < 0 || f.port > 65535:
		return fail(usagef("-p must be a port, 1 to 65535"))
	}
	if err := f.run(); err != nil {
		return fail(err)
	}
	return exitDone
}

// run does the main job. Whatever goes wrong once the load has begun, it keeps
// what it has and returns the first thing that went wrong.
func (f *runFlags) run() (err error) {
	out := outDir(f.out)
	if err := out.prepare(); err != nil {
		return err
	}
	defer out.clean()
	var server atomic.Pointer[child.Server]
	ctx, stop := interruptible(func() {
		if s := server.Load(); s != nil {
			s.Kill()
		}
	})
	defer stop()

	watch := newWatch(out, f)
	s, err := f.start(ctx, watch)
	if err != nil {
		return err
	}
	server.Store(s)
	defer s.Kill() // for every way out before Stop
	// Now that there will be new ones.
	if err := out.removeOld(); err != nil {
		return err
	}

	rep := &report{
		Scenario: scenarioReport{
			Name: scenarioName, Command: []string{"SET", scenarioKey, load.SeqInt}, First: scenarioStart,
			Last: lastValue(scenarioStart, f.requests), Requests: f.requests, Clients: f.clients, Pipeline: f.pipeline,
		},
		Started: time.Now().UTC(), Loadgen: version(), Machine: thisMachine(),
		Server: serverReport{Command: s.Args, PID: s.PID},
	}
	var failures failureList
	failures.add(f.measure(ctx, s, watch, rep))
	select {
	case <-s.Done():
	default:
		failures.add(s.Stop())
	}
	failures.add(watch.write(rep))
	if err := failures.first(); err != nil {
		rep.Failure = err.Error()
	}
	rep.Files = append(rep.Files, out.path(fileReport))
	failures.add(out.write(fileReport, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(rep)
	}))
	if rep.Requests > 0 {
		rep.print(os.Stdout)
	}
	return failures.first()
}

// failureList keeps the errors of steps that are all taken, in order.
type failureList []error

func (l *failureList) add(err error) {
	if err != nil {
		*l = append(*l, err)
	}
}

// first is the failure that the others may be the consequence of.
func (l failureList) first() error {
	if len(l) == 0 {
		return nil
	}
	return l[0]
}

// start starts the server on the port wanted, or on a free one.
func (f *runFlags) start(ctx context.Context, watch *watch) (*child.Server, error) {
	port := f.port
	if port == 0 {
		var err error
		if port, err = child.FreePort(); err != nil {
			return nil, err
		}
	}
	var args []string
	var err error
	if f.serverCommand != "" {
		if args, err = child.Command(f.serverCommand, port); err != nil {
			return nil, usagef("--server-command: %v", err)
		}
	} else {
		own, server := watch.serveFlags()
		if args, err = ownServer(port, own, server); err != nil {
			return nil, err
		}
	}
	return child.Start(ctx, args, port)
}

// ownServer is the command line of the server that is part of this program: own
// are flags of the command serve, server those of the server.
func ownServer(port int, own, server []string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find this program's own file to start the server from: %w", err)
	}
	args := append([]string{self, "serve"}, own...)
	args = append(args, "--port", strconv.Itoa(port), "--bind", child.Host, "--save", "")
	return append(args, server...), nil
}

// measure loads the server and fills in the report.
func (f *runFlags) measure(ctx context.Context, s *child.Server, watch *watch, rep *report) error {
	c, err := query.Dial(child.Host, s.Port)
	if err != nil {
		return fmt.Errorf("cannot ask the server for its version: %w", err)
	}
	defer c.Close()
	info, err := c.Info("server")
	if err != nil {
		return fmt.Errorf("cannot ask the server for its version: %w", err)
	}
	rep.Server.Version = info["redis_version"]

	cpu, err := s.CPU()
	if err != nil {
		return err
	}
	opts := load.Options{
		Target:  load.Target{Host: child.Host, Port: s.Port},
		Command: load.Command{Args: rep.Scenario.Command}, Keyspace: -1, SeqStart: scenarioStart,
		Requests: f.requests, Clients: f.clients, Pipeline: f.pipeline, HoldLast: true,
	}
	d := newDisplay(os.Stderr, scenarioName, f.quiet)
	d.attach(&opts)
	watch.begin(s)
	res, err := load.Run(ctx, opts)
	watchErr := watch.end()
	d.clear()
	if res != nil {
		rep.Requests, rep.Errors, rep.FirstError = res.Requests, res.Errors, res.FirstError
		rep.Seconds, rep.Throughput, rep.LatencyMS = res.Elapsed.Seconds(), res.Throughput(), latencyMS(res)
		rep.ClientCPU = res.CPU.Seconds()
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted after %s of %s requests; the server was stopped, what was seen until then is in %s",
			thousands(rep.Requests), thousands(f.requests), f.out)
	}
	var lost *load.LostError
	if errors.As(err, &lost) {
		// Its connections end before its death is noticed.
		select {
		case <-s.Done():
			return fmt.Errorf("the server died after %s of %s requests: %s", thousands(rep.Requests), thousands(f.requests), s.Ending())
		case <-time.After(time.Second):
		}
	}
	if after, cpuErr := s.CPU(); cpuErr == nil && rep.Requests > 0 {
		rep.Server.CPUSeconds = (after - cpu).Seconds()
		rep.Server.CPUMicros = float64(after-cpu) / 1e3 / float64(rep.Requests)
	}
	if rss, rssErr := s.RSS(); rssErr == nil {
		rep.Server.ResidentSize = rss
	}
	if err != nil {
		return err
	}
	if rep.Errors > 0 {
		return fmt.Errorf("%s of %s requests were answered by an error, the first: %s", thousands(rep.Errors), thousands(rep.Requests), rep.FirstError)
	}
	if err := rep.verify(c); err != nil {
		return err
	}
	return watchErr
}

// verify asks the server whether it did what was sent.
func (rep *report) verify(c *query.Conn) error {
	v := &verification{}
	var err error
	if v.Keys, err = c.Do("DBSIZE"); err != nil {
		return fmt.Errorf("cannot verify what the server did: %w", err)
	}
	if v.LastValue, err = c.Do("GET", scenarioKey); err != nil {
		return fmt.Errorf("cannot verify what the server did: %w", err)
	}
	if v.Calls, err = c.Calls("set"); err != nil {
		return fmt.Errorf("cannot verify what the server did: %w", err)
	}
	v.OK = v.Keys == "1" && v.LastValue == rep.Scenario.Last && v.Calls == rep.Requests
	rep.Verified = v
	if !v.OK {
		return fmt.Errorf("the server did not do what was sent: it counts %s SETs of %s, has %s keys instead of 1, and %s is %q instead of %q",
			thousands(v.Calls), thousands(rep.Requests), v.Keys, scenarioKey, v.LastValue, rep.Scenario.Last)
	}
	return nil
}

// print ends the main job on the terminal.
func (rep *report) print(w io.Writer) {
	sc := rep.Scenario
	fmt.Fprintf(w, "%s: %s requests in %.2f s, %d clients, pipeline %d\n", sc.Name, thousands(rep.Requests), rep.Seconds, sc.Clients, sc.Pipeline)
	fmt.Fprintf(w, "  throughput  %s requests per second\n", thousands(int64(rep.Throughput)))
	fmt.Fprintf(w, "  latency ms ")
	for _, q := range quantiles {
		fmt.Fprintf(w, " %s %.3f ", q.name, rep.LatencyMS[q.name])
	}
	fmt.Fprintf(w, "\n  server      %.2f s of CPU, %.2f µs per request, %s resident, version %s\n",
		rep.Server.CPUSeconds, rep.Server.CPUMicros, mebibytes(rep.Server.ResidentSize), rep.Server.Version)
	if v := rep.Verified; v != nil && v.OK {
		fmt.Fprintf(w, "  verified    %s SETs executed, the last value is %s\n", thousands(v.Calls), v.LastValue)
	}
	p := rep.Profile
	switch p.Source {
	case "none":
		fmt.Fprintf(w, "  profile     none: %s\n", p.Note)
	case "ebpf":
		fmt.Fprintf(w, "  profile     %s samples at %d Hz with eBPF, %d lost\n", thousands(p.Samples), p.Frequency, p.Lost)
		if p.Note != "" {
			fmt.Fprintf(w, "              %s\n", p.Note)
		}
	default:
		fmt.Fprintf(w, "  profile     %s samples at %d Hz from the server's own profiler; not with eBPF: %s\n", thousands(p.Samples), p.Frequency, p.Note)
	}
	fmt.Fprintln(w, "files:")
	for _, path := range rep.Files {
		fmt.Fprintf(w, "  %s\n", path)
	}
}
