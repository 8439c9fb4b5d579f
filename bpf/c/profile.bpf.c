// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The sampler: runs on a timer on every CPU, and when the target happens to be
// on it, counts where the target is. User space reads the counts once, at the
// end, so that a recording costs the same however long it runs.
//
// And the same for the time that the target is not on a CPU: at each switch from
// one of its threads, where that thread is; at the switch back, how long it took.
#include "common.h"
#include "regs.h"
#include "unwind.h"
#include "client.h"

#define MAX_STACKS 8192

struct sample_key {
	__u64 user;   // hash of the user stack, 0 for none
	__u64 kernel; // hash of the kernel stack, 0 for none
	__u32 pid;
	__u32 tid;
	char comm[COMM_LEN];
	__u32 queued; // off the CPU: 1 for the time from the wake-up on
	__u32 label;  // number, 0 for none
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

// here fills key with the current thread and its stacks; false when there was no
// room, or it is not the target's.
static __always_inline int here(void *ctx, int by_tables, struct sample_key *key)
{
	struct bpf_pidns_info ns = {};
	__u32 zero = 0;
	int full = 0;

	if (!watched(&ns))
		return 0;
	struct stack_trace *s = bpf_map_lookup_elem(&scratch, &zero);
	if (!s)
		return 0;
	key->pid = ns.tgid;
	key->tid = ns.pid;
	key->label = label(&ns);
	get_stack(ctx, 0, s);
	key->kernel = keep(s, &full);
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
	key->user = keep(s, &full);
	if (full) {
		__sync_fetch_and_add(&lost_full, 1);
		return 0;
	}
	bpf_get_current_comm(key->comm, sizeof(key->comm));
	return 1;
}

// add adds to the count of key.
static __always_inline void add(struct sample_key *key, __u64 amount)
{
	__u64 *n = bpf_map_lookup_elem(&counts, key);
	if (n) {
		__sync_fetch_and_add(n, amount);
		return;
	}
	if (!bpf_map_update_elem(&counts, key, &amount, BPF_NOEXIST))
		return;
	n = bpf_map_lookup_elem(&counts, key);
	if (n)
		__sync_fetch_and_add(n, amount);
	else
		__sync_fetch_and_add(&lost_full, 1);
}

static __always_inline int count(void *ctx, int by_tables)
{
	struct sample_key key = {};

	if (here(ctx, by_tables, &key))
		add(&key, 1);
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

// The threads of the target that are not on a CPU, by the address of their
// task_struct. It is never followed: it only tells them apart.
struct off_cpu {
	struct sample_key key;
	__u64 since; // CLOCK_MONOTONIC, ns
	__u64 woken; // 0 while it is blocked; since when it stayed runnable
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct off_cpu);
} off_cpu_threads SEC(".maps");

#define TASK_DEAD 0x80 // linux/sched.h; as tools know it from the tracepoint

// tell tells of a time off the CPU: until woken blocked, from then on without a CPU.
__attribute__((noinline)) int tell(struct off_cpu *was, __u64 woken, __u64 back)
{
	if (!was)
		return 0;
	struct sample_key key = was->key;
	if (woken > was->since)
		add(&key, woken - was->since);
	key.queued = 1;
	if (back > woken)
		add(&key, back - woken);
	return 0;
}

// The arguments of sched_switch: whether prev was preempted, prev, next, and
// prev's state (Linux 5.18).
static __always_inline int switched(__u64 *ctx, int by_tables)
{
	__u64 now = bpf_ktime_get_ns(), prev = ctx[1], next = ctx[2];
	struct off_cpu *was = bpf_map_lookup_elem(&off_cpu_threads, &next);

	if (was) {
		tell(was, was->woken ? was->woken : now, now);
		bpf_map_delete_elem(&off_cpu_threads, &next);
	}
	if ((__u32)ctx[3] & TASK_DEAD)
		return 0;
	struct off_cpu is = { .since = now };
	if (!here(ctx, by_tables, &is.key))
		return 0;
	was = bpf_map_lookup_elem(&off_cpu_threads, &prev);
	if (was && was->woken)
		tell(was, was->woken, was->woken); // a switch back that was not seen, as in loop.bpf.c
	if (ctx[0] & 1 || (__u32)ctx[3] == 0)
		is.woken = now;
	if (bpf_map_update_elem(&off_cpu_threads, &prev, &is, BPF_ANY))
		__sync_fetch_and_add(&lost_full, 1);
	return 0;
}

SEC("tp_btf/sched_switch")
int off_cpu_frame_pointers(__u64 *ctx)
{
	return switched(ctx, 0);
}

#if defined(__TARGET_ARCH_x86)
SEC("tp_btf/sched_switch")
int off_cpu_tables(__u64 *ctx)
{
	return switched(ctx, 1);
}
#endif

SEC("tp_btf/sched_wakeup")
int off_cpu_woken(__u64 *ctx)
{
	__u64 task = ctx[0];
	struct off_cpu *is = bpf_map_lookup_elem(&off_cpu_threads, &task);

	if (is && !is->woken)
		is->woken = bpf_ktime_get_ns();
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
