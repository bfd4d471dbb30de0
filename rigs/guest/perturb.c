// SPDX-License-Identifier: GPL-2.0-only
/*
 * perturb SEED: preempt whatever runs, at random moments, and let a random task go on.
 *
 * Sleeps for a random while at the highest priority; its timer interrupts the kernel
 * wherever it is.  Then one task, chosen at random, gets a real-time priority until the
 * next turn, so that it overtakes the one that was interrupted.  A seed always makes the
 * same choices among the same tasks.  Runs until it is killed.
 */
#include <ctype.h>
#include <dirent.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_TASKS 512
#define TURNS_BETWEEN_LOOKS 64
#define SHORTEST_NS 20000
#define LONGEST_NS 2000000

static uint64_t state;

/* splitmix64: small, and good enough to choose with. */
static uint64_t next_random(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* All threads that have no real-time priority, kernel threads among them. */
static int look(pid_t *tasks)
{
	struct dirent *process, *thread;
	char path[300];
	int count = 0;
	DIR *all = opendir("/proc"), *threads;

	if (!all) {
		perror("perturb: /proc");
		exit(1);
	}
	while ((process = readdir(all))) {
		if (!isdigit((unsigned char)process->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task", process->d_name);
		threads = opendir(path);
		while (threads && (thread = readdir(threads)) && count < MAX_TASKS) {
			pid_t id = atoi(thread->d_name);

			if (id > 0 && sched_getscheduler(id) == SCHED_OTHER)
				tasks[count++] = id;
		}
		if (threads)
			closedir(threads);
	}
	closedir(all);
	return count;
}

int main(int argc, char **argv)
{
	struct sched_param highest = { .sched_priority = 99 }, raised = { .sched_priority = 1 };
	struct sched_param none = { 0 };
	pid_t tasks[MAX_TASKS], favoured = 0;
	int count = 0, turn = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: perturb SEED\n");
		return 2;
	}
	state = strtoull(argv[1], NULL, 10);
	if (sched_setscheduler(0, SCHED_FIFO, &highest) != 0) {
		perror("perturb: cannot have the highest priority");
		return 1;
	}
	for (;; turn++) {
		struct timespec pause = {
			.tv_nsec = SHORTEST_NS + next_random() % (LONGEST_NS - SHORTEST_NS),
		};

		nanosleep(&pause, NULL);
		if (favoured)
			sched_setscheduler(favoured, SCHED_OTHER, &none);
		if (turn % TURNS_BETWEEN_LOOKS == 0)
			count = look(tasks);
		favoured = count ? tasks[next_random() % count] : 0;
		if (favoured)
			sched_setscheduler(favoured, SCHED_FIFO, &raised);
	}
}
