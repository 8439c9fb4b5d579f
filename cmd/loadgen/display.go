package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/cmd/loadgen/internal/load"
)

// thousands writes a whole number with commas.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// millis writes a latency in milliseconds, with microseconds behind the point.
func millis(d time.Duration) string { return fmt.Sprintf("%.3f", float64(d)/1e6) }

// mebibytes writes a size in units of 2^20 bytes.
func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// quantiles are those that every report names; 1 is the maximum.
var quantiles = []struct {
	q    float64
	name string
}{{0.5, "p50"}, {0.9, "p90"}, {0.99, "p99"}, {0.999, "p99.9"}, {1, "max"}}

// printResult writes throughput and percentiles.
func printResult(w io.Writer, res *load.Result) {
	fmt.Fprintf(w, "  throughput  %s requests per second\n", thousands(int64(math.Round(res.Throughput()))))
	fmt.Fprintf(w, "  latency ms ")
	for _, q := range quantiles {
		fmt.Fprintf(w, " %s %s ", q.name, millis(res.Quantile(q.q)))
	}
	fmt.Fprintln(w)
	if res.Errors > 0 {
		fmt.Fprintf(w, "  errors      %s, the first: %s\n", thousands(res.Errors), res.FirstError)
	}
}

// display shows how far a run is: a bar that is redrawn on a terminal, a line
// each second elsewhere.
type display struct {
	out   *os.File
	title string
	tty   bool
	quiet bool
	drawn bool
}

func newDisplay(out *os.File, title string, quiet bool) *display {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	return &display{out: out, title: title, tty: err == nil, quiet: quiet}
}

// attach makes a run report to the display.
func (d *display) attach(opts *load.Options) {
	if d.quiet {
		return
	}
	opts.Progress, opts.Every = d.show, time.Second
	if d.tty {
		opts.Every = 200 * time.Millisecond
	}
}

func (d *display) show(p load.Progress) {
	if !d.tty {
		fmt.Fprintln(d.out, d.line(p))
		return
	}
	width := 80
	if ws, err := unix.IoctlGetWinsize(int(d.out.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
		width = int(ws.Col)
	}
	fmt.Fprintf(d.out, "\r%s\x1b[K", d.bar(p, width-1))
	d.drawn = true
}

// clear removes the bar, so that what follows has the line to itself.
func (d *display) clear() {
	if d.drawn {
		fmt.Fprint(d.out, "\r\x1b[K")
		d.drawn = false
	}
}

// line is a report for a log.
func (d *display) line(p load.Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s requests", d.title, thousands(p.Done))
	if p.Total > 0 {
		fmt.Fprintf(&b, " of %s (%d %%)", thousands(p.Total), 100*p.Done/p.Total)
	}
	fmt.Fprintf(&b, ", %s", d.figures(p))
	return b.String()
}

// bar is a report for a terminal of the given width.
func (d *display) bar(p load.Progress, width int) string {
	text := d.figures(p)
	if p.Total == 0 {
		return clip(fmt.Sprintf("%s  %s  %s", d.title, thousands(p.Done), text), width)
	}
	share := float64(p.Done) / float64(p.Total)
	head := fmt.Sprintf("%s %3.0f %% ", d.title, math.Floor(100*share))
	room := min(width-len(head)-len(text)-4, 50)
	if room < 5 {
		return clip(head+text, width)
	}
	full := int(share * float64(room))
	return head + "[" + strings.Repeat("█", full) + strings.Repeat("·", room-full) + "]  " + text
}

func (d *display) figures(p load.Progress) string {
	text := thousands(int64(p.Rate)) + "/s"
	if left := p.Remaining(); left > 0 {
		text += fmt.Sprintf(", ETA %v", left.Round(time.Second))
	}
	if p.P99 > 0 { // the threads report now and then
		text += fmt.Sprintf(", p99 %s ms", millis(p.P99))
	}
	if p.Errors > 0 {
		text += fmt.Sprintf(", %s errors", thousands(p.Errors))
	}
	return text
}

// clip shortens plain ASCII text to width.
func clip(s string, width int) string {
	if len(s) > width {
		return s[:max(width, 0)]
	}
	return s
}
