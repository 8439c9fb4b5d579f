// Command difffuzz sends the same random commands to our server and to a Redis, and
// compares every reply and, after each round, every key. See package differential.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redscope/redscope/engine/internal/differential"
)

const help = `Usage: go run ./engine/internal/difffuzz [flags]

Sends the same random commands to our server and to a Redis 7.0 and compares every
reply and, after each round, every key: type, encoding, expire time, DUMP. It stops at
the first difference, prints the shortest way to it that it finds and exits with 1.
The commands are those that our server has. Both servers lose all their keys.

Examples:

  go run ./engine/internal/difffuzz -for 10m
        builds our server, starts it and the redis-server of this machine
  go run ./engine/internal/difffuzz -against 10.0.0.5:6379 -server 127.0.0.1:6380
        uses servers that run already
  go run ./engine/internal/difffuzz -seed 17
        begins with the round that printed this seed
  go run ./engine/internal/difffuzz -only ZADD,ZRANGE,ZREM
        sends no other commands

Flags:
`

func main() {
	flag.Usage = func() {
		fmt.Fprint(os.Stderr, help)
		flag.PrintDefaults()
	}
	against := flag.String("against", "", "`host:port` of the Redis; empty starts redis-server")
	server := flag.String("server", "", "`host:port` of our server; empty builds and starts one")
	duration := flag.Duration("for", 10*time.Minute, "how long to send commands")
	seed := flag.Uint64("seed", 0, "seed of the random numbers; 0 takes one from the clock")
	only := flag.String("only", "", "send these commands only, separated by commas")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "difffuzz: %q is no flag\n", flag.Arg(0))
		os.Exit(2)
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	o := differential.Options{For: *duration, Seed: *seed, ShrinkFor: 2 * time.Minute}
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	os.Exit(run(o, *against, *server))
}

// run returns the exit status: 0 when the servers agreed, 1 when not or when
// something else went wrong.
func run(o differential.Options, against, server string) int {
	dir, err := os.MkdirTemp("", "difffuzz")
	if err != nil {
		return failed(err)
	}
	var children []*child
	stop := func() {
		for _, c := range children {
			c.stop()
		}
		os.RemoveAll(dir)
	}
	defer stop()
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupt
		stop()
		os.Exit(1)
	}()
	start := func(path string, args ...string) (differential.Server, *child, error) {
		c := &child{path: path, args: args}
		if err := c.start(); err != nil {
			return differential.Server{}, c, err
		}
		children = append(children, c)
		return differential.Server{Addr: c.addr, Restart: c.start}, c, nil
	}
	var ours *child
	if o.Theirs.Addr = against; against == "" {
		if o.Theirs, _, err = start("redis-server", "--save", "", "--dir", dir); err != nil {
			return failed(err)
		}
	}
	if o.Ours.Addr = server; server == "" {
		path := filepath.Join(dir, "server")
		build := exec.Command("go", "build", "-o", path, "github.com/redscope/redscope/cmd/server")
		if out, err := build.CombinedOutput(); err != nil {
			return failed(fmt.Errorf("building our server: %w\n%s", err, out))
		}
		if o.Ours, ours, err = start(path); err != nil {
			return failed(err)
		}
	}
	o.Progress = progress()
	fmt.Fprintf(os.Stderr, "seed %d\n", o.Seed)
	stats, mismatch, err := differential.Run(o)
	fmt.Fprintln(os.Stderr)
	switch {
	case err != nil:
		return failed(err)
	case mismatch != nil:
		fmt.Printf("A difference, with -seed %d:\n\n%v\n", mismatch.Seed, mismatch)
		if ours != nil && ours.crash != "" {
			fmt.Printf("\nOur server crashed:\n%s\n", ours.crash)
		}
		return 1
	}
	fmt.Printf("No difference in %d commands of %d kinds and %d keys.\n", stats.Commands, stats.Names, stats.Keys)
	return 0
}

// progress returns what writes a line about what has been done: one that is written
// over each second on a terminal, and one each ten seconds elsewhere.
func progress() func(differential.Stats) {
	every, begin, end := 10*time.Second, "", "\n"
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		every, begin, end = time.Second, "\r", " "
	}
	var last time.Duration
	return func(s differential.Stats) {
		if s.Elapsed-last < every {
			return
		}
		last = s.Elapsed
		fmt.Fprintf(os.Stderr, "%s%s: %d rounds, %d commands of %d kinds (%.0f/s, %.0f %% errors), %d keys compared%s", begin, s.Elapsed.Round(time.Second), s.Rounds,
			s.Commands, s.Names, float64(s.Commands)/s.Elapsed.Seconds(), 100*float64(s.Errors)/float64(max(1, s.Commands)), s.Keys, end)
	}
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "difffuzz:", err)
	return 1
}

// child is a server that is started here, on a free port.
type child struct {
	path  string
	args  []string
	addr  string
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan struct{}
	crash string // the end of what the first one that died has said
}

func (c *child) start() error {
	if c.cmd != nil {
		c.stop()
		if c.crash == "" {
			c.crash = panicOf(c.log.String())
		}
		c.log.Reset()
	}
	if c.addr == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		c.addr = l.Addr().String()
		l.Close()
	}
	_, port, _ := net.SplitHostPort(c.addr)
	c.cmd = exec.Command(c.path, append([]string{"--port", port, "--databases", strconv.Itoa(16)}, c.args...)...)
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	if err := c.cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	c.ended = ended
	go func() {
		c.cmd.Wait()
		close(ended)
	}()
	for range 500 {
		if conn, err := net.Dial("tcp", c.addr); err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-ended:
			return errors.New(c.path + " ended: " + c.log.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
	c.stop()
	return errors.New(c.path + " does not accept connections")
}

func (c *child) stop() {
	c.cmd.Process.Kill()
	<-c.ended
}

// panicOf returns the part of a log that tells of a panic, as far as it helps.
func panicOf(log string) string {
	i := max(strings.Index(log, "panic:"), strings.Index(log, "fatal error:"), strings.Index(log, "SIGSEGV"))
	if i < 0 {
		return ""
	}
	return log[i:min(len(log), i+3000)]
}
