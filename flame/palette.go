package flame

import (
	"fmt"
	"hash/fnv"
	"math"
	"strings"
)

// A palette gives each frame its colour. Text stands on the colours in nearly
// black, in light and in dark surroundings, so every one must be light enough
// for a contrast of 4.5:1 (WCAG 2.2, level AA); the tests check it.
type palette struct {
	name   string
	fill   func(name string, kernel bool) rgb
	legend []swatch
}

type swatch struct {
	label string
	fill  rgb
}

type rgb struct{ r, g, b uint8 }

func (c rgb) String() string { return fmt.Sprintf("#%02x%02x%02x", c.r, c.g, c.b) }

// hue is a family of colours: hue in degrees, the others from 0 to 1. A name
// picks its shade between the two ends.
type hue struct {
	h0, h1, s0, s1, l0, l1 float64
}

// shade returns the family's colour for a name, the same in every run and every
// picture, so that a function is recognised from one to the next.
func (u hue) shade(name string) rgb {
	h := fnv.New64a()
	h.Write([]byte(name))
	v := h.Sum64()
	// FNV's high bits mix the last bytes poorly: finish as splitmix64 does.
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	v ^= v >> 31
	return u.at(float64(v&0xffff)/0xffff, float64(v>>16&0xffff)/0xffff)
}

// at returns the colour at a (hue, saturation) and b (lightness), each from 0
// to 1.
func (u hue) at(a, b float64) rgb {
	return hsl(u.h0+(u.h1-u.h0)*a, u.s0+(u.s1-u.s0)*a, u.l0+(u.l1-u.l0)*b)
}

func (u hue) middle() rgb { return u.at(0.5, 0.5) }

// hsl converts hue in degrees, saturation and lightness from 0 to 1.
func hsl(h, s, l float64) rgb {
	channel := func(n float64) uint8 {
		k := math.Mod(n+h/30, 12)
		v := l - s*min(l, 1-l)*max(-1, min(k-3, 9-k, 1))
		return uint8(math.Round(v * 255))
	}
	return rgb{channel(0), channel(8), channel(4)}
}

var (
	warm    = hue{12, 50, 0.90, 0.95, 0.62, 0.70}
	wine    = hue{340, 352, 0.55, 0.65, 0.72, 0.79}
	blue    = hue{205, 226, 0.72, 0.92, 0.66, 0.79}
	steel   = hue{250, 264, 0.34, 0.46, 0.73, 0.81}
	green   = hue{96, 148, 0.42, 0.60, 0.58, 0.70}
	olive   = hue{52, 62, 0.42, 0.52, 0.58, 0.68}
	gopher  = hue{186, 198, 0.62, 0.78, 0.58, 0.70}
	library = hue{216, 228, 0.62, 0.76, 0.74, 0.81}
	runtime = hue{262, 280, 0.45, 0.60, 0.77, 0.83}
	amber   = hue{30, 42, 0.80, 0.90, 0.62, 0.70}
)

var (
	rootFill = rgb{0xd5, 0xd9, 0xe0}
	allFills = []palette{
		twoFamilies("hot", warm, wine),
		twoFamilies("io", blue, steel),
		twoFamilies("mem", green, olive),
		{
			name: "go",
			fill: func(name string, kernel bool) rgb { return goFamily(name, kernel).shade(name) },
			legend: []swatch{
				{"program", gopher.middle()}, {"standard library", library.middle()},
				{"Go runtime", runtime.middle()}, {"kernel", amber.middle()},
			},
		},
		{
			name: diffPalette,
			legend: []swatch{
				{"smaller share", diffFill(-1)}, {"unchanged", diffFill(0)}, {"larger share", diffFill(1)},
			},
		},
	}
)

const diffPalette = "diff"

// Palettes returns the names of the palettes: hot (the flames' own colours), io
// (blue), mem (green), go (by origin of the code) and diff (for Diff).
func Palettes() []string {
	var names []string
	for _, p := range allFills {
		names = append(names, p.name)
	}
	return names
}

func findPalette(name string) (palette, error) {
	for _, p := range allFills {
		if p.name == name {
			return p, nil
		}
	}
	return palette{}, fmt.Errorf("no palette is called %q, only %s", name, strings.Join(Palettes(), ", "))
}

func twoFamilies(name string, user, kernel hue) palette {
	return palette{
		name: name,
		fill: func(name string, inKernel bool) rgb {
			if inKernel {
				return kernel.shade(name)
			}
			return user.shade(name)
		},
		legend: []swatch{{"user", user.middle()}, {"kernel", kernel.middle()}},
	}
}

// goFamily tells by a Go symbol where the code comes from. The standard library's
// import paths have no dot in their first element; a symbol without a package is
// taken for the program's own (main's, or one with a plain ELF name).
func goFamily(name string, kernel bool) hue {
	if kernel {
		return amber
	}
	pkg := name
	if i := strings.IndexAny(pkg, "[("); i >= 0 {
		pkg = pkg[:i] // type arguments and receivers hold paths of their own
	}
	slash := strings.LastIndexByte(pkg, '/')
	if dot := strings.IndexByte(pkg[slash+1:], '.'); dot >= 0 {
		pkg = pkg[:slash+1+dot]
	} else if slash < 0 {
		return gopher
	}
	first, _, _ := strings.Cut(pkg, "/")
	switch {
	case first == "runtime" || strings.HasPrefix(pkg, "internal/runtime/") || pkg == "gc":
		return runtime
	case first == "main" || strings.Contains(first, "."):
		return gopher
	}
	return library
}

// diffFill returns the colour of a change from -1 (blue) over 0 (grey) to 1
// (red).
func diffFill(change float64) rgb {
	// The square root keeps small changes visible beside a large one.
	v := math.Sqrt(math.Abs(change))
	if change > 0 {
		return hsl(6, 0.15+0.80*v, 0.90-0.25*v)
	}
	return hsl(217, 0.15+0.80*v, 0.90-0.22*v)
}
