/* SPDX-License-Identifier: MIT */
/* Shared by engine.c and steer.c only. */
#ifndef DESKTOP_ENGINE_PRIVATE_H
#define DESKTOP_ENGINE_PRIVATE_H

#include "engine.h"

struct engine {
    char *path;
    moe_model *model;
    moe_session *session;
    moe_sampler *sampler;     /* of the continuation under way */
    const moe_tokenizer *tok; /* the model's */
    moe_model_info info;
    const gint *stop; /* not 0: somebody wants the eval to end */

    uint32_t n_rows;  /* layers with a router */
    uint32_t *layer;  /* [n_rows] their numbers */
    uint32_t *row_of; /* [n_layers] the other way round; UINT32_MAX for dense layers */
    float *heat;      /* see engine_heat() */
    float fade;       /* what a token leaves of those before it */

    char **voices, *voice_default;
    char **preset_text; /* [N_PRESETS][n_rows] each preset in the words of moe_router_get_named() */
    bool stale;         /* the steering has changed since the session's text was evaluated */

    moe_stream stream; /* bytes of a character that is not complete yet */
    moe_token voice;   /* opens the text under way; MOE_TOKEN_NONE: nothing does */
    moe_token next;    /* picked, not evaluated yet */
    bool skip_space;   /* the text ended with a space: the continuation need not begin with one */
};

void engine_learn_presets(engine *e);

#endif
