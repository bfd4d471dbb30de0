// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of the page cache, a file's or a block device's, are taken out of use one by one, which moves those
 * that nobody else uses.
 *
 *   cached --path=PATH --pages=N [--write]
 *
 * With --write it is a file that is made of so many pages, which are dirty when they move, and on the disk
 * then: they are read from there.  Without, they stay what they are.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report.h"

/* Of newer headers than the oldest that this is compiled with. */
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define SEED 1
#define WRITTEN version_after(0, MIX_MIXED)

static const struct option long_options[] = {
	{ "path", required_argument, NULL, 'p' },
	{ "pages", required_argument, NULL, 'n' },
	{ "write", no_argument, NULL, 'w' },
	{ 0 },
};

static size_t page_bytes;

/* By system calls: what is written through a mapping has no buffers before it is written out. */
static void write_all(int file, size_t pages, unsigned char *scratch)
{
	for (size_t page = 0; page < pages; page++) {
		content_fill(scratch, SEED, page, WRITTEN, page_bytes);
		if (pwrite(file, scratch, page_bytes, (off_t)(page * page_bytes)) != (ssize_t)page_bytes)
			die(STATUS_IO, errno, "writing page %zu", page);
	}
}

static void read_all(int file, unsigned char *memory, size_t bytes)
{
	if (pread(file, memory, bytes, 0) != (ssize_t)bytes)
		die(STATUS_IO, errno, "reading %zu bytes", bytes);
}

static bool moves(unsigned char *page)
{
	if (!madvise(page, page_bytes, MADV_SOFT_OFFLINE))
		return true;
	if (errno == EINVAL || errno == EPERM)
		die(STATUS_IO, errno, "taking a page out of use");
	return false;
}

int main(int argc, char **argv)
{
	struct mismatches mismatches = MISMATCHES_NONE;
	unsigned char *before, *after, *mapped;
	size_t pages = 0, bytes, moved = 0;
	bool writes = false, first = false;
	const char *path = NULL;
	int file, option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'p': path = optarg; break;
		case 'n': pages = parse_number("--pages", optarg); break;
		case 'w': writes = true; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!path || !pages || optind < argc)
		die(STATUS_USAGE, 0, "usage: cached --path=PATH --pages=N [--write]");

	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	bytes = pages * page_bytes;
	before = aligned(page_bytes, bytes);
	after = aligned(page_bytes, bytes);
	file = open(path, writes ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY, 0600);
	if (file < 0)
		die(STATUS_IO, errno, "%s", path);
	if (writes)
		write_all(file, pages, before);
	read_all(file, before, bytes);
	mapped = mmap(NULL, bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
	if (mapped == MAP_FAILED)
		die(STATUS_IO, errno, "mapping %zu bytes", bytes);
	for (size_t page = 0; page < pages; page++) {
		bool goes = moves(mapped + page * page_bytes);

		moved += goes;
		first |= goes && !page;
	}
	munmap(mapped, bytes);
	if (writes && (fsync(file) || posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)))
		die(STATUS_IO, errno, "writing pages out");
	read_all(file, after, bytes);
	for (size_t page = 0; page < pages; page++) {
		if (writes)
			content_holds(after + page * page_bytes, before, SEED, page, WRITTEN, page_bytes, &mismatches);
		else
			mismatches.count += memcmp(before + page * page_bytes, after + page * page_bytes, page_bytes) != 0;
	}
	printf("{\"program\": \"cached\", \"moved\": %zu, \"first_moved\": %d", moved, first);
	printf(", \"bytes_verified\": %zu", bytes);
	return report_end(&mismatches);
}
