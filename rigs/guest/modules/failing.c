// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk in memory, /dev/failing, whose reads and writes fail for as long as they are asked to.
 *
 * "insmod failing.ko mib=N", then 1 or 0 to fail_reads and fail_writes of /sys/module/failing/parameters.
 */
#include <linux/blkdev.h>
#include <linux/module.h>
#include <linux/version.h>
#include <linux/vmalloc.h>

static unsigned long mib = 8;
module_param(mib, ulong, 0);
static bool fail_reads, fail_writes;
module_param(fail_reads, bool, 0600);
module_param(fail_writes, bool, 0600);

static char *content;
static struct gendisk *disk;
static int major;

static void failing_submit_bio(struct bio *bio)
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

static const struct block_device_operations failing_operations = {
	.owner = THIS_MODULE,
	.submit_bio = failing_submit_bio,
};

static struct gendisk *new_disk(void)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 9, 0)
	return blk_alloc_disk(NUMA_NO_NODE) ?: ERR_PTR(-ENOMEM);
#else
	return blk_alloc_disk(NULL, NUMA_NO_NODE);
#endif
}

static int __init failing_init(void)
{
	int err = -ENOMEM;

	content = vzalloc(mib << 20);
	if (!content)
		return err;
	err = register_blkdev(0, "failing");
	if (err < 0)
		goto out_content;
	major = err;
	disk = new_disk();
	err = PTR_ERR_OR_ZERO(disk);
	if (err)
		goto out_major;
	disk->major = major;
	disk->minors = 1;
	disk->fops = &failing_operations;
	strscpy(disk->disk_name, "failing", sizeof(disk->disk_name));
	set_capacity(disk, mib << (20 - SECTOR_SHIFT));
	err = add_disk(disk);
	if (err)
		goto out_disk;
	return 0;

out_disk:
	put_disk(disk);
out_major:
	unregister_blkdev(major, "failing");
out_content:
	vfree(content);
	return err;
}
module_init(failing_init);

static void __exit failing_exit(void)
{
	del_gendisk(disk);
	put_disk(disk);
	unregister_blkdev(major, "failing");
	vfree(content);
}
module_exit(failing_exit);

MODULE_DESCRIPTION("A disk that fails");
MODULE_LICENSE("GPL");
