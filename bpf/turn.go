package bpf

import (
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// turnSource sees the commands of a redscope server, by its marker loop_turn.
type turnSource struct {
	target *process
	at     probes
	names  []string
	behind bool // the end was not seen
}

func newTurnSource(p *process) (s *turnSource, err error) {
	s = &turnSource{target: p}
	if s.at, err = p.markers([]string{"loop_turn"}); err != nil {
		return nil, err
	}
	s.names, err = p.commandNames()
	return s, err
}

func (s *turnSource) spec() (*ebpf.CollectionSpec, map[string]any, error) {
	spec, err := loadTurn()
	return spec, map[string]any{turnVarTargetOnly: multiSupported()}, err
}

func (s *turnSource) attach(coll *ebpf.Collection) ([]link.Link, error) {
	return s.target.attach(coll.Programs[turnProgLoopTurn], s.at)
}

func (s *turnSource) end(_ *ebpf.Collection, detach func()) error {
	detach()
	return nil
}

func (s *turnSource) name(_ *ebpf.Collection, id int) string {
	if id < 0 || id >= len(s.names) {
		return ""
	}
	return s.names[id]
}

func (s *turnSource) learn(*ebpf.Collection) error {
	if s.target.exited() {
		return ErrExited
	}
	return nil
}

func (s *turnSource) totals(coll *ebpf.Collection) (t CommandTotals, err error) {
	var refusedBefore, refusedAfter, idle uint64
	err = readVariables(coll, map[string]*uint64{
		turnVarTurnMissed: &t.Missed, turnVarTurnShed: &t.Shed, turnVarTurns: &t.Turns, turnVarTurnsIdle: &idle,
		turnVarCallsBefore: &t.CallsBefore, turnVarCallsAfter: &t.CallsAfter,
		turnVarRefusedBefore: &refusedBefore, turnVarRefusedAfter: &refusedAfter,
	})
	t.Seen = t.CallsAfter - t.CallsBefore + refusedAfter - refusedBefore
	t.Idle = time.Duration(idle)
	return t, err
}

func (s *turnSource) hits(coll *ebpf.Collection) (n uint64, err error) {
	return n, readVariables(coll, map[string]*uint64{turnVarTurnHits: &n})
}

func (s *turnSource) limitsNow(coll *ebpf.Collection) (all []string, err error) {
	var resets uint64
	if err = readVariables(coll, map[string]*uint64{turnVarTurnResets: &resets}); resets > 0 {
		all = append(all, fmt.Sprintf(resetInPause, resets))
	}
	if s.behind {
		all = append(all, "what came after the last look is not counted: the server's loop did not turn")
	}
	return all, err
}

func (s *turnSource) close() {}
