/* SPDX-License-Identifier: MIT */
/*
 * Loading steering. Byte 0 of the input: bit 0: what follows is the text itself; else it is put behind a
 * sound head, as the inside of the list of layers. Promises: a refused text leaves the steering as it was, to
 * the byte of what would be saved; an accepted one can be saved, what was saved is accepted and saved again
 * as the same bytes, and the session evaluates; nothing leaked.
 */
#include "fuzz.h"

typedef struct steering_text {
    char p[1 << 16];
    size_t n;
} steering_text;

static fuzz_heap heap = {0, 0, (size_t)64 << 20};
static moe_model *model;
static moe_session *session;
static steering_text before, after, again;

static int keep_steering(const void *data, size_t n, void *user)
{
    steering_text *t = user;
    if (n > sizeof t->p - t->n) return MOE_E_FULL;
    memcpy(t->p + t->n, data, n);
    t->n += n;
    return 0;
}

/* 0 if it does not fit; anything else is a fault. */
static int save_steering(steering_text *t)
{
    t->n = 0;
    const int st = moe_session_save_steering(session, keep_steering, t);
    FUZZ_CHECK(st == MOE_OK || st == MOE_E_FULL);
    return st == MOE_OK;
}

static void prepare(void)
{
    const moe_allocator hook = fuzz_allocator(&heap);
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_session_options so = MOE_SESSION_OPTIONS_INIT;
    o.allocator = &hook;
    so.n_ctx = 64;
    so.n_seq_max = 2;
    so.n_batch_max = 4;
    so.n_threads = 1;
    FUZZ_CHECK(moe_model_open(&model, FUZZ_MODEL, &o) == MOE_OK);
    FUZZ_CHECK(moe_session_create(&session, model, &so) == MOE_OK);
}

static void evaluate(void)
{
    static const moe_token ids[] = {1, 2, 3};
    moe_session_reset(session);
    const int st = moe_session_eval(session, ids, 3);
    /* weights may well overflow, expert choice wants whole sequences */
    FUZZ_CHECK(st == MOE_OK || st == MOE_E_NUMERIC || st == MOE_E_STATE || st == MOE_E_UNSUPPORTED ||
               st == MOE_E_INVALID);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char head[] =
        "{\"format\":\"libmoe-steering\",\"version\":1,\"model\":{\"fingerprint\":\"any\"},\"layers\":[";
    static char text[1 << 15];
    size_t len = 0;
    if (!model) prepare();
    if (n < 1 || n > sizeof text / 2) return 0;
    const int raw = data[0] & 1;
    if (!raw) memcpy(text, head, len = sizeof head - 1);
    memcpy(text + len, data + 1, n - 1);
    len += n - 1;
    if (!raw) {
        memcpy(text + len, "]}", 2);
        len += 2;
    }
    const int fits = save_steering(&before);
    char *exact = malloc(len ? len : 1);
    if (!exact) exit(2);
    memcpy(exact, text, len);
    const int st = moe_session_load_steering(session, exact, len);
    free(exact);
    if (st != MOE_OK) {
        FUZZ_CHECK(*moe_last_error());
        if (fits)
            FUZZ_CHECK(save_steering(&after) && before.n == after.n &&
                       memcmp(before.p, after.p, before.n) == 0);
        return 0;
    }
    evaluate();
    if (save_steering(&after)) {
        FUZZ_CHECK(moe_session_load_steering(session, after.p, after.n) == MOE_OK);
        FUZZ_CHECK(save_steering(&again) && again.n == after.n && memcmp(again.p, after.p, after.n) == 0);
    }
    moe_router *all;
    FUZZ_CHECK(moe_session_router(session, MOE_ALL_LAYERS, &all) == MOE_OK &&
               moe_router_reset(all) == MOE_OK);
    return 0;
}
