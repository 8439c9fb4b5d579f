//go:build invariants

package slab

// invariants turns on bookkeeping that finds double frees and foreign refs.
const invariants = true
