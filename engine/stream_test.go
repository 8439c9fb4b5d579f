package engine

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/engine/internal/listpack"
	"github.com/redscope/redscope/engine/internal/rax"
	"github.com/redscope/redscope/internal/wire"
)

// check verifies what holds between commands.
func (s *stream) check() error {
	length, size := uint64(0), int64(0)
	var err error
	s.eachNode(func(master streamID, lp []byte) {
		if !listpack.Valid(lp, true) || !streamValidateListpackIntegrity(lp) {
			err = fmt.Errorf("the node %v is no valid one", master)
			return
		}
		length += uint64(listpack.Int(lp, listpack.First(lp)))
		size += int64(cap(lp))
	})
	if err != nil {
		return err
	}
	if length != s.length || size != s.nodeBytes {
		return fmt.Errorf("%d entries in %d bytes, counted %d in %d", length, size, s.length, s.nodeBytes)
	}
	var forwards, backwards []streamID
	for _, reverse := range []bool{false, true} {
		var si streamIterator
		si.begin(s, streamID{}, maxStreamID, reverse)
		for {
			id, _, ok := si.next()
			if !ok {
				break
			}
			if reverse {
				backwards = append(backwards, id)
			} else {
				forwards = append(forwards, id)
			}
		}
	}
	slices.Reverse(backwards)
	if !slices.Equal(forwards, backwards) || uint64(len(forwards)) != s.length {
		return fmt.Errorf("forwards %v, backwards %v", forwards, backwards)
	}
	for i := 1; i < len(forwards); i++ {
		if !forwards[i-1].before(forwards[i]) {
			return fmt.Errorf("%v, then %v", forwards[i-1], forwards[i])
		}
	}
	s.eachGroup(func(name []byte, g *streamCG) {
		n := 0
		g.eachConsumer(func(k *streamConsumer) {
			n += k.pel.Len()
			eachPending(k.pel, func(id streamID, nack *streamNACK) {
				key := id.key()
				if same, _ := g.pel.Find(key[:]); same != nack || nack.consumer != k {
					err = fmt.Errorf("group %q, consumer %q: %v is not the group's", name, k.name, id)
				}
			})
		})
		if n != g.pel.Len() {
			err = fmt.Errorf("group %q: %d pending, its consumers have %d", name, g.pel.Len(), n)
		}
	})
	return err
}

// streamMaker makes commands on few streams, with IDs that meet.
type streamMaker struct {
	commandMaker
	last uint64 // an ID that is about the last
}

func (m *streamMaker) id() string {
	switch m.IntN(12) {
	case 0:
		return pick(m.commandMaker, "0-0", "0", "0-1", "-", "+", "x", "", "1-", "-1", "--1", "1--05", " 7-+8", "01-02", "5-*", "*", "$", ">", "1-1\x00x", "1-1-1", "(5", "((5", "(",
			"18446744073709551615", "18446744073709551615-18446744073709551615", "18446744073709551616", "9223372036854775808-5", "5-18446744073709551615", strings.Repeat("0", 125)+"7", strings.Repeat("0", 127)+"7")
	case 1:
		return strconv.FormatUint(m.last/5, 10)
	}
	n := m.Uint64N(m.last + 2)
	if m.IntN(2) == 0 {
		n = m.last - min(m.last, m.Uint64N(8))
	}
	return fmt.Sprintf("%d-%d", n/5, n%5)
}

func (m *streamMaker) interval() string {
	switch m.IntN(4) {
	case 0:
		return pick(m.commandMaker, "-", "+", "-", "+", "(0-0", "(18446744073709551615", "(-", "(+")
	case 1:
		return "(" + m.id()
	}
	return m.id()
}

func (m *streamMaker) count() string {
	if m.IntN(12) == 0 {
		return pick(m.commandMaker, "-1", "x", "", "9223372036854775808", "-9223372036854775808", "9223372036854775807", "0")
	}
	return strconv.Itoa(1 + m.IntN(20))
}

func (m *streamMaker) trimming(args []string) []string {
	for range pick(m.commandMaker, 0, 1, 1, 1, 1, 2) {
		if m.IntN(2) == 0 {
			args = append(args, m.anyCase("MAXLEN"))
		} else {
			args = append(args, m.anyCase("MINID"))
		}
		minID := strings.EqualFold(args[len(args)-1], "MINID")
		if m.IntN(2) == 0 {
			args = append(args, pick(m.commandMaker, "=", "~", "~", "~"))
		}
		if minID {
			args = append(args, m.id())
		} else {
			args = append(args, pick(m.commandMaker, m.count(), "50", "40", "60"))
		}
		if m.IntN(5) == 0 {
			args = append(args, "LIMIT", m.count())
		}
	}
	return args
}

// value makes values so small that an entry fits into the 4096 bytes that Redis sets
// aside for a new node. Where it has to move a node that it has just made, 7.0.15
// may go on with memory that it has freed.
func (m *streamMaker) value() string {
	for {
		if v := m.commandMaker.value(); len(v) <= 1000 {
			return v
		}
	}
}

func (m *streamMaker) field() string {
	if m.IntN(20) == 0 {
		return m.value()
	}
	return pick(m.commandMaker, "f", "g", "1", "300", "temperature", "")
}

func (m *streamMaker) command() []string {
	p := m.commandMaker
	key := func() string {
		if m.IntN(60) == 0 {
			return pick(p, "string", "none", "")
		}
		return pick(p, "s", "s", "s", "t", "u")
	}
	group := func() string { return pick(p, "g", "g", "g", "h", "i", "none", "a\x00b") }
	consumer := func() string { return pick(p, "alice", "bob", "carol", "al", "", "b\x00b") }
	var args []string
	add := func(more ...string) { args = append(args, more...) }
	maybe := func(n int, more ...string) {
		if m.IntN(n) == 0 {
			args = append(args, more...)
		}
	}
	switch m.IntN(40) {
	default:
		add("XADD", key())
		maybe(10, "NOMKSTREAM")
		if m.IntN(4) == 0 {
			args = m.trimming(args)
		}
		if id := m.id(); m.IntN(10) == 0 && id != "*" { // the clocks differ
			add(id)
		} else {
			m.last += m.Uint64N(4)
			id := fmt.Sprintf("%d-%d", m.last/5, m.last%5)
			if m.IntN(5) == 0 {
				id = fmt.Sprintf("%d-*", m.last/5)
			}
			add(id)
		}
		if m.IntN(3) > 0 {
			add("f", m.value(), "g", m.field())
		} else {
			for range m.IntN(4) {
				add(m.field(), m.field())
			}
			maybe(20, "odd")
		}
	case 13:
		add("XTRIM", key())
		args = m.trimming(args)
		maybe(10, "x")
	case 14:
		add("XLEN", key())
	case 15, 16:
		add(pick(p, "XRANGE", "XREVRANGE"), key(), m.interval(), m.interval())
		maybe(2, "COUNT", m.count())
		maybe(20, "x")
	case 17, 18, 19:
		add("XDEL", key())
		for range 1 + m.IntN(3) {
			add(m.id())
		}
	case 20:
		add("XSETID", key(), m.id())
		maybe(4, "ENTRIESADDED", pick(p, "0", "5", "1000", "-1", "x"))
		maybe(6, "MAXDELETEDID", m.id())
		maybe(20, "x")
		if m.IntN(2) == 0 {
			args = []string{"XLEN", "s"}
		}
	case 21:
		add("XREAD")
		maybe(2, "COUNT", m.count())
		add(m.anyCase("STREAMS"))
		n := 1 + m.IntN(3)
		for range n {
			add(key())
		}
		for range n {
			add(m.id())
		}
		maybe(20, "x")
	case 22, 23, 24, 25:
		add("XREADGROUP")
		maybe(50, "x")
		if m.IntN(30) > 0 {
			add("GROUP", group(), consumer())
		}
		maybe(2, "COUNT", m.count())
		maybe(4, "NOACK")
		add("STREAMS")
		n := 1 + m.IntN(2)
		for range n {
			add(key())
		}
		for range n {
			add(pick(p, ">", ">", ">", m.id()))
		}
		maybe(30, "x")
	case 26, 27:
		add("XACK", key(), group(), m.id(), m.id(), m.id())
	case 28:
		add("XGROUP", m.anyCase("CREATE"), key(), group(), pick(p, "$", "0", m.id()))
		maybe(2, "MKSTREAM")
		maybe(2, "ENTRIESREAD", pick(p, "0", "3", "100", "-1", "-2", "x"))
		maybe(20, "x")
	case 29:
		add("XGROUP", "SETID", key(), group(), pick(p, "$", "0", m.id()))
		maybe(2, "ENTRIESREAD", pick(p, "0", "3", "100", "-1", "-2", "x"))
		maybe(20, "ENTRIESREAD", "5")
	case 30:
		switch m.IntN(8) {
		case 0:
			add("XGROUP", "DESTROY", key(), group())
		case 1:
			add("XGROUP", "DELCONSUMER", key(), group(), consumer())
		case 2:
			add(pick(p, "DEL", "EXISTS", "EXISTS", "EXISTS"), key())
		case 3:
			add("CONFIG", "SET", "stream-node-max-entries", pick(p, "0", "1", "3", "10", "100"))
		case 4:
			add("CONFIG", "SET", "stream-node-max-bytes", pick(p, "0", "4096", "5000", "4096", "20000"))
		case 5:
			add("COPY", key(), key(), "REPLACE")
		case 6:
			add("RENAME", key(), key())
		default:
			add("XGROUP", "CREATECONSUMER", key(), group(), consumer())
		}
	case 31:
		add("XPENDING", key(), group())
	case 32:
		add("XPENDING", key(), group())
		maybe(3, "IDLE", pick(p, "0", "1000000", "x", "-5"))
		add(m.interval(), m.interval(), m.count())
		maybe(2, consumer())
		maybe(20, "x")
	case 33, 34:
		add("XCLAIM", key(), group(), consumer(), pick(p, "0", "0", "1000000", "x", "-5"))
		for range 1 + m.IntN(4) {
			add(m.id())
		}
		maybe(3, "IDLE", pick(p, "0", "5000000", "x", "-1", "-9223372036854775808"))
		maybe(6, "TIME", pick(p, "0", "5000000", "x", "-1", "9223372036854775807"))
		maybe(3, "RETRYCOUNT", pick(p, "0", "7", "x", "-1", "-2"))
		maybe(2, "FORCE")
		maybe(2, "JUSTID")
		maybe(8, "LASTID", m.id())
		maybe(20, "x")
	case 35:
		add("XAUTOCLAIM", key(), group(), consumer(), pick(p, "0", "0", "1000000", "x", "-5"), m.interval())
		maybe(2, "COUNT", m.count())
		maybe(2, "JUSTID")
		maybe(20, "x")
	case 36:
		add("XINFO", "STREAM", key())
		maybe(1, "FULL")
		maybe(2, "COUNT", m.count())
		maybe(20, "x")
	case 37:
		add("XINFO", "STREAM", key())
	case 38:
		add("XINFO", "GROUPS", key())
	case 39:
		add("XINFO", "CONSUMERS", key(), group())
	}
	if m.IntN(200) == 0 {
		args = args[:1+m.IntN(len(args))]
	}
	return args
}

// hideTimes replaces what depends on the clock, and an error of XADD where Redis
// tells that a millisecond is full: which one depends on the system calls before.
func hideTimes(args []string, r *wire.Reply) {
	name := strings.ToUpper(args[0])
	if name == "XADD" && r.Text == "ERR Elements are too large to be stored" {
		r.Text = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
	}
	for i := range r.Items {
		item := &r.Items[i]
		hideTimes(args, item)
		if item.Kind != ':' {
			continue
		}
		before := ""
		if i > 0 {
			before = r.Items[i-1].Text
		}
		if name == "XPENDING" && len(r.Items) == 4 && i == 2 || name == "XINFO" && (before == "idle" || len(item.Text) > 12) {
			item.Text = "time"
		}
	}
}

// TestStreamDifferential holds the commands of streams against redis-server, and
// the nodes of the streams that they leave, byte by byte.
func TestStreamDifferential(t *testing.T) {
	oracle := dial(t, startOracle(t, "--rdbcompression", "no"))
	m := commandMaker{newRand(t)}
	sent, failed := 0, 0
	for end := time.Now().Add(differentialTime()); time.Now().Before(end); {
		ours := newDirectServer(t)
		maker := streamMaker{commandMaker: m, last: 5}
		if m.IntN(2) == 0 {
			maker.last = 5e12 // deltas of any size
		}
		oracle.do(t, "FLUSHALL")
		oracle.do(t, "CONFIG", "SET", "stream-node-max-entries", "100", "stream-node-max-bytes", "4096")
		version := pick(m, "2", "3")
		for _, setup := range [][]string{{"HELLO", version}, {"SET", "string", "x"}, {"XGROUP", "CREATE", "s", "g", "$", "MKSTREAM"}} {
			oracle.do(t, setup...)
			ours.do(setup...)
		}
		var history [][]string
		for range 5 {
			batch := make([][]string, 200)
			for i := range batch {
				batch[i] = maker.command()
			}
			want := oracle.pipeline(t, batch)
			for i, args := range batch {
				got := ours.reply(t, args)
				history = append(history, args)
				hideTimes(args, &got)
				hideTimes(args, &want[i])
				if want[i].Kind == '-' {
					failed++
				}
				if !got.Equal(want[i]) {
					var before strings.Builder
					for _, h := range history[max(0, len(history)-40):] {
						fmt.Fprintf(&before, "\n%.60q", h)
					}
					t.Fatalf("%.300q\ngot  %.3000s\nwant %.3000s\nbefore:%s", args, got, want[i], before.String())
				}
			}
			sent += len(batch)
			for _, key := range []string{"s", "t", "u"} {
				r := ours.db[0].dict.Find([]byte(key))
				if r == 0 || metaType(ours.db[0].dict.Meta(r)) != typeStream {
					continue
				}
				s := streamOf(ours.db[0], r)
				if err := s.check(); err != nil {
					t.Fatalf("%s: %v", key, err)
				}
				dump := []byte(oracle.do(t, "DUMP", key).Text)
				s.eachNode(func(master streamID, lp []byte) {
					if !bytes.Contains(dump, lp) {
						t.Fatalf("%s: the node %v is not in the dump:\n%q\n%q", key, master, lp, dump)
					}
				})
			}
		}
	}
	t.Logf("%d commands, %d errors", sent, failed)
	if failed > sent/2 {
		t.Error("the commands are no good mixture")
	}
}

// A node's nodes and keys are as many as a real Redis's for IDs of all shapes.
func TestStreamTreeDifferential(t *testing.T) {
	oracle, ours := dial(t, startOracle(t, "--stream-node-max-entries", "1")), newDirectServer(t)
	ours.do("CONFIG", "SET", "stream-node-max-entries", "1")
	m := commandMaker{newRand(t)}
	id := streamID{1, 0}
	var ids []string
	for range 3000 {
		if m.IntN(3) > 0 || len(ids) == 0 {
			switch m.IntN(3) {
			case 0:
				id.seq += m.Uint64N(1<<m.IntN(40)) + 1
			default:
				id = streamID{id.ms + m.Uint64N(1<<m.IntN(34)) + 1, m.Uint64N(1 << m.IntN(60))}
			}
			text := string(id.appendText(nil))
			ids = append(ids, text)
			oracle.do(t, "XADD", "s", text, "a", "b")
			ours.do("XADD", "s", text, "a", "b")
			continue
		}
		i := m.IntN(len(ids))
		oracle.do(t, "XDEL", "s", ids[i])
		ours.do("XDEL", "s", ids[i])
		ids = slices.Delete(ids, i, i+1)
		want, got := oracle.do(t, "XINFO", "STREAM", "s"), ours.reply(t, []string{"XINFO", "STREAM", "s"})
		if !got.Equal(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

func TestStreamValidNode(t *testing.T) {
	s := newStream()
	var it rax.Iterator[[]byte]
	for i := range 5 {
		s.append(&it, streamID{1, uint64(i)}, [][]byte{{byte('a' + i/3)}, []byte("value")}, 6, streamNodeLimits{})
	}
	it.Last()
	node := it.Value()
	if !streamValidateListpackIntegrity(node) {
		t.Fatal("what was made here is not valid")
	}
	// Without an element, or with another in its place, it is none; but fields and
	// values may be anything.
	for i := range listpack.Len(node) {
		for _, by := range []string{"", "x", "77", "-1", "9223372036854775807"} {
			lp := slices.Clone(node)
			p := listpack.Seek(lp, i)
			if by == "" {
				lp, _ = listpack.Delete(lp, p)
			} else {
				lp, _ = listpack.Replace(lp, p, []byte(by))
			}
			if !streamValidateListpackIntegrity(lp) {
				continue
			}
			_, _, isInt := listpack.Get(node, listpack.Seek(node, i))
			if by == "" || by == "x" && isInt {
				t.Errorf("with %q in place of element %d it is valid", by, i)
			}
			// Whatever is called valid can be read.
			bad := newStream()
			bad.addNode(streamID{}, lp)
			for _, reverse := range []bool{false, true} {
				var si streamIterator
				si.begin(bad, streamID{}, maxStreamID, reverse)
				for {
					_, n, ok := si.next()
					if !ok {
						break
					}
					for range n {
						si.nextField()
					}
				}
			}
		}
	}
}

func TestStreamNoAllocations(t *testing.T) {
	s := newDirectServer(t)
	for range 1000 {
		s.do("XADD", "s", "*", "field", "value", "another", "12345")
	}
	for _, command := range []string{
		"XADD s MAXLEN ~ 1000 * field value another 12345",
		"XLEN s",
		"XRANGE s - + COUNT 10",
		"XREVRANGE s + - COUNT 10",
		"XREAD COUNT 10 STREAMS s 0",
		"XTRIM s MAXLEN 1000",
	} {
		var argv [][]byte
		for _, a := range strings.Fields(command) {
			argv = append(argv, []byte(a))
		}
		s.run(argv)
		// A node's listpack is allocated, now and then, as it grows.
		if n := testing.AllocsPerRun(500, func() { s.run(argv) }); n > 0 {
			t.Errorf("%s: %v allocations", command, n)
		}
	}
}

// reply executes a command and reads its reply.
func (s *directServer) reply(t testing.TB, args []string) wire.Reply {
	t.Helper()
	return parseReply(t, s.do(args...))
}
