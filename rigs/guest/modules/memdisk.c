// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk in memory, /dev/memdisk, that behaves as real ones do: a request takes a while, and an interrupt
 * ends it.  Reads and writes fail for as long as they are asked to.
 *
 * "insmod memdisk.ko mib=N latency_us=N", then 1 or 0 to fail_reads and fail_writes of
 * /sys/module/memdisk/parameters.
 */
#include <linux/blkdev.h>
#include <linux/hrtimer.h>
#include <linux/module.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

static unsigned long mib = 8;
module_param(mib, ulong, 0);
static unsigned int latency_us = 100;
module_param(latency_us, uint, 0);
static bool fail_reads, fail_writes;
module_param(fail_reads, bool, 0600);
module_param(fail_writes, bool, 0600);

static char *content;
static struct gendisk *disk;
static int major;
/* What was submitted, and has not ended; the timer runs if there is any. */
static struct bio_list pending;
static DEFINE_SPINLOCK(pending_lock);
static struct hrtimer timer;

static void memdisk_submit_bio(struct bio *bio)
{
	unsigned long flags;
	bool first;

	spin_lock_irqsave(&pending_lock, flags);
	first = bio_list_empty(&pending);
	bio_list_add(&pending, bio);
	if (first)
		hrtimer_start(&timer, ns_to_ktime(latency_us * NSEC_PER_USEC), HRTIMER_MODE_REL);
	spin_unlock_irqrestore(&pending_lock, flags);
}

/* Memory is read and written now, as a real disk does by DMA: what was given back too early shows. */
static void transfer(struct bio *bio)
{
	bool write = op_is_write(bio_op(bio));
	char *at = content + ((size_t)bio->bi_iter.bi_sector << SECTOR_SHIFT);
	struct bvec_iter iter;
	struct bio_vec bvec;

	if (READ_ONCE(*(write ? &fail_writes : &fail_reads))) {
		bio_io_error(bio);
		return;
	}
	bio_for_each_segment(bvec, bio, iter) {
		if (write)
			memcpy_from_bvec(at, &bvec);
		else
			memcpy_to_bvec(&bvec, at);
		at += bvec.bv_len;
	}
	bio_endio(bio);
}

static enum hrtimer_restart memdisk_interrupt(struct hrtimer *unused)
{
	struct bio_list ended;
	struct bio *bio;

	spin_lock(&pending_lock);
	ended = pending;
	bio_list_init(&pending);
	spin_unlock(&pending_lock);

	while ((bio = bio_list_pop(&ended)))
		transfer(bio);
	return HRTIMER_NORESTART;
}

static const struct block_device_operations memdisk_operations = {
	.owner = THIS_MODULE,
	.submit_bio = memdisk_submit_bio,
};

static struct gendisk *new_disk(void)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
	return blk_alloc_disk(NUMA_NO_NODE) ?: ERR_PTR(-ENOMEM);
#else
	return blk_alloc_disk(NULL, NUMA_NO_NODE);
#endif
}

static void set_up_timer(void)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
	timer.function = memdisk_interrupt;
#else
	hrtimer_setup(&timer, memdisk_interrupt, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
#endif
}

static int __init memdisk_init(void)
{
	int err = -ENOMEM;

	set_up_timer();
	content = vzalloc(mib << 20);
	if (!content)
		return err;
	err = register_blkdev(0, "memdisk");
	if (err < 0)
		goto out_content;
	major = err;
	disk = new_disk();
	err = PTR_ERR_OR_ZERO(disk);
	if (err)
		goto out_major;
	disk->major = major;
	disk->minors = 1;
	disk->fops = &memdisk_operations;
	strscpy(disk->disk_name, "memdisk", sizeof(disk->disk_name));
	set_capacity(disk, mib << (20 - SECTOR_SHIFT));
	err = add_disk(disk);
	if (err)
		goto out_disk;
	return 0;

out_disk:
	put_disk(disk);
out_major:
	unregister_blkdev(major, "memdisk");
out_content:
	vfree(content);
	return err;
}
module_init(memdisk_init);

static void __exit memdisk_exit(void)
{
	del_gendisk(disk);
	put_disk(disk);
	hrtimer_cancel(&timer);
	unregister_blkdev(major, "memdisk");
	vfree(content);
}
module_exit(memdisk_exit);

MODULE_DESCRIPTION("A disk in memory, that is slow and fails");
MODULE_LICENSE("GPL");
