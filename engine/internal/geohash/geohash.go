// Package geohash turns places on earth into 52-bit numbers such that places close
// to each other mostly have numbers close to each other, and finds the ranges of
// numbers that cover a circle or a box (Redis's geohash.c and geohash_helper.c).
//
// A geohash interleaves the bits of a latitude (even bits) and a longitude (odd
// bits), each halved step after step. Distances are those on a sphere.
//
// The arithmetic is done in the order that Redis does it in, so that the last bit
// comes out the same. The package must never allocate.
package geohash

import "math"

// The limits of EPSG:900913, in degrees. Beyond them there are no geohashes.
const (
	LongitudeMin, LongitudeMax = -180.0, 180.0
	LatitudeMin, LatitudeMax   = -85.05112878, 85.05112878
)

// MaxStep is how often each coordinate is halved in a full geohash, of 52 bits:
// as many as a double holds exactly, and precise to 0.6 m.
const MaxStep = 26

const (
	earthRadius = 6372797.560856 // metres, the quadratic mean of WGS-84
	mercatorMax = 20037726.37    // metres
)

// Hash is a geohash of 2*Step bits. The zero Hash is none.
type Hash struct {
	Bits uint64
	Step uint8
}

// Area is what a geohash covers, in degrees.
type Area struct{ MinLon, MaxLon, MinLat, MaxLat float64 }

// world is the range that is halved.
var world = Area{LongitudeMin, LongitudeMax, LatitudeMin, LatitudeMax}

// StandardWorld is the range that geohash.org halves.
var StandardWorld = Area{-180, 180, -90, 90}

// Encode returns the geohash of a place; false when there is none.
func Encode(lon, lat float64, step uint8) (Hash, bool) { return EncodeIn(&world, lon, lat, step) }

// EncodeIn is Encode with another range to halve.
func EncodeIn(w *Area, lon, lat float64, step uint8) (Hash, bool) {
	if !(lon >= LongitudeMin && lon <= LongitudeMax && lat >= LatitudeMin && lat <= LatitudeMax) {
		return Hash{}, false
	}
	cells := float64(uint64(1) << step)
	x := (lat - w.MinLat) / (w.MaxLat - w.MinLat)
	y := (lon - w.MinLon) / (w.MaxLon - w.MinLon)
	return Hash{spread(uint32(x*cells)) | spread(uint32(y*cells))<<1, step}, true
}

// FromBits returns a full geohash.
func FromBits(bits uint64) Hash { return Hash{bits, MaxStep} }

// Align52 returns the geohash's bits as the highest of 52.
func (h Hash) Align52() uint64 { return h.Bits << (52 - 2*h.Step) }

// Area returns what the geohash covers.
func (h Hash) Area() Area {
	x, y := gather(h.Bits), gather(h.Bits>>1)
	cells := float64(uint64(1) << h.Step)
	latScale, lonScale := world.MaxLat-world.MinLat, world.MaxLon-world.MinLon
	// The conversions keep a compiler from fusing the product with the sum.
	return Area{
		MinLon: world.MinLon + float64(float64(y)/cells*lonScale),
		MaxLon: world.MinLon + float64(float64(y+1)/cells*lonScale),
		MinLat: world.MinLat + float64(float64(x)/cells*latScale),
		MaxLat: world.MinLat + float64(float64(x+1)/cells*latScale),
	}
}

// Decode returns the middle of what a full geohash covers.
func Decode(bits uint64) (lon, lat float64) {
	a := FromBits(bits).Area()
	lon = min(max((a.MinLon+a.MaxLon)/2, LongitudeMin), LongitudeMax)
	lat = min(max((a.MinLat+a.MaxLat)/2, LatitudeMin), LatitudeMax)
	return lon, lat
}

// spread puts a zero before each bit.
func spread(v uint32) uint64 {
	x := uint64(v)
	x = (x | x<<16) & 0x0000FFFF0000FFFF
	x = (x | x<<8) & 0x00FF00FF00FF00FF
	x = (x | x<<4) & 0x0F0F0F0F0F0F0F0F
	x = (x | x<<2) & 0x3333333333333333
	return (x | x<<1) & 0x5555555555555555
}

// gather takes the even bits out.
func gather(x uint64) uint32 {
	x &= 0x5555555555555555
	x = (x | x>>1) & 0x3333333333333333
	x = (x | x>>2) & 0x0F0F0F0F0F0F0F0F
	x = (x | x>>4) & 0x00FF00FF00FF00FF
	x = (x | x>>8) & 0x0000FFFF0000FFFF
	return uint32(x | x>>16)
}

// neighbour returns the geohash that is so many steps east and north, where the
// world has no end. At its eastern or northern edge a coordinate has a bit too many,
// which stays as long as it does not change.
func (h Hash) neighbour(east, north int) Hash {
	mask := uint32(1)<<h.Step - 1
	x, y := gather(h.Bits), gather(h.Bits>>1)
	if north != 0 {
		x = (x + uint32(north)) & mask
	}
	if east != 0 {
		y = (y + uint32(east)) & mask
	}
	return Hash{spread(x) | spread(y)<<1, h.Step}
}

// Shape is a circle, or a box whose sides run along meridians and parallels. Its
// sizes are in a unit of so many metres.
type Shape struct {
	Lon, Lat float64 // of the middle
	Unit     float64
	Circle   bool
	Radius   float64 // of a circle
	Width    float64 // of a box
	Height   float64
}

// bounds returns the longitudes and latitudes that the shape reaches to.
func (s *Shape) bounds() Area {
	height, width := s.Height/2, s.Width/2
	if s.Circle {
		height, width = s.Radius, s.Radius
	}
	height, width = s.Unit*height, s.Unit*width
	latDelta := degrees(height / earthRadius)
	// A meridian is nearest to the next at the edge that is nearer to the pole, so
	// that the box is widest there.
	edge := s.Lat + latDelta
	if s.Lat < 0 {
		edge = s.Lat - latDelta
	}
	lonDelta := degrees(width / earthRadius / cos(radians(edge)))
	return Area{s.Lon - lonDelta, s.Lon + lonDelta, s.Lat - latDelta, s.Lat + latDelta}
}

// Cover returns geohashes that together cover the shape: the one that the middle
// is in, and those around it, of which any may be none. Some may be the same.
func (s *Shape) Cover() [9]Hash {
	bounds := s.bounds()
	radius := s.Radius
	if !s.Circle {
		radius = math.Sqrt(float64(s.Width/2*(s.Width/2)) + float64(s.Height/2*(s.Height/2)))
	}
	step := estimateStep(radius*s.Unit, s.Lat)
	h, _ := Encode(s.Lon, s.Lat, step)
	// The estimate is too small when the middle is near the edge of its geohash.
	north, south := h.neighbour(0, 1).Area(), h.neighbour(0, -1).Area()
	east, west := h.neighbour(1, 0).Area(), h.neighbour(-1, 0).Area()
	if step > 1 && (north.MaxLat < bounds.MaxLat || south.MinLat > bounds.MinLat || east.MaxLon < bounds.MaxLon || west.MinLon > bounds.MinLon) {
		step--
		h, _ = Encode(s.Lon, s.Lat, step)
	}
	a := h.Area()
	// What is on a side that the shape does not reach is left out.
	few := step >= 2
	noSouth, noNorth := few && a.MinLat < bounds.MinLat, few && a.MaxLat > bounds.MaxLat
	noWest, noEast := few && a.MinLon < bounds.MinLon, few && a.MaxLon > bounds.MaxLon
	// In the order in which Redis searches them, which its replies show.
	order := [9]struct{ east, north int }{{0, 0}, {0, 1}, {0, -1}, {1, 0}, {-1, 0}, {1, 1}, {-1, 1}, {1, -1}, {-1, -1}}
	var cover [9]Hash
	for i, o := range order {
		if noSouth && o.north < 0 || noNorth && o.north > 0 || noWest && o.east < 0 || noEast && o.east > 0 {
			continue
		}
		cover[i] = h.neighbour(o.east, o.north)
	}
	return cover
}

// estimateStep returns a step at which nine geohashes cover a circle of so many
// metres mostly.
func estimateStep(radius, lat float64) uint8 {
	if radius == 0 {
		return MaxStep
	}
	step := 1
	for ; radius < mercatorMax; radius *= 2 {
		step++
	}
	step -= 2
	// Meridians come together towards the poles.
	if lat > 66 || lat < -66 {
		step--
		if lat > 80 || lat < -80 {
			step--
		}
	}
	return uint8(min(max(step, 1), MaxStep))
}

func radians(degrees float64) float64 { return degrees * (math.Pi / 180) }

func degrees(radians float64) float64 { return radians / (math.Pi / 180) }

// Distance returns the metres between two places.
func Distance(lon1, lat1, lon2, lat2 float64) float64 {
	v := sin((radians(lon2) - radians(lon1)) / 2)
	if v == 0 {
		return latDistance(lat1, lat2)
	}
	r1, r2 := radians(lat1), radians(lat2)
	u := sin((r2 - r1) / 2)
	return 2 * earthRadius * asin(math.Sqrt(float64(u*u)+float64(cos(r1)*cos(r2)*v*v)))
}

// latDistance returns the metres between two latitudes on one meridian.
func latDistance(lat1, lat2 float64) float64 {
	return earthRadius * math.Abs(radians(lat2)-radians(lat1))
}

// Contains reports whether a place is in the shape, and returns its distance from
// the middle in metres.
func (s *Shape) Contains(lon, lat float64) (float64, bool) {
	if s.Circle {
		d := Distance(s.Lon, s.Lat, lon, lat)
		return d, d <= s.Radius*s.Unit
	}
	if latDistance(lat, s.Lat) > s.Height*s.Unit/2 || Distance(lon, lat, s.Lon, lat) > s.Width*s.Unit/2 {
		return 0, false
	}
	return Distance(s.Lon, s.Lat, lon, lat), true
}
