package bpf

// The objects and the Go files around them are committed, so that a user needs
// no clang. They are rebuilt, to the byte, by `go generate ./bpf` with Debian
// 12's clang-14, llvm-14, libbpf-dev and linux-libc-dev on amd64.
//
// -mcpu=v3 (Linux 5.1) gives 32-bit comparisons; the ring buffer needs 5.8
// anyway. The multiarch include path holds asm/types.h, which is the same for
// both targets.

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -type sample_key -type stack_trace -type off_cpu -type label profile c/profile.bpf.c -- -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -type stack_event stacks c/stacks.bpf.c -- -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -type marker_event markers c/markers.bpf.c -- -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -type command -type command_count -type command_histograms turn c/turn.bpf.c -- -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 calls c/calls.bpf.c -- -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -type loop_event loop c/loop.bpf.c -- -mcpu=v3 -Wall -Werror -I/usr/include/x86_64-linux-gnu
