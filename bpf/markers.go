package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"github.com/redscope/redscope/engine/probe"
)

// MarkerEvent is one passing of a marker.
type MarkerEvent struct {
	Marker probe.Marker
	Time   time.Duration // CLOCK_MONOTONIC
	TID    uint32        // as numbered by the target's own pid namespace
	Args   []uint64      // one per Marker.Args, signed ones as two's complement; valid during the call only
	Key    []byte        // the first 64 bytes of the key, for markers that have one; valid during the call only
	Lost   uint64        // passings that went unrecorded so far
}

// MarkerOptions says which markers of which process to watch.
type MarkerOptions struct {
	PID   int
	Names []string // as in probe.Markers; nil for all
}

// TraceMarkers calls f each time the process passes one of the markers, until
// ctx ends, which returns nil. When the process exits first, it returns
// ErrExited.
func TraceMarkers(ctx context.Context, opts MarkerOptions, f func(MarkerEvent)) error {
	target, err := openProcess(opts.PID)
	if err != nil {
		return err
	}
	defer target.close()
	at, err := target.markers(opts.Names)
	if err != nil {
		return err
	}
	spec, err := loadMarkers()
	if err != nil {
		return err
	}
	prepare(spec)
	coll, err := target.load(spec, nil, nil)
	if err != nil {
		return err
	}
	defer coll.Close()
	ring, err := ringbuf.NewReader(coll.Maps[markersMapMarkerEvents])
	if err != nil {
		return fmt.Errorf("opening the ring of markers: %w", err)
	}
	defer ring.Close()
	links, err := target.attach(coll.Programs[markersProgMarker], at)
	if err != nil {
		return err
	}
	defer closeLinks(links)

	var ev markersMarkerEvent
	return poll(ctx, target, ring, coll.Variables[markersVarMarkerLost], func(raw []byte, lost uint64) (more bool, err error) {
		if _, err := binary.Decode(raw, binary.NativeEndian, &ev); err != nil {
			return false, fmt.Errorf("reading a marker: %w", err)
		}
		m := probe.Markers[ev.Marker]
		f(MarkerEvent{
			Marker: m, Time: time.Duration(ev.Time), TID: ev.Tid, Lost: lost,
			Args: ev.Args[:min(len(m.Args), len(ev.Args))],
			Key:  ev.Key[:min(int(ev.KeyLen), len(ev.Key))],
		})
		return true, nil
	})
}

// markers finds the named markers, or all, in the process's executable.
func (p *process) markers(names []string) (probes, error) {
	var at probes
	exe, err := p.main()
	if err != nil {
		return at, err
	}
	defer exe.close()
	semaphores, err := exe.variable(probe.SemaphoreSymbol)
	if err != nil {
		return at, err
	}
	for _, name := range names {
		if !slices.ContainsFunc(probe.Markers, func(m probe.Marker) bool { return m.Name == name }) {
			return at, fmt.Errorf("there is no marker %q", name)
		}
	}
	for i, m := range probe.Markers {
		if names != nil && !slices.Contains(names, m.Name) {
			continue
		}
		sym, err := exe.lookup(m.Symbol)
		if err != nil {
			return at, fmt.Errorf("marker %s: %w", m.Name, err)
		}
		site := exe.function(sym).Site
		if site.Cost == CostNone || site.Offset != 0 {
			return at, fmt.Errorf("marker %s of %s has another shape than expected: %s", m.Name, exe.name, site.Reason)
		}
		at.cost = site.Cost
		at.offsets = append(at.offsets, site.File)
		at.semaphores = append(at.semaphores, semaphores+2*uint64(m.Semaphore))
		at.cookies = append(at.cookies, markerCookie(i, m))
	}
	return at, nil
}

// markerCookie is what c/markers.bpf.c takes apart.
func markerCookie(index int, m probe.Marker) uint64 {
	// One more than the index, so that 0 says that there is no key.
	keyArg := 1 + slices.IndexFunc(m.Args, func(a probe.Arg) bool { return a.Type == "*byte" })
	return uint64(index) | uint64(keyArg)<<8
}

// variable returns the offset in the file of a variable with an initial value.
func (b *image) variable(name string) (uint64, error) {
	linked, _, err := b.object(name)
	if errors.Is(err, errNoObject) {
		return 0, fmt.Errorf("%s has no markers: it is not a redscope server, or its architecture has none", b.name)
	}
	if err != nil {
		return 0, err
	}
	off, err := b.offset(linked)
	if err != nil {
		return 0, fmt.Errorf("%s: %s: %w", b.name, name, err)
	}
	return off, nil
}
