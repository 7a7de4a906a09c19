/* SPDX-License-Identifier: MIT */
/*
 * The members of moe_route_spec as a table, and the selection rules with what they read: checks (spec.c) and
 * texts (named.c) are made from these two.
 */
#ifndef MOE_ROUTE_FIELDS_H
#define MOE_ROUTE_FIELDS_H

#include "moe/ext.h"

typedef enum moe__field_kind {
    MOE_FIELD_U32,
    MOE_FIELD_U64,
    MOE_FIELD_F32,
    MOE_FIELD_ENUM, /* int32_t; `words` has its names */
    MOE_FIELD_FLAG, /* bit `offset` of flags */
    MOE_FIELD_IDS   /* ids and n_ids */
} moe__field_kind;

typedef struct moe__spec_field {
    const char *key;          /* in texts */
    const char *name;         /* of the member or flag */
    uint8_t kind;             /* moe__field_kind */
    uint8_t need;             /* rules that read it want more than 0 */
    size_t offset;            /* of the member */
    uint32_t readers;         /* rules that read it, bits 1 << MOE_SELECT_*; 0: not a rule's own */
    double min, max;          /* of a number, inclusive */
    const char *const *words; /* names by value, NULL where there is none; ends with "" */
} moe__spec_field;

enum { MOE_N_SPEC_FIELDS = 31 };
extern const moe__spec_field moe__spec_fields[MOE_N_SPEC_FIELDS];

/* Value of a number, enum or flag as a double (U64 apart: exact only up to 2^53). */
double moe__field_get(const moe_route_spec *spec, const moe__spec_field *f);
void moe__field_set(moe_route_spec *spec, const moe__spec_field *f, double value);
/* Whether both have the same value there (ids: the same entries). */
int moe__field_same(const moe_route_spec *a, const moe_route_spec *b, const moe__spec_field *f);
/* How many names an enum has. */
int moe__field_words(const moe__spec_field *f);

#endif
