// SPDX-License-Identifier: GPL-2.0-only
/* put FILE: write standard input to FILE with one write(2), as sysfs attributes want it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t length = 0, room = 1 << 16;
	char *data = malloc(room);
	ssize_t count;
	int file;

	if (argc != 2) {
		fprintf(stderr, "usage: put FILE <data\n");
		return 2;
	}
	while (data && (count = read(0, data + length, room - length)) > 0) {
		length += count;
		if (length == room)
			data = realloc(data, room *= 2);
	}
	if (!data || count < 0) {
		fprintf(stderr, "put: cannot read standard input: %s\n", strerror(errno));
		return 1;
	}
	file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (file < 0) {
		fprintf(stderr, "put: cannot open %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	count = write(file, data, length);
	if (count < 0) {
		fprintf(stderr, "put: cannot write %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	if ((size_t)count != length || close(file) != 0) {
		fprintf(stderr, "put: wrote %zd of %zu bytes of %s\n", count, length, argv[1]);
		return 1;
	}
	return 0;
}
