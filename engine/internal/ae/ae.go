// Package ae is the event loop, after Redis's ae.c: file events from epoll and
// time events, run one after the other on the thread that called Main.
//
// It knows neither clients nor commands. Everything in it belongs to that one
// thread, except Wake. aeMain and aeProcessEvents are plain symbols, so that a
// probe or a stack walk finds them by the names they have in Redis.
package ae

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/internal/monotonic"
)

// Mask says what a file event waits for or what has become possible.
type Mask uint32

const (
	None     Mask = 0
	Readable Mask = 1
	Writable Mask = 2
	// Barrier asks that a descriptor's writable event be served before its
	// readable one.
	Barrier Mask = 4
)

// A FileProc serves a file event. data is what CreateFileEvent was given, mask
// the one event, Readable or Writable, that the call is for.
type FileProc func(el *EventLoop, fd int, data any, mask Mask)

// A TimeProc serves a time event and returns in how many milliseconds it wants
// to be called again, or NoMore.
type TimeProc func(el *EventLoop) int

// NoMore is a TimeProc's answer when it is done.
const NoMore = -1

type fileEvent struct {
	mask  Mask
	rproc FileProc
	wproc FileProc
	data  any
}

type timeEvent struct {
	when int64 // milliseconds on the loop's monotonic clock
	proc TimeProc
}

// EventLoop is one loop with its epoll instance.
type EventLoop struct {
	// Turn counts the times that the loop asked for events.
	Turn uint64
	// Ready is the number of file events that the turn began with.
	Ready int
	// BeforeSleep runs before the loop asks for events, AfterSleep after it.
	BeforeSleep func(el *EventLoop)
	AfterSleep  func(el *EventLoop)
	// Data is the owner's. Functions that the loop calls reach their state through
	// it, so that no closure stands between aeProcessEvents and them in a stack.
	Data any

	epfd   int
	wakefd int
	events []fileEvent // indexed by descriptor
	fired  []unix.EpollEvent
	timers []timeEvent
	stop   bool
	// spin lets a wait of up to a millisecond keep its place in Go's scheduler;
	// see poll.
	spin bool
}

// New makes a loop that can watch descriptors below setSize.
func New(setSize int) (*EventLoop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epfd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	el := &EventLoop{
		epfd:   epfd,
		wakefd: wakefd,
		events: make([]fileEvent, setSize),
		fired:  make([]unix.EpollEvent, min(setSize, 1024)),
		spin:   runtime.GOMAXPROCS(0) > 1,
	}
	if err := el.CreateFileEvent(wakefd, Readable, drainWake, nil); err != nil {
		el.Close()
		return nil, err
	}
	return el, nil
}

func drainWake(_ *EventLoop, fd int, _ any, _ Mask) {
	var counter [8]byte
	unix.Read(fd, counter[:])
}

// Close gives the loop's descriptors back. The watched ones stay open.
func (el *EventLoop) Close() {
	unix.Close(el.epfd)
	unix.Close(el.wakefd)
}

// SetSize is the number of descriptors that the loop can watch.
func (el *EventLoop) SetSize() int { return len(el.events) }

// Resize changes SetSize. It fails when a watched descriptor would not fit.
func (el *EventLoop) Resize(setSize int) error {
	for fd := setSize; fd < len(el.events); fd++ {
		if el.events[fd].mask != None {
			return fmt.Errorf("descriptor %d is in use", fd)
		}
	}
	events := make([]fileEvent, setSize)
	copy(events, el.events)
	el.events = events
	return nil
}

// CreateFileEvent asks for proc to be called with data when fd becomes ready
// for what mask says, in addition to what is asked for already.
func (el *EventLoop) CreateFileEvent(fd int, mask Mask, proc FileProc, data any) error {
	if fd >= len(el.events) {
		return unix.ERANGE
	}
	fe := &el.events[fd]
	op := unix.EPOLL_CTL_MOD
	if fe.mask == None {
		op = unix.EPOLL_CTL_ADD
	}
	if err := el.control(op, fd, fe.mask|mask); err != nil {
		return err
	}
	fe.mask |= mask
	if mask&Readable != 0 {
		fe.rproc = proc
	}
	if mask&Writable != 0 {
		fe.wproc = proc
	}
	fe.data = data
	return nil
}

// DeleteFileEvent takes back what mask says.
func (el *EventLoop) DeleteFileEvent(fd int, mask Mask) {
	if fd >= len(el.events) {
		return
	}
	fe := &el.events[fd]
	if fe.mask == None {
		return
	}
	if mask&Writable != 0 {
		mask |= Barrier
	}
	rest := fe.mask &^ mask
	op := unix.EPOLL_CTL_MOD
	if rest == None {
		op = unix.EPOLL_CTL_DEL
	}
	// The descriptor may be gone from the kernel's set already; then there is
	// nothing left to take back.
	el.control(op, fd, rest)
	fe.mask = rest
	if rest == None {
		*fe = fileEvent{}
	}
}

func (el *EventLoop) control(op, fd int, mask Mask) error {
	ev := unix.EpollEvent{Fd: int32(fd)}
	if mask&Readable != 0 {
		ev.Events |= unix.EPOLLIN
	}
	if mask&Writable != 0 {
		ev.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(el.epfd, op, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// CreateTimeEvent asks for proc to be called in the given time.
func (el *EventLoop) CreateTimeEvent(milliseconds int, proc TimeProc) {
	el.timers = append(el.timers, timeEvent{when: now() + int64(milliseconds), proc: proc})
}

// now is the loop's clock in milliseconds: nobody who sets the system's time
// moves it.
func now() int64 { return monotonic.Stamp(monotonic.Ticks()) / 1e6 }

// untilTimer returns the milliseconds to the nearest time event, or -1 when
// there is none.
func (el *EventLoop) untilTimer() int {
	if len(el.timers) == 0 {
		return -1
	}
	nearest := el.timers[0].when
	for _, te := range el.timers[1:] {
		nearest = min(nearest, te.when)
	}
	return int(max(0, nearest-now()))
}

func (el *EventLoop) processTimeEvents() {
	t := now()
	for i := 0; i < len(el.timers); i++ {
		if el.timers[i].when > t {
			continue
		}
		// proc may add timers and so move the slice.
		again := el.timers[i].proc(el)
		if again != NoMore {
			el.timers[i].when = now() + int64(again)
			continue
		}
		el.timers = append(el.timers[:i], el.timers[i+1:]...)
		i--
	}
}

// Stop makes Main return after the turn that is under way.
func (el *EventLoop) Stop() { el.stop = true }

// Wake ends the loop's current or next wait. Any goroutine may call it, as long
// as the loop has not been closed.
func (el *EventLoop) Wake() {
	one := uint64(1)
	unix.Write(el.wakefd, (*[8]byte)(unsafe.Pointer(&one))[:])
}

// Main runs the loop on the calling goroutine until Stop. It is small enough
// to be inlined, so that aeMain's caller in a stack is the caller of Main.
func Main(el *EventLoop) { aeMain(el) }

//go:noinline
func aeMain(el *EventLoop) {
	el.stop = false
	for !el.stop {
		aeProcessEvents(el)
	}
}

// aeProcessEvents makes one turn: it waits for file events no longer than until
// the nearest time event, serves them, then serves the time events.
//
//go:noinline
func aeProcessEvents(el *EventLoop) {
	el.BeforeSleep(el)
	wait := el.untilTimer()
	if el.stop {
		wait = 0
	}
	n := el.poll(wait)
	el.Turn++
	el.Ready = n
	el.AfterSleep(el)
	for i := range n {
		ev := &el.fired[i]
		fd := int(ev.Fd)
		var ready Mask
		if ev.Events&(unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			ready |= Readable
		}
		if ev.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			ready |= Writable
		}
		// An event served earlier in this turn may have changed what this
		// descriptor waits for, or closed it: look at the table each time.
		writeFirst := el.events[fd].mask&Barrier != 0
		if writeFirst {
			el.serveWritable(fd, ready)
		}
		if fe := &el.events[fd]; fe.mask&ready&Readable != 0 {
			fe.rproc(el, fd, fe.data, Readable)
		}
		if !writeFirst {
			el.serveWritable(fd, ready)
		}
	}
	if len(el.timers) > 0 {
		el.processTimeEvents()
	}
}

func (el *EventLoop) serveWritable(fd int, ready Mask) {
	if fe := &el.events[fd]; fe.mask&ready&Writable != 0 {
		fe.wproc(el, fd, fe.data, Writable)
	}
}

// poll waits up to the given number of milliseconds, -1 being for ever, and
// returns how many entries of el.fired it filled in.
//
// A blocking system call made through Go's scheduler gives the processor away
// and has to win it back, which costs more than an idle server's whole turn. So
// the first millisecond is waited for without telling the scheduler: a request
// that comes within it (and under load the next one always does) is served with
// one cheap call. A collection that wants to stop the world meanwhile sends a
// signal, which ends the wait. Only then does the thread go to sleep properly.
func (el *EventLoop) poll(milliseconds int) int {
	if el.spin || milliseconds == 0 {
		first := 1
		if milliseconds == 0 {
			first = 0
		}
		n, errno := epollWait(el.epfd, el.fired, first)
		if n > 0 {
			return n
		}
		if errno != 0 || milliseconds == 0 || milliseconds == 1 {
			return 0
		}
		if milliseconds > 0 {
			milliseconds--
		}
	}
	n, err := unix.EpollWait(el.epfd, el.fired, milliseconds)
	if err != nil {
		if !errors.Is(err, unix.EINTR) {
			panic("ae: epoll_wait: " + err.Error())
		}
		return 0
	}
	return n
}

// epollWait is epoll_pwait(2) without Go's scheduler.
func epollWait(epfd int, events []unix.EpollEvent, milliseconds int) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(milliseconds), 0, 0)
	return int(n), errno
}
