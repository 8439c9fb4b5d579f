package engine

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redscope/redscope/engine/internal/ae"
	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/rdb"
	"github.com/redscope/redscope/internal/wire"
)

// The scripts run again with the encodings of values at their limits, and with
// every value written and read as an RDB file does between two commands. What may
// change then nobody writes down: redis-server runs the script in the same mode,
// and where a reply is not what the script expects, its reply is expected of ours.

// oracleMode is a way in which redis-server and ours both run each script.
type oracleMode struct {
	name   string
	limits []string // parameters and their values, which scripts cannot change
	reload bool     // values between two commands
	// short says that -short runs this mode, though without scripts that wait; the
	// others never run those.
	short bool
}

var oracleModes = []oracleMode{
	// Encodings change all the time. It takes longest: the others run beside it.
	{name: "few", limits: []string{
		"hash-max-listpack-entries", "2", "hash-max-listpack-value", "4", "set-max-intset-entries", "2",
		"zset-max-listpack-entries", "2", "zset-max-listpack-value", "4", "list-max-listpack-size", "2", "list-compress-depth", "1",
		"stream-node-max-entries", "2", "hll-sparse-max-bytes", "30", "sanitize-dump-payload", "yes",
	}, reload: true, short: true},
	// Nothing has a small encoding.
	{name: "none", limits: []string{
		"hash-max-listpack-entries", "0", "hash-max-listpack-value", "1", "set-max-intset-entries", "0",
		"zset-max-listpack-entries", "0", "zset-max-listpack-value", "1", "list-max-listpack-size", "1", "list-compress-depth", "1",
		"stream-node-max-entries", "1", "hll-sparse-max-bytes", "0", "sanitize-dump-payload", "yes",
	}},
	// Everything has a small encoding.
	{name: "all", limits: []string{
		"hash-max-listpack-entries", "1000000", "hash-max-listpack-value", "1000000", "set-max-intset-entries", "1000000",
		"zset-max-listpack-entries", "1000000", "zset-max-listpack-value", "1000000", "list-max-listpack-size", "1000000", "list-compress-depth", "0",
		"stream-node-max-entries", "0", "stream-node-max-bytes", "0", "hll-sparse-max-bytes", "15000", "sanitize-dump-payload", "yes",
	}, reload: true},
}

// sanitize-dump-payload is among the limits because without it RESTORE takes a hash
// with a field twice, of which redis-server dies as soon as it makes a table of it.

// chancy are the commands that no mode sends: what a scan in several steps returns
// is for a hash table to decide.
var chancy = regexp.MustCompile(`(?i)^[HSZ]SCAN \S+ ([1-9]|.* COUNT 1\b)`)

// groupsWithoutValues are the groups of scripts that the modes can change nothing of.
var groupsWithoutValues = []string{"connection", "protocol", "server"}

func TestScriptModes(t *testing.T) {
	for _, mode := range oracleModes {
		t.Run(mode.name, func(t *testing.T) {
			if testing.Short() && !mode.short {
				t.Skip("-short runs another mode")
			}
			t.Parallel()
			theirs, ours := mode.startOracle(t), mode.startOurs(t)
			for _, s := range readScripts(t) {
				group, _, _ := strings.Cut(s.name(), "/")
				waits := slices.ContainsFunc(s.steps, func(step *scriptStep) bool { return step.silent })
				if slices.Contains(groupsWithoutValues, group) || waits && (testing.Short() || !mode.short) {
					continue
				}
				t.Run(s.name(), func(t *testing.T) {
					theirs, ours := theirs, ours
					if s.server != nil {
						theirs, ours = mode.startOracle(t, s.server...), mode.startOurs(t, s.server...)
					}
					mode.prepare(s)
					send := scriptModes[0].send
					s.run(t, theirs, mode.reloading(t, theirs, send), true)
					s.forgetSeconds()
					s.run(t, ours, send, false)
				})
			}
		})
	}
}

func (mode *oracleMode) options(args []string) []string {
	var out []string
	for pair := range slices.Chunk(mode.limits, 2) {
		out = append(out, "--"+pair[0], pair[1])
	}
	return append(out, args...)
}

func (mode *oracleMode) startOracle(t *testing.T, args ...string) string {
	options := append(mode.options(args), "--enable-debug-command", "yes")
	if mode.reload {
		// DEBUG RELOAD waits for the disk: spare it where there is a memory file system.
		if dir, err := os.MkdirTemp("/dev/shm", "redscope"); err == nil {
			t.Cleanup(func() { os.RemoveAll(dir) })
			options = append(options, "--dir", dir)
		}
	}
	return startOracle(t, options...)
}

func (mode *oracleMode) startOurs(t *testing.T, args ...string) string {
	s := newServer(t, mode.options(args)...)
	if mode.reload {
		s.el.BeforeSleep = func(el *ae.EventLoop) {
			reload(t, s)
			beforeSleep(el)
		}
	}
	return serve(t, s)
}

// reloading returns send with a reload of the redis-server at addr before it, in a
// mode that wants one.
func (mode *oracleMode) reloading(t *testing.T, addr string, send sendFunc) sendFunc {
	if !mode.reload {
		return send
	}
	control := dial(t, addr)
	return func(conn net.Conn, b []byte) error {
		if v := control.do(t, "DEBUG", "RELOAD"); v.Text != "OK" {
			return fmt.Errorf("DEBUG RELOAD: %s", v)
		}
		return send(conn, b)
	}
}

// prepare takes from the script what changes the limits of the mode, and lets those
// replies come in any order that Redis promises no order for.
func (mode *oracleMode) prepare(s *script) {
	table := newCommandTable()
	s.steps = slices.DeleteFunc(s.steps, func(step *scriptStep) bool {
		args, _ := splitArgs(step.args)
		return mode.fixes(args) || chancy.MatchString(step.args)
	})
	var steps []*scriptStep
	for _, step := range s.steps {
		steps = append(steps, step)
		args, _ := splitArgs(step.args)
		var argv [][]byte
		for _, a := range args {
			argv = append(argv, []byte(a))
		}
		if !step.command || len(argv) == 0 {
			continue
		}
		cmd := table.lookupCommandArgs(argv)
		if cmd == nil {
			continue
		}
		step.anyBytes = cmd.name == "dump"
		step.anyItems = cmd.group != groupStream && slices.ContainsFunc(cmd.tips, func(tip string) bool {
			return strings.HasPrefix(tip, "nondeterministic_output") // or …_order
		})
		if cmd.group == groupGeneric || cmd.group == groupString {
			continue // what expires within milliseconds is there or not
		}
		if key := cmd.legacyKeys.index; cmd.flags&cmdWrite != 0 && 0 < key && key < len(args) {
			steps = append(steps, step.looking("OBJECT ENCODING", args[key]))
			if cmd.group == groupList {
				steps = append(steps, step.looking("DUMP", args[key]))
			}
		}
	}
	s.steps = steps
}

// seconds are the commands whose replies pass with time, of which reloads take some.
var seconds = regexp.MustCompile(`(?i)^(TTL|OBJECT IDLETIME) `)

// forgetSeconds lets the replies to those vary by ten seconds.
func (s *script) forgetSeconds() {
	for _, step := range s.steps {
		if !seconds.MatchString(step.args) {
			continue
		}
		for i := range step.want {
			e := &step.want[i]
			if n, err := strconv.Atoi(strings.TrimPrefix(e.text, ":")); err == nil && n >= 0 {
				e.text = fmt.Sprintf(":%d..%d", max(0, n-10), n+10)
			}
		}
	}
}

// looking returns a step after this one in which another client asks about a key.
func (step *scriptStep) looking(command, key string) *scriptStep {
	const another = 1000
	args := command + " " + quoteArg(key)
	return &scriptStep{line: step.line, text: step.text + ": " + args, client: another, args: args, command: true}
}

// fixes reports whether args are a CONFIG SET of what the mode sets.
func (mode *oracleMode) fixes(args []string) bool {
	if len(args) < 4 || !strings.EqualFold(args[0], "CONFIG") || !strings.EqualFold(args[1], "SET") {
		return false
	}
	name := strings.Replace(strings.ToLower(args[2]), "ziplist", "listpack", 1)
	for pair := range slices.Chunk(mode.limits, 2) {
		if name == pair[0] {
			return true
		}
	}
	return false
}

// loosened returns the expectation with all that is in it in any order.
func (e expectation) loosened() expectation {
	if len(e.items) == 0 {
		return e
	}
	e.text = strings.TrimSuffix(e.text, " unordered") + " unordered"
	items := make([]expectation, len(e.items))
	for i, item := range e.items {
		items[i] = item.loosened()
	}
	e.items = items
	return e
}

// isShuffled reports whether the bytes of v's payload, as DUMP replies with it, are
// those that e expects, in any order, as that of a hash table.
func (e expectation) isShuffled(v wire.Reply) bool {
	args, err := splitArgs(e.text)
	if err != nil || len(args) != 1 || v.Kind != '$' || len(args[0]) != len(v.Text) {
		return false
	}
	const checksum = 8
	var sorted [2][]byte
	for i, payload := range []string{args[0], v.Text} {
		sorted[i] = []byte(payload)[:max(0, len(payload)-checksum)]
		slices.Sort(sorted[i])
	}
	return bytes.Equal(sorted[0], sorted[1])
}

// reload puts in place of each value what is read from it as an RDB file holds it.
func reload(t *testing.T, s *Server) {
	for _, db := range s.db {
		var keys [][]byte
		it := db.dict.UnsafeIterator()
		for it.Next() {
			keys = append(keys, bytes.Clone(db.dict.Key(it.Ref())))
		}
		it.Release()
		for _, key := range keys {
			if err := reloadKey(s, db, key); err != nil {
				t.Errorf("reload %q: %v", key, err)
			}
		}
	}
}

func reloadKey(s *Server, db *redisDb, key []byte) error {
	d, hash := db.dict, dict.Hash(key)
	r := d.FindHash(hash, key)
	old, when := d.Meta(r), getExpire(db, r)
	payload := rdb.NewReader(bytes.Clone(createDumpPayload(s, db, r)))
	t, _ := payload.Byte()
	v, err := rdbLoadObject(s, db, rdb.Type(t), payload)
	if err != nil {
		return err
	}
	db.releaseValue(metaEncoding(old), d.Value(r))
	d.DeleteRefHash(hash, r)
	// Redis writes how long or how often a value was used under a policy that asks for it.
	lru := s.loopClock.lru
	if p := maxmemoryPolicies[s.config.MaxmemoryPolicy]; strings.HasSuffix(p, "-lru") || strings.HasSuffix(p, "-lfu") {
		lru = metaLRU(old)
	}
	if r, err = d.AddHash(hash, key, v.bytes, makeMeta(v.t, v.e, lru)); err == nil && when >= 0 {
		_, err = d.SetExpire(r, when)
	}
	return err
}
