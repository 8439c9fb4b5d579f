//go:build amd64 || arm64

package monotonic

import "runtime"

const (
	haveCounter       = true
	needsInvariantTSC = runtime.GOARCH == "amd64"
)

func counter() int64
