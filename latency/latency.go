// Package latency draws how long commands took: for each its distribution on a
// time axis that all share, and in which phase the time was spent, as one
// self-contained SVG.
//
// Names may come from anywhere and must never become markup. The package knows
// nothing of servers and probes; what it draws has been measured by others.
package latency

import (
	"math"
	"strconv"
	"time"
)

// Page is what a picture shows. Equal pages give equal pictures.
type Page struct {
	// Phases are the parts of a command's time, one after the other.
	Phases []Phase
	// Below is the phase whose distribution hangs below that of the total; none
	// when it is negative.
	Below  int
	Groups []Group
	// Notes stand at the end, a line each.
	Notes []string
}

// Phase is a part of a command's time.
type Phase struct {
	Name    string
	Waiting bool // for others, not at work itself
}

// Group is the commands of one server.
type Group struct {
	Name     string
	Numbers  []string  // beside the name
	Commands []Command // those to draw first come first
}

// Command is what was seen of a command.
type Command struct {
	Name          string
	Calls, Errors float64 // per second
	Loop          float64 // share of the event loop's time; negative when not known
	Total         Times
	Phases        []Times // of Page.Phases, no counts for one that is not known
}

// Times are the durations that were counted, in steps of rising length.
type Times struct {
	Sum   time.Duration
	Steps []Step
}

// Step is how many durations there are from one up to another, that one not
// included.
type Step struct {
	From, To time.Duration
	Count    uint64
}

// Count is how many durations there are.
func (t Times) Count() uint64 {
	var n uint64
	for _, s := range t.Steps {
		n += s.Count
	}
	return n
}

// Mean is their mean, 0 of none.
func (t Times) Mean() time.Duration { return t.Sum / time.Duration(max(1, t.Count())) }

// Quantile returns a duration that the share q of all does not exceed, the middle
// of its step; 0 when there is none.
func (t Times) Quantile(q float64) time.Duration { return t.step(q).middle() }

// step is the one that a quantile is in.
func (t Times) step(q float64) Step {
	rank := max(1, uint64(math.Ceil(q*float64(t.Count()))))
	var seen uint64
	for _, s := range t.Steps {
		if seen += s.Count; seen >= rank {
			return s
		}
	}
	return Step{}
}

func (s Step) middle() time.Duration { return s.From + max(0, s.To-s.From-1)/2 }

var units = []struct {
	size time.Duration
	name string
}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}}

// Format writes a duration in at most six characters.
func Format(d time.Duration) string {
	for _, unit := range units {
		// From what would be rounded up to it.
		if d >= unit.size-unit.size/2000 {
			v := float64(d) / float64(unit.size)
			decimals := 2
			for _, limit := range []float64{9.995, 99.95} {
				if v >= limit {
					decimals--
				}
			}
			return strconv.FormatFloat(v, 'f', decimals, 64) + unit.name
		}
	}
	return strconv.FormatInt(int64(d), 10) + "ns"
}
