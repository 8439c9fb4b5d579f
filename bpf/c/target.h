// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// Whether a probe was hit by the target: for programs that look at every hit.
#ifndef REDSCOPE_TARGET_H
#define REDSCOPE_TARGET_H

#include "common.h"

// The kernel runs the programs for the target only, which it does for probes
// that were attached many at once.
volatile const __u8 target_only;

static __always_inline int in_target(void)
{
	struct bpf_pidns_info ns = {};

	return target_only || watched(&ns);
}

#endif
