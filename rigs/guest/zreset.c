// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resets a zram device while others want to use it.
 *
 *   zreset --device=D --sysfs=DIR --disksize=BYTES --seed=S --seconds=N
 *          [--users=N] [--resetters=N] [--resets=N]
 *
 * A user opens the device, checks some of its slots, writes and checks them again, and
 * closes it, over and over.  While it is open the device cannot be reset, so everything
 * must hold from the first request that succeeds to the close; at its opening each slot
 * holds what this user wrote last or, after a reset, zeros: the first reset comes before
 * the first user.  A resetter resets the device and gives it its size again, as fast as it
 * is let.  It goes on for --seconds, and until there were --resets.  The device is left
 * initialised.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report.h"

#define THREADS_MAX 64u
#define SLOTS_A_SESSION 8u

static const char *device, *sysfs, *disksize;
static uint64_t seed, seconds, users = 2, resetters = 2, least;

static size_t page_bytes;
static uint64_t slots, until_ns;
static uint32_t *versions;

static struct mismatches mismatches = MISMATCHES_NONE;
static _Atomic uint64_t sessions, refused, resets, busy, writes, reads;

static const struct option long_options[] = {
	{ "device", required_argument, NULL, 'd' },  { "sysfs", required_argument, NULL, 'y' },
	{ "disksize", required_argument, NULL, 'z' }, { "seed", required_argument, NULL, 's' },
	{ "seconds", required_argument, NULL, 't' }, { "resets", required_argument, NULL, 'n' },
	{ "users", required_argument, NULL, 'u' },   { "resetters", required_argument, NULL, 'r' },
	{ 0 },
};

/* Write an attribute: 0 or an errno. */
static int set(const char *attribute, const char *value)
{
	char path[256];
	int file, error = 0;

	snprintf(path, sizeof(path), "%s/%s", sysfs, attribute);
	file = open(path, O_WRONLY);
	if (file < 0)
		die(STATUS_IO, errno, "%s", path);
	if (write(file, value, strlen(value)) < 0)
		error = errno;
	close(file);
	return error;
}

/*
 * Move one page; false if the device turned out to have no size.  Only the first
 * request of a session may find that out.
 */
static bool transfer(int file, bool write, void *page, uint64_t slot, bool first)
{
	off_t at = (off_t)(slot * page_bytes);
	ssize_t moved = write ? pwrite(file, page, page_bytes, at) : pread(file, page, page_bytes, at);
	int error = moved < 0 ? errno : 0;

	if (moved == (ssize_t)page_bytes)
		return true;
	if (first && (moved == 0 || error == EIO || error == ENOSPC))
		return false;
	die(STATUS_IO, error, "%s: %s slot %" PRIu64 " gave %zd", device, write ? "writing" : "reading", slot, moved);
}

static void session(int file, uint64_t first_slot, unsigned char *page, unsigned char *scratch)
{
	uint64_t end = first_slot + SLOTS_A_SESSION * users;

	for (uint64_t slot = first_slot; slot < end; slot += users) {
		if (!transfer(file, false, page, slot, slot == first_slot)) {
			refused++;
			return;
		}
		reads++;
		if (!content_holds(page, scratch, seed, slot, 0, page_bytes, NULL))
			content_holds(page, scratch, seed, slot, versions[slot], page_bytes, &mismatches);
	}
	for (uint64_t slot = first_slot; slot < end; slot += users) {
		versions[slot] = version_after(versions[slot], MIX_MIXED);
		content_fill(page, seed, slot, versions[slot], page_bytes);
		transfer(file, true, page, slot, false);
		writes++;
	}
	for (uint64_t slot = first_slot; slot < end; slot += users) {
		transfer(file, false, page, slot, false);
		reads++;
		content_holds(page, scratch, seed, slot, versions[slot], page_bytes, &mismatches);
	}
	sessions++;
}

static bool goes_on(void)
{
	return now_ns() < until_ns || resets < least;
}

/* A user owns every slot whose number leaves its own when divided by the users'. */
static void *use(void *argument)
{
	uint64_t number = (uint64_t)(uintptr_t)argument;
	uint64_t random = mix64(seed ^ (number + 1) << 8);
	uint64_t owned = slots / users;
	unsigned char *page = aligned(page_bytes, page_bytes);
	unsigned char *scratch = aligned(64, page_bytes);

	while (goes_on()) {
		uint64_t lot = draw(&random);
		int file = open(device, O_RDWR | O_DIRECT);

		if (file < 0 && errno == EINVAL)
			file = open(device, O_RDWR);
		if (file < 0) {
			if (errno != EBUSY && errno != ENXIO)
				die(STATUS_IO, errno, "%s", device);
			refused++;
		} else {
			session(file, lot % (owned - SLOTS_A_SESSION + 1) * users + number, page, scratch);
			close(file);
		}
		/* Leave a gap for the resetters. */
		usleep((lot >> 32) % 4096);
	}
	free(page);
	free(scratch);
	return NULL;
}

/* False if somebody uses the device. */
static bool reset(void)
{
	int error = set("reset", "1");

	if (error && error != EBUSY)
		die(STATUS_IO, error, "%s/reset", sysfs);
	resets += !error;
	busy += !!error;
	if (error)
		return false;
	/* Another resetter may have been quicker. */
	error = set("disksize", disksize);
	if (error && error != EBUSY)
		die(STATUS_IO, error, "%s/disksize", sysfs);
	return true;
}

static void *keep_resetting(void *argument)
{
	(void)argument;
	while (goes_on()) {
		reset();
		usleep(500);
	}
	return NULL;
}

static void run(void)
{
	pthread_t thread[2 * THREADS_MAX];
	int error;

	for (uint64_t i = 0; i < users + resetters; i++) {
		void *argument = (void *)(uintptr_t)i;

		error = pthread_create(&thread[i], NULL, i < users ? use : keep_resetting, argument);
		if (error)
			die(STATUS_IO, error, "a thread");
	}
	for (uint64_t i = 0; i < users + resetters; i++)
		pthread_join(thread[i], NULL);
}

int main(int argc, char **argv)
{
	int option, index;

	while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1) {
		const char *name = option == '?' ? "" : long_options[index].name;

		switch (option) {
		case 'd': device = optarg; break;
		case 'y': sysfs = optarg; break;
		case 'z': disksize = optarg; break;
		case 's': seed = parse_number(name, optarg); break;
		case 't': seconds = parse_number(name, optarg); break;
		case 'n': least = parse_number(name, optarg); break;
		case 'u': users = parse_number(name, optarg); break;
		case 'r': resetters = parse_number(name, optarg); break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!device || !sysfs || !disksize || !seconds || optind < argc)
		die(STATUS_USAGE, 0, "--device, --sysfs, --disksize and --seconds are needed");
	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	slots = parse_number("--disksize", disksize) / page_bytes;
	if (!users || users > THREADS_MAX || resetters > THREADS_MAX || slots / users < SLOTS_A_SESSION)
		die(STATUS_USAGE, 0, "from 1 to %u --users with %u slots each, at most as many --resetters", THREADS_MAX,
		    SLOTS_A_SESSION);
	versions = calloc(slots, sizeof(*versions));
	if (!versions)
		die(STATUS_IO, errno, "%" PRIu64 " versions", slots);

	if (!reset())
		die(STATUS_IO, EBUSY, "%s/reset before there are users", sysfs);
	until_ns = now_ns() + seconds * 1000000000u;
	run();
	printf("{\"program\": \"zreset\", \"sessions\": %" PRIu64 ", \"refused\": %" PRIu64, sessions, refused);
	printf(", \"resets\": %" PRIu64 ", \"busy\": %" PRIu64, resets, busy);
	printf(", \"writes\": %" PRIu64 ", \"reads\": %" PRIu64 ", \"bytes_verified\": %" PRIu64, writes, reads,
	       reads * page_bytes);
	return report_end(&mismatches);
}
