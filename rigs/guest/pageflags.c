// SPDX-License-Identifier: GPL-2.0-only
/*
 * pageflags: how many page frames have which flags, as /proc/kpageflags tells them.
 *
 * Reports "flags", an object of counts by the word of flags in hexadecimal.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "report.h"

/* Far more combinations than a guest's memory shows. */
#define LOOKS 4096
#define BATCH 8192

struct look {
	uint64_t flags;
	uint64_t frames;
};

static struct look looks[LOOKS];
static size_t known;

static void count(uint64_t flags)
{
	/* Neighbours are much alike. */
	static size_t last;
	size_t at;

	if (known && looks[last].flags == flags) {
		looks[last].frames++;
		return;
	}
	for (at = 0; at < known && looks[at].flags != flags; at++)
		;
	if (at == LOOKS)
		die(STATUS_IO, 0, "more than %d combinations of flags", LOOKS);
	if (at == known)
		looks[known++].flags = flags;
	looks[at].frames++;
	last = at;
}

int main(int argc, char **argv)
{
	const char *path = "/proc/kpageflags";
	static uint64_t words[BATCH];
	ssize_t length;
	int file;

	if (argc != 1)
		die(STATUS_USAGE, 0, "usage: %s", argv[0]);
	file = open(path, O_RDONLY);
	if (file < 0)
		die(STATUS_IO, errno, "%s", path);
	while ((length = read(file, words, sizeof(words))) > 0)
		for (size_t i = 0; i < (size_t)length / sizeof(*words); i++)
			count(words[i]);
	if (length < 0)
		die(STATUS_IO, errno, "%s", path);

	printf("{\"program\": \"pageflags\", \"flags\": {");
	for (size_t i = 0; i < known; i++)
		printf("%s\"%" PRIx64 "\": %" PRIu64, i ? ", " : "", looks[i].flags, looks[i].frames);
	printf("}}\n");
	return STATUS_OK;
}
