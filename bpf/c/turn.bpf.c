// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The commands of our own server: at the marker loop_turn, its records of the
// turn are copied and accounted.
#include "commands.h"
#include "regs.h"

#define TURN_RECORDS 128

// The marker's arguments, in order.
struct turn {
	__u64 records; // address
	__u64 count;
	__u64 calls, refused; // totals, with these records
	__u64 wake, idle;     // ns
	__u64 ready;
};

__u64 turn_hits;
__u64 turns;
__u64 turns_idle; // ns waited for them
__u64 turns_wake; // the last one's

// Where the server's totals stood before the first records seen, and after the last.
__u64 calls_before, refused_before;
__u64 calls_after, refused_after;
__u64 turn_missed; // commands of turns that were not seen, or could not be read

SEC("uprobe")
int loop_turn(struct regs *ctx)
{
	struct bpf_pidns_info ns = {};
	struct turn t;

	if (!watched(&ns))
		return 0;
	if (bpf_probe_read_user(&t, sizeof(t), (void *)(REGS_SP(ctx) + 8)))
		return 0;
	if (t.count > TURN_RECORDS)
		t.count = TURN_RECORDS;

	__u64 refused = 0, unread = 0;
	for (__u32 i = 0; i < TURN_RECORDS; i++) {
		struct command c;

		if (i >= t.count)
			break;
		if (bpf_probe_read_user(&c, sizeof(c), (void *)(t.records + i * sizeof(c)))) {
			unread++;
			continue;
		}
		if (c.flags & COMMAND_REFUSED)
			refused++;
		account(&c);
	}

	__u64 calls = t.calls - (t.count - refused);
	refused = t.refused - refused;
	if (!turn_hits) {
		calls_before = calls;
		refused_before = refused;
	} else {
		turn_missed += calls + refused - calls_after - refused_after;
	}
	turn_missed += unread;
	calls_after = t.calls;
	refused_after = t.refused;
	turn_hits++;
	if (t.wake != turns_wake) {
		turns_wake = t.wake;
		turns_idle += t.idle;
		turns++;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
