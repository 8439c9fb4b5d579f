// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The function probe: at each hit, the chain of callers goes into a ring.
//
// It walks the frame pointers itself instead of calling bpf_get_stack. At a
// function's entry the direct caller is not in the frame-pointer chain, and
// whether the kernel adds it differs: Linux 6.11 began to for a probe on
// `push %rbp`, and only on x86. Walking here, the chain is the same on every
// kernel, and the walk also tells how it ended.
#include "common.h"
#include "regs.h"

// How a walk ended.
enum {
	END_ROOT,   // at a frame pointer of 0: the whole chain
	END_BROKEN, // at a frame pointer that points nowhere
	END_CUT,    // after MAX_FRAMES
};

struct stack_event {
	__u64 time; // CLOCK_MONOTONIC, ns
	__u32 pid;
	__u32 tid;
	__u32 depth;
	__u32 end;
	char comm[COMM_LEN];
	__u64 frames[MAX_FRAMES];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct stack_event); // names the type for the generated Go
} stack_events SEC(".maps");

// Stop after so many stacks; 0 for never. Further hits cost but a comparison.
volatile const __u64 limit;

__u64 hits; // of the target
__u64 lost; // hits without room in the ring

SEC("uprobe")
int stack(struct regs *ctx)
{
	struct bpf_pidns_info ns = {};
	struct stack_event *e;
	__u64 frame[2]; // the caller's frame pointer, the return address
	__u32 n = 0;

	if (limit && hits - lost >= limit)
		return 0;
	if (!watched(&ns))
		return 0;
	__sync_fetch_and_add(&hits, 1);
	e = bpf_ringbuf_reserve(&stack_events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	e->time = bpf_ktime_get_ns();
	e->pid = ns.tgid;
	e->tid = ns.pid;
	bpf_get_current_comm(e->comm, sizeof(e->comm));

	__u64 fp = REGS_FP(ctx);
	e->frames[n++] = REGS_IP(ctx);
	// Every site lies before the function has pushed anything, so the direct
	// caller is still where the call left it.
	__u64 caller = 0;
#if defined(__TARGET_ARCH_x86)
	bpf_probe_read_user(&caller, sizeof(caller), (void *)REGS_SP(ctx));
#else
	caller = REGS_LR(ctx);
#endif
	e->frames[n++] = caller;
	e->end = END_CUT;
	for (int i = 0; i < MAX_FRAMES - 2; i++) {
		if (fp == 0) {
			e->end = END_ROOT;
			break;
		}
		if (fp & 7 || bpf_probe_read_user(frame, sizeof(frame), (void *)fp)) {
			e->end = END_BROKEN;
			break;
		}
		if (frame[1] == 0) {
			e->end = END_ROOT;
			break;
		}
		if (n < MAX_FRAMES) // always; says so to the verifier
			e->frames[n++] = frame[1];
		if (frame[0] == fp) {
			e->end = END_BROKEN;
			break;
		}
		// Not "frame[0] > fp": a Go function on the system stack was called
		// from a goroutine's stack, which may lie below.
		fp = frame[0];
	}
	e->depth = n;
	// The reader polls: waking it would cost more than all of the above.
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
