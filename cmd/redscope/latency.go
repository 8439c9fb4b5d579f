package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/latency"
)

// waits are the phases in which a command waits for others.
var waits = [bpf.PhaseCount]bool{bpf.PhaseWait: true, bpf.PhaseQueue: true, bpf.PhaseHold: true}

// latencyPage is what was seen of one server or several, to be drawn with the
// distribution of a phase below that of the total.
func latencyPage(pictures []targetPicture, ws *watching, phase bpf.Phase) latency.Page {
	if phase == bpf.PhaseTotal {
		phase = bpf.PhaseCall
	}
	page := latency.Page{Below: int(phase)}
	for p := range bpf.PhaseTotal {
		page.Phases = append(page.Phases, latency.Phase{Name: p.String(), Waiting: waits[p]})
	}
	for _, p := range pictures {
		g := latency.Group{Name: p.of.String(), Numbers: append([]string{latency.Format(p.elapsed)}, p.rates()...)}
		for _, s := range byLoopTime(p.stats) {
			c := latency.Command{Name: commandName(s.Name), Calls: perSecond(s.Calls, p.looked), Errors: perSecond(s.Failed+s.Refused, p.looked), Loop: -1}
			if part, known := p.loop(s); known {
				c.Loop = part
			}
			for _, h := range s.Phases[:bpf.PhaseTotal] {
				c.Phases = append(c.Phases, latencyTimes(h))
			}
			c.Total = latencyTimes(s.Phases[bpf.PhaseTotal])
			g.Commands = append(g.Commands, c)
		}
		page.Groups = append(page.Groups, g)
	}
	var account strings.Builder
	ws.writeAccounts(&account, false) // a Builder takes everything
	page.Notes = strings.Split(strings.TrimSpace(account.String()), "\n")
	for _, l := range slices.Sorted(maps.Keys(ws.limits)) {
		page.Notes = append(page.Notes, "note: "+l)
	}
	return page
}

func latencyTimes(h bpf.Histogram) latency.Times {
	t := latency.Times{Sum: h.Sum}
	for _, s := range h.Steps() {
		t.Steps = append(t.Steps, latency.Step(s))
	}
	return t
}
