/* SPDX-License-Identifier: MIT */
/* XXH64 (the published xxHash specification): checksums of session files, fingerprints of models. Streaming,
 * portable, any endianness. */
#ifndef MOE_BASE_HASH_H
#define MOE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct moe__hash {
    uint64_t lane[4], total;
    uint8_t rest[32];
    uint32_t n_rest;
} moe__hash;

void moe__hash_init(moe__hash *h);
void moe__hash_add(moe__hash *h, const void *data, size_t n);
uint64_t moe__hash_get(const moe__hash *h);
uint64_t moe__hash_of(const void *data, size_t n);

#endif
