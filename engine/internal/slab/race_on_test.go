//go:build race

package slab

const underRace = true
