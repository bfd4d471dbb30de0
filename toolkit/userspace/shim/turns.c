/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that take turns. One runs at a time, and at certain points hands over to another; a seed
 * decides when, and to whom. So whatever two processors may do to one another happens again the
 * same way, and what all share needs no lock of ours.
 */
#include "host.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* At a point a turn ends once in 1 to so many times: some orders change hands often, some seldom. */
#define SELDOM 64
/* So often in a row somebody waited and nobody came on: they wait for one another. */
#define WAITED_IN_VAIN 20000

bool turns_taken;

static struct {
	pthread_mutex_t lock;
	/* The one who waits for its turn, and the one who waits for the end. */
	pthread_cond_t turn[TURNS_MAX], end;
	unsigned int current, running, one_in;
	bool alive[TURNS_MAX];
	uint64_t random;
	unsigned int waited;
	void (*work)(unsigned int thread);
} turns = { .lock = PTHREAD_MUTEX_INITIALIZER, .end = PTHREAD_COND_INITIALIZER };

static __thread unsigned int self;

static unsigned int draw(unsigned int limit)
{
	turns.random ^= turns.random >> 12;
	turns.random ^= turns.random << 25;
	turns.random ^= turns.random >> 27;
	return (turns.random * 0x2545f4914f6cdd1dULL >> 33) % limit;
}

/* One of those that are not at their end, and not this one unless there is no other. */
static unsigned int another(void)
{
	unsigned int others = turns.running - turns.alive[self], thread, nth;

	if (!others)
		return self;
	nth = draw(others);
	for (thread = 0;; thread++)
		if (thread != self && turns.alive[thread] && nth-- == 0)
			return thread;
}

static void await_turn(void)
{
	while (turns.current != self)
		pthread_cond_wait(&turns.turn[self], &turns.lock);
}

static void hand_over(void)
{
	unsigned int next = another();

	if (next == self)
		return;
	pthread_mutex_lock(&turns.lock);
	turns.current = next;
	pthread_cond_signal(&turns.turn[next]);
	await_turn();
	pthread_mutex_unlock(&turns.lock);
}

void turns_point(void)
{
	turns.waited = 0;
	if (!draw(turns.one_in))
		hand_over();
}

bool turns_wait(void)
{
	if (!turns_taken || ++turns.waited > WAITED_IN_VAIN || turns.running < 2)
		return false;
	hand_over();
	return true;
}

static void *run(void *number)
{
	self = (unsigned int)(uintptr_t)number;
	pthread_mutex_lock(&turns.lock);
	await_turn();
	pthread_mutex_unlock(&turns.lock);

	turns.work(self);

	pthread_mutex_lock(&turns.lock);
	turns.waited = 0;
	turns.alive[self] = false;
	if (--turns.running) {
		turns.current = another();
		pthread_cond_signal(&turns.turn[turns.current]);
	} else {
		pthread_cond_signal(&turns.end);
	}
	pthread_mutex_unlock(&turns.lock);
	return NULL;
}

void turns_take(unsigned int threads, uint64_t seed, void (*work)(unsigned int thread))
{
	pthread_t started[TURNS_MAX];
	unsigned int thread;

	turns.running = threads;
	turns.random = (seed + 1) * 0x9e3779b97f4a7c15ULL;
	turns.waited = 0;
	turns.work = work;
	for (thread = 0; thread < threads; thread++) {
		turns.alive[thread] = true;
		pthread_cond_init(&turns.turn[thread], NULL);
	}
	for (turns.one_in = 1; turns.one_in < SELDOM && draw(3); turns.one_in *= 2)
		;
	turns.current = draw(threads);
	turns_taken = true;
	for (thread = 0; thread < threads; thread++) {
		if (pthread_create(&started[thread], NULL, run, (void *)(uintptr_t)thread)) {
			perror("pthread_create");
			exit(2);
		}
	}
	pthread_mutex_lock(&turns.lock);
	while (turns.running)
		pthread_cond_wait(&turns.end, &turns.lock);
	pthread_mutex_unlock(&turns.lock);
	for (thread = 0; thread < threads; thread++)
		pthread_join(started[thread], NULL);
	turns_taken = false;
}
