/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a request does. A result below 0 is an errno of the kernel's, a result
 * of REFUSED says that the request made no sense at this moment.
 */
#ifndef SHIM_DRIVER_H
#define SHIM_DRIVER_H

#define REFUSED INT64_MIN
#define NR_POOLS 16

/* Numbers shared with toolkit/userspace/library.py. */
enum op {
	CREATE, DESTROY, MALLOC, FREE, VERIFY, REWRITE, COMPACT, ISOLATE, MIGRATE, PUTBACK, HOLD, RELEASE,
	RUN_WORK, FAIL_PAGE, FAIL_SLAB, CONTEND, SHRINK_COUNT, SHRINK_SCAN, TOTAL_PAGES, PAGES_COMPACTED,
	HUGE_SIZE, PAGES_TAKEN, ZONE_PAGES, SLAB_OBJECTS, CLASSES, LAYOUT, MOVE, CONTENT, TOGETHER,
};

struct object {
	unsigned long handle;
	uint32_t size;
	uint32_t pool;
	uint32_t version;
};

static struct zs_pool *pools[NR_POOLS];
static struct dentry *pool_dentries[NR_POOLS];
static struct object *objects;
static uint64_t nr_objects;
/* Two runs of bytes without a pattern: every object holds a piece of it. */
static unsigned char noise[PAGE_SIZE + 65536];
static __thread unsigned char scratch[PAGE_SIZE];
/* A page that is isolated, on a list of its own: each has another isolator. */
struct isolation {
	struct list_head link;
	struct list_head list;
	struct page *page;
};
/* The newest first. */
static LIST_HEAD(isolated);
static struct page *held[8];
static int held_preempt[8];

void driver_start(void)
{
	unsigned long i, x = 88172645463325252UL;

	pages_start();
	text_clear();
	for (i = 0; i < sizeof(noise); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		noise[i] = x >> 32;
	}
	CHECK(shim_module_init() == 0, "module_init() failed");
}

/* The C library's side prints this when a check fails. */
static bool at_rest(void)
{
	return !shim_preempt_count && !shim_pagefault_count && !shim_rcu_depth && !mapped_depth;
}

static struct object *object_at(uint64_t id)
{
	if (id >= nr_objects) {
		uint64_t larger = (id + 1) * 2;
		struct object *grown = host_reserve(larger * sizeof(*grown));

		/* Reserved memory is never given back: it doubles, and is mostly untouched. */
		if (nr_objects)
			memcpy(grown, objects, nr_objects * sizeof(*grown));
		objects = grown;
		nr_objects = larger;
	}
	return &objects[id];
}

static struct object *live_object(uint64_t id)
{
	return id < nr_objects && objects[id].handle ? &objects[id] : NULL;
}

/* Objects are freed in any order, and what was not touched for long is slow: fetch it beforehand. */
void driver_expect_object(uint64_t id)
{
	if (id < nr_objects)
		__builtin_prefetch(&objects[id]);
}

void driver_expect_handle(uint64_t id)
{
	if (id < nr_objects)
		__builtin_prefetch((void *)objects[id].handle);
}

static const unsigned char *content(uint64_t id, const struct object *object)
{
	return noise + (id * 2654435761u + object->version * 40503u) % 65521;
}

static void write_object(uint64_t id, struct object *object)
{
	const unsigned char *from = content(id, object);

	ACCESS_WRITE(pools[object->pool], object->handle, from, object->size);
}

static void verify_object(uint64_t id, struct object *object)
{
	ACCESS_READ(pools[object->pool], object->handle, scratch, object->size);
	CHECK(!memcmp(scratch, content(id, object), object->size), "an object does not hold what was written to it");
}

static int64_t request_malloc(uint32_t slot, uint32_t size, uint64_t id)
{
	struct object *object = object_at(id);
	unsigned long handle;

	if (!pools[slot] || object->handle)
		return REFUSED;
	handle = ZS_MALLOC(pools[slot], size, GFP_NOIO | __GFP_HIGHMEM | __GFP_MOVABLE);
	fail_page_in = fail_slab_in = 0;
	if (IS_ERR_VALUE(handle))
		return (int64_t)handle;
	object->handle = handle;
	object->size = size;
	object->pool = slot;
	object->version = 0;
	if (content_kept)
		write_object(id, object);
	return 0;
}

static int64_t request_free(uint64_t id)
{
	struct object *object = live_object(id);

	if (!object)
		return REFUSED;
	if (content_kept)
		verify_object(id, object);
	zs_free(pools[object->pool], object->handle);
	object->handle = 0;
	return 0;
}

/* Objects that were never filled cannot be compared: it is all of them or none. */
static int64_t request_content(bool kept, unsigned long first_page)
{
	if (free_count < NR_PAGES)
		return REFUSED;
	content_kept = kept;
	spread_pages(kept ? 12289 : 1, first_page);
	if (!kept)
		host_expect_all(arena, NR_PAGES * (PAGE_SIZE + GUARD));
	return 0;
}

static bool pool_in_use(uint32_t slot)
{
	uint64_t id;

	for (id = 0; id < nr_objects; id++)
		if (objects[id].handle && objects[id].pool == slot)
			return true;
	return false;
}

static int64_t request_create(uint32_t slot)
{
	char name[16] = "pool";

	if (pools[slot])
		return REFUSED;
	name[4] = 'a' + slot;
	name[5] = 0;
	pools[slot] = zs_create_pool(name);
	fail_page_in = fail_slab_in = 0;
	if (!pools[slot])
		return -ENOMEM;
	/* The directory made last is this pool's. */
	pool_dentries[slot] = dentries;
	CHECK(dentries && dentries->data == pools[slot], "no debugfs file for the pool");
	return 0;
}

static bool any_held(void)
{
	int i;

	for (i = 0; i < 8; i++)
		if (held[i])
			return true;
	return false;
}

/* ---- what the core does to movable pages ---- */
static struct page *nth_movable(uint64_t n)
{
	unsigned long nr, i;

	for (i = 0; i < NR_PAGES; i++) {
		nr = (n + i) % NR_PAGES;
		if (page_taken[nr] && CORE_IS_MOVABLE(mem_map + nr) && !CORE_IS_ISOLATED(mem_map + nr))
			return mem_map + nr;
	}
	return NULL;
}

/* Counted from the one that was isolated last. */
static struct isolation *nth_isolated(uint64_t n)
{
	struct isolation *isolation;

	list_for_each_entry(isolation, &isolated, link)
		if (n-- == 0)
			return isolation;
	return NULL;
}

/* The page in which an object begins, NULL if there is no such object. */
static struct page *page_of(uint64_t id)
{
	struct object *object = live_object(id);
	LAYOUT_PAGE *page;
	unsigned int place;

	if (!object)
		return NULL;
	obj_to_location(*(unsigned long *)object->handle, &page, &place);
	return (struct page *)page;
}

/* NULL if the page cannot be isolated. */
static struct isolation *isolate(struct page *page)
{
	struct isolation *isolation = host_alloc(sizeof(*isolation));

	INIT_LIST_HEAD(&isolation->list);
	isolation->page = page;
	if (!CORE_ISOLATE(page, &isolation->list)) {
		host_free(isolation);
		return NULL;
	}
	list_add(&isolation->link, &isolated);
	return isolation;
}

static int64_t request_isolate(struct page *page)
{
	if (!page)
		return REFUSED;
	return isolate(page) ? (int64_t)page_nr(page) : -EBUSY;
}

static void end_isolation(struct isolation *isolation)
{
	CHECK(list_empty(&isolation->list), "what was moved or put back was left on its list");
	list_del(&isolation->link);
	host_free(isolation);
}

static int64_t migrate(struct isolation *isolation, uint32_t mode)
{
	unsigned long nr = page_nr(isolation->page);
	int error;

	error = core_migrate(isolation->page, mode, &isolation->list);
	if (error < 0)
		return error;
	/* Another may look at it yet, or have got it anew. */
	CHECK(!page_taken[nr] || turns_taken, "a page that was moved away from is still referenced");
	end_isolation(isolation);
	return error;
}

static void putback(struct isolation *isolation)
{
	putback_movable_pages(&isolation->list);
	end_isolation(isolation);
}

static int64_t request_migrate(uint64_t n, uint32_t mode)
{
	struct isolation *isolation = nth_isolated(n);

	return isolation ? migrate(isolation, mode) : REFUSED;
}

static int64_t request_putback(uint64_t n)
{
	struct isolation *isolation = nth_isolated(n);

	if (!isolation)
		return REFUSED;
	putback(isolation);
	return 0;
}

/* A mode of moving that is none: the page is put back at once. */
#define PUT_BACK 3

/* Isolate a page and move it at once; what cannot be moved is put back. */
static int64_t request_move(struct page *page, uint32_t mode)
{
	struct isolation *isolation;
	int64_t error;

	if (!page)
		return REFUSED;
	isolation = isolate(page);
	if (!isolation)
		return -EBUSY;
	error = mode == PUT_BACK ? 0 : migrate(isolation, mode);
	if (error < 0 || mode == PUT_BACK)
		putback(isolation);
	return error;
}

/* Somebody else locks the page of an object for a while, as a compactor that scans. */
static int64_t request_hold(uint32_t which, uint64_t id)
{
	struct page *page = page_of(id);
	int before;

	if (which >= 8 || held[which] || !page)
		return REFUSED;
	CHECK(CORE_TRYGET(page), "a page in use has no reference");
	/* A page can be exchanged, its head stays. */
	page = compound_head(page);
	/* It is another CPU that does not preempt while it holds a spinlock. */
	before = shim_preempt_count;
	if (!CORE_TRYLOCK(page)) {
		put_page(page);
		return -EBUSY;
	}
	held_preempt[which] = shim_preempt_count - before;
	shim_preempt_count = before;
	held[which] = page;
	return 0;
}

static int64_t request_release(uint32_t which)
{
	if (which >= 8 || !held[which])
		return REFUSED;
	shim_preempt_count += held_preempt[which];
	CORE_UNLOCK(held[which]);
	put_page(held[which]);
	held[which] = NULL;
	return 0;
}

static int64_t request_destroy(uint32_t slot)
{
	if (!pools[slot] || any_held() || pool_in_use(slot))
		return REFUSED;
#ifdef SHIM_DESCRIBED_PAGES
	/* What is isolated outlives the pool. */
	zs_destroy_pool(pools[slot]);
	shim_run_rcu();
#endif
	while (!list_empty(&isolated))
		request_putback(0);
#ifndef SHIM_DESCRIBED_PAGES
	zs_destroy_pool(pools[slot]);
#endif
	pools[slot] = NULL;
	return 0;
}

/* ---- what is reported ---- */
static int64_t request_classes(uint32_t slot)
{
	struct seq_file file;

	if (!pools[slot])
		return REFUSED;
	file.private = pool_dentries[slot]->data;
	pool_dentries[slot]->fops->show(&file, NULL);
	return text_length;
}

#ifndef SHIM_NO_LAYOUT
/* z CLASS GROUP ZSPAGE for each zspage in the order of its list; o ID ZSPAGE PLACE for each object. */
static int64_t request_layout(uint32_t slot)
{
	struct zs_pool *pool = pools[slot];
	struct size_class *class;
	struct zspage *zspage;
	LAYOUT_PAGE *page;
	unsigned int place;
	unsigned int i, group;
	uint64_t id;

	if (!pool)
		return REFUSED;
	for (i = 0; i < ZS_SIZE_CLASSES; i++) {
		class = pool->size_class[i];
		if (class->index != i)
			continue;
		for (group = 0; group < ARRAY_SIZE(class->fullness_list); group++)
			list_for_each_entry(zspage, &class->fullness_list[group], list)
				text_add("z %u %u %lx\n", i, group, (unsigned long)zspage);
	}
	for (id = 0; id < nr_objects; id++) {
		if (!objects[id].handle || objects[id].pool != slot)
			continue;
		obj_to_location(*(unsigned long *)objects[id].handle, &page, &place);
		text_add("o %lu %lx %u\n", id, (unsigned long)get_zspage(page), place);
	}
	return text_length;
}
#else
static int64_t request_layout(uint32_t slot)
{
	(void)slot;
	return REFUSED;
}
#endif

static int64_t shrink(uint32_t slot, bool scan)
{
	struct shrink_control control = { .gfp_mask = GFP_KERNEL, .nr_to_scan = 128 };
	struct shrinker *shrinker = pools[slot] ? SHRINKER_OF(pools[slot]) : NULL;

	if (!shrinker || !shrinker->registered)
		return REFUSED;
	return (scan ? shrinker->scan_objects : shrinker->count_objects)(shrinker, &control);
}

static int64_t pages_compacted(uint32_t slot)
{
	struct zs_pool_stats stats;

	if (!pools[slot])
		return REFUSED;
	zs_pool_stats(pools[slot], &stats);
	return atomic_long_read(&stats.pages_compacted);
}

static int64_t request(uint32_t op, uint32_t a, uint64_t b, uint64_t c)
{
	struct object *object;

	switch ((enum op)op) {
	case CREATE:
		return request_create(a);
	case DESTROY:
		return request_destroy(a);
	case MALLOC:
		return request_malloc(a, b, c);
	case FREE:
		return request_free(c);
	case VERIFY:
		object = content_kept ? live_object(c) : NULL;
		if (!object)
			return REFUSED;
		verify_object(c, object);
		return 0;
	case REWRITE:
		object = content_kept ? live_object(c) : NULL;
		if (!object)
			return REFUSED;
		ACCESS_READ_AGAIN(pools[object->pool], object->handle, scratch, object->size);
		CHECK(!memcmp(scratch, content(c, object), object->size),
		      "an object does not hold what was written to it");
		object->version++;
		write_object(c, object);
		return 0;
	case COMPACT:
		return pools[a] ? (int64_t)zs_compact(pools[a]) : REFUSED;
	case ISOLATE:
		return request_isolate(page_of(c));
	case MOVE:
		return request_move(nth_movable(b), a);
	case MIGRATE:
		return request_migrate(b, a);
	case PUTBACK:
		return request_putback(b);
	case HOLD:
		return request_hold(a, c);
	case RELEASE:
		return request_release(a);
	case RUN_WORK:
		if (any_held())
			return REFUSED;
		while (shim_run_work())
			;
		return 0;
	case FAIL_PAGE:
		fail_page_in = b;
		return 0;
	case FAIL_SLAB:
		fail_slab_in = b;
		return 0;
	case CONTEND:
		contended_every = b;
		contended_asked = 0;
		return 0;
	case SHRINK_COUNT:
		return shrink(a, false);
	case SHRINK_SCAN:
		return shrink(a, true);
	case TOTAL_PAGES:
		return pools[a] ? (int64_t)zs_get_total_pages(pools[a]) : REFUSED;
	case PAGES_COMPACTED:
		return pages_compacted(a);
	case HUGE_SIZE:
		return pools[a] ? (int64_t)zs_huge_class_size(pools[a]) : REFUSED;
	case PAGES_TAKEN:
		return NR_PAGES - free_count;
	case ZONE_PAGES:
		return zones[0].counters[NR_ZSPAGES] + zones[1].counters[NR_ZSPAGES];
	case SLAB_OBJECTS:
		return slab_objects;
	case CLASSES:
		return request_classes(a);
	case LAYOUT:
		return request_layout(a);
	case CONTENT:
		return request_content(a, b);
	case TOGETHER:
		break;
	}
	return REFUSED;
}

int64_t driver_request(uint32_t op, uint32_t a, uint64_t b, uint64_t c)
{
	int64_t result;

	text_clear();
	if (a >= NR_POOLS)
		return REFUSED;
	result = request(op, a, b, c);
	shim_run_rcu();
	CHECK(at_rest(), "a lock, a mapping or preemption was left behind");
	return result;
}

/* ---- several CPUs ---- */
static struct {
	const struct request *requests;
	int64_t *answers;
	uint64_t count;
	unsigned int cpus;
} shared_out;

/* What needs nothing that another CPU may be changing: an object is one CPU's alone. */
static bool may_be_shared_out(const struct request *request)
{
	switch ((enum op)request->op) {
	case MALLOC:
	case FREE:
	case VERIFY:
	case REWRITE:
		return request->c < nr_objects && request->a < NR_POOLS;
	case COMPACT:
	case SHRINK_SCAN:
	case MOVE:
	case RUN_WORK:
	case HUGE_SIZE:
		return request->a < NR_POOLS;
	default:
		return false;
	}
}

static void one_cpu(unsigned int cpu)
{
	uint64_t i;

	shim_cpu_up();
	for (i = cpu; i < shared_out.count; i += shared_out.cpus) {
		const struct request *each = &shared_out.requests[i];

		shared_out.answers[i] = request(each->op, each->a, each->b, each->c);
		CHECK(at_rest(), "a lock, a mapping or preemption was left behind");
	}
	shim_cpu_down();
}

bool driver_is_together(const struct request *request)
{
	return request->op == TOGETHER;
}

uint64_t driver_together(const struct request *requests, int64_t *answers, uint64_t count)
{
	const struct request *how = requests;
	uint64_t i;

	answers[0] = REFUSED;
	if (!how->a || how->a > TURNS_MAX || how->b >= count || any_held())
		return 1;
	for (i = 1; i <= how->b; i++)
		if (!may_be_shared_out(&requests[i]))
			return 1;
	fail_page_in = fail_slab_in = 0;
	shared_out.requests = requests + 1;
	shared_out.answers = answers + 1;
	shared_out.count = how->b;
	shared_out.cpus = how->a;
	turns_take(how->a, how->c, one_cpu);
	shim_run_rcu();
	answers[0] = 0;
	return how->b + 1;
}

const char *driver_text(size_t *length)
{
	*length = text_length;
	return text;
}
#endif
