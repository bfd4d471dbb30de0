// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is paged out twice: it comes back to the swap cache between, where a page keeps its place on
 * the swap device, whatever becomes of its content.
 *
 *   reswap --mib=N --seed=N [--huge] [--between=COMMAND] [--across] [--leave]
 *
 * Of what came back a quarter is read and then written, a quarter written, a quarter read, a quarter let
 * alone.  Then --between is run, by the shell, and all is paged out again.  With --huge it is huge pages
 * that are paged out first.  With --across it is memory of the first node, and goes to the second when it
 * came back.  With --leave it ends when all was paged out once, so that what is there is freed as it is.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nodes.h"
#include "report.h"

/* Of newer headers than the oldest that this is compiled with. */
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#define HUGE_BYTES (UINT64_C(2) << 20)

static const struct option long_options[] = {
	{ "mib", required_argument, NULL, 'm' },
	{ "seed", required_argument, NULL, 's' },
	{ "huge", no_argument, NULL, 'h' },
	{ "between", required_argument, NULL, 'b' },
	{ "across", no_argument, NULL, 'a' },
	{ "leave", no_argument, NULL, 'l' },
	{ 0 },
};

static unsigned char *memory, *scratch;
static size_t page_bytes, pages;
static uint64_t seed, verified;
static uint32_t *versions;
static struct mismatches mismatches = MISMATCHES_NONE;

static void rewrite(size_t page)
{
	versions[page] = version_after(versions[page], MIX_MIXED);
	content_fill(memory + page * page_bytes, seed, page, versions[page], page_bytes);
}

static void check(size_t page)
{
	content_holds(memory + page * page_bytes, scratch, seed, page, versions[page], page_bytes, &mismatches);
	verified += page_bytes;
}

static void advise(int advice, const char *what)
{
	if (madvise(memory, pages * page_bytes, advice))
		die(STATUS_IO, errno, "%s", what);
}

static void touch(size_t page)
{
	switch (page % 4) {
	case 0: check(page); /* fallthrough */
	case 1: rewrite(page); break;
	case 2: check(page); break;
	}
}

/* How much is in the swap cache, in pages. */
static uint64_t swap_cached(void)
{
	FILE *file = fopen("/proc/meminfo", "r");
	uint64_t kib = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "SwapCached: %" SCNu64, &kib) == 1)
			break;
	if (!file || ferror(file))
		die(STATUS_IO, errno, "/proc/meminfo");
	fclose(file);
	return kib * 1024 / page_bytes;
}

int main(int argc, char **argv)
{
	const char *between = NULL;
	bool huge = false, across = false, leave = false;
	uint64_t mib = 0, cached;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'm': mib = parse_number("--mib", optarg); break;
		case 's': seed = parse_number("--seed", optarg); break;
		case 'h': huge = true; break;
		case 'b': between = optarg; break;
		case 'a': across = true; break;
		case 'l': leave = true; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!mib || optind < argc)
		die(STATUS_USAGE, 0,
		    "usage: reswap --mib=N --seed=N [--huge] [--between=COMMAND] [--across] [--leave]");

	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	pages = (mib << 20) / page_bytes;
	memory = aligned(HUGE_BYTES, pages * page_bytes);
	scratch = aligned(page_bytes, page_bytes);
	versions = calloc(pages, sizeof(*versions));
	if (!versions)
		die(STATUS_IO, errno, "%zu versions", pages);
	/* A kernel without huge pages refuses the advice, and does not need it. */
	madvise(memory, pages * page_bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (across)
		bind_to_node(memory, pages * page_bytes, FROM);

	for (size_t page = 0; page < pages; page++)
		rewrite(page);
	advise(MADV_PAGEOUT, "paging out");
	if (leave)
		_exit(STATUS_OK);
	advise(MADV_WILLNEED, "reading ahead");
	for (size_t page = 0; page < pages; page++)
		touch(page);
	cached = swap_cached();
	printf("{\"program\": \"reswap\", \"cached\": %" PRIu64, cached);
	if (across) {
		move_to_second_node();
		printf(", \"moved\": %zu", count_in_node(memory, pages, TO));
	}
	if (between && system(between))
		die(STATUS_IO, 0, "failed: %s", between);
	advise(MADV_PAGEOUT, "paging out again");
	for (size_t page = 0; page < pages; page++)
		check(page);
	printf(", \"bytes_verified\": %" PRIu64, verified);
	return report_end(&mismatches);
}
