// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keeps memory that cannot be moved in the middle of as many blocks of memory as it can.
 *
 * "insmod keepmem.ko block=N": N is the size of a block in bytes.  What can be isolated of such a block
 * are its ends, and not all of it.  Blocks of fewer than three pageblocks have no middle.  The memory is
 * free again when the module goes.
 */
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pageblock-flags.h>

static unsigned long block;
module_param(block, ulong, 0);

static LIST_HEAD(kept);

/* Neither the first pageblock of its block nor the last. */
static bool in_the_middle(struct page *page)
{
	unsigned long pages = block >> PAGE_SHIFT, pfn = page_to_pfn(page) % pages;

	return pfn >= pageblock_nr_pages && pfn + 2 * pageblock_nr_pages <= pages;
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
		list_add(&page->lru, in_the_middle(page) && !has_one(page) ? &kept : &others);
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
