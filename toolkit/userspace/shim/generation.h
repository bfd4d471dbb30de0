/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where kernels differ in what the driver calls. Included by core.h, after the
 * functions that were cut out of the tree; SHIM_* come from build.py, which
 * looks at the tree.
 */
#ifndef SHIM_GENERATION_H
#define SHIM_GENERATION_H

#ifdef SHIM_MALLOC_TAKES_NODE
#define ZS_MALLOC(pool, size, gfp) zs_malloc(pool, size, gfp, NUMA_NO_NODE)
#else
#define ZS_MALLOC(pool, size, gfp) zs_malloc(pool, size, gfp)
#endif

#ifdef SHIM_READS_OBJECTS
#define ACCESS_WRITE(pool, handle, from, size) zs_obj_write(pool, handle, (void *)(from), size)
#define ACCESS_READ(pool, handle, to, size) do { \
	unsigned char _buffer[PAGE_SIZE]; \
	void *_at = zs_obj_read_begin(pool, handle, size, _buffer); \
	memcpy(to, _at, size); \
	zs_obj_read_end(pool, handle, size, _at); } while (0)
#else
/* Whoever maps an object holds a spinlock, or has a CPU to itself. */
#define ACCESS_WRITE(pool, handle, from, size) do { \
	preempt_disable(); \
	memcpy(zs_map_object(pool, handle, ZS_MM_WO), from, size); \
	zs_unmap_object(pool, handle); \
	preempt_enable(); } while (0)
#define ACCESS_READ(pool, handle, to, size) do { \
	preempt_disable(); \
	memcpy(to, zs_map_object(pool, handle, ZS_MM_RO), size); \
	zs_unmap_object(pool, handle); \
	preempt_enable(); } while (0)
#endif

#ifdef SHIM_ALLOCATED_SHRINKER
#define SHRINKER_OF(pool) ((pool)->shrinker)
#else
#define SHRINKER_OF(pool) (&(pool)->shrinker)
#endif

#ifdef SHIM_ZPDESC
#define LAYOUT_PAGE struct zpdesc
#else
#define LAYOUT_PAGE struct page
#endif

#ifdef SHIM_READS_LISTS
/* Once more, as zswap reads: the pieces stay where they are until they are given back. */
#define ACCESS_READ_AGAIN(pool, handle, to, size) do { \
	struct scatterlist _pieces[2], *_piece; \
	unsigned int _done = 0; \
	zs_obj_read_sg_begin(pool, handle, _pieces, size); \
	for (_piece = _pieces; _piece; _done += _piece->length, _piece = sg_next(_piece)) \
		memcpy_from_page((char *)(to) + _done, _piece->page, _piece->offset, _piece->length); \
	zs_obj_read_sg_end(pool, handle); \
	CHECK(_done == (size), "the pieces of an object are not all of it"); } while (0)
#else
#define ACCESS_READ_AGAIN(pool, handle, to, size) ACCESS_READ(pool, handle, to, size)
#endif

#ifdef SHIM_ISOLATE_RETURNS_BOOL
#define ISOLATED(...) isolate_movable_page(__VA_ARGS__)
#else
#define ISOLATED(...) (isolate_movable_page(__VA_ARGS__) == 0)
#endif

#ifdef SHIM_DESCRIBED_PAGES
static void release_head(struct page *head)
{
	struct movable_desc *desc = folio_movable_desc((struct folio *)head);

	if (desc)
		movable_desc_ops(desc)->release(desc);
	else
		release_page(head);
}
#define CORE_IS_MOVABLE(page) page_is_described(page)
#define CORE_IS_ISOLATED(page) PageIsolated(compound_head(page))
#define CORE_TRYGET(page) get_page_unless_zero(compound_head(page))
#else
static void release_head(struct page *head)
{
	release_page(head);
}
#define CORE_TRYGET(page) get_page_unless_zero(page)
#ifdef SHIM_MOVABLE_BY_TYPE
#define CORE_IS_MOVABLE(page) page_has_movable_ops(page)
#define CORE_IS_ISOLATED(page) PageMovableOpsIsolated(page)
#else
#define CORE_IS_MOVABLE(page) __PageMovable(page)
#define CORE_IS_ISOLATED(page) PageIsolated(page)
#endif
#endif

#ifdef SHIM_ISOLATES_TO_LIST
/* The core puts what it isolates on the list. */
#define CORE_ISOLATE(page, list) ISOLATED(page, 0, list)
#else
static bool CORE_ISOLATE(struct page *page, struct list_head *list)
{
#ifdef SHIM_MOVABLE_BY_TYPE
	if (!isolate_movable_ops_page(page, 0))
#else
	if (!ISOLATED(page, 0))
#endif
		return false;
	list_add(&page->lru, list);
	return true;
}
#endif
#ifdef SHIM_OWNERS_LOCK
/* Owners may have a lock of their own, which then is what the core takes. */
#define CORE_TRYLOCK(page) movable_trylock(page, page_movable_owner(page))
#define CORE_UNLOCK(page) movable_unlock(page, page_movable_owner(page))
#else
#define CORE_TRYLOCK(page) trylock_page(page)
#define CORE_UNLOCK(page) unlock_page(page)
#endif

#ifdef SHIM_DESCRIBED_PAGES
#ifdef SHIM_ALLOCATES_FOLIOS
static struct folio *core_target(struct folio *folio, unsigned long unused)
{
	(void)folio;
	(void)unused;
	return (struct folio *)take_page();
}

#define CORE_MIGRATE(desc, mode, left, gone) \
	migrate_movable_desc(core_target, NULL, 0, desc, mode, 0, left, gone)
#else
static struct page *core_target(struct page *page, unsigned long unused)
{
	(void)page;
	(void)unused;
	return take_page();
}

#define CORE_MIGRATE(desc, mode, left, gone) \
	migrate_movable_desc(core_target, NULL, 0, desc, 0, mode, 0, left, gone)
#endif

/* 0, or 1 if the page was freed meanwhile, or an errno; what was not moved stays on its list. */
static int core_migrate(struct page *page, enum migrate_mode mode, struct list_head *list)
{
	struct movable_desc *desc = list_first_entry(list, struct movable_desc, lru);
	bool freed = !movable_desc_ops(desc)->isolated_page(desc);
	int error, gone = 0;
	LIST_HEAD(left);

	(void)page;
	error = CORE_MIGRATE(desc, mode, &left, &gone);
	CHECK(gone == !error, "more or less than the one isolated page was moved");
	list_splice(&left, list);
	return error ? error : freed;
}
#elif defined(SHIM_MIGRATES_MOVABLE_PAGES)
#ifdef SHIM_ALLOCATES_FOLIOS
static struct folio *core_target(struct folio *folio, unsigned long target)
{
	(void)folio;
	return (struct folio *)target;
}

#define CORE_MIGRATE(target, page, mode, left) \
	migrate_movable_page(core_target, NULL, target, page, mode, 0, left)
#else
static struct page *core_target(struct page *page, unsigned long target)
{
	(void)page;
	return (struct page *)target;
}

#define CORE_MIGRATE(target, page, mode, left) \
	migrate_movable_page(core_target, NULL, target, page, 0, mode, 0, left)
#endif

/* 0, or 1 if the page was freed meanwhile, or an errno; the caller keeps no page. */
static int core_migrate(struct page *page, enum migrate_mode mode, struct list_head *left)
{
	bool freed = page_count(page) == 1;
	int error;

	error = CORE_MIGRATE(freed ? 0 : (unsigned long)take_page(), page, mode, left);
	return error ? error : freed;
}
#else
#ifdef SHIM_MOVABLE_BY_TYPE
/* As migrate_folio_unmap() and migrate_folio_move() treat a movable page. */
static int core_move(struct page *to, struct page *from, enum migrate_mode mode)
{
	int error;

	if (!trylock_page(from))
		return -EAGAIN;
	CHECK(trylock_page(to), "a new page is locked");
	error = migrate_movable_ops_page(to, from, mode);
	unlock_page(to);
	unlock_page(from);
	return error;
}

static inline void forget_isolation(struct page *page)
{
	/* free_pages_prepare() clears the mark with all other flags. */
	(void)page;
}
#else
static inline void forget_isolation(struct page *page)
{
	ClearPageIsolated(page);
}

/* As move_to_new_folio() and its callers treat a movable page. */
static int core_move(struct page *to, struct page *from, enum migrate_mode mode)
{
	int error = -EAGAIN;

	if (!trylock_page(from))
		return -EAGAIN;
	CHECK(trylock_page(to), "a new page is locked");
	CHECK(PageIsolated(from), "an isolated page lost its mark");
	if (!PageMovable(from)) {
		/* Its owner gave it up after it was isolated. */
		ClearPageIsolated(from);
		error = 0;
	} else {
		error = page_movable_ops(from)->migrate_page(to, from, mode);
		if (error == 0) {
			CHECK(PageIsolated(from), "migrate_page() cleared the mark of isolation");
			ClearPageIsolated(from);
		}
	}
	unlock_page(to);
	unlock_page(from);
	return error;
}

#endif

/* As migrate_pages() treats one page of its list. */
static int core_migrate(struct page *page, enum migrate_mode mode, struct list_head *left)
{
	struct page *target;
	int error;

	if (page_count(page) == 1) {
		/* Freed while isolated: only the isolating reference is left. */
		list_del(&page->lru);
		forget_isolation(page);
		put_page(page);
		return 1;
	}
	target = take_page();
	error = core_move(target, page, mode);
	if (error != -EAGAIN)
		list_del(&page->lru);
	put_page(target);
	if (error == 0)
		put_page(page);
	else if (error != -EAGAIN)
		list_add_tail(&page->lru, left);
	return error;
}
#endif
#endif
