// SPDX-License-Identifier: GPL-2.0-only
/*
 * Uses huge pages in the ways in which the kernel comes to look at one of the pages within.
 *
 *   huge --directory=DIR --seconds=N
 *
 * In each cycle, a few huge pages of anonymous memory and of a file in DIR (a tmpfs with
 * huge=always) are written, read through a mapping that no huge page fits in, written through
 * /proc/self/mem, merged by KSM if that runs, paged out in part, split, and one page within is
 * taken out of use; and a huge page of the pool is used, which must have one.  What was written
 * has to be found afterwards.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <sys/mman.h>
#include <unistd.h>

#include "report.h"

#define HUGE_PAGES 3

/* Of newer headers than the oldest that this is compiled with. */
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

static const struct option long_options[] = {
	{ "directory", required_argument, NULL, 'd' },
	{ "seconds", required_argument, NULL, 's' },
	{ 0 },
};

static size_t page_bytes, huge_bytes;

static uint64_t *word(unsigned char *memory, size_t page)
{
	return (uint64_t *)(memory + page * page_bytes);
}

/* Two pages in a row are the same, for KSM to find. */
static uint64_t content(uint64_t cycle, size_t page)
{
	return mix64(cycle << 32 | page / 2);
}

static void fill(unsigned char *memory, uint64_t cycle, size_t pages)
{
	for (size_t page = 0; page < pages; page++)
		*word(memory, page) = content(cycle, page);
}

static uint64_t changed(unsigned char *memory, uint64_t cycle, size_t pages)
{
	uint64_t count = 0;

	for (size_t page = 0; page < pages; page++)
		count += *word(memory, page) != content(cycle, page);
	return count;
}

/* Memory whose address is `offset` behind a multiple of a huge page's size. */
static unsigned char *map(size_t bytes, size_t offset, int file)
{
	size_t room = bytes + 2 * huge_bytes;
	unsigned char *memory = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *at;

	if (memory == MAP_FAILED)
		die(STATUS_IO, errno, "reserving %zu bytes", room);
	at = memory + (huge_bytes - (uintptr_t)memory % huge_bytes) % huge_bytes + offset;
	if (mmap(at, bytes, PROT_READ | PROT_WRITE,
		 MAP_FIXED | (file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED), file, 0) != at)
		die(STATUS_IO, errno, "mapping %zu bytes", bytes);
	return at;
}

/* An advice that the kernel may be too busy to follow. */
static void advise(unsigned char *memory, size_t bytes, int advice)
{
	if (madvise(memory, bytes, advice) && errno != EBUSY && errno != EAGAIN && errno != EIO)
		die(STATUS_IO, errno, "advice %d", advice);
}

static void put(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);

	if (file < 0 || write(file, text, strlen(text)) < 0)
		die(STATUS_IO, errno, "%s", path);
	close(file);
}

static void split(unsigned char *memory, size_t bytes)
{
	char text[64];

	snprintf(text, sizeof(text), "%d,%#zx,%#zx", getpid(), (size_t)memory, (size_t)memory + bytes);
	put("/sys/kernel/debug/split_huge_pages", text);
}

static void write_from_outside(unsigned char *memory, uint64_t cycle, size_t page)
{
	int file = open("/proc/self/mem", O_RDWR);
	uint64_t value = content(cycle, page);

	if (file < 0 || pwrite(file, &value, sizeof(value), (off_t)(uintptr_t)word(memory, page)) != sizeof(value))
		die(STATUS_IO, errno, "/proc/self/mem");
	close(file);
}

static uint64_t use_anonymous(uint64_t cycle)
{
	size_t bytes = HUGE_PAGES * huge_bytes, pages = bytes / page_bytes, within = huge_bytes / page_bytes / 2;
	unsigned char *memory = map(bytes, 0, -1);
	uint64_t wrong;

	advise(memory, bytes, MADV_HUGEPAGE);
	/* A kernel without KSM refuses the advice. */
	madvise(memory, bytes, MADV_MERGEABLE);
	fill(memory, cycle, pages);
	write_from_outside(memory, cycle, within + 1);
	/* For KSM to come by. */
	usleep(300000);
	advise(memory + huge_bytes + within * page_bytes, page_bytes, MADV_SOFT_OFFLINE);
	advise(memory + within * page_bytes, 4 * page_bytes, MADV_PAGEOUT);
	wrong = changed(memory, cycle, pages);
	split(memory, bytes);
	wrong += changed(memory, cycle, pages);
	munmap(memory, bytes);
	return wrong;
}

static uint64_t use_file(uint64_t cycle, const char *directory)
{
	size_t bytes = HUGE_PAGES * huge_bytes, pages = bytes / page_bytes;
	int file = open(directory, O_TMPFILE | O_RDWR, 0600);
	unsigned char *block = aligned(page_bytes, page_bytes), *memory;
	uint64_t wrong;

	if (file < 0)
		die(STATUS_IO, errno, "%s", directory);
	memset(block, 0, page_bytes);
	for (size_t page = 0; page < pages; page++) {
		*(uint64_t *)block = content(cycle, page);
		if (write(file, block, page_bytes) != (ssize_t)page_bytes)
			die(STATUS_IO, errno, "writing a file");
	}
	memory = map(bytes, page_bytes, file);
	wrong = 0;
	/* For half of the pages the first access is a write. */
	for (size_t page = 0; page < pages; page += 2)
		wrong += *word(memory, page) != content(cycle, page);
	fill(memory, cycle + 1, pages);
	wrong += changed(memory, cycle + 1, pages);
	advise(memory + huge_bytes + page_bytes, page_bytes, MADV_SOFT_OFFLINE);
	advise(memory, bytes / 2, MADV_PAGEOUT);
	wrong += changed(memory, cycle + 1, pages);
	munmap(memory, bytes);
	if (ftruncate(file, (off_t)(huge_bytes + 3 * page_bytes)))
		die(STATUS_IO, errno, "cutting a file");
	close(file);
	free(block);
	return wrong;
}

/* Of the pool of huge pages. */
static uint64_t use_reserved(uint64_t cycle)
{
	size_t pages = huge_bytes / page_bytes;
	unsigned char *memory = mmap(NULL, huge_bytes, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	uint64_t wrong;

	if (memory == MAP_FAILED)
		die(STATUS_IO, errno, "mapping a reserved huge page");
	fill(memory, cycle, pages);
	write_from_outside(memory, cycle, pages / 2);
	wrong = changed(memory, cycle, pages);
	munmap(memory, huge_bytes);
	return wrong;
}

static size_t read_size(const char *path)
{
	FILE *file = fopen(path, "r");
	size_t size;

	if (!file || fscanf(file, "%zu", &size) != 1)
		die(STATUS_IO, errno, "%s", path);
	fclose(file);
	return size;
}

int main(int argc, char **argv)
{
	uint64_t seconds = 0, cycles = 0, wrong = 0, until_ns;
	const char *directory = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'd': directory = optarg; break;
		case 's': seconds = parse_number("--seconds", optarg); break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!directory || !seconds || optind < argc)
		die(STATUS_USAGE, 0, "usage: huge --directory=DIR --seconds=N");

	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	huge_bytes = read_size("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size");
	until_ns = now_ns() + seconds * 1000000000u;
	do {
		wrong += use_anonymous(cycles);
		wrong += use_file(cycles, directory);
		wrong += use_reserved(cycles);
		cycles++;
	} while (now_ns() < until_ns);
	printf("{\"program\": \"huge\", \"cycles\": %" PRIu64 ", \"bytes_verified\": %zu", cycles,
	       (size_t)cycles * (2 * HUGE_PAGES + 1) * huge_bytes);
	printf(", \"mismatches\": %" PRIu64 ", \"first_mismatch\": null}\n", wrong);
	return wrong ? STATUS_MISMATCH : STATUS_OK;
}
