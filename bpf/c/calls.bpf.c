// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause
//
// The commands of a stock server, by probes on its functions: on the entry of
// call, which every command passes that is executed, and on a place that each
// call passes once after its command's function has returned.
//
// Calls nest: EXEC calls the commands that were queued, a script those that it
// wants. So the calls under way are kept on a stack per thread. The stack pointer
// tells when the end of a call was not seen: a call made within another one has a
// lower one.
//
// Two tracepoints of the kernel tell when the event loop has read from a socket and
// written to it. So a command whose reply will be written at the end of its turn is
// accounted then, and not when its call ends.
#include "arguments.h"
#include "commands.h"
#include "regs.h"

#define MAX_DEPTH 8
// Room for the beginning of a client, of which client_head bytes are read. A read
// of the server's memory costs 0.1 µs whatever its length: as much as all else that
// a program here does. Hence one long one at a command's beginning, and one at its end.
#define CLIENT_HEAD 1024

// Where things are in the server's structures, in bytes from their beginning; the
// loader has the table. With known_layout 0 nothing is read from the server.
volatile const __u8 known_layout;
volatile const __u32 client_head;
volatile const __u32 client_id;
volatile const __u32 client_flags;
volatile const __u32 client_conn; // 0 when it is not known
volatile const __u32 client_argc;
volatile const __u32 client_argv;
volatile const __u32 client_cmd;
volatile const __u32 client_last_cmd;
volatile const __u32 client_real_cmd;
volatile const __u32 client_reply;
volatile const __u32 client_reply_bytes;
volatile const __u32 client_bufpos;
volatile const __u32 client_output; // 0 for none
volatile const __u64 server_calls; // address of the server's count of calls; 0 for none
// Address of the server's count of calls under way, when the end of those that
// began earlier will not be seen; 0 for none.
volatile const __u64 server_nesting;

// A flag of call's argument: that INFO commandstats counts the call; 0 when it counts
// all.
volatile const __u64 call_stats;
// A flag of call's argument or of the client: that it had been blocked in this
// command, which is called again.
volatile const __u64 call_again, client_again;
// INFO commandstats counts the command of a blocked client when it is done.
volatile const __u8 counted_when_done;

// A flag of a client (server.h, the same since Redis 3).
#define CLIENT_BLOCKED (1 << 4)

// A call under way.
struct call {
	__u64 sp;
	__u64 client; // its address
	__u64 reply;  // reply_length before the call,
	__u64 block;  // from the block that was the last one then; 0 for none
	__u64 counted; // by INFO commandstats
	struct command command;
};

struct thread {
	__u64 depth;
	__u64 wake, read_start, read_end;
	__u64 read_conn; // that is read since read_start
	__u64 reading;   // none of what is read has been executed yet
	__u64 batch;
	__u64 batch_end; // of the last command of the read
	__u64 replies; // since when they are written, 0: they are not
	__u64 write_sock, write_start, write_end; // the last write
	__u64 last_command; // the address of a command's structure,
	__s64 last_number;  // and its number
	struct call calls[MAX_DEPTH];
	__u64 block, blocks; // of add_blocks: the next one, and what was in those before
	// The error that a blocked client got last.
	__u64 waiting_client;
	__u8 waiting_error[16];
	__u8 client[CLIENT_HEAD];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct thread);
} threads SEC(".maps");

// Commands get their numbers as they come: by the address of the server's own
// structure, and back, for its name.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, COMMANDS);
	__type(key, __u64);
	__type(value, __u32);
} command_numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COMMANDS);
	__type(key, __u32);
	__type(value, __u64);
} command_addresses SEC(".maps");

// The one thread that executes commands, unless there are many; and what a thread
// begins as, too large for a program's stack.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct thread);
} one_thread SEC(".maps");

__u64 starts;     // calls of which the beginning was seen
__u64 ends;       // calls of which the end was seen
__u64 began_unseen; // calls that began before the probe was there
__u64 ended_unseen; // beginnings of calls whose end was not seen
__u64 uncounted;  // calls that INFO commandstats does not count
__u64 too_deep;   // calls within MAX_DEPTH others
__u64 strange;    // calls whose client could not be read
__u64 commands_known;
__u64 refused;    // commands that were answered with an error in place of a call
__u64 errors;     // error replies
__u64 reads;      // of sockets
__u64 wakes;      // of the event loop
__u64 blocks;     // clients that began to wait
__u64 unblocks;   // commands of blocked clients that are done without another call
__u64 replies;    // times that it began or ended to write them
__u64 other_errors; // error replies that belong to no command
__u64 first_calls; // the server's count of calls when the first beginning was seen
__u64 last_calls;  // the same at the first end after user space asked to stop, without it
__u64 receives, sends; // of the event loop, as its sockets tell
__u64 stop;        // 1: user space asks for an end, 2: there was one
__u64 begun;       // a beginning was seen since user space last began to look

static __always_inline struct thread *thread(void)
{
	__u32 tid, zero = 0;
	struct thread *t;

	if (stop == 2)
		return 0;
	if (!in_target())
		return 0;
	if (!many_threads)
		return bpf_map_lookup_elem(&one_thread, &zero);
	tid = bpf_get_current_pid_tgid();
	t = bpf_map_lookup_elem(&threads, &tid);
	if (t)
		return t;
	t = bpf_map_lookup_elem(&one_thread, &zero);
	if (!t)
		return 0;
	bpf_map_update_elem(&threads, &tid, t, BPF_NOEXIST);
	return bpf_map_lookup_elem(&threads, &tid);
}

// read_client reads the beginning of a client, for field.
static __always_inline int read_client(struct thread *t, __u64 client)
{
	__u32 n = client_head;

	if (n > CLIENT_HEAD)
		n = CLIENT_HEAD;
	return !bpf_probe_read_user(t->client, n, (void *)client);
}

// field is the eight bytes at off of the beginning of a client that was read.
static __always_inline __u64 field(struct thread *t, __u32 off)
{
	return *(__u64 *)(t->client + (off & (CLIENT_HEAD - 8)));
}

// reply_block is the first or last of the blocks that wait to be sent to the client
// whose beginning was read, as an address of a listNode (adlist.h); 0 for none.
#define FIRST 0 // where a list has them
#define LAST 8
static __always_inline __u64 reply_block(struct thread *t, __u32 which)
{
	__u64 block = 0;

	if (client_output || !field(t, client_reply_bytes))
		return 0;
	bpf_probe_read_user(&block, sizeof(block), (void *)(field(t, client_reply) + which));
	return block;
}

// add_blocks adds up what is in blocks, up to so many. Any of them may have room left.
#define BLOCKS 1024
__attribute__((noinline)) int add_blocks(struct thread *t)
{
	if (!t)
		return 0;
	for (int i = 0; i < BLOCKS && t->block; i++) {
		__u64 node[3], block[2]; // .prev, .next, .value of a listNode; .size, .used of a clientReplyBlock
		if (bpf_probe_read_user(node, sizeof(node), (void *)t->block)) {
			t->block = 0;
			break;
		}
		if (node[2] && !bpf_probe_read_user(block, sizeof(block), (void *)node[2]))
			t->blocks += block[1];
		t->block = node[1];
	}
	return 0;
}

// reply_length is how much waits to be sent to the client whose beginning was
// read: in its buffer, and in blocks from the given one on, for a call adds nothing
// before the last. Servers that keep large strings out of these count what their
// commands put out.
static __always_inline __u64 reply_length(struct thread *t, __u64 block)
{
	if (client_output)
		return field(t, client_output);
	t->block = block;
	t->blocks = 0;
	for (int i = 0; i < 64 && t->block; i++) // 1 GiB
		add_blocks(t);
	return t->blocks + (__s32)field(t, client_bufpos);
}

// command_number is the number of the command whose structure is at addr, -1 when
// there is none.
static __always_inline __s32 command_number(struct thread *t, __u64 addr)
{
	__u32 *known, number;

	if (!addr)
		return -1;
	if (addr == t->last_command)
		return t->last_number;
	known = bpf_map_lookup_elem(&command_numbers, &addr);
	if (known) {
		number = *known;
	} else {
		number = __sync_fetch_and_add(&commands_known, 1);
		if (bpf_map_update_elem(&command_addresses, &number, &addr, BPF_ANY) ||
		    bpf_map_update_elem(&command_numbers, &addr, &number, BPF_NOEXIST))
			return -1; // there is no more room
	}
	t->last_command = addr;
	t->last_number = number;
	return number;
}

// The commands of the turn that wait for their replies to be written, in the order of
// their calls: those of one read follow one another. One entry when it is not used.
#define ANSWERS 16384
struct answer {
	struct record record;
	__u64 client; // its address; 0 when the command has been accounted
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ANSWERS);
	__type(key, __u32);
	__type(value, struct answer);
} answers SEC(".maps");

// What was read last from a client's socket.
struct socket_read {
	__u64 read_start;
	__u64 first; // where its commands are, or will be, in answers
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct socket_read);
} socket_reads SEC(".maps");

volatile const __u8 writes_seen;

__u64 event_loop;   // its thread, as the kernel numbers it, when it has read
__u64 answers_used; // by this turn
__u64 awaited;      // of them, not yet written
__u64 unanswered;   // commands of which it is not known when their replies were written

// settle accounts a command whose reply was written then, or never: 0. It tells whether
// the command is one of the read, 0 being any.
__attribute__((noinline)) int settle(__u32 at, __u64 read_start, __u64 from, __u64 to)
{
	struct answer *a = bpf_map_lookup_elem(&answers, &at);

	if (!a || at >= answers_used || (read_start && a->record.command.read_start != read_start))
		return 0;
	// User space settles what is left, maybe while this is about to end.
	if (!__sync_lock_test_and_set(&a->client, 0))
		return 1;
	awaited--;
	if (!to && !stop && !SHED(SHED_PHASES))
		unanswered++;
	arrived = a->record.arrived;
	a->record.command.write_start = from;
	a->record.command.write_end = to;
	if (slow(&a->record.command))
		a->record.command.flags |= KEPT_SLOW;
	account(&a->record.command);
	return 1;
}

// The verifier goes through a loop as often as it may run: hence two, of the root of ANSWERS.
#define SOME 128
__attribute__((noinline)) int settle_some(__u32 at, __u64 read_start, __u64 from, __u64 to)
{
	for (__u32 i = 0; i < SOME; i++)
		if (!settle(at + i, read_start, from, to))
			return 0;
	return 1;
}

static __always_inline void settle_all(__u32 at, __u64 read_start, __u64 from, __u64 to)
{
	for (__u32 i = 0; i < SOME; i++)
		if (!settle_some(at + i * SOME, read_start, from, to))
			break;
}

// settle_rest accounts what will not be answered any more.
__attribute__((noinline)) int settle_rest(void)
{
	if (awaited)
		settle_all(0, 0, 0, 0);
	answers_used = 0;
	return 0;
}

// User space calls it when nothing is attached any more.
SEC("syscall")
int settle_now(void *ctx)
{
	__u64 thread = loop_thread, known = unanswered;

	settle_rest();
	loop_thread = thread;
	unanswered = known;
	return 0;
}

// finish accounts a command, at once unless its reply will be written.
static __always_inline void finish(struct command *c, __u64 client)
{
	__u32 at;
	struct answer *a;

	if (!writes_seen || !c->read_start || !c->reply_bytes || c->flags & (COMMAND_BLOCKED | COMMAND_NESTED) || SHED(SHED_PHASES)) {
		account(c);
		return;
	}
	if (!c->read_end) {
		unanswered++; // from which socket it came is not known
		account(c);
		return;
	}
	if (answers_used == ANSWERS)
		settle_rest();
	at = answers_used;
	a = bpf_map_lookup_elem(&answers, &at);
	if (!a)
		return;
	a->record.command = *c;
	a->record.arrived = arrived;
	a->client = client;
	answers_used++;
	awaited++;
}

// of_read tells whether a command that is in so many others was read last. The client is
// the one whose beginning was read, when known; within a script there is another.
static __always_inline int of_read(struct thread *t, int known, __u64 depth)
{
	if (depth)
		return !!t->calls[0].command.read_start;
	// One that a client had waited with has been read in a turn before.
	return t->read_start && t->read_start >= t->wake && (!client_conn || (known && field(t, client_conn) == t->read_conn));
}

// read_times fills in when a command was read that begins now. It is parsed when the
// one before it in its read is done.
static __always_inline void read_times(struct thread *t, struct command *c)
{
	__u64 from = t->read_end;

	t->reading = 0;
	if (!from)
		return;
	c->read_end = from;
	if (t->batch_end > from) {
		from = t->batch_end;
		c->flags |= COMMAND_PARSED_LATE;
	}
	c->parsed = c->read_end + (c->start - from);
}

// void call(client *c, int flags)
SEC("uprobe")
int call_start(struct regs *ctx)
{
	struct thread *t = thread();
	struct call *f;

	if (!t)
		return 0;
	__u64 sp = REGS_SP(ctx), client = REGS_ARG1(ctx), flags = REGS_ARG2(ctx);
	int known = known_layout && read_client(t, client);
	int again = flags & call_again || (known && field(t, client_flags) & client_again);

	if (!begun) {
		__s32 nesting = 0;
		if (server_nesting && !bpf_probe_read_user(&nesting, sizeof(nesting), (void *)server_nesting))
			ADD(began_unseen, nesting - again); // serving a blocked client counts, but is no call
		if (server_calls)
			bpf_probe_read_user(&first_calls, sizeof(first_calls), (void *)server_calls);
		begun = 1;
	}
	ADD(starts, 1);
	for (int i = 0; i < MAX_DEPTH; i++) {
		__u64 top = t->depth - 1;
		if (top >= MAX_DEPTH || t->calls[top].sp > sp)
			break;
		ADD(ended_unseen, 1);
		t->depth = top;
	}
	__u64 depth = t->depth++;
	if (depth >= MAX_DEPTH)
		return 0;
	f = &t->calls[depth];
	__builtin_memset(&f->command, 0, sizeof(f->command));
	f->sp = sp;
	f->client = client;
	f->counted = !call_stats || flags & call_stats;
	f->command.command = -1;
	if (SHED(SHED_PHASES))
		t->read_start = 0; // of a read long ago
	if (again) {
		f->command.flags = COMMAND_BLOCKED; // this turn's times are those of whoever served it
	} else {
		f->command.wake = t->wake;
		if (of_read(t, known, depth)) {
			f->command.read_start = t->read_start;
			f->command.batch = t->batch;
		}
	}
	if (known) {
		f->command.client = field(t, client_id);
		f->command.args = field(t, client_argc);
		f->command.command = command_number(t, field(t, client_real_cmd));
		f->block = reply_block(t, LAST);
		f->reply = reply_length(t, f->block);
	} else if (known_layout) {
		ADD(strange, 1);
	} else {
		f->command.client = client;
	}
	f->command.start = bpf_ktime_get_ns();
	if (!depth && f->command.read_start)
		read_times(t, &f->command);
	return 0;
}

// A command's own function, where nothing is known of the structures.
SEC("uprobe")
int call_identity(struct regs *ctx)
{
	struct thread *t = thread();

	if (!t)
		return 0;
	__u64 top = t->depth - 1;
	// The first: some of these functions call others.
	if (top < MAX_DEPTH && t->calls[top].command.command < 0)
		t->calls[top].command.command = bpf_get_attach_cookie(ctx);
	return 0;
}

// read_key fills in the first key of the command of the client whose beginning
// was read.
static __always_inline void read_key(struct thread *t, struct command *c, __u64 command)
{
	struct key_spec spec;
	__u64 len, key = first_key(&spec, command, field(t, client_argv), field(t, client_argc), &len);

	if (!key)
		return;
	c->key_len = len;
	if (len > sizeof(c->key))
		len = sizeof(c->key);
	if (len && read_user(c->key, len, key))
		c->key_len = 0;
}

// counts is the server's own count of calls, 0 where it is not known.
static __always_inline __u64 counts(void)
{
	__u64 calls = 0;

	if (server_calls)
		bpf_probe_read_user(&calls, sizeof(calls), (void *)server_calls);
	return calls;
}

// waits tells whether the client of the call that ends now is blocked in it, and
// the call therefore not counted yet.
static __always_inline int waits(struct thread *t)
{
	__u64 top = t->depth - 1;

	return counted_when_done && top < MAX_DEPTH && read_client(t, t->calls[top].client) &&
	       field(t, client_flags) & CLIENT_BLOCKED;
}

// In call, after the command's function has returned.
SEC("uprobe")
int call_end(struct regs *ctx)
{
	struct thread *t = thread();

	if (!t)
		return 0;
	if (!begun)
		return 0; // the other probe is not there yet
	__u64 now = bpf_ktime_get_ns();
	if (stop) {
		last_calls = counts() - !waits(t); // without this one
		stop = 2;
		return 0;
	}
	ADD(ends, 1);
	if (t->depth == 0) {
		if (!server_nesting) // which has counted it
			ADD(began_unseen, 1);
		return 0;
	}
	__u64 top = --t->depth;
	if (top >= MAX_DEPTH) {
		ADD(too_deep, 1);
		return 0;
	}
	struct call *f = &t->calls[top];
	struct command *c = &f->command;
	if (!f->counted) {
		ADD(uncounted, 1);
		return 0;
	}
	c->end = now;
	if (top == 0 && c->read_start) {
		t->batch++;
		t->batch_end = now;
	}
	if (counted_when_done && read_client(t, f->client) && field(t, client_flags) & CLIENT_BLOCKED)
		return 0;
	if (top)
		c->flags |= COMMAND_NESTED;
	decide(c);
	// It may be sent yet, as what another one will have waited for, or because its reply
	// is held.
	__u32 keyed = c->flags & KEPT || ((keep_turn || writes_seen) && slower_than && since(c->start, c->end) >= slower_than / 64);
	if (known_layout && read_client(t, f->client)) {
		__u64 reply = reply_length(t, f->block ? f->block : reply_block(t, FIRST));
		if (reply > f->reply)
			c->reply_bytes = reply - f->reply;
		if (keyed)
			read_key(t, c, field(t, client_real_cmd));
	}
	finish(c, f->client);
	return 0;
}

// read_code fills in the code of an error reply: the first word behind its
// hyphen, or ERR when it has none (networking.c, afterErrorReply). It returns how
// much the server puts before the text.
static __always_inline __u32 read_code(struct command *c, __u64 addr, __u64 len)
{
	__u8 text[sizeof(c->error) + 1] = {};

	if (len > sizeof(text))
		len = sizeof(text);
	c->flags |= COMMAND_FAILED;
	if (c->error[0])
		return 0; // the first one counts
	if (bpf_probe_read_user(text, len, (void *)addr))
		return 0;
	if (text[0] != '-') {
		c->error[0] = 'E';
		c->error[1] = c->error[2] = 'R';
		return sizeof("-ERR ") - 1;
	}
	for (int i = 0; i < (int)sizeof(c->error); i++) {
		__u8 b = text[i + 1];
		if (b <= ' ')
			break;
		c->error[i] = b;
	}
	return 0;
}

// void afterErrorReply(client *c, const char *s, size_t len, int flags)
SEC("uprobe")
int error_reply(struct regs *ctx)
{
	struct thread *t = thread();

	if (!t)
		return 0;
	ADD(errors, 1);
	__u64 client = REGS_ARG1(ctx), top = t->depth - 1;
	if (top < MAX_DEPTH && t->calls[top].client == client) {
		read_code(&t->calls[top].command, REGS_ARG2(ctx), REGS_ARG3(ctx));
		return 0;
	}
	int known = known_layout && read_client(t, client);
	if (known && counted_when_done && field(t, client_flags) & CLIENT_BLOCKED) {
		struct command failed = {};
		read_code(&failed, REGS_ARG2(ctx), REGS_ARG3(ctx));
		__builtin_memcpy(t->waiting_error, failed.error, sizeof(failed.error));
		t->waiting_client = client;
		ADD(other_errors, 1); // until its command is done
		return 0;
	}
	// No call of this client is under way: a command that was refused, or that does
	// not exist; a reply to one that had been waiting, or a fault of the protocol.
	struct command c = {};
	if (!known || field(t, client_flags) & CLIENT_BLOCKED || !(__u32)field(t, client_argc)) {
		ADD(other_errors, 1);
		return 0;
	}
	c.client = field(t, client_id);
	c.args = field(t, client_argc);
	c.command = command_number(t, field(t, client_cmd));
	c.flags = COMMAND_REFUSED | (t->depth ? COMMAND_NESTED : 0);
	c.wake = t->wake;
	c.reply_bytes = read_code(&c, REGS_ARG2(ctx), REGS_ARG3(ctx)) + REGS_ARG3(ctx) + sizeof("\r\n") - 1;
	c.start = c.end = bpf_ktime_get_ns();
	if (of_read(t, known, t->depth)) {
		c.read_start = t->read_start;
		c.batch = t->batch;
		if (!t->depth) {
			read_times(t, &c);
			t->batch_end = c.end;
		}
	}
	ADD(refused, 1);
	decide(&c);
	if (c.command >= 0 && c.flags & KEPT)
		read_key(t, &c, field(t, client_cmd));
	finish(&c, client);
	return 0;
}

// void blockClient(client *c, int btype)
SEC("uprobe")
int client_blocks(struct regs *ctx)
{
	struct thread *t = thread();

	if (!t)
		return 0;
	ADD(blocks, 1);
	__u64 top = t->depth - 1;
	if (top < MAX_DEPTH && t->calls[top].client == REGS_ARG1(ctx))
		t->calls[top].command.flags |= COMMAND_BLOCKED;
	return 0;
}

// void updateStatsOnUnblock(client *c, long blocked_us, long reply_us, int failed)
//
// Counts the command of a blocked client that is done without another call: its time
// was over, or it got an error.
SEC("uprobe")
int unblocked(struct regs *ctx)
{
	struct thread *t = thread();
	struct command c = {};

	if (!t)
		return 0;
	if (!begun)
		return 0; // the server's count was not read yet
	if (stop) {
		last_calls = counts(); // without this one
		stop = 2;
		return 0;
	}
	__u64 client = REGS_ARG1(ctx), command = 0;
	ADD(unblocks, 1);
	c.command = -1;
	c.flags = COMMAND_BLOCKED;
	if (read_client(t, client)) {
		command = field(t, client_last_cmd);
		c.client = field(t, client_id);
		c.args = field(t, client_argc);
		c.command = command_number(t, command);
	} else {
		ADD(strange, 1);
	}
	if ((__s32)REGS_ARG4(ctx)) {
		c.flags |= COMMAND_FAILED;
		if (t->waiting_client == client) {
			__builtin_memcpy(c.error, t->waiting_error, sizeof(c.error));
			t->waiting_client = 0;
			ADD(other_errors, -1);
		}
	}
	c.start = c.end = bpf_ktime_get_ns();
	decide(&c);
	if (command && c.flags & KEPT)
		read_key(t, &c, command);
	account(&c);
	return 0;
}

// void readQueryFromClient(connection *conn)
SEC("uprobe")
int read_start(struct regs *ctx)
{
	struct thread *t = thread();

	if (!t)
		return 0;
	ADD(reads, 1);
	event_loop = (__u32)bpf_get_current_pid_tgid();
	t->read_conn = REGS_ARG1(ctx);
	t->read_end = 0;
	t->reading = 1;
	t->batch = t->batch_end = 0;
	t->read_start = bpf_ktime_get_ns();
	return 0;
}

// in_loop is the event loop's thread when it is the current one, of whatever process.
static __always_inline struct thread *in_loop(void)
{
	__u32 zero = 0;

	if (stop == 2 || (__u32)bpf_get_current_pid_tgid() != event_loop)
		return 0;
	return bpf_map_lookup_elem(&one_thread, &zero);
}

// The arguments of sock_recv_length (Linux 6.3): the socket that the current thread has
// read, what recvmsg returned, and its flags.
SEC("tp_btf/sock_recv_length")
int socket_read(__u64 *ctx)
{
	struct thread *t = in_loop();
	struct socket_read *s;

	if (!t || !t->reading || (__s32)ctx[1] <= 0)
		return 0;
	ADD(receives, 1);
	t->read_end = bpf_ktime_get_ns();
	if (!writes_seen)
		return 0;
	s = bpf_sk_storage_get(&socket_reads, (void *)ctx[0], 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (s) {
		s->read_start = t->read_start;
		s->first = answers_used;
	}
	return 0;
}

// The arguments of sock_send_length (Linux 6.3): likewise, of what it has written.
//
// The replies of a client are known to be written when a write takes all that waits for
// it: the server has not taken that out of its buffers yet.
SEC("tp_btf/sock_send_length")
int socket_written(__u64 *ctx)
{
	struct thread *t = in_loop();
	struct socket_read *s;
	struct answer *a;
	__u64 sock = ctx[0], length;
	__s32 written = ctx[1];
	__u32 at;

	if (!t || !t->replies)
		return 0;
	ADD(sends, 1);
	if (sock != t->write_sock)
		t->write_start = t->write_end;
	t->write_sock = sock;
	t->write_end = bpf_ktime_get_ns();
	s = bpf_sk_storage_get(&socket_reads, (void *)ctx[0], 0, 0);
	if (!s || written <= 0)
		return 0;
	at = s->first;
	a = bpf_map_lookup_elem(&answers, &at);
	if (!a || at >= answers_used || a->record.command.read_start != s->read_start)
		return 0;
	if (!a->client || !read_client(t, a->client))
		return 0;
	length = reply_length(t, reply_block(t, FIRST));
	if (length == written)
		settle_all(at, s->read_start, t->write_start, t->write_end);
	return 0;
}

// void afterSleep(struct aeEventLoop *eventLoop)
SEC("uprobe")
int loop_wake(struct regs *ctx)
{
	struct thread *t = thread();

	if (!t)
		return 0;
	ADD(wakes, 1);
	if (writes_seen)
		settle_rest();
	t->replies = 0;
	t->wake = bpf_ktime_get_ns();
	return 0;
}

// int handleClientsWithPendingWrites(void), or the one that it is in: …UsingThreads
SEC("uprobe")
int replies_start(struct regs *ctx)
{
	struct thread *t = thread();

	if (!t)
		return 0;
	ADD(replies, 1);
	t->replies = t->write_end = bpf_ktime_get_ns();
	t->write_sock = 0;
	return 0;
}

// And its return.
SEC("uprobe")
int replies_end(struct regs *ctx)
{
	struct thread *t = thread();

	if (!t || !t->replies)
		return 0;
	ADD(replies, 1);
	turn_replied(t->wake, t->replies, bpf_ktime_get_ns());
	t->replies = 0;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
