// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scatters the memory that is free first: single pages, from far below the zone's end.
 *
 *   scatter --mib=N [--locked] [--node=N]
 *
 * It takes --mib of anonymous memory, and frees every page of it whose frame number is even, the
 * lowest last: their buddies are held, so that they do not merge, and who allocates a page gets
 * one of them.  It goes to the background when it has done so, and holds the rest until it is
 * killed; its report says what is its process.  With --locked the rest is unevictable;
 * with --node all is memory of that node.
 *
 * Compaction moves what is low to the free pages between those that are held higher up.  It has
 * no use for a block that is free as a whole, so that in memory with nothing but such blocks its
 * two scanners meet before they come to most of what is there (suitable_migration_target() in
 * mm/compaction.c).  Nor does it always look at every page: behind a block where it found nothing
 * it takes steps of two pages, of four and so on, from the begin of each block (`stride` in
 * isolate_freepages()), and would see no free page with an odd number.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodes.h"
#include "report.h"

enum { ANY_NODE = -1 };

/* An entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
#define FRAME(entry) ((entry) & ((UINT64_C(1) << 55) - 1))

struct held {
	uint64_t frame;
	unsigned char *at;
};

static const struct option long_options[] = {
	{ "mib", required_argument, NULL, 'm' },
	{ "locked", no_argument, NULL, 'l' },
	{ "node", required_argument, NULL, 'n' },
	{ 0 },
};

static int highest_first(const void *one, const void *other)
{
	uint64_t a = ((const struct held *)one)->frame, b = ((const struct held *)other)->frame;

	return (a < b) - (a > b);
}

/* Memory of single pages, each of them there; of that node, unless it is ANY_NODE. */
static unsigned char *take(size_t bytes, size_t page_bytes, int node)
{
	unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);

	if (memory == MAP_FAILED)
		die(STATUS_IO, errno, "reserving %zu bytes", bytes);
	/* Refused by a kernel that has no huge pages. */
	madvise(memory, bytes, MADV_NOHUGEPAGE);
	if (node != ANY_NODE)
		bind_to_node(memory, bytes, node);
	for (size_t at = 0; at < bytes; at += page_bytes)
		memory[at] = 1;
	return memory;
}

/* Where each page lies, the highest first. */
static struct held *frames_of(unsigned char *memory, size_t pages, size_t page_bytes)
{
	struct held *held = calloc(pages, sizeof(*held));
	uint64_t *entries = calloc(pages, sizeof(*entries));
	size_t bytes = pages * sizeof(*entries), done = 0;
	off_t begin = (off_t)((uintptr_t)memory / page_bytes * sizeof(*entries));
	int map = open("/proc/self/pagemap", O_RDONLY);

	if (!held || !entries)
		die(STATUS_IO, ENOMEM, "%zu bytes", bytes);
	while (done < bytes) {
		ssize_t got = map < 0 ? -1 : pread(map, (char *)entries + done, bytes - done, begin + (off_t)done);

		if (got <= 0)
			die(STATUS_IO, errno, "/proc/self/pagemap");
		done += (size_t)got;
	}
	close(map);
	for (size_t page = 0; page < pages; page++)
		held[page] = (struct held){ FRAME(entries[page]), memory + page * page_bytes };
	if (!FRAME(entries[0]))
		die(STATUS_IO, 0, "/proc/self/pagemap tells root alone where pages lie");
	free(entries);
	qsort(held, pages, sizeof(*held), highest_first);
	return held;
}

static void scatter(size_t pages, size_t page_bytes, bool locked, int node)
{
	unsigned char *memory = take(pages * page_bytes, page_bytes, node);
	struct held *held = frames_of(memory, pages, page_bytes);

	for (size_t page = 0; page < pages; page++)
		if (held[page].frame % 2 == 0 && madvise(held[page].at, page_bytes, MADV_DONTNEED))
			die(STATUS_IO, errno, "freeing a page");
	if (locked && mlock2(memory, pages * page_bytes, MLOCK_ONFAULT))
		die(STATUS_IO, errno, "locking pages");
	free(held);
}

/* What started this waits until its input and output are closed. */
static void leave(void)
{
	int nothing = open("/dev/null", O_RDWR);

	setsid();
	for (int file = 0; file <= 2; file++)
		dup2(nothing, file);
}

int main(int argc, char **argv)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	int option, done[2], status, node = ANY_NODE;
	bool locked = false;
	uint64_t mib = 0;
	pid_t holder;
	char byte;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'm': mib = parse_number("--mib", optarg); break;
		case 'l': locked = true; break;
		case 'n': node = (int)parse_number("--node", optarg); break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!mib || optind < argc)
		die(STATUS_USAGE, 0, "usage: scatter --mib=N [--locked] [--node=N]");

	if (pipe(done) || (holder = fork()) < 0)
		die(STATUS_IO, errno, "starting");
	if (!holder) {
		scatter((mib << 20) / page_bytes, page_bytes, locked, node);
		leave();
		if (write(done[1], "", 1) != 1)
			die(STATUS_IO, errno, "saying so");
		close(done[1]);
		for (;;)
			pause();
	}
	close(done[1]);
	if (read(done[0], &byte, 1) != 1) {
		/* It has said why. */
		waitpid(holder, &status, 0);
		return WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_IO;
	}
	printf("{\"program\": \"scatter\", \"process\": %d}\n", holder);
	return STATUS_OK;
}
