package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/wire"
)

func newCommandTable() *Server {
	s := &Server{}
	s.populateCommandTable()
	return s
}

// fullNames returns every command and subcommand as COMMAND prints it.
func (t *commandTable) fullNames() []string {
	var names []string
	for _, cmd := range t.byID {
		names = append(names, cmd.fullName)
	}
	return names
}

// TestCommandTableAgainstOracle compares what COMMAND INFO and COMMAND DOCS say
// of each of our commands with what redis-server says, in both protocols.
func TestCommandTableAgainstOracle(t *testing.T) {
	theirs := dial(t, startOracle(t))
	ours := dial(t, startOurs(t))
	for _, protocol := range []string{"2", "3"} {
		theirs.do(t, "HELLO", protocol)
		ours.do(t, "HELLO", protocol)
		for _, name := range newCommandTable().commands.fullNames() {
			for _, about := range []string{"INFO", "DOCS"} {
				want := sortSubcommands(theirs.do(t, "COMMAND", about, name))
				got := sortSubcommands(ours.do(t, "COMMAND", about, name))
				if d := firstDifference(linesOf(got, ""), linesOf(want, "")); d != "" {
					t.Errorf("RESP%s, COMMAND %s %s: %s", protocol, about, name, d)
				}
			}
		}
	}
}

// sortSubcommands puts the subcommands in a reply to COMMAND INFO or COMMAND
// DOCS in alphabetical order: Redis sends them in the order of a hash table.
func sortSubcommands(v wire.Reply) wire.Reply {
	if len(v.Items) == 0 {
		return v
	}
	first := v.Items[0]
	if len(first.Items) == 10 { // INFO: name, arity, …, subcommands
		slices.SortFunc(first.Items[9].Items, func(a, b wire.Reply) int {
			return strings.Compare(a.Items[0].Text, b.Items[0].Text)
		})
		return v
	}
	docs := v.Items[1].Items // DOCS: field and value in turn, then name and docs in turn
	for i := 0; i+1 < len(docs); i += 2 {
		if docs[i].Text != "subcommands" {
			continue
		}
		subs := slices.Collect(slices.Chunk(docs[i+1].Items, 2))
		slices.SortFunc(subs, func(a, b []wire.Reply) int { return strings.Compare(a[0].Text, b[0].Text) })
		docs[i+1].Items = slices.Concat(subs...)
	}
	return v
}

// firstDifference tells where two renderings part, or "".
func firstDifference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = strings.TrimSpace(got[i])
		}
		if i < len(want) {
			w = strings.TrimSpace(want[i])
		}
		if g != w {
			context := strings.Join(want[max(0, i-3):min(i, len(want))], " ")
			return "after " + context + ": got " + g + ", want " + w
		}
	}
	return ""
}

func TestLookupCommand(t *testing.T) {
	s := newCommandTable()
	for _, cmd := range s.commands.rows {
		for _, name := range []string{cmd.name, strings.ToUpper(cmd.name), strings.ToUpper(cmd.name[:1]) + cmd.name[1:]} {
			if got := s.lookupCommand([]byte(name)); got != cmd {
				t.Errorf("lookupCommand(%q) = %v", name, got)
			}
		}
		for i := range cmd.name { // any byte in this place
			for b := range 256 {
				name := []byte(strings.ToUpper(cmd.name))
				name[i] = byte(b)
				if got := s.lookupCommand(name); (got == cmd) != equalFoldASCII(name, cmd.name) {
					t.Errorf("lookupCommand(%q) = %v", name, got)
				}
			}
		}
		for _, sub := range cmd.subcommands {
			name := strings.ToUpper(sub.name)
			if got := s.lookupCommandArgs([][]byte{[]byte(cmd.name), []byte(name)}); got != sub {
				t.Errorf("lookupCommandArgs(%q, %q) = %v", cmd.name, name, got)
			}
			if got := s.lookupCommandFullName([]byte(cmd.name + "|" + name)); got != sub {
				t.Errorf("lookupCommandFullName(%q) = %v", cmd.name+"|"+name, got)
			}
			if want := strings.ToUpper(cmd.name + " " + sub.name); s.CommandName(sub.id) != want {
				t.Errorf("CommandName(%d) = %q, want %q", sub.id, s.CommandName(sub.id), want)
			}
		}
	}
	for _, name := range []string{
		"", "|", "se", "sett", "s\x05t", "\x13et", "config|get", "incrbyfloatincrbyfloat",
		"ec\x48\x4f\x00", "\u212Aeys", // the Kelvin sign is no k
	} {
		if got := s.lookupCommand([]byte(name)); got != nil {
			t.Errorf("lookupCommand(%q) = %s", name, got.name)
		}
	}
	for _, name := range []string{"config|", "|get", "get|", "get|x", "config|get|", "config|get|x"} {
		if got := s.lookupCommandFullName([]byte(name)); got != nil {
			t.Errorf("lookupCommandFullName(%q) = %s", name, got.fullName)
		}
	}
	if s.CommandName(-1) != "" || s.CommandName(len(s.commands.byID)) != "" {
		t.Error("CommandName names commands that do not exist")
	}
}

func TestLookupCommandDoesNotAllocate(t *testing.T) {
	s := newCommandTable()
	argv := [][]byte{[]byte("CONFIG"), []byte("Get"), []byte("maxmemory")}
	if n := testing.AllocsPerRun(100, func() { s.lookupCommandArgs(argv) }); n != 0 {
		t.Errorf("a lookup allocates %v times", n)
	}
}

func BenchmarkLookupCommand(b *testing.B) {
	s := newCommandTable()
	for _, name := range []string{"set", "GET", "incrbyfloat", "nosuchcommand"} {
		b.Run(name, func(b *testing.B) {
			argv := [][]byte{[]byte(name), []byte("key")}
			for b.Loop() {
				s.lookupCommandArgs(argv)
			}
		})
	}
}

// TestGetKeysDifferential asks both servers for the keys of calls at random, most
// of which make little sense.
func TestGetKeysDifferential(t *testing.T) {
	var withKeys []*command
	for _, cmd := range newCommandTable().commands.byID {
		if cmd.keySpecs != nil || cmd.getKeys != nil {
			withKeys = append(withKeys, cmd)
		}
	}
	words := []string{"a", "b", "0", "1", "2", "3", "-1", "x", "STORE", "STOREDIST", "LIMIT", "BY", "GET", "SET", "INCRBY", "OVERFLOW", "u8",
		"STREAMS", "COUNT", "BLOCK", "GROUP", "WEIGHTS", "KEYS", "REPLACE", "MINMATCHLEN", "LEFT", "store", "streams", "NX", "9223372036854775808"}
	differential(t, differentialTime()/2, func(m commandMaker) []string {
		args := []string{"COMMAND", pick(m, "GETKEYS", "GETKEYSANDFLAGS")}
		cmd := withKeys[m.IntN(len(withKeys))]
		args = append(args, strings.Split(cmd.fullName, "|")...)
		atLeast := max(cmd.arity, -cmd.arity) + 2 - len(args) // COMMAND GETKEYS itself does not count
		more := m.IntN(9)
		if cmd.arity > 0 && m.IntN(4) > 0 {
			more = 0
		}
		for range atLeast + more {
			args = append(args, words[m.IntN(len(words))])
		}
		return args
	})
}
