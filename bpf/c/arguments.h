// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The arguments of a stock server's commands, read from its memory (server.h, robj
// and keySpec; sds.h).
#ifndef REDSCOPE_ARGUMENTS_H
#define REDSCOPE_ARGUMENTS_H

#include "common.h"

volatile const __u32 command_key_specs; // where it is in a command's structure

// Flags of an object: that it contains its value, not a pointer to it, and that an
// expiry time comes before that.
volatile const __u64 object_embeds, object_expires;

// Where a command's first key is: behind a fixed number of arguments, of which the
// last may be the number of keys.
struct key_spec {
	__u64 notes, flags;
	__u32 begin, pad;
	__u32 position, rest[3];
	__u32 find;
	__u32 number_at, first, step;
};
#define KSPEC_BS_INDEX 2
#define KSPEC_FK_KEYNUM 3

static __always_inline int read_user(void *to, __u32 n, __u64 from)
{
	return bpf_probe_read_user(to, n, (void *)from);
}

// argument finds the text of an argument, and its length; 0 when it cannot be read.
static __always_inline __u64 argument(__u64 argv, __u32 i, __u64 *len)
{
	__u64 arg, object[2], sds;
	__u8 type;

	*len = 0;
	if (read_user(&arg, sizeof(arg), argv + 8 * (__u64)i) || read_user(object, sizeof(object), arg))
		return 0;
	sds = object[1];
	if (object[0] & object_embeds) // behind the flags, and the three bytes of an sdshdr8
		sds = arg + 8 + (object[0] & object_expires ? 8 : 0) + 3;
	if (read_user(&type, 1, sds - 1))
		return 0;
	switch (type & 7) {
	case 0: // SDS_TYPE_5
		*len = type >> 3;
		break;
	case 1:
		read_user(len, 1, sds - 3);
		break;
	case 2:
		read_user(len, 2, sds - 5);
		break;
	case 3:
		read_user(len, 4, sds - 9);
		break;
	default:
		read_user(len, 8, sds - 17);
	}
	return sds;
}

// first_key finds the first key of a command, and its length, where the command's
// first key specification finds it without a keyword; else it is 0. spec is room for
// that.
static __always_inline __u64 first_key(struct key_spec *spec, __u64 command, __u64 argv, __u32 argc, __u64 *len)
{
	__u64 specs, sds;
	__u32 position;
	char digit;

	if (read_user(&specs, sizeof(specs), command + command_key_specs) ||
	    read_user(spec, sizeof(*spec), specs) || spec->begin != KSPEC_BS_INDEX)
		return 0;
	position = spec->position;
	if (spec->find == KSPEC_FK_KEYNUM) {
		sds = argument(argv, position + spec->number_at, len);
		if (!sds || read_user(&digit, 1, sds) || digit == '0')
			return 0;
		position += spec->first;
	}
	return position < argc ? argument(argv, position, len) : 0;
}

#endif
