// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// Which command the current thread is at, and on which key, read from the memory of
// a server: what its own variables point to at this moment. No probe is needed, and
// nothing is read that is not in memory: a read that would fault fails.
#ifndef REDSCOPE_CLIENT_H
#define REDSCOPE_CLIENT_H

#include "arguments.h"

// Where the command is found. Numbered as in labels.go.
enum {
	LABEL_NONE,
	LABEL_RUNNING, // engine/probe.running
	LABEL_CLIENT,  // a stock server's current client
};

#define NAME_LEN 24   // of a command whose name alone is known
#define PREFIX_LEN 32 // of a key

// What becomes of a key.
enum {
	KEY_NONE, // there is none, or none was asked for
	KEY_PLAIN, // without a separator in its first bytes
	KEY_PREFIX,
	KEY_OTHER, // there are too many prefixes
};

struct label {
	__u64 command; // one more than its index, or the address of a stock server's structure; 0: by its name
	__u32 key;
	__u32 prefix_len;
	char name[NAME_LEN]; // as the client wrote it; only without a command
	char prefix[PREFIX_LEN];
};

// Room for what is read on the way to a label, too large for a program's stack.
struct label_scratch {
	struct label label;
	struct {
		__u64 command, args, count;
	} running;
	struct {
		__u64 at, len, room;
	} arg; // a slice
	struct key_spec spec;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct label_scratch);
} label_scratch SEC(".maps");

volatile const __u8 label_source;
volatile const __u8 label_keys;      // whether to look at keys
volatile const __u8 label_separator; // between a key's prefix and the rest

volatile const __u64 running_addr; // of the three words of probe.RunningSymbol

// Of a stock server: the addresses of the pointers to the client whose command is
// executed and to the one that scripts use, 0 for none; and where things are in a
// client.
volatile const __u64 current_client_addr;
volatile const __u64 script_client_addr;
volatile const __u32 at_argc;
volatile const __u32 at_argv;
volatile const __u32 at_cmd;
volatile const __u32 at_real_cmd;

__u64 label_unread; // samples within a command that could not be read

// keep_prefix keeps the beginning of a key up to the separator.
static __always_inline void keep_prefix(struct label *l, __u64 key, __u64 len)
{
	if (len > PREFIX_LEN)
		len = PREFIX_LEN;
	if (!len || read_user(l->prefix, len, key))
		return;
	l->key = KEY_PLAIN;
	for (int i = 0; i < PREFIX_LEN; i++) {
		if (l->key == KEY_PREFIX)
			l->prefix[i] = 0;
		else if (i < len && l->prefix[i] == label_separator) {
			l->key = KEY_PREFIX;
			l->prefix_len = i + 1;
		}
	}
	if (l->key == KEY_PLAIN)
		__builtin_memset(l->prefix, 0, PREFIX_LEN);
}

// keep_name keeps the name of a command that is not known yet.
static __always_inline void keep_name(struct label *l, __u64 name, __u64 len)
{
	if (len > NAME_LEN)
		len = NAME_LEN;
	if (len)
		read_user(l->name, len, name);
}

// label_running labels by what our server says it is at; false when it is at
// nothing.
static __always_inline int label_running(struct label_scratch *s)
{
	struct label *l = &s->label;
	__u64 first_key;

	if (read_user(&s->running, sizeof(s->running), running_addr)) {
		__sync_fetch_and_add(&label_unread, 1);
		return 0;
	}
	if (!s->running.args || !s->running.count)
		return 0;
	l->command = (__u32)s->running.command;
	if (!l->command && !read_user(&s->arg, sizeof(s->arg), s->running.args))
		keep_name(l, s->arg.at, s->arg.len);
	first_key = s->running.command >> 32;
	if (label_keys && first_key && first_key < s->running.count &&
	    !read_user(&s->arg, sizeof(s->arg), s->running.args + first_key * sizeof(s->arg)))
		keep_prefix(l, s->arg.at, s->arg.len);
	return 1;
}

// label_client labels by the command of the client that a stock server executes
// one of; false when there is none.
static __always_inline int label_client(struct label_scratch *s)
{
	__u64 client = 0, script = 0, cmd = 0, real = 0, argv = 0, sds, len;
	__u32 argc = 0;

	if (read_user(&client, sizeof(client), current_client_addr))
		goto unread;
	if (!client)
		return 0;
	// What a script calls is of more interest than the script.
	if (script_client_addr && !read_user(&script, sizeof(script), script_client_addr) && script &&
	    !read_user(&cmd, sizeof(cmd), script + at_cmd) && cmd)
		client = script;
	if (read_user(&cmd, sizeof(cmd), client + at_cmd) || read_user(&real, sizeof(real), client + at_real_cmd) ||
	    read_user(&argc, sizeof(argc), client + at_argc) || read_user(&argv, sizeof(argv), client + at_argv))
		goto unread;
	if (cmd) {
		s->label.command = real ? real : cmd;
		if (label_keys && argc) {
			sds = first_key(&s->spec, s->label.command, argv, argc, &len);
			if (sds)
				keep_prefix(&s->label, sds, len);
		}
		return 1;
	}
	if (!argc)
		return 0; // it has been executed, and its arguments freed
	sds = argument(argv, 0, &len);
	if (sds)
		keep_name(&s->label, sds, len);
	return 1;
unread:
	__sync_fetch_and_add(&label_unread, 1);
	return 0;
}

// The labels found, by number: a hash map's values are the numbers of its keys.
#define MAX_LABELS 4096
// Of those that have text, which clients choose, there may be so many; the others
// need no bound, as they are commands.
volatile const __u32 max_texts;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LABELS);
	__type(key, struct label);
	__type(value, __u32);
} labels SEC(".maps");

__u32 label_count;
__u32 label_texts;
__u64 label_folded; // samples whose key's prefix is not told, as there were too many

// label_number is the number of a label, from 1; 0 when there is no room.
static __always_inline __u32 label_number(struct label *l)
{
	__u32 *known = bpf_map_lookup_elem(&labels, l), number;

	if (known)
		return *known;
	if (l->prefix_len || l->name[0]) {
		if (label_texts < max_texts) {
			__sync_fetch_and_add(&label_texts, 1);
		} else {
			if (l->prefix_len) {
				__sync_fetch_and_add(&label_folded, 1);
				l->key = KEY_OTHER;
				l->prefix_len = 0;
			}
			__builtin_memset(l->prefix, 0, PREFIX_LEN);
			__builtin_memset(l->name, 0, NAME_LEN);
			known = bpf_map_lookup_elem(&labels, l);
			if (known)
				return *known;
		}
	}
	number = __sync_fetch_and_add(&label_count, 1) + 1;
	// When another CPU was first, that one's number stands.
	bpf_map_update_elem(&labels, l, &number, BPF_NOEXIST);
	known = bpf_map_lookup_elem(&labels, l);
	return known ? *known : 0;
}

// find_label is the number of what the current thread is at, 0 when that is no
// command. A function of its own has a stack of its own.
static __attribute__((noinline)) __u32 find_label(void)
{
	__u32 zero = 0;
	struct label_scratch *s = bpf_map_lookup_elem(&label_scratch, &zero);

	if (!s)
		return 0;
	__builtin_memset(&s->label, 0, sizeof(s->label));
	if (label_source == LABEL_RUNNING ? !label_running(s) : !label_client(s))
		return 0;
	return label_number(&s->label);
}

// label is the label of the current thread. Only the first one of a process
// executes commands.
static __always_inline __u32 label(struct bpf_pidns_info *ns)
{
	return label_source != LABEL_NONE && ns->pid == ns->tgid ? find_label() : 0;
}

#endif
