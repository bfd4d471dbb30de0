/* SPDX-License-Identifier: GPL-2.0-only */
/* Between the kernel's side (unit.c) and the C library's (host.c): neither sees the other's headers. */
#ifndef SHIM_HOST_H
#define SHIM_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request {
	uint32_t op, a;
	uint64_t b, c;
};

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

/* turns.c: `work` by several threads, of which one runs at a time. */
#define TURNS_MAX 4
void turns_take(unsigned int threads, uint64_t seed, void (*work)(unsigned int thread));
extern bool turns_taken;
/* Another may come on here. */
void turns_point(void);
/* Another comes on, for this one cannot; false if that is in vain, or there is none. */
bool turns_wait(void);

/* unit.c: one function for each request, see driver.h */
int64_t driver_request(uint32_t op, uint32_t a, uint64_t b, uint64_t c);
/* Requests from one that is TOGETHER on, with as many answers: how many of them that took. */
uint64_t driver_together(const struct request *requests, int64_t *answers, uint64_t count);
bool driver_is_together(const struct request *request);
/* An object is named by a request soon to come, and then sooner. */
void driver_expect_object(uint64_t id);
void driver_expect_handle(uint64_t id);
/* The text that the last request made, and its length. */
const char *driver_text(size_t *length);
void driver_start(void);

#endif
