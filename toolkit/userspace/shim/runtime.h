/* SPDX-License-Identifier: GPL-2.0-only */
/* What kernel.h promises beside pages: slab caches, work, shrinkers, debugfs. */
#ifndef SHIM_RUNTIME_H
#define SHIM_RUNTIME_H

__thread int shim_preempt_count;
__thread int shim_pagefault_count;
__thread int shim_rcu_depth;
int shim_rcu_readers;
struct task_struct shim_task;
/* Every so many questions the answer is "contended"; 0 is never. */
static unsigned int contended_every, contended_asked;

bool shim_contended(void)
{
	return contended_every && ++contended_asked % contended_every == 0;
}

/* ---- slab: the C library's memory, so that the sanitizer sees each object's end ---- */
struct kmem_cache {
	unsigned int size;
	slab_flags_t flags;
	void (*ctor)(void *object);
	long objects;
	/* Freed objects of a cache that keeps their type. */
	struct kept { struct kept *next; void *object; } *kept;
};

/* What was allocated and not freed, caches and their objects included. */
static long slab_objects;

static bool slab_fails(gfp_t gfp)
{
	might_sleep_if(gfpflags_allow_blocking(gfp));
	CHECK(!(gfp & (__GFP_HIGHMEM | __GFP_MOVABLE)), "slab memory is neither high nor movable");
	POINT();
	return fail_slab_in && --fail_slab_in == 0;
}

void *kmalloc(size_t size, gfp_t gfp)
{
	if (slab_fails(gfp))
		return NULL;
	slab_objects++;
	return host_alloc(size);
}

void *kzalloc(size_t size, gfp_t gfp)
{
	void *object = kmalloc(size, gfp);

	return object ? memset(object, 0, size) : NULL;
}

void *kcalloc(size_t n, size_t size, gfp_t gfp)
{
	return kzalloc(n * size, gfp);
}

void kfree(const void *object)
{
	slab_objects -= object != NULL;
	host_free((void *)object);
}

char *kstrdup(const char *s, gfp_t gfp)
{
	char *copy = kmalloc(strlen(s) + 1, gfp);

	return copy ? memcpy(copy, s, strlen(s) + 1) : NULL;
}

char *kasprintf(gfp_t gfp, const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	host_format(text, sizeof(text), format, arguments);
	va_end(arguments);
	return kstrdup(text, gfp);
}

struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align,
				     slab_flags_t flags, void (*ctor)(void *))
{
	struct kmem_cache *cache;

	(void)name;
	(void)align;
	might_sleep();
	cache = kzalloc(sizeof(*cache), GFP_KERNEL);
	if (cache) {
		cache->size = size;
		cache->flags = flags;
		cache->ctor = ctor;
	}
	return cache;
}

void kmem_cache_destroy(struct kmem_cache *cache)
{
	struct kept *kept;

	if (!cache)
		return;
	might_sleep();
	CHECK(!cache->objects, "kmem_cache_destroy(): objects remaining");
	while ((kept = cache->kept)) {
		cache->kept = kept->next;
		host_free(kept->object);
		host_free(kept);
	}
	kfree(cache);
}

void *kmem_cache_alloc(struct kmem_cache *cache, gfp_t gfp)
{
	struct kept *kept;
	void *object;

	if (slab_fails(gfp))
		return NULL;
	kept = cache->kept;
	cache->objects++;
	slab_objects++;
	if (kept) {
		object = kept->object;
		cache->kept = kept->next;
		host_free(kept);
		return object;
	}
	object = host_alloc(cache->size);
	if (cache->ctor)
		cache->ctor(object);
	return object;
}

void *kmem_cache_zalloc(struct kmem_cache *cache, gfp_t gfp)
{
	void *object;

	CHECK(!cache->ctor, "kmem_cache_zalloc() wipes what the constructor made");
	object = kmem_cache_alloc(cache, gfp);
	return object ? memset(object, 0, cache->size) : NULL;
}

void kmem_cache_free(struct kmem_cache *cache, void *object)
{
	struct kept *kept;

	CHECK(cache->objects-- > 0, "more objects were freed than allocated");
	slab_objects--;
	if (!cache->ctor && !(cache->flags & SLAB_TYPESAFE_BY_RCU)) {
		host_free(object);
		return;
	}
	kept = host_alloc(sizeof(*kept));
	kept->object = object;
	kept->next = cache->kept;
	cache->kept = kept;
}

/* ---- RCU ---- */
static struct rcu_head *rcu_callbacks;

void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head))
{
	head->func = func;
	head->next = rcu_callbacks;
	rcu_callbacks = head;
}

/* As the kernel has it: a function that is an offset within a page means kfree(). */
void shim_kfree_rcu(struct rcu_head *head, size_t offset)
{
	call_rcu(head, (void (*)(struct rcu_head *))offset);
}

void shim_run_rcu(void)
{
	struct rcu_head *head;

	might_sleep();
	AWAIT(!shim_rcu_readers, "hung: a grace period never ends");
	while ((head = rcu_callbacks)) {
		rcu_callbacks = head->next;
		if ((size_t)head->func < PAGE_SIZE)
			kfree((char *)head - (size_t)head->func);
		else
			head->func(head);
	}
}

/* ---- work ---- */
static struct work_struct *pending_work;
struct workqueue_struct *system_wq;

bool schedule_work(struct work_struct *work)
{
	if (work->pending)
		return false;
	work->pending = true;
	work->next = pending_work;
	pending_work = work;
	POINT();
	return true;
}

static bool dequeue_work(struct work_struct *work)
{
	struct work_struct **at;

	for (at = &pending_work; *at; at = &(*at)->next)
		if (*at == work) {
			*at = work->next;
			work->pending = false;
			return true;
		}
	return false;
}

/* Work runs once at a time, whoever runs it. */
static struct work_struct *running_work;

static void run_work(struct work_struct *work)
{
	AWAIT(!running_work, "hung: work never ends");
	running_work = work;
	work->func(work);
	running_work = NULL;
}

bool shim_run_work(void)
{
	struct work_struct *work;

	might_sleep();
	POINT();
	work = pending_work;
	if (!work)
		return false;
	dequeue_work(work);
	run_work(work);
	return true;
}

bool flush_work(struct work_struct *work)
{
	bool pending;

	might_sleep();
	pending = dequeue_work(work);
	if (pending)
		run_work(work);
	AWAIT(running_work != work, "hung: work never ends");
	return pending;
}

bool cancel_work_sync(struct work_struct *work)
{
	bool pending;

	might_sleep();
	pending = dequeue_work(work);
	AWAIT(running_work != work, "hung: work never ends");
	return pending;
}

/* ---- CPU hotplug: one CPU comes up at once and never goes, others only take turns ---- */
static int (*cpu_startup)(unsigned int), (*cpu_teardown)(unsigned int);

int cpuhp_setup_state(enum cpuhp_state state, const char *name, int (*startup)(unsigned int),
		      int (*teardown)(unsigned int))
{
	(void)state;
	(void)name;
	might_sleep();
	cpu_startup = startup;
	cpu_teardown = teardown;
	return startup(0);
}

void shim_cpu_up(void)
{
	if (cpu_startup)
		CHECK(cpu_startup(0) == 0, "a CPU does not come up");
}

void shim_cpu_down(void)
{
	if (cpu_teardown)
		CHECK(cpu_teardown(0) == 0, "a CPU does not go");
}

void cpuhp_remove_state(enum cpuhp_state state)
{
	(void)state;
}

/* ---- shrinkers ---- */
#define NR_SHRINKERS 64
static struct shrinker *shrinkers[NR_SHRINKERS];

int register_shrinker(struct shrinker *shrinker, const char *format, ...)
{
	unsigned int i;

	(void)format;
	might_sleep();
	for (i = 0; i < NR_SHRINKERS; i++)
		if (!shrinkers[i]) {
			shrinkers[i] = shrinker;
			shrinker->registered = true;
			return 0;
		}
	return -ENOMEM;
}

void unregister_shrinker(struct shrinker *shrinker)
{
	unsigned int i;

	might_sleep();
	for (i = 0; i < NR_SHRINKERS; i++)
		if (shrinkers[i] == shrinker)
			shrinkers[i] = NULL;
	shrinker->registered = false;
}

struct shrinker *shrinker_alloc(unsigned int flags, const char *format, ...)
{
	(void)flags;
	(void)format;
	return kzalloc(sizeof(struct shrinker), GFP_KERNEL);
}

void shrinker_register(struct shrinker *shrinker)
{
	register_shrinker(shrinker, "");
}

void shrinker_free(struct shrinker *shrinker)
{
	if (!shrinker)
		return;
	if (shrinker->registered)
		unregister_shrinker(shrinker);
	kfree(shrinker);
}

/* ---- debugfs: a directory holds one file, `classes` ---- */
struct dentry {
	void *data;
	const struct file_operations *fops;
	struct dentry *next;
};
static struct dentry *dentries;

struct dentry *debugfs_create_dir(const char *name, struct dentry *parent)
{
	struct dentry *dentry = host_alloc(sizeof(*dentry));

	(void)name;
	(void)parent;
	memset(dentry, 0, sizeof(*dentry));
	dentry->next = dentries;
	dentries = dentry;
	return dentry;
}

struct dentry *debugfs_create_file(const char *name, umode_t mode, struct dentry *parent, void *data,
				   const struct file_operations *fops)
{
	(void)name;
	(void)mode;
	parent->data = data;
	parent->fops = fops;
	return parent;
}

void debugfs_remove_recursive(struct dentry *dentry)
{
	struct dentry **at;

	might_sleep();
	for (at = &dentries; *at; at = &(*at)->next)
		if (*at == dentry) {
			*at = dentry->next;
			host_free(dentry);
			return;
		}
}

/* ---- text for the driver's answers, and seq_file over it ---- */
static char *text;
static size_t text_length, text_size;

static void text_add_list(const char *format, va_list arguments)
{
	va_list again;
	size_t n;

	va_copy(again, arguments);
	n = host_format(text + text_length, text_size - text_length, format, arguments);
	if (text_length + n >= text_size) {
		size_t size = (text_length + n + 1) * 2;
		char *larger = host_alloc(size);

		memcpy(larger, text, text_length);
		host_free(text);
		text = larger;
		text_size = size;
		n = host_format(text + text_length, text_size - text_length, format, again);
	}
	va_end(again);
	text_length += n;
}

static void text_add(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	text_add_list(format, arguments);
	va_end(arguments);
}

static void text_clear(void)
{
	if (!text) {
		text_size = 65536;
		text = host_alloc(text_size);
	}
	text_length = 0;
}

void seq_printf(struct seq_file *s, const char *format, ...)
{
	va_list arguments;

	(void)s;
	va_start(arguments, format);
	text_add_list(format, arguments);
	va_end(arguments);
}

void seq_puts(struct seq_file *s, const char *line)
{
	(void)s;
	text_add("%s", line);
}

/* ---- lists are checked as CONFIG_DEBUG_LIST does ---- */
static bool list_add_ok(struct list_head *new, struct list_head *prev, struct list_head *next)
{
	CHECK(next->prev == prev && prev->next == next, "list_add() corruption");
	CHECK(new != prev && new != next, "list_add() of what is on the list already");
	return true;
}

static bool list_del_ok(struct list_head *entry)
{
	CHECK(entry->next != LIST_POISON1 && entry->prev != LIST_POISON2,
	      "list_del() of what was deleted already");
	CHECK(entry->prev->next == entry && entry->next->prev == entry, "list_del() corruption");
	return true;
}

#ifdef SHIM_LIST_REPORTS
bool __list_add_valid_or_report(struct list_head *new, struct list_head *prev, struct list_head *next)
{
	return list_add_ok(new, prev, next);
}

bool __list_del_entry_valid_or_report(struct list_head *entry)
{
	return list_del_ok(entry);
}
#else
bool __list_add_valid(struct list_head *new, struct list_head *prev, struct list_head *next)
{
	return list_add_ok(new, prev, next);
}

bool __list_del_entry_valid(struct list_head *entry)
{
	return list_del_ok(entry);
}
#endif
#endif
