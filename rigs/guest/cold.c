// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is paged out at once, and only looked at when some time has passed.
 *
 *   cold --mib=N --seconds=N [--same | --random] [--failing]
 *
 * Its pages compress to 10 to 50 %, so that a few fit in one; with --same each repeats one word, with
 * --random none compresses.  With --failing what is allocated to page it out may fail.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <sys/mman.h>
#include <unistd.h>

#include "failing.h"
#include "report.h"

/* Of newer headers than the oldest that this is compiled with. */
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static const struct option long_options[] = {
	{ "mib", required_argument, NULL, 'm' },
	{ "seconds", required_argument, NULL, 's' },
	{ "same", no_argument, NULL, 'S' },
	{ "random", no_argument, NULL, 'R' },
	{ "failing", no_argument, NULL, 'F' },
	{ 0 },
};

enum content { MIXED, SAME, RANDOM };

/* Some words of a page that nobody could guess, then zeros; or one of them again and again; or no zeros. */
static void fill(uint64_t *page, uint64_t number, size_t page_bytes, enum content content)
{
	size_t words = page_bytes / 8, random = content == RANDOM ? words : words * (1 + number % 5) / 10;

	for (size_t i = 0; i < words; i++)
		page[i] = content == SAME ? mix64(number) : i < random ? mix64(number << 32 | i) : 0;
}

int main(int argc, char **argv)
{
	uint64_t mib = 0, seconds = 0, wrong = 0;
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), bytes;
	unsigned char *memory, *expected;
	enum content content = MIXED;
	bool failing = false;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'm': mib = parse_number("--mib", optarg); break;
		case 's': seconds = parse_number("--seconds", optarg); break;
		case 'S': content = SAME; break;
		case 'R': content = RANDOM; break;
		case 'F': failing = true; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!mib || !seconds || optind < argc)
		die(STATUS_USAGE, 0, "usage: cold --mib=N --seconds=N [--same | --random] [--failing]");

	bytes = mib << 20;
	memory = aligned(page_bytes, bytes);
	expected = aligned(page_bytes, page_bytes);
	for (size_t at = 0; at < bytes; at += page_bytes)
		fill((uint64_t *)(memory + at), at / page_bytes, page_bytes, content);
	if (failing)
		make_it_fail(true);
	if (madvise(memory, bytes, MADV_PAGEOUT))
		die(STATUS_IO, errno, "paging out");
	if (failing)
		make_it_fail(false);
	sleep((unsigned int)seconds);
	for (size_t at = 0; at < bytes; at += page_bytes) {
		fill((uint64_t *)expected, at / page_bytes, page_bytes, content);
		wrong += memcmp(memory + at, expected, page_bytes) != 0;
	}
	printf("{\"program\": \"cold\", \"bytes_verified\": %zu", bytes);
	printf(", \"mismatches\": %" PRIu64 ", \"first_mismatch\": null}\n", wrong);
	return wrong ? STATUS_MISMATCH : STATUS_OK;
}
