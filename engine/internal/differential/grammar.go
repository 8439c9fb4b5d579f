package differential

import (
	"fmt"
	"strings"
)

// A command is described by a line:
//
//	ZADD z [NX|XX] [GT|LT] [CH] [INCR] (score member)+
//
// A word in capitals is sent as it is (its case varies), one in small letters is made
// by the function of that name, see words.go. Between "(" and ")" stands a group, and
// between "[" and "]" one that is sent every other time; "|" separates alternatives
// within them. "+" behind a group repeats it once or more, "*" never or more. "{A|B}"
// sends some of its alternatives, in any order. "#" with a number at the end of a line
// is how often the command is sent, compared with others; 10 if there is none.

// node is a part of a description.
type node interface {
	make(m *maker, out []string) []string
}

type (
	literal  string
	word     struct{ f func(*maker) string }
	sequence []node
	choice   []node
	optional struct{ n node }
	some     []node
	repeated struct {
		n   node
		min int
	}
)

func (l literal) make(m *maker, out []string) []string { return append(out, m.anyCase(string(l))) }

func (w word) make(m *maker, out []string) []string { return append(out, w.f(m)) }

func (s sequence) make(m *maker, out []string) []string {
	for _, n := range s {
		out = n.make(m, out)
	}
	return out
}

func (c choice) make(m *maker, out []string) []string { return c[m.IntN(len(c))].make(m, out) }

func (o optional) make(m *maker, out []string) []string {
	if m.IntN(2) == 0 {
		return out
	}
	return o.n.make(m, out)
}

func (s some) make(m *maker, out []string) []string {
	for range m.IntN(len(s) + 1) {
		out = s[m.IntN(len(s))].make(m, out)
	}
	return out
}

func (r repeated) make(m *maker, out []string) []string {
	n := r.min + m.IntN(4)
	if m.IntN(30) == 0 {
		n += 1 + m.IntN(30)
	}
	for range n {
		out = r.n.make(m, out)
	}
	return out
}

// parser reads descriptions.
type parser struct {
	tokens []string
	pos    int
}

func parse(text string) node {
	for _, p := range []string{"(", ")", "[", "]", "{", "}", "|", "+", "*"} {
		text = strings.ReplaceAll(text, p, " "+p+" ")
	}
	p := parser{tokens: strings.Fields(text)}
	n := p.sequence()
	if p.pos != len(p.tokens) {
		panic(fmt.Sprintf("differential: %q: %q is not expected", text, p.tokens[p.pos]))
	}
	return n
}

func (p *parser) next() string {
	if p.pos < len(p.tokens) {
		return p.tokens[p.pos]
	}
	return ""
}

func (p *parser) accept(token string) bool {
	if p.next() != token {
		return false
	}
	p.pos++
	return true
}

func (p *parser) expect(token string) {
	if !p.accept(token) {
		panic(fmt.Sprintf("differential: %q: %q is expected at %d", p.tokens, token, p.pos))
	}
}

func (p *parser) sequence() node {
	var s sequence
	for {
		switch t := p.next(); {
		case p.accept("("):
			n := p.alternatives(")")
			switch {
			case p.accept("+"):
				s = append(s, repeated{n, 1})
			case p.accept("*"):
				s = append(s, repeated{n, 0})
			default:
				s = append(s, n)
			}
		case p.accept("["):
			s = append(s, optional{p.alternatives("]")})
		case p.accept("{"):
			s = append(s, some(p.alternatives("}").(choice)))
		case t == "" || strings.Contains(")]}|", t):
			return s
		case t == strings.ToUpper(t):
			p.pos++
			s = append(s, literal(t))
		default:
			p.pos++
			f, ok := words[t]
			if !ok {
				panic(fmt.Sprintf("differential: there is no word %q", t))
			}
			s = append(s, word{f})
		}
	}
}

func (p *parser) alternatives(end string) node {
	c := choice{p.sequence()}
	for p.accept("|") {
		c = append(c, p.sequence())
	}
	p.expect(end)
	return c
}
