// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fills anonymous memory, has it swapped out, and knows to the byte what each page
 * must hold when it comes back.
 *
 *   swapper --mib=N --seed=S [--lock-mib=N] [--threads=N] [--rounds=N] [--children=N]
 *
 * --lock-mib takes memory away first, so that little has to be filled to be more than
 * what is left.  Each thread owns every --threads'th page and, --rounds times over,
 * checks a quarter of its pages in random order, rewrites some, frees some (they must
 * read as zeros) and asks for some to be paged out.  Then --children are forked, which
 * check all of it, swapping in what their parent has swapped out, and write to some of
 * it, which nobody else may notice.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

#define THREADS_MAX 64u

static uint64_t mib, seed, lock_mib, threads = 1, rounds = 1, children;

static unsigned char *memory;
static uint32_t *versions; /* one a page */
static uint64_t pages;
static size_t page_bytes;

/* Shared with the children. */
static struct tally {
	struct mismatches mismatches;
	_Atomic uint64_t writes, reads, discards;
} *tally;

static const struct option long_options[] = {
	{ "mib", required_argument, NULL, 'm' },     { "seed", required_argument, NULL, 's' },
	{ "lock-mib", required_argument, NULL, 'l' }, { "threads", required_argument, NULL, 't' },
	{ "rounds", required_argument, NULL, 'r' },  { "children", required_argument, NULL, 'c' },
	{ 0 },
};

static void *map(size_t bytes, int flags)
{
	void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	if (mapped == MAP_FAILED)
		die(STATUS_IO, errno, "mapping %zu bytes", bytes);
	return mapped;
}

static unsigned char *page_at(uint64_t page)
{
	return memory + page * page_bytes;
}

static void rewrite(uint64_t page, enum mix mix)
{
	versions[page] = version_after(versions[page], mix);
	content_fill(page_at(page), seed, page, versions[page], page_bytes);
	tally->writes++;
}

static void check(uint64_t page, void *scratch)
{
	content_holds(page_at(page), scratch, seed, page, versions[page], page_bytes, &tally->mismatches);
	tally->reads++;
}

static void drop(uint64_t page)
{
	versions[page] = version_after(versions[page], MIX_DISCARD);
	if (madvise(page_at(page), page_bytes, MADV_DONTNEED))
		die(STATUS_IO, errno, "freeing a page");
	tally->discards++;
}

/* Best effort, as the kernel sees it: it may refuse a page that is busy. */
static void page_out(uint64_t first, uint64_t count)
{
	if (first + count > pages)
		count = pages - first;
	if (madvise(page_at(first), count * page_bytes, MADV_PAGEOUT))
		die(STATUS_IO, errno, "paging out");
}

static void *work(void *argument)
{
	uint64_t number = (uint64_t)(uintptr_t)argument;
	uint64_t random = mix64(seed ^ (number + 1) << 8);
	uint64_t owned = pages / threads;
	void *scratch = aligned(64, page_bytes);

	for (uint64_t page = number; page < pages; page += threads)
		rewrite(page, MIX_MIXED);
	for (uint64_t i = 0; i < rounds * owned / 4; i++) {
		uint64_t lot = draw(&random);
		uint64_t page = lot % owned * threads + number;

		check(page, scratch);
		lot >>= 48;
		if (lot % 8 < 2)
			rewrite(page, MIX_MIXED);
		else if (lot % 8 == 2)
			drop(page);
		else if (lot % 64 == 3)
			page_out(page, 32);
	}
	free(scratch);
	return NULL;
}

static void run_threads(void)
{
	pthread_t thread[THREADS_MAX];
	int error;

	for (uint64_t i = 0; i < threads; i++) {
		error = pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)i);
		if (error)
			die(STATUS_IO, error, "a thread");
	}
	for (uint64_t i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
}

/* Each child starts elsewhere, so that several pages come back at the same time. */
static void be_child(uint64_t number)
{
	void *scratch = aligned(64, page_bytes);
	uint64_t start = pages / children * number;

	for (uint64_t i = 0; i < pages; i++) {
		uint64_t page = (start + i) % pages;

		check(page, scratch);
		/* In memory of the child's own: the parent's must not change. */
		if (i % 32 == number % 32) {
			rewrite(page, MIX_SPREAD);
			check(page, scratch);
		}
	}
	_exit(STATUS_OK);
}

static void run_children(void)
{
	int status;

	page_out(0, pages);
	for (uint64_t i = 0; i < children; i++) {
		pid_t child = fork();

		if (child < 0)
			die(STATUS_IO, errno, "fork");
		if (child == 0)
			be_child(i);
	}
	for (uint64_t i = 0; i < children; i++) {
		if (wait(&status) < 0)
			die(STATUS_IO, errno, "wait");
		if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS_OK)
			die(STATUS_IO, 0, "a child ended with wait status %#x", (unsigned int)status);
	}
}

static void tally_create(void)
{
	pthread_mutexattr_t attributes;

	tally = map(sizeof(*tally), MAP_SHARED);
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&tally->mismatches.lock, &attributes);
}

int main(int argc, char **argv)
{
	void *locked, *scratch;
	int option, index;

	while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1) {
		const char *name = option == '?' ? "" : long_options[index].name;

		switch (option) {
		case 'm': mib = parse_number(name, optarg); break;
		case 's': seed = parse_number(name, optarg); break;
		case 'l': lock_mib = parse_number(name, optarg); break;
		case 't': threads = parse_number(name, optarg); break;
		case 'r': rounds = parse_number(name, optarg); break;
		case 'c': children = parse_number(name, optarg); break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!mib || !threads || threads > THREADS_MAX || optind < argc)
		die(STATUS_USAGE, 0, "usage: swapper --mib=N --seed=S [--lock-mib=N] [--threads=1..%u] ...", THREADS_MAX);

	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	pages = (mib << 20) / page_bytes;
	tally_create();
	if (lock_mib) {
		locked = map(lock_mib << 20, MAP_PRIVATE);
		if (mlock(locked, lock_mib << 20))
			die(STATUS_IO, errno, "locking %" PRIu64 " MiB", lock_mib);
	}
	versions = calloc(pages, sizeof(*versions));
	if (!versions)
		die(STATUS_IO, errno, "%" PRIu64 " versions", pages);
	memory = map(mib << 20, MAP_PRIVATE);
	/* A kernel without huge pages refuses the advice, and does not need it. */
	madvise(memory, mib << 20, MADV_NOHUGEPAGE);

	run_threads();
	if (children)
		run_children();
	scratch = aligned(64, page_bytes);
	for (uint64_t page = 0; page < pages; page++)
		check(page, scratch);
	free(scratch);

	printf("{\"program\": \"swapper\", \"pages\": %" PRIu64 ", \"page_bytes\": %zu", pages, page_bytes);
	printf(", \"writes\": %" PRIu64 ", \"reads\": %" PRIu64 ", \"discards\": %" PRIu64, tally->writes, tally->reads,
	       tally->discards);
	printf(", \"bytes_verified\": %" PRIu64, tally->reads * page_bytes);
	return report_end(&tally->mismatches);
}
