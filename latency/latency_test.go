package latency

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var phases = []Phase{{"wait", true}, {"read", false}, {"parse", false}, {"queue", true}, {"call", false}, {"hold", true}, {"write", false}}

const call = 4 // of phases

// at are so many durations of d, in a step as narrow as the kernel's.
func at(d time.Duration, n uint64) Step { return Step{d, d + max(1, d/128), n} }

// times are those of some steps.
func times(steps ...Step) Times {
	t := Times{Steps: steps}
	for _, s := range steps {
		t.Sum += s.middle() * time.Duration(s.Count)
	}
	return t
}

// command is one whose call took the first part of its time, and the reply's hold
// the others.
func command(name string, total ...Step) Command {
	c := Command{Name: name, Calls: 100, Loop: 0.5, Total: times(total...), Phases: make([]Times, len(phases))}
	c.Phases[call] = times(total[0])
	c.Phases[5] = times(total[1:]...)
	return c
}

func page(commands ...Command) Page {
	return Page{Phases: phases, Below: call, Groups: []Group{{"server[1]", []string{"1.0 s", "100 commands/s"}, commands}}, Notes: []string{"7 commands: 1 shown"}}
}

// element is what stands in the file.
type element struct {
	name  string
	attrs map[string]string
	text  string // of it alone
	title string // of its title, if it has one
	in    *element
}

func (e *element) number(t testing.TB, attr string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(e.attrs[attr], 64)
	if err != nil {
		t.Fatalf("%s of %v: %v", attr, e, err)
	}
	return v
}

// draw reads a picture back with an XML parser that knows nothing of ours.
func draw(t testing.TB, p Page) []*element {
	t.Helper()
	var out bytes.Buffer
	if err := WriteSVG(&out, p); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out.Bytes(), []byte("%!")) {
		t.Fatalf("a wrong format: %s", out.Bytes())
	}
	var all []*element
	var open *element
	for dec := xml.NewDecoder(&out); ; {
		token, err := dec.Token()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			open = &element{name: token.Name.Local, attrs: map[string]string{}, in: open}
			for _, a := range token.Attr {
				open.attrs[a.Name.Local] = a.Value
			}
			all = append(all, open)
		case xml.EndElement:
			if open.name == "title" {
				open.in.title = open.text
			}
			open = open.in
		case xml.CharData:
			if open != nil {
				open.text += string(token)
			}
		}
	}
}

// ofClass are the elements of a class.
func ofClass(all []*element, class string) []*element {
	var found []*element
	for _, e := range all {
		if e.attrs["class"] == class {
			found = append(found, e)
		}
	}
	return found
}

func texts(all []*element, class string) []string {
	var found []string
	for _, e := range ofClass(all, class) {
		found = append(found, e.text)
	}
	return found
}

// ruler measures durations by the labels of the drawn axis.
func ruler(t *testing.T, all []*element) func(time.Duration) float64 {
	t.Helper()
	var x, logs []float64
	for _, e := range ofClass(all, "small middle") {
		d, err := time.ParseDuration(strings.ReplaceAll(e.text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		x, logs = append(x, e.number(t, "x")), append(logs, math.Log10(float64(d)))
	}
	first, last := slices.Index(x, slices.Min(x)), slices.Index(x, slices.Max(x))
	perDecade := (x[last] - x[first]) / (logs[last] - logs[first])
	on := func(log float64) float64 { return x[first] + (log-logs[first])*perDecade }
	for i := range x {
		if math.Abs(on(logs[i])-x[i]) > 0.1 {
			t.Errorf("the label of 10^%g ns is at %g, on a logarithmic axis it is at %g", logs[i], x[i], on(logs[i]))
		}
	}
	return func(d time.Duration) float64 { return on(math.Log10(float64(d))) }
}

// column is a part of a distribution.
type column struct{ left, right, height float64 } // its height is negative below the base line

var (
	pathStart = regexp.MustCompile(`^M([\d.]+) ([\d.]+)((?:V[\d.]+h[\d.]+)+)V([\d.]+)z$`)
	pathStep  = regexp.MustCompile(`V([\d.]+)h([\d.]+)`)
)

// columns reads the distributions of a picture.
func columns(t *testing.T, all []*element) (found []column) {
	t.Helper()
	for _, e := range all {
		m := pathStart.FindStringSubmatch(e.attrs["d"])
		if m == nil {
			continue
		}
		x, _ := strconv.ParseFloat(m[1], 64)
		if m[2] != m[4] {
			t.Errorf("%s does not end on its base line", m[0])
		}
		base, _ := strconv.ParseFloat(m[2], 64)
		for _, s := range pathStep.FindAllStringSubmatch(m[3], -1) {
			y, _ := strconv.ParseFloat(s[1], 64)
			width, _ := strconv.ParseFloat(s[2], 64)
			found = append(found, column{x, x + width, base - y})
			x += width
		}
	}
	return found
}

// What lasted so long stands there on the axis, and higher the more of it there is.
func TestPlacesAndHeights(t *testing.T) {
	steps := []Step{at(300, 7), at(20*time.Microsecond, 2_000_000), at(time.Millisecond, 40), at(30*time.Millisecond, 1), at(4*time.Second, 2)}
	all := draw(t, page(command("SET", steps...)))
	x := ruler(t, all)
	height := map[uint64]float64{}
	for _, c := range columns(t, all) {
		if c.height < 0 {
			if on := x(steps[0].middle()); c.left > on || c.right < on {
				t.Errorf("the call is between %g and %g, not at %g", c.left, c.right, on)
			}
			continue
		}
		found := false
		for _, s := range steps {
			if on := x(s.middle()); c.left <= on && on <= c.right {
				height[s.Count], found = c.height, true
			}
		}
		if !found {
			t.Errorf("nothing lasted as long as %v says", c)
		}
	}
	last := 1.0 // that a single one is at least, in pixels
	for _, n := range []uint64{1, 2, 7, 40, 2_000_000} {
		if height[n] <= last {
			t.Errorf("%d are %g px high, fewer %g px", n, height[n], last)
		}
		last = height[n]
	}
}

// Where steps are wider than columns, no gap is between neighbours, and nothing
// is lost.
func TestColumnsHoldEveryCount(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var steps []Step
		sum := 0.0
		for d := time.Duration(rng.IntN(3)); d < 200; d++ {
			n := uint64(1 + rng.IntN(1000))
			steps, sum = append(steps, Step{d, d + 1, n}), sum+float64(n)
		}
		a := newAxis(steps[0].From, time.Duration(1000+rng.IntN(1e9)))
		got := 0.0
		for i, n := range a.columns(Times{Steps: steps}) {
			if got += n; n == 0 && got > 0 && got < sum-0.5 {
				t.Fatalf("column %d of %v is empty", i, a)
			}
		}
		if math.Abs(got-sum) > 1e-6*sum {
			t.Fatalf("%g of %g are in the columns", got, sum)
		}
	}
}

// The shades change behind p99 and p99.9, wherever a step is in its column.
func TestShades(t *testing.T) {
	for _, d := range []time.Duration{1, 3, 17, 40, 130, 1300, 77_000} {
		all := draw(t, page(command("GET", at(d, 98_990), at(1000*d, 1000), at(30_000*d, 10))))
		got := map[string][]string{}
		for _, class := range []string{"body", "rare", "rarest"} {
			for _, e := range ofClass(all, class) {
				if e.name == "path" && strings.HasPrefix(e.title, "total") {
					n, _, _ := strings.Cut(strings.TrimPrefix(e.title, "total: "), " ")
					got[class] = append(got[class], n)
				}
			}
		}
		want := map[string][]string{"body": {"98,990", "1,000"}, "rarest": {"10"}}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v: %v, want %v", d, got, want)
		}
	}
}

// The table and the bars say what was measured.
func TestFigures(t *testing.T) {
	c := command("GET", at(100, 500), at(10*time.Microsecond, 485), at(time.Millisecond, 14), at(time.Second, 1))
	c.Errors = 0.25
	all := draw(t, page(c))
	want := []string{"100ns", "1.00ms", "1.00ms", "1.00s", "100ns", "100ns", "100ns", "100ns"}
	if got := texts(all, "number"); !slices.Equal(got, want) {
		t.Errorf("the table has %v, want %v", got, want)
	}
	if got := texts(all, "small most right"); !slices.Equal(got, []string{"1.00s"}) {
		t.Errorf("the longest is marked %v", got)
	}
	if got := texts(all, "small errors"); !slices.Equal(got, []string{"0.2/s errors"}) {
		t.Errorf("errors: %v", got)
	}
	// The mean of 500 holds is (485×10.04µs + 14×1.004ms + 1.004s) / 500.
	var bars []string
	for _, e := range ofClass(all, "phase") {
		if e.title != "" {
			bars = append(bars, strings.Join(strings.Fields(e.title)[:3], " "))
		}
	}
	if want := []string{"mean call 100ns", "mean hold 2.05ms", "p99.9 call 100ns", "p99.9 hold 1.00s"}; !slices.Equal(bars, want) {
		t.Errorf("the bars have %v, want %v", bars, want)
	}
}

// A phase of three quarters of the time has three quarters of the bar.
func TestBars(t *testing.T) {
	var parts []*element
	for _, e := range ofClass(draw(t, page(command("GET", at(3000, 1), at(1000, 1)))), "phase") {
		if strings.HasPrefix(e.title, "mean") {
			parts = append(parts, e)
		}
	}
	left, gap := parts[0].number(t, "x"), 1.0
	middle, right := parts[1].number(t, "x"), parts[1].number(t, "x")+parts[1].number(t, "width")
	if len(parts) != 2 || math.Abs(left+parts[0].number(t, "width")+gap-middle) > 0.1 || math.Abs((middle-left)/(right+gap-left)-0.75) > 0.01 {
		t.Errorf("%d parts, from %g to %g to %g", len(parts), left, middle, right)
	}
}

// Every command is in the picture, drawn or named; so is what there is not.
func TestAllCommands(t *testing.T) {
	for _, n := range []int{0, 1, MostCommands, MostCommands + 1, 40, 400} {
		var commands []Command
		for i := range n {
			commands = append(commands, command(fmt.Sprintf("COMMAND%d", i), at(time.Duration(100+i), 5), at(time.Millisecond, 1)))
		}
		p := page(commands...)
		p.Groups = append(p.Groups, Group{Name: "other[2]", Commands: []Command{{Name: "(unknown)", Errors: 3, Loop: -1}}})
		all := draw(t, p)
		whole := strings.Join(texts(all, ""), " ")
		names := texts(all, "name")
		for i := range n {
			name := fmt.Sprintf("COMMAND%d", i)
			if drawn := slices.Contains(names, name); drawn != (i < MostCommands) || !drawn && !strings.Contains(whole, name+" 100/s, max 1.00ms") {
				t.Errorf("of %d commands %s is missing", n, name)
			}
		}
		if !slices.Contains(names, "(unknown)") || !slices.Contains(texts(all, "small"), "not timed") || !slices.Contains(texts(all, "title"), "other[2]") {
			t.Errorf("the other server is missing: %v", names)
		}
		if empty := strings.Contains(whole, "No commands."); empty != (n == 0) {
			t.Errorf("%d commands: says that there are none: %v", n, empty)
		}
		if !strings.Contains(whole, "7 commands: 1 shown") {
			t.Error("the note is missing")
		}
	}
}

func TestSelfContained(t *testing.T) {
	var out bytes.Buffer
	if err := WriteSVG(&out, page(command("GET", at(100, 5)))); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(out.String(), `"http://www.w3.org/2000/svg"`, "")
	for _, banned := range []string{"href", "url(", "@import", "src=", "http", "script"} {
		if strings.Contains(text, banned) {
			t.Errorf("the file holds %q", banned)
		}
	}
	if err := WriteSVG(failingWriter{}, page()); err == nil {
		t.Error("a writer's error is not told")
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// Whatever the names and the figures are, the file is XML with our elements alone,
// and has no place that is not a number.
func FuzzWriteSVG(f *testing.F) {
	f.Add("GET", uint64(3), int64(100), int64(20), 5.0)
	f.Add(`</title><script>alert(1)</script>`, uint64(math.MaxUint64), int64(math.MaxInt64), int64(1), math.Inf(1))
	f.Add("]]>\x00\xff\u202e\"&", uint64(1), int64(0), int64(0), math.NaN())
	f.Add(strings.Repeat("word ", 300), uint64(1)<<40, int64(-5), int64(1)<<62, -1.0)
	f.Fuzz(func(t *testing.T, name string, n uint64, from, width int64, rate float64) {
		step := Step{time.Duration(from), time.Duration(from) + time.Duration(width), n}
		c := Command{Name: name, Calls: rate, Errors: rate, Loop: rate, Total: Times{time.Duration(from), []Step{step}}}
		c.Phases = []Times{c.Total, {time.Duration(width), []Step{at(time.Microsecond, n), step}}}
		p := Page{Phases: []Phase{{name, true}, {name, false}}, Below: 1, Notes: []string{name}}
		p.Groups = []Group{{name, []string{name}, append([]Command{c}, slices.Repeat([]Command{{Name: name}}, MostCommands)...)}}
		for _, e := range draw(t, p) {
			if !slices.Contains([]string{"svg", "title", "style", "g", "rect", "path", "text"}, e.name) {
				t.Errorf("an element %q", e.name)
			}
			for attr, v := range e.attrs {
				if attr != "class" && strings.Contains(v, "NaN") || strings.HasPrefix(attr, "on") {
					t.Errorf("%s: %s=%q", e.name, attr, v)
				}
			}
			if !utf8.ValidString(e.text) {
				t.Errorf("%q", e.text)
			}
		}
	})
}

// linear are the components of a colour in linear light, from 0 to 1.
func linear(t *testing.T, colour string) (l [3]float64) {
	t.Helper()
	var c [3]uint8
	if _, err := fmt.Sscanf(colour, "#%02x%02x%02x", &c[0], &c[1], &c[2]); err != nil {
		t.Fatalf("colour %q: %v", colour, err)
	}
	for i, v := range c {
		if s := float64(v) / 255; s <= 0.04045 {
			l[i] = s / 12.92
		} else {
			l[i] = math.Pow((s+0.055)/1.055, 2.4)
		}
	}
	return l
}

// times3 is a matrix times a vector.
func times3(m [3][3]float64, v [3]float64) (r [3]float64) {
	for i, row := range m {
		for j := range row {
			r[i] += row[j] * v[j]
		}
	}
	return r
}

// Text on a phase's colour must be readable (WCAG 2.2, level AA: 4.5:1), and beside
// the graph too, on a light page and on a dark one.
func TestContrast(t *testing.T) {
	check := func(a, b string) {
		luminance := [3][3]float64{{0.2126, 0.7152, 0.0722}}
		x, y := times3(luminance, linear(t, a))[0], times3(luminance, linear(t, b))[0]
		if ratio := (max(x, y) + 0.05) / (min(x, y) + 0.05); ratio < 4.5 {
			t.Errorf("%s on %s: %.2f", a, b, ratio)
		}
	}
	inside := regexp.MustCompile(`\.inside { fill: (#\w+)`).FindStringSubmatch(style)
	for _, c := range slices.Concat(warm, cool) {
		check(inside[1], c)
	}
	pages := regexp.MustCompile(`--page: (#\w+); --text: (#\w+); --muted: (#\w+);.* --error: (#\w+)`).FindAllStringSubmatch(style, -1)
	if len(pages) != 2 {
		t.Fatalf("%d pages", len(pages))
	}
	for _, p := range pages {
		for _, text := range p[2:] {
			check(p[1], text)
		}
	}
}

// Phases stay apart for those who lack one kind of cones, as Machado, Oliveira and
// Fernandes simulate it (2009, severity 1.0): by 10 in CIELAB (1976), which is several
// times what can just be told, and neighbours by 20.
func TestColoursForTheColourBlind(t *testing.T) {
	var colours []string
	for _, e := range ofClass(draw(t, page()), "phase") {
		colours = append(colours, strings.TrimPrefix(e.attrs["style"], "fill:"))
	}
	if len(colours) != len(phases) {
		t.Fatalf("%d colours for %d phases", len(colours), len(phases))
	}
	for eyes, m := range map[string][3][3]float64{
		"all cones":    {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}},
		"protanopia":   {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
		"deuteranopia": {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
		"tritanopia":   {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}},
	} {
		lab := func(colour string) [3]float64 {
			seen := times3(m, linear(t, colour))
			for i := range seen {
				seen[i] = min(1, max(0, seen[i]))
			}
			xyz := times3([3][3]float64{{0.4124, 0.3576, 0.1805}, {0.2126, 0.7152, 0.0722}, {0.0193, 0.1192, 0.9505}}, seen)
			for i, white := range []float64{0.9505, 1, 1.089} {
				xyz[i] = math.Cbrt(xyz[i] / white) // these colours are all light
			}
			return [3]float64{116*xyz[1] - 16, 500 * (xyz[0] - xyz[1]), 200 * (xyz[1] - xyz[2])}
		}
		for i, c := range colours {
			for j, other := range colours[:i] {
				a, b, least := lab(c), lab(other), 10.0
				if i == j+1 {
					least = 20
				}
				if d := math.Hypot(math.Hypot(a[0]-b[0], a[1]-b[1]), a[2]-b[2]); d < least {
					t.Errorf("%s: %s and %s differ by %.1f", eyes, phases[j].Name, phases[i].Name, d)
				}
			}
		}
	}
}

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ns", 999: "999ns", 1000: "1.00µs", 1234: "1.23µs", 9994: "9.99µs", 9996: "10.0µs", 12345: "12.3µs", 99949: "99.9µs",
		99960: "100µs", 999499: "999µs", 999500: "1.00ms", 1500 * time.Millisecond: "1.50s", 137 * time.Second: "137s",
	} {
		if got := Format(d); got != want {
			t.Errorf("%d ns: %s, want %s", int64(d), got, want)
		}
	}
}
