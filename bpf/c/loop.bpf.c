// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// What an event loop does when it neither executes commands nor waits for events:
// the times that its thread was not on a CPU, with the kernel's stack, and slices
// of work of its own, such as deleting expired keys.
#include "common.h"
#include "regs.h"

#define STACK 20
#define KINDS 16

struct loop_event {
	__u64 start, end; // CLOCK_MONOTONIC, ns
	__u64 woken;      // of a wait: since when the thread could have run
	__u64 amount;     // of work: of what it did
	__u32 kind;       // of work; WAIT
	__u32 thread;     // that waited, as the kernel numbers it
	__u64 stack[STACK];
};

#define WAIT 0xff
// Of the cookie: the end may come on another thread than the start.
#define ANY_THREAD 0x100

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct loop_event);
} loop_events SEC(".maps");

// The threads that are not on a CPU, by the address of their task_struct, which is
// never followed.
struct away {
	__u64 since, woken; // woken: 0 while it is blocked
	__u64 thread;
	__u64 stack[STACK];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct away);
} away_threads SEC(".maps");

struct begun {
	__u64 since; // 0: it has not
	__u64 thread;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KINDS);
	__type(key, __u32);
	__type(value, struct begun);
} begun_work SEC(".maps");

volatile const __u64 wait_worth; // ns; what is shorter is not told
volatile const __u64 work_worth;

__u64 only_thread; // 0: all of the target's
__u64 loop_lost;

static __always_inline struct loop_event *event(__u32 kind, __u32 thread, __u64 start, __u64 end)
{
	struct loop_event *e = bpf_ringbuf_reserve(&loop_events, sizeof(*e), 0);

	if (!e) {
		__sync_fetch_and_add(&loop_lost, 1);
		return 0;
	}
	e->start = start;
	e->end = end;
	e->woken = 0;
	e->amount = 0;
	e->kind = kind;
	e->thread = thread;
	return e;
}

#define TASK_INTERRUPTIBLE 1 // linux/sched.h
#define TASK_STATES 15       // those in which it sleeps or is stopped
#define TASK_DEAD 0x80

// idle tells whether the current thread waits for events, which is not worth a word.
static __always_inline int idle(__u32 state)
{
	struct regs regs;
	__u64 call;

	if ((state & TASK_STATES) != TASK_INTERRUPTIBLE ||
	    bpf_probe_read_kernel(&regs, sizeof(regs), (void *)bpf_task_pt_regs(bpf_get_current_task_btf())))
		return 0;
	call = REGS_CALL(&regs);
	return call == NR_EPOLL_WAIT || call == NR_EPOLL_PWAIT || call == NR_EPOLL_PWAIT2;
}

// The arguments of sched_switch: whether prev was preempted, prev, next, and
// prev's state (Linux 5.18).
SEC("tp_btf/sched_switch")
int loop_switched(__u64 *ctx)
{
	__u64 now = bpf_ktime_get_ns(), prev = ctx[1], next = ctx[2];
	__u32 state = ctx[3];
	struct away *was = bpf_map_lookup_elem(&away_threads, &next);

	if (was) {
		if (now - was->since >= wait_worth) {
			struct loop_event *e = event(WAIT, was->thread, was->since, now);
			if (e) {
				e->woken = was->woken ? was->woken : now;
				__builtin_memcpy(e->stack, was->stack, sizeof(e->stack));
				bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
			}
		}
		bpf_map_delete_elem(&away_threads, &next);
	}
	if (state & TASK_DEAD)
		return 0;
	__u32 thread = bpf_get_current_pid_tgid();
	if (only_thread) {
		if (thread != only_thread)
			return 0;
	} else {
		struct bpf_pidns_info ns = {};
		if (!watched(&ns))
			return 0;
	}
	struct away is = { .since = now, .thread = thread };
	if (ctx[0] & 1 || state == 0)
		is.woken = now;
	else if (idle(state))
		return 0;
	else
		bpf_get_stack(ctx, is.stack, sizeof(is.stack), 0);
	if (bpf_map_update_elem(&away_threads, &prev, &is, BPF_ANY))
		__sync_fetch_and_add(&loop_lost, 1);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int loop_woken(__u64 *ctx)
{
	__u64 task = ctx[0];
	struct away *is = bpf_map_lookup_elem(&away_threads, &task);

	if (is && !is->woken)
		is->woken = bpf_ktime_get_ns();
	return 0;
}

// The entry of a function that does work of the kind that the cookie says.
SEC("uprobe")
int work_start(struct regs *ctx)
{
	struct bpf_pidns_info ns = {};
	__u32 kind = bpf_get_attach_cookie(ctx) & (KINDS - 1);
	struct begun *b;

	if (!watched(&ns))
		return 0;
	b = bpf_map_lookup_elem(&begun_work, &kind);
	if (!b)
		return 0;
	b->thread = ns.pid;
	b->since = bpf_ktime_get_ns();
	return 0;
}

// Its return, or what comes after it.
SEC("uprobe")
int work_end(struct regs *ctx)
{
	struct bpf_pidns_info ns = {};
	__u64 cookie = bpf_get_attach_cookie(ctx), now = bpf_ktime_get_ns();
	__u32 kind = cookie & (KINDS - 1);
	struct begun *b;

	if (!watched(&ns))
		return 0;
	b = bpf_map_lookup_elem(&begun_work, &kind);
	if (!b || !b->since || (b->thread != ns.pid && !(cookie & ANY_THREAD)))
		return 0;
	if (now - b->since >= work_worth) {
		struct loop_event *e = event(kind, ns.pid, b->since, now);
		if (e)
			bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	}
	b->since = 0;
	return 0;
}

// The marker loop_work of our server.
SEC("uprobe")
int loop_work(struct regs *ctx)
{
	struct bpf_pidns_info ns = {};
	__u64 args[4]; // kind, start, duration, amount

	if (!watched(&ns) || bpf_probe_read_user(args, sizeof(args), (void *)(REGS_SP(ctx) + 8)))
		return 0;
	struct loop_event *e = event(args[0] & (KINDS - 1), ns.pid, args[1], args[1] + args[2]);
	if (e) {
		e->amount = args[3];
		bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
