// A C program for the unwinder: `deep MODE DEPTH` calls down() DEPTH times, one
// within the other, then computes in leaf() for ever; or naps DEPTH times. MODE is the kind of frame
// on the way. Compiled with -O2 -fomit-frame-pointer.
#include <alloca.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

volatile unsigned long sink;
volatile int stop; // never

NOINLINE int leaf(void)
{
	while (!stop)
		for (unsigned long i = 0; i < 1000; i++)
			sink += i * sink;
	return 0;
}

NOINLINE int plain(int n)
{
	return (n > 1 ? plain(n - 1) : leaf()) + n;
}

// A frame of a size known at run time: the frame pointer is the base.
NOINLINE int vla(int n)
{
	volatile char *room = alloca(16 + n);
	room[n] = n;
	return (n > 1 ? vla(n - 1) : leaf()) + room[n];
}

// A frame aligned more than the ABI asks for.
NOINLINE int aligned(int n)
{
	volatile char room[64] __attribute__((aligned(64)));
	room[n & 63] = n;
	return (n > 1 ? aligned(n - 1) : leaf()) + room[n & 63];
}

NOINLINE int realigned_vla(int n)
{
	volatile char aligned_room[64] __attribute__((aligned(64)));
	volatile char *room = alloca(16 + n);
	aligned_room[n & 63] = room[n] = n;
	return (n > 1 ? realigned_vla(n - 1) : leaf()) + room[n] + aligned_room[n & 63];
}

// Through a library that was compiled by others.
NOINLINE int compare(const void *a, const void *b)
{
	return leaf() + *(const char *)a - *(const char *)b;
}

NOINLINE int sorted(int n)
{
	char two[] = "ab";
	if (n > 1)
		return sorted(n - 1) + n;
	qsort(two, 2, 1, compare);
	return two[0];
}

NOINLINE void handler(int sig)
{
	leaf();
	sink += sig;
}

// A signal that comes within the computation.
NOINLINE int interrupted(int n)
{
	if (n > 1)
		return interrupted(n - 1) + n;
	alarm(1);
	return leaf();
}

// Always about to enter or leave a call through the PLT.
NOINLINE int plt(int n)
{
	if (n > 1)
		return plt(n - 1) + n;
	while (!stop)
		sink += labs(sink) + abs(atoi("1"));
	return 0;
}

// Sleeps n times for 10 ms when told to, and then for ever.
NOINLINE int naps(int n)
{
	getchar();
	while (n-- > 0)
		usleep(10000);
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	static const struct { const char *name; int (*run)(int); } modes[] = {
		{"plain", plain}, {"vla", vla}, {"aligned", aligned}, {"realigned_vla", realigned_vla},
		{"sorted", sorted}, {"interrupted", interrupted}, {"plt", plt}, {"naps", naps},
	};
	if (argc != 3)
		return 2;
	int depth = atoi(argv[2]);
	signal(SIGALRM, handler);
	puts("ready");
	fflush(stdout);
	for (unsigned i = 0; i < sizeof(modes) / sizeof(*modes); i++)
		if (!strcmp(argv[1], modes[i].name))
			return modes[i].run(depth) & 1;
	return 2;
}
