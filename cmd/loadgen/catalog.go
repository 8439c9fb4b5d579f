package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/redscope/redscope/cmd/loadgen/internal/load"
)

// test is one of the tests that -t selects. Titles, selecting names, order and
// commands are redis-benchmark's of Redis 7.0, but for the last ones, our own.
type test struct {
	title   string
	names   []string // any of them selects it
	command load.Command
	own     bool // not in redis-benchmark: runs only when selected
}

// catalog lists the tests for a value of the given bytes. With random, ZADD's
// scores are random, as redis-benchmark has it with -r.
func catalog(value string, random bool) []test {
	args := func(args ...string) load.Command { return load.Command{Args: args} }
	score := "0"
	if random {
		score = load.RandInt
	}
	mset := []string{"MSET"}
	for range 10 {
		mset = append(mset, "key:"+load.RandInt, value)
	}
	tests := []test{
		{"PING_INLINE", []string{"ping_inline", "ping"}, load.Command{Inline: "PING"}, false},
		{"PING_MBULK", []string{"ping_mbulk", "ping"}, args("PING"), false},
		{"SET", []string{"set"}, args("SET", "key:"+load.RandInt, value), false},
		{"GET", []string{"get"}, args("GET", "key:"+load.RandInt), false},
		{"INCR", []string{"incr"}, args("INCR", "counter:"+load.RandInt), false},
		{"LPUSH", []string{"lpush"}, args("LPUSH", "mylist", value), false},
		{"RPUSH", []string{"rpush"}, args("RPUSH", "mylist", value), false},
		{"LPOP", []string{"lpop"}, args("LPOP", "mylist"), false},
		{"RPOP", []string{"rpop"}, args("RPOP", "mylist"), false},
		{"SADD", []string{"sadd"}, args("SADD", "myset", "element:"+load.RandInt), false},
		{"HSET", []string{"hset"}, args("HSET", "myhash", "element:"+load.RandInt, value), false},
		{"SPOP", []string{"spop"}, args("SPOP", "myset"), false},
		{"ZADD", []string{"zadd"}, args("ZADD", "myzset", score, "element:"+load.RandInt), false},
		{"ZPOPMIN", []string{"zpopmin"}, args("ZPOPMIN", "myzset"), false},
		{"LPUSH (needed to benchmark LRANGE)", []string{"lrange", "lrange_100", "lrange_300", "lrange_500", "lrange_600"},
			args("LPUSH", "mylist", value), false},
	}
	for _, n := range []int{100, 300, 500, 600} {
		name := "lrange_" + strconv.Itoa(n)
		tests = append(tests, test{
			strings.ToUpper(name) + " (first " + strconv.Itoa(n) + " elements)",
			[]string{"lrange", name},
			args("LRANGE", "mylist", "0", strconv.Itoa(n-1)),
			false,
		})
	}
	return append(tests,
		test{"MSET (10 keys)", []string{"mset"}, args(mset...), false},
		test{"HSET (needed to benchmark HGET)", []string{"hget"}, args("HSET", "myhash", "element:"+load.RandInt, value), true},
		test{"HGET", []string{"hget"}, args("HGET", "myhash", "element:"+load.RandInt), true},
		test{"ZADD (needed to benchmark ZRANGE)", []string{"zrange_100"}, args("ZADD", "myzset", score, "element:"+load.RandInt), true},
		test{"ZRANGE_100 (first 100 elements)", []string{"zrange_100"}, args("ZRANGE", "myzset", "0", "99"), true},
		test{"SETBIT", []string{"setbit"}, args("SETBIT", "bits:"+load.RandInt, "100", "1"), true},
	)
}

// selectTests returns the tests that a comma-separated list names, in the
// catalog's order, and the names that no test has.
func selectTests(tests []test, list string) (selected []test, unknown []string) {
	wanted := strings.Split(strings.ToLower(list), ",")
	known := map[string]bool{}
	for _, t := range tests {
		match := false
		for _, name := range t.names {
			known[name] = true
			match = match || slices.Contains(wanted, name)
		}
		if match {
			selected = append(selected, t)
		}
	}
	for _, name := range wanted {
		if !known[name] {
			unknown = append(unknown, name)
		}
	}
	return selected, unknown
}

// payload is the value of -d bytes: VXK for 3, as redis-benchmark has it, and
// longer ones that compress as badly as its own, from the linear congruential
// generator of the C standard's example.
func payload(size int) string {
	if size == 3 {
		return "VXK"
	}
	b := make([]byte, size)
	state := uint32(1234)
	for i := range b {
		state = state*1103515245 + 12345
		b[i] = '0' + byte(state>>16)&63
	}
	return string(b)
}
