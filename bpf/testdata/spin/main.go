// Spin is a target for the tests of bpf and of cmd/redscope: the functions that
// a command passes in the server, by their plain names, calling each other until
// standard input is closed. It also passes the markers.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/redscope/redscope/engine/probe"
)

//go:linkname aeMain aeMain
//go:linkname aeProcessEvents aeProcessEvents
//go:linkname connSocketEventHandler connSocketEventHandler
//go:linkname callHandler callHandler
//go:linkname readQueryFromClient readQueryFromClient
//go:linkname processInputBuffer processInputBuffer
//go:linkname processCommandAndResetClient processCommandAndResetClient
//go:linkname processCommand processCommand
//go:linkname call call
//go:linkname setCommand setCommand
//go:linkname spinLeaf spinLeaf
//go:linkname lateThread lateThread

var (
	key  = []byte("test:key:name")
	sink int
	turn int
)

//go:noinline
func aeMain(stop *bool) {
	for !*stop {
		aeProcessEvents()
	}
}

//go:noinline
func aeProcessEvents() { connSocketEventHandler(1); turn++ }

//go:noinline
func connSocketEventHandler(n int) { callHandler(n + 1); turn++ }

//go:noinline
func callHandler(n int) { readQueryFromClient(n + 1); turn++ }

//go:noinline
func readQueryFromClient(n int) {
	if probe.SocketReadEnabled() {
		probe.SocketRead(7, 8, 36)
	}
	processInputBuffer(n + 1)
	turn++
}

//go:noinline
func processInputBuffer(n int) { processCommandAndResetClient(n + 1); turn++ }

//go:noinline
func processCommandAndResetClient(n int) { processCommand(n + 1); turn++ }

//go:noinline
func processCommand(n int) {
	if probe.CommandStartEnabled() {
		probe.CommandStart(7, 2, &key[0], len(key), 3, 4)
	}
	call(n + 1)
	if probe.CommandDoneEnabled() {
		probe.CommandDone(7, 2, 1, 5, 123456789)
	}
	if probe.ReplyWrittenEnabled() {
		probe.ReplyWritten(7, 8, 5)
	}
	turn++
}

//go:noinline
func call(n int) { setCommand(n + 1); turn++ }

//go:noinline
func setCommand(n int) {
	var big [256]byte // a frame, hence a stack check
	for i := range 2000 {
		big[i&255] += byte(i * n)
	}
	sink = spinLeaf(int(big[n&255]))
}

// spinLeaf has no frame.
//
//go:noinline
func spinLeaf(n int) int { return n + turn }

//go:noinline
func lateThread() {
	runtime.LockOSThread()
	for start := time.Now(); ; {
		sink += int(time.Since(start))
	}
}

func main() {
	runtime.LockOSThread()
	stop := false
	if len(os.Args) > 1 && os.Args[1] == "late" {
		// A thread that starts once the observer says so.
		fmt.Println("ready")
		in := bufio.NewReader(os.Stdin)
		in.ReadString('\n')
		go lateThread()
		io.Copy(io.Discard, in)
		return
	}
	fmt.Println("ready")
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	aeMain(&stop)
}
