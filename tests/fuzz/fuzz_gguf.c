/* SPDX-License-Identifier: MIT */
/*
 * The GGUF reader on any bytes: opened mapped and through read_at, whole and for metadata only; everything it
 * offers is walked. Promises: memory in proportion to the input, the same answer from both kinds of sources,
 * every file closed once, nothing leaked.
 */
#include "base/alloc.h"
#include "base/status.h"
#include "file/file.h"
#include "fuzz.h"

/* A running checksum over all that a file says. */
static uint64_t mix(uint64_t h, const void *p, size_t n)
{
    const unsigned char *c = p;
    for (size_t i = 0; i < n; i++) h = (h ^ c[i]) * 0x100000001b3u;
    return h;
}

static uint64_t walk_meta(const moe__file *f, uint64_t h)
{
    for (size_t i = 0; i < moe__file_meta_count(f); i++) {
        moe_meta m = MOE_META_INIT, e = MOE_META_INIT, again = MOE_META_INIT;
        uint32_t u;
        float x;
        int yes;
        const char *s;
        size_t len;
        FUZZ_CHECK(moe__file_meta_at(f, i, &m) == MOE_OK);
        FUZZ_CHECK(moe__file_meta_find(f, m.key, &again) == MOE_OK && again.key == m.key);
        h = mix(h, m.key, strlen(m.key) + 1);
        h = mix(h, &m.u64, sizeof m.u64);
        if (m.type == MOE_META_STRING) {
            FUZZ_CHECK(m.str[m.n] == '\0');
            h = mix(h, m.str, (size_t)m.n);
        }
        (void)moe__file_get_u32(f, m.key, &u);
        (void)moe__file_get_f32(f, m.key, &x);
        (void)moe__file_get_bool(f, m.key, &yes);
        (void)moe__file_get_str(f, m.key, &s, &len);
        if (m.type != MOE_META_ARRAY) continue;
        moe__array a;
        FUZZ_CHECK(moe__file_get_array(f, m.key, &a) == MOE_OK && a.n == m.n);
        for (uint64_t j = 0; j < m.n; j++) {
            FUZZ_CHECK(moe__file_meta_elem(f, m.key, j, &e) == MOE_OK);
            if (e.type == MOE_META_STRING)
                h = mix(h, moe__array_str(&a, j, &len), (size_t)e.n + 1);
            else
                h = mix(h, &e.i64, sizeof e.i64);
        }
        FUZZ_CHECK(moe__file_meta_elem(f, m.key, m.n, &e) == MOE_E_RANGE);
    }
    return h;
}

static uint64_t walk_tensors(const moe__file *f, uint64_t h, int whole)
{
    unsigned char part[64];
    for (size_t i = 0; i < moe__file_tensor_count(f); i++) {
        const moe__tensor *t = moe__file_tensor_at(f, i);
        const void *map;
        FUZZ_CHECK(moe__file_tensor_find(f, t->name) == t);
        FUZZ_CHECK(t->n >= 1 && t->bytes >= 1 && t->n_dims >= 1 && t->n_dims <= 4);
        h = mix(h, t->name, strlen(t->name) + 1);
        h = mix(h, t->dim, sizeof t->dim);
        if (!whole) continue;
        FUZZ_CHECK(moe__file_tensor_map(f, t, &map) == MOE_OK);
        for (uint64_t off = 0; off < t->bytes; off += sizeof part) {
            const size_t n = t->bytes - off < sizeof part ? (size_t)(t->bytes - off) : sizeof part;
            FUZZ_CHECK(moe__file_tensor_read(f, t, off, part, n) == MOE_OK);
            FUZZ_CHECK(!map || memcmp((const char *)map + off, part, n) == 0);
            h = mix(h, part, n);
        }
        FUZZ_CHECK(moe__file_tensor_read(f, t, t->bytes, part, 1) == MOE_E_RANGE);
    }
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_bytes b = {data, n, 0};
    int status[2];
    uint64_t sum[2] = {0, 0};
    for (uint32_t flags = 0; flags <= MOE_OPEN_METADATA_ONLY; flags += MOE_OPEN_METADATA_ONLY) {
        for (int mapped = 0; mapped < 2; mapped++) {
            fuzz_heap heap = {0, 0, SIZE_MAX};
            moe__allocator a;
            moe__file *f = NULL;
            const moe_allocator hook = fuzz_allocator(&heap);
            const moe_file mf = fuzz_file(&b, mapped);
            FUZZ_CHECK(moe__allocator_init(&a, &hook) == MOE_OK);
            status[mapped] = moe__file_open_user(&f, &mf, &b, &a, flags);
            FUZZ_CHECK((status[mapped] == MOE_OK) == (f != NULL));
            FUZZ_CHECK(heap.peak <= 64 * n + 65536);
            if (f) {
                FUZZ_CHECK(moe__file_overhead(f) == heap.now);
                sum[mapped] = walk_tensors(f, walk_meta(f, 1), !flags);
            } else {
                FUZZ_CHECK(*moe__last_error());
            }
            moe__file_close(f);
            FUZZ_CHECK(heap.now == 0 && b.open == 0);
        }
        FUZZ_CHECK(status[0] == status[1] && sum[0] == sum[1]);
    }
    return 0;
}
