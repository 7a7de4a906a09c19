/* SPDX-License-Identifier: MIT */
/* Quantisation recipes: which type each tensor of a model gets. A table in recipe.c, plus the caller's rules.
 */
#ifndef MOE_MODEL_RECIPE_H
#define MOE_MODEL_RECIPE_H

#include "file/file.h"

typedef struct moe__quant_recipe moe__quant_recipe;

const char *moe__recipe_name(size_t i);                /* NULL past the end */
const moe__quant_recipe *moe__recipe_find(const char *name); /* case-insensitive; NULL */
uint32_t moe__recipe_file_type(const moe__quant_recipe *r);  /* value of general.file_type */

/* MOE_E_INVALID naming the bad part of "pattern=TYPE,pattern=TYPE"; NULL and "" are fine. */
int moe__rules_check(const char *rules);

/*
 * What a model has, as far as recipes care: how many layers, and whether the output matrix is its own or the
 * embedding's.
 */
typedef struct moe__recipe_model {
    uint32_t n_layers;
    int tied;
} moe__recipe_model;
moe__recipe_model moe__recipe_look(const moe__file *f);

/*
 * The type that t gets. Kept as they are: tensors that are not F32, F16 or BF16, have one dimension, are
 * norms, biases or a router. Checked rules (may be NULL) go before the recipe. A row that does not fill whole
 * blocks falls back to a smaller block.
 */
const moe__type *moe__recipe_type(const moe__quant_recipe *r, const char *rules, const moe__recipe_model *m,
                                  const moe__tensor *t);

/* `*` matches any run of characters, `?` one. */
int moe__glob(const char *pattern, size_t n, const char *text);

#endif
