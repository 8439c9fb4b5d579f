// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The registers of a thread in user mode, by the architecture it is compiled
// for. These layouts are kernel ABI (asm/ptrace.h); they are repeated here
// because a build for one architecture must not need the other's headers.
#ifndef REDSCOPE_REGS_H
#define REDSCOPE_REGS_H

#if defined(__TARGET_ARCH_x86)

struct regs {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	__u64 orig_ax, ip, cs, flags, sp, ss;
};
#define REGS_IP(r) ((r)->ip)
#define REGS_SP(r) ((r)->sp)
#define REGS_FP(r) ((r)->bp)
// The first arguments of a C function at its entry.
#define REGS_ARG1(r) ((r)->di)
#define REGS_ARG2(r) ((r)->si)
#define REGS_ARG3(r) ((r)->dx)
#define REGS_ARG4(r) ((r)->cx)
#define REGS_SYSCALL(r) ((long)(r)->orig_ax >= 0) // else an interrupt: -1
#define REGS_CALL(r) ((r)->orig_ax) // number of the system call
#define NR_EPOLL_WAIT 232
#define NR_EPOLL_PWAIT 281
#define NR_EPOLL_PWAIT2 441

#elif defined(__TARGET_ARCH_arm64)

struct regs {
	__u64 x[31];
	__u64 sp, pc, pstate;
};
#define REGS_IP(r) ((r)->pc)
#define REGS_SP(r) ((r)->sp)
#define REGS_FP(r) ((r)->x[29])
#define REGS_LR(r) ((r)->x[30])
#define REGS_ARG1(r) ((r)->x[0])
#define REGS_ARG2(r) ((r)->x[1])
#define REGS_ARG3(r) ((r)->x[2])
#define REGS_ARG4(r) ((r)->x[3])
#define REGS_CALL(r) ((r)->x[8])
#define NR_EPOLL_WAIT 22 // there is epoll_pwait only
#define NR_EPOLL_PWAIT 22
#define NR_EPOLL_PWAIT2 441

#else
#error "registers are known for x86 and arm64"
#endif

#endif
