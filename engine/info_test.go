package engine

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// infoFields returns the names of the fields of each section of INFO.
func infoFields(text string) (sections []string, fields map[string][]string) {
	fields = make(map[string][]string)
	for _, line := range strings.Split(text, "\r\n") {
		if title, ok := strings.CutPrefix(line, "# "); ok {
			sections = append(sections, title)
			continue
		}
		if name, _, ok := strings.Cut(line, ":"); ok {
			title := sections[len(sections)-1]
			fields[title] = append(fields[title], name)
		}
	}
	return sections, fields
}

func TestInfoFieldsAgainstOracle(t *testing.T) {
	theirs, ours := dial(t, startOracle(t)), dial(t, startOurs(t))
	for _, args := range [][]string{{"INFO"}, {"INFO", "all"}, {"INFO", "everything"}, {"INFO", "server", "CPU", "nonsense"}, {"INFO", "default", "commandstats"}} {
		for _, c := range []*testConn{theirs, ours} {
			c.do(t, "CONFIG", "RESETSTAT")
			c.do(t, "SET", "a", "1", "EX", "100")
			c.do(t, "INCRBY", "a", "x")
		}
		wantSections, want := infoFields(theirs.do(t, args...).Text)
		gotSections, got := infoFields(ours.do(t, args...).Text)
		gotSections = slices.DeleteFunc(gotSections, func(s string) bool { return s == "Redscope" })
		if !slices.Equal(gotSections, wantSections) {
			t.Errorf("%q: sections %q, want %q", args, gotSections, wantSections)
		}
		for _, s := range wantSections {
			if s == "Commandstats" || s == "Latencystats" { // in the order of a hash table
				slices.Sort(got[s])
				slices.Sort(want[s])
			}
			if d := firstDifference(got[s], want[s]); d != "" {
				t.Errorf("%q, section %s: %s", args, s, d)
			}
		}
	}
}

func TestInfoValues(t *testing.T) {
	c := dial(t, startOurs(t))
	value := func(field string) int64 {
		t.Helper()
		m := regexp.MustCompile(`(?m)^` + field + `:(\d+)`).FindStringSubmatch(c.do(t, "INFO", "everything").Text)
		if m == nil {
			t.Fatalf("no field %s", field)
		}
		n, _ := strconv.ParseInt(m[1], 10, 64)
		return n
	}
	before := value("used_memory")
	big := strings.Repeat("x", 10<<20)
	c.do(t, "SET", "big", big)
	// The query buffers that brought it count until they are collected.
	if grown := value("used_memory") - before; grown < 10<<20 || grown > 80<<20 {
		t.Errorf("10 MiB stored, used_memory grew by %d", grown)
	}
	if used, peak := value("used_memory"), value("used_memory_peak"); peak < used {
		t.Errorf("used_memory_peak %d is below used_memory %d", peak, used)
	}
	if rss := value("used_memory_rss"); rss < 10<<20 {
		t.Errorf("used_memory_rss %d", rss)
	}
	if n := value("total_net_input_bytes"); n < 10<<20 {
		t.Errorf("total_net_input_bytes %d", n)
	}
	if n := value("client_recent_max_input_buffer"); n < 10<<20 {
		t.Errorf("client_recent_max_input_buffer %d", n)
	}
	if now := value("server_time_usec"); time.Since(time.UnixMicro(now)).Abs() > time.Minute {
		t.Errorf("server_time_usec %d", now)
	}
	// The value is in the heap, and the collector was there when it came.
	if n := value("go_gc_cycles"); n < 1 {
		t.Errorf("go_gc_cycles %d", n)
	}
	if n := value("connected_clients"); n != 1 {
		t.Errorf("connected_clients %d", n)
	}
}

// TestLatencyPercentiles holds the histogram against its definition: what it
// reports is the largest value that shares the two leading digits' worth of
// precision (1/128) with the true one.
func TestLatencyPercentiles(t *testing.T) {
	var h latencyHistogram
	for n := int64(1); n <= 100_000; n++ {
		h.add(n * 100)
	}
	for _, share := range []float64{1, 50, 90, 99, 99.9, 100} {
		want := int64(share / 100 * 100_000 * 100)
		if got := h.percentile(share); got < want || got > want+want/128+1 {
			t.Errorf("p%v is %d, want %d to %d", share, got, want, want+want/128+1)
		}
	}
	h = latencyHistogram{}
	h.add(196_500) // Redis reports such a call as 196.607 µs
	h.add(-1)
	h.add(5e9)
	if got := h.percentile(60); got != 196_607 {
		t.Errorf("got %d, want 196607", got)
	}
	if got := h.percentile(100); got < 1e9 || got > 1.01e9 {
		t.Errorf("longer than the longest: %d", got)
	}
}

func BenchmarkLatencyHistogram(b *testing.B) {
	var h latencyHistogram
	n := int64(0)
	for b.Loop() {
		h.add(300 + n&127)
		n++
	}
}

// TestResetStatIsNoFailure wants the call that sets the counters to zero not to
// be taken for one that failed.
func TestResetStatIsNoFailure(t *testing.T) {
	c := dial(t, startOurs(t))
	c.do(t, "NONSENSE")
	c.do(t, "CONFIG", "RESETSTAT")
	if text := c.do(t, "INFO", "commandstats").Text; !strings.Contains(text, "cmdstat_config|resetstat:calls=1,") || strings.Contains(text, "failed_calls=1") {
		t.Error(text)
	}
}
