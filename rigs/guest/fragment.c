// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fragments memory on purpose, and has it compacted, again and again.
 *
 *   fragment --mib=N --seconds=N [--cycles=N] [--hold-ms=N] [--huge-mib=N] [--compact=FILE]
 *
 * In each cycle it takes --mib of anonymous memory and frees every other page, so that
 * whoever allocates meanwhile lands in the holes; compacts; frees the rest, which
 * leaves those pages scattered; and compacts again, which has to move them.
 * It goes on for --seconds and for --cycles, whichever takes longer.
 * With --huge-mib it wants that much as huge pages before it compacts, and with --reserve=N
 * that N are written to --reserve-file (.../nr_hugepages): the kernel has to compact for itself.
 * --compact is where a "1" starts compaction (/proc/sys/vm/compact_memory).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report.h"

static const struct option long_options[] = {
	{ "mib", required_argument, NULL, 'm' },
	{ "seconds", required_argument, NULL, 's' },
	{ "cycles", required_argument, NULL, 'n' },
	{ "hold-ms", required_argument, NULL, 'h' },
	{ "huge-mib", required_argument, NULL, 'H' },
	{ "reserve", required_argument, NULL, 'r' },
	{ "reserve-file", required_argument, NULL, 'f' },
	{ "compact", required_argument, NULL, 'c' },
	{ 0 },
};

static size_t page_bytes, huge_bytes;
static const char *compact_file, *reserve_file, *reserve;

static void put(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);

	if (file < 0 || write(file, text, strlen(text)) < 0)
		die(STATUS_IO, errno, "%s", path);
	close(file);
}

/* What the first and the last word of a page must be while it is held. */
static uint64_t word_of(uint64_t cycle, uint64_t page)
{
	return mix64(cycle << 32 | page);
}

static uint64_t *word_at(unsigned char *memory, uint64_t page, int last)
{
	return (uint64_t *)(memory + page * page_bytes + (last ? page_bytes - 8 : 0));
}

static unsigned char *map(size_t bytes)
{
	unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);

	if (memory == MAP_FAILED)
		die(STATUS_IO, errno, "mapping %zu bytes", bytes);
	return memory;
}

/* Use memory in huge pages, as far as they can be had; returns how many pages were found changed. */
static uint64_t use_huge(uint64_t cycle)
{
	unsigned char *memory = map(huge_bytes);
	uint64_t pages = huge_bytes / page_bytes;
	uint64_t changed = 0;

	if (madvise(memory, huge_bytes, MADV_HUGEPAGE))
		die(STATUS_IO, errno, "asking for huge pages");
	for (uint64_t page = 0; page < pages; page++)
		*word_at(memory, page, 0) = word_of(cycle, page);
	for (uint64_t page = 0; page < pages; page++)
		changed += *word_at(memory, page, 0) != word_of(cycle, page);
	munmap(memory, huge_bytes);
	return changed;
}

/* A cycle; returns how many of the pages that it held were found changed. */
static uint64_t fragment(uint64_t cycle, size_t bytes, uint64_t hold_ms)
{
	unsigned char *memory = map(bytes);
	uint64_t pages = bytes / page_bytes;
	uint64_t changed = 0;

	/* A kernel without huge pages refuses the advice, and does not need it. */
	madvise(memory, bytes, MADV_NOHUGEPAGE);
	for (uint64_t page = 0; page < pages; page++)
		*word_at(memory, page, 0) = *word_at(memory, page, 1) = word_of(cycle, page);
	for (uint64_t page = 0; page < pages; page += 2)
		if (madvise(memory + page * page_bytes, page_bytes, MADV_DONTNEED))
			die(STATUS_IO, errno, "freeing a page");
	usleep((useconds_t)hold_ms * 1000);
	if (huge_bytes)
		changed += use_huge(cycle);
	if (reserve_file) {
		put(reserve_file, reserve);
		put(reserve_file, "0");
	}
	if (compact_file)
		put(compact_file, "1");
	for (uint64_t page = 1; page < pages; page += 2)
		changed += *word_at(memory, page, 0) != word_of(cycle, page) ||
			   *word_at(memory, page, 1) != word_of(cycle, page);
	munmap(memory, bytes);
	if (compact_file)
		put(compact_file, "1");
	return changed;
}

int main(int argc, char **argv)
{
	uint64_t mib = 0, seconds = 0, at_least = 1, hold_ms = 0, cycles = 0, changed = 0, until_ns;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'm': mib = parse_number("--mib", optarg); break;
		case 's': seconds = parse_number("--seconds", optarg); break;
		case 'n': at_least = parse_number("--cycles", optarg); break;
		case 'h': hold_ms = parse_number("--hold-ms", optarg); break;
		case 'H': huge_bytes = parse_number("--huge-mib", optarg) << 20; break;
		case 'r': reserve = optarg; break;
		case 'f': reserve_file = optarg; break;
		case 'c': compact_file = optarg; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!mib || !seconds || !reserve != !reserve_file || optind < argc)
		die(STATUS_USAGE, 0, "usage: fragment --mib=N --seconds=N [--cycles=N] [--hold-ms=N] ...");

	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	until_ns = now_ns() + seconds * 1000000000u;
	do
		changed += fragment(cycles++, mib << 20, hold_ms);
	while (cycles < at_least || now_ns() < until_ns);
	printf("{\"program\": \"fragment\", \"cycles\": %" PRIu64 ", \"bytes_verified\": %" PRIu64, cycles,
	       cycles * ((mib << 20) / 2 + huge_bytes));
	printf(", \"mismatches\": %" PRIu64 ", \"first_mismatch\": null}\n", changed);
	return changed ? STATUS_MISMATCH : STATUS_OK;
}
