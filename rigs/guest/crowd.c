// SPDX-License-Identifier: GPL-2.0-only
/*
 * Huge pages of the first node that are asked to move to the second, which has too little memory for them,
 * and once more when it has enough.
 *
 *   crowd --mib=N --left-mib=N
 *
 * So much is free in the second node the first time, less than --mib.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nodes.h"
#include "report.h"

#define SEED 1
#define WRITTEN version_after(0, MIX_RANDOM)
#define HUGE_BYTES (UINT64_C(2) << 20)

static const struct option long_options[] = {
	{ "mib", required_argument, NULL, 'm' },
	{ "left-mib", required_argument, NULL, 'l' },
	{ 0 },
};

/* How much is free in the second node, in bytes. */
static uint64_t free_in_second_node(void)
{
	FILE *file = fopen("/sys/devices/system/node/node1/meminfo", "r");
	uint64_t kib = 0;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "Node 1 MemFree: %" SCNu64, &kib) == 1)
			break;
	if (!kib)
		die(STATUS_IO, errno, "what node 1 has free");
	fclose(file);
	return kib * 1024;
}

/* Memory of that node, nothing of it there yet. */
static unsigned char *take(size_t bytes, int node)
{
	unsigned char *memory = aligned(HUGE_BYTES, bytes);

	bind_to_node(memory, bytes, node);
	return memory;
}

int main(int argc, char **argv)
{
	struct mismatches mismatches = MISMATCHES_NONE;
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), pages, crowded;
	unsigned char *memory, *crowd, *scratch;
	uint64_t mib = 0, left_mib = 0, available;
	int option;

	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (option) {
		case 'm': mib = parse_number("--mib", optarg); break;
		case 'l': left_mib = parse_number("--left-mib", optarg); break;
		default: exit(STATUS_USAGE);
		}
	}
	if (!left_mib || left_mib >= mib || optind < argc)
		die(STATUS_USAGE, 0, "usage: crowd --mib=N --left-mib=N");

	pages = (mib << 20) / page_bytes;
	memory = take(mib << 20, FROM);
	scratch = aligned(page_bytes, page_bytes);
	if (madvise(memory, mib << 20, MADV_HUGEPAGE))
		die(STATUS_IO, errno, "wanting huge pages");
	for (size_t page = 0; page < pages; page++)
		content_fill(memory + page * page_bytes, SEED, page, WRITTEN, page_bytes);

	available = free_in_second_node();
	if (available <= left_mib << 20)
		die(STATUS_IO, 0, "node %d has %" PRIu64 " bytes free only", TO, available);
	crowded = available - (left_mib << 20);
	crowd = take(crowded, TO);
	memset(crowd, 1, crowded);
	printf("{\"program\": \"crowd\", \"left\": %ld", move_to_second_node());
	munmap(crowd, crowded);
	printf(", \"still_left\": %ld", move_to_second_node());
	printf(", \"moved\": %zu", count_in_node(memory, pages, TO));
	for (size_t page = 0; page < pages; page++)
		content_holds(memory + page * page_bytes, scratch, SEED, page, WRITTEN, page_bytes, &mismatches);
	printf(", \"bytes_verified\": %zu", pages * page_bytes);
	return report_end(&mismatches);
}
