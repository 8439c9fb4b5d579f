// A program with the shape of KeyDB 6.3, of which there is no binary to test with: its
// functions by their names and arguments, several event loops that each execute
// commands, under one lock or, those that only read, under none. It has no sockets and
// no keys. What each thread's clients ask for is fixed (pattern), so that the commands
// of a client tell the thread.
//
// It reads orders from its standard input, a line each, and answers with lines:
//
//	run N      each thread takes N turns of its loop; then "done"
//	start      all threads take turns until
//	stop       and then "done"
//	counts     COMMAND CALLS FAILED of each, as INFO commandstats has them; then "done"
//	log        THREAD CLIENT COMMAND BEGIN END DEPTH of each command since the start, in
//	           each thread's order of their ends, times of CLOCK_MONOTONIC in ns; then "done"
//	shutdown   one thread executes SHUTDOWN, which leaves call by an exception
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <vector>

// In KeyDB callers and called are in different files.
#define FUNCTION __attribute__((noipa))

#define THREADS 4
#define CLIENTS 3 // of each thread

#define CMD_CALL_SLOWLOG (1 << 0)
#define CMD_CALL_STATS (1 << 1)
#define CMD_CALL_FULL (CMD_CALL_SLOWLOG | CMD_CALL_STATS)
#define CMD_CALL_ASYNC (1 << 6)

struct client;
struct aeEventLoop;

struct redisCommand {
	const char *name;
	void (*proc)(client *);
	bool readonly;
	std::atomic<uint64_t> calls, failed_calls;
};

struct entry {
	client *c;
	redisCommand *cmd;
	uint64_t begin, end;
	int depth;
};

struct client {
	redisCommand *cmd;
	int thread, queued, executed;
	size_t reply;
};

struct connection {
	client *c;
};

struct redisServerThreadVars {
	int iel, depth;
	uint64_t stat_total_error_replies, prev_err_count;
	connection conns[CLIENTS];
	client clients[CLIENTS], lua;
	std::vector<client *> vecclientsProcess;
	std::vector<entry> log;
	long turns;
};

struct ShutdownException {};

static redisServerThreadVars rgthreadvar[THREADS];
static thread_local redisServerThreadVars *serverTL;
static std::recursive_mutex g_lock;
static std::atomic<uint64_t> used_memory, peak_memory, numcommands;
static std::atomic<bool> running, shutting_down;

static uint64_t now()
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

[[noreturn]] __attribute__((cold)) FUNCTION void _serverAssert(const char *what)
{
	fprintf(stderr, "%s\n", what);
	abort();
}
#define serverAssert(e) (__builtin_expect(!!(e), 1) ? (void)0 : _serverAssert(#e))

extern "C" FUNCTION size_t zmalloc_used_memory() { return used_memory; }

FUNCTION void afterErrorReply(client *c, const char *s, size_t len, int severity)
{
	serverTL->stat_total_error_replies++;
	c->reply += len + severity;
	serverAssert(s[0]);
}

FUNCTION void addReplyErrorObject(client *c, const char *err, int severity) { afterErrorReply(c, err, strlen(err), severity); }

FUNCTION void addReplyError(client *c, const char *err) { afterErrorReply(c, err, strlen(err), 0); }

FUNCTION void blockClient(client *c, int btype) { c->reply += btype; }

void call(client *c, int flags);

// What a command does: some hundred ns, more of each further thread.
static inline void work(client *c)
{
	for (volatile int i = 0; i < 100 * (1 + c->thread); i = i + 1)
		;
}

FUNCTION void getCommand(client *c) { work(c); }
FUNCTION void setCommand(client *c) { work(c); used_memory += 16; }
FUNCTION void incrCommand(client *c) { work(c); addReplyErrorObject(c, "-WRONGTYPE not a number\r\n", 3); }
FUNCTION void lpushCommand(client *c) { work(c); addReplyError(c, "no room"); }
FUNCTION void hsetCommand(client *c) { work(c); throw "-NOAUTH by an exception"; }
FUNCTION void blpopCommand(client *c) { work(c); blockClient(c, 1); }
FUNCTION void shutdownCommand(client *) { throw ShutdownException(); }
FUNCTION void execCommand(client *c);
FUNCTION void evalCommand(client *c);

static redisCommand get{"get", getCommand, true}, set{"set", setCommand}, incr{"incr", incrCommand}, lpush{"lpush", lpushCommand},
	hset{"hset", hsetCommand}, blpop{"blpop", blpopCommand}, exec{"exec", execCommand}, eval{"eval", evalCommand},
	shutdown_{"shutdown", shutdownCommand};

static redisCommand *const commands[] = {&get, &set, &incr, &lpush, &hset, &blpop, &exec, &eval};

void execCommand(client *c)
{
	redisCommand *orig = c->cmd;
	for (redisCommand *queued : {&set, &get, &lpush}) {
		c->cmd = queued;
		call(c, CMD_CALL_FULL);
	}
	c->cmd = orig;
}

void evalCommand(client *c)
{
	client *lua = &serverTL->lua;
	lua->thread = c->thread;
	for (redisCommand *called : {&get, &incr}) {
		lua->cmd = called;
		call(lua, CMD_CALL_FULL);
	}
}

// As in KeyDB: what is executed without the lock does not come by zmalloc_used_memory,
// and what a command throws is mostly caught here.
FUNCTION void call(client *c, int flags)
{
	redisCommand *real_cmd = c->cmd;
	serverAssert(real_cmd && (real_cmd->readonly || !(flags & CMD_CALL_ASYNC)));
	serverTL->prev_err_count = serverTL->stat_total_error_replies;
	serverTL->depth++;
	uint64_t begin = now();
	try {
		c->cmd->proc(c);
	} catch (const char *error) {
		addReplyError(c, error);
	}
	uint64_t end = now();
	if (serverTL->stat_total_error_replies > serverTL->prev_err_count)
		real_cmd->failed_calls++;
	if (flags & CMD_CALL_STATS)
		real_cmd->calls++;
	serverTL->log.push_back({c, real_cmd, begin, end, serverTL->depth--});
	numcommands++;
	serverTL->prev_err_count = serverTL->stat_total_error_replies;
	if (!(flags & CMD_CALL_ASYNC)) {
		size_t zmalloc_used = zmalloc_used_memory();
		if (zmalloc_used > peak_memory)
			peak_memory = zmalloc_used;
	}
}

FUNCTION int processCommand(client *c, int callFlags)
{
	if (!c->cmd) { // an unknown command, which is not called
		addReplyErrorObject(c, "-ERR unknown command\r\n", 3);
		return 0;
	}
	call(c, callFlags);
	return 0;
}

// pattern is what a client asks for next.
static redisCommand *pattern(client *c)
{
	unsigned which = &c[0] - serverTL->clients;
	switch ((c->executed++ + which + c->thread) % 7) {
	case 0: return &set;
	case 1: return c->thread % 2 ? &exec : &incr;
	case 2: return nullptr;
	case 3: return c->thread % 2 ? &lpush : &eval;
	case 4: return &hset;
	case 5: return &blpop;
	}
	return &get;
}

FUNCTION void processInputBuffer(client *c, bool, int callFlags)
{
	for (; c->queued > 0; c->queued--) {
		c->cmd = (callFlags & CMD_CALL_ASYNC) ? &get : pattern(c);
		processCommand(c, callFlags);
	}
}

// Reads and parses; executes at once what needs no lock, and leaves the rest to processClients.
FUNCTION void readQueryFromClient(connection *conn)
{
	client *c = conn->c;
	c->queued = 3;
	processInputBuffer(c, false, CMD_CALL_SLOWLOG | CMD_CALL_STATS | CMD_CALL_ASYNC);
	c->queued = 2;
	serverTL->vecclientsProcess.push_back(c);
}

FUNCTION void processClients()
{
	for (client *c : serverTL->vecclientsProcess)
		processInputBuffer(c, false, CMD_CALL_FULL);
	serverTL->vecclientsProcess.clear();
}

FUNCTION int writeToClient(client *c, int) { c->reply = 0; return 0; }

FUNCTION int handleClientsWithPendingWrites(int iel, int)
{
	for (client &c : rgthreadvar[iel].clients)
		writeToClient(&c, 0);
	return CLIENTS;
}

FUNCTION int serverCron(aeEventLoop *, long long, void *)
{
	if (shutting_down) {
		client c = {};
		c.cmd = &shutdown_;
		processCommand(&c, CMD_CALL_FULL);
	}
	return 100;
}

FUNCTION void beforeSleep(aeEventLoop *)
{
	{
		std::unique_lock<std::recursive_mutex> lock(g_lock);
		processClients();
	}
	handleClientsWithPendingWrites(serverTL->iel, 0);
}

FUNCTION void afterSleep(aeEventLoop *) {}

static pthread_mutex_t turns_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turns_changed = PTHREAD_COND_INITIALIZER;

// aeMain takes the turns that it is told to.
FUNCTION void aeMain(aeEventLoop *el)
{
	for (;;) {
		pthread_mutex_lock(&turns_lock);
		while (!running && !serverTL->turns && !(shutting_down && serverTL->iel == 0))
			pthread_cond_wait(&turns_changed, &turns_lock);
		pthread_mutex_unlock(&turns_lock);
		afterSleep(el);
		for (connection &conn : serverTL->conns)
			readQueryFromClient(&conn);
		beforeSleep(el);
		if (serverTL->iel == 0)
			serverCron(el, 0, nullptr);
		pthread_mutex_lock(&turns_lock);
		if (serverTL->turns && !--serverTL->turns)
			pthread_cond_broadcast(&turns_changed);
		pthread_mutex_unlock(&turns_lock);
	}
}

static void *workerThreadMain(void *arg)
{
	char name[16];
	serverTL = (redisServerThreadVars *)arg;
	snprintf(name, sizeof(name), "server-%d", serverTL->iel);
	pthread_setname_np(pthread_self(), name);
	try {
		aeMain(nullptr);
	} catch (ShutdownException) {
		printf("done\n");
		fflush(stdout);
		exit(0);
	}
	return nullptr;
}

int main()
{
	pthread_t id;
	char order[64];
	for (int i = 0; i < THREADS; i++) {
		redisServerThreadVars *v = &rgthreadvar[i];
		v->iel = i;
		for (int j = 0; j < CLIENTS; j++) {
			v->clients[j].thread = i;
			v->conns[j].c = &v->clients[j];
		}
		pthread_create(&id, nullptr, workerThreadMain, v);
	}
	while (fgets(order, sizeof(order), stdin)) {
		bool stop = !strcmp(order, "stop\n");
		pthread_mutex_lock(&turns_lock);
		running = !strcmp(order, "start\n") || (running && !stop);
		shutting_down = !strcmp(order, "shutdown\n");
		for (redisServerThreadVars &v : rgthreadvar)
			v.turns = !strncmp(order, "run ", 4) ? atol(order + 4) : stop;
		pthread_cond_broadcast(&turns_changed);
		for (redisServerThreadVars &v : rgthreadvar)
			while (v.turns)
				pthread_cond_wait(&turns_changed, &turns_lock);
		pthread_mutex_unlock(&turns_lock);
		if (shutting_down)
			pthread_exit(nullptr);
		if (!strcmp(order, "counts\n"))
			for (redisCommand *cmd : commands)
				printf("%s %lu %lu\n", cmd->name, cmd->calls.load(), cmd->failed_calls.load());
		if (!strcmp(order, "log\n"))
			for (redisServerThreadVars &v : rgthreadvar)
				for (entry &e : v.log)
					printf("%d %lu %s %lu %lu %d\n", v.iel, (unsigned long)e.c, e.cmd->name, e.begin, e.end, e.depth);
		printf("done\n");
		fflush(stdout);
	}
	_exit(0);
}
