/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the functions cut out of mm/migrate.c and mm/compaction.c need beside
 * what moves a movable page: no other kind of page is ever given to them.
 */
#ifndef SHIM_CORE_NEEDS_H
#define SHIM_CORE_NEEDS_H

#define ONLY_MOVABLE(what) CHECK(false, what " of a page that is not movable")
#define putback_active_hugepage(page) ONLY_MOVABLE("putback_active_hugepage()")
#define folio_putback_active_hugetlb(folio) ONLY_MOVABLE("folio_putback_active_hugetlb()")
#define folio_putback_hugetlb(folio) ONLY_MOVABLE("folio_putback_hugetlb()")
#define putback_lru_page(page) ONLY_MOVABLE("putback_lru_page()")
#define folio_putback_lru(folio) ONLY_MOVABLE("folio_putback_lru()")
#define mod_node_page_state(...) ONLY_MOVABLE("mod_node_page_state()")
#define node_stat_mod_folio(...) ONLY_MOVABLE("node_stat_mod_folio()")
#define set_page_owner_migrate_reason(page, reason) do { } while (0)
#define folio_set_owner_migrate_reason(folio, reason) do { } while (0)
#define flush_dcache_page(page) do { } while (0)
#define compound_order(page) 0U
#ifdef SHIM_MOVABLE_BY_TYPE
/* The operations of each type of page, as the variables of mm/migrate.c. */
static const struct movable_operations *offline_movable_ops, *zsmalloc_movable_ops;
#endif
#endif
