package engine

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/redscope/redscope/engine/internal/btree"
	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/geohash"
	"github.com/redscope/redscope/engine/internal/pqsort"
)

// Places are members of a sorted set, whose scores are geohashes of 52 bits.

// extractLongLatOrReply reads a longitude and a latitude, or tells the client what is
// wrong with them.
//
//go:noinline
func extractLongLatOrReply(c *client, args [][]byte) (lon, lat float64, ok bool) {
	if lon, ok = doubleArgument(c, args[0], ""); !ok {
		return
	}
	if lat, ok = doubleArgument(c, args[1], ""); !ok {
		return
	}
	if lon < geohash.LongitudeMin || lon > geohash.LongitudeMax || lat < geohash.LatitudeMin || lat > geohash.LatitudeMax {
		addReplyError(c, "invalid longitude,latitude pair "+fixedText(lon, 6)+","+fixedText(lat, 6))
		return 0, 0, false
	}
	return lon, lat, true
}

// fixedText is C's "%.nf".
func fixedText(d float64, n int) string {
	if math.IsInf(d, 0) {
		return string(appendDouble(nil, d))
	}
	return strconv.FormatFloat(d, 'f', n, 64)
}

// extractUnitOrReply reads a unit and returns its metres, or tells the client that it
// is none.
//
//go:noinline
func extractUnitOrReply(c *client, unit []byte) (float64, bool) {
	switch {
	case equalFoldC(unit, "m"):
		return 1, true
	case equalFoldC(unit, "km"):
		return 1000, true
	case equalFoldC(unit, "ft"):
		return 0.3048, true
	case equalFoldC(unit, "mi"):
		return 1609.34, true
	}
	addReplyError(c, "unsupported unit provided. please use M, KM, FT, MI")
	return 0, false
}

// extractDistanceOrReply reads a radius and its unit into shape, or tells the client
// what is wrong with them.
//
//go:noinline
func extractDistanceOrReply(c *client, args [][]byte, shape *geohash.Shape) (ok bool) {
	if shape.Radius, ok = doubleArgument(c, args[0], "need numeric radius"); !ok {
		return false
	}
	if shape.Radius < 0 {
		addReplyError(c, "radius cannot be negative")
		return false
	}
	shape.Circle = true
	shape.Unit, ok = extractUnitOrReply(c, args[1])
	return ok
}

// extractBoxOrReply reads a width, a height and their unit into shape, or tells the
// client what is wrong with them.
//
//go:noinline
func extractBoxOrReply(c *client, args [][]byte, shape *geohash.Shape) (ok bool) {
	if shape.Width, ok = doubleArgument(c, args[0], "need numeric width"); !ok {
		return false
	}
	if shape.Height, ok = doubleArgument(c, args[1], "need numeric height"); !ok {
		return false
	}
	if shape.Width < 0 || shape.Height < 0 {
		addReplyError(c, "height or width cannot be negative")
		return false
	}
	shape.Unit, ok = extractUnitOrReply(c, args[2])
	return ok
}

// decodeGeohash returns the place that a score stands for.
func decodeGeohash(score float64) (lon, lat float64) { return geohash.Decode(scoreBits(score)) }

// scoreBits converts a score to an integer as C on x86-64 does, also one that is no
// geohash.
func scoreBits(score float64) uint64 {
	switch {
	case score >= 1<<63 && score < 1<<64:
		return uint64(score)
	case score > -(1<<63) && score < 1<<63:
		return uint64(int64(score))
	case score >= 1<<64:
		return 0
	}
	return 1 << 63
}

// addReplyDoubleDistance replies with a distance to a tenth of a millimetre, if it is
// in metres.
func addReplyDoubleDistance(c *client, d float64) {
	var text [64]byte
	addReplyBulk(c, strconv.AppendFloat(text[:0], d, 'f', 4, 64))
}

// addReplyPlace replies with a longitude and a latitude.
func addReplyPlace(c *client, lon, lat float64) {
	addReplyArrayLen(c, 2)
	addReplyHumanDouble(c, lon)
	addReplyHumanDouble(c, lat)
}

// addReplyHumanDouble writes a number with up to 17 digits after the point and no
// exponent: a bulk in RESP2.
func addReplyHumanDouble(c *client, d float64) {
	var room [64]byte
	addReplyDoubleText(c, trimHuman(strconv.AppendFloat(room[:0], d, 'f', 17, 64)))
}

func geoaddCommand(c *client) {
	flags, args := zaddFlags(0), c.argv[2:]
options:
	for ; len(args) > 0; args = args[1:] {
		switch opt := args[0]; {
		case equalFoldC(opt, "nx"):
			flags |= zaddNX
		case equalFoldC(opt, "xx"):
			flags |= zaddXX
		case equalFoldC(opt, "ch"):
			flags |= zaddCH
		default:
			break options
		}
	}
	if len(args)%3 != 0 || len(args) == 0 || flags&zaddNX != 0 && flags&zaddXX != 0 {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	scores, members := c.srv.scores[:0], make([][]byte, 0, len(args)/3)
	for ; len(args) > 0; args = args[3:] {
		lon, lat, ok := extractLongLatOrReply(c, args)
		if !ok {
			return
		}
		h, _ := geohash.Encode(lon, lat, geohash.MaxStep)
		scores = append(scores, float64(h.Align52()))
		members = append(members, args[2])
	}
	c.srv.keepScores(scores)
	zaddScores(c, flags, scores, members, 1)
}

func geoposCommand(c *client) {
	v, r, ok := lookupZset(c, c.argv[1])
	if !ok {
		return
	}
	members := c.argv[2:]
	addReplyArrayLen(c, len(members))
	for _, member := range members {
		if score, ok := geoScore(&v, r, member); ok {
			lon, lat := decodeGeohash(score)
			addReplyPlace(c, lon, lat)
		} else {
			addReplyNullArray(c)
		}
	}
}

// geoScore is zsetScore for a sorted set whose entry is r, which may be 0.
func geoScore(v *sortedSet, r dict.Ref, member []byte) (float64, bool) {
	if r == 0 {
		return 0, false
	}
	return zsetScore(v, member)
}

func geodistCommand(c *client) {
	unit, ok := 1.0, true
	switch {
	case len(c.argv) == 5:
		if unit, ok = extractUnitOrReply(c, c.argv[4]); !ok {
			return
		}
	case len(c.argv) > 5:
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	v, ok := zsetOrReply(c, c.argv[1], nullReply(c))
	if !ok {
		return
	}
	from, ok1 := zsetScore(&v, c.argv[2])
	to, ok2 := zsetScore(&v, c.argv[3])
	if !ok1 || !ok2 {
		addReplyNull(c)
		return
	}
	lon1, lat1 := decodeGeohash(from)
	lon2, lat2 := decodeGeohash(to)
	addReplyDoubleDistance(c, geohash.Distance(lon1, lat1, lon2, lat2)/unit)
}

func geohashCommand(c *client) {
	const alphabet = "0123456789bcdefghjkmnpqrstuvwxyz"
	v, r, ok := lookupZset(c, c.argv[1])
	if !ok {
		return
	}
	members := c.argv[2:]
	addReplyArrayLen(c, len(members))
	for _, member := range members {
		score, ok := geoScore(&v, r, member)
		if !ok {
			addReplyNull(c)
			continue
		}
		// Our latitudes end at 85 degrees, those of geohash.org at 90.
		lon, lat := decodeGeohash(score)
		h, _ := geohash.EncodeIn(&geohash.StandardWorld, lon, lat, geohash.MaxStep)
		var text [11]byte
		for i := range text[:10] {
			text[i] = alphabet[h.Bits>>(52-5*(i+1))&31]
		}
		text[10] = alphabet[0] // 52 bits are ten letters, and eleven are expected
		addReplyBulk(c, text[:])
	}
}

// geoPoint is a place that was found.
type geoPoint struct {
	member   []byte // a view
	lon, lat float64
	score    float64
	distance float64 // from the middle, m
}

// geoPoints collects places in a shape.
type geoPoints struct {
	shape  *geohash.Shape
	points []geoPoint
	limit  int // enough; 0 is no limit
}

func (g *geoPoints) full() bool { return g.limit > 0 && len(g.points) >= g.limit }

// geoGetPointsInRange adds the places of v in the shape whose scores are from low up to
// but without high.
//
//go:noinline
func geoGetPointsInRange(g *geoPoints, v *sortedSet, low, high uint64) {
	rank, n := zsetInScoreRange(v, &btree.ScoreRange{Min: float64(low), Max: float64(high), MaxEx: true})
	if n == 0 {
		return
	}
	var i zsetCursor
	for i.from(v, rank); n > 0 && !g.full(); n-- {
		score := i.score()
		lon, lat := decodeGeohash(score)
		if distance, in := g.shape.Contains(lon, lat); in {
			member := i.member()
			if v.z == nil {
				member = bytes.Clone(member) // may be digits in the cursor
			}
			g.points = append(g.points, geoPoint{member, lon, lat, score, distance})
		}
		i.next()
	}
}

// membersOfAllNeighbors adds the places of v in the shape.
//
//go:noinline
func membersOfAllNeighbors(g *geoPoints, v *sortedSet) {
	last := geohash.Hash{}
	for i, h := range g.shape.Cover() {
		// On a large scale neighbours may be the same.
		if h.Step == 0 || h == last {
			continue
		}
		if g.full() {
			return
		}
		after := geohash.Hash{Bits: h.Bits + 1, Step: h.Step}
		geoGetPointsInRange(g, v, h.Align52(), after.Align52())
		if i > 0 {
			last = h
		}
	}
}

// geoOptions are the options of GEOSEARCH and GEORADIUS.
type geoOptions struct {
	withDist, withHash, withCoord bool
	any, asc, desc                bool
	storeDist                     bool
	count                         int64
	store                         []byte
	fromMember, fromLonLat        bool
	byRadius, byBox               bool
}

// geoKind is what the arguments of a command look like.
type geoKind uint8

const (
	geoCoords geoKind = iota // GEORADIUS
	geoMember                // GEORADIUSBYMEMBER
	geoSearch                // GEOSEARCH
)

// longLatFromMember makes a member's place the middle of the shape, or tells the
// client that there is none.
func longLatFromMember(c *client, v *sortedSet, member []byte, shape *geohash.Shape) bool {
	score, ok := zsetScore(v, member)
	if !ok {
		addReplyError(c, "could not decode requested zset member")
		return false
	}
	shape.Lon, shape.Lat = decodeGeohash(score)
	return true
}

// parse reads the options in args, or tells the client what is wrong with them. The
// sorted set v is there when r is not 0.
func (o *geoOptions) parse(c *client, args [][]byte, kind geoKind, canStore bool, v *sortedSet, r dict.Ref, shape *geohash.Shape) (ok bool) {
	search := kind == geoSearch
	for len(args) > 0 {
		used := 1
		switch opt, more := args[0], len(args)-1; {
		case equalFoldC(opt, "withdist"):
			o.withDist = true
		case equalFoldC(opt, "withhash"):
			o.withHash = true
		case equalFoldC(opt, "withcoord"):
			o.withCoord = true
		case equalFoldC(opt, "any"):
			o.any = true
		case equalFoldC(opt, "asc"):
			o.asc, o.desc = true, false
		case equalFoldC(opt, "desc"):
			o.asc, o.desc = false, true
		case equalFoldC(opt, "count") && more > 0:
			if o.count, ok = intArgument(c, args[1]); !ok {
				return false
			}
			if o.count <= 0 {
				addReplyError(c, "COUNT must be > 0")
				return false
			}
			used = 2
		case canStore && !search && more > 0 && equalFoldC(opt, "store"):
			o.store, o.storeDist = args[1], false
			used = 2
		case canStore && !search && more > 0 && equalFoldC(opt, "storedist"):
			o.store, o.storeDist = args[1], true
			used = 2
		case search && more > 0 && !o.fromLonLat && equalFoldC(opt, "frommember"):
			if r != 0 && !longLatFromMember(c, v, args[1], shape) {
				return false
			}
			o.fromMember = true
			used = 2
		case search && more > 1 && !o.fromMember && equalFoldC(opt, "fromlonlat"):
			if shape.Lon, shape.Lat, ok = extractLongLatOrReply(c, args[1:]); !ok {
				return false
			}
			o.fromLonLat = true
			used = 3
		case search && more > 1 && !o.byBox && equalFoldC(opt, "byradius"):
			if !extractDistanceOrReply(c, args[1:], shape) {
				return false
			}
			o.byRadius = true
			used = 3
		case search && more > 2 && !o.byRadius && equalFoldC(opt, "bybox"):
			if !extractBoxOrReply(c, args[1:], shape) {
				return false
			}
			o.byBox = true
			used = 4
		case search && canStore && equalFoldC(opt, "storedist"):
			o.storeDist = true
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return false
		}
		args = args[used:]
	}
	return true
}

// georadiusGeneric is GEORADIUS, GEORADIUSBYMEMBER and GEOSEARCH in all their forms.
// args are the arguments from the key on. With canStore, the places may go into
// another key; that of GEOSEARCHSTORE is store.
//
//go:noinline
func georadiusGeneric(c *client, args [][]byte, kind geoKind, canStore bool, store []byte) {
	v, r, ok := lookupZset(c, args[0])
	if !ok {
		return
	}
	o := geoOptions{store: store}
	var shape geohash.Shape
	options := args[1:]
	switch kind {
	case geoCoords:
		if shape.Lon, shape.Lat, ok = extractLongLatOrReply(c, args[1:]); !ok {
			return
		}
		if !extractDistanceOrReply(c, args[3:], &shape) {
			return
		}
		options = args[5:]
	case geoMember:
		if r != 0 && (!longLatFromMember(c, &v, args[1], &shape) || !extractDistanceOrReply(c, args[2:], &shape)) {
			return
		}
		options = args[4:]
	}
	if !o.parse(c, options, kind, canStore, &v, r, &shape) {
		return
	}
	switch {
	case o.store != nil && (o.withDist || o.withHash || o.withCoord):
		what := "STORE option in GEORADIUS"
		if store != nil {
			what = "GEOSEARCHSTORE"
		}
		addReplyErrorFormat(c, "%s is not compatible with WITHDIST, WITHHASH and WITHCOORD options", what)
		return
	case kind == geoSearch && !o.fromMember && !o.fromLonLat:
		addReplyErrorFormat(c, "exactly one of FROMMEMBER or FROMLONLAT can be specified for %s", cString(c.argv[0]))
		return
	case kind == geoSearch && !o.byRadius && !o.byBox:
		addReplyErrorFormat(c, "exactly one of BYRADIUS and BYBOX can be specified for %s", cString(c.argv[0]))
		return
	case o.any && o.count == 0:
		addReplyError(c, "the ANY argument requires COUNT argument")
		return
	}
	g := geoPoints{shape: &shape}
	if r != 0 {
		if o.any {
			g.limit = int(o.count)
		}
		membersOfAllNeighbors(&g, &v)
	}
	// COUNT is about the nearest, if not any will do.
	if o.asc || o.desc || o.count > 0 && !o.any {
		compare := func(a, b *geoPoint) int {
			if o.desc {
				a, b = b, a
			}
			return cmp.Compare(a.distance, b.distance)
		}
		// The other method is Redis's when not all are wanted, which shows in places
		// that are equally far.
		if o.count > 0 && int64(len(g.points)) > o.count {
			pqsort.Sort(g.points, 0, int(o.count)-1, compare)
		} else {
			slices.SortStableFunc(g.points, func(a, b geoPoint) int { return compare(&a, &b) })
		}
	}
	points := g.points
	if o.count > 0 && int64(len(points)) > o.count {
		points = points[:o.count]
	}
	for i := range points {
		points[i].distance /= shape.Unit
	}
	if o.store != nil {
		storePoints(c, &o, points)
		return
	}
	addReplyArrayLen(c, len(points))
	for i := range points {
		o.addReply(c, &points[i])
	}
}

// addReply replies with a place.
func (o *geoOptions) addReply(c *client, p *geoPoint) {
	fields := 1
	for _, with := range []bool{o.withDist, o.withHash, o.withCoord} {
		if with {
			fields++
		}
	}
	if fields > 1 {
		addReplyArrayLen(c, fields)
	}
	addReplyBulk(c, p.member)
	if o.withDist {
		addReplyDoubleDistance(c, p.distance)
	}
	if o.withHash {
		addReplyLongLong(c, int64(scoreBits(p.score)))
	}
	if o.withCoord {
		addReplyPlace(c, p.lon, p.lat)
	}
}

// storePoints puts places into a sorted set, with their geohashes or distances.
func storePoints(c *client, o *geoOptions, points []geoPoint) {
	result := zsetOpResult{dict: dict.New(c.db.arena)}
	for i := range points {
		p := &points[i]
		score := p.score
		if o.storeDist {
			score = p.distance
		}
		if !result.add(p.member, score) {
			result.dict.Clear()
			replyNoMemory(c, result.err)
			return
		}
	}
	if n, ok := result.store(c, o.store); ok && n > 0 {
		c.srv.dirty += int64(n - 1) // Redis counts each place
	}
}

func georadiusCommand(c *client) { georadiusGeneric(c, c.argv[1:], geoCoords, true, nil) }

func georadiusroCommand(c *client) { georadiusGeneric(c, c.argv[1:], geoCoords, false, nil) }

func georadiusbymemberCommand(c *client) { georadiusGeneric(c, c.argv[1:], geoMember, true, nil) }

func georadiusbymemberroCommand(c *client) { georadiusGeneric(c, c.argv[1:], geoMember, false, nil) }

func geosearchCommand(c *client) { georadiusGeneric(c, c.argv[1:], geoSearch, false, nil) }

func geosearchstoreCommand(c *client) {
	georadiusGeneric(c, c.argv[2:], geoSearch, true, c.argv[1])
}
