package ae

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newLoop returns a loop with nothing to do before or after it sleeps.
func newLoop(t *testing.T) *EventLoop {
	t.Helper()
	el, err := New(1024)
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(*EventLoop) {}
	el.BeforeSleep, el.AfterSleep = nothing, nothing
	t.Cleanup(el.Close)
	return el
}

func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds[0], fds[1]
}

// A descriptor that can be read and written is served in that order, with
// Barrier in the other, and no more once the events are taken back.
func TestOrder(t *testing.T) {
	el := newLoop(t)
	a, b := pair(t)
	var served []Mask
	read := func(*EventLoop, int, any, Mask) { served = append(served, Readable) }
	write := func(*EventLoop, int, any, Mask) { served = append(served, Writable) }
	unix.Write(b, []byte("x"))
	for _, c := range []struct {
		mask Mask
		want []Mask
	}{
		{Writable, []Mask{Readable, Writable}},
		{Writable | Barrier, []Mask{Writable, Readable}},
	} {
		served = nil
		if err := el.CreateFileEvent(a, Readable, read, nil); err != nil {
			t.Fatal(err)
		}
		if err := el.CreateFileEvent(a, c.mask, write, nil); err != nil {
			t.Fatal(err)
		}
		aeProcessEvents(el)
		if !slices.Equal(served, c.want) {
			t.Errorf("with mask %d: served %v, want %v", c.mask, served, c.want)
		}
		el.DeleteFileEvent(a, Readable|Writable)
	}
	served = nil
	el.CreateTimeEvent(0, func(*EventLoop) int { return NoMore })
	aeProcessEvents(el)
	if served != nil {
		t.Errorf("served %v after the events were taken back", served)
	}
}

// An event that another one of the same turn took back is not served.
func TestTakenBack(t *testing.T) {
	el := newLoop(t)
	a, b := pair(t)
	unix.Write(a, []byte("x"))
	unix.Write(b, []byte("x"))
	served := 0
	take := func(other int) FileProc {
		return func(el *EventLoop, _ int, _ any, _ Mask) {
			served++
			el.DeleteFileEvent(other, Readable)
		}
	}
	el.CreateFileEvent(a, Readable, take(b), nil)
	el.CreateFileEvent(b, Readable, take(a), nil)
	aeProcessEvents(el)
	if served != 1 {
		t.Errorf("%d events served, want the first only", served)
	}
}

func TestTimers(t *testing.T) {
	el := newLoop(t)
	var order []string
	start := time.Now()
	// Late enough that no machine keeps the others from being twice due before.
	el.CreateTimeEvent(500, func(el *EventLoop) int {
		order = append(order, "stop")
		el.Stop()
		return NoMore
	})
	el.CreateTimeEvent(10, func(*EventLoop) int { order = append(order, "once"); return NoMore })
	again := 0
	el.CreateTimeEvent(5, func(*EventLoop) int {
		if again++; again == 2 {
			order = append(order, "twice")
			return NoMore
		}
		return 10
	})
	Main(el)
	if took := time.Since(start); took < 499*time.Millisecond {
		t.Errorf("stopped after %v, before its time", took)
	}
	if want := []string{"once", "twice", "stop"}; !slices.Equal(order, want) {
		t.Errorf("timers fired as %v, want %v", order, want)
	}
}

func TestDescriptorBeyondSetSize(t *testing.T) {
	el, err := New(64)
	if err != nil {
		t.Fatal(err)
	}
	defer el.Close()
	if err := el.CreateFileEvent(64, Readable, drainWake, nil); err != unix.ERANGE {
		t.Errorf("descriptor 64 of 64: %v, want ERANGE", err)
	}
	if err := el.Resize(4); err == nil {
		t.Error("shrunk below a descriptor that is being watched")
	}
}

// The loop waits without telling Go's scheduler for a moment. A collection must
// not have to wait for it, nor a goroutine that wants to wake it.
func TestSchedulerIsNotHeldUp(t *testing.T) {
	el := newLoop(t)
	var stop atomic.Bool
	el.BeforeSleep = func(*EventLoop) {
		if stop.Load() {
			el.Stop()
		}
	}
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		Main(el)
		close(done)
	}()
	start := time.Now()
	const collections = 100
	for range collections {
		runtime.GC()
	}
	// A wait that could not be interrupted would hold up each collection twice,
	// and one without an end for ever.
	t.Logf("%d collections took %v", collections, time.Since(start))
	stop.Store(true)
	el.Wake()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the loop did not wake up")
	}
}

// A procedure that serves both events of a descriptor is told of each once.
func TestEachEventOnce(t *testing.T) {
	el := newLoop(t)
	a, b := pair(t)
	unix.Write(b, []byte("x"))
	served := map[Mask]int{}
	proc := func(_ *EventLoop, _ int, _ any, mask Mask) {
		for _, m := range []Mask{Readable, Writable} {
			if mask&m != 0 {
				served[m]++
			}
		}
	}
	if err := el.CreateFileEvent(a, Readable|Writable, proc, nil); err != nil {
		t.Fatal(err)
	}
	aeProcessEvents(el)
	if served[Readable] != 1 || served[Writable] != 1 {
		t.Errorf("reading was served %d times, writing %d", served[Readable], served[Writable])
	}
}
