package flame

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime/pprof"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/redscope/redscope/internal/require"
)

// goTool runs go tool pprof, the reader that our files are for, on a file.
func goTool(t *testing.T, file string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"tool", "pprof"}, args...), file)...)
	cmd.Env = append(os.Environ(), "PPROF_TMPDIR="+t.TempDir(), "PPROF_BINARY_PATH="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go tool pprof %v: %v\n%s", args, err, stderr.Bytes())
	}
	return string(out)
}

func writeProfile(t *testing.T, p *Profile) string {
	t.Helper()
	var out bytes.Buffer
	if err := WritePprof(&out, p); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "profile.pb.gz")
	if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWritePprofForGoTool(t *testing.T) {
	require.Tool(t, "go")
	file := writeProfile(t, &Profile{
		Stacks:    readFile(t, "testdata/redis-set.folded"),
		Frequency: 100,
		Time:      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Duration:  7 * time.Second,
	})
	// 605 samples at 100 Hz: 6.05 s. setKey: 12+25+31+44+8 = 120.
	top := goTool(t, file, "-top", "-cum", "-nodecount=200", "-unit=ms")
	for _, want := range []string{
		`Type: cpu`, `Time: .*2026`, `Duration: 7s, Total samples = 6050ms`,
		`0 +0% +\d[\d.]*% +6050ms +100% +main\n`, `0 +0% +\d[\d.]*% +1200ms 19.83% +setKey\n`,
		`580ms +9.59% +\d[\d.]*% +790ms 13.06% +ep_poll\n`,
	} {
		if !regexp.MustCompile(want).MatchString(top) {
			t.Errorf("-top does not hold %q:\n%s", want, top)
		}
	}
	raw := goTool(t, file, "-raw")
	for _, want := range []string{
		`samples/count cpu/nanoseconds`, `PeriodType: cpu nanoseconds\nPeriod: 10000000`,
		` 44 +440000000: `, `1: 0x0/0x0/0x0 \[kernel\]`, `: 0x0 M=1 vfs_read `, `: 0x0 siphash `,
	} {
		if !regexp.MustCompile(want).MatchString(raw) {
			t.Errorf("-raw does not hold %q:\n%.2000s", want, raw)
		}
	}
}

const program = `package main

var sum, times = 0, 3

//go:noinline
func hot(n int) {
	for i := range n {
		sum += i * i // the hot line
	}
}

func main() {
	hot(times) // the call
}
`

// pprof finds source lines and instructions of a program by the addresses that
// we write: of one linked to fixed addresses by its file alone, of a
// position-independent one by the memory map.
func TestWritePprofAddresses(t *testing.T) {
	require.Tool(t, "go")
	for _, mode := range []string{"exe", "pie"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "prog")
			if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
				t.Fatal(err)
			}
			build := exec.Command("go", "build", "-buildmode="+mode, "-o", binary, source)
			build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
			if out, err := build.CombinedOutput(); err != nil {
				t.Skipf("go build -buildmode=%s: %v\n%s", mode, err, out)
			}
			file, err := elf.Open(binary)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			symbols, err := file.Symbols()
			if err != nil {
				t.Fatal(err)
			}
			addr := map[string]uint64{}
			for _, s := range symbols {
				addr[s.Name] = s.Value
				addr[s.Name+" end"] = s.Value + s.Size
			}
			p := &Profile{Frequency: 99}
			bias := uint64(0)
			if mode == "pie" {
				bias = 0x55d5c0000000
				for _, s := range file.Progs {
					if s.Type == elf.PT_LOAD && s.Flags&elf.PF_X != 0 {
						start := s.Vaddr &^ 0xfff
						maps := fmt.Sprintf("%x-%x r-xp %08x fe:01 42 %s\n", bias+start, bias+(s.Vaddr+s.Memsz+0xfff)&^0xfff, s.Off&^0xfff, binary)
						if p.Mappings, err = ReadMaps(strings.NewReader(maps)); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			frame := func(name string, at uint64) Frame {
				return Frame{Name: name, Module: binary, Addr: bias + at}
			}
			p.Stacks = []Stack{{Count: 7, Frames: []Frame{
				frame("main.main", addr["main.main end"]), // a return address past its function's end
				frame("main.hot", addr["main.hot"]),
			}}}
			name := writeProfile(t, p)
			list := goTool(t, name, "-list=main.hot", "-sample_index=samples", "-source_path="+dir)
			if !strings.Contains(list, "sum += i * i // the hot line") || !regexp.MustCompile(`7 +7 .*for i := range n \{`).MatchString(list) {
				t.Errorf("-list:\n%s", list)
			}
			disasm := goTool(t, name, "-disasm=main.hot", "-sample_index=samples")
			if !regexp.MustCompile(fmt.Sprintf(`7 +7 +%x: `, addr["main.hot"])).MatchString(disasm) {
				t.Errorf("-disasm:\n%s", disasm)
			}
			top := goTool(t, name, "-top", "-cum", "-sample_index=samples")
			if !regexp.MustCompile(`7 +100% +main\.main`).MatchString(top) {
				t.Errorf("the caller went to another function:\n%s", top)
			}
		})
	}
}

// A profile as the kernel's walker gives it survives being written and read.
func TestPprofRoundTrip(t *testing.T) {
	want := &Profile{
		SampleType: "samples", Unit: "count", Frequency: 99,
		Time: time.Unix(1_700_000_000, 5), Duration: 7 * time.Second,
		Stacks: []Stack{
			{Count: 3, Frames: []Frame{
				{Name: "main", Module: "/bin/prog", Addr: 0x1010},
				{Name: "outer", Module: "/bin/prog", Addr: 0x1020}, // inlined into each other:
				{Name: "inner", Module: "/bin/prog", Addr: 0x1020}, // one address
				{Name: "recurse", Module: "/bin/prog", Addr: 0x1030},
				{Name: "recurse", Module: "/bin/prog", Addr: 0x1030},
				{Name: "", Module: "/lib/stripped.so", Addr: 0x7f0000001000},
				{Name: "vfs_read", Module: "[kernel]", Kernel: true, Addr: 0xffffffff81000000},
			}},
			{Count: 2, Frames: []Frame{{Name: "main", Module: "/bin/prog", Addr: 0x1010}}},
			{Count: 1, Frames: []Frame{{Name: "symbol only"}}},
		},
		Mappings: []Mapping{
			{Start: 0x1000, Limit: 0x2000, File: "/bin/prog", BuildID: "abcd"},
			{Start: 0x7f0000000000, Limit: 0x7f0000010000, Offset: 0x1000, File: "/lib/stripped.so"},
		},
	}
	var out bytes.Buffer
	if err := WritePprof(&out, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadPprof(&out, "")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got.Mappings, func(a, b Mapping) int { return cmp.Compare(a.Start, b.Start) })
	if len(got.Mappings) != 3 || got.Mappings[2].File != "[kernel]" {
		t.Fatalf("got the mappings %+v, want a third for the kernel", got.Mappings)
	}
	got.Mappings = got.Mappings[:2]
	if !got.Time.Equal(want.Time) {
		t.Errorf("time: got %v, want %v", got.Time, want.Time)
	}
	got.Time = want.Time
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// What Go's own runtime writes is read, with all of its sample types.
func TestReadPprofOfGo(t *testing.T) {
	var heap bytes.Buffer
	if err := pprof.Lookup("allocs").WriteTo(&heap, 0); err != nil {
		t.Fatal(err)
	}
	for sampleType, unit := range map[string]string{"": "bytes", "alloc_objects": "count", "inuse_space": "bytes"} {
		p, err := ReadPprof(bytes.NewReader(heap.Bytes()), sampleType)
		if err != nil {
			t.Fatal(err)
		}
		if p.Unit != unit || sampleType != "" && p.SampleType != sampleType {
			t.Errorf("%q: got %s/%s", sampleType, p.SampleType, p.Unit)
		}
	}
	if p, err := ReadPprof(bytes.NewReader(heap.Bytes()), ""); err != nil || p.SampleType != "alloc_space" {
		t.Errorf("the default of an allocs profile is alloc_space, got %v, %v", p, err)
	}
	_, err := ReadPprof(bytes.NewReader(heap.Bytes()), "cpu")
	if err == nil || !strings.Contains(err.Error(), "inuse_space") {
		t.Errorf("a wrong sample type: %v does not name the right ones", err)
	}
}

// testProfile has inlining, two sample types and a location without a name.
func testProfile() *profile.Profile {
	m := &profile.Mapping{ID: 1, Start: 0x1000, Limit: 0x2000, File: "/bin/prog"}
	var functions []*profile.Function
	for i, name := range []string{"main", "outer", "inlined", "leaf"} {
		functions = append(functions, &profile.Function{ID: uint64(i + 1), Name: name})
	}
	line := func(i int) profile.Line { return profile.Line{Function: functions[i]} }
	locations := []*profile.Location{
		{ID: 1, Mapping: m, Address: 0x1000, Line: []profile.Line{line(0)}},
		{ID: 2, Mapping: m, Address: 0x1100, Line: []profile.Line{line(2), line(1)}},
		{ID: 3, Mapping: m, Address: 0x1200, Line: []profile.Line{line(3)}},
		{ID: 4, Mapping: m, Address: 0x1300},
	}
	return &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}},
		Sample: []*profile.Sample{
			{Location: []*profile.Location{locations[2], locations[1], locations[0]}, Value: []int64{2, 20}},
			{Location: []*profile.Location{locations[3], locations[0]}, Value: []int64{1, 10}},
			{Location: []*profile.Location{locations[0]}, Value: []int64{0, 0}},
		},
		Mapping: []*profile.Mapping{m}, Location: locations, Function: functions,
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 10101010,
	}
}

func encoded(t testing.TB, p *profile.Profile) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := p.WriteUncompressed(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestReadPprof(t *testing.T) {
	const folded = "main;[prog] 1\nmain;outer;inlined;leaf 2\n"
	raw := encoded(t, testProfile())
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(raw)
	z.Close()
	for name, data := range map[string][]byte{"raw": raw, "gzipped": zipped.Bytes(), "folded": []byte(folded)} {
		p, err := Read(bytes.NewReader(data), "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var out bytes.Buffer
		if err := WriteFolded(&out, p.Stacks); err != nil {
			t.Fatal(err)
		}
		if out.String() != folded {
			t.Errorf("%s: got\n%s", name, out.String())
		}
		if name != "folded" && (p.SampleType != "samples" || p.Frequency != 99) {
			t.Errorf("%s: got %s at %d Hz", name, p.SampleType, p.Frequency)
		}
	}
	if p, err := ReadPprof(bytes.NewReader(raw), "cpu"); err != nil || p.Stacks[0].Count != 20 {
		t.Errorf("cpu: got %v, %v", p, err)
	}
}

func TestReadPprofErrors(t *testing.T) {
	negative := testProfile()
	negative.Sample[0].Value[0] = -1
	// 20 MB of empty samples, two bytes each, would become gigabytes.
	bomb := append(encoded(t, testProfile()), bytes.Repeat([]byte{2<<3 | 2, 0}, 11<<20)...)
	// Few bytes, many frames: one location with 4,000 inlined functions, which
	// one stack holds 4,000 times.
	wide := testProfile()
	wide.Location[0].Line = make([]profile.Line, 4000)
	for i := range wide.Location[0].Line {
		wide.Location[0].Line[i].Function = wide.Function[0]
	}
	wide.Sample[0].Location = nil
	for range 4000 {
		wide.Sample[0].Location = append(wide.Sample[0].Location, wide.Location[0])
	}
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"a difference":   {encoded(t, negative), "negative values"},
		"empty":          {nil, ""},
		"text":           {[]byte("main;call 3\n"), ""},
		"cut off":        {encoded(t, testProfile())[:200], ""},
		"broken gzip":    {[]byte{0x1f, 0x8b, 8, 0}, ""},
		"empty messages": {bomb, "more than 2 GiB"},
		"inlined":        {encoded(t, wide), "frames"},
	} {
		_, err := ReadPprof(bytes.NewReader(tc.data), "")
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
	var bigZip bytes.Buffer
	z := gzip.NewWriter(&bigZip)
	z.Write(make([]byte, 1<<20))
	z.Close()
	// What is compressed one after the other is read as one.
	bigZip.Write(bytes.Repeat(bigZip.Bytes(), maxInput>>20))
	if _, err := ReadPprof(&bigZip, ""); err == nil || !strings.Contains(err.Error(), "256 MiB") {
		t.Errorf("257 MiB of zeros in %d bytes: got %v", bigZip.Len(), err)
	}
}

func FuzzReadPprof(f *testing.F) {
	f.Add(encoded(f, testProfile()))
	f.Add([]byte("\x12\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ReadPprof(bytes.NewReader(data), "")
		if err != nil {
			return
		}
		total, err := Total(p.Stacks)
		if err != nil {
			t.Fatalf("what was read does not add up: %v", err)
		}
		// Time is left out: its factor may overflow.
		p.Frequency = 0
		var out bytes.Buffer
		if err := WritePprof(&out, p); err != nil {
			t.Fatal(err)
		}
		again, err := ReadPprof(&out, "")
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if n, _ := Total(again.Stacks); n != total {
			t.Fatalf("%d counts became %d", total, n)
		}
		if err := WriteSVG(&out, p.Stacks, SVGOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

// The labels of stacks must be what go tool pprof goes by, and come back.
func TestPprofLabels(t *testing.T) {
	require.Tool(t, "go")
	label := func(command, key string) []Label { return []Label{{"command", command}, {"key", key}} }
	stacks := []Stack{
		{Frames: []Frame{{Name: "main"}, {Name: "getCommand"}}, Count: 3, Labels: label("GET", "user:")},
		{Frames: []Frame{{Name: "main"}, {Name: "setCommand"}}, Count: 5, Labels: label("SET", "user:")},
		{Frames: []Frame{{Name: "main"}, {Name: "setCommand"}}, Count: 7, Labels: label("SET", "order:")},
		{Frames: []Frame{{Name: "main"}, {Name: "setCommand"}}, Count: 11},
	}
	file := writeProfile(t, &Profile{Stacks: stacks})
	out := goTool(t, file, "-tagfocus", "command=SET", "-traces")
	if strings.Contains(out, "getCommand") || !strings.Contains(out, "order:") {
		t.Errorf("with -tagfocus command=SET:\n%s", out)
	}
	if out := goTool(t, file, "-tagfocus", "command=SET", "-tagignore", "key=order", "-top"); !strings.Contains(out, " 5 ") || strings.Contains(out, " 12 ") {
		t.Errorf("without order:\n%s", out)
	}
	if out := goTool(t, file, "-tags"); !regexp.MustCompile(`12 \([^)]*\): SET`).MatchString(out) {
		t.Errorf("-tags:\n%s", out)
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	p, err := ReadPprof(in, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Stacks) != len(stacks) {
		t.Fatalf("%+v", p.Stacks)
	}
	for i, s := range p.Stacks {
		if s.Count != stacks[i].Count || !slices.Equal(s.Labels, stacks[i].Labels) || s.Label("command") != stacks[i].Label("command") {
			t.Errorf("got %+v, want %+v", s, stacks[i])
		}
	}
	// Labels mean nothing between profiles of different kinds: folded stacks and drawings are without.
	var folded bytes.Buffer
	if err := WriteFolded(&folded, p.Stacks); err != nil || folded.String() != "main;getCommand 3\nmain;setCommand 23\n" {
		t.Errorf("%v\n%s", err, folded.String())
	}
}
