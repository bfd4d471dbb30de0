// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes a word into files (of sysfs or procfs) again and again, beside a workload.
 *
 *   poke --seconds=N --every-ms=N [--value=WORD] FILE...
 *
 * A write that fails is counted, not fatal: whether it may is the caller's to say.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <unistd.h>

#include "report.h"

static const struct option long_options[] = {
	{ "seconds", required_argument, NULL, 't' },
	{ "every-ms", required_argument, NULL, 'e' },
	{ "value", required_argument, NULL, 'v' },
	{ 0 },
};

static int poke(const char *path, const char *value)
{
	int file = open(path, O_WRONLY);
	int error = 0;

	if (file < 0)
		return errno;
	if (write(file, value, strlen(value)) < 0)
		error = errno;
	close(file);
	return error;
}

int main(int argc, char **argv)
{
	uint64_t seconds = 0, every_ms = 0, writes = 0, errors = 0, until_ns;
	const char *value = "1";
	int option, last_error = 0;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 't': seconds = parse_number("--seconds", optarg); break;
		case 'e': every_ms = parse_number("--every-ms", optarg); break;
		case 'v': value = optarg; break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!seconds || !every_ms || optind == argc)
		die(STATUS_USAGE, 0, "usage: poke --seconds=N --every-ms=N [--value=WORD] FILE...");

	until_ns = now_ns() + seconds * 1000000000u;
	while (now_ns() < until_ns) {
		for (int i = optind; i < argc; i++) {
			int error = poke(argv[i], value);

			writes += !error;
			errors += !!error;
			if (error)
				last_error = error;
		}
		usleep((useconds_t)every_ms * 1000);
	}
	printf("{\"program\": \"poke\", \"writes\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"last_error\": \"%s\"}\n",
	       writes, errors, last_error ? strerror(last_error) : "");
	return STATUS_OK;
}
