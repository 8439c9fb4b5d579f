package bpf

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/redscope/redscope/engine/probe"
)

// semaphore reads a marker's semaphore in a running process.
func semaphore(t *testing.T, spin target, m probe.Marker) uint16 {
	t.Helper()
	e, err := elf.Open(spin.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	syms, err := e.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(syms, func(s elf.Symbol) bool { return s.Name == probe.SemaphoreSymbol })
	if i < 0 {
		t.Fatalf("no symbol %s", probe.SemaphoreSymbol)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", spin.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	var word [2]byte
	// The test program is not position-independent: linked address = address.
	if _, err := mem.ReadAt(word[:], int64(syms[i].Value)+2*int64(m.Semaphore)); err != nil {
		t.Fatal(err)
	}
	return binary.NativeEndian.Uint16(word[:])
}

func TestTraceMarkers(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t))
	// What testdata/spin passes.
	want := map[string][]uint64{
		"socket_read":   {7, 8, 36},
		"command_start": {7, 2, 0, 13, 3, 4}, // the key's address differs
		"command_done":  {7, 2, 1, 5, 123456789},
		"reply_written": {7, 8, 5},
		"loop_turn":     {0, 1, 2, 3, 4, 5, 6},
		"loop_work":     {1, 2, 3, 4},
	}
	for _, m := range probe.Markers {
		if got := semaphore(t, spin, m); got != 0 {
			t.Errorf("%s: semaphore %d before attaching, want 0", m.Name, got)
		}
	}
	seen := map[string]int{}
	var last time.Duration
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := TraceMarkers(ctx, MarkerOptions{PID: spin.Process.Pid}, func(e MarkerEvent) {
		if seen[e.Marker.Name]++; seen[e.Marker.Name] == 1 {
			if got := semaphore(t, spin, e.Marker); got != 1 {
				t.Errorf("%s: semaphore %d while attached, want 1", e.Marker.Name, got)
			}
		}
		args := slices.Clone(e.Args)
		if e.Marker.Name == "command_start" {
			if string(e.Key) != "test:key:name" {
				t.Errorf("key %q", e.Key)
			}
			args[2] = 0
		}
		if !slices.Equal(args, want[e.Marker.Name]) {
			t.Errorf("%s: arguments %v, want %v", e.Marker.Name, args, want[e.Marker.Name])
		}
		if e.Time < last {
			t.Errorf("%s at %v after an event at %v", e.Marker.Name, e.Time, last)
		}
		last = e.Time
		if len(seen) == len(want) || t.Failed() {
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != len(want) {
		t.Errorf("saw %v, want all of %d markers", seen, len(want))
	}
	for _, m := range probe.Markers {
		if got := semaphore(t, spin, m); got != 0 {
			t.Errorf("%s: semaphore %d after detaching, want 0", m.Name, got)
		}
	}
}

func TestTraceMarkersRefusesUnknownName(t *testing.T) {
	needEBPF(t)
	spin := start(t, spinPath(t))
	err := TraceMarkers(t.Context(), MarkerOptions{PID: spin.Process.Pid, Names: []string{"nonsense"}}, nil)
	if err == nil {
		t.Fatal("no error for a marker that does not exist")
	}
}
