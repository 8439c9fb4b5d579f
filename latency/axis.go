package latency

import (
	"fmt"
	"math"
	"time"
)

// axis is a logarithmic one of time, as wide as the plot.
type axis struct{ from, to float64 } // powers of ten

// newAxis returns one with room for those durations, from and to a power of ten.
func newAxis(from, to time.Duration) axis {
	first := math.Floor(math.Log10(float64(max(1, from))))
	return axis{first, max(first+1, math.Ceil(math.Log10(float64(max(1, to)))))}
}

// x is where a duration is.
func (a axis) x(d time.Duration) float64 {
	share := (math.Log10(float64(max(1, d))) - a.from) / (a.to - a.from)
	return plotLeft + plotWidth*min(1, max(0, share))
}

// column is the one that a duration is in.
func (a axis) column(d time.Duration) int {
	return min(plotWidth/columnWidth-1, int((a.x(d)-plotLeft)/columnWidth))
}

// at is the duration at a column's left edge.
func (a axis) at(column int) time.Duration {
	return time.Duration(math.Pow(10, a.from+(a.to-a.from)*float64(column*columnWidth)/plotWidth))
}

// span are the first and the last column of a step. One that is no wider than a
// column is in that of its middle.
func (a axis) span(s Step) (first, last int) {
	if a.x(s.To)-a.x(s.From) <= columnWidth {
		c := a.column(s.middle())
		return c, c
	}
	return a.column(s.From), a.column(s.To)
}

// columns are the counts by column. Those of a step that has several are taken for
// spread evenly.
func (a axis) columns(t Times) []float64 {
	counts := make([]float64, plotWidth/columnWidth)
	for _, s := range t.Steps {
		first, last := a.span(s)
		if first == last {
			counts[first] += float64(s.Count)
			continue
		}
		left, right := a.x(s.From), a.x(s.To)
		for i := first; i <= last; i++ {
			edge := float64(plotLeft + i*columnWidth)
			counts[i] += float64(s.Count) * max(0, min(right, edge+columnWidth)-max(left, edge)) / (right - left)
		}
	}
	return counts
}

// ticks are the powers of ten on the axis.
func (a axis) ticks() []time.Duration {
	var all []time.Duration
	for e := a.from; e <= a.to; e++ {
		all = append(all, time.Duration(math.Pow(10, e)))
	}
	return all
}

// tickLabel writes a power of ten.
func tickLabel(d time.Duration) string {
	for _, u := range units {
		if d >= u.size {
			return fmt.Sprintf("%d %s", d/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d ns", d)
}
