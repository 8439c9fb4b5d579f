// Package load sends requests to a Redis-compatible server as fast as the
// server takes them, or at a fixed rate, and measures how long each reply took.
//
// It exists so that the generator is never what is measured: threads that each
// own their connections and an epoll instance, requests encoded once and
// patched in place, replies counted without being kept. On the path of a
// request it must never allocate, lock, start a goroutine or go through
// net.Conn.
package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// Options say what to send, where to, and how.
type Options struct {
	Target Target

	Command  Command
	Requests int64 // how many to send; 0 = until the context ends
	Clients  int   // connections, shared out over the threads
	Pipeline int   // requests that a connection has under way at most
	Threads  int   // 0 = 1

	Keyspace int64  // RandInt is below this; negative leaves RandInt as written
	SeqStart string // SeqInt's first number, its length being SeqInt's width
	Seed     uint64 // of the random numbers: the same seed, the same numbers

	// Rate is the number of requests per second that are due, whether or not
	// the server keeps up (an open loop); 0 sends a request as soon as the
	// connection's earlier ones are answered (a closed loop). With a rate, a
	// latency counts from the moment the request was due, so that a server that
	// stalls is charged for every request that would have come in meanwhile
	// (no coordinated omission).
	Rate float64

	// HoldLast sends the last request only when all others are answered, so
	// that what it leaves on the server is known although many connections wrote.
	HoldLast bool

	// Reconnect opens a new connection for every batch, as redis-benchmark -k 0.
	Reconnect bool

	// Progress, when set, is called each Every on a goroutine of its own.
	Progress func(Progress)
	Every    time.Duration
}

// Progress is how far a run has come.
type Progress struct {
	Done    int64         // replies received
	Total   int64         // requests to send; 0 = no end
	Errors  int64         // error replies among Done
	Elapsed time.Duration // since the first request
	Rate    float64       // replies per second since the last report
	P50     time.Duration // latency of the requests answered since the last report
	P99     time.Duration
}

// Remaining estimates the time until the end from the average so far; 0 when
// there is nothing to estimate from.
func (p Progress) Remaining() time.Duration {
	if p.Done == 0 || p.Total == 0 {
		return 0
	}
	return time.Duration(float64(p.Elapsed) / float64(p.Done) * float64(p.Total-p.Done))
}

// Result is what a run measured.
type Result struct {
	Requests   int64 // replies received
	Errors     int64 // error replies among them
	FirstError string
	Elapsed    time.Duration // from the first request to the last reply
	CPU        time.Duration // CPU time that this process spent meanwhile
	// Latency holds nanoseconds from sending a request (from the moment it was
	// due, with a rate) to reading its reply, to two significant digits.
	Latency *hdrhistogram.Histogram
}

// Throughput is replies per second.
func (r *Result) Throughput() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Elapsed.Seconds()
}

// Quantile is the latency that the share q (0 to 1) of the requests did not
// exceed, at most 1 % too high.
func (r *Result) Quantile(q float64) time.Duration {
	if q >= 1 {
		return time.Duration(r.Latency.Max())
	}
	return time.Duration(r.Latency.ValueAtQuantile(q * 100))
}

// maxLatency is what the histograms hold at most; what took longer counts as
// this much.
const maxLatency = int64(10 * time.Minute)

// newHistogram counts in nanoseconds: two significant digits from the lowest
// value on keep every bucket above 128 ns within 1 %, in 30 kB.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency, 2) }

// shared is what the threads of a run have in common.
type shared struct {
	opts  *Options
	start time.Time
	limit int64        // requests that the threads take from next
	next  atomic.Int64 // number of the next request
	held  atomic.Bool  // one request, number limit, is held back
	live  atomic.Int32 // threads that have not finished
	stop  atomic.Bool
}

// Run connects, sends the requests and returns when all are answered, when ctx
// ends or when a connection fails. Except when it could not connect, it returns
// what was measured until then along with the error: ctx's own when ctx ended.
func Run(ctx context.Context, opts Options) (*Result, error) {
	if opts.Clients < 1 || opts.Pipeline < 1 {
		return nil, errors.New("clients and pipeline must be at least 1")
	}
	opts.Threads = min(max(opts.Threads, 1), opts.Clients)
	sh := &shared{opts: &opts, limit: opts.Requests}
	if opts.Requests <= 0 {
		sh.limit = math.MaxInt64 / 2
	} else if opts.HoldLast {
		sh.limit--
		sh.held.Store(true)
	}
	sh.live.Store(int32(opts.Threads))

	threads := make([]*thread, opts.Threads)
	defer func() {
		for _, t := range threads {
			if t != nil {
				t.close()
			}
		}
	}()
	for i := range threads {
		clients := (opts.Clients + opts.Threads - 1 - i) / opts.Threads
		t, err := newThread(sh, i, clients)
		if err != nil {
			return nil, err
		}
		threads[i] = t
	}

	cpu := processCPU()
	sh.start = time.Now()
	ended := make(chan error, len(threads))
	for _, t := range threads {
		go func() { ended <- t.run() }()
	}
	c := collector{sh: sh, threads: threads, total: newHistogram(), recent: newHistogram()}
	err := c.wait(ctx, ended)
	elapsed := time.Since(sh.start)
	res := &Result{Latency: c.total, Elapsed: elapsed, CPU: processCPU() - cpu}
	for _, t := range threads {
		c.total.Merge(t.hist)
		res.Requests += t.done
		res.Errors += t.errors()
		if res.FirstError == "" {
			res.FirstError = t.firstError()
		}
	}
	return res, err
}

// collector waits for the threads and reports on them meanwhile.
type collector struct {
	sh       *shared
	threads  []*thread
	total    *hdrhistogram.Histogram
	recent   *hdrhistogram.Histogram // since the last report
	lastDone int64
	lastTime time.Duration
}

func (c *collector) wait(ctx context.Context, ended <-chan error) (err error) {
	var tick <-chan time.Time
	if c.sh.opts.Progress != nil {
		ticker := time.NewTicker(c.sh.opts.Every)
		defer ticker.Stop()
		tick = ticker.C
		for _, t := range c.threads {
			t.spare.Store(newHistogram())
		}
	}
	cancelled := ctx.Done()
	for running := len(c.threads); running > 0; {
		select {
		case e := <-ended:
			running--
			if e != nil {
				c.sh.stop.Store(true)
				if err == nil {
					err = e
				}
			}
		case <-cancelled:
			c.sh.stop.Store(true)
			cancelled = nil
			if err == nil {
				err = ctx.Err()
			}
		case <-tick:
			c.report()
		}
	}
	// What a thread handed over after the last report.
	for _, t := range c.threads {
		if h := t.filled.Swap(nil); h != nil {
			c.total.Merge(h)
		}
	}
	return err
}

func (c *collector) report() {
	opts := c.sh.opts
	p := Progress{Elapsed: time.Since(c.sh.start), Total: opts.Requests}
	c.recent.Reset()
	for _, t := range c.threads {
		p.Done += t.published.Load()
		p.Errors += t.failed.Load()
		// A thread swaps its histogram for the spare at its next turn, so what
		// is merged here ends with the turn after the last report.
		if h := t.filled.Swap(nil); h != nil {
			c.recent.Merge(h)
			h.Reset()
			t.spare.Store(h)
		}
	}
	c.total.Merge(c.recent)
	if span := p.Elapsed - c.lastTime; span > 0 {
		p.Rate = float64(p.Done-c.lastDone) / span.Seconds()
	}
	c.lastDone, c.lastTime = p.Done, p.Elapsed
	p.P50 = time.Duration(c.recent.ValueAtQuantile(50))
	p.P99 = time.Duration(c.recent.ValueAtQuantile(99))
	opts.Progress(p)
}

// processCPU is the CPU time, user and system, of this process so far.
func processCPU() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		panic(fmt.Sprintf("clock_gettime: %v", err)) // it fails for an unknown clock only
	}
	return time.Duration(ts.Nano())
}
