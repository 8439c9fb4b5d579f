package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// HitCounter counts how often a process passes some places, and does nothing else:
// what it costs the process is what the probes themselves cost.
type HitCounter struct {
	coll  *ebpf.Collection
	links []link.Link
}

// CountHits counts the named markers of a redscope server. Without names it counts
// the places by which a CommandWatcher sees the commands of a stock server: two for
// each command. The counter must be closed.
func CountHits(pid int, markers ...string) (*HitCounter, error) {
	target, err := openProcess(pid)
	if err != nil {
		return nil, err
	}
	defer target.close()
	var places []probes
	if len(markers) > 0 {
		at, err := target.markers(markers)
		if err != nil {
			return nil, err
		}
		at.cookies = nil
		places = append(places, at)
	} else {
		source, err := newCallSource(target, CommandOptions{})
		if err != nil {
			return nil, err
		}
		defer source.close()
		for _, p := range source.probes {
			if p.program == callsProgCallStart || p.program == callsProgCallEnd {
				places = append(places, p.at)
			}
		}
	}
	spec, err := loadMarkers()
	if err != nil {
		return nil, err
	}
	prepare(spec)
	c := &HitCounter{}
	if c.coll, err = target.load(spec, map[string]any{markersVarTargetOnly: multiSupported()}, nil); err != nil {
		return nil, err
	}
	for _, at := range places {
		links, err := target.attach(c.coll.Programs[markersProgCount], at)
		if err != nil {
			c.Close()
			return nil, err
		}
		c.links = append(c.links, links...)
	}
	return c, nil
}

// Hits returns how many there were.
func (c *HitCounter) Hits() (n uint64, err error) {
	if err := c.coll.Variables[markersVarHits].Get(&n); err != nil {
		return 0, fmt.Errorf("reading the count of hits: %w", err)
	}
	return n, nil
}

// Close takes the probes out.
func (c *HitCounter) Close() {
	closeLinks(c.links)
	c.coll.Close()
}
