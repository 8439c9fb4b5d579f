package differential

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/redscope/redscope/internal/wire"
)

// same reports whether two replies to a command are alike, as far as they have to be:
// not in the order of what is kept in no order, not in what is random, not in times
// that depend on when a command came.
func same(c Command, ours, theirs wire.Reply) bool {
	if ours.Equal(theirs) {
		return true
	}
	name := strings.ToUpper(c[0])
	if name == "SORT" || name == "SORT_RO" {
		// Redis finds this also when errno is left over from an earlier command.
		if strings.HasPrefix(theirs.Text, "ERR One or more scores can't be converted into double") {
			return true
		}
	}
	if ours.Kind != theirs.Kind {
		return false
	}
	switch name {
	case "KEYS", "SMEMBERS", "SINTER", "SUNION", "SDIFF", "HKEYS", "HVALS":
		return sorted(ours, 1).Equal(sorted(theirs, 1))
	case "HGETALL":
		return sorted(ours, 2).Equal(sorted(theirs, 2))
	case "SCAN", "SSCAN", "HSCAN", "ZSCAN":
		if len(ours.Items) != 2 || len(theirs.Items) != 2 {
			return false
		}
		if !slices.Contains(c, everything) {
			return true // what a step of the scan covers is each server's affair
		}
		group := 1
		if name == "HSCAN" || name == "ZSCAN" {
			group = 2
		}
		return ours.Items[0].Equal(theirs.Items[0]) && sorted(ours.Items[1], group).Equal(sorted(theirs.Items[1], group))
	case "RANDOMKEY", "SPOP", "SRANDMEMBER", "HRANDFIELD", "ZRANDMEMBER":
		return sameShape(ours, theirs)
	case "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME":
		return near(ours.Text, theirs.Text)
	case "GEODIST", "GEOSEARCH", "GEORADIUS", "GEORADIUS_RO", "GEORADIUSBYMEMBER", "GEORADIUSBYMEMBER_RO":
		return sameDistances(ours, theirs)
	case "SORT", "SORT_RO":
		// Elements may be equal, by something else or up to a NUL, and the sort is not
		// stable.
		some := slices.ContainsFunc(c, func(a string) bool { return strings.EqualFold(a, "limit") })
		return !some && sorted(ours, 1).Equal(sorted(theirs, 1))
	case "HELLO":
		return len(ours.Items) == len(theirs.Items) // among them the client's id
	case "XPENDING", "XINFO":
		return maskTimes(ours).Equal(maskTimes(theirs))
	}
	return false
}

// sorted puts the items of a reply, in groups of n, in order.
func sorted(v wire.Reply, n int) wire.Reply {
	groups := slices.Collect(slices.Chunk(v.Items, n))
	slices.SortFunc(groups, func(a, b []wire.Reply) int { return strings.Compare(a[0].String(), b[0].String()) })
	v.Items = slices.Concat(groups...)
	return v
}

// sameShape compares all but the texts.
func sameShape(a, b wire.Reply) bool {
	return a.Kind == b.Kind && slices.EqualFunc(a.Items, b.Items, sameShape)
}

// sameDistances compares replies whose distances may differ in the last of their four
// digits: far away that is what the C library's sine is not exact by.
func sameDistances(a, b wire.Reply) bool {
	if a.Kind == b.Kind && a.Kind == '$' && a.Text != b.Text {
		x, err1 := strconv.ParseFloat(a.Text, 64)
		y, err2 := strconv.ParseFloat(b.Text, 64)
		return err1 == nil && err2 == nil && math.Abs(x-y) < 0.00011
	}
	return a.Kind == b.Kind && a.Text == b.Text && slices.EqualFunc(a.Items, b.Items, sameDistances)
}

// near compares times in s or ms.
func near(a, b string) bool {
	x, err1 := strconv.ParseInt(a, 10, 64)
	y, err2 := strconv.ParseInt(b, 10, 64)
	return err1 == nil && err2 == nil && x > 10 && y > 10 && max(x-y, y-x) < 10000
}

// maskTimes takes out what XPENDING and XINFO tell of times.
func maskTimes(v wire.Reply) wire.Reply {
	v.Items = slices.Clone(v.Items)
	for i, item := range v.Items {
		before := ""
		if i > 0 {
			before = v.Items[i-1].Text
		}
		switch {
		case item.Kind == ':' && (before == "idle" || before == "inactive" || before == "seen-time" || before == "active-time"):
			v.Items[i].Text = "time"
		// An entry of a list of pending ones: ID, [consumer,] time, count.
		case item.Kind == ':' && i == len(v.Items)-2 && len(v.Items) <= 4 && v.Items[0].Kind == '$' && strings.Contains(v.Items[0].Text, "-"):
			v.Items[i].Text = "time"
		default:
			v.Items[i] = maskTimes(item)
		}
	}
	return v
}
