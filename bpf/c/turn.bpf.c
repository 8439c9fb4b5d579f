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

// Records are copied a few at once: fewer calls of the helper, which costs more
// than what it copies, and not so many that they leave the processor's cache.
#define CHUNK 16

struct records {
	struct command command[CHUNK];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct records);
} scratch SEC(".maps");

// Set while the program runs. It is one thread that passes the marker; if there
// were two after all, what came second would count as missed.
__u32 scratch_used;

__u64 turn_hits;
__u64 turns;
__u64 turns_idle; // ns waited for them
__u64 turns_wake; // the last one's

// Where the server's totals stood before the first records seen, and after the last.
__u64 calls_before, refused_before;
__u64 calls_after, refused_after;
__u64 turn_missed; // commands of turns that were not seen, or could not be read
__u64 turn_reads;  // of sockets, that brought the commands

// User space sets paused before it looks away; what is missing at the first marker
// seen after that was not looked at.
__u64 paused;
__u64 turn_shed;
__u64 turn_resets; // pauses in which the server's totals began afresh

static __always_inline void account_turn(struct turn t, struct records *records)
{
	if (t.count > TURN_RECORDS)
		t.count = TURN_RECORDS;

	__u64 refused = 0, unread = 0, reads = 0;
	for (__u32 first = 0; first < TURN_RECORDS; first += CHUNK) {
		if (first >= t.count)
			break;
		__u64 n = t.count - first;
		if (n > CHUNK)
			n = CHUNK;
		if (bpf_probe_read_user(records, n * sizeof(struct command), (void *)(t.records + first * sizeof(struct command)))) {
			unread += n;
			continue;
		}
		for (__u32 i = 0; i < CHUNK; i++) {
			if (i >= n)
				break;
			if (records->command[i].flags & COMMAND_REFUSED)
				refused++;
			decide(&records->command[i]);
			if (governed && !records->command[i].batch)
				reads++;
			account(&records->command[i]);
		}
	}

	__u64 calls = t.calls - (t.count - refused);
	refused = t.refused - refused;
	if (!turn_hits) {
		calls_before = calls;
		refused_before = refused;
	} else if (governed && paused && (calls < calls_after || refused < refused_after)) {
		calls_before += calls - calls_after;
		refused_before += refused - refused_after;
		turn_resets++;
	} else {
		__u64 between = calls + refused - calls_after - refused_after;
		if (governed && paused)
			turn_shed += between;
		else
			turn_missed += between;
	}
	if (governed)
		paused = 0;
	turn_missed += unread;
	if (governed)
		turn_reads += reads;
	calls_after = t.calls;
	refused_after = t.refused;
	turn_hits++;
	if (t.wake != turns_wake) {
		turns_wake = t.wake;
		turns_idle += t.idle;
		turns++;
	}
}

SEC("uprobe")
int loop_turn(struct regs *ctx)
{
	struct turn t;
	__u32 zero = 0;
	struct records *records = bpf_map_lookup_elem(&scratch, &zero);

	if (!records || !in_target())
		return 0;
	if (bpf_probe_read_user(&t, sizeof(t), (void *)(REGS_SP(ctx) + 8)))
		return 0;
	if (__sync_lock_test_and_set(&scratch_used, 1))
		return 0;
	account_turn(t, records);
	__sync_lock_test_and_set(&scratch_used, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
