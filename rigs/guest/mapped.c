// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages are moved, and stay what they were beyond their content: private to each of two processes that have
 * them in common, or shared by them, a file's, read-only, locked, even twice.
 *
 *   mapped --pages=N --compact=COMMAND
 *
 * The shell runs COMMAND, which is to compact memory but for what is locked.  Of each kind N pages are filled
 * before this process forks, and then taken out of use one by one, which moves them.  Then the child writes
 * where it may, and each of both sees what it must see.  Pages that may be thrown away (MADV_FREE), which
 * cannot be in common, are moved at the end.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

/* Of newer headers than the oldest that this is compiled with. */
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

#define SEED 1
#define COMPACTED_BYTES ((size_t)16 << 20)
#define WRITTEN version_after(0, MIX_RANDOM)
#define WRITTEN_BY_CHILD version_after(WRITTEN, MIX_RANDOM)
#define WRITTEN_LAST version_after(WRITTEN_BY_CHILD, MIX_RANDOM)

enum mapping { PRIVATE, SHARED, FILE_OF_TMPFS, READ_ONLY, LOCKED, LOCKED_TWICE, KINDS };

static const bool is_shared[KINDS] = { [SHARED] = true, [FILE_OF_TMPFS] = true, [LOCKED_TWICE] = true };

/* Of /proc/PID/pagemap: the page is there, and its frame (Documentation/admin-guide/mm/pagemap.rst). */
#define PRESENT (1ull << 63)
#define FRAME_MASK ((1ull << 55) - 1)
/*
 * Of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h, include/linux/kernel-page-flags.h), what a page
 * keeps when it is moved: up to date, dirty, mapped, anonymous, swap-backed, mlocked.  It is dirty then, too,
 * if its page table said so before.
 */
#define DIRTY (1ull << 4)
#define SWAP_BACKED (1ull << 14)
#define MLOCKED (1ull << 33)
#define KEPT (1ull << 3 | DIRTY | 1ull << 11 | 1ull << 12 | SWAP_BACKED | MLOCKED)

struct state {
	uint64_t frame, flags, users;
};

static const struct option long_options[] = {
	{ "pages", required_argument, NULL, 'p' },
	{ "compact", required_argument, NULL, 'c' },
	{ 0 },
};

static size_t page_bytes, pages;
static unsigned char *memory[KINDS], *scratch;
static struct mismatches mismatches = MISMATCHES_NONE;

static uint64_t word(const char *path, uint64_t index)
{
	int file = open(path, O_RDONLY);
	uint64_t value;

	if (file < 0 || pread(file, &value, sizeof(value), (off_t)(index * sizeof(value))) != sizeof(value))
		die(STATUS_IO, errno, "%s", path);
	close(file);
	return value;
}

static struct state look(const unsigned char *page)
{
	uint64_t entry = word("/proc/self/pagemap", (uintptr_t)page / page_bytes);
	struct state state = { .frame = entry & FRAME_MASK };

	if (!(entry & PRESENT))
		die(STATUS_IO, 0, "a page is not there, with nothing to swap it to");
	state.flags = word("/proc/kpageflags", state.frame) & KEPT;
	state.users = word("/proc/kpagecount", state.frame);
	return state;
}

static void fill(enum mapping kind, uint32_t version)
{
	for (size_t page = 0; page < pages; page++)
		content_fill(memory[kind] + page * page_bytes, SEED, kind * pages + page, version, page_bytes);
}

static void verify(enum mapping kind, const unsigned char *seen, uint32_t version)
{
	for (size_t page = 0; page < pages; page++)
		content_holds(seen + page * page_bytes, scratch, SEED, kind * pages + page, version, page_bytes,
			      &mismatches);
}

/*
 * Compacts memory that has pages of which every other is locked.  Reports how many of those moved, and of the
 * others between them.
 */
static void compact(const char *command)
{
	size_t bytes = COMPACTED_BYTES, count = bytes / page_bytes, moved[2] = { 0, 0 };
	unsigned char *own = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t *frames = calloc(count, sizeof(*frames));

	if (own == MAP_FAILED || !frames)
		die(STATUS_IO, errno, "%zu bytes of memory", bytes);
	madvise(own, bytes, MADV_NOHUGEPAGE);
	for (size_t page = 0; page < count; page++) {
		own[page * page_bytes] = 1;
		if (page % 2 && mlock(own + page * page_bytes, page_bytes))
			die(STATUS_IO, errno, "locking page %zu", page);
		frames[page] = look(own + page * page_bytes).frame;
	}
	if (system(command))
		die(STATUS_IO, 0, "%s", command);
	for (size_t page = 0; page < count; page++)
		moved[page % 2] += look(own + page * page_bytes).frame != frames[page];
	munmap(own, bytes);
	free(frames);
	printf(", \"compacted\": %zu, \"compacted_locked\": %zu", moved[0], moved[1]);
}

/*
 * Asks the kernel in which node pages are, of which every other was never written.  Reports of how many the
 * answer is wrong (move_pages(2)): of more at once than it takes in at a time.
 */
static void query(void)
{
	size_t bytes = pages * page_bytes;
	unsigned char *unwritten = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void **addresses = calloc(2 * pages, sizeof(*addresses));
	int *nodes = calloc(2 * pages, sizeof(*nodes));
	size_t misplaced = 0;

	if (unwritten == MAP_FAILED || !addresses || !nodes)
		die(STATUS_IO, errno, "%zu addresses", 2 * pages);
	for (size_t page = 0; page < pages; page++) {
		addresses[2 * page] = memory[PRIVATE] + page * page_bytes;
		addresses[2 * page + 1] = unwritten + page * page_bytes;
	}
	/* The first and the last two change places, so that no two parts of the list are alike. */
	for (size_t page = 0; page < pages; page += pages - 1) {
		void *other = addresses[2 * page];

		addresses[2 * page] = addresses[2 * page + 1];
		addresses[2 * page + 1] = other;
	}
	if (syscall(SYS_move_pages, 0, (unsigned long)(2 * pages), addresses, NULL, nodes, 0))
		die(STATUS_IO, errno, "where pages are");
	for (size_t at = 0; at < 2 * pages; at++) {
		bool written = (at % 2 == 0) != (at < 2 || at >= 2 * pages - 2);

		misplaced += written != (nodes[at] >= 0);
	}
	printf(", \"misplaced\": %zu", misplaced);
	munmap(unwritten, bytes);
	free(addresses);
	free(nodes);
}

/* Moves a page, by taking it out of use; returns whether it moved, unless somebody used it meanwhile. */
static bool move(unsigned char *page, struct state *before, struct state *after)
{
	*before = look(page);
	if (madvise(page, page_bytes, MADV_SOFT_OFFLINE) && errno != EBUSY)
		die(STATUS_IO, errno, "taking a page out of use");
	*after = look(page);
	return before->frame != after->frame;
}

/*
 * Moves pages that may be thrown away, which all of them may that are not to be kept by swapping them out
 * (folio_mark_lazyfree(), mm/swap.c).  Reports how many moved, and how many of these are to be kept then.
 */
static void move_discardable(unsigned char *memory)
{
	size_t moved = 0, kept = 0;

	if (madvise(memory, pages * page_bytes, MADV_FREE))
		die(STATUS_IO, errno, "memory that may be thrown away");
	for (size_t page = 0; page < pages; page++) {
		struct state before, after;

		/* The last ones it may not have come to yet. */
		if (move(memory + page * page_bytes, &before, &after) && !(before.flags & SWAP_BACKED)) {
			moved++;
			kept += (after.flags & SWAP_BACKED) != 0;
		}
	}
	printf(", \"discardable\": %zu, \"kept\": %zu", moved, kept);
}

/* The child: it writes where it may, and ends with whether all was as it had to be. */
static int inherit(int told)
{
	char byte;

	if (read(told, &byte, 1) != 1)
		die(STATUS_IO, errno, "waiting for the parent");
	for (enum mapping kind = 0; kind < KINDS; kind++)
		verify(kind, memory[kind], WRITTEN);
	for (enum mapping kind = 0; kind < KINDS; kind++)
		if (kind != READ_ONLY) {
			fill(kind, WRITTEN_BY_CHILD);
			verify(kind, memory[kind], WRITTEN_BY_CHILD);
		}
	return mismatches.count ? STATUS_MISMATCH : STATUS_OK;
}

int main(int argc, char **argv)
{
	size_t moved = 0, changed = 0, counted = 0, writable = 0, unlocked = 0, bytes;
	int file, zeros, pipes[2], option, ending;
	const char *compaction = NULL;
	unsigned char *got, *again;
	pid_t child;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'p': pages = parse_number("--pages", optarg); break;
		case 'c': compaction = optarg; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (pages < 2 || !compaction || optind < argc)
		die(STATUS_USAGE, 0, "usage: mapped --pages=N --compact=COMMAND");

	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	bytes = pages * page_bytes;
	scratch = aligned(page_bytes, page_bytes);
	got = aligned(page_bytes, bytes);
	file = memfd_create("mapped", 0);
	zeros = open("/dev/zero", O_RDONLY);
	if (file < 0 || ftruncate(file, (off_t)bytes) || zeros < 0 || pipe(pipes))
		die(STATUS_IO, errno, "files");
	printf("{\"program\": \"mapped\"");
	compact(compaction);
	for (enum mapping kind = 0; kind < KINDS; kind++) {
		int flags = (is_shared[kind] ? MAP_SHARED : MAP_PRIVATE) | (kind == FILE_OF_TMPFS ? 0 : MAP_ANONYMOUS);

		memory[kind] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, kind == FILE_OF_TMPFS ? file : -1, 0);
		if (memory[kind] == MAP_FAILED)
			die(STATUS_IO, errno, "%zu bytes of memory", bytes);
		/* Of a huge page all is one. */
		madvise(memory[kind], bytes, MADV_NOHUGEPAGE);
		fill(kind, WRITTEN);
	}
	/* What is shared is mapped once more, and stays where it is. */
	again = mremap(memory[LOCKED_TWICE], 0, bytes, MREMAP_MAYMOVE);
	if (again == MAP_FAILED || mprotect(memory[READ_ONLY], bytes, PROT_READ) || mlock(memory[LOCKED], bytes) ||
	    mlock(memory[LOCKED_TWICE], bytes) || mlock(again, bytes))
		die(STATUS_IO, errno, "protecting and locking memory");
	query();

	/* Or the child would print what is still to be printed. */
	fflush(stdout);
	child = fork();
	if (child < 0)
		die(STATUS_IO, errno, "fork");
	if (!child)
		_exit(inherit(pipes[0]));
	for (enum mapping kind = 0; kind < KINDS; kind++)
		for (size_t page = 0; page < pages; page++) {
			struct state before, after;

			moved += move(memory[kind] + page * page_bytes, &before, &after);
			changed += after.flags != before.flags && after.flags != (before.flags | DIRTY);
			counted += before.users != after.users;
		}
	for (size_t page = 0; page < pages; page++)
		writable += read(zeros, memory[READ_ONLY] + page * page_bytes, 1) > 0;

	/* Of two who locked it one does so still. */
	if (munlock(again, bytes))
		die(STATUS_IO, errno, "unlocking memory");
	for (size_t page = 0; page < pages; page++)
		unlocked += !(look(memory[LOCKED_TWICE] + page * page_bytes).flags & MLOCKED);

	if (write(pipes[1], "", 1) != 1 || waitpid(child, &ending, 0) != child)
		die(STATUS_IO, errno, "the child");
	for (enum mapping kind = 0; kind < KINDS; kind++)
		verify(kind, memory[kind], is_shared[kind] ? WRITTEN_BY_CHILD : WRITTEN);
	fill(FILE_OF_TMPFS, WRITTEN_LAST);
	if (pread(file, got, bytes, 0) != (ssize_t)bytes)
		die(STATUS_IO, errno, "reading the file");
	verify(FILE_OF_TMPFS, got, WRITTEN_LAST);

	printf(", \"moved\": %zu, \"changed\": %zu, \"counted\": %zu, \"writable\": %zu", moved, changed, counted,
	       writable);
	printf(", \"unlocked\": %zu", unlocked);
	printf(", \"child\": %d, \"bytes_verified\": %zu", WIFEXITED(ending) ? WEXITSTATUS(ending) : -1,
	       (KINDS + 1) * bytes);
	move_discardable(memory[PRIVATE]);
	return report_end(&mismatches);
}
