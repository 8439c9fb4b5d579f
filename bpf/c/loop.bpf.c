// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// What an event loop does when it neither executes commands nor waits for events:
// the times that its thread was not on a CPU, with the kernel's stack, and slices
// of work of its own, such as deleting expired keys. And what waits for it: since
// when there is something to read in its sockets.
#include "arrival.h"
#include "regs.h"

#define STACK 20
#define KINDS 16

struct loop_event {
	__u64 start, end; // CLOCK_MONOTONIC, ns
	__u64 woken;      // of a wait: since when the thread could have run
	__u64 amount;     // of work: of what it did; of UNSEEN: how many
	__u32 kind;       // of work; WAIT, UNSEEN
	__u32 thread;     // that waited, as the kernel numbers it
	char cpu_had[COMM_LEN]; // of a wait: the thread that had the CPU until its end
	__u64 stack[STACK];
};

#define WAIT 0xff
// Switches of a thread from and to its CPU between two of them that were seen.
#define UNSEEN 0xfe
// Of the cookie: the end may come on another thread than the start.
#define ANY_THREAD 0x100

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct loop_event);
} loop_events SEC(".maps");

// The threads that have been off a CPU, by the address of their task_struct.
struct away {
	__u64 since, woken; // since: 0 while it is on a CPU; woken: 0 while it is blocked
	__u64 seen;         // when its last switch was
	__u64 switches;     // from its CPU, as the kernel counts them
	__u32 thread;
	__u32 idle; // it waits for events
	__u64 stack[STACK];
};

// Of include/linux/sched.h what is asked for here; where it is the kernel's BTF tells.
struct task_struct {
	unsigned long nvcsw, nivcsw; // switches from its CPU, by its own will and not
} __attribute__((preserve_access_index));

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
__u64 idle_until;  // when only_thread was woken from its last wait for events
__u64 loop_lost;

// wanted tells whether the current thread is one of those that are watched.
static __always_inline int wanted(__u32 thread)
{
	struct bpf_pidns_info ns = {};

	return only_thread ? thread == only_thread : watched(&ns);
}

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

// idle tells whether the current thread waits for events, which is not worth a word;
// that it has no CPU when there are some is.
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

// tell tells of a time off the CPU, if it is worth it. It has a stack of its own.
__attribute__((noinline)) int tell(struct away *was, __u64 woken, __u64 back)
{
	if (!was)
		return 0;
	__u64 since = was->idle ? woken : was->since;
	if (was->idle && was->thread == only_thread)
		idle_until = woken;
	if (back - since < wait_worth)
		return 0;
	struct loop_event *e = event(WAIT, was->thread, since, back);
	if (!e)
		return 0;
	e->woken = woken;
	bpf_get_current_comm(e->cpu_had, sizeof(e->cpu_had)); // until the switch is over
	__builtin_memcpy(e->stack, was->stack, sizeof(e->stack));
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

// note_unseen tells of switches of the current thread since the last one that was seen.
// Linux 6.18 rarely does not tell of one: in some hundred while others attach and detach.
static __always_inline void note_unseen(struct away *was, __u64 switches, __u64 now)
{
	__u64 unseen = switches - was->switches - 1;

	if (was->since && was->woken)
		tell(was, was->woken, was->woken); // its wake-up tells how long it slept
	else if (was->since)
		unseen++;
	if (!unseen)
		return;
	struct loop_event *e = event(UNSEEN, was->thread, was->seen, now);
	if (!e)
		return;
	e->amount = unseen;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

// The arguments of sched_switch: whether prev was preempted, prev, next, and
// prev's state (Linux 5.18).
SEC("tp_btf/sched_switch")
int loop_switched(__u64 *ctx)
{
	__u64 now = bpf_ktime_get_ns(), prev = ctx[1], next = ctx[2];
	struct task_struct *task = (void *)ctx[1];
	__u32 state = ctx[3];
	struct away *was = bpf_map_lookup_elem(&away_threads, &next);

	if (was && was->since) {
		tell(was, was->woken ? was->woken : now, now);
		was->since = 0;
		was->seen = now;
	}
	if (state & TASK_DEAD) {
		bpf_map_delete_elem(&away_threads, &prev);
		return 0;
	}
	__u32 thread = bpf_get_current_pid_tgid();
	if (!wanted(thread))
		return 0;
	__u64 switches = task->nvcsw + task->nivcsw;
	was = bpf_map_lookup_elem(&away_threads, &prev);
	if (was && was->thread == thread) {
		note_unseen(was, switches, now);
	} else {
		struct away first = { .thread = thread };
		if (bpf_map_update_elem(&away_threads, &prev, &first, BPF_ANY) || !(was = bpf_map_lookup_elem(&away_threads, &prev))) {
			__sync_fetch_and_add(&loop_lost, 1);
			return 0;
		}
	}
	was->since = was->seen = now;
	was->switches = switches;
	was->woken = was->idle = 0;
	if (ctx[0] & 1 || state == 0)
		was->woken = now;
	else if (idle(state))
		was->idle = 1;
	else
		bpf_get_stack(ctx, was->stack, sizeof(was->stack), 0);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int loop_woken(__u64 *ctx)
{
	__u64 task = ctx[0];
	struct away *is = bpf_map_lookup_elem(&away_threads, &task);

	if (is && is->since && !is->woken)
		is->woken = bpf_ktime_get_ns();
	return 0;
}

// Sockets with something to read, or read not long ago, whosever they are, by the
// address of their struct sock, which is never followed. One that is closed unread is
// forgotten when others need its place.
struct socket {
	__u64 arrived; // since when there is something to read; 0: there is not, or it is not known
	__u64 read;    // when it was read last
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, __u64);
	__type(value, struct socket);
} sockets SEC(".maps");

// The sender of data through a Unix socket says so a moment after it is there: the
// loop may have read it by then. What comes so soon after a read is not believed.
#define TOO_SOON 5000 // ns

// The argument of sk_data_ready (Linux 6.3): the socket in which there is something.
SEC("tp_btf/sk_data_ready")
int socket_ready(__u64 *ctx)
{
	__u64 sk = ctx[0], now;
	struct socket *s = bpf_map_lookup_elem(&sockets, &sk);

	if (s && s->arrived)
		return 0;
	now = bpf_ktime_get_ns();
	if (!s) {
		struct socket first = { .arrived = now };
		bpf_map_update_elem(&sockets, &sk, &first, BPF_NOEXIST);
	} else if (now - s->read >= TOO_SOON) {
		s->arrived = now;
	}
	return 0;
}

// The arguments of sock_recv_length (Linux 6.3): the socket that the current thread
// has read, what recvmsg returned, and its flags.
SEC("tp_btf/sock_recv_length")
int socket_read(__u64 *ctx)
{
	__u64 sk = ctx[0];
	__s32 length = ctx[1];
	__u32 zero = 0;
	struct socket *s = bpf_map_lookup_elem(&sockets, &sk);

	if (!s || length < 0)
		return 0;
	if (length == 0) {
		bpf_map_delete_elem(&sockets, &sk); // the other end has closed it
		return 0;
	}
	__u64 arrived = s->arrived, now = bpf_ktime_get_ns();
	s->arrived = 0;
	s->read = now;
	if (!wanted(bpf_get_current_pid_tgid()))
		return 0;
	struct arrivals *a = bpf_map_lookup_elem(&arrivals, &zero);
	if (!arrived || !a)
		return 0;
	// Nothing was there while the loop slept, or it would have been woken before.
	if (arrived < idle_until)
		arrived = idle_until;
	struct arrival *next = &a->of[a->count & (ARRIVALS - 1)];
	next->read = now;
	next->arrived = arrived;
	a->count++;
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
