package flame

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// drawn is a rectangle as it stands in the file.
type drawn struct {
	level       int
	x, n        int64
	left, width float64 // percent
	fill        string
	name        string
	title       string
}

// parseSVG reads a picture back with an XML parser that knows nothing of ours.
func parseSVG(t testing.TB, data []byte) (rects []drawn, text string) {
	t.Helper()
	dec := xml.NewDecoder(bytes.NewReader(data))
	var all strings.Builder
	inFrames, level := 0, -1
	inTitle := false
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return rects, all.String()
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch e := tok.(type) {
		case xml.StartElement:
			attr := map[string]string{}
			for _, a := range e.Attr {
				attr[a.Name.Local] = a.Value
			}
			switch {
			case e.Name.Local == "g" && attr["class"] == "frames":
				inFrames = 1
			case inFrames > 0 && e.Name.Local == "g":
				inFrames++
				level++
			case inFrames > 0 && e.Name.Local == "rect":
				d := drawn{level: level, fill: attr["fill"]}
				d.x, _ = strconv.ParseInt(attr["data-x"], 10, 64)
				d.n, _ = strconv.ParseInt(attr["data-n"], 10, 64)
				d.left, _ = strconv.ParseFloat(strings.TrimSuffix(attr["x"], "%"), 64)
				d.width, _ = strconv.ParseFloat(strings.TrimSuffix(attr["width"], "%"), 64)
				rects = append(rects, d)
			case inFrames > 0 && e.Name.Local == "title":
				inTitle = true
			}
		case xml.EndElement:
			inTitle = false
			if inFrames > 0 && e.Name.Local == "g" {
				inFrames--
			}
		case xml.CharData:
			if inTitle {
				r := &rects[len(rects)-1]
				r.title += string(e)
				r.name, _, _ = strings.Cut(r.title, "\n")
			}
			all.Write(e)
		}
	}
}

func draw(t testing.TB, stacks []Stack, opts SVGOptions) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := WriteSVG(&out, stacks, opts); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Every frame lies within one of the level below, none overlaps another, and a
// name's width on a level is the number of samples that have it there.
func TestSVGGeometry(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 60 {
		var stacks []Stack
		for range 1 + rng.IntN(60) {
			s := Stack{Count: rng.Int64N(1000)}
			for range rng.IntN(12) {
				s.Frames = append(s.Frames, Frame{Name: string(rune('a' + rng.IntN(4))), Kernel: rng.IntN(5) == 0})
			}
			stacks = append(stacks, s)
		}
		total, err := Total(stacks)
		if err != nil {
			t.Fatal(err)
		}
		type place struct {
			level int
			name  string
		}
		want := map[place]int64{{0, "all"}: total}
		for _, s := range stacks {
			for i, f := range s.Frames {
				name := f.Name
				if f.Kernel {
					name += "_[k]"
				}
				want[place{i + 1, name}] += s.Count
			}
		}
		// Frames with a count of 0 have no width.
		for k, n := range want {
			if n == 0 {
				delete(want, k)
			}
		}
		// The narrowest frame of these has a share of 1 in 60,000.
		rects, _ := parseSVG(t, draw(t, stacks, SVGOptions{MinWidth: 1e-9}))
		got := map[place]int64{}
		for i, r := range rects {
			got[place{r.level, r.name}] += r.n
			if math.Abs(r.left-100*float64(r.x)/float64(total)) > 1e-4 || math.Abs(r.width-100*float64(r.n)/float64(total)) > 1e-4 {
				t.Fatalf("round %d: %+v is not where its counts are", round, r)
			}
			if r.level == 0 {
				continue
			}
			if p := rects[i-1]; p.level == r.level && p.x+p.n > r.x {
				t.Fatalf("round %d: %+v overlaps %+v", round, r, p)
			}
			inside := false
			for _, p := range rects {
				inside = inside || p.level == r.level-1 && p.x <= r.x && p.x+p.n >= r.x+r.n
			}
			if !inside {
				t.Fatalf("round %d: %+v lies within no frame below", round, r)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("round %d: got %v, want %v", round, got, want)
		}
	}
}

func TestSVGNarrowFramesKeepTheirCount(t *testing.T) {
	stacks := []Stack{{Frames: frames("main", "big"), Count: 1_000_000}}
	for i := range 50 {
		stacks = append(stacks, Stack{Frames: frames("main", fmt.Sprintf("small%d", i)), Count: 1})
	}
	rects, text := parseSVG(t, draw(t, stacks, SVGOptions{}))
	if len(rects) != 3 || rects[1].name != "main" || rects[1].n != 1_000_050 || rects[2].n != 1_000_000 {
		t.Errorf("got %+v, want all, main with everything, and big", rects)
	}
	if !strings.Contains(text, "50 too narrow to draw") {
		t.Error("nothing says that 50 frames are missing")
	}
}

func TestSVGHostileNames(t *testing.T) {
	names := []string{
		`</title></rect><script>alert(1)</script>`, `]]>`, `" onload="alert(1)`, `a'b&amp;c<d>`, "bell\a\x00nul\x1b[31m",
		"bad\xff\xfeutf8", "two\nlines\ttab", "\u202egnp.exe", "noncharacter\uffff\ufffe", "日本語🙂",
		"pkg.F[go.shape.struct { " + strings.Repeat("A github.com/x/y.Z; ", 5000) + "}]",
	}
	for _, name := range names {
		data := draw(t, []Stack{{Frames: []Frame{{Name: name}}, Count: 1}}, SVGOptions{Title: name, Subtitle: name, CountName: name})
		rects, _ := parseSVG(t, data)
		if len(rects) != 2 {
			t.Errorf("%.40q: %d frames", name, len(rects))
			continue
		}
		if strings.Count(string(data), "<script>") != 1 || bytes.Contains(data, []byte("alert(1)</script>")) {
			t.Errorf("%.40q became markup", name)
		}
		if len(data) > 100_000 {
			t.Errorf("%.40q takes %d bytes", name, len(data))
		}
		clean := rects[1].name
		if strings.ContainsAny(clean, "\x00\a\x1b\u202e") || len([]rune(clean)) > maxLabel+1 {
			t.Errorf("%.40q is shown as %.60q", name, clean)
		}
	}
	rects, _ := parseSVG(t, draw(t, []Stack{{Frames: frames(names[3]), Count: 1}}, SVGOptions{}))
	if rects[1].name != names[3] {
		t.Errorf("%q is shown as %q", names[3], rects[1].name)
	}
}

// Nothing may be fetched: the file is whole, and may be looked at in private.
func TestSVGIsSelfContained(t *testing.T) {
	data := string(draw(t, readFile(t, "testdata/redis-set.folded"), SVGOptions{Title: "redis-set"}))
	for _, banned := range []string{"href", "url(", "@import", "src="} {
		if strings.Contains(data, banned) {
			t.Errorf("the file holds %q", banned)
		}
	}
	for _, ns := range []string{`"http://www.w3.org/2000/svg"`, `"http://www.w3.org/1999/xhtml"`} {
		data = strings.ReplaceAll(data, ns, "")
	}
	if i := strings.Index(data, "http"); i >= 0 {
		t.Errorf("the file holds an address: %.60q", data[i:])
	}
	if strings.Contains(script, "]]>") || strings.Contains(script, "innerHTML") {
		t.Error("the script ends its own CDATA section, or makes markup of text")
	}
}

func TestSVGOptionErrors(t *testing.T) {
	for name, err := range map[string]error{
		"palette":  WriteSVG(io.Discard, nil, SVGOptions{Palette: "pink"}),
		"width":    WriteSVG(io.Discard, nil, SVGOptions{Width: 10}),
		"negative": WriteSVG(io.Discard, []Stack{{Count: -1}}, SVGOptions{}),
		"overflow": WriteSVG(io.Discard, []Stack{{Count: math.MaxInt64}, {Count: 1}}, SVGOptions{}),
		"writer":   WriteSVG(failingWriter{}, readFile(t, "testdata/redis-set.folded"), SVGOptions{}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := WriteSVG(io.Discard, nil, SVGOptions{Palette: "pink"}); !strings.Contains(err.Error(), "io") {
		t.Errorf("%v: does not name the palettes there are", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestSVGWithoutSamples(t *testing.T) {
	rects, text := parseSVG(t, draw(t, []Stack{{Frames: frames("a")}}, SVGOptions{}))
	if len(rects) != 0 || !strings.Contains(text, "No samples.") {
		t.Errorf("%d frames, and no word about it", len(rects))
	}
}

func TestDiff(t *testing.T) {
	before := []Stack{
		{Frames: []Frame{{Name: "main", Addr: 1}, {Name: "get", Addr: 2}}, Count: 50},
		{Frames: frames("main", "set"), Count: 30},
		{Frames: frames("main", "gone"), Count: 20},
	}
	after := []Stack{ // twice as long
		{Frames: []Frame{{Name: "main", Addr: 7}, {Name: "get", Addr: 8}}, Count: 100},
		{Frames: frames("main", "set"), Count: 20},
		{Frames: frames("main", "new"), Count: 80},
	}
	rects, _ := parseSVG(t, draw(t, Diff(before, after), SVGOptions{}))
	want := map[string]struct {
		n     int64
		title string
		tint  int // sign of red minus blue
	}{
		"main": {200, "200 samples, 100.00% (before 100.00%: +0.00 points)", 0},
		"get":  {100, "100 samples, 50.00% (before 50.00%: +0.00 points)", 0},
		"set":  {20, "20 samples, 10.00% (before 30.00%: -20.00 points)", -1},
		"new":  {80, "80 samples, 40.00% (before 0.00%: +40.00 points)", 1},
	}
	for _, r := range rects[1:] {
		w, ok := want[r.name]
		if !ok {
			t.Errorf("%q should not be drawn", r.name)
			continue
		}
		delete(want, r.name)
		c := parseColour(t, r.fill)
		tint := 0
		if d := int(c.r) - int(c.b); d > 30 {
			tint = 1
		} else if d < -30 {
			tint = -1
		}
		if _, numbers, _ := strings.Cut(r.title, "\n"); r.n != w.n || numbers != w.title || tint != w.tint {
			t.Errorf("%s: %d, %q, %s; want %+v", r.name, r.n, numbers, r.fill, w)
		}
	}
	if len(want) > 0 {
		t.Errorf("not drawn: %v", want)
	}
	// Red and blue say nothing without two profiles, but must not fail either.
	draw(t, after, SVGOptions{Palette: "diff"})
	draw(t, Diff(nil, after), SVGOptions{Palette: "diff"})
	draw(t, Diff(before, nil), SVGOptions{})
}

func TestMergeAddsEqualStacksOnly(t *testing.T) {
	a := []Frame{{Name: "f", Addr: 1}}
	get := []Label{{"command", "GET"}}
	got := Merge([]Stack{{a, 1, 2, nil}, {[]Frame{{Name: "f", Addr: 2}}, 5, 0, nil}, {a, 10, 20, nil}, {nil, 3, 0, nil}, {nil, 4, 0, nil},
		{a, 6, 0, get}, {a, 7, 0, get}, {a, 8, 0, []Label{{"command", "SET"}}}})
	if want := "[{[{f  false 1}] 11 22 []} {[{f  false 2}] 5 0 []} {[] 7 0 []} {[{f  false 1}] 13 0 [{command GET}]} {[{f  false 1}] 8 0 [{command SET}]}]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func parseColour(t testing.TB, s string) (c rgb) {
	t.Helper()
	if _, err := fmt.Sscanf(s, "#%02x%02x%02x", &c.r, &c.g, &c.b); err != nil {
		t.Fatalf("colour %q: %v", s, err)
	}
	return c
}

// contrast is the ratio that WCAG 2.2 defines.
func contrast(a, b rgb) float64 {
	luminance := func(c rgb) float64 {
		linear := func(v uint8) float64 {
			s := float64(v) / 255
			if s <= 0.04045 {
				return s / 12.92
			}
			return math.Pow((s+0.055)/1.055, 2.4)
		}
		return 0.2126*linear(c.r) + 0.7152*linear(c.g) + 0.0722*linear(c.b)
	}
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// Text on frames must be readable (WCAG 2.2 AA: 4.5:1) in every palette, on the
// search's highlight and on the ancestors of a zoomed frame.
func TestContrast(t *testing.T) {
	const ink = ".labels text { fill: #14171c;"
	if !strings.Contains(style, ink) {
		t.Fatalf("the style no longer holds %q", ink)
	}
	text := rgb{0x14, 0x17, 0x1c}
	check := func(what string, c rgb) {
		if ratio := contrast(text, c); ratio < 4.5 {
			t.Errorf("%s: %v has a contrast of %.2f", what, c, ratio)
		}
	}
	for _, selector := range []string{"rect.under { fill: ", "rect.match { fill: "} {
		_, rest, ok := strings.Cut(style, selector)
		if !ok {
			t.Fatalf("the style no longer holds %q", selector)
		}
		check(selector, parseColour(t, rest[:7]))
	}
	check("root", rootFill)
	for _, p := range allFills {
		for i := range 2000 {
			v := float64(i)/1000 - 1
			if p.name == diffPalette {
				check(p.name, diffFill(v))
				continue
			}
			for _, prefix := range []string{"f", "runtime.f", "strings.F", "github.com/a/b.F"} {
				name := prefix + strconv.Itoa(i)
				check(p.name+" "+name, p.fill(name, false))
				check(p.name+" kernel "+name, p.fill(name, true))
			}
		}
	}
	// Text beside the graph, light and dark.
	for _, pair := range [][2]string{{"#ffffff", "#1b1f27"}, {"#ffffff", "#5b6472"}, {"#14171c", "#e8ebf0"}, {"#14171c", "#a3adbb"}, {"#1f242c", "#a3adbb"}} {
		if !strings.Contains(style, pair[0]) || !strings.Contains(style, pair[1]) {
			t.Errorf("the style no longer holds %v", pair)
		}
		if r := contrast(parseColour(t, pair[0]), parseColour(t, pair[1])); r < 4.5 {
			t.Errorf("%v: %.2f", pair, r)
		}
	}
}

func TestPaletteFamilies(t *testing.T) {
	for name, want := range map[string]hue{
		"runtime.mallocgc": runtime, "runtime/internal/atomic.Load": runtime, "internal/runtime/maps.(*Iter).Next": runtime,
		"strings.Index": library, "encoding/json.(*decodeState).value": library,
		"slices.SortFunc[go.shape.[]github.com/x/y.Z]": library,
		"main.main": gopher, "setCommand": gopher, "github.com/redscope/redscope/engine.(*Server).Serve": gopher,
		"example.com/m.Map[go.shape.struct { a/b int }]": gopher,
	} {
		if got := goFamily(name, false); got != want {
			t.Errorf("%s: got hue %v, want %v", name, got.h0, want.h0)
		}
	}
	io, err := findPalette("io")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		name := strconv.Itoa(i)
		if c := io.fill(name, false); c.b <= c.r || c.b < c.g || c != io.fill(name, false) {
			t.Errorf("io gives %v, which is not blue", c)
		}
	}
}

func TestFit(t *testing.T) {
	for _, tc := range []struct {
		name  string
		chars int
		want  string
	}{
		{"setCommand", 10, "setCommand"},
		{"setCommand", 9, "setComma…"},
		{"setCommand", 2, ""},
		{"github.com/redscope/redscope/engine.New", 12, "engine.New"},
		{"github.com/redscope/redscope/engine.New", 6, "engin…"},
		{"日本語の関数", 8, "日本語…"},
		{"日本語の関数", 12, "日本語の関数"},
		{"std::map<a/b>", 6, "std::…"},
	} {
		width := float64(tc.chars)*charWidth + 2*textInset + 0.01
		if got := fit(tc.name, width); got != tc.want {
			t.Errorf("%s in %d: got %q, want %q", tc.name, tc.chars, got, tc.want)
		}
	}
}

// bigProfile has n distinct stacks of up to depth frames, fanning out from a
// common trunk.
func bigProfile(n, depth int) []Stack {
	rng := rand.New(rand.NewPCG(3, 4))
	stacks := make([]Stack, n)
	for i := range stacks {
		s := &stacks[i]
		s.Count = 1 + rng.Int64N(20)
		for d := range depth/2 + rng.IntN(depth/2) {
			choices := 1 + d/3
			s.Frames = append(s.Frames, Frame{Name: "github.com/redscope/redscope/engine.function" + strconv.Itoa(d*31+rng.IntN(choices)), Kernel: d > depth*3/4})
		}
	}
	return stacks
}

// Depth and number must not blow up: flat limits, far above what it takes.
func TestSVGLarge(t *testing.T) {
	deep := Stack{Count: 1}
	for i := range 500_000 {
		deep.Frames = append(deep.Frames, Frame{Name: "f" + strconv.Itoa(i%7)})
	}
	for name, stacks := range map[string][]Stack{"deep": {deep}, "many": bigProfile(100_000, 40), "wide": bigProfile(2000, 200)} {
		start := time.Now()
		data := draw(t, stacks, SVGOptions{})
		if len(data) > 16<<20 {
			t.Errorf("%s: %d bytes", name, len(data))
		}
		t.Logf("%s: %d bytes in %v", name, len(data), time.Since(start))
		rects, _ := parseSVG(t, data)
		if len(rects) > maxBoxes {
			t.Errorf("%s: %d frames", name, len(rects))
		}
		if name == "deep" && !bytes.Contains(data, []byte("1 samples cut at 2,000 levels")) {
			t.Error("nothing says that the stack was cut")
		}
	}
}

func BenchmarkWriteSVG(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		stacks := bigProfile(n, 40)
		b.Run(strconv.Itoa(n)+"stacks", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := WriteSVG(io.Discard, stacks, SVGOptions{Palette: "io"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
