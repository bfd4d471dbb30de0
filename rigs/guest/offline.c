// SPDX-License-Identifier: GPL-2.0-only
/*
 * Soft-offlines page after page, which moves exactly that page, whatever uses it.
 *
 *   offline --pages=N --tries=N --seed=S [--first-frame=N] [--last-frame=N] [--keep]
 *
 * Tries pages in random order until --pages succeeded or --tries were made, of those frames
 * only if a first or a last is given.  It leaves out those that /proc/kpageflags says are free,
 * of the page cache, anonymous, slab and the like: what is left is the kernel's own, most of
 * which cannot be moved, and zsmalloc's.
 * A tail counts if it does not follow its head: a zspage can pose as the head of its pages.
 * In newer kernels what can be moved has the mark of what is up to date (PG_movable_ops of
 * include/linux/page-flags.h): pages with that mark and pages without are tried by turns.
 * A page that was offlined is neither free nor used, and has one reference: in the end each of them is
 * taken back (unpoison_memory(), mm/memory-failure.c), which is refused if there is another.  With --keep
 * they stay lost to the guest.  "corrupted" is how many more pages /proc/meminfo then says are out of use.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <linux/kernel-page-flags.h>
#include <unistd.h>

#include "report.h"

#define BIT(n) ((uint64_t)1 << (n))

/* PG_reserved, from the kernel's include/linux/kernel-page-flags.h. */
#define KPF_RESERVED 32

#define NOT_ZSMALLOC                                                                                        \
	(BIT(KPF_LRU) | BIT(KPF_SLAB) | BIT(KPF_BUDDY) | BIT(KPF_ANON) |                                       \
	 BIT(KPF_COMPOUND_HEAD) | BIT(KPF_HUGE) | BIT(KPF_HWPOISON) | BIT(KPF_NOPAGE) | BIT(KPF_OFFLINE) |     \
	 BIT(KPF_PGTABLE) | BIT(KPF_RESERVED) | BIT(KPF_SWAPBACKED))

/* What no page has that is out of use; that it was anonymous is told of it as long as it is not freed. */
#define IN_USE                                                                                              \
	((NOT_ZSMALLOC | BIT(KPF_MMAP) | BIT(KPF_COMPOUND_TAIL)) &                                             \
	 ~(BIT(KPF_HWPOISON) | BIT(KPF_ANON) | BIT(KPF_SWAPBACKED)))

/* Whoever looks at all pages in turn has a reference to one for a moment. */
#define PATIENCE_MS 2000

static const char flags_file[] = "/proc/kpageflags";

static const struct option long_options[] = {
	{ "pages", required_argument, NULL, 'p' },
	{ "tries", required_argument, NULL, 't' },
	{ "seed", required_argument, NULL, 's' },
	{ "first-frame", required_argument, NULL, 'f' },
	{ "last-frame", required_argument, NULL, 'l' },
	{ "keep", no_argument, NULL, 'k' },
	{ 0 },
};

/* Whether a frame that is a tail, if it is, belongs to the compound page that the frames before are of. */
static int is_tail_of_page(uint64_t flags, int *in_compound)
{
	if (flags & BIT(KPF_COMPOUND_HEAD))
		*in_compound = 1;
	else if (!(flags & BIT(KPF_COMPOUND_TAIL)))
		*in_compound = 0;
	return *in_compound;
}

/* The physical addresses of memory, from /proc/iomem: a hole before it may look like plain pages. */
struct ranges {
	uint64_t from[64], to[64];
	int count;
};

static void find_memory(struct ranges *memory)
{
	FILE *file = fopen("/proc/iomem", "re");
	char line[256];

	if (!file)
		die(STATUS_IO, errno, "/proc/iomem");
	while (memory->count < 64 && fgets(line, sizeof(line), file))
		if (strstr(line, " : System RAM") &&
		    sscanf(line, "%" SCNx64 "-%" SCNx64, &memory->from[memory->count],
			   &memory->to[memory->count]) == 2)
			memory->count++;
	fclose(file);
}

static int is_memory(const struct ranges *memory, uint64_t address)
{
	for (int i = 0; i < memory->count; i++)
		if (memory->from[i] <= address && address <= memory->to[i])
			return 1;
	return 0;
}

struct frames {
	uint64_t *at, count, room;
};

static void add(struct frames *frames, uint64_t frame)
{
	if (frames->count == frames->room) {
		frames->room = frames->room ? 2 * frames->room : 1024;
		frames->at = realloc(frames->at, frames->room * sizeof(*frames->at));
		if (!frames->at)
			die(STATUS_IO, errno, "%" PRIu64 " frames", frames->room);
	}
	frames->at[frames->count++] = frame;
}

/* So many frames are looked at in one go. */
#define ROOM 512

/*
 * The frames from first to last that may be zsmalloc's: those with the mark, and those without.
 * Nothing behind the last is looked at: memory that goes offline meanwhile has no flags that can be read
 * (kpageflags_read() does not keep it online).
 */
static void find(uint64_t page_bytes, uint64_t first, uint64_t last, struct frames found[2])
{
	int file = open(flags_file, O_RDONLY);
	struct ranges memory = { .count = 0 };
	uint64_t flags[ROOM], frame = 0;
	int in_compound = 0;
	ssize_t length;

	if (file < 0)
		die(STATUS_IO, errno, "%s", flags_file);
	find_memory(&memory);
	do {
		uint64_t left = last - frame, want = left < ROOM ? left + 1 : ROOM;

		length = read(file, flags, want * sizeof(*flags));
		if (length < 0)
			die(STATUS_IO, errno, "%s", flags_file);
		for (ssize_t i = 0; i < length / 8; i++, frame++)
			if (!is_tail_of_page(flags[i], &in_compound) && !(flags[i] & NOT_ZSMALLOC) &&
			    first <= frame && is_memory(&memory, frame * page_bytes))
				add(&found[!(flags[i] & BIT(KPF_UPTODATE))], frame);
	} while (length && frame <= last);
	close(file);
}

/* One of those that are left, and no more. */
static uint64_t take(struct frames *frames, uint64_t *random)
{
	uint64_t at = draw(random) % frames->count, frame = frames->at[at];

	frames->at[at] = frames->at[--frames->count];
	return frame;
}

/* Writes a number to a file, whose answer this returns: 0, or an error. */
static int tell(const char *path, uint64_t number)
{
	int file = open(path, O_WRONLY);
	int error = 0;

	if (file < 0)
		die(STATUS_IO, errno, "%s", path);
	if (dprintf(file, "%#" PRIx64, number) < 0)
		error = errno;
	close(file);
	return error;
}

/* How many pages the kernel says are out of use. */
static uint64_t pages_corrupted(uint64_t page_bytes)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[256];
	uint64_t kib = 0;
	int found = 0;

	if (!file)
		die(STATUS_IO, errno, "/proc/meminfo");
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line, "HardwareCorrupted: %" SCNu64, &kib) == 1;
	fclose(file);
	if (!found)
		die(STATUS_IO, 0, "/proc/meminfo has no HardwareCorrupted");
	return (kib << 10) / page_bytes;
}

/* Looks at what is out of use, and has it used again. */
static void take_back(const struct frames *gone)
{
	const char *unpoison_file = "/sys/kernel/debug/hwpoison/unpoison-pfn";
	int file = open(flags_file, O_RDONLY);

	if (file < 0)
		die(STATUS_IO, errno, "%s", flags_file);
	for (uint64_t i = 0; i < gone->count; i++) {
		uint64_t flags, until_ns = now_ns() + PATIENCE_MS * 1000000ull;
		int error;

		if (pread(file, &flags, sizeof(flags), (off_t)(gone->at[i] * sizeof(flags))) != sizeof(flags))
			die(STATUS_IO, errno, "%s", flags_file);
		if (!(flags & BIT(KPF_HWPOISON)) || flags & IN_USE)
			die(STATUS_IO, 0, "frame %#" PRIx64 " was taken out of use, and has the flags %#" PRIx64,
			    gone->at[i], flags);
		while ((error = tell(unpoison_file, gone->at[i])) == EBUSY && now_ns() < until_ns)
			usleep(1000);
		if (error)
			die(STATUS_IO, error, "frame %#" PRIx64 " was taken out of use, and cannot be taken back",
			    gone->at[i]);
	}
	close(file);
}

int main(int argc, char **argv)
{
	const char *offline_file = "/sys/devices/system/memory/soft_offline_page";
	uint64_t pages = 0, tries = 0, seed = 0, first = 0, last = UINT64_MAX;
	uint64_t refused = 0, random;
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE), corrupted = pages_corrupted(page_bytes);
	struct frames found[2] = { 0 }, gone = { 0 };
	int option, keep = 0;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'p': pages = parse_number("--pages", optarg); break;
		case 't': tries = parse_number("--tries", optarg); break;
		case 's': seed = parse_number("--seed", optarg); break;
		case 'f': first = parse_number("--first-frame", optarg); break;
		case 'l': last = parse_number("--last-frame", optarg); break;
		case 'k': keep = 1; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!pages || !tries || optind < argc)
		die(STATUS_USAGE, 0, "usage: offline --pages=N --tries=N --seed=S [--first-frame=N] [--last-frame=N]"
				     " [--keep]");

	find(page_bytes, first, last, found);
	random = mix64(seed);
	for (; tries && (found[0].count || found[1].count) && gone.count < pages; tries--) {
		struct frames *from = &found[tries % 2];
		uint64_t frame;

		if (!from->count)
			from = &found[(tries + 1) % 2];
		frame = take(from, &random);
		if (tell(offline_file, frame * page_bytes))
			refused++;
		else
			add(&gone, frame);
	}
	corrupted = pages_corrupted(page_bytes) - corrupted;
	if (!keep)
		take_back(&gone);
	free(found[0].at);
	free(found[1].at);
	printf("{\"program\": \"offline\", \"offlined\": %" PRIu64 ", \"refused\": %" PRIu64
	       ", \"corrupted\": %" PRIu64 "}\n",
	       gone.count, refused, corrupted);
	free(gone.at);
	return STATUS_OK;
}
