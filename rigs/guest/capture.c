// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads files of procfs, sysfs, debugfs and tracefs for the host, cheaply.
 *
 *   capture files GLOB...           every file that matches, once
 *   capture pages FILE...           every page in these trace_pipe_raw, until they are empty
 *   capture sample MS FILE PATH...  goes to the background, prints its process id, and
 *                                   appends the numbers in these files to FILE every MS
 *
 * What "files" and "pages" write to stdout is a sequence of frames: a line
 * "PATH LENGTH UPTIME_NS", LENGTH bytes, a newline.  A file that cannot be read has
 * the length -ERRNO and no bytes.
 *
 * What "sample" writes is lines: first the names of the columns, "uptime_ns" and then
 * "PATH:KEY" for each line "KEY VALUE" of a file, or "GLOB:N" for the sum of the Nth
 * numbers of all files that match, whichever there are at the time; then one line of
 * numbers a sample.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* So many numbers of a file that a glob names are summed; it may have fewer. */
#define COLUMNS 16

static void die(const char *what)
{
	fprintf(stderr, "capture: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long uptime_ns(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now))
		die("clock_gettime");
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void put(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t done = write(fd, data, length);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			die("write");
		data += done;
		length -= done;
	}
}

/* A buffer that grows; debugfs and procfs tell no size beforehand. */
struct text {
	char *data;
	size_t length, room;
};

static void make_room(struct text *text, size_t more)
{
	if (text->room - text->length >= more)
		return;
	while (text->room - text->length < more)
		text->room = text->room ? 2 * text->room : 65536;
	text->data = realloc(text->data, text->room);
	if (!text->data)
		die("realloc");
}

/* The whole file, terminated by a NUL that is not counted; -errno if it cannot be read. */
static int slurp(const char *path, struct text *text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	text->length = 0;
	if (fd < 0)
		return -errno;
	do {
		make_room(text, 16384);
		got = read(fd, text->data + text->length, text->room - text->length - 1);
		if (got > 0)
			text->length += got;
	} while (got > 0 || (got < 0 && errno == EINTR));
	got = got < 0 ? -errno : 0;
	close(fd);
	text->data[text->length] = '\0';
	return got;
}

static void frame(const char *path, const char *data, long length)
{
	char head[4096];
	int n = snprintf(head, sizeof(head), "%s %ld %lld\n", path, length, uptime_ns());

	if (n >= (int)sizeof(head)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	put(1, head, n);
	if (length > 0)
		put(1, data, length);
	put(1, "\n", 1);
}

/* Patterns that match nothing leave nothing; the matches come sorted within each pattern. */
static glob_t matches(char **patterns)
{
	glob_t found = { 0 };
	int flags = 0;

	for (; *patterns; patterns++, flags = GLOB_APPEND) {
		int error = glob(*patterns, flags, NULL, &found);

		if (error && error != GLOB_NOMATCH)
			die(*patterns);
	}
	return found;
}

static int files(char **patterns)
{
	glob_t found = matches(patterns);
	struct text text = { 0 };

	for (size_t i = 0; i < found.gl_pathc; i++) {
		int error = slurp(found.gl_pathv[i], &text);

		frame(found.gl_pathv[i], text.data, error ? error : (long)text.length);
	}
	return 0;
}

/*
 * A read of trace_pipe_raw gives one page of the ring buffer; the page may be larger
 * than the system's, and a longer buffer than the page does no harm.
 */
static int pages(char **paths)
{
	static char page[1 << 20];

	for (; *paths; paths++) {
		int fd = open(*paths, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		ssize_t got;

		if (fd < 0)
			die(*paths);
		while ((got = read(fd, page, sizeof(page))) > 0)
			frame(*paths, page, got);
		/* A processor that can be plugged in has no buffer until it is. */
		if (got < 0 && errno != EAGAIN && errno != ENODEV)
			die(*paths);
		close(fd);
	}
	return 0;
}

static void append(struct text *row, const char *format, ...)
{
	va_list arguments;

	make_room(row, 512);
	va_start(arguments, format);
	row->length += vsnprintf(row->data + row->length, 512, format, arguments);
	va_end(arguments);
}

/* Adds the numbers in a file of lines "KEY VALUE" to a row, or their names to a row of names. */
static void add_keyed(const char *path, const char *at, struct text *row, int names)
{
	while (*at) {
		int length = strcspn(at, "\n"), key = strcspn(at, ": \n");
		int blank = key + strspn(at + key, ": ");
		int value = strcspn(at + blank, " \n");

		if (blank < length && names)
			append(row, " %s:%.*s", path, key, at);
		else if (blank < length)
			append(row, " %.*s", value, at + blank);
		at += length;
		at += *at == '\n';
	}
}

/* Adds, for every column of numbers, its sum over all files that match now; the same for names. */
static void add_sums(const char *pattern, struct text *row, int names)
{
	char *patterns[] = { (char *)pattern, NULL };
	long long sums[COLUMNS] = { 0 };
	glob_t found = matches(patterns);
	static struct text text;

	for (size_t i = 0; i < found.gl_pathc; i++) {
		char *at, *end;

		/* A device may go away between the look and the read. */
		if (slurp(found.gl_pathv[i], &text))
			continue;
		at = text.data;
		for (int n = 0; n < COLUMNS; n++, at = end) {
			long long value = strtoll(at, &end, 10);

			if (end == at)
				break;
			sums[n] += value;
		}
	}
	globfree(&found);
	for (int n = 0; n < COLUMNS; n++) {
		if (names)
			append(row, " %s:%d", pattern, n);
		else
			append(row, " %lld", sums[n]);
	}
}

static void add_row(char **paths, struct text *row, int names)
{
	static struct text text;

	for (; *paths; paths++) {
		if (strpbrk(*paths, "*?["))
			add_sums(*paths, row, names);
		else if (!slurp(*paths, &text))
			add_keyed(*paths, text.data, row, names);
	}
}

static int sample(char **arguments)
{
	long period_ms = strtol(arguments[0], NULL, 10);
	int out = open(arguments[1], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	struct text row = { 0 };
	struct timespec next;
	pid_t child;

	if (out < 0)
		die(arguments[1]);
	if (period_ms <= 0) {
		errno = EINVAL;
		die(arguments[0]);
	}
	append(&row, "uptime_ns");
	add_row(arguments + 2, &row, 1);
	append(&row, "\n");
	put(out, row.data, row.length);

	child = fork();
	if (child < 0)
		die("fork");
	if (child) {
		printf("%d\n", child);
		return 0;
	}
	/* Whoever started it waits for the end of these. */
	setsid();
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (;;) {
		row.length = 0;
		append(&row, "%lld", uptime_ns());
		add_row(arguments + 2, &row, 0);
		append(&row, "\n");
		put(out, row.data, row.length);
		next.tv_nsec += period_ms % 1000 * 1000000;
		next.tv_sec += period_ms / 1000 + next.tv_nsec / 1000000000;
		next.tv_nsec %= 1000000000;
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL))
			;
	}
}

int main(int argc, char **argv)
{
	if (argc >= 3 && !strcmp(argv[1], "files"))
		return files(argv + 2);
	if (argc >= 3 && !strcmp(argv[1], "pages"))
		return pages(argv + 2);
	if (argc >= 5 && !strcmp(argv[1], "sample"))
		return sample(argv + 2);
	fprintf(stderr, "usage: capture files GLOB... | pages FILE... | sample MS FILE PATH...\n");
	return 2;
}
