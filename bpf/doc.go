// Package bpf looks into a running process from outside with eBPF. Of any Linux
// process: a sampling profiler, and stacks at a function's entry. Of a server, ours or
// a stock one: which command a sample is for, every command phase by phase, within a
// budget, and why one was slow. Of ours: the markers of engine/probe.
//
// It must never harm what it watches. Everything attached hangs on file
// descriptors and nothing is pinned, so an observer that dies, even by SIGKILL,
// leaves nothing behind; probes sit on instructions that are cheap and legal to
// probe (Functions says which); no program waits, and rings that run full drop
// and count. What could not be seen is counted and reported, never guessed.
//
// The package is the only importer of cilium/ebpf. It returns plain values, and
// knows neither flame graphs nor spans.
package bpf
