package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/redscope/redscope/bpf"
)

// parseBudget reads a share of the server's processor time; 0 for none.
func parseBudget(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	percent, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || !(percent > 0 && percent <= 100) {
		return 0, usagef("--budget %s: a budget is a share of the server's processor time, above 0 and at most 100%%, as 2%% or 0.5%%", s)
	}
	return percent / 100, nil
}

// looking says what looking at a server costs it, and what was not looked at for
// that. Its shares are of the server's processor time.
type looking struct {
	Budget     float64 `json:"budget"`
	Share      float64 `json:"share"`
	Cost       int64   `json:"cost"`        // ns
	CPU        int64   `json:"cpu"`         // ns that the server used, with those
	Commands   uint64  `json:"commands"`    // looked at
	PerCommand int64   `json:"per_command"` // ns
	Shed       string  `json:"shed"`        // now

	// Seconds.
	Elapsed           float64 `json:"elapsed"`
	WithoutPhases     float64 `json:"without_phases"`
	WithoutHistograms float64 `json:"without_histograms"`
	NotLooking        float64 `json:"not_looking"`
}

var shedNames = [bpf.ShedLevels]string{"nothing shed", "phases shed", "histograms shed", "looking part of the time"}

func lookingOf(b bpf.Budget) *looking {
	l := &looking{Budget: b.Share, Cost: int64(b.Cost), CPU: int64(b.CPU), Commands: b.Commands, Shed: shedNames[b.Shed],
		Elapsed: b.Elapsed().Seconds(), NotLooking: (b.Elapsed() - b.Looked).Seconds(),
		WithoutPhases: (b.Elapsed() - b.Levels[bpf.ShedNothing]).Seconds(), WithoutHistograms: b.Levels[bpf.ShedTimes].Seconds()}
	l.divide()
	return l
}

func (l *looking) divide() {
	if l.CPU > 0 {
		l.Share = float64(l.Cost) / float64(l.CPU)
	}
	if l.Commands > 0 {
		l.PerCommand = l.Cost / int64(l.Commands)
	}
}

// plus returns both together; what is shed now is what after sheds. Either may be
// nil.
func (l *looking) plus(after *looking) *looking {
	if l == nil {
		return after
	}
	if after == nil {
		return l
	}
	sum := *after
	sum.Cost += l.Cost
	sum.CPU += l.CPU
	sum.Commands += l.Commands
	sum.Elapsed += l.Elapsed
	sum.WithoutPhases += l.WithoutPhases
	sum.WithoutHistograms += l.WithoutHistograms
	sum.NotLooking += l.NotLooking
	sum.divide()
	return &sum
}

func (l *looking) String() string {
	s := fmt.Sprintf("looking: %.2f µs per command, %s of the server's time (budget %s): %s",
		float64(l.PerCommand)/1000, percent(l.Share), percent(l.Budget), l.Shed)
	var without []string
	for _, w := range []struct {
		what    string
		seconds float64
	}{{"without phases", l.WithoutPhases}, {"without histograms", l.WithoutHistograms}, {"not looking", l.NotLooking}} {
		if w.seconds > 0 {
			without = append(without, fmt.Sprintf("%.1f s %s", w.seconds, w.what))
		}
	}
	if len(without) > 0 {
		s += fmt.Sprintf(" (of %.1f s: %s)", l.Elapsed, strings.Join(without, ", "))
	}
	return s
}

// percent writes a share with two digits.
func percent(share float64) string { return strconv.FormatFloat(100*share, 'g', 2, 64) + " %" }
