/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the kernel's side (unit.c) and the C library's (host.c): neither sees the other's headers. */
#ifndef SHIM_HOST_H
#define SHIM_HOST_H

#include <stddef.h>
#include <stdint.h>

/* host.c */
_Noreturn void host_fail(const char *kind, const char *file, int line, const char *what);
void host_log(const char *format, ...);
void *host_alloc(size_t size);
void host_free(void *object);
/* `size` bytes of zeros that are backed by memory only where touched. */
void *host_reserve(size_t size);
/* Much of that memory is going to be used, from its beginning on. */
void host_expect_all(void *at, size_t size);
void host_poison(const void *at, size_t size);
void host_unpoison(const void *at, size_t size);
int host_format(char *out, size_t size, const char *format, __builtin_va_list arguments);

/* unit.c: one function for each request, see driver.h */
int64_t driver_request(uint32_t op, uint32_t a, uint64_t b, uint64_t c);
/* An object is named by a request soon to come, and then sooner. */
void driver_expect_object(uint64_t id);
void driver_expect_handle(uint64_t id);
/* The text that the last request made, and its length. */
const char *driver_text(size_t *length);
void driver_start(void);

#endif
