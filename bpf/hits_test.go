package bpf

import (
	"testing"
)

func TestCountHits(t *testing.T) {
	for _, test := range []struct {
		name    string
		start   func(testing.TB) *redisServer
		markers []string
	}{
		{"markers", newRedisServer, []string{"command_start", "command_done"}},
		{"calls", newStockServer, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.start(t)
			c := s.dial(t)
			c.do("PING")
			counter, err := CountHits(s.Process.Pid, test.markers...)
			if err != nil {
				t.Fatal(err)
			}
			defer counter.Close()
			for range 10 {
				c.do("SET key value")
			}
			var hits uint64
			until(t, "20 hits", func() bool {
				if hits, err = counter.Hits(); err != nil {
					t.Fatal(err)
				}
				return hits >= 20
			})
			if hits != 20 {
				t.Errorf("%d hits of 10 commands", hits)
			}
		})
	}
}
