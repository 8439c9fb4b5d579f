//go:build amd64 || arm64

package probe

import (
	"slices"
	"sync"
	"testing"
)

// Hold and Release add to what the kernel has counted, and to nothing else, also
// when several servers use them at the same time.
func TestHold(t *testing.T) {
	before := semaphores
	semaphores[commandDone] += 0x7fff
	want := semaphores
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				Hold()
				if !SocketReadEnabled() {
					t.Error("not enabled")
				}
				Release()
			}
		})
	}
	all.Wait()
	if semaphores != want {
		t.Errorf("%v after Release, want %v", semaphores, want)
	}
	Hold()
	held := semaphores
	Release()
	for i := range markerCount {
		want[i]++
	}
	if !slices.Equal(held[:], want[:]) {
		t.Errorf("%v after Hold, want %v", held, want)
	}
	semaphores = before
}
