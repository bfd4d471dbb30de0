// SPDX-License-Identifier: GPL-2.0-only
/*
 * awaken SAYING: for each line "SECONDS NANOSECONDS SEED" of its standard input, set the clock to
 * that time, let every random number from now on depend on the 32 bytes of SEED, in hexadecimal,
 * and write SAYING to the kernel's log.
 *
 * It waits for its line while a template is frozen: a clone wakes in the middle of that read, with
 * the clock and the entropy of the template, like every other clone of it, and has neither to start
 * a program nor to interpret a script to become a guest of its own.
 */
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SEED_BYTES 32

static int set_clock(long long seconds, long nanoseconds)
{
	struct timespec now = { .tv_sec = seconds, .tv_nsec = nanoseconds };

	return clock_settime(CLOCK_REALTIME, &now);
}

static int stir(const char *seed)
{
	struct {
		struct rand_pool_info info;
		unsigned char seed[SEED_BYTES];
	} pool = { .info = { .entropy_count = SEED_BYTES * 8, .buf_size = SEED_BYTES } };
	int file = open("/dev/urandom", O_RDWR);
	int failed;

	for (int i = 0; i < SEED_BYTES; i++)
		if (sscanf(seed + 2 * i, "%2hhx", &pool.seed[i]) != 1)
			return -1;
	failed = file < 0 || ioctl(file, RNDADDENTROPY, &pool) || ioctl(file, RNDRESEEDCRNG);
	close(file);
	return failed ? -1 : 0;
}

static int say(const char *text)
{
	int file = open("/dev/kmsg", O_WRONLY);
	int failed = file < 0 || write(file, text, strlen(text)) < 0;

	close(file);
	return failed ? -1 : 0;
}

static int obey(const char *line, const char *saying)
{
	char seed[2 * SEED_BYTES + 1], said[160];
	long long seconds;
	long nanoseconds;

	if (sscanf(line, "%lld %ld %64s", &seconds, &nanoseconds, seed) != 3 || strlen(seed) != 2 * SEED_BYTES)
		return -1;
	/* The kernel keeps a line back until it has its end. */
	snprintf(said, sizeof(said), "%s\n", saying);
	return set_clock(seconds, nanoseconds) || stir(seed) || say(said) ? -1 : 0;
}

int main(int argc, char **argv)
{
	char line[512];
	ssize_t length;

	if (argc != 2) {
		fprintf(stderr, "usage: awaken SAYING\n");
		return 2;
	}
	/* A terminal gives a line for each read. */
	while ((length = read(STDIN_FILENO, line, sizeof(line) - 1)) > 0) {
		line[length] = '\0';
		if (line[0] != '\n' && obey(line, argv[1]))
			say("<1>awaken: not understood, or refused\n");
	}
	return 0;
}
