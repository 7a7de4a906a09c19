/* SPDX-License-Identifier: MIT */
/* See shift.h. */
#include "shift.h"
#include "interrupt.h"
#include "options.h"

static int make_room(moe_session *s, size_t keep, size_t *gone)
{
    const size_t len = moe_session_seq_len(s, 0), n = len > keep ? (len - keep + 1) / 2 : 0;
    const int status = moe_session_seq_remove(s, 0, (moe_pos)keep, n);
    if (status == MOE_OK) *gone += n;
    return status;
}

/* Tokens that surely fit once there was made room. */
static size_t piece_of(const moe_session *s, size_t keep)
{
    moe_session_info info = MOE_SESSION_INFO_INIT;
    if (moe_session_get_info(s, &info) != MOE_OK || info.n_ctx < keep + 4) return 1;
    return (info.n_ctx - keep) / 4;
}

int eval_shifting(moe_session *s, const moe_token *ids, size_t n, int32_t keep, size_t *gone)
{
    const size_t piece = keep ? piece_of(s, (size_t)keep) : n;
    while (n) {
        const size_t part = n < piece ? n : piece;
        int status = eval_tokens(s, ids, part);
        if (status == MOE_E_FULL && keep) {
            status = make_room(s, (size_t)keep, gone);
            if (status == MOE_OK) status = eval_tokens(s, ids, part);
        }
        if (status != MOE_OK) return status;
        ids += part;
        n -= part;
    }
    return MOE_OK;
}

bool shift_fits(const struct settings *s, const moe_session *session)
{
    moe_session_info info = MOE_SESSION_INFO_INIT;
    if (!s->shift || moe_session_get_info(session, &info) != MOE_OK) return true;
    if ((uint32_t)s->shift + 4 <= info.n_ctx) return true;
    usage_error(s->command, "--shift %d: a context of %u tokens has no room for the rest of the text",
                (int)s->shift, (unsigned)info.n_ctx);
    return false;
}
