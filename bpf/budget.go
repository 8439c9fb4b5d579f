package bpf

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Shed is how much of what could be seen is given up to keep to a budget.
type Shed int

const (
	ShedNothing Shed = iota
	ShedPhases       // histograms of call and total only, and no probes for phases alone
	ShedTimes        // no histograms; records of one in N are made rarer
	ShedTime         // as ShedPhases, but looking part of the time only, and rarer records
	ShedLevels  = iota
)

// Budget is what watching has cost the process, and what it did to keep to
// CommandOptions.Budget: Cost/CPU shall not be above that.
//
// Cost is an estimate: the hits of each probe times what a hit of its class cost
// this process when it began, the run time of the programs as the kernel measures
// it, and of a redscope server what its records of commands cost it.
type Budget struct {
	Share float64       // CommandOptions.Budget
	Shed  Shed          // now
	Cost  time.Duration // of the process's processor time
	CPU   time.Duration // that the process has used, user and system, all threads, with Cost
	// Commands are those that Cost was spent on.
	Commands uint64
	Levels   [ShedLevels]time.Duration // how long each level lasted
	Looked   time.Duration             // how long the process was looked at
	Looking  bool                      // now; only with ShedTime it may not be
}

// Elapsed is the time since the watching began.
func (b *Budget) Elapsed() (all time.Duration) {
	for _, d := range b.Levels {
		all += d
	}
	return all
}

// budget keeps to a budget.
type budget struct {
	governor governor
	hit      map[string]time.Duration // by program
	due      time.Time
	last     time.Time     // when it was reckoned
	spell    spell         // up to then, since the governor decided
	began    time.Duration // the process's processor time when the watching began
	over     bool          // detached for good
	state    Budget        // its CPU is the process's, and it has no Commands
}

// What the records of a redscope server cost it: BenchmarkRecords in engine gives
// 109 ns for a command that comes alone in a read, and 32 ns with 16 in a read.
const (
	recordCost = 27 * time.Nanosecond // per command
	readCost   = 82 * time.Nanosecond // per read
)

func newBudget(share float64, classes map[string]Cost) (*budget, error) {
	if !(share > 0 && share <= 1) {
		return nil, fmt.Errorf("a budget of %v: it is a share of the process's processor time, above 0 and at most 1", share)
	}
	prices, err := calibrate(slices.Compact(slices.Sorted(maps.Values(classes))))
	if err != nil {
		return nil, err
	}
	b := &budget{governor: newGovernor(share), hit: map[string]time.Duration{}, state: Budget{Share: share, Looking: true}}
	for program, class := range classes {
		b.hit[program] = prices[class]
	}
	return b, nil
}

// spent is what watching has cost the process so far.
func (w *CommandWatcher) spent() (time.Duration, error) {
	var cost time.Duration
	var traced uint64
	for name, program := range w.coll.Programs {
		stats, err := program.Stats()
		if err != nil {
			return 0, fmt.Errorf("reading the run time of the eBPF program: %w", err)
		}
		cost += stats.Runtime + time.Duration(stats.RunCount)*w.budget.hit[name]
		if program.Type() == ebpf.Tracing {
			traced += stats.RunCount
		}
	}
	besides, err := w.source.besides(w.coll, traced)
	return cost + besides, err
}

// cpu is the processor time that the process has used.
func (p *process) cpu() (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED, linux/posix-timers_types.h
	var now unix.Timespec
	if err := unix.ClockGettime(int32(^p.pid<<3|sched), &now); err != nil {
		if p.exited() {
			return 0, ErrExited
		}
		return 0, fmt.Errorf("pid %d (%s): reading its processor time: %w", p.pid, p.comm, err)
	}
	return time.Duration(now.Nano()), nil
}

// begin begins to reckon.
func (w *CommandWatcher) begin() (err error) {
	b := w.budget
	if b == nil {
		return nil
	}
	b.last = time.Now()
	b.due = b.last.Add(hastyPeriod)
	b.began, err = w.target.cpu()
	b.state.CPU = b.began
	return err
}

// reckon adds what was used since the last time to the spell under way.
func (w *CommandWatcher) reckon() error {
	b := w.budget
	cpu, err := w.target.cpu()
	if err != nil {
		return err
	}
	cost, err := w.spent()
	if err != nil {
		return err
	}
	now := time.Now()
	wall := now.Sub(b.last)
	b.spell = b.spell.add(spell{cost - b.state.Cost, cpu - b.state.CPU, wall})
	b.state.Cost, b.state.CPU, b.last = cost, cpu, now
	b.state.Levels[b.state.Shed] += wall
	if b.state.Looking {
		b.state.Looked += wall
	}
	return nil
}

// govern decides what to shed, when it is time to.
func (w *CommandWatcher) govern() error {
	b := w.budget
	if b == nil || b.over || time.Now().Before(b.due) {
		return nil
	}
	err := w.reckon()
	if err == nil {
		d := b.governor.next(b.spell)
		b.spell = spell{}
		b.due = b.last.Add(d.period)
		err = w.shed(d)
	}
	if err != nil && w.source.learn(w.coll) != nil {
		return nil // the next Drain says that the process is gone
	}
	return err
}

// shed does what the governor decided.
func (w *CommandWatcher) shed(d decision) error {
	b := w.budget
	looked := b.state.Looking
	if d.shed == b.state.Shed && d.look == looked {
		return nil
	}
	shedding, rarer := d.shed.flags()
	if err := errors.Join(w.coll.Variables[turnVarShedding].Set(shedding), w.coll.Variables[turnVarRarer].Set(rarer)); err != nil {
		return fmt.Errorf("shedding: %w", err)
	}
	b.state.Shed, b.state.Looking = d.shed, d.look
	switch {
	case looked && !d.look:
		return w.source.pause(w.coll, w.unlink)
	case !looked && d.look:
		links, err := w.source.attach(w.coll)
		if err != nil {
			return err
		}
		w.links = links
	}
	if !d.look {
		return nil
	}
	return w.source.setPhases(w.coll, d.shed == ShedNothing)
}

// flags are the values of shedding and rarer in c/commands.h.
func (s Shed) flags() (shedding, rarer uint64) {
	const (
		phases = 1 << iota
		times
		sixteen = 4 // its logarithm
	)
	switch s {
	case ShedPhases:
		return phases, 0
	case ShedTimes:
		return phases | times, sixteen
	case ShedTime:
		return phases, sixteen
	}
	return 0, 0
}

func (w *CommandWatcher) unlink() {
	closeLinks(w.links)
	w.links = nil
}

// paused tells whether w looks away for now.
func (w *CommandWatcher) paused() bool {
	return w.budget != nil && !w.budget.state.Looking && !w.budget.over
}

// endBudget comes before what was watched is detached.
func (w *CommandWatcher) endBudget() error {
	b := w.budget
	if b == nil || b.over {
		return nil
	}
	b.over = true
	if err := w.reckon(); err != nil && !errors.Is(err, ErrExited) {
		return err
	}
	if b.state.Looking {
		return nil
	}
	return w.source.catchUp(w.coll)
}

// Budget returns what watching has cost so far and what was shed, and false when
// there is no CommandOptions.Budget.
func (w *CommandWatcher) Budget() (state Budget, ok bool, err error) {
	b := w.budget
	if b == nil {
		return state, false, nil
	}
	if !b.over {
		if err := w.reckon(); err != nil && !errors.Is(err, ErrExited) {
			return state, true, err
		}
	}
	t, err := w.Totals()
	state = b.state
	state.CPU -= b.began
	state.Commands = t.Seen - t.Shed
	return state, true, err
}

// spell is a time, and what was used in it.
type spell struct{ cost, cpu, wall time.Duration }

func (s spell) add(t spell) spell { return spell{s.cost + t.cost, s.cpu + t.cpu, s.wall + t.wall} }

// decision is what to shed, and when to decide again.
type decision struct {
	shed   Shed
	look   bool
	period time.Duration
}

const (
	hastyPeriod  = 250 * time.Millisecond // after shedding, and at the beginning
	steadyPeriod = time.Second
	lookFor      = time.Second // at least, once it looks a part of the time

	grossly = 3 // over the budget: looking all the time never costs so much less

	// Less is shed after a time in which no more than that part of the budget was
	// used. When it turns out to be too much, the time doubles.
	roomy         = 0.8
	leastPatience = 3 * time.Second
	mostPatience  = time.Minute
	trialFor      = 5 * time.Second

	// A process that for so long uses less of a processor than that is at rest: then
	// nothing is shed, and nothing owed.
	restFor   = 3 * time.Second
	restShare = 0.02
)

// governor decides, spell by spell, what to shed.
type governor struct {
	share    float64 // the budget
	shed     Shed
	look     bool
	balance  time.Duration // of what may be spent: negative when it is owed
	window   spell         // since it last began to look, in ShedTime
	calm     time.Duration // how long there has been room to shed less
	patience time.Duration // how long there must be
	trial    time.Duration // rest of the time in which shedding less is on trial
	rest     time.Duration // how long the process has been at rest
}

func newGovernor(share float64) governor {
	return governor{share: share, look: true, patience: leastPatience}
}

// next decides what to shed after a spell.
func (g *governor) next(s spell) decision {
	if float64(s.cpu) < restShare*float64(s.wall) {
		if g.rest += s.wall; g.rest >= restFor {
			*g = newGovernor(g.share)
			g.rest = restFor
			return decision{g.shed, g.look, hastyPeriod} // the load may come back
		}
	} else {
		g.rest = 0
	}
	allowed := time.Duration(g.share * float64(s.cpu))
	// What one period may save up for the next.
	most := time.Duration(g.share * float64(steadyPeriod))
	g.balance = min(g.balance+allowed-s.cost, most)

	period := steadyPeriod
	switch {
	case g.shed == ShedTime:
		g.sample(s)
	case s.cost > allowed:
		if g.trial > 0 {
			g.patience = min(2*g.patience, mostPatience)
		}
		g.shed++
		if s.cost > grossly*allowed {
			g.shed = ShedTime
		}
		g.calm, g.trial = 0, 0
		if g.shed == ShedTime {
			g.window = spell{}
			g.look = g.balance >= 0
		}
		period = hastyPeriod
	default:
		if g.trial > 0 && g.trial <= s.wall {
			g.patience = leastPatience // it was right
		}
		g.trial = max(0, g.trial-s.wall)
		if float64(s.cost) > roomy*float64(allowed) || g.shed == ShedNothing {
			g.calm = 0
		} else if g.calm += s.wall; g.calm >= g.patience {
			g.shed--
			g.calm, g.trial = 0, trialFor
		}
	}
	return decision{g.shed, g.look, period}
}

// sample decides whether to look now, when the budget does not allow to look all
// the time.
func (g *governor) sample(s spell) {
	if !g.look {
		g.look = g.balance >= 0
		g.window = spell{}
		return
	}
	g.window = g.window.add(s)
	switch {
	case g.window.wall < lookFor:
	case float64(g.window.cost) <= roomy*g.share*float64(g.window.cpu):
		// While it looks it sheds no more than this.
		g.shed, g.calm, g.trial = ShedPhases, 0, trialFor
	case g.balance < 0:
		g.look = false
	default:
		g.window = spell{}
	}
}
