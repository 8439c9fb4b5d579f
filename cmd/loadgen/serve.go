package main

import (
	"fmt"
	"os"
	"runtime/pprof"
)

// serverArgs takes the flags that are loadgen's own off the arguments of the
// command serve and acts on them: "--cpu-profile FILE" profiles the server from
// now until finish is called. The rest is the server's command line. On an
// error it says so and exits, as the server does.
func serverArgs(args []string) (rest []string, finish func()) {
	if len(args) < 2 || args[0] != "--cpu-profile" {
		return args, func() {}
	}
	f, err := os.Create(args[1])
	if err == nil {
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot write a CPU profile: %v\n", err)
		os.Exit(exitFailed)
	}
	return args[2:], func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot write the CPU profile: %v\n", err)
			os.Exit(exitFailed)
		}
	}
}
