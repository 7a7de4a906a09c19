/* SPDX-License-Identifier: MIT */
/* Names of recipes in texts: selection rules, and what model families use (names.c). */
#ifndef MOE_ROUTE_NAMES_H
#define MOE_ROUTE_NAMES_H

#include "moe/ext.h"

typedef enum moe__name_kind {
    MOE_NAME_NATIVE,  /* the model's own recipe */
    MOE_NAME_CURRENT, /* the one in use */
    MOE_NAME_RULE,    /* the one in use with another rule: spec.select */
    MOE_NAME_FAMILY   /* spec, whatever is in use */
} moe__name_kind;

typedef struct moe__spec_row {
    const char *name, *summary;
    uint8_t kind;
    const char *need; /* key that must be given, or NULL */
    moe_route_spec spec;
} moe__spec_row;

enum { MOE_N_SPEC_NAMES = 48 };
extern const moe__spec_row moe__spec_rows[MOE_N_SPEC_NAMES];

#endif
