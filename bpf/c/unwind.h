// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The walk along a user stack by tables, made of .eh_frame in user space
// (ehframe.go, unwind.go), where code keeps no frame pointers; by frame pointers
// where there is no table. For any program that has the registers of a thread in
// user mode. It needs bpf_loop (Linux 5.17), which has the verifier look at one
// step only; and the tables are for x86-64.
#ifndef REDSCOPE_UNWIND_H
#define REDSCOPE_UNWIND_H

#include "common.h"
#include "regs.h"

struct stack_trace {
	__u64 depth;
	// Of a user stack whose first function keeps frame pointers: where the
	// direct caller's address is before a function has set up its frame and
	// after it has taken it down, the word at (%rsp), or LR. Anywhere else it
	// means nothing; user space, which can read the code, decides. 0 when it is
	// no address in the same code.
	__u64 top;
	__u64 root; // 1 when, as the table says, nothing called the last frame's function
	__u64 frames[MAX_FRAMES];
};

#if defined(__TARGET_ARCH_x86)

// Kinds of rows; what they mean is said in ehframe.go.
enum {
	UNWIND_NONE,
	UNWIND_END,
	UNWIND_SP,
	UNWIND_FP,
	UNWIND_PLT,
	UNWIND_DEREF_SP,
	UNWIND_DEREF_FP,
	UNWIND_SIGNAL,
	UNWIND_FRAME_POINTER,
};

enum {
	FP_SAME = 0,
	FP_UNKNOWN = 254,
	FP_AT_FP = 255,
};

// mov %rsp,%rbp: what follows push %rbp.
#define MOV_SP_FP 0xe58948

// rt_sigframe, at sp in a signal's trampoline: a ucontext with its registers.
#define SIGNAL_FP 120
#define SIGNAL_SP 160
#define SIGNAL_IP 168

struct unwind_row {
	__u32 pc; // from the mapping's base; the row goes up to the next one's
	__u16 cfa;
	__u8 kind;
	__u8 fp;
};

struct unwind_mapping {
	__u64 start, end;
	__u64 base; // the address that rows count from
	__u32 first, rows;
};

// The rows of all files, each file's sorted. User space sets the size.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unwind_row);
} unwind_rows SEC(".maps");

// The executable ranges of the target's memory, sorted.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unwind_mapping);
} unwind_mappings SEC(".maps");

// Not const: a number that the verifier knows makes it try every way through the
// search.
__u32 unwind_mapping_count;

struct unwind_walk {
	struct stack_trace *out;
	__u64 ip, sp, fp;
	__u32 exact;   // ip is where the thread is; else behind the call or system call it is in
	__u32 mapping; // where the frame before was
};

static __always_inline struct unwind_mapping *unwind_find_mapping(struct unwind_walk *w, __u64 pc)
{
	__u32 lo = 0, hi = unwind_mapping_count, mid = w->mapping;
	struct unwind_mapping *m = bpf_map_lookup_elem(&unwind_mappings, &mid);
	if (m && pc >= m->start && pc < m->end)
		return m;
	for (int i = 0; i < 16 && lo < hi; i++) {
		mid = lo + (hi - lo) / 2;
		m = bpf_map_lookup_elem(&unwind_mappings, &mid);
		if (!m)
			return 0;
		if (pc < m->start)
			hi = mid;
		else if (pc >= m->end)
			lo = mid + 1;
		else {
			w->mapping = mid;
			return m;
		}
	}
	return 0;
}

// unwind_find_row finds the last row that begins at or before pc.
static __always_inline struct unwind_row *unwind_find_row(struct unwind_mapping *m, __u64 pc)
{
	__u64 off = pc - m->base;
	__u32 lo = m->first, hi = lo + m->rows, at;
	for (int i = 0; i < 22 && hi - lo > 1; i++) {
		at = lo + (hi - lo) / 2;
		struct unwind_row *r = bpf_map_lookup_elem(&unwind_rows, &at);
		if (!r)
			return 0;
		if (r->pc <= off)
			lo = at;
		else
			hi = at;
	}
	at = lo;
	return bpf_map_lookup_elem(&unwind_rows, &at);
}

static __always_inline int unwind_read(__u64 *to, __u64 from)
{
	return bpf_probe_read_user(to, sizeof(*to), (void *)from);
}

// unwind_step keeps one frame and finds its caller; 1 ends the walk.
static long unwind_step(__u32 i, struct unwind_walk *w)
{
	struct stack_trace *out = w->out;
	__u64 cfa = 0, ip = 0, fp = w->fp;

	if (i >= MAX_FRAMES)
		return 1;
	out->frames[i] = w->ip;
	out->depth = i + 1;

	__u64 pc = w->ip - !w->exact;
	struct unwind_mapping *m = unwind_find_mapping(w, pc);
	if (!m)
		return 1;
	struct unwind_row *row = unwind_find_row(m, pc);
	if (!row)
		return 1;

	switch (row->kind) {
	case UNWIND_END:
		out->root = 1;
		return 1;
	case UNWIND_FRAME_POINTER:
		if (i == 0) {
			__u32 code = 0;
			bpf_probe_read_user(&code, 3, (void *)w->ip);
			if (code == MOV_SP_FP) {
				// The frame is being set up: its chain does not begin here yet.
				if (unwind_read(&w->ip, w->sp + 8))
					return 1;
				w->sp += 16;
				w->exact = 0;
				return 0;
			}
			if (!unwind_read(&ip, w->sp) && ip >= m->start && ip < m->end)
				out->top = ip;
		}
		// Not "the next above this one": a Go function on the system stack was
		// called from a goroutine's stack, which may lie below.
		if (fp & 7 || unwind_read(&w->fp, fp) || w->fp == fp || unwind_read(&ip, fp + 8) || !ip)
			return 1;
		w->ip = ip;
		w->sp = fp + 16;
		w->exact = 0;
		return 0;
	case UNWIND_SIGNAL:
		if (unwind_read(&w->ip, w->sp + SIGNAL_IP) || unwind_read(&w->fp, w->sp + SIGNAL_FP) ||
		    unwind_read(&w->sp, w->sp + SIGNAL_SP))
			return 1;
		w->exact = 1;
		return 0;
	case UNWIND_SP:
		cfa = w->sp + 8 * (__u64)row->cfa;
		break;
	case UNWIND_FP:
		cfa = fp + 8 * (__u64)row->cfa;
		break;
	case UNWIND_PLT:
		cfa = w->sp + 8 + ((pc & 15) >= row->cfa ? 8 : 0);
		break;
	case UNWIND_DEREF_SP:
		if (unwind_read(&cfa, w->sp + 8 * (__u64)row->cfa))
			return 1;
		cfa += 8;
		break;
	case UNWIND_DEREF_FP:
		if (unwind_read(&cfa, fp - 8 * (__u64)row->cfa))
			return 1;
		break;
	default:
		return 1;
	}

	// A caller's frame is above; anything else comes of a damaged stack.
	if (cfa <= w->sp || unwind_read(&ip, cfa - 8) || !ip)
		return 1;
	if (row->fp == FP_UNKNOWN)
		fp = 0;
	else if (row->fp != FP_SAME && unwind_read(&fp, row->fp == FP_AT_FP ? w->fp : cfa - 8 * (__u64)row->fp))
		return 1;
	w->ip = ip;
	w->sp = cfa;
	w->fp = fp;
	w->exact = 0;
	return 0;
}

// unwind walks the user stack of the current thread into out, from the registers
// that it has or had in user mode; exact tells whether ip is the instruction that
// is next, or else the one before it is: a call, or a system call.
static __always_inline void unwind(__u64 ip, __u64 sp, __u64 fp, __u32 exact, struct stack_trace *out)
{
	struct unwind_walk w = { .out = out, .ip = ip, .sp = sp, .fp = fp, .exact = exact };

	out->depth = out->top = out->root = 0;
	bpf_loop(MAX_FRAMES, unwind_step, &w, 0);
}

#endif
#endif
