// Package engine is the Redis core: the event loop's handlers, clients, the
// command table, the key space and every command. It speaks Redis 7.0's
// protocol and answers as redis-server 7.0.15 does, to the byte.
//
// One goroutine owns the key space. It must never block, and on the path of a
// command it must not allocate, lock or format. The package must not know who
// watches it: it calls Hooks and passes markers, and imports neither trace,
// bpf nor flame.
package engine
