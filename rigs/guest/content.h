// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a page must hold: a function of (seed, slot, version) and of nothing else,
 * so that every byte that comes back can be checked without having been kept.
 *
 * A version is a counter and, in its low bits, the mix that it was drawn from.
 * Version 0, and every version that draws EMPTY, stands for "nothing stored",
 * which a block device reads as zeros.
 *
 * A page is one word repeated, then `random_bytes` random bytes up to its end.  The
 * literals come last because LZ compressors search ever more coarsely inside a long
 * literal: this way round the compressed size is random_bytes and a small constant,
 * to the byte, and random lengths reach every size class.
 */
#ifndef PAGELESS_CONTENT_H
#define PAGELESS_CONTENT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum mix {
	MIX_DISCARD, /* nothing stored */
	MIX_SAME,    /* one word throughout: zram stores no object for it */
	MIX_RANDOM,  /* incompressible */
	MIX_SPREAD,  /* every compressed size alike */
	MIX_SMALL,   /* sizes up to an eighth of a page: many objects in a zspage */
	MIX_MIXED,   /* all of these */
	MIX_CHURN,   /* all of these, and discards */
	MIX_NEARLY,  /* one word throughout but in a single place */
	MIXES
};

static const char *const mix_names[MIXES] = {
	[MIX_DISCARD] = "discard", [MIX_SAME] = "same",   [MIX_RANDOM] = "random", [MIX_SPREAD] = "spread",
	[MIX_SMALL] = "small",	   [MIX_MIXED] = "mixed", [MIX_CHURN] = "churn",   [MIX_NEARLY] = "nearly",
};

/* The mix of that name, or MIXES. */
static inline enum mix mix_named(const char *name)
{
	int mix = 0;

	while (mix < MIXES && strcmp(name, mix_names[mix]))
		mix++;
	return (enum mix)mix;
}

#define MIX_BITS 4
#define VERSION_STEP (1u << MIX_BITS)

static inline uint32_t version_after(uint32_t version, enum mix mix)
{
	return ((version & -VERSION_STEP) + VERSION_STEP) | (uint32_t)mix;
}

/* The finaliser of splitmix64. */
static inline uint64_t mix64(uint64_t z)
{
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* The next 64 random bits of a stream. */
static inline uint64_t draw(uint64_t *state)
{
	return mix64(*state += 0x9e3779b97f4a7c15u);
}

enum kind { KIND_EMPTY, KIND_SAME, KIND_NEARLY, KIND_COMPRESSIBLE, KIND_INCOMPRESSIBLE };

struct recipe {
	enum kind kind;
	size_t random_bytes; /* at the end of the page */
	size_t odd;	     /* the only word of a page that is nearly the same throughout */
	uint64_t word;	     /* repeated in the rest of it */
	uint64_t stream;     /* where the random bytes start */
};

/* Which word of a page is another than all others: often one at either end. */
static inline size_t odd_word(unsigned int lot, size_t words, uint64_t any)
{
	switch (lot % 5) {
	case 0: return 0;
	case 1: return 1;
	case 2: return words - 2;
	case 3: return words - 1;
	default: return any % words;
	}
}

static inline struct recipe recipe_of(uint64_t seed, uint64_t slot, uint32_t version, size_t page_bytes)
{
	enum mix mix = version & (VERSION_STEP - 1);
	int mixed = mix == MIX_MIXED || mix == MIX_CHURN;
	uint64_t state = mix64(seed) ^ mix64((slot << 32) + version + 1);
	unsigned int lot = draw(&state) % 100;
	struct recipe recipe = { .kind = KIND_COMPRESSIBLE };
	size_t longest = page_bytes - 8;

	if (version == 0 || mix == MIX_DISCARD || (mix == MIX_CHURN && lot < 25))
		return (struct recipe){ .kind = KIND_EMPTY };
	if (mix == MIX_SAME || (mixed && lot >= 25 && lot < 35))
		recipe.kind = KIND_SAME;
	else if (mix == MIX_NEARLY)
		recipe.kind = KIND_NEARLY;
	else if (mix == MIX_RANDOM || (mixed && lot >= 35 && lot < 45))
		recipe.kind = KIND_INCOMPRESSIBLE;
	if (mix == MIX_SMALL || (mixed && lot >= 80))
		longest = page_bytes / 8;

	recipe.word = draw(&state);
	if (recipe.kind == KIND_SAME && lot % 4 == 0)
		recipe.word = 0;
	/* Eight random bytes at least, or the page might be same-filled by accident. */
	if (recipe.kind == KIND_COMPRESSIBLE)
		recipe.random_bytes = 8 + draw(&state) % (longest - 7);
	else if (recipe.kind == KIND_INCOMPRESSIBLE)
		recipe.random_bytes = page_bytes;
	else if (recipe.kind == KIND_NEARLY)
		recipe.odd = odd_word(lot, page_bytes / 8, draw(&state));
	recipe.stream = state;
	return recipe;
}

/* Write what that page must hold. */
static inline void content_fill(void *page, uint64_t seed, uint64_t slot, uint32_t version, size_t page_bytes)
{
	struct recipe recipe = recipe_of(seed, slot, version, page_bytes);
	size_t patterned = page_bytes - recipe.random_bytes;
	unsigned char *bytes = page;
	size_t at;
	uint64_t word;

	for (at = 0; at + 8 <= patterned; at += 8)
		memcpy(bytes + at, &recipe.word, 8);
	memcpy(bytes + at, &recipe.word, patterned - at);
	if (recipe.kind == KIND_NEARLY) {
		word = ~recipe.word;
		memcpy(bytes + recipe.odd * 8, &word, 8);
	}
	for (at = patterned; at + 8 <= page_bytes; at += 8) {
		word = draw(&recipe.stream);
		memcpy(bytes + at, &word, 8);
	}
	if (at < page_bytes) {
		word = draw(&recipe.stream);
		memcpy(bytes + at, &word, page_bytes - at);
	}
}

/*
 * What zram should account for pages like this one.  huge_class_size lies between 3/4
 * and 15/16 of a page for every chain size that a kernel can be built with, so in
 * between it is left open whether a page is huge.  Random bytes do not compress, and
 * cost no more than a sixteenth and 67 bytes on top (the worst case that LZO1X names,
 * the largest of zram's compressors').
 */
struct census {
	uint64_t stored;
	uint64_t same;
	uint64_t huge_certain;
	uint64_t huge_possible;
	uint64_t compressed_least;
	uint64_t compressed_most;
};

static inline void census_add(struct census *census, struct recipe recipe, size_t page_bytes)
{
	size_t most = page_bytes;

	census->stored += recipe.kind != KIND_EMPTY;
	census->same += recipe.kind == KIND_SAME;
	census->huge_certain += recipe.random_bytes >= page_bytes / 16 * 15;
	census->huge_possible += recipe.random_bytes >= page_bytes / 4 * 3;
	if (recipe.kind == KIND_EMPTY || recipe.kind == KIND_SAME)
		return;
	if (recipe.kind == KIND_NEARLY)
		/* Long matches take a byte for 255. */
		most = 67 + page_bytes / 128;
	else if (recipe.random_bytes < page_bytes / 4 * 3)
		most = recipe.random_bytes + recipe.random_bytes / 16 + 67;
	census->compressed_least += recipe.random_bytes;
	census->compressed_most += most < page_bytes ? most : page_bytes;
}

#endif
