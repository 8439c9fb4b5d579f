package differential

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/redscope/redscope/engine/internal/rdb"
	"github.com/redscope/redscope/internal/wire"
)

// compareKeys compares all that two servers hold: the keys, and of each its type, its
// encoding, when it expires and its payload. It returns how many keys there are.
func compareKeys(ours, theirs *conn) (*Mismatch, int, error) {
	total := 0
	for db := range databases {
		m, n, err := compareDatabase(ours, theirs, strconv.Itoa(db))
		total += n
		if m != nil || err != nil {
			return m, total, err
		}
	}
	return nil, total, nil
}

func compareDatabase(ours, theirs *conn, db string) (*Mismatch, int, error) {
	sel := []Command{{"HELLO", "2"}, {"SELECT", db}, {"KEYS", "*"}}
	got, want, err1, err2 := both(ours, theirs, sel)
	if err1 != nil || err2 != nil {
		return &Mismatch{Commands: sel, Ours: died(err1), Theirs: died(err2), death: true}, 0, nil
	}
	mine, keys := keyNames(got[2]), keyNames(want[2])
	if strings.Join(mine, "\x00") != strings.Join(keys, "\x00") {
		return &Mismatch{Commands: sel, Ours: fmt.Sprintf("%q", mine), Theirs: fmt.Sprintf("%q", keys)}, len(keys), nil
	}
	var commands []Command
	for _, k := range keys {
		commands = append(commands, Command{"TYPE", k}, Command{"OBJECT", "ENCODING", k}, Command{"PEXPIRETIME", k}, Command{"DUMP", k})
	}
	got, want, err1, err2 = both(ours, theirs, commands)
	if err1 != nil || err2 != nil {
		return &Mismatch{Commands: sel[1:2], Ours: died(err1), Theirs: died(err2), death: true}, len(keys), nil
	}
	for i, c := range commands {
		if want[i].Kind == '-' || got[i].Kind == '-' {
			if got[i].Kind != want[i].Kind && strings.Contains(got[i].Text, "unknown command") {
				continue // not there yet
			}
		} else if c[0] == "DUMP" {
			encoding := want[i-2].Text
			kind := want[i-3].Text
			if m, err := compareDumps(ours, theirs, kind, encoding, c[1], got[i].Text, want[i].Text); m != nil || err != nil {
				if m != nil {
					m.Commands = append([]Command{{"SELECT", db}}, m.Commands...)
				}
				return m, len(keys), err
			}
			continue
		}
		if !same(c, got[i], want[i]) {
			return &Mismatch{Commands: []Command{{"SELECT", db}, c}, Ours: got[i].String(), Theirs: want[i].String()}, len(keys), nil
		}
	}
	return nil, len(keys), nil
}

func keyNames(v wire.Reply) []string {
	names := make([]string, len(v.Items))
	for i, item := range v.Items {
		names[i] = item.Text
	}
	sort.Strings(names)
	return names
}

// compareDumps compares payloads. The order of a hash table's elements is nobody's
// business, so they are compared as commands list them; and the times in a stream's
// groups differ.
func compareDumps(ours, theirs *conn, kind, encoding, key, got, want string) (*Mismatch, error) {
	if got == want {
		return nil, nil
	}
	dump := Command{"DUMP", key}
	switch {
	case encoding == "hashtable" && len(got) > 0 && len(want) > 0 && got[0] == want[0]:
		c := Command{"SMEMBERS", key}
		if kind == "hash" {
			c[0] = "HGETALL"
		}
		v, w, err1, err2 := both(ours, theirs, []Command{c})
		if err1 != nil || err2 != nil {
			return &Mismatch{Commands: []Command{c}, Ours: died(err1), Theirs: died(err2), death: true}, nil
		}
		if same(c, v[0], w[0]) {
			return nil, nil
		}
		return &Mismatch{Commands: []Command{c}, Ours: v[0].String(), Theirs: w[0].String()}, nil
	case kind == "stream":
		if a, ok := maskStreamTimes(got); ok {
			if b, ok := maskStreamTimes(want); ok && a == b {
				return nil, nil
			}
		}
	}
	return &Mismatch{Commands: []Command{dump}, Ours: fmt.Sprintf("%q", got), Theirs: fmt.Sprintf("%q", want)}, nil
}

// maskStreamTimes returns the body of a stream's payload with zeroes for the times in
// its groups.
func maskStreamTimes(payload string) (string, bool) {
	if len(payload) < 11 {
		return "", false
	}
	b := []byte(payload[:len(payload)-10])
	r := rdb.NewReader(b)
	var scratch []byte
	r.Byte()
	for n := r.Len(); n > 0 && !r.Short; n-- { // nodes
		r.String(&scratch)
		r.String(&scratch)
	}
	for range 8 { // length, last, first and deleted ID, entries added
		r.Len()
	}
	mask := func() {
		if t, ok := r.Bytes(8); ok {
			clear(t)
		}
	}
	for groups := r.Len(); groups > 0 && !r.Short; groups-- {
		r.String(&scratch)
		for range 3 { // last ID and entries read
			r.Len()
		}
		for pending := r.Len(); pending > 0 && !r.Short; pending-- {
			r.Bytes(16)
			mask()
			r.Len()
		}
		for consumers := r.Len(); consumers > 0 && !r.Short; consumers-- {
			r.String(&scratch)
			mask()
			for pending := r.Len(); pending > 0 && !r.Short; pending-- {
				r.Bytes(16)
			}
		}
	}
	return string(b), !r.Short && r.Rest() == 0
}
