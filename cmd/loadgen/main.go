// Loadgen sends requests to a Redis-compatible server and measures how long
// they take. With no arguments it does the main job: it starts a server of its
// own, sends a million SETs, looks at the server's stacks meanwhile and leaves
// a flame graph. It must never be slower than what it measures, never leave a
// process behind, and never leave half a file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/redscope/redscope/cmd/internal/serve"
	"github.com/redscope/redscope/engine"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	// The child process of the main job. Serve is called here and nowhere else,
	// so that main.main → aeMain is the root of the server's stacks.
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		args, finish := serverArgs(os.Args[2:])
		// As in cmd/server, the type's name lets the compiler inline Serve.
		var srv *engine.Server
		srv, stop := serve.Start(args)
		srv.Serve()
		stop()
		finish()
		return
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		return runMain(args)
	}
	switch args[0] {
	case "run":
		return runMain(args[1:])
	case "compare":
		return compareMain(args[1:])
	case "watch":
		return watchMain(args[1:])
	case "-h":
		// Before a host's name it is redis-benchmark's; alone it asks for help.
		if len(args) == 1 {
			args = []string{"--help"}
		}
	}
	return benchMain(args)
}

// errUsage is wrapped by errors that are the caller's: exit status 2.
var errUsage = errors.New("")

func usagef(format string, args ...any) error {
	return fmt.Errorf("%w"+format, append([]any{errUsage}, args...)...)
}

// fail prints an error as one line and returns the exit status.
func fail(err error) int {
	fmt.Fprintf(os.Stderr, "loadgen: %v\n", err)
	if errors.Is(err, errUsage) {
		return exitUsage
	}
	return exitFailed
}

// parse parses flags the way all commands do. When done is true, the command
// ends with the given status.
func parse(fs *flag.FlagSet, args []string, help string) (status int, done bool) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(help)
		return exitDone, true
	case err != nil:
		return fail(usagef("%v; see loadgen %s", err, fs.Name())), true
	}
	return 0, false
}

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// interruptible returns a context that the first SIGINT or SIGTERM ends, and
// runs kill at the second, then exits.
func interruptible(kill func()) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	// A file-size limit then is a failed write like a full disk, not death.
	signal.Ignore(syscall.SIGXFSZ)
	// Held for good from the second signal on: what kill ends must not let the
	// rest of the program come to its own end, and its own last line, first.
	var ending sync.Mutex
	go func() {
		<-signals
		cancel(errInterrupted)
		<-signals
		ending.Lock()
		kill()
		fmt.Fprintln(os.Stderr, "\nloadgen: killed by a second interrupt")
		os.Exit(exitFailed)
	}()
	return ctx, func() {
		ending.Lock()
		defer ending.Unlock()
		signal.Stop(signals)
		cancel(nil)
	}
}
