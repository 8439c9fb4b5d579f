package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redscope/redscope/cmd/loadgen/internal/child"
	"github.com/redscope/redscope/cmd/loadgen/internal/load"
	"github.com/redscope/redscope/cmd/loadgen/internal/query"
)

// A speedRow is a line of compare --table about the speed of one command.
type speedRow struct {
	test string // its name in the catalog
	// data is the test whose command sets the data before, with rising numbers
	// in place of random ones; "" leaves the server empty.
	data string
	// fresh rows change what there is: the servers are emptied, and the data
	// set again, before every round.
	fresh bool
	// share is what part of -n requests makes a round: requests that do more
	// take longer.
	share int64
}

var speedRows = []speedRow{
	{"get", "set", false, 1},
	{"set", "set", false, 1},
	{"incr", "incr", false, 1},
	{"lpush", "", true, 1},
	{"rpop", "lpush", true, 1},
	{"lrange_100", "lpush", false, 10},
	{"sadd", "", true, 1},
	{"hset", "", true, 1},
	{"hget", "hset", false, 1},
	{"zadd", "", true, 2},
	{"zrange_100", "zadd", false, 10},
	{"mset", "set", false, 5},
	{"setbit", "setbit", false, 1},
}

// A memoryRow is a line about the memory that keys of one type take. The
// command makes one key.
type memoryRow struct {
	name, title string
	command     []string
}

// memoryRows are keys of every type whose values are small, as most are.
func memoryRows(value string) []memoryRow {
	hash := []string{"HSET", "hash:" + load.SeqInt}
	zset := []string{"ZADD", "zset:" + load.SeqInt}
	intset := []string{"SADD", "set:" + load.SeqInt}
	set := []string{"SADD", "set:" + load.SeqInt}
	list := []string{"RPUSH", "list:" + load.SeqInt}
	for i := range 5 {
		name, number := fmt.Sprintf("element:%d", i), fmt.Sprint(1000+i)
		hash = append(hash, name, value)
		zset = append(zset, number, name)
		intset = append(intset, number)
		set = append(set, name)
		list = append(list, name)
	}
	return []memoryRow{
		{"rss_strings", fmt.Sprintf("strings of %d bytes", len(value)), []string{"SET", "key:" + load.SeqInt, value}},
		{"rss_hashes", "hashes of 5 fields", hash},
		{"rss_zsets", "sorted sets of 5 members", zset},
		{"rss_intsets", "sets of 5 integers", intset},
		{"rss_sets", "sets of 5 strings", set},
		{"rss_lists", "lists of 5 elements", list},
	}
}

// memoryFigures is what a memoryRow measured.
type memoryFigures struct {
	Name   string `json:"name"`
	Keys   int64  `json:"keys"`
	Server string `json:"server"`
	RSS    int64  `json:"rss_bytes"`
}

// table is the state of one run of compare --table.
type table struct {
	*compareFlags
	tests    []test
	pipeline int
	requests int64
	speed    []speedRow
	memory   []memoryRow
}

var comparePlace = placeOf("compare")

// settle is how long a server is left alone when its data are set, so that what
// it does in the background afterwards is not charged to the requests.
const settle = 300 * time.Millisecond

func (f *compareFlags) runTable() error {
	if len(f.contenders) != 2 {
		return usagef("--table compares two servers, not %d", len(f.contenders))
	}
	if f.json && f.write != "" {
		return usagef("--write wants the table, not --json")
	}
	pipelines, err := numbers("-P", cmp.Or(f.pipelines, "16"))
	if err != nil {
		return err
	}
	requests, err := numbers("-n", cmp.Or(f.requests, "1000000"))
	if err != nil {
		return err
	}
	if len(pipelines) != 1 || len(requests) != 1 {
		return usagef("--table takes one pipeline and one number of requests")
	}
	if f.keyspace < 1 {
		return usagef("--table wants -r of at least 1")
	}
	value := payload(f.size)
	tb := &table{compareFlags: f, tests: catalog(value, true), pipeline: int(pipelines[0]), requests: requests[0]}
	if err := tb.choose(memoryRows(value)); err != nil {
		return err
	}
	if f.write != "" {
		if _, _, err := comparePlace.around(f.write); err != nil {
			return err
		}
	}

	ctx, stop := interruptible(func() {}) // the servers die with this process
	defer stop()
	defer f.stopAll()
	if err := tb.check(ctx); err != nil {
		return err
	}
	var all []figures
	for _, row := range tb.speed {
		group, err := tb.measureSpeed(ctx, row)
		if err != nil {
			return err
		}
		all = append(all, group...)
	}
	var memory []memoryFigures
	for _, row := range tb.memory {
		for _, c := range f.contenders {
			m, err := tb.measureMemory(ctx, c, row)
			if err != nil {
				return err
			}
			memory = append(memory, m)
		}
	}
	summaries := f.summaries(all)
	if f.json {
		return f.printJSON(summaries, all, memory)
	}
	var text bytes.Buffer
	tb.print(&text, summaries, memory)
	if f.write != "" {
		return comparePlace.write(f.write, text.Bytes())
	}
	_, err = text.WriteTo(os.Stdout)
	return err
}

// choose takes the rows that -t names, all without it.
func (tb *table) choose(memory []memoryRow) error {
	tb.speed, tb.memory = speedRows, memory
	if tb.compareFlags.tests == "" {
		return nil
	}
	wanted := strings.Split(strings.ToLower(tb.compareFlags.tests), ",")
	chosen := func(name string) bool {
		before := len(wanted)
		wanted = slices.DeleteFunc(wanted, func(w string) bool { return w == name })
		return len(wanted) < before
	}
	tb.speed = slices.DeleteFunc(slices.Clone(tb.speed), func(r speedRow) bool { return !chosen(r.test) })
	tb.memory = slices.DeleteFunc(tb.memory, func(r memoryRow) bool { return !chosen(r.name) })
	if len(wanted) > 0 {
		return usagef("-t: the table has no line called %s", strings.Join(wanted, ", "))
	}
	return nil
}

// find returns the test of the catalog that is called so. The last one that a
// name selects is the one itself; those before it make its data.
func (tb *table) find(name string) test {
	var found test
	for _, t := range tb.tests {
		if slices.Contains(t.names, name) {
			found = t
		}
	}
	return found
}

// restart gives every contender a new, empty server.
func (tb *table) restart(ctx context.Context) error {
	tb.stopAll()
	for _, c := range tb.contenders {
		if err := c.start(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

// check sends each command that the table needs once, so that a server that
// lacks one is not found out after minutes of measuring.
func (tb *table) check(ctx context.Context) error {
	if err := tb.restart(ctx); err != nil {
		return err
	}
	tests := []test{}
	for _, row := range tb.speed {
		tests = append(tests, tb.find(row.test))
	}
	for _, row := range tb.memory {
		tests = append(tests, test{title: row.name, command: load.Command{Args: row.command}})
	}
	var refused []error
	for _, c := range tb.contenders {
		var titles []string
		first := ""
		for _, t := range tests {
			res, err := tb.send(ctx, c, t.command, 1, 0)
			if err != nil {
				return err
			}
			if res.Errors > 0 {
				titles = append(titles, t.title)
				first = cmp.Or(first, res.FirstError)
			}
		}
		if len(titles) > 0 {
			refused = append(refused, fmt.Errorf("%s refuses %s; its first error: %s", c.Name, strings.Join(titles, ", "), strings.TrimSpace(first)))
		}
	}
	if err := errors.Join(refused...); err != nil {
		return fmt.Errorf("%s; choose other lines with -t", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// send sends n requests that are not measured, below keyspace at random.
func (tb *table) send(ctx context.Context, c *contender, command load.Command, n, keyspace int64) (*load.Result, error) {
	res, err := load.Run(ctx, load.Options{
		Target: load.Target{Host: child.Host, Port: c.server.Port}, Command: command, Requests: n,
		Clients: tb.clients, Pipeline: 64, Keyspace: keyspace, SeqStart: "000000000000",
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, c.explain(ctx, err))
	}
	return res, nil
}

// fill sends a command n times, with rising numbers, and leaves the server alone
// for a moment.
func (tb *table) fill(ctx context.Context, c *contender, args []string, n int64) error {
	rising := load.Command{}
	for _, a := range args {
		rising.Args = append(rising.Args, strings.ReplaceAll(a, load.RandInt, load.SeqInt))
	}
	res, err := tb.send(ctx, c, rising, n, -1)
	if err == nil && res.Errors > 0 {
		err = fmt.Errorf("%s: an error was the answer to %s of %s %ss, the first: %s", c.Name, thousands(res.Errors), thousands(n), args[0], res.FirstError)
	}
	if err == nil {
		time.Sleep(settle)
	}
	return err
}

// empty removes all keys.
func (c *contender) empty() error {
	q, err := query.Dial(child.Host, c.server.Port)
	if err != nil {
		return err
	}
	defer q.Close()
	_, err = q.Do("FLUSHALL", "SYNC")
	return err
}

// measureSpeed runs the rounds of one line on new servers.
func (tb *table) measureSpeed(ctx context.Context, row speedRow) ([]figures, error) {
	if err := tb.restart(ctx); err != nil {
		return nil, err
	}
	t, n := tb.find(row.test), max(tb.requests/row.share, 1)
	prepare := func(c *contender) error {
		if row.data == "" {
			return nil
		}
		elements := tb.keyspace
		if row.fresh {
			elements = n // each request takes one
		}
		return tb.fill(ctx, c, tb.find(row.data).command.Args, elements)
	}
	if !row.fresh {
		for _, c := range tb.contenders {
			if err := prepare(c); err != nil {
				return nil, err
			}
		}
	}
	var group []figures
	seed := uint64(time.Now().UnixNano())
	for round := 1; round <= tb.rounds; round++ {
		seed++ // the same requests for both servers of a round
		for _, c := range tb.contenders {
			if row.fresh {
				if err := errors.Join(c.empty(), prepare(c)); err != nil {
					return nil, err
				}
			}
			m, err := tb.measure(ctx, c, t, tb.pipeline, n, seed, 0)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", c.Name, t.title, err)
			}
			m.Round = round
			group = append(group, m)
		}
	}
	s := tb.summarize(group)
	fmt.Fprintf(os.Stderr, "%s: %s and %s requests/s, %.2f×, CPU %.2f×\n", title(t.title),
		thousands(int64(s[0].Median.Rate)), thousands(int64(s[1].Median.Rate)), s[1].Ratio.Rate, s[1].Ratio.CPU)
	return group, nil
}

// measureMemory fills a new server and reads its resident memory.
func (tb *table) measureMemory(ctx context.Context, c *contender, row memoryRow) (memoryFigures, error) {
	tb.stopAll()
	if err := c.start(ctx); err != nil {
		return memoryFigures{}, fmt.Errorf("%s: %w", c.Name, err)
	}
	if err := tb.fill(ctx, c, row.command, tb.keyspace); err != nil {
		return memoryFigures{}, err
	}
	// What the load left behind in buffers and on the way to a collector is not
	// the data: let the server tidy up.
	time.Sleep(time.Second)
	rss, err := c.server.RSS()
	fmt.Fprintf(os.Stderr, "%s %s: %s\n", c.Name, row.name, mebibytes(rss))
	return memoryFigures{row.name, tb.keyspace, c.Name, rss}, err
}

// title is a test's title without what stands in brackets behind it.
func title(t string) string {
	if name, _, ok := strings.Cut(t, " (first "); ok {
		return name
	}
	return t
}

// print writes the table in Markdown.
func (tb *table) print(w io.Writer, summaries []summary, memory []memoryFigures) {
	first, second := tb.contenders[0], tb.contenders[1]
	if len(summaries) > 0 {
		fmt.Fprintf(w, "| -P %d, %s keys | %s, requests/s | %s, requests/s | | CPU per request |\n| --- | ---: | ---: | ---: | ---: |\n",
			tb.pipeline, thousands(tb.keyspace), first.Name, second.Name)
	}
	for pair := range slices.Chunk(summaries, 2) {
		fmt.Fprintf(w, "| %s | %s | %s | %.2f× | %.2f× |\n", title(pair[0].Test), thousands(int64(pair[0].Median.Rate)),
			thousands(int64(pair[1].Median.Rate)), pair[1].Ratio.Rate, pair[1].Ratio.CPU)
	}
	if len(summaries) > 0 && len(memory) > 0 {
		fmt.Fprintln(w)
	}
	if len(memory) > 0 {
		fmt.Fprintf(w, "| resident memory of %s | %s | %s | |\n| --- | ---: | ---: | ---: |\n", thousands(tb.keyspace), first.Name, second.Name)
	}
	for i, pair := range slices.Collect(slices.Chunk(memory, 2)) {
		fmt.Fprintf(w, "| %s | %s | %s | %.2f× |\n", tb.memory[i].title, mebibytes(pair[0].RSS), mebibytes(pair[1].RSS), float64(pair[1].RSS)/float64(pair[0].RSS))
	}
	m := thisMachine()
	fmt.Fprintf(w, "\n%s is version %s. Medians of %d rounds in turn, %d connections, %d-byte values; Linux %s, %d CPUs (%s).\n",
		first.Name, first.Version, tb.rounds, tb.clients, tb.size, m.Kernel, m.CPUs, cmp.Or(m.CPU, m.Arch))
}

// printJSON writes everything that was measured.
func (f *compareFlags) printJSON(summaries []summary, rounds []figures, memory []memoryFigures) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		Loadgen string          `json:"loadgen_version"`
		Machine machine         `json:"machine"`
		Clients int             `json:"clients"`
		Servers contenders      `json:"servers"`
		Medians []summary       `json:"medians"`
		Rounds  []figures       `json:"rounds"`
		Memory  []memoryFigures `json:"memory,omitempty"`
	}{version(), thisMachine(), f.clients, f.contenders, summaries, rounds, memory})
}

// place is the lines of a document between which --write puts a table.
type place struct{ begin, end string }

func placeOf(table string) place {
	return place{"<!-- " + table + " -->\n", "<!-- /" + table + " -->\n"}
}

// around reads a document and returns what stands before and behind the place
// of the table, the two lines included.
func (p place) around(path string) (before, behind []byte, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	i := bytes.Index(text, []byte(p.begin))
	j := bytes.LastIndex(text, []byte(p.end))
	if i < 0 || j < i {
		return nil, nil, fmt.Errorf("%s has no line %s with a line %s below it", path, strings.TrimSpace(p.begin), strings.TrimSpace(p.end))
	}
	return text[:i+len(p.begin)], text[j:], nil
}

// write puts the table into its place in a document.
func (p place) write(path string, table []byte) error {
	before, behind, err := p.around(path)
	if err != nil {
		return err
	}
	return outDir(filepath.Dir(path)).write(filepath.Base(path), func(w io.Writer) error {
		_, err := w.Write(slices.Concat(before, table, behind))
		return err
	})
}
