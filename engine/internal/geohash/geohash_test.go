package geohash

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestEncode(t *testing.T) {
	for _, c := range []struct {
		lon, lat float64
		bits     uint64
	}{
		{13.361389, 38.115556, 3479099956230698}, // Palermo
		{15.087269, 37.502669, 3479447370796909}, // Catania
		{-180, -85.05112878, 0},
		{0, 0, 3 << 50},
	} {
		h, ok := Encode(c.lon, c.lat, MaxStep)
		if !ok || h.Bits != c.bits || h.Align52() != c.bits {
			t.Errorf("%v %v: %d %v, want %d", c.lon, c.lat, h.Bits, ok, c.bits)
		}
		lon, lat := Decode(h.Bits)
		if math.Abs(lon-c.lon) > 6e-6 || math.Abs(lat-c.lat) > 6e-6 {
			t.Errorf("%v %v decodes to %v %v", c.lon, c.lat, lon, lat)
		}
	}
	for _, p := range [][2]float64{{-180.1, 0}, {180.1, 0}, {0, 85.06}, {0, -85.06}, {math.NaN(), 0}, {0, math.NaN()}} {
		if h, ok := Encode(p[0], p[1], MaxStep); ok {
			t.Errorf("%v has the geohash %v", p, h)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(uint64(0))
	f.Add(^uint64(0))
	f.Fuzz(func(t *testing.T, bits uint64) {
		lon, lat := Decode(bits)
		if !(lon >= LongitudeMin && lon <= LongitudeMax && lat >= LatitudeMin && lat <= LatitudeMax) {
			t.Fatalf("%#x decodes to %v %v", bits, lon, lat)
		}
		if bits >= 1<<52 {
			return
		}
		if h, ok := Encode(lon, lat, MaxStep); !ok || h.Bits != bits {
			t.Fatalf("%#x decodes to %v %v, which encodes to %#x", bits, lon, lat, h.Bits)
		}
	})
}

func TestNeighbours(t *testing.T) {
	h, _ := Encode(13.36, 38.11, 10)
	a := h.Area()
	for east := -1; east <= 1; east++ {
		for north := -1; north <= 1; north++ {
			n := h.neighbour(east, north).Area()
			if math.Abs(n.MinLon-a.MinLon-float64(east)*(a.MaxLon-a.MinLon)) > 1e-9 ||
				math.Abs(n.MinLat-a.MinLat-float64(north)*(a.MaxLat-a.MinLat)) > 1e-9 {
				t.Errorf("%d east, %d north of %v is %v", east, north, a, n)
			}
		}
	}
	corner := Hash{0, 5}
	if n := corner.neighbour(-1, -1); n.Bits != 1<<10-1 {
		t.Errorf("across the edge there is %#x", n.Bits)
	}
}

func TestDistance(t *testing.T) {
	// As redis-server stores them.
	for _, c := range []struct{ lon1, lat1, lon2, lat2, want float64 }{
		{0, 0, 0, 0, 0},
		{0, 10, 0, 11, earthRadius * math.Pi / 180},
		{0, 0, 180, 0, earthRadius * math.Pi},
		{13.361389338970184, 38.115556395496299, 15.087267458438873, 37.50266842333162, 166274.15156960033},
	} {
		if d := Distance(c.lon1, c.lat1, c.lon2, c.lat2); math.Abs(d-c.want) > 1e-9*max(1, c.want) {
			t.Errorf("%v: %.17g", c, d)
		}
	}
}

// What a shape contains is in what covers it.
func TestCover(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	inside := 0
	for range 2000 {
		s := Shape{Lon: rng.Float64()*340 - 170, Lat: rng.Float64()*130 - 65, Unit: 1}
		size := math.Pow(10, 1+rng.Float64()*5)
		if s.Circle = rng.IntN(2) == 0; s.Circle {
			s.Radius = size
		} else {
			s.Width, s.Height = size, size*rng.Float64()
		}
		cover := s.Cover()
		for range 50 {
			lat := s.Lat + (rng.Float64()*2-1)*degrees(size/earthRadius)
			lon := s.Lon + (rng.Float64()*2-1)*degrees(size/earthRadius)/math.Cos(radians(lat))
			h, ok := Encode(lon, lat, MaxStep)
			if !ok {
				continue
			}
			if _, in := s.Contains(lon, lat); !in {
				continue
			}
			inside++
			covered := false
			for _, c := range cover {
				covered = covered || c.Step > 0 && h.Bits>>(2*(MaxStep-c.Step)) == c.Bits
			}
			if !covered {
				t.Fatalf("%v %v is in %+v, and in none of %v", lon, lat, s, cover)
			}
		}
	}
	if inside < 10_000 {
		t.Fatalf("only %d places were tried", inside)
	}
}

// Senseless shapes must not be more than useless.
func TestExtremeShapes(t *testing.T) {
	for _, size := range []float64{0, 1e-300, 1e9, 1e300, math.Inf(1)} {
		for _, lon := range []float64{-180, 0, 180} {
			for _, lat := range []float64{LatitudeMin, -70, 0, 85, LatitudeMax} {
				for _, circle := range []bool{true, false} {
					s := Shape{Lon: lon, Lat: lat, Unit: 1609.34, Circle: circle, Radius: size, Width: size, Height: size}
					s.Cover()
					s.Contains(-lon, -lat)
				}
			}
		}
	}
}

func TestTrigonometry(t *testing.T) {
	near := func(what string, x, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-15*math.Abs(want)+1e-16 {
			t.Errorf("%s(%v) = %v, want %v", what, x, got, want)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		x := (rng.Float64()*2 - 1) * math.Pow(10, rng.Float64()*8-7.4)
		near("sin", x, sin(x), math.Sin(x))
		near("cos", x, cos(x), math.Cos(x))
		if x = math.Abs(x); x <= 1 {
			near("asin", x, asin(x), math.Asin(x))
		}
	}
	// What glibc 2.36 computes, where package math is off by one.
	for _, c := range []struct{ got, want float64 }{
		{sin(.8), 0.71735609089952279}, {sin(1.2), 0.93203908596722629}, {cos(.1), 0.99500416527802582}, {cos(.4), 0.9210609940028851}, {asin(.01), 0.010000166674167114}, {asin(.02), 0.020001333573390491},
	} {
		if c.got != c.want {
			t.Errorf("%.17g, want %.17g", c.got, c.want)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	s := Shape{Lon: 13, Lat: 38, Unit: 1000, Circle: true, Radius: 100}
	if n := testing.AllocsPerRun(100, func() {
		s.Cover()
		s.Contains(13.5, 38.2)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkDistance(b *testing.B) {
	for b.Loop() {
		Distance(13.361389, 38.115556, 15.087269, 37.502669)
	}
}
