// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// What is kept of every command, whoever saw it: account() takes one record, adds
// it to the counts and histograms of its command, and puts it into the ring when
// it is slow, failed, or one in so many. User space reads the maps when it likes.
#ifndef REDSCOPE_COMMANDS_H
#define REDSCOPE_COMMANDS_H

#include "arrival.h"
#include "target.h"

// Laid out as engine/probe's Command, which says what the fields mean.
struct command {
	__u64 client;
	__u64 wake, read_start, read_end, parsed, start, end, write_start, write_end;
	__u32 reply_bytes;
	__u32 key_len;
	__u32 args;
	__u32 batch;
	__s32 command; // -1 for an unknown one
	__u32 flags;
	__u8 error[16];
	__u8 key[32];
};

// What user space gets of a command.
struct record {
	struct command command;
	__u64 arrived; // its request in its socket, 0 when that is not known
	__u64 thread;  // of many_threads that executed it, as the kernel numbers it; else 0
};

#define COMMAND_FAILED 1
#define COMMAND_REFUSED 2
#define COMMAND_BLOCKED 4
#define COMMAND_NESTED 0x1000 // executed by another command: EXEC, or a script
// In place of a command: when the replies of a turn were written.
#define TURN_REPLIES 0x2000
// It was parsed behind those before it in its read, not before them: parsed tells how
// long that took, and not when.
#define COMMAND_PARSED_LATE 0x4000
// Why a record is in the ring, set by decide,
#define KEPT_SLOW 0x100
#define KEPT_FAILED 0x200
#define KEPT_SAMPLED 0x400
#define KEPT_TURN 0x800 // and by account: another command of its turn was slow
#define KEPT (KEPT_SLOW | KEPT_FAILED | KEPT_SAMPLED | KEPT_TURN)

// Commands that can be told apart: index 0 is for those beyond, and unknown ones.
#define COMMANDS 1024

// Histograms are exact to the ns below 64 ns, and from there on have 64 steps per
// power of two, up to 137 s: the middle of a step is within 0.8 % of all in it.
#define STEPS 64
#define BUCKETS 2048

enum phase { WAIT, READ, PARSE, QUEUE, CALL, HOLD, WRITE, TOTAL, PHASES };

struct command_count {
	__u64 calls;
	__u64 failed;  // of the calls
	__u64 refused; // not among the calls
	__u64 reply_bytes;
	__u64 histograms; // one more than the index of this command's; 0 for none
};

struct command_histograms {
	__u64 sum[PHASES]; // ns
	__u64 counts[PHASES][BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COMMANDS);
	__type(key, __u32);
	__type(value, struct command_count);
} command_counts SEC(".maps");

// Given out to commands as they come; a server's clients use a few dozen of its
// hundreds of commands. Commands that come later than the last one have counts only.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 128);
	__type(key, __u32);
	__type(value, struct command_histograms);
} histograms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
	__type(value, struct record);
} command_ring SEC(".maps");

volatile const __u64 slower_than; // ns, in call or in total; 0: keep none for being slow
volatile const __u64 one_in;      // keep one in so many; 0: none
volatile const __u8 keep_failed;
volatile const __u8 many_threads; // execute commands
volatile const __u8 governed;     // user space may shed; else what asks for it is no code

// Commands accounted = sent + filtered + dropped.
__u64 commands_sent;
__u64 commands_filtered;
__u64 commands_dropped; // no room in the ring
__u64 commands_counted; // down to the next sample, by many threads up
__u64 histograms_used;

// What user space has given up for now, to spend less (budget.go).
#define SHED_PHASES 1 // times other than of call and total
#define SHED_TIMES 2  // all times
__u64 shedding;
__u64 rarer; // keep 2^rarer times fewer of those that are kept for one_in

#define SHED(what) (governed && shedding & (what))

// Most servers execute commands in one thread, and then nobody else adds.
#define ADD(variable, n) \
	(many_threads ? (void)__sync_fetch_and_add(&(variable), (n)) : (void)((variable) += (n)))

static __always_inline __u64 since(__u64 from, __u64 to)
{
	return from && to > from ? to - from : 0;
}

// put puts a record into the ring, and tells whether there was room.
static __always_inline int put(struct command *c, __u64 arrived)
{
	struct record *r = bpf_ringbuf_reserve(&command_ring, sizeof(*r), 0);

	if (!r)
		return 0;
	r->command = *c;
	r->arrived = arrived;
	r->thread = many_threads ? (__u32)bpf_get_current_pid_tgid() : 0;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	return 1;
}

static __always_inline void send(struct command *c, __u64 arrived)
{
	if (put(c, arrived))
		ADD(commands_sent, 1);
	else
		ADD(commands_dropped, 1);
}

#include "ledger.h"

// bucket has no branch, for the verifier walks every path.
static __always_inline __u64 bucket(__u64 ns)
{
	__u64 v = ns, more, log = 0;

	// (limit - v) >> 63 is 1 when v is above the limit.
	more = ((0xffffffffULL - v) >> 63) << 5, v >>= more, log += more;
	more = ((0xffffULL - v) >> 63) << 4, v >>= more, log += more;
	more = ((0xffULL - v) >> 63) << 3, v >>= more, log += more;
	more = ((0xfULL - v) >> 63) << 2, v >>= more, log += more;
	more = ((0x3ULL - v) >> 63) << 1, v >>= more, log += more;
	log += v >> 1;
	__u64 shift = (log - 6) & ((log - 6) >> 63) - 1; // 0 when log is below 6
	__u64 i = shift * STEPS + (ns >> shift);
	i |= (__s64)(BUCKETS - 1 - i) >> 63; // the last one for all that is longer
	asm volatile("" : "+r"(i)); // the compiler knows that i is small, the verifier does not
	return i & (BUCKETS - 1);
}

static __always_inline void add_phase(struct command_histograms *h, enum phase phase, __u64 from, __u64 to)
{
	if (!from || !to)
		return; // not known
	// A clock that is set right between two times may turn them round by a few ns.
	__u64 ns = to - from;
	ns &= ~((__s64)ns >> 63);
	__u64 i = bucket(ns);
	ADD(h->sum[phase], ns);
	ADD(h->counts[phase][i], 1);
}

static __always_inline struct command_histograms *histograms_of(struct command_count *count)
{
	__u64 slot = count->histograms;

	if (!slot) {
		slot = __sync_fetch_and_add(&histograms_used, 1) + 1;
		__u64 other = __sync_val_compare_and_swap(&count->histograms, 0, slot);
		if (other)
			slot = other; // another thread was first
	}
	__u32 index = slot - 1;
	return bpf_map_lookup_elem(&histograms, &index);
}

// began and done are where a command's total begins and ends.
static __always_inline __u64 began(struct command *c)
{
	if (c->flags & COMMAND_BLOCKED)
		return c->start;
	return c->wake ? c->wake : c->read_start ? c->read_start : c->start;
}

static __always_inline __u64 done(struct command *c)
{
	return c->write_end ? c->write_end : c->end;
}

// slow tells whether a command is, by what is known of it.
static __always_inline int slow(struct command *c)
{
	__u64 begin = began(c);

	if (keep_turn) {
		if (c->flags & COMMAND_NESTED)
			begin = c->start; // the rest is of the command that it is in
		else if (arrived && arrived < begin)
			begin = arrived;
	}
	return slower_than && (since(begin, done(c)) >= slower_than || since(c->start, c->end) >= slower_than);
}

// sampled tells of one command in one_in, or of fewer.
static __always_inline int sampled(void)
{
	__u64 in = one_in << (rarer & 31);

	if (many_threads) // a countdown would be past 0 before somebody has begun it anew
		return __sync_fetch_and_add(&commands_counted, 1) % in == 0;
	if (commands_counted) {
		commands_counted--;
		return 0;
	}
	commands_counted = in - 1;
	return 1;
}

// decide notes in a command's flags why its record will be kept. It comes once
// for each command, before account.
static __always_inline void decide(struct command *c)
{
	if (keep_turn)
		arrived = arrival_of(c);
	if (slow(c))
		c->flags |= KEPT_SLOW;
	if (keep_failed && c->flags & COMMAND_FAILED)
		c->flags |= KEPT_FAILED;
	if (one_in && sampled())
		c->flags |= KEPT_SAMPLED;
}

// account is verified by itself, so that calling it in a loop costs the verifier
// nothing.
__attribute__((noinline)) int account(struct command *c)
{
	if (!c)
		return 0;
	__u32 i = c->command + 1;
	if (i >= COMMANDS)
		i = 0;
	struct command_count *count = bpf_map_lookup_elem(&command_counts, &i);
	if (!count)
		return 0;

	if (c->flags & COMMAND_REFUSED) {
		ADD(count->refused, 1);
	} else {
		ADD(count->calls, 1);
		if (c->flags & COMMAND_FAILED)
			ADD(count->failed, 1);
		struct command_histograms *h = SHED(SHED_TIMES) ? 0 : histograms_of(count);
		if (h) {
			if (!SHED(SHED_PHASES)) {
				add_phase(h, WAIT, c->wake, c->read_start);
				add_phase(h, READ, c->read_start, c->read_end);
				add_phase(h, PARSE, c->read_end, c->parsed);
				add_phase(h, QUEUE, c->parsed, c->start);
				add_phase(h, HOLD, c->end, c->write_start);
				add_phase(h, WRITE, c->write_start, c->write_end);
			}
			add_phase(h, CALL, c->start, c->end);
			add_phase(h, TOTAL, began(c), done(c));
		}
	}
	ADD(count->reply_bytes, c->reply_bytes);

	if (keep_turn && enter(c, c->flags & KEPT))
		c->flags |= KEPT_TURN;
	if (!(c->flags & KEPT)) {
		ADD(commands_filtered, 1);
		return 0;
	}
	send(c, keep_turn ? arrived : 0);
	return 0;
}

#endif
