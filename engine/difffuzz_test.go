package engine

import (
	"testing"
	"time"

	random "github.com/redscope/redscope/engine/internal/differential"
)

// TestEveryCommandDifferential is difffuzz for a few seconds, in this process, so that
// it also runs with the race detector and with invariants.
func TestEveryCommandDifferential(t *testing.T) {
	o := random.Options{
		Ours:      random.Server{Addr: startOurs(t)},
		Theirs:    random.Server{Addr: startOracle(t)},
		For:       differentialTime(),
		Seed:      newRand(t).Uint64(),
		ShrinkFor: 20 * time.Second,
	}
	stats, mismatch, err := random.Run(o)
	if err != nil {
		t.Fatal(err)
	}
	if mismatch != nil {
		t.Fatalf("go run ./engine/internal/difffuzz -seed %d\n%v", mismatch.Seed, mismatch)
	}
	t.Logf("%+v", stats)
	if stats.Errors == 0 || stats.Errors > stats.Commands*6/10 {
		t.Error("the commands are no good mixture")
	}
}
