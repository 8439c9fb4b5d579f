// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The sampler: runs on a timer on every CPU, and when the target happens to be
// on it, counts where the target is. User space reads the counts once, at the
// end, so that a recording costs the same however long it runs.
#include "common.h"
#include "regs.h"

#define MAX_STACKS 8192

struct sample_key {
	__u64 user;   // hash of the user stack, 0 for none
	__u64 kernel; // hash of the kernel stack, 0 for none
	__u32 pid;
	__u32 tid;
	char comm[COMM_LEN];
};

struct stack_trace {
	__u64 depth;
	// Of a user stack: where the direct caller's address is before a function
	// has set up its frame and after it has taken it down, the word at (%rsp),
	// or LR. Anywhere else it means nothing; user space, which can read the
	// code, decides. 0 when it is no address in the target's program.
	__u64 top;
	__u64 frames[MAX_FRAMES];
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

// user_top reads what stack_trace.top is to hold.
static __always_inline __u64 user_top(void)
{
	struct regs regs;
	__u64 top = 0;

	if (!have_task_regs)
		return 0;
	// The registers that the thread had when it left user mode, be it by the
	// timer's interrupt or by a system call.
	struct pt_regs *r = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	if (bpf_probe_read_kernel(&regs, sizeof(regs), r))
		return 0;
#if defined(__TARGET_ARCH_x86)
	if (bpf_probe_read_user(&top, sizeof(top), (void *)REGS_SP(&regs)))
		return 0;
#else
	top = REGS_LR(&regs);
#endif
	return top >= text_start && top < text_end ? top : 0;
}

// keep stores the current stack and returns its hash; 0 when there is none or
// no room, and then *full is set.
static __always_inline __u64 keep(void *ctx, __u64 flags, int *full)
{
	__u32 zero = 0;
	struct stack_trace *s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return 0;
	long bytes = bpf_get_stack(ctx, s->frames, sizeof(s->frames), flags);
	if (bytes <= 0)
		return 0;
	s->depth = (__u64)bytes / sizeof(__u64);
	s->top = flags & BPF_F_USER_STACK ? user_top() : 0;
	if (s->depth >= MAX_FRAMES)
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

SEC("perf_event")
int sample(void *ctx)
{
	struct bpf_pidns_info ns = {};
	if (!watched(&ns))
		return 0;

	struct sample_key key = {};
	int full = 0;
	key.pid = ns.tgid;
	key.tid = ns.pid;
	key.kernel = keep(ctx, 0, &full);
	key.user = keep(ctx, BPF_F_USER_STACK, &full);
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

char LICENSE[] SEC("license") = "Dual BSD/GPL";
