//go:build !nowatch

package engine

// watching says whether hooks and markers are compiled in. Building with -tags
// nowatch leaves them out; its only use is to measure what they cost when nobody
// looks (docs/benchmarks.md).
const watching = true
