//go:build nowatch

package engine

const watching = false
