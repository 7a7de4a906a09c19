/* SPDX-License-Identifier: MIT */
/*
 * logits MODEL: writes the bits of all logits after 1, 20 and 40 tokens of a fixed prompt, evaluated in three
 * batches; uses moe.h alone. The first token attends to itself alone: there attention has nothing to sum.
 */
#include <moe/moe.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define N 40

static int print_row(const moe_session *s, size_t row)
{
    const float *x;
    size_t n;
    if (moe_session_logits(s, row, &x, &n) != MOE_OK) return -1;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        printf("%08x\n", (unsigned)bits);
    }
    return 0;
}

static int run(const char *path)
{
    moe_model *m = NULL;
    moe_session *s = NULL;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_token id[N];
    o.n_ctx = 128;
    o.n_threads = 2;
    int bad = moe_model_open(&m, path, NULL) != MOE_OK || moe_session_create(&s, m, &o) != MOE_OK ||
              moe_model_get_info(m, &info) != MOE_OK;
    for (int i = 0; i < N && !bad; i++) id[i] = (moe_token)((i * 7 + 3) % (int)info.n_vocab);
    static const int at[] = {0, 1, N / 2, N};
    for (int i = 0; i < 3 && !bad; i++) {
        printf("tokens: %d\n", at[i + 1]);
        bad = moe_session_eval(s, id + at[i], (size_t)(at[i + 1] - at[i])) != MOE_OK || print_row(s, 0) < 0;
    }
    if (bad) fprintf(stderr, "%s: %s\n", path, moe_last_error());
    moe_session_free(s);
    moe_model_release(m);
    return bad;
}

int main(int argc, char **argv) { return argc == 2 ? run(argv[1]) : 2; }
