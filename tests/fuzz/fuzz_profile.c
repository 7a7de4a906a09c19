/* SPDX-License-Identifier: MIT */
/*
 * Loading a profile, with its model and without (damage.h tells what the input is). Promises: a refused file
 * leaves nothing behind; an accepted one is saved again as the same bytes, answers every question, can be
 * merged and goes on; memory stays within the file's size, times a small number.
 */
#include "damage.h"
#include "moe/study.h"

static fuzz_heap heap = {0, 0, (size_t)32 << 20};
static moe_model *model;
static damaged sound, file, again;
static moe_route_view view;
static uint32_t view_offset[3] = {0, 2, 3}, view_expert[3] = {1, 0, 1};
static float view_weight[3] = {.75f, .25f, 0};
static moe_token view_token[2] = {1, 2};
static moe_pos view_pos[2] = {0, 1};

static void prepare_profile(void)
{
    const moe_allocator hook = fuzz_allocator(&heap);
    moe_model_options mo = MOE_MODEL_OPTIONS_INIT;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_profile_options o = MOE_PROFILE_OPTIONS_INIT;
    moe_profile *p;
    mo.allocator = &hook;
    o.flags = MOE_PROFILE_OUTPUTS | MOE_PROFILE_PAIRS;
    o.n_classes = 2;
    o.n_tokens_max = 3;
    o.n_pos_max = 2;
    FUZZ_CHECK(moe_model_open(&model, FUZZ_MODEL, &mo) == MOE_OK);
    FUZZ_CHECK(moe_model_get_info(model, &info) == MOE_OK);
    FUZZ_CHECK(moe_profile_create(&p, model, &o) == MOE_OK);
    FUZZ_CHECK(moe_profile_begin(p, 1) == MOE_OK);
    FUZZ_CHECK(moe_profile_mark(p, 0, view_token + 1, 1) == MOE_OK);
    view = (moe_route_view){.size = sizeof view,
                            .n_rows = 2,
                            .n_experts = info.n_experts,
                            .offset = view_offset,
                            .expert = view_expert,
                            .weight = view_weight,
                            .token = view_token,
                            .pos = view_pos};
    for (view.layer = 0; view.layer < info.n_layers; view.layer++)
        if (moe_profile_add(p, &view) != MOE_OK) FUZZ_CHECK(view.layer == 0); /* it may be dense */
    FUZZ_CHECK(moe_profile_save_file(p, damage_path()) == MOE_OK);
    moe_profile_free(p);
    damage_read(&sound);
}

/* Every question; the answers of a made-up file may be anything. */
static void ask(const moe_profile *p, const moe_profile_info *info)
{
    static double x[1 << 16];
    moe_expert_find find[3];
    size_t n;
    find[0].size = sizeof find[0];
    for (uint32_t l = 0; l < info->n_layers && l < 40; l++) {
        moe_router_profile r = MOE_ROUTER_PROFILE_INIT;
        FUZZ_CHECK(moe_profile_router(p, l, &r) == MOE_OK);
        for (int what = MOE_PROFILE_COUNT; what <= MOE_PROFILE_NPMI; what++) {
            const int st = moe_profile_read(p, l, what, x, sizeof x / sizeof x[0], &n);
            FUZZ_CHECK(st == MOE_OK || st == MOE_E_NOTFOUND || st == MOE_E_BUFFER);
        }
    }
    (void)moe_profile_super(p, find, 3, &n);
    for (int by = MOE_RANK_NPMI; by <= MOE_RANK_RATE; by++) {
        (void)moe_profile_rank(p, by, 0, UINT32_MAX, find, 3, &n);
        (void)moe_profile_rank(p, by, info->n_classes - 1, 0, find, 3, &n);
    }
}

static void check_loaded(moe_profile *p)
{
    moe_profile_info info = MOE_PROFILE_INFO_INIT;
    FUZZ_CHECK(moe_profile_get_info(p, &info) == MOE_OK);
    FUZZ_CHECK(moe_profile_save_file(p, damage_path()) == MOE_OK);
    damage_read(&again);
    FUZZ_CHECK(again.n == file.n && memcmp(again.p, file.p, file.n) == 0);
    ask(p, &info);
    FUZZ_CHECK(moe_profile_merge(p, p) == MOE_OK);
    view.layer = info.n_layers ? info.n_layers - 1 : 0;
    (void)moe_profile_add(p, &view);
    moe_profile_reset(p);
    ask(p, &info);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_input in = {data, n};
    if (sound.n == 0) prepare_profile();
    damage_file(&in, &sound, &file);
    for (int with = 0; with < 2; with++) {
        moe_profile *p;
        const size_t before = heap.now;
        damage_write(&file);
        heap.peak = before;
        if (moe_profile_load_file(&p, with ? model : NULL, damage_path()) == MOE_OK)
            check_loaded(p);
        else
            FUZZ_CHECK(p == NULL && *moe_last_error());
        moe_profile_free(p);
        FUZZ_CHECK(heap.now == before && heap.peak - before < ((size_t)1 << 20) + 64 * file.n);
    }
    remove(damage_path());
    return 0;
}
