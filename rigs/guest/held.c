// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is written, and looked at again when a command has run: whatever that did with it.
 *
 *   held --mib=N --while=COMMAND [--huge]
 *
 * The command is run by the shell.  With --huge the memory is one for huge pages.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report.h"

#define HUGE_BYTES ((size_t)2 << 20)
#define SEED 1
#define VERSION version_after(0, MIX_MIXED)

static const struct option long_options[] = {
	{ "mib", required_argument, NULL, 'm' },
	{ "while", required_argument, NULL, 'w' },
	{ "huge", no_argument, NULL, 'h' },
	{ 0 },
};

int main(int argc, char **argv)
{
	struct mismatches mismatches = MISMATCHES_NONE;
	const char *command = NULL;
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), pages;
	unsigned char *memory, *scratch;
	bool huge = false;
	uint64_t mib = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'm': mib = parse_number("--mib", optarg); break;
		case 'w': command = optarg; break;
		case 'h': huge = true; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!mib || !command || optind < argc)
		die(STATUS_USAGE, 0, "usage: held --mib=N --while=COMMAND [--huge]");

	pages = (mib << 20) / page_bytes;
	memory = aligned(HUGE_BYTES, pages * page_bytes);
	scratch = aligned(page_bytes, page_bytes);
	madvise(memory, pages * page_bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	for (size_t page = 0; page < pages; page++)
		content_fill(memory + page * page_bytes, SEED, page, VERSION, page_bytes);
	if (system(command))
		die(STATUS_IO, 0, "%s", command);
	for (size_t page = 0; page < pages; page++)
		content_holds(memory + page * page_bytes, scratch, SEED, page, VERSION, page_bytes, &mismatches);
	printf("{\"program\": \"held\", \"bytes_verified\": %zu", pages * page_bytes);
	return report_end(&mismatches);
}
