package engine

import "testing"

func TestLCSDifferential(t *testing.T) {
	differential(t, differentialTime()/4, func(m commandMaker) []string {
		k := func() string { return pick(m, "a", "b", "c") }
		if m.IntN(4) == 0 {
			b := make([]byte, m.IntN(40))
			for i := range b {
				b[i] = "abc"[m.IntN(3)]
			}
			return []string{"SET", k(), string(b)}
		}
		args := []string{"LCS", k(), k()}
		for range m.IntN(4) {
			switch o := m.anyCase(pick(m, "IDX", "IDX", "IDX", "LEN", "WITHMATCHLEN", "MINMATCHLEN", "MINMATCHLEN", "x")); o {
			case "MINMATCHLEN":
				args = append(args, o, pick(m, "0", "1", "2", "3", "4", "-1"))
			default:
				args = append(args, o)
			}
		}
		return args
	})
}
