// Spin is a target for the tests of bpf and of cmd/redscope: the functions that
// a command passes in the server, by their plain names. It also passes the
// markers. It ends when standard input is closed.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
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
//go:linkname probed probed

var (
	key  = []byte("test:key:name")
	sink int
	turn int
)

//go:noinline
func aeMain() {
	for {
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
	if probe.LoopTurnEnabled() {
		probe.LoopTurn(0, 1, 2, 3, 4, 5, 6)
	}
	if probe.LoopWorkEnabled() {
		probe.LoopWork(1, 2, 3, 4)
	}
	turn++
}

//go:noinline
func call(n int) { setCommand(n + 1); turn++ }

//go:noinline
func setCommand(n int) {
	var big [256]byte // a frame, hence a stack check
	big[n&255] = byte(n)
	sink = spinLeaf(int(big[n&127]))
	copy(to[:], from[:]) // runtime.memmove
}

var from, to [1 << 14]byte

// spinLeaf has no frame.
//
//go:noinline
func spinLeaf(n int) int {
	for i := range 2000 {
		n = n*31 + i
	}
	return n + turn
}

//go:noinline
func lateThread() {
	runtime.LockOSThread()
	for start := time.Now(); ; {
		sink += int(time.Since(start))
	}
}

// probed is what the costs of a probe are measured on: a stack check, a push of
// the frame pointer, and a marker.
//
//go:noinline
func probed(n int) {
	var frame [128]byte
	frame[n&127] = 1
	sink += int(frame[0])
	if probe.SocketReadEnabled() {
		probe.SocketRead(7, 8, 36)
	}
	grow()
}

//go:noinline
func grow() {}

func main() {
	runtime.LockOSThread()
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	switch mode {
	case "": // without end
		go func() {
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		aeMain()
	case "late": // a thread that starts at the first line of input
		in.Scan()
		go lateThread()
		in.Scan()
	case "cost": // as often as each line says, answering with the nanoseconds
		for in.Scan() {
			n, _ := strconv.Atoi(in.Text())
			start := time.Now()
			for range n {
				probed(n)
			}
			fmt.Println(time.Since(start).Nanoseconds())
		}
	}
}
