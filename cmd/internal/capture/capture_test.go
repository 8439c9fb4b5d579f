package capture

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/bpf"
	"github.com/redscope/redscope/flame"
)

func sample(whole bool, count uint64, leafFirst ...string) bpf.Sample {
	s := bpf.Sample{Count: count, Comm: "server", Whole: whole}
	for i, name := range leafFirst {
		s.Stack = append(s.Stack, bpf.Frame{Addr: uint64(0x1000 * (i + 1)), Symbol: name, Module: "/bin/server"})
	}
	return s
}

func rootFirst(s flame.Stack) string {
	var names []string
	for _, f := range s.Frames {
		names = append(names, f.Name)
	}
	return strings.Join(names, ";")
}

func TestStacks(t *testing.T) {
	stacks := Stacks(&bpf.Profile{Samples: []bpf.Sample{
		sample(true, 3, "setCommand", "call", "main.main"),
		sample(false, 2, "memcpy"),
		sample(true, 4, "setCommand", "call", "main.main"), // another thread's
	}})
	var got []string
	var counts []int64
	for _, s := range stacks {
		got = append(got, rootFirst(s))
		counts = append(counts, s.Count)
	}
	want := []string{"server;main.main;call;setCommand", "server;[callers unknown];memcpy"}
	if !slices.Equal(got, want) || !slices.Equal(counts, []int64{7, 2}) {
		t.Errorf("%q %v; want %q [7 2]", got, counts, want)
	}
}

func TestPprofHasNoFrameThatIsNoFunction(t *testing.T) {
	began := time.Unix(1, 0)
	p := Pprof(&bpf.Profile{
		Samples: []bpf.Sample{sample(false, 2, "memcpy", "call")}, Frequency: 99, Duration: time.Second,
		Mappings: []bpf.Mapping{{Start: 1, End: 2, Offset: 3, File: "/bin/server"}},
	}, began)
	if len(p.Stacks) != 1 || rootFirst(p.Stacks[0]) != "call;memcpy" {
		t.Errorf("%+v", p.Stacks)
	}
	if p.Frequency != 99 || p.Duration != time.Second || !p.Time.Equal(began) {
		t.Errorf("%+v", p)
	}
	if want := (flame.Mapping{Start: 1, Limit: 2, Offset: 3, File: "/bin/server"}); len(p.Mappings) != 1 || p.Mappings[0] != want {
		t.Errorf("mappings %+v", p.Mappings)
	}
}

func TestOffCPU(t *testing.T) {
	queued := sample(true, 5, "read", "main")
	queued.Queued = true
	p := &bpf.Profile{OffCPU: true, Samples: []bpf.Sample{sample(true, 3, "read", "main"), queued}}
	out := Pprof(p, time.Unix(1, 0))
	if out.SampleType != "off-cpu" || out.Unit != "microseconds" || out.Frequency != 0 {
		t.Errorf("%s in %s at %d Hz", out.SampleType, out.Unit, out.Frequency)
	}
	counts := map[string]int64{}
	for _, s := range out.Stacks {
		counts[rootFirst(s)] = s.Count
	}
	if len(counts) != 2 || counts["main;read"] != 3 || counts["main;read;"+Queued] != 5 {
		t.Errorf("%v", counts)
	}
	if n := Notes(&bpf.Profile{OffCPU: true}); len(n) != 1 || !strings.Contains(n[0], "nothing was seen") {
		t.Errorf("an empty profile: %q", n)
	}
	broken := &bpf.Profile{OffCPU: true, Samples: []bpf.Sample{sample(true, 3, "f"), sample(false, 7, "g")}, Broken: 7}
	if n := Notes(broken); len(n) != 1 || !strings.Contains(n[0], "7 of 10 µs") {
		t.Errorf("%q", n)
	}
}

func TestNotesTellWhatIsMissing(t *testing.T) {
	if n := Notes(&bpf.Profile{Samples: []bpf.Sample{sample(true, 1, "f")}}); len(n) != 0 {
		t.Errorf("a flawless profile has notes: %q", n)
	}
	notes := strings.Join(Notes(&bpf.Profile{
		Samples: []bpf.Sample{sample(true, 3, "f"), sample(false, 7, "g")},
		Lost:    11, Cut: 12, Broken: 7, Exited: true, Duration: 1500 * time.Millisecond,
		Limits: []string{"stacks are walked by frame pointers only: …"},
	}), "\n")
	for _, want := range []string{"exited after 1.5s", "11 samples lost", "12 samples", "3 of 10 stacks", "frame pointers only"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no %q in:\n%s", want, notes)
		}
	}
	if n := Notes(&bpf.Profile{}); len(n) != 1 || !strings.Contains(n[0], "no samples") {
		t.Errorf("an empty profile: %q", n)
	}
}

func TestWriteStack(t *testing.T) {
	var b strings.Builder
	err := WriteStack(&b, bpf.Stack{Whole: false, Frames: []bpf.Frame{
		{Addr: 0x490fd5, Symbol: "setCommand", Module: "/usr/bin/redis-server"},
		{Addr: 0x452a90, Symbol: "call", Offset: 3492, Module: "/usr/bin/redis-server"},
		{Addr: 0x7f2320a40440, Module: "/usr/lib64/libc.so.6"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	// The first line is one that bpftrace printed.
	const want = "\t490fd5 setCommand+0 (/usr/bin/redis-server)\n" +
		"\t452a90 call+3492 (/usr/bin/redis-server)\n" +
		"\t7f2320a40440 [unknown] (/usr/lib64/libc.so.6)\n" +
		"\t[callers unknown]\n\n"
	if b.String() != want {
		t.Errorf("got\n%q\nwant\n%q", b.String(), want)
	}
	form := regexp.MustCompile(`^\t[0-9a-f]+ \S+\+\d+ \(/.*\)$`)
	if line, _, _ := strings.Cut(b.String(), "\n"); !form.MatchString(line) {
		t.Errorf("%q", line)
	}
}
