// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The ledger of the event loop's turn: the commands of it that nobody wanted, until
// one comes that was slow. Then they are sent after all, for they may be the reason.
// Included by commands.h; without keep_turn nothing of it is there.
#ifndef REDSCOPE_LEDGER_H
#define REDSCOPE_LEDGER_H

#define LEDGER 1024

// One entry when it is not used.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LEDGER);
	__type(key, __u32);
	__type(value, struct command);
} ledger SEC(".maps");

volatile const __u8 keep_turn; // of one thread

__u64 turn_wake;   // whose ledger it is
__u64 turn_kept;   // the turn had a slow command: nothing of it is kept back
__u64 ledger_used;
__u64 ledger_full; // commands for which there was no room
__u64 loop_thread; // as the kernel numbers it

// send_entry is verified by itself, or the loop around it would take the verifier
// half a second.
__attribute__((noinline)) int send_entry(__u32 at)
{
	struct command *c = bpf_map_lookup_elem(&ledger, &at);

	if (!c)
		return 0;
	c->flags |= KEPT_TURN;
	commands_filtered--;
	send(c);
	return 0;
}

// send_ledger sends what was kept back, which was counted as filtered.
__attribute__((noinline)) int send_ledger(void)
{
	__u64 n = ledger_used;

	for (__u32 i = 0; i < LEDGER; i++) {
		if (i >= n)
			break;
		send_entry(i);
	}
	ledger_used = 0;
	return 0;
}

// enter enters a command in the ledger, and tells whether it has to be sent because
// of another one.
static __always_inline int enter(struct command *c, __u32 kept)
{
	loop_thread = (__u32)bpf_get_current_pid_tgid();
	if (!c->wake || c->flags & COMMAND_NESTED)
		return 0;
	if (c->wake != turn_wake) {
		turn_wake = c->wake;
		turn_kept = 0;
		ledger_used = 0;
	}
	if (kept & KEPT_SLOW && !turn_kept) {
		turn_kept = 1;
		send_ledger();
	}
	if (turn_kept)
		return 1;
	if (kept)
		return 0; // it is sent anyway
	__u32 at = ledger_used;
	struct command *e = bpf_map_lookup_elem(&ledger, &at);
	if (e) {
		*e = *c;
		ledger_used++;
	} else {
		ledger_full++;
	}
	return 0;
}

// turn_replied tells when the replies of a turn were written, if they had to wait for
// as long as a slow command takes.
static __always_inline void turn_replied(__u64 wake, __u64 start, __u64 end)
{
	if (!wake || wake != turn_wake || !slower_than || since(wake, end) < slower_than)
		return;
	if (!turn_kept) {
		turn_kept = 1;
		send_ledger();
	}
	struct command c = { .wake = wake, .write_start = start, .write_end = end, .command = -1, .flags = TURN_REPLIES };
	bpf_ringbuf_output(&command_ring, &c, sizeof(c), BPF_RB_NO_WAKEUP);
}

#endif
