/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The C library's side: memory, messages, and requests from standard input.
 * A batch is a count (u64) and that many requests of 24 bytes; the answer is
 * one s64 for each, then the length (u64) and the bytes of the last one's text.
 */
#include "host.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

/* Enough that answering a batch takes longer than handing it over. */
#define BATCH 32768
/* So many requests ahead, memory has come by the time that it is needed. */
#define AHEAD 8

static uint64_t requests_done;

_Noreturn void host_fail(const char *kind, const char *file, int line, const char *what)
{
	fprintf(stderr, "%s: %s at %s:%d, in request %lu of this process\n", kind, what, file, line,
		(unsigned long)requests_done);
	fflush(stderr);
	abort();
}

void host_log(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
}

void *host_alloc(size_t size)
{
	void *object = malloc(size);

	if (!object) {
		perror("malloc");
		exit(2);
	}
	return object;
}

void host_free(void *object)
{
	free(object);
}

void *host_reserve(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return at;
}

void host_expect_all(void *at, size_t size)
{
	/* It is only faster with large pages, so it does not matter if there are none. */
	(void)madvise(at, size, MADV_HUGEPAGE);
}

void host_poison(const void *at, size_t size)
{
	ASAN_POISON_MEMORY_REGION(at, size);
}

void host_unpoison(const void *at, size_t size)
{
	ASAN_UNPOISON_MEMORY_REGION(at, size);
}

int host_format(char *out, size_t size, const char *format, va_list arguments)
{
	return vsnprintf(out, size, format, arguments);
}

static void must_write(const void *at, size_t size)
{
	if (size && fwrite(at, size, 1, stdout) != 1) {
		perror("write");
		exit(2);
	}
}

int main(void)
{
	static struct request batch[BATCH];
	static int64_t answers[BATCH];
	uint64_t count;

	driver_start();
	while (fread(&count, sizeof(count), 1, stdin) == 1) {
		const char *text;
		uint64_t length;
		size_t size;
		uint64_t i;

		if (count > BATCH || (count && fread(batch, sizeof(*batch), count, stdin) != count))
			return 2;
		for (i = 0; i < count; i++, requests_done++) {
			if (driver_is_together(&batch[i])) {
				i += driver_together(&batch[i], &answers[i], count - i) - 1;
				continue;
			}
			if (i + 2 * AHEAD < count)
				driver_expect_object(batch[i + 2 * AHEAD].c);
			if (i + AHEAD < count)
				driver_expect_handle(batch[i + AHEAD].c);
			answers[i] = driver_request(batch[i].op, batch[i].a, batch[i].b, batch[i].c);
		}
		must_write(answers, count * sizeof(*answers));
		text = driver_text(&size);
		length = size;
		must_write(&length, sizeof(length));
		must_write(text, length);
		if (fflush(stdout))
			return 2;
	}
	return 0;
}
