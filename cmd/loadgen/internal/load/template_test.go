package load

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The format of redis-benchmark 7.0: "__rand_int__ inside an argument with a 12
// digits number in the specified range from 0 to keyspacelen-1" (its --help).
func TestRandomKeys(t *testing.T) {
	b, err := newBatch(Command{Args: []string{"SET", "key:" + RandInt, "VXK"}}, 4, 100, "", 1)
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^\*3\r\n\$3\r\nSET\r\n\$16\r\nkey:(\d{12})\r\n\$3\r\nVXK\r\n$`)
	seen := map[int]bool{}
	for range 1000 {
		out := string(b.fill(0, 4))
		for _, cmd := range strings.SplitAfter(out, "VXK\r\n") {
			if cmd == "" {
				continue
			}
			m := want.FindStringSubmatch(cmd)
			if m == nil {
				t.Fatalf("got %q", cmd)
			}
			n, _ := strconv.Atoi(m[1])
			if n >= 100 {
				t.Fatalf("key %d is beyond the keyspace of 100", n)
			}
			seen[n] = true
		}
	}
	if len(seen) != 100 {
		t.Errorf("4000 draws hit %d of 100 keys", len(seen))
	}
}

func TestPlaceholders(t *testing.T) {
	for _, c := range []struct {
		name     string
		args     []string
		keyspace int64
		seq      string
		first    int64
		want     string
	}{
		{"literal without -r", []string{"GET", "k:" + RandInt}, -1, "", 0, "*2\r\n$3\r\nGET\r\n$14\r\nk:__rand_int__\r\n"},
		{"-r 0 is key 0", []string{"GET", "k:" + RandInt}, 0, "", 0, "*2\r\n$3\r\nGET\r\n$14\r\nk:000000000000\r\n"},
		{"-r 1 is key 0", []string{"GET", RandInt}, 1, "", 0, "*2\r\n$3\r\nGET\r\n$12\r\n000000000000\r\n"},
		{"sequence", []string{"SET", "n", SeqInt}, -1, "10000000000", 999999, "*3\r\n$3\r\nSET\r\n$1\r\nn\r\n$11\r\n10000999999\r\n"},
		{"sequence twice", []string{"SET", SeqInt, "<" + SeqInt + ">"}, -1, "007", 5, "*3\r\n$3\r\nSET\r\n$3\r\n012\r\n$5\r\n<012>\r\n"},
	} {
		b, err := newBatch(Command{Args: c.args}, 1, c.keyspace, c.seq, 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(b.fill(c.first, 1)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if _, err := newBatch(Command{Args: []string{"SET", "n", SeqInt}}, 1, -1, "ten", 0); err == nil {
		t.Error("a start that is not a number was accepted")
	}
	if _, err := newBatch(Command{}, 1, -1, "", 0); err == nil {
		t.Error("an empty command was accepted")
	}
}

func TestFillDoesNotAllocate(t *testing.T) {
	b, err := newBatch(Command{Args: []string{"SET", "key:" + RandInt, SeqInt}}, 16, 1000000, "0", 1)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { b.fill(7, 16) }); n != 0 {
		t.Errorf("fill allocates %v times", n)
	}
}

func BenchmarkFill(b *testing.B) {
	batch, err := newBatch(Command{Args: []string{"SET", "key:" + RandInt, "VXK"}}, 16, 1000000, "", 1)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(batch.bytes)))
	for b.Loop() {
		batch.fill(0, 16)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/16, "ns/request")
}
