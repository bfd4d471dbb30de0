// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory of the first node that is asked to move to the second, while a pipe has some of its pages: all
 * others go, and these when the pipe was read.  Then some go back while as many others come.
 *
 *   across --pages=N [--pinned=N] [--huge]
 *
 * The pages that are pinned are the first of them, so that others come behind what cannot be moved.
 * With --huge the memory is huge pages where there are any.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "nodes.h"
#include "report.h"

#define SEED 1
#define WRITTEN version_after(0, MIX_RANDOM)
/* With pages of 4 KiB, which is what this is for. */
#define HUGE_BYTES (2u << 20)

static const struct option long_options[] = {
	{ "pages", required_argument, NULL, 'p' },
	{ "pinned", required_argument, NULL, 'i' },
	{ "huge", no_argument, NULL, 'h' },
	{ 0 },
};

/* Pages that change places, half of them in each direction. */
enum { EXCHANGED = 8 };

static size_t page_bytes;

/* Asks for two pages by name, the second of which is there; returns how many could not be moved. */
static long move_pair(void *one, void *other)
{
	void *addresses[] = { one, other };
	int nodes[] = { TO, TO }, status[2];
	long left = syscall(SYS_move_pages, 0, 2ul, addresses, nodes, status, 0);

	if (left < 0)
		die(STATUS_IO, errno, "moving two pages to another node");
	return left;
}

/* Moves pages, and has the kernel tell where they are then; without `nodes` only the latter. */
static void place(void **addresses, const int *nodes, int *status)
{
	if (syscall(SYS_move_pages, 0, (unsigned long)EXCHANGED, addresses, nodes, status, 0) < 0)
		die(STATUS_IO, errno, "moving %d pages to two nodes", EXCHANGED);
}

/*
 * Sends the later half of some pages to the first node, then has both halves change places at once.
 * Reports how many did, and of how many it is told another place than they have.
 */
static void exchange(unsigned char *memory)
{
	int back[EXCHANGED], nodes[EXCHANGED], told[EXCHANGED], seen[EXCHANGED];
	void *addresses[EXCHANGED];
	size_t exchanged = 0, mistold = 0;

	for (size_t page = 0; page < EXCHANGED; page++) {
		addresses[page] = memory + page * page_bytes;
		nodes[page] = page < EXCHANGED / 2 ? FROM : TO;
		back[page] = page < EXCHANGED / 2 ? TO : FROM;
	}
	place(addresses, back, told);
	place(addresses, nodes, told);
	place(addresses, NULL, seen);
	for (size_t page = 0; page < EXCHANGED; page++) {
		exchanged += seen[page] == nodes[page];
		mistold += told[page] != seen[page];
	}
	printf(", \"exchanged\": %zu, \"mistold\": %zu", exchanged, mistold);
}

/* Puts the first of those bytes into a pipe, by reference. */
static void pin(int pipe, unsigned char *memory, size_t held)
{
	if (fcntl(pipe, F_SETPIPE_SZ, (int)held) < (int)held)
		die(STATUS_IO, errno, "a pipe of %zu bytes", held);
	for (size_t at = 0; at < held;) {
		struct iovec rest = { memory + at, held - at };
		ssize_t taken = vmsplice(pipe, &rest, 1, SPLICE_F_NONBLOCK);

		if (taken <= 0)
			die(STATUS_IO, errno, "vmsplice of %zu bytes", held - at);
		at += (size_t)taken;
	}
}

int main(int argc, char **argv)
{
	struct mismatches mismatches = MISMATCHES_NONE;
	size_t pages = 0, pinned = 0, bytes, held, left;
	unsigned char *memory, *got, *scratch;
	int pipes[2], option;
	bool huge = false;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'p': pages = parse_number("--pages", optarg); break;
		case 'i': pinned = parse_number("--pinned", optarg); break;
		case 'h': huge = true; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (pages < EXCHANGED || pinned > pages || optind < argc)
		die(STATUS_USAGE, 0, "usage: across --pages=N [--pinned=N] [--huge]");

	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	bytes = pages * page_bytes;
	held = pinned * page_bytes;
	memory = aligned(huge ? HUGE_BYTES : page_bytes, bytes);
	got = held ? aligned(page_bytes, held) : NULL;
	scratch = aligned(page_bytes, page_bytes);
	/* A kernel without huge pages refuses the advice, and does not need it. */
	madvise(memory, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	bind_to_node(memory, bytes, FROM);
	for (size_t page = 0; page < pages; page++)
		content_fill(memory + page * page_bytes, SEED, page, WRITTEN, page_bytes);
	if (count_in_node(memory, pages, FROM) != pages)
		die(STATUS_IO, 0, "%zu of %zu pages are in node %d", count_in_node(memory, pages, FROM), pages, FROM);

	if (pipe(pipes))
		die(STATUS_IO, errno, "a pipe");
	if (held)
		pin(pipes[1], memory, held);
	left = (size_t)move_to_second_node();
	printf("{\"program\": \"across\", \"left\": %zu, \"moved\": %zu", left, count_in_node(memory, pages, TO));
	printf(", \"unmoved\": %ld", move_pair(memory, memory + (pages - 1) * page_bytes));
	for (size_t at = 0; at < held;) {
		ssize_t count = read(pipes[0], got + at, held - at);

		if (count <= 0)
			die(STATUS_IO, errno, "reading the pipe");
		at += (size_t)count;
	}
	move_to_second_node();
	printf(", \"released\": %zu", count_in_node(memory, pages, TO));
	/* Of a huge page all goes where its first page does. */
	if (!huge)
		exchange(memory);
	for (size_t page = 0; page < pages; page++)
		content_holds(memory + page * page_bytes, scratch, SEED, page, WRITTEN, page_bytes, &mismatches);
	printf(", \"bytes_verified\": %zu", bytes);
	return report_end(&mismatches);
}
