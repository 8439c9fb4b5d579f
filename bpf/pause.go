package bpf

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// governed is what a commandSource does for a budget: it says what it costs, and
// accounts for what happens while the process is not looked at.
type governed interface {
	// costs says of each program what a hit of its probes costs.
	costs() map[string]Cost
	// besides is what looking has cost the process besides what the programs' run times
	// and hits say. Those on tracepoints have run so often, for all processes.
	besides(coll *ebpf.Collection, traced uint64) (time.Duration, error)
	// setPhases attaches or detaches the probes that only tell phases.
	setPhases(coll *ebpf.Collection, on bool) error
	// pause calls detach, and makes ready for another attach.
	pause(coll *ebpf.Collection, detach func()) error
	// catchUp comes before the end of what is paused.
	catchUp(*ebpf.Collection) error
}

const resetInPause = "the server's counts were reset while nobody looked, %d times: how many commands came in these pauses is not known"

func (s *turnSource) costs() map[string]Cost { return map[string]Cost{turnProgLoopTurn: s.at.cost} }

func (s *turnSource) besides(coll *ebpf.Collection, _ uint64) (time.Duration, error) {
	var sent, filtered, dropped, reads uint64
	err := readVariables(coll, map[string]*uint64{
		turnVarCommandsSent: &sent, turnVarCommandsFiltered: &filtered, turnVarCommandsDropped: &dropped, turnVarTurnReads: &reads,
	})
	return time.Duration(sent+filtered+dropped)*recordCost + time.Duration(reads)*readCost, err
}

func (s *turnSource) setPhases(*ebpf.Collection, bool) error { return nil }

func (s *turnSource) pause(coll *ebpf.Collection, detach func()) error {
	detach()
	return coll.Variables[turnVarPaused].Set(uint64(1))
}

// catchUpFor is how long the server may take to pass the marker once: its loop
// turns ten times a second when it has nothing to do.
const catchUpFor = time.Second

// catchUp looks once more, for the totals that come with the marker.
func (s *turnSource) catchUp(coll *ebpf.Collection) error {
	links, err := s.attach(coll)
	s.behind = true
	if errors.Is(err, ErrExited) {
		return nil
	}
	if err != nil {
		return err
	}
	defer closeLinks(links)
	for end := time.Now().Add(catchUpFor); s.behind && time.Now().Before(end) && !s.target.exited(); time.Sleep(time.Millisecond) {
		var paused uint64
		if err := readVariables(coll, map[string]*uint64{turnVarPaused: &paused}); err != nil {
			return err
		}
		s.behind = paused != 0
	}
	return nil
}

// callsPast is what the server has counted up to the end of the last look.
type callsPast struct {
	pauses uint64
	seen   bool // a call was
	before uint64
	after  uint64
	shed   uint64
	resets uint64
	errors uint64 // answered while nobody looked
}

// add makes totals since the last pause to totals of all.
func (p *callsPast) add(t *CommandTotals) {
	if !p.seen {
		return
	}
	t.Shed = p.shed
	if t.CallsBefore < p.after { // CONFIG RESETSTAT
		t.CallsBefore += p.before - p.after
		return
	}
	t.Shed += t.CallsBefore - p.after
	t.CallsBefore = p.before
}

// reset tells whether the server's count began afresh in the pause before what t
// is of.
func (p *callsPast) reset(t CommandTotals) bool {
	return p.seen && t.CallsAfter != 0 && t.CallsBefore != p.before
}

// noteErrors adds what was answered in a pause, by the server's own count.
func (p *callsPast) noteErrors(before, after uint64) {
	if p.pauses > 0 && after > before {
		p.errors += after - before
	}
}

func (p *callsPast) limits(t CommandTotals, counted bool) (all []string) {
	if p.pauses > 0 && !counted {
		all = append(all, fmt.Sprintf("how many commands came in %d pauses is not known: the server's own count cannot be read", p.pauses))
	}
	resets := p.resets
	if p.reset(t) {
		resets++
	}
	if resets > 0 {
		all = append(all, fmt.Sprintf(resetInPause, resets))
	}
	if p.errors > 0 {
		all = append(all, fmt.Sprintf("%d errors were answered while nobody looked; commands that were refused then are not counted", p.errors))
	}
	return all
}

func (s *callSource) costs() map[string]Cost {
	all := map[string]Cost{}
	for _, list := range [][]callProbe{s.probes, s.phases} {
		for _, p := range list {
			all[p.program] = p.at.cost
		}
	}
	return all
}

// elsewhereCost is the run time of a program on a tracepoint that finds itself in
// another thread than the event loop's, most of it the kernel's measuring.
const elsewhereCost = 50 * time.Nanosecond

func (s *callSource) besides(coll *ebpf.Collection, traced uint64) (time.Duration, error) {
	var receives, sends uint64
	err := readVariables(coll, map[string]*uint64{callsVarReceives: &receives, callsVarSends: &sends})
	return -time.Duration(max(traced, receives+sends)-receives-sends) * elsewhereCost, err
}

func (s *callSource) setPhases(coll *ebpf.Collection, on bool) (err error) {
	s.withoutPhases = !on
	if on && s.phaseLinks == nil {
		s.phaseLinks, err = s.attachPhases(coll)
	} else if !on {
		closeLinks(s.phaseLinks)
		s.phaseLinks = nil
	}
	return err
}

func (s *callSource) pause(coll *ebpf.Collection, detach func()) error {
	if err := s.end(coll, detach); err != nil {
		return err
	}
	s.past.pauses++
	var begun uint64
	if err := readVariables(coll, map[string]*uint64{callsVarBegun: &begun}); err != nil {
		return err
	}
	if s.ended && begun != 0 {
		t, err := s.totals(coll)
		if err != nil {
			return err
		}
		if s.past.reset(t) {
			s.past.resets++
		}
		s.past.seen, s.past.before, s.past.after, s.past.shed = true, t.CallsBefore, t.CallsAfter, t.Shed
	}
	s.ended = false
	return s.forget(coll)
}

// forget makes the program begin again: without the calls that were under way.
func (s *callSource) forget(coll *ebpf.Collection) error {
	for _, name := range []string{callsVarStop, callsVarBegun} {
		if err := coll.Variables[name].Set(uint64(0)); err != nil {
			return fmt.Errorf("beginning to watch again: %w", err)
		}
	}
	one, all := coll.Maps[callsMapOneThread], coll.Maps[callsMapThreads]
	if err := one.Put(uint32(0), make([]byte, one.ValueSize())); err != nil {
		return fmt.Errorf("beginning to watch again: %w", err)
	}
	var tids []uint32
	var tid uint32
	value := make([]byte, all.ValueSize())
	threads := all.Iterate()
	for threads.Next(&tid, &value) {
		tids = append(tids, tid)
	}
	err := threads.Err()
	for _, tid := range tids {
		err = errors.Join(err, all.Delete(tid))
	}
	if err != nil {
		return fmt.Errorf("beginning to watch again: %w", err)
	}
	return nil
}

// catchUp need not look: end reads the server's own count from its memory.
func (s *callSource) catchUp(*ebpf.Collection) error {
	var calls, errors uint64
	err := s.counts(&calls, &errors)
	if s.gone() {
		return nil
	}
	s.past.noteErrors(s.after.errors, errors)
	return err
}
