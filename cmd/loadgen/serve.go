package main

import (
	"fmt"
	"os"
)

// serveMain is the child process of the main job: the server.
func serveMain([]string) int {
	fmt.Fprintln(os.Stderr, "loadgen: this build has no server of its own; name one with --server-command")
	return exitFailed
}
