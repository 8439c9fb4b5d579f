package engine

import (
	"strconv"
	"testing"
)

// sortCommand makes sorts over few keys. Where Redis's order is that of a hash
// table, or of a sort that is not stable, nothing is compared: such are left out.
func (m commandMaker) sortCommand() []string {
	lists := []string{"l1", "l2", "s1", "z1"}
	number := func() string { return strconv.Itoa(m.IntN(30)) }
	switch m.IntN(10) {
	case 0:
		args := []string{"RPUSH", pick(m, "l1", "l2")}
		for range 1 + m.IntN(4) {
			args = append(args, number())
		}
		return args
	case 1:
		return []string{"SADD", "s1", number(), number()}
	case 2:
		return []string{"ZADD", "z1", number(), number(), number(), number()}
	case 3:
		return []string{"SET", "w" + number(), pick(m, number(), number(), number(), "x")}
	case 4:
		return []string{"HSET", "h" + number(), "f", number()}
	case 5:
		return pick(m, []string{"DEL", pick(m, lists...)}, []string{"DEL", "w" + number()}, []string{"LRANGE", "l1", "0", "-1"}, []string{"OBJECT", "ENCODING", "z1"})
	}
	key := pick(m, lists...)
	args := []string{pick(m, "SORT", "SORT", "SORT_RO"), key}
	if m.IntN(3) == 0 {
		args = append(args, m.anyCase(pick(m, "ASC", "DESC")))
	}
	limited := m.IntN(3) == 0
	if limited {
		args = append(args, "LIMIT", pick(m, "0", "1", "5", "-1", "x"), pick(m, "0", "1", "3", "10", "-1"))
	}
	by, alpha := pick(m, "", "", "w*", "h*->f", "nosort"), m.IntN(3) == 0
	if by == "nosort" && key == "s1" {
		by = ""
	}
	if by != "" {
		args = append(args, "BY", by)
	}
	if by != "" && by != "nosort" && alpha {
		alpha = false // weights may be equal, and then the order is anyone's
	}
	if alpha {
		args = append(args, "ALPHA")
	}
	for range m.IntN(3) {
		args = append(args, "GET", pick(m, "#", "w*", "h*->f", "x"))
	}
	if m.IntN(4) == 0 {
		args = append(args, "STORE", pick(m, "l1", "l2"))
	}
	return args
}

func TestSortDifferential(t *testing.T) {
	differential(t, differentialTime()/2, commandMaker.sortCommand)
}
