// SPDX-License-Identifier: GPL-2.0-only
/*
 * Soft-offlines page after page, which moves exactly that page, whatever uses it.
 *
 *   offline --pages=N --tries=N --seed=S
 *
 * Tries pages in random order until --pages succeeded or --tries were made, leaving out
 * those that /proc/kpageflags says are free, of the page cache, anonymous, slab and the
 * like: what is left is the kernel's own, most of which cannot be moved, and zsmalloc's.
 * A tail counts if it does not follow its head: a zspage can pose as the head of its pages.
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
	 BIT(KPF_PGTABLE) | BIT(KPF_RESERVED) | BIT(KPF_SWAPBACKED) | BIT(KPF_UPTODATE))

static const struct option long_options[] = {
	{ "pages", required_argument, NULL, 'p' },
	{ "tries", required_argument, NULL, 't' },
	{ "seed", required_argument, NULL, 's' },
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

/* The frames that may be zsmalloc's, and how many. */
static uint64_t *candidates(const char *path, uint64_t *count)
{
	int file = open(path, O_RDONLY);
	uint64_t *frames = NULL, flags[512], frame = 0, room = 0;
	int in_compound = 0;
	ssize_t length;

	if (file < 0)
		die(STATUS_IO, errno, "%s", path);
	*count = 0;
	while ((length = read(file, flags, sizeof(flags))) > 0)
		for (ssize_t i = 0; i < length / 8; i++, frame++) {
			if (is_tail_of_page(flags[i], &in_compound) || flags[i] & NOT_ZSMALLOC)
				continue;
			if (*count == room) {
				room = room ? 2 * room : 1024;
				frames = realloc(frames, room * sizeof(*frames));
				if (!frames)
					die(STATUS_IO, errno, "%" PRIu64 " frames", room);
			}
			frames[(*count)++] = frame;
		}
	if (length < 0)
		die(STATUS_IO, errno, "%s", path);
	close(file);
	return frames;
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
	uint64_t pages = 0, tries = 0, seed = 0, offlined = 0, refused = 0, count, random;
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t *frames;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'p': pages = parse_number("--pages", optarg); break;
		case 't': tries = parse_number("--tries", optarg); break;
		case 's': seed = parse_number("--seed", optarg); break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!pages || !tries || optind < argc)
		die(STATUS_USAGE, 0, "usage: offline --pages=N --tries=N --seed=S");

	frames = candidates(flags_file, &count);
	random = mix64(seed);
	for (; tries && count && offlined < pages; tries--) {
		uint64_t at = draw(&random) % count;

		if (offline(offline_file, frames[at] * page_bytes))
			refused++;
		else
			offlined++;
		frames[at] = frames[--count];
	}
	free(frames);
	printf("{\"program\": \"offline\", \"offlined\": %" PRIu64 ", \"refused\": %" PRIu64 "}\n", offlined, refused);
	return STATUS_OK;
}
