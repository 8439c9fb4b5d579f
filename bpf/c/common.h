// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// What every program here needs. No vmlinux.h: the few fields of a kernel's private
// structures that a program asks for it declares itself and has them found by the kernel's
// BTF, so one object runs on every kernel that has the helpers, and the objects can be
// rebuilt to the byte anywhere.
#ifndef REDSCOPE_COMMON_H
#define REDSCOPE_COMMON_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

// Frames kept of a stack. 127 is the kernel's own default limit
// (kernel.perf_event_max_stack); a deeper stack is counted as cut.
#define MAX_FRAMES 127

#define COMM_LEN 16

// The process that is watched. Pids are compared as the target's own pid
// namespace numbers them: the kernel refuses the question for every process of
// another namespace, so that one comparison is right on a host, in a container,
// and from a host into a container.
volatile const __u64 target_ns_dev;
volatile const __u64 target_ns_ino;
volatile const __u32 target_pid;

// watched tells whether the current thread belongs to the target, and fills ns.
static __always_inline int watched(struct bpf_pidns_info *ns)
{
	if (bpf_get_ns_current_pid_tgid(target_ns_dev, target_ns_ino, ns, sizeof(*ns)))
		return 0;
	return ns->tgid == target_pid;
}

#endif
