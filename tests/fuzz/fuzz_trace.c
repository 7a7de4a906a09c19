/* SPDX-License-Identifier: MIT */
/*
 * Loading a trace (damage.h tells what the input is). Promises: a refused file leaves nothing behind; an
 * accepted one has only experts and weights of its shape, is saved again as the same bytes, can be analysed
 * and goes on; memory stays within the file's size, times a small number.
 */
#include <math.h>

#include "damage.h"
#include "moe/study.h"

static fuzz_heap heap = {0, 0, (size_t)32 << 20};
static damaged sound, file, again;

/* Two layers, three experts, uneven in the second. */
static void prepare_trace(void)
{
    moe_trace *t;
    FUZZ_CHECK(moe_trace_create(&t, NULL, MOE_TRACE_WEIGHTS | MOE_TRACE_LOGITS, NULL) == MOE_OK);
    FUZZ_CHECK(moe_trace_set_shape(t, 2, 3) == MOE_OK);
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t l = 0; l < 2; l++) {
            const uint32_t offset[2] = {0, l ? i % 3 : 2}, expert[2] = {i % 3, (i + 1) % 3};
            const float weight[2] = {.75f, .25f}, logits[3] = {1, 2, 3};
            const moe_token token = (moe_token)i;
            const moe_route_view v = {.size = sizeof v,
                                      .layer = l,
                                      .n_rows = 1,
                                      .n_experts = 3,
                                      .offset = offset,
                                      .expert = expert,
                                      .weight = weight,
                                      .logits = logits,
                                      .token = &token};
            FUZZ_CHECK(moe_trace_begin(t, i / 4) == MOE_OK);
            FUZZ_CHECK(moe_trace_observe(&v, t) == MOE_OK);
        }
    FUZZ_CHECK(moe_trace_save_file(t, damage_path()) == MOE_OK);
    moe_trace_free(t);
    damage_read(&sound);
}

static void check_rows(const moe_trace *t, const moe_trace_info *info)
{
    for (uint64_t i = 0; i < info->n_tokens && i < 200; i++)
        for (uint32_t l = 0; l < info->n_layers; l++) {
            moe_trace_row r = MOE_TRACE_ROW_INIT;
            FUZZ_CHECK(moe_trace_at(t, i, l, &r) == MOE_OK && r.k <= info->max_k);
            for (uint32_t j = 0; j < r.k; j++) {
                FUZZ_CHECK(r.expert[j] < info->n_experts);
                FUZZ_CHECK(!r.weight || isfinite(r.weight[j]));
            }
        }
}

static int share(double x) { return x >= 0 && x <= 1; }

static void check_analysis(const moe_trace *t, const moe_trace_info *info)
{
    static const uint32_t size[2] = {1, 3};
    double x, rate[2];
    if (info->n_tokens > 2000 || info->n_layers > 64 || info->n_experts > 4096) return; /* takes its time */
    if (moe_trace_reuse(t, MOE_ALL_LAYERS, &x) == MOE_OK) FUZZ_CHECK(share(x));
    for (int level = MOE_SRP_EXPERT; level <= MOE_SRP_MODEL; level++)
        if (moe_trace_srp(t, MOE_ALL_LAYERS, 2, level, &x, NULL) == MOE_OK) FUZZ_CHECK(share(x));
    for (int p = MOE_CACHE_LRU; p <= MOE_CACHE_SCH; p++)
        if (moe_trace_cache(t, p, MOE_ALL_LAYERS, p == MOE_CACHE_SCH ? 2 : 0, size, 2, rate) == MOE_OK)
            FUZZ_CHECK(share(rate[0]) && share(rate[1]) && rate[0] <= rate[1]);
}

/* One more token; what was there stays. */
static void go_on(moe_trace *t, const moe_trace_info *info)
{
    moe_trace_row r = MOE_TRACE_ROW_INIT;
    moe_trace_info more = MOE_TRACE_INFO_INIT;
    static const uint32_t offset[2] = {0, 1}, expert = 0;
    static const float weight = 1, logits[4096];
    if (info->n_experts > 4096) return;
    for (uint32_t l = 0; l < info->n_layers; l++) {
        /* a layer's number in the model is only to be had from a row */
        if (info->n_tokens == 0) return;
        FUZZ_CHECK(moe_trace_at(t, 0, l, &r) == MOE_OK);
        const moe_route_view v = {.size = sizeof v,
                                  .layer = r.model_layer,
                                  .n_rows = 1,
                                  .n_experts = info->n_experts,
                                  .offset = offset,
                                  .expert = &expert,
                                  .weight = &weight,
                                  .logits = logits};
        const int st = moe_trace_observe(&v, t);
        if (st == MOE_E_NOMEM) return;
        FUZZ_CHECK(st == MOE_OK);
    }
    FUZZ_CHECK(moe_trace_get_info(t, &more) == MOE_OK && more.n_tokens == info->n_tokens + 1);
    check_rows(t, &more);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_input in = {data, n};
    const moe_allocator hook = fuzz_allocator(&heap);
    moe_trace *t;
    if (sound.n == 0) prepare_trace();
    damage_file(&in, &sound, &file);
    damage_write(&file);
    heap.peak = heap.now;
    if (moe_trace_load_file(&t, damage_path(), &hook) == MOE_OK) {
        moe_trace_info info = MOE_TRACE_INFO_INIT;
        FUZZ_CHECK(heap.peak < 65536 + 64 * file.n);
        FUZZ_CHECK(moe_trace_get_info(t, &info) == MOE_OK);
        check_rows(t, &info);
        FUZZ_CHECK(moe_trace_save_file(t, damage_path()) == MOE_OK);
        damage_read(&again);
        FUZZ_CHECK(again.n == file.n && memcmp(again.p, file.p, file.n) == 0);
        check_analysis(t, &info);
        go_on(t, &info);
        moe_trace_free(t);
    } else {
        FUZZ_CHECK(t == NULL && *moe_last_error());
        FUZZ_CHECK(heap.peak < 65536 + 64 * file.n);
    }
    remove(damage_path());
    FUZZ_CHECK(heap.now == 0);
    return 0;
}
