/* SPDX-License-Identifier: MIT */
/*
 * The logits of the tiny models are the same bits on every CPU: test_bits DIR TABLE computes them with plain
 * C kernels ("ref") and with the best ones of this CPU, and compares their FNV-1a hash with the one recorded
 * in TABLE, whose lines are a model of DIR and 16 hexadecimal digits. test_bits DIR TABLE --print prints what
 * TABLE should hold (tests/golden/data/bits.txt was recorded on x86-64). Uses the public header alone, prints
 * TAP.
 */
#include <inttypes.h>
#include <moe/moe.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define N_PREFILL 32
#define N_DECODE  8

static int hash_row(const moe_session *s, uint64_t *hash)
{
    const float *x;
    size_t n;
    if (moe_session_logits(s, 0, &x, &n) != MOE_OK) return 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        for (int b = 0; b < 32; b += 8) *hash = (*hash ^ (bits >> b & 0xffu)) * UINT64_C(0x100000001b3);
    }
    return 1;
}

/* The last logits of a prompt, then those of eight tokens one by one. */
static int hash_session(moe_session *s, uint32_t n_vocab, uint64_t *hash)
{
    moe_token id[N_PREFILL + N_DECODE];
    for (uint32_t i = 0; i < N_PREFILL + N_DECODE; i++) id[i] = (moe_token)((i * 7 + 3) % n_vocab);
    *hash = UINT64_C(0xcbf29ce484222325);
    if (moe_session_eval(s, id, N_PREFILL) != MOE_OK || !hash_row(s, hash)) return 0;
    for (int i = 0; i < N_DECODE; i++)
        if (moe_session_eval(s, id + N_PREFILL + i, 1) != MOE_OK || !hash_row(s, hash)) return 0;
    return 1;
}

static int hash_model(const char *path, const char *isa, uint64_t *hash)
{
    moe_model *m = NULL;
    moe_session *s = NULL;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_model_options mo = MOE_MODEL_OPTIONS_INIT;
    moe_session_options so = MOE_SESSION_OPTIONS_INIT;
    mo.isa_max = isa;
    so.n_ctx = N_PREFILL + N_DECODE;
    so.n_threads = 2;
    const int ok = moe_model_open(&m, path, &mo) == MOE_OK && moe_session_create(&s, m, &so) == MOE_OK &&
                   moe_model_get_info(m, &info) == MOE_OK && hash_session(s, info.n_vocab, hash);
    if (!ok) printf("# %s: %s\n", path, moe_last_error());
    moe_session_free(s);
    moe_model_release(m);
    return ok;
}

int main(int argc, char **argv)
{
    const int print = argc == 4 && strcmp(argv[3], "--print") == 0;
    char line[256], name[128], path[1024];
    int n = 0, n_failed = 0;
    FILE *f = argc >= 3 ? fopen(argv[2], "r") : NULL;
    if (!f) {
        fprintf(stderr, "usage: %s DIR TABLE [--print]\n", argv[0]);
        return 2;
    }
    if (!print) printf("# best level %s\n", moe_cpu_isa());
    while (fgets(line, sizeof line, f)) {
        uint64_t recorded = 0;
        const int found = sscanf(line, "%127s %" SCNx64, name, &recorded);
        if (found < 1) continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], name);
        for (int level = 0; level < (print ? 1 : 2); level++) {
            uint64_t hash = 0;
            const int ok = hash_model(path, level == 0 ? "ref" : NULL, &hash) && hash == recorded;
            if (print) {
                printf("%-24s %016" PRIx64 "\n", name, hash);
                continue;
            }
            printf("%s %d - bits of %s, %s kernels", ok ? "ok" : "not ok", ++n, name,
                   level == 0 ? "plain C" : "the best");
            if (!ok) printf(": %016" PRIx64 ", recorded %016" PRIx64, hash, recorded);
            putchar('\n');
            n_failed += !ok;
        }
    }
    fclose(f);
    if (!print) printf("1..%d\n", n);
    return n_failed != 0 || (!print && n == 0);
}
