// Marks passes every marker, for the test that reads its executable.
package main

import (
	"os"

	"github.com/redscope/redscope/engine/probe"
)

//go:noinline
func commandStart(n int) {
	if probe.CommandStartEnabled() {
		probe.CommandStart(1, n, nil, 0, n, n)
	}
}

//go:noinline
func commandDone(n int) {
	if probe.CommandDoneEnabled() {
		probe.CommandDone(1, n, 0, n, 0)
	}
}

//go:noinline
func socketRead(n int) {
	if probe.SocketReadEnabled() {
		probe.SocketRead(1, n, n)
	}
}

//go:noinline
func replyWritten(n int) {
	if probe.ReplyWrittenEnabled() {
		probe.ReplyWritten(1, n, n)
	}
}

//go:noinline
func loopTurn(n int) {
	if probe.LoopTurnEnabled() {
		probe.LoopTurn(0, n, 0, 0, 0, 0, n)
	}
}

//go:noinline
func loopWork(n int) {
	if probe.LoopWorkEnabled() {
		probe.LoopWork(n, 0, 0, n)
	}
}

func main() {
	n := len(os.Args)
	commandStart(n)
	commandDone(n)
	socketRead(n)
	replyWritten(n)
	loopTurn(n)
	loopWork(n)
}
