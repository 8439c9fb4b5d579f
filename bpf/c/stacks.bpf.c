// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The function probe: at each hit, the chain of callers goes into a ring.
//
// It does not call bpf_get_stack. At a function's entry the direct caller is not
// in the frame-pointer chain, and whether the kernel adds it differs: Linux 6.11
// began to for a probe on `push %rbp`, and only on x86. Walking here, the chain is
// the same on every kernel.
#include "common.h"
#include "regs.h"
#include "unwind.h"

struct stack_event {
	__u64 time; // CLOCK_MONOTONIC, ns
	__u32 pid;
	__u32 tid;
	char comm[COMM_LEN];
	__u64 ip;
	struct stack_trace callers; // the direct one first
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

// walk_frame_pointers follows the chain that begins at fp, behind the direct
// caller.
static __always_inline void walk_frame_pointers(__u64 caller, __u64 fp, struct stack_trace *out)
{
	__u64 frame[2]; // the caller's frame pointer, the return address
	__u32 n = 0;

	out->frames[n++] = caller;
	for (int i = 0; i < MAX_FRAMES - 1; i++) {
		if (fp == 0 || fp & 7 || bpf_probe_read_user(frame, sizeof(frame), (void *)fp) || frame[1] == 0)
			break;
		if (n < MAX_FRAMES) // always; says so to the verifier
			out->frames[n++] = frame[1];
		if (frame[0] == fp)
			break;
		// Not "frame[0] > fp": a Go function on the system stack was called
		// from a goroutine's stack, which may lie below.
		fp = frame[0];
	}
	out->depth = n;
	out->top = out->root = 0;
}

static __always_inline int take(struct regs *ctx, int by_tables)
{
	struct bpf_pidns_info ns = {};
	struct stack_event *e;

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

	e->ip = REGS_IP(ctx);
	// Every site lies before the function has pushed anything, so the direct
	// caller is still where the call left it, and the walk begins there.
	__u64 caller = 0;
#if defined(__TARGET_ARCH_x86)
	bpf_probe_read_user(&caller, sizeof(caller), (void *)REGS_SP(ctx));
	if (by_tables)
		unwind(caller, REGS_SP(ctx) + 8, REGS_FP(ctx), 0, &e->callers);
	else
		walk_frame_pointers(caller, REGS_FP(ctx), &e->callers);
#else
	caller = REGS_LR(ctx);
	walk_frame_pointers(caller, REGS_FP(ctx), &e->callers);
#endif
	// The reader polls: waking it would cost more than all of the above.
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

// Two programs, as in profile.bpf.c.
SEC("uprobe")
int stack_frame_pointers(struct regs *ctx)
{
	return take(ctx, 0);
}

#if defined(__TARGET_ARCH_x86)
SEC("uprobe")
int stack_tables(struct regs *ctx)
{
	return take(ctx, 1);
}
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";
