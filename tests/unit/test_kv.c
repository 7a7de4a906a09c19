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

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "kv/kv.h"

#define PAGE MOE_KV_PAGE

enum { LAYERS = 3, SEQS = 4, CTX = 5 * MOE_KV_PAGE, WIDTH_K = 6, WIDTH_V = 4 };

static const moe__hparams hp = {.n_layers = LAYERS, .n_heads_kv = 2, .dim_head_k = 3, .dim_head_v = 2};

static void *make(moe__kv *kv, uint32_t n_ctx, uint32_t n_seq, int type_k, int type_v)
{
    moe__carve c = {0};
    moe__kv_size(kv, &hp, n_ctx, n_seq, type_k, type_v);
    moe__kv_carve(kv, &c);
    assert_true(c.used > 0 && c.used < 1u << 24);
    char *block = aligned_alloc(64, c.used);
    assert_non_null(block);
    memset(block, 0x3c, c.used);
    c = (moe__carve){block, 0};
    moe__kv_carve(kv, &c);
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
    assert_int_equal(kv.size_k, 2);
    assert_int_equal(kv.size_v, 4);
    assert_int_equal(kv.n_free, 2);
    /* positions of a page are neighbours; layers are not */
    assert_int_equal(moe__kv_reserve(&kv, 0, 100), MOE_OK);
    assert_ptr_equal((char *)moe__kv_k(&kv, 1, 0, 63), (char *)moe__kv_k(&kv, 1, 0, 0) + 63 * WIDTH_K * 2);
    assert_ptr_equal((char *)moe__kv_v(&kv, 2, 0, 99), (char *)moe__kv_v(&kv, 2, 0, 64) + 35 * WIDTH_V * 4);
    free(block);
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
        float *k = moe__kv_k(kv, l, q, pos);
        uint16_t *v = moe__kv_v(kv, l, q, pos);
        for (uint32_t i = 0; i < WIDTH_K; i++) k[i] = (float)(value + l * 7 + i);
        for (uint32_t i = 0; i < WIDTH_V; i++) v[i] = (uint16_t)(value + l * 5 + i);
    }
}

static void assert_at(const moe__kv *kv, uint32_t q, uint32_t pos, uint32_t value)
{
    assert_int_equal(*moe__kv_token(kv, q, pos), value);
    for (uint32_t l = 0; l < LAYERS; l++) {
        const float *k = moe__kv_k(kv, l, q, pos);
        const uint16_t *v = moe__kv_v(kv, l, q, pos);
        for (uint32_t i = 0; i < WIDTH_K; i++) assert_true(k[i] == (float)(value + l * 7 + i));
        for (uint32_t i = 0; i < WIDTH_V; i++) assert_true(v[i] == (uint16_t)(value + l * 5 + i));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(any_spread_fits),
        cmocka_unit_test(a_shared_page_is_copied_when_written_to),
        cmocka_unit_test(random_life_of_a_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
