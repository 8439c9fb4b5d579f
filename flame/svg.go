package flame

import (
	"bufio"
	_ "embed" // the style and the script below
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/redscope/redscope/internal/svg"
)

// SVGOptions say how a flame graph looks. The zero value is usable.
type SVGOptions struct {
	// Title stands above the graph; "Flame graph" when empty.
	Title string
	// Subtitle stands beside the numbers of samples and frames, as "99 Hz, 7 s".
	Subtitle string
	// Palette is one of Palettes; empty means diff for stacks from Diff, hot
	// for others.
	Palette string
	// CountName is the unit of the counts; "samples" when empty.
	CountName string
	// Width in pixels as long as no script runs, as in an <img>; 1200 when 0.
	// With scripts the graph takes the window's width.
	Width int
	// MinWidth in pixels of Width: narrower frames are left out, and counted;
	// 0.1 when 0. The widest 40,000 frames are drawn at most.
	MinWidth float64
}

// Measures in pixels. The script reads what it needs of them from the document.
const (
	margin     = 12
	rowHeight  = 18
	frameGap   = 1
	headHeight = 98
	legendTop  = 44
	textInset  = 4
	// charWidth is the advance of a monospace face at 12 px (0.6 em). The script
	// measures the face it got.
	charWidth = 7.22
	// minChars is the shortest text that tells anything.
	minChars = 3
)

//go:embed flame.css
var style string

//go:embed flame.js
var script string

// WriteSVG draws the stacks as an interactive flame graph: one file that needs
// nothing else, and shows everything but the interaction where scripts do not
// run. Stacks from Diff are coloured by how their share of the whole changed;
// their widths are those of the later profile.
//
// Equal input gives equal output.
func WriteSVG(w io.Writer, stacks []Stack, opts SVGOptions) error {
	if opts.Title == "" {
		opts.Title = "Flame graph"
	}
	if opts.CountName == "" {
		opts.CountName = "samples"
	}
	if opts.Width == 0 {
		opts.Width = 1200
	}
	if opts.MinWidth == 0 {
		opts.MinWidth = 0.1
	}
	if opts.Width < 200 || opts.MinWidth < 0 {
		return fmt.Errorf("flame graph: a width of %d px with frames of %g px at least cannot be drawn", opts.Width, opts.MinWidth)
	}
	total, err := Total(stacks)
	if err != nil {
		return fmt.Errorf("flame graph: %w", err)
	}
	isDiff := false
	for _, s := range stacks {
		isDiff = isDiff || s.Before > 0
	}
	if opts.Palette == "" {
		opts.Palette = "hot"
		if isDiff {
			opts.Palette = diffPalette
		}
	}
	colours, err := findPalette(opts.Palette)
	if err != nil {
		return fmt.Errorf("flame graph: %w", err)
	}

	inner := float64(opts.Width - 2*margin)
	d := drawing{
		out:     bufio.NewWriterSize(w, 64<<10),
		opts:    opts,
		colours: colours,
		isDiff:  isDiff,
		inner:   inner,
		pic:     layout(stacks, total, opts.MinWidth/inner),
	}
	d.height = headHeight + d.pic.levels*rowHeight + margin
	if opts.Palette == diffPalette {
		d.colourChanges()
	}
	d.document()
	return d.out.Flush()
}

// drawing is one SVG being written. Errors of the writer stick to out and come
// up when it is flushed.
type drawing struct {
	out     *bufio.Writer
	opts    SVGOptions
	colours palette
	isDiff  bool
	pic     picture
	inner   float64 // width of the graph in pixels
	height  int
	// largest is the largest change of any frame's share, from 0 to 1.
	largest float64
}

func (d *drawing) colourChanges() {
	for _, b := range d.pic.boxes {
		d.largest = max(d.largest, math.Abs(d.change(b)))
	}
}

// change returns how much larger the frame's share of the whole is than before,
// from -1 to 1.
func (d *drawing) change(b box) float64 {
	return share(b.n, d.pic.total) - share(b.before, d.pic.before)
}

func share(n, total int64) float64 {
	if total == 0 {
		return 0
	}
	return float64(n) / float64(total)
}

func (d *drawing) fill(b box) rgb {
	switch {
	case b.level == 0:
		return rootFill
	case d.opts.Palette != diffPalette:
		return d.colours.fill(b.name, b.kernel)
	case d.largest == 0:
		return diffFill(0)
	}
	return diffFill(d.change(b) / d.largest)
}

func (d *drawing) document() {
	title := svg.Clean(d.opts.Title, maxLabel)
	fmt.Fprintf(d.out, `<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" version="1.1" class="flame" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d">
<title>`, d.opts.Width, d.height)
	d.text(title)
	d.out.WriteString("</title>\n<style>\n")
	d.out.WriteString(style)
	d.out.WriteString("</style>\n")
	d.out.WriteString(`<rect class="page" width="100%" height="100%"/>` + "\n")
	if d.pic.total == 0 {
		fmt.Fprintf(d.out, `<text class="empty" x="%d" y="%d">No %s.</text>`+"\n", margin, headHeight, svg.Escape(d.countName()))
	} else {
		d.frames()
	}
	d.head(title)
	d.out.WriteString("<script>\n<![CDATA[\n")
	d.out.WriteString(script)
	d.out.WriteString("]]>\n</script>\n</svg>\n")
}

func (d *drawing) countName() string { return svg.Clean(d.opts.CountName, 60) }

// frames writes the graph: a group per level from the root, in it a rectangle
// per frame, with its place in percent of the width, so that it needs no script
// to fit. data-x and data-n are its counts: the left edge and the width.
func (d *drawing) frames() {
	fmt.Fprintf(d.out, `<svg class="graph" x="%d" width="%d" height="%d">`+"\n", margin, d.opts.Width-2*margin, d.height)
	fmt.Fprintf(d.out, `<g class="frames" data-row="%d">`+"\n", rowHeight)
	level := -1
	for _, b := range d.pic.boxes {
		if b.level != level {
			if level >= 0 {
				d.out.WriteString("</g>\n")
			}
			level = b.level
			fmt.Fprintf(d.out, `<g transform="translate(0,%d)">`+"\n", d.top(level))
		}
		class := ""
		if share(b.n, d.pic.total)*d.inner < 2 {
			class = ` class="thin"`
		}
		fmt.Fprintf(d.out, `<rect%s x="%s%%" width="%s%%" height="%d" fill="%s" data-x="%d" data-n="%d"><title>`,
			class, d.percent(b.x), d.percent(b.n), rowHeight-frameGap, d.fill(b), b.x, b.n)
		d.tooltip(b)
		d.out.WriteString("</title></rect>\n")
	}
	d.out.WriteString("</g>\n</g>\n" + `<g class="labels">` + "\n")
	for _, b := range d.pic.boxes {
		if label := fit(b.name, share(b.n, d.pic.total)*d.inner); label != "" {
			fmt.Fprintf(d.out, `<text x="%s%%" dx="%d" y="%d">`, d.percent(b.x), textInset, d.top(b.level)+rowHeight-6)
			d.text(label)
			d.out.WriteString("</text>\n")
		}
	}
	d.out.WriteString("</g>\n</svg>\n")
}

// top returns the upper edge of a level: the root is at the bottom.
func (d *drawing) top(level int) int { return d.height - margin - (level+1)*rowHeight }

// percent returns a count as a percentage of the total, precise to a thousandth
// of a pixel.
func (d *drawing) percent(n int64) string {
	return strconv.FormatFloat(math.Round(share(n, d.pic.total)*1e7)/1e5, 'f', -1, 64)
}

// tooltip writes a frame's name on a first line, as in folded stacks, and its
// numbers on a second one. The script relies on the line break: a clean name
// has none.
func (d *drawing) tooltip(b box) {
	d.text(b.name)
	if b.kernel {
		d.out.WriteString(kernelSuffix)
	}
	fmt.Fprintf(d.out, "\n%s %s, %.2f%%", svg.Thousands(b.n), svg.Escape(d.countName()), 100*share(b.n, d.pic.total))
	if d.isDiff {
		fmt.Fprintf(d.out, " (before %.2f%%: %+.2f points)", 100*share(b.before, d.pic.before), 100*d.change(b))
	}
}

// head writes the title, the numbers and the legend. It comes after the graph,
// to lie above it when the script keeps it in view.
func (d *drawing) head(title string) {
	d.out.WriteString(`<g class="head">` + "\n")
	fmt.Fprintf(d.out, `<rect class="page" width="100%%" height="%d"/>`+"\n", headHeight-6)
	fmt.Fprintf(d.out, `<text class="title" x="%d" y="30">`, margin)
	d.text(title)
	d.out.WriteString("</text>\n")
	fmt.Fprintf(d.out, `<svg class="numbers" x="100%%" overflow="visible"><text class="note" x="-%d" y="29" text-anchor="end">`, margin)
	d.text(d.numbers())
	d.out.WriteString("</text></svg>\n")

	const swatchSize, space = 11, 18
	advance := func(s swatch) float64 { return swatchSize + 6 + charWidth*float64(len(s.label)) + space }
	x := float64(space - margin)
	for _, s := range d.colours.legend {
		x -= advance(s)
	}
	d.out.WriteString(`<svg class="legend" x="100%" overflow="visible">` + "\n")
	for _, s := range d.colours.legend {
		fmt.Fprintf(d.out, `<rect x="%.1f" y="%d" width="%d" height="%[3]d" rx="2" fill="%s"/><text class="key" x="%.1f" y="%d">%s</text>`+"\n",
			x, legendTop+4, swatchSize, s.fill, x+swatchSize+6, legendTop+14, s.label)
		x += advance(s)
	}
	d.out.WriteString("</svg>\n")
	fmt.Fprintf(d.out, `<text class="details" x="%d" y="%d"></text>`+"\n</g>\n", margin, headHeight-13)
}

// numbers sums the picture up, and owns up to what is missing from it.
func (d *drawing) numbers() string {
	parts := []string{svg.Thousands(d.pic.total) + " " + d.countName()}
	if d.opts.Subtitle != "" {
		parts = append([]string{svg.Clean(d.opts.Subtitle, 200)}, parts...)
	}
	if d.isDiff {
		parts = append(parts, svg.Thousands(d.pic.before)+" before")
	}
	parts = append(parts, fmt.Sprintf("%s frames", svg.Thousands(int64(len(d.pic.boxes)))))
	if d.pic.narrow > 0 {
		parts = append(parts, fmt.Sprintf("%s too narrow to draw", svg.Thousands(int64(d.pic.narrow))))
	}
	if d.pic.cut > 0 {
		parts = append(parts, fmt.Sprintf("%s %s cut at %s levels", svg.Thousands(d.pic.cut), d.countName(), svg.Thousands(maxLevels)))
	}
	return strings.Join(parts, " · ")
}

func (d *drawing) text(s string) { xml.EscapeText(d.out, []byte(s)) }

// importPath is the part of a Go symbol before the package's name. It says
// least about a frame, and stands where the text is cut last. The script has
// the same expression.
var importPath = regexp.MustCompile(`^(?:[\w.~%-]+/)+`)

// fit shortens a name to a width in pixels: without its import path, then cut;
// empty when there is room for too little.
func fit(name string, width float64) string {
	room := int((width - 2*textInset) / charWidth)
	if room < minChars {
		return ""
	}
	if columns(name) <= room {
		return name
	}
	name = importPath.ReplaceAllString(name, "")
	if columns(name) <= room {
		return name
	}
	used := 0
	for i, r := range name {
		if used += columns(string(r)); used >= room {
			return name[:i] + "…"
		}
	}
	return name
}

// columns returns how many characters' room a text takes. From Hangul Jamo on
// most characters are wide ones; taking them all for such cuts a few early.
func columns(s string) int {
	n := 0
	for _, r := range s {
		if n++; r >= 0x1100 {
			n++
		}
	}
	return n
}
