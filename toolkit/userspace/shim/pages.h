/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pages: descriptors as the tree declares them, memory behind them, and what
 * include/linux/{mm,pagemap,highmem}.h do with them, checked. Included after
 * the tree's own page-flags.h, page_ref.h and list.h.
 */
#ifndef SHIM_PAGES_H
#define SHIM_PAGES_H

#ifdef SHIM_FLAGS_HAVE_A_TYPE
#define FLAGS(page) ((page)->flags.f)
#else
#define FLAGS(page) ((page)->flags)
#endif
/* Until pages were moved by their type, the word of page->mapping could hold a tag. */
#ifdef SHIM_MOVABLE_BY_TYPE
#define MAPPING_IS_TAGGED(page) false
#else
#define MAPPING_IS_TAGGED(page) PageMappingFlags(page)
#endif

static inline void page_mapcount_reset(struct page *page)
{
	atomic_set(&page->_mapcount, -1);
}

static inline int put_page_testzero(struct page *page)
{
	VM_BUG_ON_PAGE(page_ref_count(page) == 0, page);
	return page_ref_dec_and_test(page);
}

/* As much memory as the guests have, or less: what was touched once is quicker. */
#define NR_PAGES (PAGE_SIZE > 16384 ? 8192UL : PAGE_SIZE > 4096 ? 16384UL : 32768UL)
/* The last page frames that a page frame number can name, so that a number stored too short is noticed. */
#define FIRST_PFN ((1UL << (MAX_POSSIBLE_PHYSMEM_BITS - PAGE_SHIFT)) - NR_PAGES)
/* Between two pages' memory lies some that nobody may touch. */
#define GUARD 64UL

static struct page *mem_map;
static char *arena;
static unsigned char page_taken[NR_PAGES];
static unsigned char page_maps[NR_PAGES];
static unsigned long free_pfns[NR_PAGES];
static unsigned long free_first, free_count;
static struct zone zones[2];
/* Counted down at each page; the one that reaches 0 is not to be had. */
static unsigned long fail_page_in;
static unsigned long fail_slab_in;
/* Whether objects and new pages are filled, and pages lie apart and rest before they are used again. */
static bool content_kept = true;

static unsigned long page_nr(const struct page *page)
{
	unsigned long nr = page - mem_map;

	CHECK((const char *)page >= (char *)mem_map && nr < NR_PAGES, "not a page descriptor");
	return nr;
}

static char *page_memory(unsigned long nr)
{
	return arena + nr * (PAGE_SIZE + GUARD);
}

/*
 * With a large odd stride, neighbours in a zspage lie far apart and in both zones; which of them
 * comes first in memory depends on where one begins.
 */
static void spread_pages(unsigned long stride, unsigned long first)
{
	unsigned long nr;

	for (nr = 0; nr < NR_PAGES; nr++)
		free_pfns[nr] = nr * stride % NR_PAGES;
	free_first = first % NR_PAGES;
	free_count = NR_PAGES;
}

static void pages_start(void)
{
	mem_map = host_reserve(NR_PAGES * sizeof(*mem_map));
	arena = (char *)host_reserve(NR_PAGES * (PAGE_SIZE + GUARD) + GUARD) + GUARD;
	spread_pages(12289, 0);
}

struct page *pfn_to_page(unsigned long pfn)
{
	CHECK(pfn >= FIRST_PFN && pfn < FIRST_PFN + NR_PAGES, "no such page frame");
	return mem_map + (pfn - FIRST_PFN);
}

unsigned long page_to_pfn(const struct page *page)
{
	return FIRST_PFN + page_nr(page);
}

struct zone *page_zone(const struct page *page)
{
	return &zones[page_nr(page) * 2 / NR_PAGES];
}

void mod_zone_page_state(struct zone *zone, enum zone_stat_item item, long delta)
{
	zone->counters[item] += delta;
	CHECK(zone->counters[item] >= 0, "a zone's counter of zspages fell below zero");
}

#ifdef SHIM_DUMPS_CONST_PAGES
void dump_page(const struct page *page, const char *reason)
#else
void dump_page(struct page *page, const char *reason)
#endif
{
	host_log("page %lx: flags %lx count %d mapping %p: %s\n", page_to_pfn(page), FLAGS(page),
		 page_ref_count(page), page->mapping, reason);
}

static struct page *take_page(void)
{
	unsigned long nr;
	struct page *page;

	CHECK(free_count, "out of page frames: a leak, or a test that is too large");
	nr = free_pfns[free_first];
	free_first = (free_first + 1) % NR_PAGES;
	free_count--;
	page_taken[nr] = 1;
	page = mem_map + nr;
	/* As the page allocator leaves it: what it does not set holds the last user's bytes. */
	memset(page, 0x5a, sizeof(*page));
	FLAGS(page) = 0;
	page->mapping = NULL;
	set_page_private(page, 0);
	/* Even: no tail page. */
	page->lru.next = (void *)0x5a5a5a5a5a5a5a50;
	page->page_type = ~0u;
#ifdef CONFIG_MEMCG
	page->memcg_data = 0;
#endif
	set_page_count(page, 1);
	host_unpoison(page_memory(nr), PAGE_SIZE);
	host_poison(page_memory(nr) - GUARD, GUARD);
	host_poison(page_memory(nr) + PAGE_SIZE, GUARD);
	if (content_kept)
		memset(page_memory(nr), 0xaa, PAGE_SIZE > 4096 ? 4096 : PAGE_SIZE);
	return page;
}

struct page *alloc_page(gfp_t gfp)
{
	might_sleep_if(gfpflags_allow_blocking(gfp));
	POINT();
	if (fail_page_in && --fail_page_in == 0)
		return NULL;
	return take_page();
}

/* What free_pages_prepare() and page_expected_state() look at, and a little more. */
static void release_page(struct page *page)
{
	unsigned long nr = page_nr(page);

	CHECK(page_taken[nr], "a page is freed twice");
	CHECK(!PageTail(page), "bad page: freed as a tail");
	CHECK(!PageLocked(page), "bad page: freed while locked");
	CHECK(!PagePrivate(page), "bad page: freed with PG_private");
	CHECK(!page->mapping || MAPPING_IS_TAGGED(page), "bad page: freed with a mapping");
	CHECK(page_ref_count(page) == 0, "bad page: freed with references");
#ifdef SHIM_STICKY_PAGE_TYPE
	/* free_pages_prepare() takes a page type away. */
	CHECK(page_has_type(page) || atomic_read(&page->_mapcount) == -1, "bad page: freed with a mapcount");
#else
	CHECK(atomic_read(&page->_mapcount) == -1, "bad page: freed with a mapcount or a page type");
#endif
	CHECK(!page_maps[nr], "a page is freed while it is mapped");
	page_taken[nr] = 0;
	host_poison(page_memory(nr), PAGE_SIZE);
	/* The page that is free for longest is taken next, unless pages are to be warm. */
	if (content_kept) {
		free_pfns[(free_first + free_count) % NR_PAGES] = nr;
	} else {
		free_first = (free_first + NR_PAGES - 1) % NR_PAGES;
		free_pfns[free_first] = nr;
	}
	free_count++;
}

void __free_page(struct page *page)
{
	POINT();
	if (put_page_testzero(page))
		release_page(page);
}

/* What is to be done with the last reference to a head. */
static void release_head(struct page *head);

static inline void get_page(struct page *page)
{
	struct page *head;

	POINT();
	head = compound_head(page);
	CHECK(page_ref_count(head) > 0, "get_page() of a free page");
	page_ref_inc(head);
}

static inline bool get_page_unless_zero(struct page *page)
{
	POINT();
#ifdef SHIM_COUNTS_UNLESS_ZERO
	return page_ref_add_unless_zero(page, 1);
#else
	return page_ref_add_unless(page, 1, 0);
#endif
}

static inline void put_page(struct page *page)
{
	struct page *head = compound_head(page);

	POINT();
	if (put_page_testzero(head))
		release_head(head);
}

/* ---- the page lock ---- */
static inline bool trylock_page(struct page *page)
{
	CHECK(page_ref_count(compound_head(page)) > 0, "a free page is locked");
	return !test_and_set_bit(PG_locked, &FLAGS(compound_head(page)));
}

static inline void lock_page(struct page *page)
{
	might_sleep();
	AWAIT(trylock_page(page), "deadlock: lock_page() of a page that is locked already");
}

static inline void unlock_page(struct page *page)
{
	CHECK(PageLocked(page), "unlock_page() of a page that is not locked");
	clear_bit(PG_locked, &FLAGS(compound_head(page)));
	POINT();
}

static inline void wait_on_page_locked(struct page *page)
{
	might_sleep();
	AWAIT(!PageLocked(page), "hung: nobody will unlock the page");
}

/* ---- the same by folio, which is a page here ---- */
static inline bool folio_trylock(struct folio *folio)
{
	return trylock_page(&folio->page);
}

static inline void folio_lock(struct folio *folio)
{
	lock_page(&folio->page);
}

static inline void folio_unlock(struct folio *folio)
{
	unlock_page(&folio->page);
}

static inline void folio_wait_locked(struct folio *folio)
{
	wait_on_page_locked(&folio->page);
}

static inline void folio_get(struct folio *folio)
{
	get_page(&folio->page);
}

static inline void folio_put(struct folio *folio)
{
	put_page(&folio->page);
}

static inline void folio_put_refs(struct folio *folio, int refs)
{
	CHECK(page_ref_count(&folio->page) >= refs, "more references are dropped than there are");
	if (page_ref_sub_and_test(&folio->page, refs))
		release_head(&folio->page);
}

static inline struct folio *folio_get_nontail_page(struct page *page)
{
	if (!get_page_unless_zero(page))
		return NULL;
	CHECK(!PageTail(page), "a reference to a tail page was taken");
	return (struct folio *)page;
}

/* ---- mappings are returned in the reverse order of their making ---- */
static __thread unsigned long mapped[16];
static __thread unsigned int mapped_depth;

void *kmap_local_page(struct page *page)
{
	unsigned long nr = page_nr(page);

	CHECK(page_taken[nr], "a free page is mapped");
	CHECK(mapped_depth < 16, "too many mappings");
	mapped[mapped_depth++] = nr;
	page_maps[nr]++;
	POINT();
	return page_memory(nr);
}

void kunmap_local(const void *address)
{
	unsigned long nr = ((const char *)address - arena) / (PAGE_SIZE + GUARD);

	CHECK(mapped_depth, "kunmap without kmap");
	CHECK(mapped[mapped_depth - 1] == nr, "kunmap of another page than was mapped last");
	POINT();
	mapped_depth--;
	page_maps[nr]--;
}

static inline void memcpy_from_page(char *to, struct page *page, size_t offset, size_t len)
{
	char *from = kmap_local_page(page);

	CHECK(offset + len <= PAGE_SIZE, "a copy that crosses the page's end");
	memcpy(to, from + offset, len);
	kunmap_local(from);
}

static inline void memcpy_to_page(struct page *page, size_t offset, const char *from, size_t len)
{
	char *to = kmap_local_page(page);

	CHECK(offset + len <= PAGE_SIZE, "a copy that crosses the page's end");
	memcpy(to + offset, from, len);
	kunmap_local(to);
}

static inline void memcpy_page(struct page *dst, size_t to, struct page *src, size_t from, size_t len)
{
	char *out = kmap_local_page(dst);
	char *in = kmap_local_page(src);

	memcpy(out + to, in + from, len);
	kunmap_local(in);
	kunmap_local(out);
}

static inline void copy_page(void *to, const void *from)
{
	memcpy(to, from, PAGE_SIZE);
}
/* ---- pieces of memory in a list, as many as an object can lie in ---- */
struct scatterlist { struct page *page; unsigned int length, offset, left; };

static inline void sg_init_table(struct scatterlist *list, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		list[i] = (struct scatterlist){ .left = count - i };
}

static inline void sg_set_page(struct scatterlist *piece, struct page *page, unsigned int length,
			       unsigned int offset)
{
	CHECK(offset + length <= PAGE_SIZE, "a piece of memory that crosses its page's end");
	piece->page = page;
	piece->length = length;
	piece->offset = offset;
}

static inline struct scatterlist *sg_next(struct scatterlist *piece)
{
	return piece->left > 1 ? piece + 1 : NULL;
}

#define kmsan_copy_page_meta(to, from) do { } while (0)
#define copy_highpage(to, from) memcpy_page(to, 0, from, 0, PAGE_SIZE)
#endif
