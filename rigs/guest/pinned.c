// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that cannot be moved for a while, for a pipe has them, too; and can, once it was read.
 *
 *   pinned --pages=N --meanwhile=COMMAND [--shared] [--soft-offline]
 *
 * Compaction leaves out pages of private memory that have more users than map them, and tries those that are
 * shared (isolate_migratepages_block(), mm/compaction.c).
 * While they are pinned, the shell runs COMMAND, and with --soft-offline each of the pages is asked to be
 * taken out of use, which must be refused.  They stay the pages that the pipe has: what is written to
 * them then is read from it.  Afterwards they are asked again, and move.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "report.h"

/* Of newer headers than the oldest that this is compiled with. */
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define SEED 1
#define WRITTEN version_after(0, MIX_RANDOM)
#define WRITTEN_PINNED version_after(WRITTEN, MIX_RANDOM)

static const struct option long_options[] = {
	{ "pages", required_argument, NULL, 'p' },
	{ "meanwhile", required_argument, NULL, 'm' },
	{ "shared", no_argument, NULL, 'S' },
	{ "soft-offline", no_argument, NULL, 's' },
	{ 0 },
};

static size_t page_bytes;
static struct mismatches mismatches = MISMATCHES_NONE;

static void fill(unsigned char *memory, size_t pages, uint32_t version)
{
	for (size_t page = 0; page < pages; page++)
		content_fill(memory + page * page_bytes, SEED, page, version, page_bytes);
}

static void verify(const unsigned char *memory, size_t pages, void *scratch)
{
	for (size_t page = 0; page < pages; page++)
		content_holds(memory + page * page_bytes, scratch, SEED, page, WRITTEN_PINNED, page_bytes,
			      &mismatches);
}

/* Returns how many of the pages the kernel says to have taken out of use. */
static size_t offline(unsigned char *memory, size_t pages)
{
	size_t done = 0;

	for (size_t page = 0; page < pages; page++) {
		int answer = madvise(memory + page * page_bytes, page_bytes, MADV_SOFT_OFFLINE);

		if (!answer)
			done++;
		else if (answer > 0)
			die(STATUS_IO, 0, "taking a page out of use: %d is no answer", answer);
		else if (errno == EINVAL || errno == EPERM)
			die(STATUS_IO, errno, "taking a page out of use");
	}
	return done;
}

/* How often the kernel counted that event so far. */
static uint64_t event(const char *name)
{
	FILE *file = fopen("/proc/vmstat", "r");
	char line[128];
	size_t length = strlen(name);

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, length) && line[length] == ' ') {
			fclose(file);
			return strtoull(line + length, NULL, 10);
		}
	die(STATUS_IO, 0, "no %s in /proc/vmstat", name);
}

int main(int argc, char **argv)
{
	const char *meanwhile = NULL;
	bool soft_offline = false, shared = false;
	size_t pages = 0, bytes, pinned = 0;
	unsigned char *memory, *got, *scratch;
	int pipes[2], option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'p': pages = parse_number("--pages", optarg); break;
		case 'm': meanwhile = optarg; break;
		case 'S': shared = true; break;
		case 's': soft_offline = true; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!pages || !meanwhile || optind < argc)
		die(STATUS_USAGE, 0, "usage: pinned --pages=N --meanwhile=COMMAND [--shared] [--soft-offline]");

	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	bytes = pages * page_bytes;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);
	if (memory == MAP_FAILED)
		die(STATUS_IO, errno, "%zu bytes of memory", bytes);
	got = aligned(page_bytes, bytes);
	scratch = aligned(page_bytes, page_bytes);
	/* Of a huge page all is one. */
	madvise(memory, bytes, MADV_NOHUGEPAGE);
	fill(memory, pages, WRITTEN);
	if (pipe(pipes) || fcntl(pipes[1], F_SETPIPE_SZ, (int)bytes) < (int)bytes)
		die(STATUS_IO, errno, "a pipe of %zu bytes", bytes);
	while (pinned < bytes) {
		struct iovec rest = { memory + pinned, bytes - pinned };
		ssize_t taken = vmsplice(pipes[1], &rest, 1, SPLICE_F_NONBLOCK);

		if (taken <= 0)
			die(STATUS_IO, errno, "vmsplice of %zu bytes", bytes - pinned);
		pinned += (size_t)taken;
	}

	if (system(meanwhile))
		die(STATUS_IO, 0, "%s", meanwhile);
	printf("{\"program\": \"pinned\"");
	if (soft_offline) {
		uint64_t before = event("pgmigrate_fail");

		printf(", \"refused\": %zu", pages - offline(memory, pages));
		printf(", \"counted\": %" PRIu64, event("pgmigrate_fail") - before);
	}
	fill(memory, pages, WRITTEN_PINNED);
	for (size_t at = 0; at < bytes;) {
		ssize_t count = read(pipes[0], got + at, bytes - at);

		if (count <= 0)
			die(STATUS_IO, errno, "reading the pipe");
		at += (size_t)count;
	}
	verify(got, pages, scratch);

	if (soft_offline)
		printf(", \"moved\": %zu", offline(memory, pages));
	verify(memory, pages, scratch);
	printf(", \"bytes_verified\": %zu", 2 * bytes);
	return report_end(&mismatches);
}
