/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's side of the program: the tree's headers, the tree's functions
 * that move pages, the tree's mm/zsmalloc.c, and what drives them.
 */
#include "kernel.h"

#include <linux/poison.h>
#include <linux/err.h>
#include <linux/container_of.h>
#include <linux/list.h>
#include <linux/mmdebug.h>
/* struct page and struct folio, cut out of the tree's header. */
#include <linux/mm_types.h>
#define page_private(page) ((page)->private)
#define set_page_private(page, value) ((page)->private = (value))
#define NR_PAGEFLAGS __NR_PAGEFLAGS
#include <linux/page-flags.h>
#include <linux/page_ref.h>
#include "pages.h"
#include "runtime.h"
#include <linux/migrate_mode.h>
#include <linux/migrate.h>
/* Functions of the core, cut out of the tree: see toolkit/userspace/build.py. */
#include "core.h"

#include "mm/zsmalloc.c"

#include "driver.h"
