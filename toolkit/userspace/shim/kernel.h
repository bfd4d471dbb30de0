/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel as mm/zsmalloc.c sees it, in user space. Included before
 * everything else; headers that neither the tree nor this directory gives are
 * empty files. Sorted by how faithful things are:
 *
 *   1. taken from the tree under test (lists, page flags, page references,
 *      migration, struct page): see toolkit/userspace/build.py
 *   2. the kernel's behaviour, with more checks than the kernel has: locks,
 *      preemption, pages, slab caches, mappings
 *   3. the kernel's behaviour for CPUs that take turns, see turns.c: atomics,
 *      per-CPU data, RCU, work queues
 *   4. nothing at all: annotations, tracepoints
 */
#ifndef SHIM_KERNEL_H
#define SHIM_KERNEL_H

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host.h"
#include <linux/kconfig.h>

/* ---- configuration: everything that has more checks or more paths ---- */
#define CONFIG_64BIT 1
#define CONFIG_MMU 1
#define CONFIG_COMPACTION 1
#define CONFIG_MIGRATION 1
#define CONFIG_ZSMALLOC 1
#define CONFIG_ZSMALLOC_STAT 1
#define CONFIG_DEBUG_FS 1
#define CONFIG_DEBUG_VM 1
#define CONFIG_DEBUG_VM_PGFLAGS 1
#define CONFIG_DEBUG_LIST 1
#define CONFIG_LIST_HARDENED 1
#define BITS_PER_LONG 64

#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
/* The highest address that any of our architectures has: page frame numbers end there. */
#define MAX_POSSIBLE_PHYSMEM_BITS 52
#define MAX_PHYSMEM_BITS MAX_POSSIBLE_PHYSMEM_BITS

/* ---- types and macros of the language ---- */
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;
typedef u32 __u32;
typedef u64 __u64;
typedef long ssize_t;
typedef unsigned int gfp_t;
typedef unsigned int slab_flags_t;
typedef unsigned int isolate_mode_t;
typedef unsigned short umode_t;
typedef unsigned long pgoff_t;
typedef unsigned long swp_entry_t;
typedef struct { unsigned long pte; } pte_t;
typedef struct page *pgtable_t;
typedef struct { unsigned long bits[1]; } nodemask_t;
typedef long long loff_t;
typedef int vm_fault_t;
typedef u64 phys_addr_t;
/* Since 6.18 the word of a page's flags has a type of its own. */
typedef struct { unsigned long f; } memdesc_flags_t;
struct llist_node { struct llist_node *next; };
typedef struct { unsigned long value; } softleaf_t;
typedef int mm_id_mapcount_t;
typedef unsigned int mm_id_t;

struct list_head { struct list_head *next, *prev; };
struct hlist_head { struct hlist_node *first; };
struct hlist_node { struct hlist_node *next, **pprev; };
struct callback_head { struct callback_head *next; void (*func)(struct callback_head *head); };
#define rcu_head callback_head

#define _AC(x, suffix) __AC(x, suffix)
#define __AC(x, suffix) (x##suffix)
#define UL(x) _AC(x, UL)
#define ULL(x) _AC(x, ULL)
#define BIT(nr) (1UL << (nr))
#define GENMASK(h, l) ((~0UL << (l)) & (~0UL >> (BITS_PER_LONG - 1 - (h))))
#define SZ_16M 0x01000000

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define inline inline __attribute__((__unused__))
#undef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#define noinline __attribute__((__noinline__))
#define __maybe_unused __attribute__((__unused__))
#define __must_check __attribute__((__warn_unused_result__))
#define __packed __attribute__((__packed__))
#define __aligned(x) __attribute__((__aligned__(x)))
#define __section(x)
#define __printf(a, b)
#define __malloc
#define __pure
#define __cold
#define __read_mostly
#define __ro_after_init
#define __init
#define __exit
#define __user
#define __force
#define __bitwise
#define __rcu
#define __iomem
#define __acquires(x)
#define __releases(x)
#define __must_hold(x)
#define __private
#define __context_unsafe(comment)
#define __nocfi
#define __no_kcsan
#define fallthrough __attribute__((__fallthrough__))
#define typeof __typeof__
#define asmlinkage
#define barrier() __asm__ __volatile__("" ::: "memory")
#define __stringify_1(x...) #x
#define __stringify(x...) __stringify_1(x)
#define __same_type(a, b) __builtin_types_compatible_p(typeof(a), typeof(b))
#define data_race(x) (x)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define sizeof_field(T, m) sizeof(((T *)0)->m)
#define offsetofend(T, m) (offsetof(T, m) + sizeof_field(T, m))
#define static_assert(e, ...) _Static_assert(e, #e)
#define BUILD_BUG_ON(e) _Static_assert(!(e), #e)
#define BUILD_BUG_ON_MSG(e, msg) _Static_assert(!(e), msg)
#define BUILD_BUG_ON_INVALID(e) ((void)sizeof((long)(e)))
#define BUILD_BUG_ON_ZERO(e) 0

#define __ALIGN_KERNEL(x, a) (((x) + (a) - 1) & ~((typeof(x))(a) - 1))
#define ALIGN(x, a) __ALIGN_KERNEL(x, a)
#define IS_ALIGNED(x, a) (((x) & ((typeof(x))(a) - 1)) == 0)
#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))
#define roundup(x, y) (DIV_ROUND_UP(x, y) * (y))
#define round_up(x, y) ((((x) - 1) | ((typeof(x))(y) - 1)) + 1)
#define offset_in_page(p) ((unsigned long)(p) & ~PAGE_MASK)
#define min(a, b) ({ typeof(a) _a = (a); typeof(b) _b = (b); _a < _b ? _a : _b; })
#define max(a, b) ({ typeof(a) _a = (a); typeof(b) _b = (b); _a > _b ? _a : _b; })
#define min_t(T, a, b) min((T)(a), (T)(b))
#define max_t(T, a, b) max((T)(a), (T)(b))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define swap(a, b) do { typeof(a) _t = (a); (a) = (b); (b) = _t; } while (0)
#define ilog2(n) (63 - __builtin_clzl(n))
#define order_base_2(n) ((n) > 1 ? ilog2((n) - 1) + 1 : 0)
static inline bool is_power_of_2(unsigned long n) { return n && !(n & (n - 1)); }

/* ---- errors ---- */
#define EPERM 1
#define ENOENT 2
#define EAGAIN 11
#define ENOMEM 12
#define EBUSY 16
#define EEXIST 17
#define ENODEV 19
#define EINVAL 22
#define ENOSPC 28
#define ENOSYS 38
#define MAX_ERRNO 4095

/* ---- 2. complaints: each of them ends the run and is a finding ---- */
#define BUG() host_fail("BUG", __FILE__, __LINE__, __func__)
#define BUG_ON(cond) do { if (unlikely(cond)) host_fail("BUG", __FILE__, __LINE__, #cond); } while (0)
#define WARN_ON(cond) ({ \
	bool _warned = !!(cond); \
	if (unlikely(_warned)) \
		host_fail("WARNING", __FILE__, __LINE__, #cond); \
	_warned; })
#define WARN_ON_ONCE(cond) WARN_ON(cond)
#define WARN(cond, ...) WARN_ON(cond)
#define WARN_ONCE(cond, ...) WARN_ON(cond)
/* Checks of the shim's own. */
#define CHECK(ok, what) do { if (unlikely(!(ok))) host_fail("CHECK", __FILE__, __LINE__, what); } while (0)

/* Where another CPU may come on; most of the time there is none. */
#define POINT() do { if (unlikely(turns_taken)) turns_point(); } while (0)
/* Wait until another CPU made it true. */
#define AWAIT(cond, what) do { while (!(cond)) CHECK(turns_wait(), what); } while (0)

#define KBUILD_MODNAME "zsmalloc"
#define pr_info(fmt, ...) host_log(fmt, ##__VA_ARGS__)
#define pr_warn pr_info
#define pr_err pr_info
#define pr_debug(...) do { } while (0)
#define printk(fmt, ...) host_log(fmt, ##__VA_ARGS__)

/* ---- 3. atomics: a CPU's turn does not end within one ---- */
typedef struct { int counter; } atomic_t;
typedef struct { long counter; } atomic_long_t;
typedef struct { s64 counter; } atomic64_t;
#define ATOMIC_INIT(i) { (i) }
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) do { *(volatile typeof(x) *)&(x) = (v); } while (0)
#define smp_mb() barrier()
#define smp_rmb() barrier()
#define smp_wmb() barrier()
#define smp_load_acquire(p) READ_ONCE(*(p))
#define smp_store_release(p, v) WRITE_ONCE(*(p), v)
#define smp_mb__before_atomic() barrier()
#define smp_mb__after_atomic() barrier()
#define cpu_relax() CHECK(turns_wait(), "hung: a loop waits for what nobody does")
#define cmpxchg(p, o, n) ({ POINT(); typeof(*(p)) _v = *(p); if (_v == (o)) *(p) = (n); _v; })
#define xchg(p, n) ({ typeof(*(p)) _v = *(p); *(p) = (n); _v; })
#define try_cmpxchg(p, op, n) ({ POINT(); bool _y = *(p) == *(op); if (_y) *(p) = (n); else *(op) = *(p); _y; })

#define ATOMIC_OPS(name, T, A) \
static inline T name##_read(const A *v) { return READ_ONCE(v->counter); } \
static inline T name##_read_acquire(const A *v) { return READ_ONCE(v->counter); } \
static inline void name##_set(A *v, T i) { v->counter = i; } \
static inline void name##_set_release(A *v, T i) { v->counter = i; } \
static inline void name##_add(T i, A *v) { v->counter += i; } \
static inline void name##_sub(T i, A *v) { v->counter -= i; } \
static inline void name##_inc(A *v) { v->counter++; } \
static inline void name##_dec(A *v) { v->counter--; } \
static inline T name##_add_return(T i, A *v) { return v->counter += i; } \
static inline T name##_sub_return(T i, A *v) { return v->counter -= i; } \
static inline T name##_inc_return(A *v) { return ++v->counter; } \
static inline T name##_dec_return(A *v) { return --v->counter; } \
static inline bool name##_dec_and_test(A *v) { return --v->counter == 0; } \
static inline bool name##_inc_and_test(A *v) { return ++v->counter == 0; } \
static inline bool name##_sub_and_test(T i, A *v) { return (v->counter -= i) == 0; } \
static inline T name##_xchg(A *v, T n) { T o = v->counter; v->counter = n; return o; } \
static inline T name##_cmpxchg(A *v, T o, T n) { T c = v->counter; if (c == o) v->counter = n; return c; } \
static inline bool name##_add_unless(A *v, T a, T u) \
{ if (v->counter == u) return false; v->counter += a; return true; } \
static inline bool name##_inc_not_zero(A *v) { return name##_add_unless(v, 1, 0); }
ATOMIC_OPS(atomic, int, atomic_t)
ATOMIC_OPS(atomic_long, long, atomic_long_t)
ATOMIC_OPS(atomic64, s64, atomic64_t)
static inline int atomic_fetch_add(int i, atomic_t *v) { int o = v->counter; v->counter += i; return o; }

#define BIT_WORD_OF(nr, p) ((p)[(nr) / BITS_PER_LONG])
#define BIT_OF(nr) (1UL << ((nr) % BITS_PER_LONG))
static inline bool test_bit(long nr, const volatile unsigned long *p)
{
	return (BIT_WORD_OF(nr, p) & BIT_OF(nr)) != 0;
}
static inline void set_bit(long nr, volatile unsigned long *p)
{
	BIT_WORD_OF(nr, p) |= BIT_OF(nr);
}
static inline void clear_bit(long nr, volatile unsigned long *p)
{
	BIT_WORD_OF(nr, p) &= ~BIT_OF(nr);
}
#define __set_bit set_bit
#define __clear_bit clear_bit
#define clear_bit_unlock clear_bit
static inline bool xor_unlock_is_negative_byte(unsigned long mask, volatile unsigned long *p)
{
	*p ^= mask;
	return *p & 0x80;
}
static inline bool test_and_set_bit(long nr, volatile unsigned long *p)
{
	bool old;

	POINT();
	old = test_bit(nr, p);
	set_bit(nr, p);
	return old;
}
static inline bool test_and_clear_bit(long nr, volatile unsigned long *p)
{
	bool old = test_bit(nr, p);

	clear_bit(nr, p);
	return old;
}
#define test_and_set_bit_lock test_and_set_bit
#define hweight_long(word) ((unsigned int)__builtin_popcountl(word))
#define ffs(word) __builtin_ffs(word)
#define __ffs(word) ((unsigned long)__builtin_ctzl(word))

/* ---- 2. preemption and sleeping ---- */
extern __thread int shim_preempt_count;	/* spinlocks, kmaps and local locks that are held */
extern __thread int shim_pagefault_count;
extern __thread int shim_rcu_depth;
#define preempt_disable() ((void)shim_preempt_count++)
#define preempt_enable() do { CHECK(shim_preempt_count > 0, "preempt_enable() without preempt_disable()"); \
	shim_preempt_count--; } while (0)
#define pagefault_disable() ((void)shim_pagefault_count++)
#define pagefault_enable() do { CHECK(shim_pagefault_count > 0, "pagefault_enable() without a disable"); \
	shim_pagefault_count--; } while (0)
#define in_interrupt() false
#define in_atomic() (shim_preempt_count != 0)
#define might_sleep() CHECK(!shim_preempt_count && !shim_rcu_depth, "sleeping function called in atomic context")
#define might_sleep_if(cond) do { if (cond) might_sleep(); } while (0)
#define cond_resched() do { might_sleep(); POINT(); } while (0)
/* How many CPUs read. */
extern int shim_rcu_readers;
#define rcu_read_lock() ((void)(shim_rcu_readers += !shim_rcu_depth++))
#define rcu_read_unlock() do { CHECK(shim_rcu_depth > 0, "rcu_read_unlock() without a lock"); \
	shim_rcu_readers -= !--shim_rcu_depth; POINT(); } while (0)
#define rcu_dereference(p) READ_ONCE(p)
#define rcu_assign_pointer(p, v) WRITE_ONCE(p, v)
#define synchronize_rcu() shim_run_rcu()
#define rcu_barrier() shim_run_rcu()
/* A grace period ends with each request, with all that are carried out together, or when somebody waits for it. */
void call_rcu(struct rcu_head *head, void (*func)(struct rcu_head *head));
void shim_kfree_rcu(struct rcu_head *head, size_t offset);
#define kfree_rcu(object, head) shim_kfree_rcu(&(object)->head, offsetof(typeof(*(object)), head))
void shim_run_rcu(void);

/* ---- 2. locks: waiting for what nobody gives back, or giving back what is not held, is found at once ---- */
typedef struct spinlock { bool held; } spinlock_t;
typedef struct { int readers; bool writer; } rwlock_t;
typedef struct { bool held; } local_lock_t;
struct lockdep_map { int unused; };
struct lock_class_key { int unused; };
struct mutex { bool held; };
struct rw_semaphore { int unused; };
#define DEFINE_SPINLOCK(name) spinlock_t name
#define DEFINE_MUTEX(name) struct mutex name
#define INIT_LOCAL_LOCK(name) { false }
#define SINGLE_DEPTH_NESTING 1
#define spin_lock_init(l) ((void)((l)->held = false))
#define rwlock_init(l) ((void)((l)->readers = 0, (l)->writer = false))
#define spin_lock(l) do { POINT(); AWAIT(!(l)->held, "deadlock: " #l " is held already"); \
	(l)->held = true; preempt_disable(); } while (0)
#define spin_lock_nested(l, n) spin_lock(l)
#define spin_trylock(l) ({ POINT(); bool _got = !(l)->held; \
	if (_got) { (l)->held = true; preempt_disable(); } _got; })
#define spin_unlock(l) do { CHECK((l)->held, #l " is released but not held"); \
	(l)->held = false; preempt_enable(); POINT(); } while (0)
#define spin_lock_irqsave(l, f) do { (f) = 0; spin_lock(l); } while (0)
#define spin_unlock_irqrestore(l, f) do { (void)(f); spin_unlock(l); } while (0)
#define assert_spin_locked(l) CHECK((l)->held, #l " must be held")
#define lockdep_assert_held(l) CHECK(shim_lock_held(l), #l " must be held")
#define shim_lock_held(l) _Generic((l), spinlock_t *: ((const spinlock_t *)(l))->held, default: true)
#define spin_is_locked(l) ((l)->held)
#define spin_is_contended(l) shim_contended()
#define rwlock_is_contended(l) shim_contended()
#define read_lock(l) do { POINT(); AWAIT(!(l)->writer, "deadlock: " #l " is held for writing"); \
	(l)->readers++; preempt_disable(); } while (0)
#define read_unlock(l) do { CHECK((l)->readers > 0, #l " is released but not held for reading"); \
	(l)->readers--; preempt_enable(); POINT(); } while (0)
#define write_lock(l) do { POINT(); AWAIT(!(l)->writer && !(l)->readers, "deadlock: " #l " is held already"); \
	(l)->writer = true; preempt_disable(); } while (0)
#define write_lock_nested(l, n) write_lock(l)
#define write_trylock(l) ({ POINT(); bool _got = !(l)->writer && !(l)->readers; \
	if (_got) { (l)->writer = true; preempt_disable(); } _got; })
#define write_unlock(l) do { CHECK((l)->writer, #l " is released but not held for writing"); \
	(l)->writer = false; preempt_enable(); POINT(); } while (0)
/* Of each CPU its own: nobody gives it back while this one waits. */
#define local_lock(l) do { CHECK(!(l)->held, "deadlock: " #l " is held already"); \
	(l)->held = true; preempt_disable(); } while (0)
#define local_unlock(l) do { CHECK((l)->held, #l " is released but not held"); \
	(l)->held = false; preempt_enable(); } while (0)
#define mutex_init(l) ((void)((l)->held = false))
#define mutex_lock(l) do { might_sleep(); POINT(); AWAIT(!(l)->held, "deadlock: " #l " is held already"); \
	(l)->held = true; } while (0)
#define mutex_unlock(l) do { CHECK((l)->held, #l " is released but not held"); \
	(l)->held = false; POINT(); } while (0)
bool shim_contended(void);
/* 4. lockdep is not here. */
#define lockdep_init_map(...) do { } while (0)
#define lock_acquired(...) do { } while (0)
#define rwsem_acquire_read(...) do { } while (0)
#define rwsem_acquire(...) do { } while (0)
#define rwsem_release(...) do { } while (0)
#define rwlock_acquire(...) do { } while (0)
#define rwlock_acquire_read(...) do { } while (0)
#define rwlock_release(...) do { } while (0)
#define lock_map_acquire(...) do { } while (0)
#define lock_map_release(...) do { } while (0)
#define _RET_IP_ 0UL

/* ---- strings ---- */
void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *at, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);

/* ---- 2. memory ---- */
#define __GFP_HIGHMEM 0x02u
#define __GFP_MOVABLE 0x08u
#define __GFP_ZERO 0x100u
#define __GFP_DIRECT_RECLAIM 0x400u
#define __GFP_KSWAPD_RECLAIM 0x800u
#define __GFP_NOWARN 0x2000u
#define __GFP_IO 0x40u
#define __GFP_FS 0x80u
#define GFP_ATOMIC __GFP_KSWAPD_RECLAIM
#define GFP_NOWAIT __GFP_KSWAPD_RECLAIM
#define GFP_NOIO (__GFP_DIRECT_RECLAIM | __GFP_KSWAPD_RECLAIM)
#define GFP_KERNEL (GFP_NOIO | __GFP_IO | __GFP_FS)
#define GFP_HIGHUSER_MOVABLE (GFP_KERNEL | __GFP_HIGHMEM | __GFP_MOVABLE)
#define NUMA_NO_NODE (-1)
static inline bool gfpflags_allow_blocking(gfp_t gfp) { return gfp & __GFP_DIRECT_RECLAIM; }

struct kmem_cache;
#define SLAB_TYPESAFE_BY_RCU 0x80000u
#define SLAB_HWCACHE_ALIGN 0x2000u
#define SLAB_ACCOUNT 0u
struct kmem_cache *kmem_cache_create(const char *name, unsigned int size, unsigned int align,
				     slab_flags_t flags, void (*ctor)(void *));
void kmem_cache_destroy(struct kmem_cache *cache);
void *kmem_cache_alloc(struct kmem_cache *cache, gfp_t gfp);
void *kmem_cache_zalloc(struct kmem_cache *cache, gfp_t gfp);
void kmem_cache_free(struct kmem_cache *cache, void *object);
#define KMEM_CACHE(name, flags) \
	kmem_cache_create(#name, sizeof(struct name), __alignof__(struct name), flags, NULL)
void *kmalloc(size_t size, gfp_t gfp);
void *kzalloc(size_t size, gfp_t gfp);
void *kcalloc(size_t n, size_t size, gfp_t gfp);
void kfree(const void *object);
char *kstrdup(const char *s, gfp_t gfp);
char *kasprintf(gfp_t gfp, const char *format, ...);
#define kvmalloc kmalloc
#define kvfree kfree
#define kmalloc_obj(object, ...) ((typeof(object) *)kmalloc(sizeof(object), GFP_KERNEL))
#define kzalloc_obj(object, ...) ((typeof(object) *)kzalloc(sizeof(object), GFP_KERNEL))

/* ---- 3. per-CPU data: each thread that takes turns is a CPU ---- */
#define DEFINE_PER_CPU(T, name) __thread typeof(T) name
#define this_cpu_ptr(p) (p)
#define raw_cpu_ptr(p) (p)
#define per_cpu(name, cpu) (name)
#define per_cpu_ptr(p, cpu) (p)
#define smp_processor_id() 0
enum cpuhp_state { CPUHP_MM_ZS_PREPARE };
int cpuhp_setup_state(enum cpuhp_state state, const char *name, int (*startup)(unsigned int),
		      int (*teardown)(unsigned int));
void cpuhp_remove_state(enum cpuhp_state state);
/* The CPU that is this thread comes up, with all that was to be made for it, and goes. */
void shim_cpu_up(void);
void shim_cpu_down(void);

/* ---- 3. work queues: work waits until the driver runs it or somebody flushes it ---- */
struct work_struct { void (*func)(struct work_struct *work); bool pending; struct work_struct *next; };
struct workqueue_struct;
extern struct workqueue_struct *system_wq;
#define INIT_WORK(w, f) do { (w)->func = (f); (w)->pending = false; (w)->next = NULL; } while (0)
bool schedule_work(struct work_struct *work);
#define queue_work(queue, work) schedule_work(work)
bool flush_work(struct work_struct *work);
bool cancel_work_sync(struct work_struct *work);
/* 3. waiting for something: work or another CPU makes it true, or nobody will. */
typedef struct { int unused; } wait_queue_head_t;
#define DECLARE_WAIT_QUEUE_HEAD(name) wait_queue_head_t name
#define init_waitqueue_head(q) ((void)(q))
#define wake_up(q) ((void)(q))
#define wake_up_all(q) ((void)(q))
#define wait_event(q, cond) do { might_sleep(); while (!(cond)) \
	CHECK(shim_run_work() || turns_wait(), "hung: nobody will make true: " #cond); } while (0)
#define wait_var_event(v, cond) wait_event(v, cond)
#define wake_up_var(v) ((void)(v))
bool shim_run_work(void);

/* ---- shrinker, debugfs, seq_file, module: kept for the driver to call ---- */
struct shrink_control { gfp_t gfp_mask; int nid; unsigned long nr_to_scan, nr_scanned; };
struct shrinker {
	unsigned long (*count_objects)(struct shrinker *shrinker, struct shrink_control *sc);
	unsigned long (*scan_objects)(struct shrinker *shrinker, struct shrink_control *sc);
	long batch;
	int seeks;
	void *private_data;
	bool registered;
};
#define SHRINK_STOP (~0UL)
#define SHRINK_EMPTY (~0UL - 1)
#define DEFAULT_SEEKS 2
int register_shrinker(struct shrinker *shrinker, const char *format, ...);
void unregister_shrinker(struct shrinker *shrinker);
struct shrinker *shrinker_alloc(unsigned int flags, const char *format, ...);
void shrinker_register(struct shrinker *shrinker);
void shrinker_free(struct shrinker *shrinker);

struct seq_file { void *private; };
struct inode;
struct file;
struct file_operations { int (*show)(struct seq_file *s, void *v); };
struct dentry;
#define S_IFREG 0100000
#define DEFINE_SHOW_ATTRIBUTE(name) static const struct file_operations name##_fops = { .show = name##_show }
void seq_printf(struct seq_file *s, const char *format, ...);
void seq_puts(struct seq_file *s, const char *text);
static inline bool debugfs_initialized(void) { return true; }
struct dentry *debugfs_create_dir(const char *name, struct dentry *parent);
struct dentry *debugfs_create_file(const char *name, umode_t mode, struct dentry *parent, void *data,
				   const struct file_operations *fops);
void debugfs_remove_recursive(struct dentry *dentry);

#define EXPORT_SYMBOL(name)
#define EXPORT_SYMBOL_GPL(name)
#define EXPORT_SYMBOL_FOR_MODULES(name, mods)
#define MODULE_LICENSE(text)
#define MODULE_AUTHOR(text)
#define MODULE_DESCRIPTION(text)
#define MODULE_ALIAS(text)
#define THIS_MODULE NULL
#define module_init(fn) int (*const shim_module_init)(void) = (fn);
#define module_exit(fn) void (*const shim_module_exit)(void) = (fn);

struct task_struct { unsigned int flags; };
extern struct task_struct shim_task;
#define current (&shim_task)
#define PF_MEMALLOC 0x800u

/* ---- 4. tracepoints, memory control ---- */
#define DECLARE_TRACEPOINT(name)
#define tracepoint_enabled(name) false

/* ---- pages: pfn_to_page() and kmap() over an array of page descriptors ---- */
struct page;
struct folio;
struct zone { long counters[64]; };
enum zone_stat_item { NR_ZSPAGES = 1 };
struct page *pfn_to_page(unsigned long pfn);
unsigned long page_to_pfn(const struct page *page);
#define nth_page(page, n) ((page) + (n))
struct zone *page_zone(const struct page *page);
static inline int page_to_nid(const struct page *page) { (void)page; return 0; }
void mod_zone_page_state(struct zone *zone, enum zone_stat_item item, long delta);
#define inc_zone_page_state(page, item) mod_zone_page_state(page_zone(page), item, 1)
#define dec_zone_page_state(page, item) mod_zone_page_state(page_zone(page), item, -1)
struct page *alloc_page(gfp_t gfp);
#define alloc_pages(gfp, order) alloc_page(gfp)
#define alloc_pages_node(nid, gfp, order) alloc_page(gfp)
void __free_page(struct page *page);
#define __free_pages(page, order) __free_page(page)
void *kmap_local_page(struct page *page);
void kunmap_local(const void *address);
#define kmap_atomic(page) ({ preempt_disable(); pagefault_disable(); kmap_local_page(page); })
#define kunmap_atomic(address) do { kunmap_local(address); pagefault_enable(); preempt_enable(); } while (0)

#endif
