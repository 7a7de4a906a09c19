/* SPDX-License-Identifier: MIT */
/*
 * The KV cache against a simple model of it: every sequence a plain list of numbers. Random appends that are
 * committed, cut short or rolled back, copies, truncations; after each step all content and all page counts
 * are compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "kv/cell.h"
#include "kv/kv.h"
#include "kv/shift.h"

#define PAGE MOE_KV_PAGE

enum { LAYERS = 3, SEQS = 4, CTX = 5 * MOE_KV_PAGE, WIDTH_K = 6, WIDTH_V = 4 };

static const moe__hparams hp = {.n_layers = LAYERS, .n_heads_kv = 2, .dim_head_k = 3, .dim_head_v = 2};

static moe__kernels kernels;

static void *make(moe__kv *kv, uint32_t n_ctx, uint32_t n_seq, int type_k, int type_v)
{
    moe__carve c = {0};
    moe__kv_size(kv, &hp, n_ctx, n_seq, type_k, type_v);
    moe__kv_carve(kv, &c, 1);
    assert_true(c.used > 0 && c.used < 1u << 24);
    char *block = aligned_alloc(64, c.used);
    assert_non_null(block);
    memset(block, 0x3c, c.used);
    c = (moe__carve){block, 0};
    moe__kv_carve(kv, &c, 1);
    moe__kv_reset(kv);
    return block;
}

static void sizes(void **state)
{
    (void)state;
    moe__kv kv;
    void *block = make(&kv, 100, 1, MOE_TYPE_F16, MOE_TYPE_F32);
    assert_int_equal(kv.n_pages, 2);
    assert_int_equal(kv.width_k, WIDTH_K);
    assert_int_equal(kv.width_v, WIDTH_V);
    assert_int_equal(kv.cell_k, 2 * WIDTH_K);
    assert_int_equal(kv.cell_v, 4 * WIDTH_V);
    assert_int_equal(kv.n_free, 2);
    /* pages of a head are neighbours; heads and layers are not */
    assert_int_equal(kv.page_k, PAGE * 2 * WIDTH_K / 2);
    assert_ptr_equal(moe__kv_page_k(&kv, 1, 1, 1), moe__kv_page_k(&kv, 1, 1, 0) + kv.page_k);
    assert_ptr_equal(moe__kv_page_v(&kv, 1, 1, 0), moe__kv_page_v(&kv, 1, 0, 0) + kv.n_pages * kv.page_v);
    assert_ptr_equal(moe__kv_page_v(&kv, 2, 0, 0), moe__kv_page_v(&kv, 1, 0, 0) + 2 * kv.n_pages * kv.page_v);
    free(block);
}

/* What a row of a type in a file says. */
static void decode(int type, const uint8_t *cell, float *row, size_t n)
{
    moe__type_get(type)->dequant(cell, row, n);
}

/*
 * Cells go in and out without loss, each leaves the others alone, and what load gives is what the cell says.
 * Storing rounds: half a step of floats, of blocks half of d (a whole one where the last step of q4_0 is cut
 * off).
 */
static void cells(void **state)
{
    (void)state;
    static const int types[] = {MOE_TYPE_F32, MOE_TYPE_F16, MOE_TYPE_BF16, MOE_TYPE_Q8_0, MOE_TYPE_Q4_0};
    enum { DIM = 96, HEADS = 2, WIDTH = HEADS * DIM };
    static const moe__hparams big = {
        .n_layers = 2, .n_heads_kv = HEADS, .dim_head_k = DIM, .dim_head_v = DIM};
    static uint8_t want[2][PAGE][4 * WIDTH];
    moe__kernels k;
    assert_int_equal(moe__kernels_init(&k, NULL), MOE_OK);
    for (int t = 0; t < 5; t++) {
        const moe__type *type = moe__type_get(types[t]);
        const size_t bytes = (size_t)moe__type_bytes(type, WIDTH);
        moe__kv kv;
        moe__carve c = {0};
        float row[WIDTH], back[WIDTH];
        uint8_t cell[4 * WIDTH];
        moe__kv_size(&kv, &big, 2 * PAGE, 1, types[t], types[t]);
        moe__kv_carve(&kv, &c, 1);
        char *block = aligned_alloc(64, c.used);
        memset(block, 0xff, c.used); /* not numbers */
        c = (moe__carve){block, 0};
        moe__kv_carve(&kv, &c, 1);
        assert_int_equal(kv.cell_k, bytes);
        assert_true(moe__kv_takes(types[t]));
        for (uint32_t i = 0; i < 2 * PAGE;
             i++) { /* keys of one layer and values of the other, in mixed order */
            const uint32_t at = i / 2 * 37 % PAGE, v = i % 2;
            const moe__kv_place p = {1 - v, 1, at};
            for (int j = 0; j < WIDTH; j++)
                row[j] = (float)((int)(i * 31 + (uint32_t)j * 7) % 401 - 200) / 64.0f;
            v ? moe__kv_store_v(&kv, &k, p, row) : moe__kv_store_k(&kv, &k, p, row);
            v ? moe__kv_load_v(&kv, p, back) : moe__kv_load_k(&kv, p, back);
            v ? moe__kv_get_v(&kv, p, want[v][at]) : moe__kv_get_k(&kv, p, want[v][at]);
            for (int j = 0; j < WIDTH; j++) {
                float amax = 0;
                for (int b = j / 32 * 32; b < j / 32 * 32 + 32; b++)
                    amax = fabsf(row[b]) > amax ? fabsf(row[b]) : amax;
                const float near = type->id == MOE_TYPE_F32    ? 0
                                   : type->id == MOE_TYPE_F16  ? fabsf(row[j]) / 2048
                                   : type->id == MOE_TYPE_BF16 ? fabsf(row[j]) / 256
                                   : type->id == MOE_TYPE_Q8_0 ? amax * (0.501f / 127 + 1.0f / 2048)
                                                               : amax * (1.001f / 8 + 1.0f / 2048);
                assert_true(fabsf(back[j] - row[j]) <= near);
            }
            decode(types[t], want[v][at], row, WIDTH);
            assert_memory_equal(row, back, sizeof row);
        }
        for (uint32_t i = 0; i < 2 * PAGE; i++) {
            const uint32_t at = i / 2, v = i % 2;
            v ? moe__kv_get_v(&kv, (moe__kv_place){1 - v, 1, at}, cell)
              : moe__kv_get_k(&kv, (moe__kv_place){1 - v, 1, at}, cell);
            assert_memory_equal(cell, want[v][at], bytes);
            v ? moe__kv_put_v(&kv, (moe__kv_place){v, 0, (at + 5) % PAGE}, cell)
              : moe__kv_put_k(&kv, (moe__kv_place){v, 0, (at + 5) % PAGE}, cell);
        }
        for (uint32_t i = 0; i < 2 * PAGE; i++) {
            const uint32_t at = i / 2, v = i % 2;
            v ? moe__kv_get_v(&kv, (moe__kv_place){v, 0, (at + 5) % PAGE}, cell)
              : moe__kv_get_k(&kv, (moe__kv_place){v, 0, (at + 5) % PAGE}, cell);
            assert_memory_equal(cell, want[v][at], bytes);
        }
        moe__kv_move_v(&kv, (moe__kv_place){1, 0, 9}, (moe__kv_place){1, 1, 3});
        moe__kv_get_v(&kv, (moe__kv_place){1, 1, 3}, cell);
        assert_memory_equal(cell, want[1][4], bytes);
        free(block);
    }
    assert_false(moe__kv_takes(MOE_TYPE_Q5_0));
    assert_false(moe__kv_takes(-1));
}

/* However n_ctx positions are spread over unshared sequences, they fit. */
static void any_spread_fits(void **state)
{
    (void)state;
    moe__kv kv;
    void *block = make(&kv, CTX, SEQS, MOE_TYPE_F16, MOE_TYPE_F16);
    srand(3);
    for (int round = 0; round < 300; round++) {
        moe__kv_reset(&kv);
        uint32_t left = CTX;
        for (uint32_t q = 0; q < SEQS; q++) {
            const uint32_t n = q == SEQS - 1 ? left : (uint32_t)rand() % (left + 1);
            assert_int_equal(moe__kv_reserve(&kv, q, n), MOE_OK);
            moe__kv_set_len(&kv, q, n);
            moe__kv_commit(&kv);
            left -= n;
        }
    }
    moe__clear_error();
    assert_int_equal(moe__kv_reserve(&kv, 0, CTX), MOE_E_FULL);
    assert_non_null(strstr(moe__last_error(), "KV cache is full"));
    moe__kv_rollback(&kv);
    free(block);
}

/* ---- the simple model ---- */

typedef struct list {
    uint32_t n;
    uint32_t value[CTX + SEQS * MOE_KV_PAGE];
} list;

/* What stands at a position is a number that says who wrote it, in tokens, keys and values alike. */
static void write_at(moe__kv *kv, uint32_t q, uint32_t pos, uint32_t value)
{
    *moe__kv_token(kv, q, pos) = (moe_token)value;
    for (uint32_t l = 0; l < LAYERS; l++) {
        float k[WIDTH_K], v[WIDTH_V];
        for (uint32_t i = 0; i < WIDTH_K; i++) k[i] = (float)(value + l * 7 + i);
        for (uint32_t i = 0; i < WIDTH_V; i++) v[i] = (float)((value + l * 5 + i) % 2048);
        moe__kv_store_k(kv, &kernels, moe__kv_at(kv, l, q, pos), k);
        moe__kv_store_v(kv, &kernels, moe__kv_at(kv, l, q, pos), v);
    }
}

static void assert_at(const moe__kv *kv, uint32_t q, uint32_t pos, uint32_t value)
{
    assert_int_equal(*moe__kv_token(kv, q, pos), value);
    for (uint32_t l = 0; l < LAYERS; l++) {
        float k[WIDTH_K], v[WIDTH_V];
        moe__kv_load_k(kv, moe__kv_at(kv, l, q, pos), k);
        moe__kv_load_v(kv, moe__kv_at(kv, l, q, pos), v);
        for (uint32_t i = 0; i < WIDTH_K; i++) assert_true(k[i] == (float)(value + l * 7 + i));
        for (uint32_t i = 0; i < WIDTH_V; i++) assert_true(v[i] == (float)((value + l * 5 + i) % 2048));
    }
}

/* Every page is free or counted as often as sequences use it; no sequence holds more pages than it needs. */
static void assert_pages_add_up(const moe__kv *kv)
{
    uint32_t used[64] = {0}, n_free = 0;
    assert_true(kv->n_pages <= 64);
    assert_int_equal(kv->n_journal, 0);
    for (uint32_t q = 0; q < kv->n_seq; q++) {
        assert_int_equal(kv->seq[q].n_pages, (kv->seq[q].len + PAGE - 1) / PAGE);
        for (uint32_t i = 0; i < kv->seq[q].n_pages; i++) used[kv->table[q * kv->n_pages + i]]++;
    }
    for (uint32_t p = 0; p < kv->n_pages; p++) {
        assert_int_equal(kv->refs[p], used[p]);
        n_free += used[p] == 0;
    }
    assert_int_equal(kv->n_free, n_free);
    for (uint32_t i = 0; i < kv->n_free; i++) {
        assert_int_equal(used[kv->free_page[i]], 0);
        used[kv->free_page[i]] = 1; /* each only once */
    }
}

static void assert_agrees(const moe__kv *kv, const list *model)
{
    assert_pages_add_up(kv);
    for (uint32_t q = 0; q < SEQS; q++) {
        assert_int_equal(kv->seq[q].len, model[q].n);
        for (uint32_t i = 0; i < model[q].n; i += 1 + i % 5) assert_at(kv, q, i, model[q].value[i]);
        if (model[q].n) assert_at(kv, q, model[q].n - 1, model[q].value[model[q].n - 1]);
    }
}

static uint32_t next_value = 1;

/* One eval over one or two sequences: written in full, then committed whole, in part, or not at all. */
static void append(moe__kv *kv, list *model)
{
    uint32_t q[2] = {(uint32_t)rand() % SEQS, (uint32_t)rand() % SEQS}, n[2];
    const int both = q[0] != q[1];
    int st = MOE_OK;
    for (int i = 0; i <= both; i++)
        n[i] = (uint32_t)rand() % 3 ? 1 + (uint32_t)rand() % 20 : (uint32_t)rand() % (2 * PAGE);
    for (int i = 0; i <= both && st == MOE_OK; i++) st = moe__kv_reserve(kv, q[i], n[i]);
    if (st != MOE_OK) {
        assert_int_equal(st, MOE_E_FULL);
        moe__kv_rollback(kv);
        return;
    }
    const int end = rand() % 3;
    for (int i = 0; i <= both; i++) {
        const uint32_t start = kv->seq[q[i]].len;
        for (uint32_t p = 0; p < n[i]; p++) write_at(kv, q[i], start + p, next_value + p);
        const uint32_t keep = end == 0 ? 0 : end == 1 ? n[i] : (uint32_t)rand() % (n[i] + 1);
        if (end) {
            for (uint32_t p = 0; p < keep; p++) model[q[i]].value[model[q[i]].n++] = next_value + p;
            moe__kv_set_len(kv, q[i], start + keep);
        }
        next_value = (next_value + n[i]) % 60000;
    }
    if (end)
        moe__kv_commit(kv);
    else
        moe__kv_rollback(kv);
}

static void random_life_of_a_cache(void **state)
{
    (void)state;
    static list model[SEQS];
    moe__kv kv;
    void *block = make(&kv, CTX, SEQS, MOE_TYPE_F32, MOE_TYPE_F16);
    srand(5);
    for (int step = 0; step < 3000; step++) {
        const uint32_t q = (uint32_t)rand() % SEQS, to = (uint32_t)rand() % SEQS;
        switch (rand() % 8) {
        case 0:
            moe__kv_copy(&kv, q, to);
            model[to] = model[q];
            break;
        case 1: {
            const uint32_t keep = (uint32_t)rand() % (model[q].n + 1);
            moe__kv_truncate(&kv, q, keep);
            model[q].n = keep;
            break;
        }
        case 2:
            if (rand() % 20) break;
            moe__kv_reset(&kv);
            memset(model, 0, sizeof model);
            break;
        default: append(&kv, model); break;
        }
        assert_agrees(&kv, model);
    }
    free(block);
}

/* A page that two sequences share is copied by the first who writes into it, and given back when nothing came
 * of it. */
static void a_shared_page_is_copied_when_written_to(void **state)
{
    (void)state;
    moe__kv kv;
    void *block = make(&kv, 4 * PAGE, 2, MOE_TYPE_F32, MOE_TYPE_F16);
    assert_int_equal(moe__kv_reserve(&kv, 0, 10), MOE_OK);
    for (uint32_t i = 0; i < 10; i++) write_at(&kv, 0, i, 100 + i);
    moe__kv_set_len(&kv, 0, 10);
    moe__kv_commit(&kv);
    moe__kv_copy(&kv, 0, 1);
    const uint32_t n_free = kv.n_free, shared = moe__kv_page(&kv, 0, 0);
    assert_int_equal(moe__kv_page(&kv, 1, 0), shared);
    assert_int_equal(moe__kv_reserve(&kv, 1, 1), MOE_OK);
    assert_true(moe__kv_page(&kv, 1, 0) != shared);
    assert_int_equal(moe__kv_page(&kv, 0, 0), shared);
    write_at(&kv, 1, 10, 999);
    moe__kv_rollback(&kv);
    assert_int_equal(moe__kv_page(&kv, 1, 0), shared);
    assert_int_equal(kv.n_free, n_free);
    assert_int_equal(moe__kv_reserve(&kv, 1, 1), MOE_OK);
    write_at(&kv, 1, 10, 999);
    moe__kv_set_len(&kv, 1, 11);
    moe__kv_commit(&kv);
    assert_int_equal(kv.n_free, n_free - 1);
    for (uint32_t i = 0; i < 10; i++) {
        assert_at(&kv, 0, i, 100 + i);
        assert_at(&kv, 1, i, 100 + i);
    }
    assert_at(&kv, 1, 10, 999);
    assert_pages_add_up(&kv);
    /* a page boundary: nothing to copy */
    moe__kv_truncate(&kv, 1, 0);
    assert_int_equal(moe__kv_reserve(&kv, 0, PAGE - 10), MOE_OK);
    moe__kv_set_len(&kv, 0, PAGE);
    moe__kv_commit(&kv);
    moe__kv_copy(&kv, 0, 1);
    const uint32_t first = moe__kv_page(&kv, 0, 0);
    assert_int_equal(moe__kv_reserve(&kv, 1, 1), MOE_OK);
    assert_int_equal(moe__kv_page(&kv, 1, 0), first);
    moe__kv_rollback(&kv);
    assert_pages_add_up(&kv);
    free(block);
}

/* Taking out of a window what it has not got moves nothing, needs no page, and leaves none when it is undone.
 */
static void a_shift_of_nothing(void **state)
{
    (void)state;
    enum { N = 2 * PAGE };
    moe__kv kv;
    void *block = make(&kv, 4 * PAGE, 1, MOE_TYPE_F32, MOE_TYPE_F32);
    kv.window = 50;
    assert_int_equal(moe__kv_reserve(&kv, 0, N), MOE_OK);
    moe__kv_set_len(&kv, 0, N);
    moe__kv_set_start(&kv, 0, N, N);
    moe__kv_commit(&kv);
    assert_int_equal(kv.seq[0].n_pages, 2);
    const uint32_t n_free = kv.n_free;
    moe__shift t = {.kv = &kv, .window = 50, .n = 10, .len = N};
    moe__shift_init(&t);
    assert_int_equal(moe__shift_begin(&t), MOE_OK);
    assert_int_equal(kv.n_free, n_free);
    moe__kv_rollback(&kv);
    assert_int_equal(kv.seq[0].n_pages, 2);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(cells),
        cmocka_unit_test(any_spread_fits),
        cmocka_unit_test(a_shared_page_is_copied_when_written_to),
        cmocka_unit_test(a_shift_of_nothing),
        cmocka_unit_test(random_life_of_a_cache),
    };
    return moe__kernels_init(&kernels, NULL) < 0 || cmocka_run_group_tests(tests, NULL, NULL);
}
