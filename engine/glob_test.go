package engine

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/wire"
)

// TestGlobAgainstOracle matches random patterns against a few keys: with KEYS,
// which tells cases apart, and with COMMAND LIST FILTERBY PATTERN, which does not.
func TestGlobAgainstOracle(t *testing.T) {
	theirs := dial(t, startOracle(t))
	m := commandMaker{newRand(t)}
	random := func(alphabet string, max int) string {
		b := make([]byte, m.IntN(max+1))
		for i := range b {
			b[i] = alphabet[m.IntN(len(alphabet))]
		}
		return string(b)
	}
	names := func(v wire.Reply) []string {
		var out []string
		for _, item := range v.Items {
			out = append(out, item.Text)
		}
		slices.Sort(out)
		return out
	}
	keys := map[string]bool{"": true, strings.Repeat("ab", 1500): true}
	for len(keys) < 300 {
		keys[random("ab*?[]^-\\\xff\x80c", 6)] = true
	}
	for k := range keys {
		theirs.do(t, "SET", k, "x")
	}
	commands := names(theirs.do(t, "COMMAND", "LIST"))
	var batch [][]string
	for _, stars := range []int{999, 1000, 1001, 1002} {
		batch = append(batch, []string{"KEYS", strings.Repeat("*b", stars)}, []string{"KEYS", strings.Repeat("*b", stars) + "*"}, []string{"KEYS", strings.Repeat("*", stars) + "b"})
	}
	for range 15000 {
		batch = append(batch, []string{"KEYS", random("aab*?[]^-\\\xff\x80c", 9)})
	}
	for range 5000 {
		batch = append(batch, []string{"COMMAND", "LIST", "FILTERBY", "PATTERN", random("eEtTaAgS**?[]^-\\Zz", 9)})
	}
	matches := 0
	for i, v := range theirs.pipeline(t, batch) {
		pattern := batch[i][len(batch[i])-1]
		nocase := batch[i][0] == "COMMAND"
		var got []string
		if nocase {
			for _, name := range commands {
				if stringmatchlen([]byte(pattern), []byte(name), true) {
					got = append(got, name)
				}
			}
		} else {
			for k := range keys {
				if pattern == "*" || stringmatchlen([]byte(pattern), []byte(k), false) {
					got = append(got, k)
				}
			}
			slices.Sort(got)
		}
		matches += len(got)
		if want := names(v); !slices.Equal(got, want) {
			t.Errorf("%q, nocase %t:\ngot  %.300q\nwant %.300q", pattern, nocase, got, want)
		}
	}
	if matches < 1000 {
		t.Errorf("only %d matches", matches)
	}
}

// TestGlobIsNotExponential gives patterns that take a naive matcher longer than
// the universe lasts.
func TestGlobIsNotExponential(t *testing.T) {
	// By the thread's own clock, which stands still while others run.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadTime(t)
	s := bytes.Repeat([]byte("a"), 10000)
	for _, pattern := range []string{
		strings.Repeat("a*", 500) + "b",
		strings.Repeat("*a", 500) + "b",
		strings.Repeat("*?", 500) + "b",
		strings.Repeat("*[a-z]", 500) + "b",
		strings.Repeat("a*", 100) + strings.Repeat("a", 1000) + "b",
	} {
		if stringmatchlen([]byte(pattern), s, false) {
			t.Errorf("%.20q… matches", pattern)
		}
	}
	if d := threadTime(t) - start; d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

// FuzzGlob holds what is true of any pattern and string.
func FuzzGlob(f *testing.F) {
	for _, p := range []string{"", "*", "a*b", "[", "[^", "[a-", "[\\", "\\", "a[b]c*?"} {
		f.Add([]byte(p), []byte("abc"))
	}
	f.Fuzz(func(t *testing.T, pattern, s []byte) {
		var escaped []byte
		for _, b := range s {
			escaped = append(escaped, '\\', b)
		}
		if !stringmatchlen(escaped, s, false) {
			t.Errorf("%q does not match itself", s)
		}
		if stringmatchlen(escaped, append(s, 'x'), false) {
			t.Errorf("%q matches more than itself", s)
		}
		if stringmatchlen(pattern, s, false) && len(s) > 0 {
			// A star in front may match nothing.
			if bytes.Count(pattern, []byte("*")) < maxGlobNesting && !stringmatchlen(append([]byte("*"), pattern...), s, false) {
				t.Errorf("%q matches %q, with a star in front it does not", pattern, s)
			}
		}
		stringmatchlen(pattern, s, true)
	})
}
