/* SPDX-License-Identifier: MIT */
/*
 * Sliding windows: how many positions back a layer's attention sees, its own included.
 * `attention.sliding_window` is the width; `attention.sliding_window_pattern` says which layers have it: a
 * number p all but every p-th layer (p-1, 2p-1, ...), an array with one element per layer those that are not
 * zero; without it all.
 */
#include <stdio.h>

#include "base/status.h"
#include "model/model.h"

static int by_array(moe_model *m, const char *key, uint32_t width)
{
    moe__array a;
    MOE_TRY(moe__file_get_array(m->file, key, &a));
    if (a.n != m->hp.n_layers || a.elem_type == MOE_META_STRING || a.elem_type == MOE_META_F32 ||
        a.elem_type == MOE_META_F64)
        return MOE_FAIL(FORMAT, "%s: key %s: expected a number or %u booleans, one per layer",
                        moe__file_name(m->file), key, m->hp.n_layers);
    for (uint32_t l = 0; l < m->hp.n_layers; l++) m->layers[l].window = moe__array_int(&a, l) ? width : 0;
    return MOE_OK;
}

static int read_windows(moe_model *m)
{
    const uint32_t width = m->hp.window;
    char key[128];
    moe_meta meta = MOE_META_INIT;
    uint32_t period;
    if (!width) return MOE_OK;
    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", m->arch->name);
    const int st = moe__file_meta_find(m->file, key, &meta);
    moe__clear_error();
    if (st == MOE_OK && meta.type == MOE_META_ARRAY) return by_array(m, key, width);
    if (st == MOE_OK) MOE_TRY(moe__file_get_u32(m->file, key, &period));
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        m->layers[l].window = st != MOE_OK || period == 0 || l % period < period - 1 ? width : 0;
    return MOE_OK;
}

int moe__window_read(moe_model *m)
{
    uint32_t n[2] = {0, 0};
    MOE_TRY(read_windows(m));
    for (uint32_t l = 0; l < m->hp.n_layers; l++) m->layers[l].kv_index = n[m->layers[l].window != 0]++;
    m->n_windowed = n[1];
    return MOE_OK;
}
