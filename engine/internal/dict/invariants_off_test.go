//go:build !invariants

package dict

// invariants makes the tests check the whole structure after every operation.
const invariants = false
