// Package serve wires a server together from its command line: configuration,
// engine, tracer, signals. cmd/server is nothing else, and loadgen's child
// process is the same server. It must hold no logic of its own that a test of
// the engine could not reach.
package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/redscope/redscope/engine"
	"github.com/redscope/redscope/trace"
)

// Start makes a server from its command line: what redis-server accepts,
// without the program's name. On an error it says so on stderr and exits.
//
// The caller is main.main, on the main thread, and calls Serve itself:
//
//	srv, stop := serve.Start(os.Args[1:])
//	srv.Serve()
//	stop()
//
// so that a stack walk ends as it does in Redis, aeMain ← main.
func Start(args []string) (srv *engine.Server, stop func()) {
	runtime.LockOSThread()
	cfg, err := engine.LoadConfig(args)
	switch {
	case errors.Is(err, engine.ErrHelp):
		fmt.Print(engine.Usage)
		os.Exit(0)
	case errors.Is(err, engine.ErrVersion):
		fmt.Print(engine.VersionLine())
		os.Exit(0)
	case err != nil:
		fail(err)
	}
	tracer, err := newTracer(cfg, func() *engine.Server { return srv })
	if err != nil {
		fail(err)
	}
	var hooks *engine.Hooks
	if tracer != nil {
		hooks = tracer.Hooks()
	}
	srv, err = engine.New(cfg, hooks)
	if err != nil {
		fail(err)
	}
	dropConstants()
	// As in Redis: who reads the log, or the terminal, may go away.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range signals {
			srv.Shutdown()
		}
	}()
	return srv, func() {
		// A second signal ends the process, instead of waking a loop that is gone.
		signal.Stop(signals)
		close(signals)
		<-done
		srv.Close()
		if tracer == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := tracer.Shutdown(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "tracing:", err)
		}
	}
}

// flushTimeout is how long a server that is shutting down waits for the
// collector to take the last spans.
const flushTimeout = 5 * time.Second

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// defaultSample is the share of reads that are traced when neither
// --trace-sample nor OTEL_TRACES_SAMPLER says otherwise.
const defaultSample = 0.01

// newTracer makes the tracer that cfg and the environment ask for, nil when
// nothing is to be sampled. One without a destination has no hooks. server
// returns the server, which exists by the time that events arrive.
func newTracer(cfg *engine.Config, server func() *engine.Server) (*trace.Tracer, error) {
	options := trace.Options{
		Endpoint:     cfg.OTLPEndpoint,
		File:         cfg.TraceFile,
		QueryText:    cfg.TraceQueryText,
		CommandName:  func(id int) string { return server().CommandName(id) },
		FunctionName: func(id int) string { return server().FunctionName(id) },
		Version:      engine.ReleaseVersion,
	}
	switch {
	case cfg.TraceSample != "":
		options.Sample, _ = strconv.ParseFloat(cfg.TraceSample, 64) // LoadConfig has checked it
		if options.Sample == 0 {
			return nil, nil
		}
	case os.Getenv("OTEL_TRACES_SAMPLER") == "":
		options.Sample = defaultSample
	}
	return trace.New(context.Background(), options)
}
