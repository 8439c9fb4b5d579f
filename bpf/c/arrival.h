// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// Since when what the event loop reads had waited in its socket. Sockets' events are
// seen in loop.bpf.c, commands in commands.h, which are loaded apart: they share the
// map.
#ifndef REDSCOPE_ARRIVAL_H
#define REDSCOPE_ARRIVAL_H

#include "common.h"

#define ARRIVALS 1024 // reads of a turn that find how long they waited

struct arrival {
	__u64 read;    // when it was read, CLOCK_MONOTONIC in ns
	__u64 arrived; // when the first of it came
};

struct arrivals {
	__u64 count; // of all; the last ARRIVALS of them are kept
	struct arrival of[ARRIVALS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct arrivals);
} arrivals SEC(".maps");

#endif
