// SPDX-License-Identifier: GPL-2.0-only
/* How a program has its allocations fail, as fault injection is set. */
#ifndef PAGELESS_FAILING_H
#define PAGELESS_FAILING_H

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "report.h"

/* Whether this task is one that fault injection looks at. */
static inline void make_it_fail(bool yes)
{
	int file = open("/proc/thread-self/make-it-fail", O_WRONLY);

	if (file < 0 || write(file, yes ? "1" : "0", 1) != 1)
		die(STATUS_IO, errno, "make-it-fail");
	close(file);
}

#endif
