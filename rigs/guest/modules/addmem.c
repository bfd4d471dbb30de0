// SPDX-License-Identifier: GPL-2.0-only
/*
 * Adds memory that the kernel was not told of when it booted, as a driver of a device would.
 *
 * "insmod addmem.ko start=S size=N": N bytes of RAM at the physical address S, both multiples of a
 * block of memory.  Its blocks then are in /sys/devices/system/memory, offline.  It stays when the
 * module goes.
 */
#include <linux/memory_hotplug.h>
#include <linux/module.h>

static unsigned long start, size;
module_param(start, ulong, 0);
module_param(size, ulong, 0);

static int __init addmem_init(void)
{
	return add_memory(first_online_node, start, size, MHP_NONE);
}
module_init(addmem_init);

static void __exit addmem_exit(void)
{
}
module_exit(addmem_exit);

MODULE_DESCRIPTION("Adds memory while the kernel runs");
MODULE_LICENSE("GPL");
