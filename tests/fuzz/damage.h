/* SPDX-License-Identifier: MIT */
/*
 * Damage to a file that ends with the XXH64 of what is before it. Byte 0 of an input: bit 1: the rest is the
 * file itself; else it is a list of changes to a sound one, {u16 position, u8 value}, position 0xffff
 * meaning: cut to u16 bytes. Bit 0: the sum is put right afterwards, so that the checks behind it are
 * reached.
 */
#ifndef FUZZ_DAMAGE_H
#define FUZZ_DAMAGE_H

#include <unistd.h>

#include "base/hash.h"
#include "fuzz.h"

typedef struct damaged {
    uint8_t p[1 << 16];
    size_t n;
} damaged;

static inline void damage_file(fuzz_input *in, const damaged *sound, damaged *out)
{
    const uint32_t mode = fuzz_u8(in);
    if (mode & 2) {
        out->n = in->n < sizeof out->p ? in->n : sizeof out->p;
        if (out->n) memcpy(out->p, in->p, out->n);
    } else {
        memcpy(out, sound, sizeof *out);
        while (in->n >= 3) {
            const uint32_t at = fuzz_u16(in);
            if (at == 0xffff) {
                const uint32_t cut = fuzz_u16(in);
                out->n = cut < out->n ? cut : out->n;
            } else {
                out->p[at % sound->n] = (uint8_t)fuzz_u8(in);
            }
        }
    }
    if (!(mode & 1) || out->n < 8) return;
    const uint64_t sum = moe__hash_of(out->p, out->n - 8);
    for (size_t i = 0; i < 8; i++) out->p[out->n - 8 + i] = (uint8_t)(sum >> (8 * i));
}

/* The name of a file of this process's own; in memory where the system has a place for that. */
static inline const char *damage_path(void)
{
    static char path[64];
    if (!path[0])
        snprintf(path, sizeof path, "%s/libmoe-fuzz-%ld.tmp",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (long)getpid());
    return path;
}

static inline void damage_write(const damaged *d)
{
    FILE *f = fopen(damage_path(), "wb");
    if (!f || (d->n && fwrite(d->p, 1, d->n, f) != d->n) || fclose(f) != 0) exit(2);
}

static inline void damage_read(damaged *d)
{
    const fuzz_bytes b = fuzz_load(damage_path());
    FUZZ_CHECK(b.n <= sizeof d->p);
    memcpy(d->p, b.p, b.n);
    d->n = b.n;
    free((void *)(uintptr_t)b.p);
}

#endif
