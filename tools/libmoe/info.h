/* SPDX-License-Identifier: MIT */
/* What the two forms of libmoe info share. */
#ifndef INFO_H
#define INFO_H

#include "options.h"

/* Names of MOE_SCORE_*, MOE_SELECT_*, MOE_WEIGHT_*, MOE_NORM_* and MOE_TYPE_*; "?" for unknown ones. */
const char *score_name(int32_t i);
const char *select_name(int32_t i);
const char *weight_name(int32_t i);
const char *norm_name(int32_t i);
const char *type_name(int32_t type);

/* Last layer, from `first` on, whose router has the recipe *spec, that of `first`. */
uint32_t route_run(const moe_model *m, uint32_t n_layers, uint32_t first, const moe_route_spec *spec);
/* A string of the metadata, or `none`. */
const char *meta_text(const moe_model *m, const char *key, const char *none);

void info_json(const struct settings *s, const moe_model *m, const moe_model_info *info, const char *path);

#endif
