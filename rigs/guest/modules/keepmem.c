// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keeps memory that cannot be moved in the middle of as many blocks of memory as it can, or at their ends.
 *
 * "insmod keepmem.ko block=N [last=1]": N is the size of a block in bytes.  What can be isolated of such a
 * block are its ends, and not all of it; with last=1 its beginning alone.  Blocks of fewer than three
 * pageblocks have no middle.  The memory is free again when the module goes.
 */
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pageblock-flags.h>

static unsigned long block;
module_param(block, ulong, 0);
static bool last;
module_param(last, bool, 0);

static LIST_HEAD(kept);

/* Whether a pageblock is in the part of its block where one is kept: the last one, or neither first nor last. */
static bool is_wanted(struct page *page)
{
	unsigned long pages = block >> PAGE_SHIFT, pfn = page_to_pfn(page) % pages;
	bool is_last = pfn + 2 * pageblock_nr_pages > pages;

	return pfn >= pageblock_nr_pages && is_last == last;
}

static bool has_one(struct page *page)
{
	unsigned long pages = block >> PAGE_SHIFT, number = page_to_pfn(page) / pages;
	struct page *other;

	list_for_each_entry(other, &kept, lru)
		if (page_to_pfn(other) / pages == number)
			return true;
	return false;
}

static void free_all(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		__free_pages(page, pageblock_order);
	}
}

static int __init keepmem_init(void)
{
	struct page *page;
	LIST_HEAD(others);

	if (!block)
		return -EINVAL;
	/* Where a page is cannot be asked for: all that is free is taken, and given back. */
	while ((page = alloc_pages(__GFP_NOWARN, pageblock_order)))
		list_add(&page->lru, is_wanted(page) && !has_one(page) ? &kept : &others);
	free_all(&others);
	return 0;
}
module_init(keepmem_init);

static void __exit keepmem_exit(void)
{
	free_all(&kept);
}
module_exit(keepmem_exit);

MODULE_DESCRIPTION("Keeps memory that cannot be moved");
MODULE_LICENSE("GPL");
