// Package differential sends the same random commands to two servers and compares
// what they say, and what they hold in the end. It knows nothing of either server
// but the protocol; that one of them is redis-server 7.0.15 makes it a test of the
// other.
//
// It must never report a difference that Redis does not define: the order of hash
// tables, random choices, times that depend on when a command came. See compare.go.
package differential

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redscope/redscope/internal/wire"
)

// Server is one of the two.
type Server struct {
	Addr string
	// Restart makes a server that has died answer again. nil: it cannot be done.
	Restart func() error
}

// Options say what Run does.
type Options struct {
	Ours, Theirs Server
	For          time.Duration
	Seed         uint64
	// Only, if it is not empty, are the commands to send, in capitals.
	Only []string
	// ShrinkFor bounds how long a mismatch is made smaller.
	ShrinkFor time.Duration
	// Progress, if it is not nil, is told now and then what has been done.
	Progress func(Stats)
}

// Stats count what Run has done.
type Stats struct {
	Commands, Errors, Rounds, Keys int
	Elapsed                        time.Duration
	Names                          int // different commands that are sent
}

// Mismatch is the difference that Run found.
type Mismatch struct {
	death        bool      // one of the servers is dead
	Commands     []Command // that lead to it, from empty servers on; the last one's replies differ
	Ours, Theirs string
	Seed         uint64 // of the round
}

func (m *Mismatch) Error() string {
	var b strings.Builder
	for _, c := range m.Commands {
		fmt.Fprintf(&b, "> %s\n", c)
	}
	fmt.Fprintf(&b, "ours   %s\ntheirs %s", m.Ours, m.Theirs)
	return b.String()
}

// A round is a stream of units on empty servers. Its commands are sent in
// pipelines of this many units.
const (
	roundUnits    = 1500
	pipelineUnits = 150
	databases     = 3 // that the commands select, by number from 0
)

// unit is commands that stay together.
type unit []Command

type run struct {
	Options
	recipes []recipe
	total   int // of the recipes' weights
	stats   Stats
	start   time.Time
	fresh   bool // start the servers anew for each try: one has died, and may have been damaged for long
}

// Run sends commands until time is up or a difference is found, which it returns.
// Another error says that it could not go on.
func Run(o Options) (Stats, *Mismatch, error) {
	r := &run{Options: o, start: time.Now()}
	has, err := commandsOf(o.Ours.Addr)
	if err != nil {
		return r.stats, nil, err
	}
	if len(o.Only) > 0 {
		all := has
		has = map[string]bool{}
		for _, name := range o.Only {
			if name = strings.ToLower(name); all[name] {
				has[name] = true
			}
		}
	}
	r.recipes = recipes(has)
	if len(r.recipes) == 0 {
		return r.stats, nil, errors.New("the server has none of the commands")
	}
	names := map[string]bool{}
	for _, rec := range r.recipes {
		r.total += rec.weight
		for _, n := range rec.commands {
			names[string(n.(sequence)[0].(literal))] = true
		}
	}
	r.stats.Names = len(names)
	seeds := rand.New(rand.NewPCG(o.Seed, 0))
	for time.Since(r.start) < o.For {
		seed := seeds.Uint64()
		if r.stats.Rounds == 0 {
			seed = o.Seed // so that the seed of a round leads to it
		}
		units := r.makeRound(seed)
		done, m, err := r.try(units, true)
		r.stats.Rounds++
		r.stats.Elapsed = time.Since(r.start)
		if err != nil {
			return r.stats, nil, err
		}
		if m != nil {
			m = r.shrink(units[:done], m)
			m.Seed = seed
			return r.stats, m, nil
		}
		if o.Progress != nil {
			o.Progress(r.stats)
		}
	}
	return r.stats, nil, nil
}

// commandsOf asks a server for its commands, in small letters.
func commandsOf(addr string) (map[string]bool, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	v, err := c.do("COMMAND", "LIST")
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for _, item := range v.Items {
		has[item.Text] = true
	}
	return has, nil
}

func (r *run) makeRound(seed uint64) []unit {
	m := &maker{rand.New(rand.NewPCG(seed, 1))}
	var units []unit
	if m.IntN(2) == 0 {
		units = append(units, unit{{"HELLO", "3"}})
	}
	for _, s := range settings {
		if m.IntN(3) == 0 {
			units = append(units, unit{{"CONFIG", "SET", s.name, pick(m, s.values...)}})
		}
	}
	// A round of few kinds of command has them meet more often.
	chosen, total := r.recipes, r.total
	if m.IntN(2) == 0 {
		chosen, total = nil, 0
		for range 2 + m.IntN(20) {
			rec := r.recipes[m.IntN(len(r.recipes))]
			chosen = append(chosen, rec)
			total += rec.weight
		}
		for _, rec := range r.recipes {
			if rec.weight >= 30 {
				chosen = append(chosen, rec)
				total += rec.weight
			}
		}
	}
	for range roundUnits {
		if m.IntN(100) == 0 {
			if s := settings[m.IntN(len(settings))]; !s.once {
				units = append(units, unit{{"CONFIG", "SET", s.name, pick(m, s.values...)}})
			}
			continue
		}
		n := m.IntN(total)
		for _, rec := range chosen {
			if n -= rec.weight; n < 0 {
				units = append(units, m.make(rec))
				break
			}
		}
	}
	return units
}

func (m *maker) make(rec recipe) unit {
	var u unit
	for _, n := range rec.commands {
		u = append(u, Command(n.make(m, nil)))
	}
	// The commands of one unit are about one key.
	for _, c := range u[1:] {
		c[1] = u[0][1]
	}
	if len(u) == 1 && m.IntN(60) == 0 {
		u[0] = m.spoil(u[0])
	}
	return u
}

// delicateCommands are those of which another argument might become a time to wait, an
// offset far away, a number of random elements, a COUNT that Redis allocates for, a
// second score in a set that is for one, or a cursor that nobody gave.
var delicateCommands = map[string]bool{
	"BLPOP": true, "BRPOP": true, "BLMOVE": true, "BLMPOP": true, "BRPOPLPUSH": true, "BZPOPMIN": true, "BZPOPMAX": true, "BZMPOP": true,
	"SETBIT": true, "SETRANGE": true, "BITFIELD": true,
	"SRANDMEMBER": true, "HRANDFIELD": true, "ZRANDMEMBER": true,
	"XAUTOCLAIM": true, "ZADD": true,
	"SCAN": true, "SSCAN": true, "HSCAN": true, "ZSCAN": true,
}

// spoil makes a command that is probably wrong.
func (m *maker) spoil(c Command) Command {
	i := 1 + m.IntN(len(c))
	delicate := delicateCommands[strings.ToUpper(c[0])]
	switch n := m.IntN(3); {
	case n == 0:
		return c[:i]
	case n == 1 && !delicate:
		return append(c, m.member())
	case n == 2 && i < len(c) && !delicate:
		c[i] = m.member()
	}
	return c
}

// try runs units on both servers, from nothing on, and compares. done is how many
// were needed to see the mismatch.
func (r *run) try(units []unit, count bool) (done int, m *Mismatch, err error) {
	ours, theirs, err := r.connect()
	if err != nil {
		return 0, nil, err
	}
	defer ours.Close()
	defer theirs.Close()
	for done < len(units) {
		batch := units[done:min(len(units), done+pipelineUnits)]
		var commands []Command
		for _, u := range batch {
			commands = append(commands, u...)
		}
		got, want, err1, err2 := both(ours, theirs, commands)
		at := 0
		for _, u := range batch {
			done++
			for _, c := range u {
				switch {
				case at >= len(want):
					return done, &Mismatch{Theirs: died(err2), death: true}, nil
				case at >= len(got):
					return done, &Mismatch{Ours: died(err1), Theirs: want[at].String(), death: true}, nil
				case !same(c, got[at], want[at]):
					return done, &Mismatch{Ours: got[at].String(), Theirs: want[at].String()}, nil
				}
				if count {
					r.stats.Commands++
					if want[at].Kind == '-' {
						r.stats.Errors++
					}
				}
				at++
			}
		}
	}
	m, keys, err := compareKeys(ours, theirs)
	if count {
		r.stats.Keys += keys
	}
	return done, m, err
}

func died(err error) string {
	if errors.Is(err, io.EOF) {
		return "(closed the connection)"
	}
	return fmt.Sprintf("(%v)", err)
}

func both(ours, theirs *conn, commands []Command) (got, want []wire.Reply, err1, err2 error) {
	finished := make(chan struct{})
	go func() {
		want, err2 = theirs.pipeline(commands)
		close(finished)
	}()
	got, err1 = ours.pipeline(commands)
	<-finished
	return got, want, err1, err2
}

// connect returns connections to both servers, which hold nothing and have the
// default settings.
func (r *run) connect() (ours, theirs *conn, err error) {
	var reset []Command
	for _, s := range settings {
		reset = append(reset, Command{"CONFIG", "SET", s.name, s.def})
	}
	reset = append(reset, Command{"FLUSHALL"})
	open := func(s Server) (*conn, error) {
		c, err := dial(s.Addr)
		if err == nil {
			if _, err = c.pipeline(reset); err == nil && (!r.fresh || s.Restart == nil) {
				return c, nil
			}
			c.Close()
		}
		if s.Restart == nil {
			return nil, err
		}
		if err := s.Restart(); err != nil {
			return nil, err
		}
		if c, err = dial(s.Addr); err != nil {
			return nil, err
		}
		_, err = c.pipeline(reset)
		return c, err
	}
	if ours, err = open(r.Ours); err != nil {
		return nil, nil, fmt.Errorf("our server: %w", err)
	}
	if theirs, err = open(r.Theirs); err != nil {
		ours.Close()
		return nil, nil, fmt.Errorf("their server: %w", err)
	}
	return ours, theirs, nil
}

// shrink takes away what the mismatch does not need.
func (r *run) shrink(units []unit, m *Mismatch) *Mismatch {
	end := time.Now().Add(r.ShrinkFor)
	r.fresh = m.death
	fails := func(some []unit) bool {
		done, found, err := r.try(some, false)
		if err != nil || found == nil {
			return false
		}
		m, units = found, some[:done:done]
		return true
	}
	for size := len(units) / 2; size > 0 && time.Now().Before(end); size /= 2 {
		for from := 0; from < len(units) && time.Now().Before(end); {
			n := len(units)
			without := append(append([]unit(nil), units[:from]...), units[min(n, from+size):]...)
			if len(without) == 0 || !fails(without) {
				from += size
			}
		}
		if size == 1 {
			break
		}
	}
	// Fewer and shorter arguments.
	for i := 0; i < len(units); i++ {
		for j := 0; i < len(units) && j < len(units[i]); j++ {
			for k := len(units[i][j]) - 1; k > 0 && time.Now().Before(end); k-- {
				if i >= len(units) || j >= len(units[i]) || k >= len(units[i][j]) {
					break
				}
				c := units[i][j]
				replace := func(with Command) bool {
					some := append([]unit(nil), units...)
					some[i] = unit{with}
					return fails(some)
				}
				if len(units[i]) > 1 {
					break
				}
				if replace(append(append(Command(nil), c[:k]...), c[k+1:]...)) {
					continue
				}
				if len(c[k]) > 8 {
					shorter := append(Command(nil), c...)
					shorter[k] = c[k][:len(c[k])/2]
					if replace(shorter) {
						k++ // again
					}
				}
			}
		}
	}
	m.Commands = append(flatten(units), m.Commands...)
	return m
}

func flatten(units []unit) (all []Command) {
	for _, u := range units {
		all = append(all, u...)
	}
	return all
}
