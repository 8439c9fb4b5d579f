package geohash

import "math"

// The sine, cosine and arc sine of package math are off by one in the last place in
// one case out of ten, those of the C library that Redis is linked with in one out of
// a hundred, and STOREDIST shows all places. So here they are computed with some
// fifteen bits more than a float64 has, and then rounded.

// double is the sum of two float64, of which lo is the smaller by far.
type double struct{ hi, lo float64 }

// twoSum returns a+b as it is.
func twoSum(a, b float64) double {
	s := a + b
	t := s - a
	return double{s, (a - (s - t)) + (b - t)}
}

// twoProduct returns a*b as it is.
func twoProduct(a, b float64) double {
	p := a * b
	return double{p, math.FMA(a, b, -p)}
}

// halfPi has 159 bits of π/2.
var halfPi = [3]float64{0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54, -0x1.f1976b7ed8fbcp-110}

const (
	steps   = 16  // entries of the table per radian
	farAway = 4.0 // beyond this many radians, which only senseless radii lead to, math will do
)

// angle is an entry of the table: the sine and cosine of i/steps.
type angle struct{ sin, cos double }

// angles covers 0 to π/4, which is 12.6 steps.
var angles = makeAngles()

func makeAngles() (t [14]angle) {
	for i := range t {
		t[i] = angle{series(float64(i)/steps, 1), series(float64(i)/steps, 0)}
	}
	return t
}

// series returns the sum of the Taylor series of the sine, for first 1, or of the
// cosine, for first 0.
func series(x float64, first int) double {
	term := double{1, 0}
	if first == 1 {
		term.hi = x
	}
	sum := term
	for n := first + 1; n < 30; n += 2 {
		// term *= -x²/(n(n+1))
		square := twoProduct(x, x)
		p := twoProduct(term.hi, square.hi)
		p = twoSum(p.hi, p.lo+term.hi*square.lo+term.lo*square.hi)
		d := -float64(n * (n + 1))
		q := p.hi / d
		term = twoSum(q, (math.FMA(-q, d, p.hi)+p.lo)/d)
		s := twoSum(sum.hi, term.hi)
		sum = twoSum(s.hi, s.lo+sum.lo+term.lo)
	}
	return sum
}

// sine returns the sine of x plus so many right angles. x is at most farAway.
func sine(x float64, rightAngles int) double {
	k := math.RoundToEven(x * (2 / math.Pi))
	r := twoSum(x, -k*halfPi[0])
	m := twoSum(r.hi, -k*halfPi[1])
	r = twoSum(m.hi, m.lo+r.lo-k*halfPi[2])

	i := math.RoundToEven(r.hi * steps)
	negative := i < 0
	if negative {
		i, r.hi, r.lo = -i, -r.hi, -r.lo
	}
	at := &angles[int(i)]
	b := r.hi - i/steps // exact
	bb := b * b
	// The sine of b+r.lo is b+small, the cosine 1+less.
	small := r.lo + b*bb*(-1./6+bb*(1./120+bb*(-1./5040+bb*(1./362880-bb/39916800))))
	less := bb*(-1./2+bb*(1./24+bb*(-1./720+bb*(1./40320-bb/3628800)))) - b*r.lo
	quadrant := (int(k) + rightAngles) & 3
	var sum double
	if quadrant&1 == 0 {
		p := twoProduct(at.cos.hi, b)
		sum = twoSum(at.sin.hi, p.hi)
		sum = twoSum(sum.hi, sum.lo+(p.lo+at.sin.lo+at.sin.hi*less+at.cos.hi*small+at.cos.lo*b))
		if negative {
			quadrant ^= 2
		}
	} else {
		p := twoProduct(-at.sin.hi, b)
		sum = twoSum(at.cos.hi, p.hi)
		sum = twoSum(sum.hi, sum.lo+(p.lo+at.cos.lo+at.cos.hi*less-at.sin.hi*small-at.sin.lo*b))
	}
	if quadrant&2 != 0 {
		return double{-sum.hi, -sum.lo}
	}
	return sum
}

func sin(x float64) float64 {
	if x == 0 || !(math.Abs(x) <= farAway) {
		return math.Sin(x)
	}
	return sine(x, 0).hi
}

func cos(x float64) float64 {
	if !(math.Abs(x) <= farAway) {
		return math.Cos(x)
	}
	return sine(x, 1).hi
}

func asin(x float64) float64 {
	y := math.Asin(x)
	slope := math.Cos(y)
	if !(slope > 1e-4) { // too steep, or no number
		return y
	}
	// One step of Newton's method.
	s := sine(y, 0)
	return y + ((x-s.hi)-s.lo)/slope
}
