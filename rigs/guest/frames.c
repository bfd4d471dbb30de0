// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where in memory a file's pages are, by the numbers of their frames.
 *
 *   frames FILE
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

/* An entry of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst). */
#define FRAME(entry) ((entry) & ((UINT64_C(1) << 55) - 1))

int main(int argc, char **argv)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), pages;
	struct mismatches mismatches = MISMATCHES_NONE;
	const volatile unsigned char *memory;
	struct stat status;
	int file, map;

	if (argc != 2)
		die(STATUS_USAGE, 0, "usage: frames FILE");
	file = open(argv[1], O_RDONLY);
	map = open("/proc/self/pagemap", O_RDONLY);
	if (file < 0 || map < 0 || fstat(file, &status))
		die(STATUS_IO, errno, "%s", argv[1]);
	pages = (size_t)status.st_size / page_bytes;
	memory = mmap(NULL, pages * page_bytes, PROT_READ, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		die(STATUS_IO, errno, "%zu pages of %s", pages, argv[1]);
	printf("{\"program\": \"frames\", \"frames\": [");
	for (size_t page = 0; page < pages; page++) {
		uintptr_t address = (uintptr_t)memory + page * page_bytes;
		uint64_t entry;

		(void)memory[page * page_bytes];
		if (pread(map, &entry, sizeof(entry), (off_t)(address / page_bytes * sizeof(entry))) != sizeof(entry))
			die(STATUS_IO, errno, "/proc/self/pagemap");
		printf("%s%" PRIu64, page ? ", " : "", FRAME(entry));
	}
	printf("]");
	return report_end(&mismatches);
}
