package latency

import (
	"bufio"
	_ "embed" // the style below
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/redscope/redscope/internal/svg"
)

// MostCommands is how many commands of a group are drawn; the others are named.
const MostCommands = 16

// Measures in pixels.
const (
	width  = 1200
	margin = 12

	plotLeft    = 204
	plotWidth   = 474
	columnWidth = 3                         // of a distribution, for what is counted together
	tableLeft   = plotLeft + plotWidth + 64 // where the first column ends
	tableColumn = 58
	barLeft     = tableLeft + 3*tableColumn + 62
	barWidth    = width - margin - barLeft
	loopWidth   = 140 // for the whole of the loop
	labelWidth  = 44  // of the longest duration's text

	titleHeight  = 44
	legendHeight = 26
	axisHeight   = 24
	rowHeight    = 76
	baseLine     = 48 // of the distributions, below a row's upper edge
	upper        = 32 // of the total's distribution, at most
	lower        = 22
	leastHeight  = 4 // of a single call
	barHeight    = 18
	lineHeight   = 18
	groupGap     = 16

	maxName = 22  // characters
	maxLine = 180 // characters
)

//go:embed latency.css
var style string

// The colours are Paul Tol's light scheme, which carries dark text and stays apart
// for the colour-blind: warm ones for waiting, cool ones for work, in an order that
// keeps neighbours furthest apart.
var (
	warm = []string{"#ffaabb", "#eedd88", "#ee8866"}
	cool = []string{"#bbcc33", "#44bb99", "#77aadd", "#99ddff"}
)

// drawing is one SVG being written. Errors of the writer stick to it and come up
// when it is flushed.
type drawing struct {
	*bufio.Writer
	page    Page
	colours []string // of the phases
	axis    axis
	most    float64 // the largest count of any column
}

// WriteSVG draws a page.
func WriteSVG(w io.Writer, page Page) error {
	d := drawing{Writer: bufio.NewWriter(w), page: page}
	next := map[bool]int{}
	for _, p := range page.Phases {
		family := cool
		if p.Waiting {
			family = warm
		}
		d.colours = append(d.colours, family[next[p.Waiting]%len(family)])
		next[p.Waiting]++
	}
	d.scale()
	d.document()
	return d.Flush()
}

// shown are a group's commands that are drawn, and those that are named only.
func (g Group) shown() (drawn, named []Command) {
	n := min(len(g.Commands), MostCommands)
	return g.Commands[:n], g.Commands[n:]
}

// phase are the times of a phase, if there are any.
func (c Command) phase(i int) Times {
	if i < 0 || i >= len(c.Phases) {
		return Times{}
	}
	return c.Phases[i]
}

// scale finds the axis on which everything has room, and the highest column.
func (d *drawing) scale() {
	from, to := time.Duration(math.MaxInt64), time.Duration(0)
	each := func(f func(Times)) {
		for _, g := range d.page.Groups {
			drawn, _ := g.shown()
			for _, c := range drawn {
				f(c.Total)
				f(c.phase(d.page.Below))
			}
		}
	}
	each(func(t Times) {
		if n := len(t.Steps); n > 0 {
			from, to = min(from, t.Steps[0].From), max(to, t.Steps[n-1].To)
		}
	})
	d.axis = newAxis(from, to)
	each(func(t Times) {
		for _, n := range d.axis.columns(t) {
			d.most = max(d.most, n)
		}
	})
}

func (d *drawing) document() {
	height := legendHeight + len(d.notes())*lineHeight + margin
	var names []string
	for _, g := range d.page.Groups {
		height += g.height()
		names = append(names, g.Name)
	}
	fmt.Fprintf(d, `<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" version="1.1" class="latency" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d">
<title>Latency of %s</title>
<style>
%s</style>
<rect class="page" width="100%%" height="100%%"/>
`, width, height, plain(strings.Join(names, ", "), maxLine), style)
	y := 0
	for i, g := range d.page.Groups {
		d.text("title", margin, y+30, svg.Clean(g.Name, 2*maxName))
		d.text("right", width-margin, y+29, strings.Join(g.Numbers, " · "))
		if y += titleHeight; i == 0 {
			d.legend(y)
			y += legendHeight
		}
		d.commands(g, y)
		y += g.height() - titleHeight
	}
	for _, line := range d.notes() {
		y += lineHeight
		d.text("", margin, y, line)
	}
	d.WriteString("</svg>\n")
}

func (d *drawing) text(class string, x float64, y int, s string) {
	if s == "" {
		return
	}
	fmt.Fprintf(d, `<text class="%s" x="%.1f" y="%d">%s</text>`+"\n", class, x, y, plain(s, maxLine))
}

// plain is a text, or the beginning of one, that cannot become markup.
func plain(s string, limit int) string { return svg.Escape(svg.Clean(s, limit)) }

// notes are the page's notes in lines that have room.
func (d *drawing) notes() []string {
	var lines []string
	for _, n := range d.page.Notes {
		lines = append(lines, wrap(n)...)
	}
	return lines
}

// legend says what the colours and the shades mean.
func (d *drawing) legend(y int) {
	x := float64(margin)
	key := func(class, fill, label string) {
		label = svg.Clean(label, maxName)
		fmt.Fprintf(d, `<rect class="%s" x="%.1f" y="%d" width="11" height="11" rx="2"%s/>`+"\n", class, x, y, fill)
		d.text("small", x+16, y+10, label)
		x += 16 + 6.6*float64(len(label)) + 14
	}
	fmt.Fprintf(d, `<path class="half" d="M%d %dv11"/>`+"\n", margin, y)
	d.text("small", margin+6, y+10, "p50")
	x += 42
	key("body", "", "total")
	key("rare", "", "slower than p99")
	key("rarest", "", "slower than p99.9")
	x += 20
	for i, p := range d.page.Phases {
		key("phase", d.fill(i), p.Name)
	}
	d.text("small right", width-margin, y+10, "height: logarithm of the count · warm: waiting for others")
}

// fill is the attribute that gives something a phase's colour.
func (d *drawing) fill(phase int) string { return fmt.Sprintf(` style="fill:%s"`, d.colours[phase]) }

// height is what a group takes, without the legend.
func (g Group) height() int {
	drawn, _ := g.shown()
	return titleHeight + axisHeight + len(drawn)*rowHeight + axisHeight + len(g.rest())*lineHeight + groupGap
}

// rest names the commands that are not drawn.
func (g Group) rest() []string {
	_, named := g.shown()
	if len(named) == 0 {
		return nil
	}
	var names []string
	for _, c := range named {
		name := svg.Clean(c.Name, maxName) + " " + rate(c.Calls)
		if c.Total.Count() > 0 {
			name += ", max " + Format(c.Total.Quantile(1))
		}
		names = append(names, name)
	}
	return wrap(fmt.Sprintf("and %d more: %s", len(named), strings.Join(names, " · ")))
}

// wrap breaks a text between words.
func wrap(s string) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		if line != "" && len(line)+1+len(word) > maxLine {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}

// commands draws a group's commands on their axis, from y downwards.
func (d *drawing) commands(g Group, y int) {
	drawn, _ := g.shown()
	if len(drawn) == 0 {
		d.text("", margin, y+axisHeight, "No commands.")
		return
	}
	top := y + axisHeight
	bottom := top + len(drawn)*rowHeight
	for i, head := range heads {
		d.text("small right", float64(tableLeft+i*tableColumn), top-6, head)
	}
	d.text("small", barLeft, top-6, "by phase")
	for _, tick := range d.axis.ticks() {
		x := d.axis.x(tick)
		fmt.Fprintf(d, `<path class="grid" d="M%.1f %dV%d"/>`+"\n", x, top, bottom)
		for _, at := range []int{top - 6, bottom + 14} {
			d.text("small middle", x, at, tickLabel(tick))
		}
	}
	for i, c := range drawn {
		d.command(c, top+i*rowHeight)
	}
	for i, line := range g.rest() {
		d.text("", margin, bottom+axisHeight+(i+1)*lineHeight-4, line)
	}
}

// command draws one command, from y downwards.
func (d *drawing) command(c Command, y int) {
	fmt.Fprintf(d, `<g class="command"><title>%s: %s timed, mean %s</title>`, plain(c.Name, maxLine), svg.Thousands(int64(c.Total.Count())), Format(c.Total.Mean()))
	fmt.Fprintf(d, `<path class="grid" d="M%d %dH%d"/>`+"\n", margin, y, width-margin)
	d.text("name", margin, y+22, svg.Clean(c.Name, maxName))
	line := rate(c.Calls)
	if c.Loop >= 0 {
		line += fmt.Sprintf(" · loop %.1f %%", 100*c.Loop)
		fmt.Fprintf(d, `<rect class="track" x="%d" y="%d" width="%d" height="4" rx="2"/><rect class="loop" x="%[1]d" y="%[2]d" width="%.1[4]f" height="4" rx="2"/>`+"\n",
			margin, y+46, loopWidth, loopWidth*min(1, c.Loop))
	}
	d.text("small", margin, y+39, line)
	if c.Errors > 0 {
		d.text("small errors", margin, y+65, rate(c.Errors)+" errors")
	}
	base := y + baseLine
	fmt.Fprintf(d, `<path class="base" d="M%d %dh%d"/>`+"\n", plotLeft, base, plotWidth)
	if c.Total.Count() == 0 {
		d.text("small", plotLeft+6, base-6, "not timed")
	}
	for i, times := range []Times{c.Total, c.phase(d.page.Below)} {
		if times.Count() == 0 {
			continue
		}
		name, height, at, fill := "total", -upper, base-5, ""
		if i == 1 {
			name, height, at, fill = d.page.Phases[d.page.Below].Name, lower, base+14, d.fill(d.page.Below)
		}
		d.text("small right", plotLeft-6, at, svg.Clean(name, maxName))
		d.distribution(name, times, base, height, fill)
		for j, q := range quantiles {
			d.text("number", float64(tableLeft+j*tableColumn), at, Format(times.Quantile(q)))
		}
	}
	d.bar(c, "mean", y+15, Times.Mean)
	d.bar(c, "p99.9", y+43, func(t Times) time.Duration { return t.Quantile(0.999) })
	d.WriteString("</g>\n")
}

// The columns of the table.
var (
	heads     = []string{"p50", "p99", "p99.9", "max"}
	quantiles = []float64{0.5, 0.99, 0.999, 1}
)

// distribution draws how often durations came, upwards from the base line for a
// negative height: the logarithm of the count above the logarithm of the duration,
// so that one among millions can be seen.
func (d *drawing) distribution(name string, t Times, base, height int, fill string) {
	columns := d.axis.columns(t)
	sign := math.Copysign(1, float64(height))
	at := func(i int) float64 {
		share := math.Log1p(columns[i]) / math.Log1p(d.most)
		return float64(base) + sign*leastHeight + share*(float64(height)-sign*leastHeight)
	}
	_, rare := d.axis.span(t.step(0.99))
	_, rarest := d.axis.span(t.step(0.999))
	class := func(i int) string {
		switch {
		case i > rarest:
			return "rarest"
		case i > rare:
			return "rare"
		}
		return "body"
	}
	for i := 0; i < len(columns); i++ {
		if columns[i] == 0 {
			continue
		}
		// What follows without a gap and in the same shade is one path.
		first, n := i, columns[i]
		path := fmt.Sprintf("M%d %dV%.1fh%d", plotLeft+first*columnWidth, base, at(i), columnWidth)
		for ; i+1 < len(columns) && columns[i+1] > 0 && class(i+1) == class(first); i++ {
			n += columns[i+1]
			path += fmt.Sprintf("V%.1fh%d", at(i+1), columnWidth)
		}
		shade := fill
		if class(first) != "body" {
			shade = ""
		}
		fmt.Fprintf(d, `<path class="%s"%s d="%sV%dz"><title>%s: %s of %s, %s to %s</title></path>`+"\n", class(first), shade, path, base,
			plain(name, maxName), svg.Thousands(int64(math.Round(n))), svg.Thousands(int64(t.Count())), Format(d.axis.at(first)), Format(d.axis.at(i+1)))
	}
	middle, longest := t.Quantile(0.5), t.Quantile(1)
	last := d.axis.column(longest)
	fmt.Fprintf(d, `<path class="half" d="M%.1f %dV%.1f"/>`+"\n", d.axis.x(middle), base, at(d.axis.column(middle)))
	if sign < 0 {
		y := at(last) // above what the text would cover
		for i := max(0, last-labelWidth/columnWidth); i < last; i++ {
			y = min(y, at(i))
		}
		d.text("small most right", min(plotLeft+plotWidth, d.axis.x(longest)+6), int(y)-4, Format(longest))
	}
}

// bar draws a figure of each phase, one beside the other.
func (d *drawing) bar(c Command, name string, y int, figure func(Times) time.Duration) {
	var sum time.Duration
	for i := range d.page.Phases {
		sum += figure(c.phase(i))
	}
	if sum <= 0 {
		return
	}
	d.text("small right", barLeft-6, y+13, name)
	x := float64(barLeft)
	for i, p := range d.page.Phases {
		t := c.phase(i)
		w := float64(figure(t)) / float64(sum) * barWidth
		if w == 0 {
			continue
		}
		label := fmt.Sprintf("%s %s", svg.Clean(p.Name, maxName), Format(figure(t)))
		fmt.Fprintf(d, `<rect class="phase" x="%.2f" y="%d" width="%.2f" height="%d"%s><title>%s %s of %s`, x, y, max(0.5, w-1), barHeight, d.fill(i), name, plain(label, maxLine), Format(sum))
		for j, q := range quantiles {
			fmt.Fprintf(d, ", %s %s", heads[j], Format(t.Quantile(q)))
		}
		d.WriteString("</title></rect>\n")
		if 7*float64(len(label)) < w {
			d.text("small inside", x+5, y+13, label)
		}
		x += w
	}
}

// rate writes how often something comes.
func rate(perSecond float64) string {
	if perSecond < 9.95 {
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return svg.Thousands(int64(math.Round(perSecond))) + "/s"
}
