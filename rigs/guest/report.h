// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a guest program reports: one line of JSON on stdout, complaints on stderr, and
 * an exit status that says whose fault it is.
 */
#ifndef PAGELESS_REPORT_H
#define PAGELESS_REPORT_H

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "content.h"

enum {
	STATUS_OK = 0,
	STATUS_MISMATCH = 1,
	STATUS_USAGE = 2,
	STATUS_IO = 3,
};

/* Complain, with errno's text unless it is 0, and exit. */
static inline void __attribute__((noreturn, format(printf, 3, 4)))
die(int status, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "%s%s\n", error ? ": " : "", error ? strerror(error) : "");
	exit(status);
}

static inline uint64_t parse_number(const char *option, const char *text)
{
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(text, &end, 0);
	if (errno || end == text || *end || *text == '-')
		die(STATUS_USAGE, 0, "%s: not a number: %s", option, text);
	return number;
}

static inline uint64_t now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static inline void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die(STATUS_IO, errno, "pinning to CPU %d", cpu);
}

static inline void *aligned(size_t alignment, size_t bytes)
{
	void *memory;

	if (posix_memalign(&memory, alignment, bytes))
		die(STATUS_IO, ENOMEM, "%zu bytes of buffer", bytes);
	return memory;
}

/* Pages that did not hold what they must: how many, and all about the first. */
struct mismatches {
	pthread_mutex_t lock;
	uint64_t count;
	uint64_t slot;
	uint32_t version;
	size_t offset;
	unsigned char expected[16];
	unsigned char seen[16];
	char looks_like[64];
};

#define MISMATCHES_NONE { .lock = PTHREAD_MUTEX_INITIALIZER }

/* Say what a wrong page might be, which tells a lost write from a mangled one. */
static inline void guess(char *text, size_t length, const unsigned char *page, unsigned char *scratch,
			 uint64_t seed, uint64_t slot, uint32_t version, size_t page_bytes)
{
	uint32_t counter = version / VERSION_STEP;
	uint32_t back, mix;

	memset(scratch, 0, page_bytes);
	if (!memcmp(page, scratch, page_bytes)) {
		snprintf(text, length, "zeros");
		return;
	}
	for (back = 1; back <= 16 && back < counter; back++)
		for (mix = 1; mix < MIXES; mix++) {
			uint32_t old = (counter - back) * VERSION_STEP + mix;

			content_fill(scratch, seed, slot, old, page_bytes);
			if (!memcmp(page, scratch, page_bytes)) {
				snprintf(text, length, "version %" PRIu32 " of this slot", old / VERSION_STEP);
				return;
			}
		}
	snprintf(text, length, "no recent version of this slot");
}

/*
 * Whether `page` holds that version; `scratch` is a page to work in.  If it does not
 * and `mismatches` is given, it is recorded there.
 */
static inline int content_holds(const void *page, void *scratch, uint64_t seed, uint64_t slot,
				uint32_t version, size_t page_bytes, struct mismatches *mismatches)
{
	const unsigned char *seen = page, *expected = scratch;
	size_t at = 0, window;

	content_fill(scratch, seed, slot, version, page_bytes);
	if (!memcmp(page, scratch, page_bytes))
		return 1;
	if (!mismatches)
		return 0;
	while (seen[at] == expected[at])
		at++;
	window = page_bytes - at < 16 ? page_bytes - at : 16;
	pthread_mutex_lock(&mismatches->lock);
	if (!mismatches->count++) {
		mismatches->slot = slot;
		mismatches->version = version;
		mismatches->offset = at;
		memcpy(mismatches->expected, expected + at, window);
		memcpy(mismatches->seen, seen + at, window);
		guess(mismatches->looks_like, sizeof(mismatches->looks_like), page, scratch, seed, slot, version,
		      page_bytes);
	}
	pthread_mutex_unlock(&mismatches->lock);
	return 0;
}

static inline void print_hex(const char *key, const unsigned char *bytes)
{
	printf(", \"%s\": \"", key);
	for (int i = 0; i < 16; i++)
		printf("%02x", bytes[i]);
	printf("\"");
}

/* The last members of the report, and the exit status that they mean. */
static inline int report_end(const struct mismatches *mismatches)
{
	printf(", \"mismatches\": %" PRIu64 ", \"first_mismatch\": ", mismatches->count);
	if (mismatches->count) {
		printf("{\"slot\": %" PRIu64 ", \"version\": %" PRIu32 ", \"offset\": %zu", mismatches->slot,
		       mismatches->version / VERSION_STEP, mismatches->offset);
		print_hex("expected", mismatches->expected);
		print_hex("seen", mismatches->seen);
		printf(", \"looks_like\": \"%s\"}", mismatches->looks_like);
	} else {
		printf("null");
	}
	printf("}\n");
	if (fflush(stdout))
		die(STATUS_IO, errno, "stdout");
	return mismatches->count ? STATUS_MISMATCH : STATUS_OK;
}

#endif
