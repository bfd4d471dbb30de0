// SPDX-License-Identifier: GPL-2.0-only
/*
 * Soft-offlines page after page, which moves exactly that page, whatever uses it.
 *
 *   offline --pages=N --tries=N --seed=S [--first-frame=N] [--last-frame=N]
 *
 * Tries pages in random order until --pages succeeded or --tries were made, of those frames
 * only if a first or a last is given.  It leaves out those that /proc/kpageflags says are free,
 * of the page cache, anonymous, slab and the like: what is left is the kernel's own, most of
 * which cannot be moved, and zsmalloc's.
 * A tail counts if it does not follow its head: a zspage can pose as the head of its pages.
 * In newer kernels what can be moved has the mark of what is up to date (PG_movable_ops of
 * include/linux/page-flags.h): pages with that mark and pages without are tried by turns.
 * A page that was offlined is lost to the guest.
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

static const struct option long_options[] = {
	{ "pages", required_argument, NULL, 'p' },
	{ "tries", required_argument, NULL, 't' },
	{ "seed", required_argument, NULL, 's' },
	{ "first-frame", required_argument, NULL, 'f' },
	{ "last-frame", required_argument, NULL, 'l' },
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
static void find(const char *path, uint64_t page_bytes, uint64_t first, uint64_t last, struct frames found[2])
{
	int file = open(path, O_RDONLY);
	struct ranges memory = { .count = 0 };
	uint64_t flags[ROOM], frame = 0;
	int in_compound = 0;
	ssize_t length;

	if (file < 0)
		die(STATUS_IO, errno, "%s", path);
	find_memory(&memory);
	do {
		uint64_t left = last - frame, want = left < ROOM ? left + 1 : ROOM;

		length = read(file, flags, want * sizeof(*flags));
		if (length < 0)
			die(STATUS_IO, errno, "%s", path);
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

static int offline(const char *path, uint64_t address)
{
	int file = open(path, O_WRONLY);
	int error = 0;

	if (file < 0)
		die(STATUS_IO, errno, "%s", path);
	if (dprintf(file, "%#" PRIx64, address) < 0)
		error = errno;
	close(file);
	return error;
}

int main(int argc, char **argv)
{
	const char *flags_file = "/proc/kpageflags";
	const char *offline_file = "/sys/devices/system/memory/soft_offline_page";
	uint64_t pages = 0, tries = 0, seed = 0, first = 0, last = UINT64_MAX;
	uint64_t offlined = 0, refused = 0, random;
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	struct frames found[2] = { 0 };
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'p': pages = parse_number("--pages", optarg); break;
		case 't': tries = parse_number("--tries", optarg); break;
		case 's': seed = parse_number("--seed", optarg); break;
		case 'f': first = parse_number("--first-frame", optarg); break;
		case 'l': last = parse_number("--last-frame", optarg); break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!pages || !tries || optind < argc)
		die(STATUS_USAGE, 0, "usage: offline --pages=N --tries=N --seed=S [--first-frame=N] [--last-frame=N]");

	find(flags_file, page_bytes, first, last, found);
	random = mix64(seed);
	for (; tries && (found[0].count || found[1].count) && offlined < pages; tries--) {
		struct frames *from = &found[tries % 2];

		if (!from->count)
			from = &found[(tries + 1) % 2];
		if (offline(offline_file, take(from, &random) * page_bytes))
			refused++;
		else
			offlined++;
	}
	free(found[0].at);
	free(found[1].at);
	printf("{\"program\": \"offline\", \"offlined\": %" PRIu64 ", \"refused\": %" PRIu64 "}\n", offlined, refused);
	return STATUS_OK;
}
