/* SPDX-License-Identifier: MIT */
/*
 * newer MODEL: a program of today on an older library (0.1.0): members that it does not know are refused when
 * they are set, flags and stages too; what it does not fill stays zero.
 */
#include <moe/moe.h>
#include <stdio.h>
#include <string.h>

/* Options as some later version might have them. */
typedef struct later_options {
    moe_session_options o;
    uint64_t new_member;
} later_options;

static int check(int ok, const char *what)
{
    if (!ok) printf("%s: %s\n", what, moe_last_error());
    return ok;
}

int main(int argc, char **argv)
{
    moe_model *m;
    moe_session *s = NULL;
    moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
    moe_stats stats = MOE_STATS_INIT;
    later_options later;
    moe_token id[2] = {1, 2};
    if (argc != 2 || !check(moe_version() < MOE_VERSION, "an older library") ||
        !check(moe_model_open(&m, argv[1], NULL) == MOE_OK, "open"))
        return 1;
    memset(&later, 0, sizeof later);
    later.o.size = sizeof later;
    later.o.n_ctx = 64;
    int ok = check(moe_session_create(&s, m, &later.o) == MOE_OK, "unset members pass");
    moe_session_free(s);
    later.new_member = 7;
    ok &= check(moe_session_create(&s, m, &later.o) == MOE_E_VERSION, "set members are refused");
    later.o.size = sizeof later.o;
    later.o.flags = MOE_SESSION_LOW_PRIORITY;
    ok &= check(moe_session_create(&s, m, &later.o) == MOE_E_INVALID, "flags are refused");
    later.o.flags = 0;
    ok &= check(moe_session_create(&s, m, &later.o) == MOE_OK, "session");
    spec.norm_p = 3.0f;
    ok &=
        check(moe_model_get_route(m, 0, &spec) == MOE_OK && spec.top_k > 0 && spec.norm_p == 0.0f, "recipe");
    stats.ns_select = 9;
    ok &= check(moe_session_eval(s, id, 2) == MOE_OK && moe_session_get_stats(s, &stats) == MOE_OK &&
                    stats.tokens_prefill == 2 && stats.ns_select == 0,
                "counters");
    moe_session_free(s);
    moe_model_release(m);
    return ok ? 0 : 1;
}
