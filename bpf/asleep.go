package bpf

import (
	"fmt"
	"os"
	"time"
)

// sleepClock tells how long a thread has slept, as the kernel accounts it: the time
// in which it neither ran nor waited for a CPU. Nothing is probed.
type sleepClock struct {
	schedstat string        // /proc/PID/task/TID/schedstat
	slept     time.Duration // up to the last stop
	since     time.Time     // when it was started, zero while it is stopped
	awake     time.Duration // of the thread's life, by then
}

// readAwake is how long the thread has been awake since it began.
func (c *sleepClock) readAwake() (time.Duration, error) {
	data, err := os.ReadFile(c.schedstat)
	if err != nil {
		return 0, err
	}
	var ran, waited time.Duration // ns; Documentation/scheduler/sched-stats.rst of Linux
	_, err = fmt.Sscan(string(data), &ran, &waited)
	return ran + waited, err
}

func (c *sleepClock) start() {
	awake, err := c.readAwake()
	if err == nil {
		c.since, c.awake = time.Now(), awake
	}
}

func (c *sleepClock) stop() {
	c.slept = c.total()
	c.since = time.Time{}
}

// total is how long the thread slept while the clock was not stopped; what is not
// known is no sleep.
func (c *sleepClock) total() time.Duration {
	if c.since.IsZero() {
		return c.slept
	}
	awake, err := c.readAwake()
	if err != nil {
		return c.slept
	}
	return c.slept + max(0, time.Since(c.since)-(awake-c.awake))
}
