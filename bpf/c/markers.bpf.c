// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The marker probe: at each hit, which marker it was and its arguments go into
// a ring. The attach cookie says which marker, and which of its arguments is the
// address of a key.
#include "target.h"
#include "regs.h"

#define MAX_ARGS 7
#define MAX_KEY 64

struct marker_event {
	__u64 time; // CLOCK_MONOTONIC, ns
	__u32 pid;
	__u32 tid;
	__u32 marker;  // index into probe.Markers
	__u32 key_len; // bytes in key
	__u64 args[MAX_ARGS];
	__u8 key[MAX_KEY];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
	__type(value, struct marker_event);
} marker_events SEC(".maps");

__u64 marker_lost; // hits without room in the ring

SEC("uprobe")
int marker(struct regs *ctx)
{
	struct bpf_pidns_info ns = {};
	struct marker_event *e;

	if (!watched(&ns))
		return 0;
	e = bpf_ringbuf_reserve(&marker_events, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&marker_lost, 1);
		return 0;
	}
	// Bits 0-7 the marker, 8-15 one more than the argument that is the address
	// of a key (its length is the next argument); 0 for no key.
	__u64 cookie = bpf_get_attach_cookie(ctx);
	__u64 key_arg = (cookie >> 8) & 0xff;

	e->time = bpf_ktime_get_ns();
	e->pid = ns.tgid;
	e->tid = ns.pid;
	e->marker = cookie & 0xff;
	e->key_len = 0;
	// A marker with fewer arguments gets its caller's stack for the rest; user
	// space looks only at as many as the marker has.
	if (bpf_probe_read_user(e->args, sizeof(e->args), (void *)(REGS_SP(ctx) + 8)))
		__builtin_memset(e->args, 0, sizeof(e->args));
	if (key_arg && key_arg < MAX_ARGS) {
		__u64 len = e->args[key_arg];
		__u64 addr = e->args[key_arg - 1];
		if (len > MAX_KEY)
			len = MAX_KEY;
		if (len && !bpf_probe_read_user(e->key, len, (void *)addr))
			e->key_len = len;
	}
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

// What the probes themselves cost shows when nothing is done but this.
__u64 hits;

SEC("uprobe")
int count(struct regs *ctx)
{
	if (in_target())
		__sync_fetch_and_add(&hits, 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
