// Package serve wires a server together from its command line: configuration,
// engine, tracer, signals. cmd/server is nothing else, and loadgen's child
// process is the same server. It must hold no logic of its own that a test of
// the engine could not reach.
package serve

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/redscope/redscope/engine"
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
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	srv, err = engine.New(cfg, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		for range signals {
			srv.Shutdown()
		}
	}()
	return srv, srv.Close
}
