// SPDX-License-Identifier: GPL-2.0-only
/*
 * awaken SECONDS NANOSECONDS SEED: set the clock to that time, and let every random number from
 * now on depend on these 32 bytes, in hexadecimal.  It comes before the guest answers: a clone
 * wakes with the clock and the entropy of the template, like every other clone of it.
 */
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define SEED_BYTES 32

int main(int argc, char **argv)
{
	struct {
		struct rand_pool_info info;
		unsigned char seed[SEED_BYTES];
	} pool = { .info = { .entropy_count = SEED_BYTES * 8, .buf_size = SEED_BYTES } };
	struct timespec now;
	int file, i;

	if (argc != 4 || strlen(argv[3]) != 2 * SEED_BYTES) {
		fprintf(stderr, "usage: awaken SECONDS NANOSECONDS SEED\n");
		return 2;
	}
	now.tv_sec = atoll(argv[1]);
	now.tv_nsec = atol(argv[2]);
	if (clock_settime(CLOCK_REALTIME, &now) != 0) {
		perror("awaken: cannot set the clock");
		return 1;
	}
	for (i = 0; i < SEED_BYTES; i++) {
		if (sscanf(argv[3] + 2 * i, "%2hhx", &pool.seed[i]) != 1) {
			fprintf(stderr, "awaken: no hexadecimal: %s\n", argv[3]);
			return 2;
		}
	}
	file = open("/dev/urandom", O_RDWR);
	if (file < 0 || ioctl(file, RNDADDENTROPY, &pool) != 0 || ioctl(file, RNDRESEEDCRNG) != 0) {
		perror("awaken: cannot seed /dev/urandom");
		return 1;
	}
	return 0;
}
