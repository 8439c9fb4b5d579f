// Package bpf looks into a running process from outside with eBPF: a sampling
// profiler, stacks at a function's entry, and the markers of engine/probe. It
// works on any Linux process, ours or a stock redis-server.
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
