package bpf

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/redscope/redscope/engine/probe"
)

// CauseKind says what a part of a slow command's time went to.
type CauseKind string

const (
	CauseOwn     CauseKind = "own"     // a phase of its own, on a CPU; What is the phase
	CauseBehind  CauseKind = "behind"  // other commands, of its turn of the loop or the one before; What is their name
	CauseWork    CauseKind = "work"    // the loop's own; What is a WorkKind
	CauseBlocked CauseKind = "blocked" // within a phase of its own; What is the kind
	CauseQueue   CauseKind = "queue"   // the loop could run, but had no CPU, whosever turn it was; What is the thread that had it last
	CauseStopped CauseKind = "stopped" // by a signal or a debugger, whosever turn it was
	CauseUnknown CauseKind = "unknown" // the loop was on a CPU, and nobody said what for
)

// A Cause is a part of a slow command's time.
type Cause struct {
	Kind CauseKind
	What string
	Time time.Duration

	// Of CauseBehind: who, how many commands, and the first key of the longest.
	Client   uint64
	Commands int
	Key      []byte // its first 32 bytes
	KeyLen   uint32

	Amount int64 // of CauseWork: keys deleted by an expiry, 0 when that is not known

	// Blocked is how much of Time the loop was blocked for, and Function where in the
	// kernel it was for longest.
	Blocked  time.Duration
	Function string

	longest, blockedLongest int64 // ns
	slice                   int   // of work, the last one that was added, plus one
}

// An Explanation says where the time of a slow command went. Those of one name that were
// slow in the same turn are explained together, by the slowest: of one client, as in a
// pipeline, and of several if they had most of all to wait for the same.
type Explanation struct {
	Command CommandRecord
	Total   time.Duration // from its request's arrival to its reply, as far as that is known
	Alike   int           // how many more there were,
	Others  int           // of how many other clients
	Unseen  int           // how often its thread may have been off the CPU without the kernel telling
	Causes  []Cause       // longest first; together they are Total
}

// explainer explains the slow commands of a CommandWatcher.
type explainer struct {
	slower time.Duration
	loop   *loopWatcher
	turns  map[int64]*turn // by wake, those that have not been explained
	before *turn           // the last one that was
}

// turn is a turn of the event loop with a slow command in it, or one before such a turn.
type turn struct {
	records []CommandRecord
	thread  uint32 // whose turn it is, of several that execute commands; else 0
	slow    bool   // one of them is known to be
	replies work   // writing them all, where the records may not tell
	rounds  int    // since the last record came
	from    int64  // the first command's beginning, set by explain
	to      int64  // the last one's end
}

// newExplainer begins to see what keeps a server's event loop from its commands, and
// fills arrivals (c/arrival.h).
func newExplainer(target *process, slower time.Duration, arrivals *ebpf.Map) (*explainer, error) {
	loop, err := startLoopWatcher(target, arrivals)
	return &explainer{slower: slower, loop: loop, turns: map[int64]*turn{}, before: &turn{}}, err
}

// add takes a record, and tells whether it is of a command.
func (e *explainer) add(r *CommandRecord) bool {
	key := r.Wake
	if key == 0 {
		key = -r.Start // a turn of its own
	}
	t := e.turns[key]
	if t == nil {
		t = &turn{thread: r.thread}
		e.turns[key] = t
	}
	t.rounds = 0
	if r.Flags&turnReplies != 0 {
		t.replies = work{kind: WorkReplies, from: r.WriteStart, to: r.WriteEnd}
		return false
	}
	t.records = append(t.records, *r)
	t.slow = t.slow || r.Slow
	return true
}

// Flags of a record in c/commands.h.
const (
	commandNested     = 0x1000
	turnReplies       = 0x2000
	commandParsedLate = 0x4000
	repliesGiven      = 0x8000 // not there: its write is that of all replies of its turn
)

// repliesAwaited is for how many calls of Explain a turn waits for its replies: a
// command may go on for that long behind a slow one.
const repliesAwaited = 500

// Explain explains the slow commands of the turns that are over, in the order of
// their beginning; with all set, of all turns. It needs CommandOptions.Explain. Call
// it after each Drain, and with all after the last.
func (w *CommandWatcher) Explain(all bool) ([]Explanation, error) {
	e := w.why
	var thread uint64
	if err := readVariables(w.coll, map[string]*uint64{turnVarLoopThread: &thread}); err != nil {
		return nil, err
	}
	if err := e.loop.follow(uint32(thread)); err != nil {
		return nil, err
	}
	if err := e.loop.drain(); err != nil {
		return nil, err
	}
	var list []Explanation
	awaits := w.awaitsReplies()
	for _, t := range e.turns {
		t.rounds++
	}
	for _, wake := range slices.Sorted(maps.Keys(e.turns)) {
		t := e.turns[wake]
		if !all && (t.rounds < 2 || awaits && t.slow && wake > 0 && t.replies.to == 0 && t.rounds < repliesAwaited) {
			if wake < 0 {
				continue
			}
			break // those after it may have waited for it
		}
		// A turn of another thread is none before this one.
		of := cmp.Or(t.thread, uint32(thread))
		for _, x := range t.explain(e.before, e.slower, e.loop.waitsOf(of), e.loop.works) {
			x.Unseen = e.loop.unseenIn(of, x.Command.done()-int64(x.Total), x.Command.done())
			list = append(list, x)
		}
		delete(e.turns, wake)
		e.loop.forget(e.before.from)
		if wake > 0 && len(t.records) > 0 && t.thread == 0 {
			e.before = t
		}
	}
	return list, nil
}

// awaitsReplies reports whether the end of each turn comes apart from its records.
func (w *CommandWatcher) awaitsReplies() bool {
	s, ok := w.source.(*callSource)
	return ok && slices.ContainsFunc(s.probes, func(p callProbe) bool { return p.program == callsProgRepliesEnd })
}

func (e *explainer) limitsNow(coll *ebpf.Collection) ([]string, error) {
	var unkept uint64
	if err := readVariables(coll, map[string]*uint64{turnVarLedgerFull: &unkept}); err != nil {
		return nil, err
	}
	limits, err := e.loop.limitsNow()
	if unkept > 0 {
		limits = append(limits, fmt.Sprintf("%d commands came after %d others in their turns: what waited for them may not name them", unkept, ledgerSize))
	}
	return limits, err
}

// ledgerSize is LEDGER in c/ledger.h.
const ledgerSize = 1024

// segment is a time in which the loop did something known: work of its own, a
// command's function, or reading, parsing and writing for a client.
type segment struct {
	from, to int64
	layer    segmentLayer
	of       int   // index of the record, or of the slice of work
	phase    Phase // of a record
}

type segmentLayer int

const (
	layerReplies segmentLayer = iota // whosever they are
	layerSocket
	layerCall
	layerWork // it may be in the middle of a call
)

// piece is a time in which nothing changes.
type piece struct {
	from, to int64
	segment  int // what the loop did, -1 when that is not known
	wait     int // index, -1 when the thread was on a CPU
	queued   bool
}

// explain explains the slow commands of a turn, which may have waited for the turn
// before. waits and works are by their ends.
func (t *turn) explain(before *turn, slower time.Duration, waits []wait, works []work) []Explanation {
	t.giveReplies()
	t.from, t.to = math.MaxInt64, 0
	for i := range t.records {
		t.from, t.to = min(t.from, t.records[i].begin()), max(t.to, t.records[i].done())
	}
	// What the loop did meanwhile, in both turns. Those of this turn come first.
	did := turn{records: t.records}
	if before.to > t.from {
		did.records = slices.Concat(t.records, before.records)
	}
	for _, w := range []work{before.replies, t.replies} {
		if w.to > t.from {
			works = append(slices.Clone(works), w)
		}
	}
	segments := did.segments(works, t.from, t.to)
	pieces := split(segments, waits, t.from, t.to)
	// The slowest of those that are alike.
	type kin struct {
		client uint64
		name   string
		nested bool
	}
	slowest, alike := map[kin]int{}, map[kin]int{}
	for i := range t.records {
		r := &t.records[i]
		if r.total() < slower {
			continue
		}
		k := kin{r.Client, r.Name, r.nested()}
		s := &t.records[slowest[k]]
		if alike[k]++; alike[k] == 1 || cmp.Or(cmp.Compare(r.total(), s.total()), cmp.Compare(r.End-r.Start, s.End-s.Start)) > 0 {
			slowest[k] = i
		}
	}
	var list []Explanation
	for k, i := range slowest {
		list = append(list, Explanation{Command: t.records[i], Total: t.records[i].total(), Alike: alike[k] - 1,
			Causes: did.causes(i, segments, pieces, waits, works)})
	}
	list = together(list)
	slices.SortFunc(list, func(a, b Explanation) int {
		return cmp.Or(cmp.Compare(a.Command.Start, b.Command.Start), cmp.Compare(b.Command.End, a.Command.End))
	})
	return list
}

// together puts those together that had most of all to wait for the same.
func together(list []Explanation) (all []Explanation) {
	slices.SortFunc(list, func(a, b Explanation) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Command.Start, b.Command.Start), cmp.Compare(a.Command.End, b.Command.End))
	})
	for _, e := range list {
		i := slices.IndexFunc(all, func(s Explanation) bool {
			c, d := s.longest(), e.longest()
			return s.Command.Name == e.Command.Name && s.Command.nested() == e.Command.nested() &&
				c.Kind == d.Kind && c.What == d.What && c.Client == d.Client && c.waitedFor()
		})
		if i < 0 {
			all = append(all, e)
			continue
		}
		all[i].Alike += 1 + e.Alike
		all[i].Others++
	}
	return all
}

func (e *Explanation) longest() (c Cause) {
	if len(e.Causes) > 0 {
		c = e.Causes[0]
	}
	return c
}

// waitedFor reports whether it is what others did.
func (c *Cause) waitedFor() bool {
	return c.Kind == CauseBehind || c.Kind == CauseWork || c.Kind == CauseQueue || c.Kind == CauseStopped
}

// nested reports whether another command executed it, in a stock server.
func (r *CommandRecord) nested() bool { return r.Flags&commandNested != 0 }

// total is the time that has to be explained: what comes before a nested command is
// the other one's.
func (r *CommandRecord) total() time.Duration {
	if r.nested() {
		return time.Duration(r.End - r.Start)
	}
	return time.Duration(r.done() - r.begin())
}

// done is the end of what is known of a command.
func (r *CommandRecord) done() int64 { return cmp.Or(r.WriteEnd, r.End) }

// giveReplies enters in the records when the turn's replies were written, where it
// is known of all together only.
func (t *turn) giveReplies() {
	for i := range t.records {
		r := &t.records[i]
		// Without arguments: nothing is known of its reply either.
		if t.replies.to != 0 && r.WriteEnd == 0 && (r.ReplyBytes > 0 || r.Args == 0) && !r.nested() {
			r.WriteStart, r.WriteEnd = t.replies.from, t.replies.to
			r.Flags |= repliesGiven
		}
	}
}

// segments are what the loop did in the turn.
func (t *turn) segments(works []work, from, to int64) []segment {
	var all []segment
	add := func(s segment) {
		if s.from = max(s.from, from); s.from != 0 && s.from < min(s.to, to) {
			all = append(all, s)
		}
	}
	for i, w := range works {
		layer := layerWork
		if w.kind == WorkReplies {
			layer = layerReplies
		}
		add(segment{w.from, w.to, layer, i, 0})
	}
	order := make([]int, len(t.records))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(t.records[a].Start, t.records[b].Start) })
	// What is read, parsed or written for several commands at once is the first's.
	type once struct {
		client uint64
		start  int64
	}
	read, ended, written := map[once]bool{}, map[once]int64{}, map[once]bool{}
	for _, i := range order {
		r := &t.records[i]
		if r.nested() {
			continue
		}
		add(segment{r.Start, r.End, layerCall, i, PhaseCall})
		if r.Flags&probe.CommandBlocked == 0 && r.ReadStart != 0 {
			batch := once{r.Client, r.ReadStart}
			if !read[batch] && r.ReadEnd != 0 {
				add(segment{r.ReadStart, r.ReadEnd, layerSocket, i, PhaseRead})
			}
			// Those before it have been executed meanwhile.
			parsed := cmp.Or(r.Parsed, r.Start)
			if r.Flags&commandParsedLate != 0 {
				parsed = r.Start
			}
			add(segment{max(cmp.Or(r.ReadEnd, r.ReadStart), ended[batch]), parsed, layerSocket, i, PhaseParse})
			read[batch], ended[batch] = true, r.End
		}
		if write := (once{r.Client, r.WriteStart}); r.Flags&repliesGiven == 0 && r.WriteStart != 0 && !written[write] {
			add(segment{r.WriteStart, r.WriteEnd, layerSocket, i, PhaseWrite})
			written[write] = true
		}
	}
	return all
}

// split cuts [from, to) where anything changes. The waits are those of one thread.
func split(segments []segment, waits []wait, from, to int64) []piece {
	bounds := []int64{from, to}
	for _, s := range segments {
		bounds = append(bounds, s.from, s.to)
	}
	next, _ := slices.BinarySearchFunc(waits, from, func(w wait, t int64) int { return cmp.Compare(w.back, t) })
	for _, w := range waits[next:] {
		if w.since >= to {
			break
		}
		bounds = append(bounds, max(w.since, from), max(w.woken, from), w.back)
	}
	slices.Sort(bounds)
	bounds = slices.Compact(bounds)
	order := make([]int, len(segments))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(segments[a].from, segments[b].from) })
	var pieces []piece
	var open []int
	for i, a := range bounds[:len(bounds)-1] {
		if a >= to {
			break
		}
		for len(order) > 0 && segments[order[0]].from <= a {
			open, order = append(open, order[0]), order[1:]
		}
		open = slices.DeleteFunc(open, func(s int) bool { return segments[s].to <= a })
		for next < len(waits) && waits[next].back <= a {
			next++
		}
		p := piece{from: a, to: bounds[i+1], segment: -1, wait: -1}
		for _, s := range open {
			if p.segment < 0 || segments[s].before(&segments[p.segment]) {
				p.segment = s
			}
		}
		if next < len(waits) && waits[next].since <= a {
			p.wait, p.queued = next, waits[next].woken <= a
		}
		pieces = append(pieces, p)
	}
	return pieces
}

// before reports whether s is what the loop did when both last: the innermost work,
// else the outermost command.
func (s *segment) before(other *segment) bool {
	switch {
	case s.layer != other.layer:
		return s.layer > other.layer
	case s.layer == layerCall:
		return s.from < other.from || s.from == other.from && s.to > other.to
	}
	return s.from > other.from || s.from == other.from && s.to < other.to
}

// causes shares the time of a record out.
func (t *turn) causes(victim int, segments []segment, pieces []piece, waits []wait, works []work) []Cause {
	r := &t.records[victim]
	done := r.done()
	begin := done - int64(r.total())
	type key struct {
		kind   CauseKind
		what   string
		client uint64
	}
	causes := map[key]*Cause{}
	counted := make([]bool, len(t.records))
	first, _ := slices.BinarySearchFunc(pieces, begin, func(p piece, t int64) int { return cmp.Compare(p.to, t+1) })
	for _, p := range pieces[first:] {
		if p.from >= done {
			break
		}
		from, to := max(p.from, begin), min(p.to, done)
		k := key{kind: CauseUnknown}
		var s *segment
		if p.segment >= 0 {
			s = &segments[p.segment]
		}
		var other *CommandRecord
		switch {
		case s != nil && (s.layer == layerWork || s.layer == layerReplies):
			k = key{kind: CauseWork, what: works[s.of].kind.String()}
		case r.nested():
			k = key{kind: CauseOwn, what: PhaseCall.String()}
		case s == nil:
		case s.of == victim || s.layer == layerSocket && t.records[s.of].Client == r.Client && (s.phase == PhaseWrite || t.records[s.of].ReadStart == r.ReadStart):
			k = key{kind: CauseOwn, what: s.phase.String()}
		default:
			other = &t.records[s.of]
			k = key{CauseBehind, other.Name, other.Client}
		}
		off := blocked{}
		if p.wait >= 0 && !p.queued {
			off = waits[p.wait].blocked
		}
		switch {
		case p.queued:
			k, s, other = key{kind: CauseQueue, what: waits[p.wait].cpuHad}, nil, nil
		case off.kind == "stopped":
			k, s, other = key{kind: CauseStopped}, nil, nil
		case off.kind != "" && (k.kind == CauseOwn || k.kind == CauseUnknown):
			k = key{kind: CauseBlocked, what: off.kind}
		}
		c := causes[k]
		if c == nil {
			c = &Cause{Kind: k.kind, What: k.what, Client: k.client}
			causes[k] = c
		}
		c.Time += time.Duration(to - from)
		if off.kind != "" {
			c.Blocked += time.Duration(to - from)
			if to-from > c.blockedLongest {
				c.blockedLongest, c.Function = to-from, off.function
			}
		}
		if other != nil {
			if !counted[s.of] {
				counted[s.of] = true
				c.Commands++
			}
			if call := other.End - other.Start; call > c.longest || c.Commands == 1 && c.Key == nil {
				c.longest, c.Key, c.KeyLen = call, other.FirstKey(), other.KeyLen
			}
		}
		if k.kind == CauseWork && c.slice != s.of+1 {
			c.slice = s.of + 1
			c.Amount += works[s.of].amount
		}
	}
	list := make([]Cause, 0, len(causes))
	for _, c := range causes {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.What, b.What), cmp.Compare(a.Client, b.Client))
	})
	return list
}
