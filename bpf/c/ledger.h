// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The ledger of the event loop's turn, and of the one before: their commands that
// nobody wanted, until one comes that was slow. Then they are sent after all, for they
// may be the reason.
// Included by commands.h; without keep_turn nothing of it is there.
#ifndef REDSCOPE_LEDGER_H
#define REDSCOPE_LEDGER_H

#define LEDGER 1024

// Two turns of so many: what had come into its socket when the loop woke up has waited
// for the turn before. One entry when it is not used.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * LEDGER);
	__type(key, __u32);
	__type(value, struct record);
} ledger SEC(".maps");

volatile const __u8 keep_turn; // of one thread

__u64 turn_wake;     // whose ledger it is
__u64 turn_before;   // the wake of the turn before
__u64 turn_arrived;  // the first request of the turn, turn_wake if that is not known
__u64 turn_kept;     // the turn had a slow command: nothing of it is kept back
__u64 replied_from, replied_to; // when its replies were written, if that is known of all together
__u64 before_from, before_to;   // those of the turn before
__u64 ledger_half;   // 0 or LEDGER, where the turn's part begins
__u64 ledger_used;   // of it
__u64 ledger_before; // of the other, by the turn before
__u64 ledger_full;   // commands for which there was no room
__u64 loop_thread;   // as the kernel numbers it
__u64 arrivals_seen;
__u64 arrived; // of the command that was decided last, 0 when it is not known

// arrival_of is when a command's request came into its socket, 0 when it is not known.
// The reads that found how long they waited are in the order of the commands.
__attribute__((noinline)) __u64 arrival_of(struct command *c)
{
	__u32 zero = 0;
	struct arrivals *a = bpf_map_lookup_elem(&arrivals, &zero);

	if (!c || !a || !c->read_start || c->flags & (COMMAND_BLOCKED | COMMAND_NESTED))
		return 0;
	__u64 before = c->wake == turn_wake ? turn_before : turn_wake;
	if (a->count - arrivals_seen > ARRIVALS)
		arrivals_seen = a->count - ARRIVALS;
	for (int i = 0; i < 256; i++) {
		struct arrival *r = &a->of[arrivals_seen & (ARRIVALS - 1)];
		if (arrivals_seen == a->count || r->read > c->start)
			return 0;
		if (r->read >= c->read_start)
			// The turn before would have read what had been there when it began.
			return r->arrived > before ? r->arrived : before;
		arrivals_seen++;
	}
	return 0;
}

// send_entry is verified by itself, or the loop around it would take the verifier
// half a second.
__attribute__((noinline)) int send_entry(__u32 at)
{
	struct record *r = bpf_map_lookup_elem(&ledger, &at);

	if (!r)
		return 0;
	r->command.flags |= KEPT_TURN;
	commands_filtered--;
	send(&r->command, r->arrived);
	return 0;
}

static __always_inline void send_half(__u32 half, __u64 used)
{
	for (__u32 i = 0; i < LEDGER; i++) {
		if (i >= used)
			break;
		send_entry(half + i);
	}
}

// keep keeps nothing of the turn back from now on, and sends what was, which was
// counted as filtered.
__attribute__((noinline)) int keep(void)
{
	turn_kept = 1;
	send_half(ledger_half, ledger_used);
	ledger_used = 0;
	return 0;
}

static __always_inline void send_replies(__u64 wake, __u64 from, __u64 to)
{
	struct command c = { .wake = wake, .write_start = from, .write_end = to, .command = -1, .flags = TURN_REPLIES };

	put(&c, 0);
}

// keep_before sends what was kept back of the turn before.
__attribute__((noinline)) int keep_before(void)
{
	send_half(LEDGER - ledger_half, ledger_before);
	ledger_before = 0;
	if (before_to)
		send_replies(turn_before, before_from, before_to);
	return 0;
}

// keep_since keeps nothing of the turn back, nor of the one before if what was slow had
// come by then.
static __always_inline void keep_since(__u64 came)
{
	if (came < turn_wake && ledger_before)
		keep_before();
	if (!turn_kept)
		keep();
}

// enter enters a command in the ledger, and tells whether it has to be sent because
// of another one.
static __always_inline int enter(struct command *c, __u32 kept)
{
	loop_thread = (__u32)bpf_get_current_pid_tgid();
	if (!c->wake || c->flags & COMMAND_NESTED)
		return 0;
	if (c->wake != turn_wake) {
		turn_before = turn_wake;
		turn_arrived = turn_wake = c->wake;
		turn_kept = 0;
		ledger_before = ledger_used;
		ledger_half = LEDGER - ledger_half;
		ledger_used = 0;
		before_from = replied_from;
		before_to = replied_to;
		replied_to = 0;
	}
	if (arrived && arrived < turn_arrived)
		turn_arrived = arrived;
	if (kept & KEPT_SLOW)
		keep_since(arrived ? arrived : turn_wake);
	if (turn_kept)
		return 1;
	if (kept)
		return 0; // it is sent anyway
	__u32 at = ledger_half + ledger_used;
	struct record *r = ledger_used < LEDGER ? bpf_map_lookup_elem(&ledger, &at) : 0;
	if (r) {
		r->command = *c;
		r->arrived = arrived;
		ledger_used++;
	} else {
		ledger_full++;
	}
	return 0;
}

// turn_replied tells when the replies of a turn were written, if they had to wait for
// as long as a slow command takes.
static __always_inline void turn_replied(__u64 wake, __u64 from, __u64 to)
{
	if (!wake || wake != turn_wake || !slower_than)
		return;
	replied_from = from;
	replied_to = to;
	if (since(turn_arrived, to) < slower_than)
		return;
	keep_since(turn_arrived);
	send_replies(wake, from, to);
}

#endif
