// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is paged out at once, and only looked at when some time has passed.
 *
 *   cold --mib=N --seconds=N [--same]
 *
 * Its pages compress to 10 to 50 %, so that a few fit in one; with --same each repeats one word.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report.h"

/* Of newer headers than the oldest that this is compiled with. */
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static const struct option long_options[] = {
	{ "mib", required_argument, NULL, 'm' },
	{ "seconds", required_argument, NULL, 's' },
	{ "same", no_argument, NULL, 'S' },
	{ 0 },
};

/* Some words of a page that nobody could guess, then zeros; or one of them again and again. */
static void fill(uint64_t *page, uint64_t number, size_t page_bytes, int same)
{
	size_t words = page_bytes / 8, random = words * (1 + number % 5) / 10;

	for (size_t i = 0; i < words; i++)
		page[i] = same ? mix64(number) : i < random ? mix64(number << 32 | i) : 0;
}

int main(int argc, char **argv)
{
	uint64_t mib = 0, seconds = 0, wrong = 0;
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), bytes;
	unsigned char *memory, *expected;
	int option, same = 0;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'm': mib = parse_number("--mib", optarg); break;
		case 's': seconds = parse_number("--seconds", optarg); break;
		case 'S': same = 1; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!mib || !seconds || optind < argc)
		die(STATUS_USAGE, 0, "usage: cold --mib=N --seconds=N [--same]");

	bytes = mib << 20;
	memory = aligned(page_bytes, bytes);
	expected = aligned(page_bytes, page_bytes);
	for (size_t at = 0; at < bytes; at += page_bytes)
		fill((uint64_t *)(memory + at), at / page_bytes, page_bytes, same);
	if (madvise(memory, bytes, MADV_PAGEOUT))
		die(STATUS_IO, errno, "paging out");
	sleep((unsigned int)seconds);
	for (size_t at = 0; at < bytes; at += page_bytes) {
		fill((uint64_t *)expected, at / page_bytes, page_bytes, same);
		wrong += memcmp(memory + at, expected, page_bytes) != 0;
	}
	printf("{\"program\": \"cold\", \"bytes_verified\": %zu", bytes);
	printf(", \"mismatches\": %" PRIu64 ", \"first_mismatch\": null}\n", wrong);
	return wrong ? STATUS_MISMATCH : STATUS_OK;
}
