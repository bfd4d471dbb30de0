// SPDX-License-Identifier: GPL-2.0-only
/*
 * awaken SECONDS NANOSECONDS: set the clock to that time, and let every random number
 * from now on depend on the 32 bytes on standard input.  A clone runs it first: it wakes
 * with the clock and the entropy of the template, like every other clone of it.
 */
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define SEED_BYTES 32

int main(int argc, char **argv)
{
	struct {
		struct rand_pool_info info;
		__u32 seed[SEED_BYTES / sizeof(__u32)];
	} pool = { .info = { .entropy_count = SEED_BYTES * 8, .buf_size = SEED_BYTES } };
	struct timespec now;
	int file;

	if (argc != 3) {
		fprintf(stderr, "usage: awaken SECONDS NANOSECONDS <seed\n");
		return 2;
	}
	now.tv_sec = atoll(argv[1]);
	now.tv_nsec = atol(argv[2]);
	if (clock_settime(CLOCK_REALTIME, &now) != 0) {
		perror("awaken: cannot set the clock");
		return 1;
	}
	if (read(0, pool.seed, SEED_BYTES) != SEED_BYTES) {
		fprintf(stderr, "awaken: expected %d bytes on standard input\n", SEED_BYTES);
		return 1;
	}
	file = open("/dev/urandom", O_RDWR);
	if (file < 0 || ioctl(file, RNDADDENTROPY, &pool) != 0 || ioctl(file, RNDRESEEDCRNG) != 0) {
		perror("awaken: cannot seed /dev/urandom");
		return 1;
	}
	return 0;
}
