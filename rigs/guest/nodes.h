// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory of the first node, and a process that goes to the second with it.
 */
#ifndef PAGELESS_NODES_H
#define PAGELESS_NODES_H

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "report.h"

/* Bits of a mask of nodes, and one more, as the system calls want it. */
#define MASK_BITS (8 * sizeof(unsigned long) + 1)

enum { FROM, TO };

/* What is allocated in that memory is of that node, and nowhere else. */
static inline void bind_to_node(void *memory, size_t bytes, int node)
{
	unsigned long mask = 1ul << node;

	if (syscall(SYS_mbind, memory, bytes, MPOL_BIND, &mask, MASK_BITS, 0))
		die(STATUS_IO, errno, "memory of node %d", node);
}

/* How many pages of that memory are in that node. */
static inline size_t count_in_node(unsigned char *memory, size_t pages, int node)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), count = 0;

	for (size_t page = 0; page < pages; page++) {
		void *address = memory + page * page_bytes;
		int status;

		if (syscall(SYS_move_pages, 0, 1ul, &address, NULL, &status, 0))
			die(STATUS_IO, errno, "where page %zu is", page);
		count += status == node;
	}
	return count;
}

/* Asks for all pages of this process; returns how many the kernel says could not be moved. */
static inline long move_to_second_node(void)
{
	unsigned long from = 1ul << FROM, to = 1ul << TO;
	long left = syscall(SYS_migrate_pages, 0, MASK_BITS, &from, &to);

	if (left < 0)
		die(STATUS_IO, errno, "moving to another node");
	return left;
}

#endif
