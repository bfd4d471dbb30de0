// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drives zsmalloc directly: a seeded program of operations on pools of its own.
 *
 * Write "seed=S threads=T operations=N objects=M" to the debugfs file zsdrive/run; the
 * write returns when all threads are done, and zsdrive/result then holds a line of JSON.
 * The kernel's log gets the same as KTAP.
 *
 * A kernel with KUnit runs such programs as soon as the module is loaded, as the suite "zsdrive".
 *
 * Every thread has M slots in each of the shared pools, and now and then makes a pool of its own.
 * An object begins with a word that says whose it is, and each of its bytes follows from that word:
 * one that is lost, moved wrongly or mixed up with another is told by any byte of it.
 * Whoever frees, changes or looks at an object verifies all of it first.
 */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/zsmalloc.h>
#if IS_ENABLED(CONFIG_KUNIT)
#include <kunit/test.h>
#endif

#define POOLS 2
#define THREADS_MAX 8
#define OWN_OBJECTS 24
/* Sizes step by this from class to class, and a handle is stored with each but huge objects. */
#define STEP (PAGE_SIZE >> 8)
#define HANDLE_BYTES sizeof(unsigned long)
#define SMALLEST 32

#define TALLY(X)                                                                                   \
	X(allocations) X(frees) X(writes) X(reads) X(compactions) X(pages_compacted) X(pools)       \
	X(smallest) X(largest) X(huge) X(bytes_written) X(bytes_verified) X(refusals)               \
	X(mismatches) X(failures) X(leaks)

struct tally {
#define X(name) u64 name;
	TALLY(X)
#undef X
};

struct object {
	unsigned long handle;
	size_t size;
	u64 owner;
};

struct worker {
	struct zs_pool **pools;
	struct object *objects;
	void *buffer;
	unsigned int number, count, generation;
	u64 operations, random;
	struct tally tally;
	struct completion done;
};

static struct {
	u64 seed, operations;
	unsigned int threads, objects;
} asked;

static DEFINE_MUTEX(busy);
static struct dentry *directory;
static char result[1024];

/* xorshift64*: enough for choosing, and for bytes that differ. */
static u64 draw(u64 *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dULL;
}

static u64 below(u64 *state, u64 limit)
{
	return (draw(state) >> 33) % limit;
}

/* What an object of that owner holds: the owner, then bytes that follow from it. */
static void fill(u8 *bytes, size_t size, u64 owner)
{
	u64 state = owner | 1, word = owner;
	size_t at;

	for (at = 0; at < size; at++) {
		if (at && at % sizeof(word) == 0)
			word = draw(&state);
		bytes[at] = word >> (8 * (at % sizeof(word)));
	}
}

static unsigned long allocate(struct zs_pool *pool, size_t size)
{
#ifdef ZS_MALLOC_TAKES_NODE
	return zs_malloc(pool, size, GFP_KERNEL | __GFP_HIGHMEM | __GFP_MOVABLE, NUMA_NO_NODE);
#else
	return zs_malloc(pool, size, GFP_KERNEL | __GFP_HIGHMEM | __GFP_MOVABLE);
#endif
}

/* Store an object from `buffer`. */
static void store(struct zs_pool *pool, struct object *object, void *buffer)
{
#ifdef ZS_HAS_READ_WRITE
	zs_obj_write(pool, object->handle, buffer, object->size);
#else
	memcpy(zs_map_object(pool, object->handle, ZS_MM_WO), buffer, object->size);
	zs_unmap_object(pool, object->handle);
#endif
}

/* Whether the object holds what is in `buffer`; `copy` is a page for the kernel to work in. */
static bool holds(struct zs_pool *pool, struct object *object, const void *buffer, void *copy)
{
	bool same;
	void *seen;

#ifdef ZS_READ_TAKES_LENGTH
	seen = zs_obj_read_begin(pool, object->handle, object->size, copy);
	same = !memcmp(seen, buffer, object->size);
	zs_obj_read_end(pool, object->handle, object->size, seen);
#elif defined(ZS_HAS_READ_WRITE)
	seen = zs_obj_read_begin(pool, object->handle, copy);
	same = !memcmp(seen, buffer, object->size);
	zs_obj_read_end(pool, object->handle, seen);
#else
	seen = zs_map_object(pool, object->handle, ZS_MM_RO);
	same = !memcmp(seen, buffer, object->size);
	zs_unmap_object(pool, object->handle);
#endif
	return same;
}

static void write_object(struct worker *worker, struct zs_pool *pool, struct object *object)
{
	object->owner = (u64)worker->number << 56 | (u64)(object - worker->objects) << 32 |
			++worker->generation;
	fill(worker->buffer, object->size, object->owner);
	store(pool, object, worker->buffer);
	worker->tally.writes++;
	worker->tally.bytes_written += object->size;
}

static void verify_object(struct worker *worker, struct zs_pool *pool, struct object *object)
{
	fill(worker->buffer, object->size, object->owner);
	if (!holds(pool, object, worker->buffer, worker->buffer + PAGE_SIZE)) {
		if (!worker->tally.mismatches++)
			pr_err("zsdrive: object %016llx of %zu bytes is not what was written\n",
			       object->owner, object->size);
	}
	worker->tally.reads++;
	worker->tally.bytes_verified += object->size;
}

/* A size to ask for: often on the border of a class, at either end, or where huge objects begin. */
static size_t draw_size(struct worker *worker, struct zs_pool *pool)
{
	u64 *random = &worker->random;
	size_t border = SMALLEST + STEP * below(random, (PAGE_SIZE - SMALLEST) / STEP + 1);
	long size;

	switch (below(random, 16)) {
	case 0:
		size = 1 + below(random, SMALLEST);
		break;
	case 1:
		size = PAGE_SIZE - below(random, 2 * HANDLE_BYTES);
		break;
	case 2:
		size = zs_huge_class_size(pool) - HANDLE_BYTES + below(random, 3) - 1;
		break;
	case 3 ... 8:
		/* The handle comes on top; one byte more or less may change the class. */
		size = (long)border - (long)HANDLE_BYTES + (long)below(random, 3) - 1;
		break;
	case 9 ... 11:
		/* Small ones, many in a page. */
		size = 1 + below(random, PAGE_SIZE / 8);
		break;
	default:
		size = 1 + below(random, PAGE_SIZE);
	}
	return clamp_t(long, size, 1, PAGE_SIZE);
}

static void make_object(struct worker *worker, struct zs_pool *pool, struct object *object)
{
	size_t size = draw_size(worker, pool);
	unsigned long handle = allocate(pool, size);

	if (IS_ERR_OR_NULL((void *)handle)) {
		worker->tally.failures++;
		return;
	}
	object->handle = handle;
	object->size = size;
	worker->tally.allocations++;
	worker->tally.smallest += size + HANDLE_BYTES <= SMALLEST;
	worker->tally.largest += size + HANDLE_BYTES > PAGE_SIZE;
	worker->tally.huge += size + HANDLE_BYTES > zs_huge_class_size(pool);
	write_object(worker, pool, object);
}

static void drop_object(struct worker *worker, struct zs_pool *pool, struct object *object)
{
	verify_object(worker, pool, object);
	zs_free(pool, object->handle);
	object->handle = 0;
	worker->tally.frees++;
}

static void compact(struct worker *worker, struct zs_pool *pool)
{
	worker->tally.pages_compacted += zs_compact(pool);
	worker->tally.compactions++;
}

/* A zspage that was being moved when its last object went is freed by a worker of zsmalloc's. */
static bool emptied(struct zs_pool *pool)
{
	int tries;

	for (tries = 0; tries < 1000 && zs_get_total_pages(pool); tries++)
		msleep(10);
	return !zs_get_total_pages(pool);
}

/* What cannot be had is refused, and costs nothing. */
static void ask_too_much(struct worker *worker, struct zs_pool *pool)
{
	static const size_t wrong[] = { 0, PAGE_SIZE + 1, 16 * PAGE_SIZE };
	int i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		unsigned long handle = allocate(pool, wrong[i]);

		if (IS_ERR((void *)handle)) {
			worker->tally.refusals++;
		} else {
			worker->tally.failures++;
			zs_free(pool, handle);
		}
	}
}

/* A pool from its making to its end, with objects that nobody else sees. */
static void use_own_pool(struct worker *worker)
{
	struct object *own = worker->objects + worker->count - OWN_OBJECTS;
	struct zs_pool *pool;
	char name[16];
	int i;

	snprintf(name, sizeof(name), "zsdrive-own%u", worker->number);
	pool = zs_create_pool(name);
	if (!pool) {
		worker->tally.failures++;
		return;
	}
	worker->tally.pools++;
	for (i = 0; i < OWN_OBJECTS; i++)
		make_object(worker, pool, &own[i]);
	for (i = 0; i < OWN_OBJECTS; i += 2)
		if (own[i].handle)
			drop_object(worker, pool, &own[i]);
	compact(worker, pool);
	for (i = 0; i < OWN_OBJECTS; i++)
		if (own[i].handle)
			drop_object(worker, pool, &own[i]);
	if (!emptied(pool))
		worker->tally.leaks++;
	zs_destroy_pool(pool);
}

static void operate(struct worker *worker)
{
	/* The last slots are those of pools of its own. */
	unsigned int shared = worker->count - OWN_OBJECTS;
	unsigned int slot = below(&worker->random, shared);
	struct zs_pool *pool = worker->pools[slot % POOLS];
	struct object *object = &worker->objects[slot];
	unsigned int lot = below(&worker->random, 1000);

	if (lot < 4) {
		compact(worker, pool);
	} else if (lot < 5) {
		use_own_pool(worker);
	} else if (lot < 7) {
		ask_too_much(worker, pool);
	} else if (!object->handle) {
		make_object(worker, pool, object);
	} else if (lot < 550) {
		drop_object(worker, pool, object);
	} else if (lot < 750) {
		verify_object(worker, pool, object);
		write_object(worker, pool, object);
	} else {
		verify_object(worker, pool, object);
	}
}

static int work(void *data)
{
	struct worker *worker = data;
	u64 left;

	for (left = worker->operations; left; left--) {
		operate(worker);
		cond_resched();
	}
	/* The one who waits for it may free the worker at once. */
	kthread_complete_and_exit(&worker->done, 0);
}

static void drop_all(struct worker *worker)
{
	unsigned int slot;

	for (slot = 0; slot < worker->count; slot++) {
		if (worker->objects[slot].handle)
			drop_object(worker, worker->pools[slot % POOLS], &worker->objects[slot]);
		cond_resched();
	}
}

/* Let all workers run; what they did is added up in `total`.  The objects stay. */
static int run_workers(struct worker *workers)
{
	unsigned int i, started = 0;
	int error = 0;

	for (i = 0; i < asked.threads; i++) {
		struct task_struct *task = kthread_create(work, &workers[i], "zsdrive/%u", i);

		if (IS_ERR(task)) {
			error = PTR_ERR(task);
			break;
		}
		started++;
		wake_up_process(task);
	}
	for (i = 0; i < started; i++)
		wait_for_completion(&workers[i].done);
	return error;
}

static void report(const struct tally *total, bool clean)
{
	int length = 0;

#define X(name)                                                                                    \
	length += scnprintf(result + length, sizeof(result) - length, "%s\"" #name "\": %llu",        \
			    length ? ", " : "{", total->name);
	TALLY(X)
#undef X
	scnprintf(result + length, sizeof(result) - length, "}\n");

	pr_info("KTAP version 1\n");
	pr_info("1..4\n");
	pr_info("%sok 1 zsdrive.content # %llu of %llu objects wrong\n",
		total->mismatches ? "not " : "", total->mismatches, total->reads);
	pr_info("%sok 2 zsdrive.allocation # %llu failed, %llu refused as they must\n",
		total->failures ? "not " : "", total->failures, total->refusals);
	pr_info("%sok 3 zsdrive.emptied # %llu pools kept pages\n", total->leaks ? "not " : "", total->leaks);
	pr_info("%sok 4 zsdrive.exercised # %llu bytes verified\n", clean ? "" : "not ",
		total->bytes_verified);
}

/* What was begun stays until the next write, so that pools can be looked at: see `forget`. */
static struct worker *workers;
static struct zs_pool *pools[POOLS];
static struct object *objects;
static struct tally total;

static void add_up(void)
{
	unsigned int i;

	for (i = 0; i < asked.threads; i++) {
#define X(name)                                                                                    \
		total.name += workers[i].tally.name;                                                    \
		workers[i].tally.name = 0;
		TALLY(X)
#undef X
	}
}

/* Free all objects and pools that there are. */
static void forget(void)
{
	unsigned int i;

	if (!workers)
		return;
	for (i = 0; i < asked.threads; i++) {
		if (workers[i].objects)
			drop_all(&workers[i]);
		kvfree(workers[i].buffer);
	}
	add_up();
	for (i = 0; i < POOLS; i++) {
		if (!pools[i])
			continue;
		if (!emptied(pools[i]))
			total.leaks++;
		zs_destroy_pool(pools[i]);
		pools[i] = NULL;
	}
	kvfree(objects);
	kvfree(workers);
	objects = NULL;
	workers = NULL;
}

static int begin(void)
{
	unsigned int i, count = asked.objects + OWN_OBJECTS;
	char name[16];

	memset(&total, 0, sizeof(total));
	workers = kvcalloc(asked.threads, sizeof(*workers), GFP_KERNEL);
	objects = kvcalloc(asked.threads * count, sizeof(*objects), GFP_KERNEL);
	if (!workers || !objects)
		return -ENOMEM;
	for (i = 0; i < POOLS; i++) {
		snprintf(name, sizeof(name), "zsdrive%u", i);
		pools[i] = zs_create_pool(name);
		if (!pools[i])
			return -ENOMEM;
		total.pools++;
	}
	for (i = 0; i < asked.threads; i++) {
		struct worker *worker = &workers[i];

		worker->pools = pools;
		worker->objects = objects + i * count;
		worker->count = count;
		worker->number = i;
		worker->operations = asked.operations;
		worker->random = (asked.seed + 1) * 0x9e3779b97f4a7c15ULL + i;
		/* The first few of neighbouring seeds are alike. */
		draw(&worker->random);
		draw(&worker->random);
		init_completion(&worker->done);
		worker->buffer = kvmalloc(2 * PAGE_SIZE, GFP_KERNEL);
		if (!worker->buffer)
			return -ENOMEM;
	}
	return 0;
}

/* Do what was asked for; its objects stay, unless it could not be done. */
static int run_program(void)
{
	int error;

	error = begin();
	if (!error)
		error = run_workers(workers);
	if (error)
		forget();
	return error;
}

/* "seed=1 threads=2 operations=1000 objects=200" begins, "end" frees what that left. */
static ssize_t run_write(struct file *file, const char __user *from, size_t length, loff_t *at)
{
	unsigned long long seed, operations;
	unsigned int threads, count;
	char line[128];
	int error;

	if (length >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, length))
		return -EFAULT;
	line[length] = 0;
	if (mutex_lock_interruptible(&busy))
		return -EINTR;
	error = -EINVAL;
	if (!strncmp(line, "end", 3)) {
		if (workers) {
			forget();
			report(&total, !total.mismatches && !total.failures && !total.leaks &&
					       total.bytes_verified);
			error = 0;
		}
	} else if (sscanf(line, "seed=%llu threads=%u operations=%llu objects=%u", &seed, &threads,
			  &operations, &count) == 4 &&
		   threads && threads <= THREADS_MAX && count && count <= 1 << 20) {
		/* The number of threads says how many workers there are to forget. */
		forget();
		asked.seed = seed;
		asked.threads = threads;
		asked.operations = operations;
		asked.objects = count;
		error = run_program();
	}
	mutex_unlock(&busy);
	return error ? error : length;
}

static ssize_t result_read(struct file *file, char __user *to, size_t length, loff_t *at)
{
	return simple_read_from_buffer(to, length, at, result, strlen(result));
}

static const struct file_operations run_operations = {
	.owner = THIS_MODULE,
	.write = run_write,
};

static const struct file_operations result_operations = {
	.owner = THIS_MODULE,
	.read = result_read,
};

#if IS_ENABLED(CONFIG_KUNIT)
static const u64 seeds[] = { 1, 2, 3, 4 };
KUNIT_ARRAY_PARAM(seeds, seeds, NULL);

static void test_program(struct kunit *test, unsigned int threads)
{
	int error;

	mutex_lock(&busy);
	forget();
	asked.seed = *(const u64 *)test->param_value;
	asked.threads = threads;
	asked.operations = 3000;
	asked.objects = 200;
	error = run_program();
	forget();
	KUNIT_EXPECT_EQ(test, error, 0);
	KUNIT_EXPECT_EQ(test, total.mismatches, (u64)0);
	KUNIT_EXPECT_EQ(test, total.failures, (u64)0);
	KUNIT_EXPECT_EQ(test, total.leaks, (u64)0);
	KUNIT_EXPECT_EQ(test, total.allocations, total.frees);
	KUNIT_EXPECT_GT(test, total.compactions, (u64)0);
	KUNIT_EXPECT_GT(test, total.bytes_verified, (u64)1 << 20);
	mutex_unlock(&busy);
}

static void one_thread(struct kunit *test)
{
	test_program(test, 1);
}

static void several_threads(struct kunit *test)
{
	test_program(test, 4);
}

static struct kunit_case zsdrive_cases[] = {
	KUNIT_CASE_PARAM(one_thread, seeds_gen_params),
	KUNIT_CASE_PARAM(several_threads, seeds_gen_params),
	{}
};

static struct kunit_suite zsdrive_suite = {
	.name = "zsdrive",
	.test_cases = zsdrive_cases,
};
kunit_test_suite(zsdrive_suite);
#endif

static int __init zsdrive_init(void)
{
	directory = debugfs_create_dir("zsdrive", NULL);
	debugfs_create_file("run", 0200, directory, NULL, &run_operations);
	debugfs_create_file("result", 0400, directory, NULL, &result_operations);
	return 0;
}

static void __exit zsdrive_exit(void)
{
	debugfs_remove_recursive(directory);
	forget();
}

module_init(zsdrive_init);
module_exit(zsdrive_exit);
MODULE_DESCRIPTION("Drives zsmalloc with a seeded program of operations");
MODULE_LICENSE("GPL");
