//go:build !amd64 && !arm64

package monotonic

const (
	haveCounter       = false
	needsInvariantTSC = false
)

func counter() int64 { return nanotime() }
