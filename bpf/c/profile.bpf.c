// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The sampler: runs on a timer on every CPU, and when the target happens to be
// on it, counts where the target is. User space reads the counts once, at the
// end, so that a recording costs the same however long it runs.
#include "common.h"
#include "regs.h"
#include "unwind.h"

#define MAX_STACKS 8192

struct sample_key {
	__u64 user;   // hash of the user stack, 0 for none
	__u64 kernel; // hash of the kernel stack, 0 for none
	__u32 pid;
	__u32 tid;
	char comm[COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_STACKS);
	__type(key, struct sample_key);
	__type(value, __u64);
} counts SEC(".maps");

// Stacks by a 64-bit hash of all their frames. The kernel's own stack map
// (BPF_MAP_TYPE_STACK_TRACE) holds one stack per bucket and drops the second
// that falls into it: with 1,000 stacks in 8,192 buckets some sixty are lost.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_STACKS);
	__type(key, __u64);
	__type(value, struct stack_trace);
} stacks SEC(".maps");

// A stack does not fit on the 512 bytes of the program's own.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stack_trace);
} scratch SEC(".maps");

// The range of addresses that the target's executable has its code in.
volatile const __u64 text_start;
volatile const __u64 text_end;

// Whether the kernel has bpf_task_pt_regs (Linux 5.15); without it, top is 0.
volatile const __u8 have_task_regs;

__u64 lost_full;  // samples lost because a map was full
__u64 cut_stacks; // samples whose user or kernel stack was deeper than MAX_FRAMES

// user_regs reads the registers that the thread had when it left user mode, be
// it by the timer's interrupt or by a system call.
static __always_inline long user_regs(struct regs *regs)
{
	return bpf_probe_read_kernel(regs, sizeof(*regs), (void *)bpf_task_pt_regs(bpf_get_current_task_btf()));
}

// user_top reads what stack_trace.top is to hold, for a stack that the kernel
// walked.
static __always_inline __u64 user_top(void)
{
	struct regs regs;
	__u64 top = 0;

	if (!have_task_regs || user_regs(&regs))
		return 0;
#if defined(__TARGET_ARCH_x86)
	if (bpf_probe_read_user(&top, sizeof(top), (void *)REGS_SP(&regs)))
		return 0;
#else
	top = REGS_LR(&regs);
#endif
	return top >= text_start && top < text_end ? top : 0;
}

// get_stack has the kernel walk a stack, along frame pointers if it is the
// user's.
static __always_inline void get_stack(void *ctx, __u64 flags, struct stack_trace *s)
{
	long bytes = bpf_get_stack(ctx, s->frames, sizeof(s->frames), flags);

	s->depth = bytes > 0 ? (__u64)bytes / sizeof(__u64) : 0;
	s->root = 0;
	s->top = flags & BPF_F_USER_STACK ? user_top() : 0;
}

// keep stores a stack and returns its hash; 0 when there is none or no room, and
// then *full is set.
static __always_inline __u64 keep(struct stack_trace *s, int *full)
{
	if (s->depth == 0)
		return 0;
	if (s->depth >= MAX_FRAMES && !s->root)
		__sync_fetch_and_add(&cut_stacks, 1);

	// FNV-1a over words, and the high bits folded down after each: a word's
	// high bytes would otherwise never reach the low half of the hash.
	__u64 h = 14695981039346656037ULL ^ s->top;
	for (int i = 0; i < MAX_FRAMES; i++) {
		if (i >= s->depth)
			break;
		h = (h ^ s->frames[i]) * 1099511628211ULL;
		h ^= h >> 32;
	}
	if (h == 0)
		h = 1;
	if (!bpf_map_lookup_elem(&stacks, &h)) {
		// What lies above depth is an older stack's; user space never reads it.
		long err = bpf_map_update_elem(&stacks, &h, s, BPF_NOEXIST);
		if (err && err != -17 /* EEXIST: another CPU was first */) {
			*full = 1;
			return 0;
		}
	}
	return h;
}

// count adds the current stack to the counts.
static __always_inline int count(void *ctx, int by_tables)
{
	struct bpf_pidns_info ns = {};
	struct sample_key key = {};
	__u32 zero = 0;
	int full = 0;

	if (!watched(&ns))
		return 0;
	struct stack_trace *s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return 0;
	key.pid = ns.tgid;
	key.tid = ns.pid;
	get_stack(ctx, 0, s);
	key.kernel = keep(s, &full);
#if defined(__TARGET_ARCH_x86)
	struct regs regs;
	if (!by_tables)
		get_stack(ctx, BPF_F_USER_STACK, s);
	else if (user_regs(&regs))
		s->depth = 0;
	else
		unwind(REGS_IP(&regs), REGS_SP(&regs), REGS_FP(&regs), !REGS_SYSCALL(&regs), s);
#else
	get_stack(ctx, BPF_F_USER_STACK, s);
#endif
	key.user = keep(s, &full);
	if (full) {
		__sync_fetch_and_add(&lost_full, 1);
		return 0;
	}
	bpf_get_current_comm(key.comm, sizeof(key.comm));

	__u64 *n = bpf_map_lookup_elem(&counts, &key);
	if (n) {
		__sync_fetch_and_add(n, 1);
		return 0;
	}
	__u64 one = 1;
	long err = bpf_map_update_elem(&counts, &key, &one, BPF_NOEXIST);
	if (!err)
		return 0;
	n = bpf_map_lookup_elem(&counts, &key);
	if (n)
		__sync_fetch_and_add(n, 1);
	else
		__sync_fetch_and_add(&lost_full, 1);
	return 0;
}

// Two programs, one of which is loaded: a kernel that does not have what a
// program needs refuses all of it.
SEC("perf_event")
int sample_frame_pointers(void *ctx)
{
	return count(ctx, 0);
}

#if defined(__TARGET_ARCH_x86)
SEC("perf_event")
int sample_tables(void *ctx)
{
	return count(ctx, 1);
}
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";
