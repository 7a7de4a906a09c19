/* SPDX-License-Identifier: MIT */
/* Entry points of quantisation. */
#include <string.h>

#include "base/opts.h"
#include "base/rounding.h"
#include "base/status.h"
#include "model/quantize.h"
#include "model/recipe.h"

int moe_quantize(const char *src, const char *dst, const moe_quantize_options *o)
{
    moe_quantize_options copy = MOE_QUANTIZE_OPTIONS_INIT;
    moe__allocator a;
    moe__clear_error();
    MOE_ARG(src != NULL);
    MOE_ARG(dst != NULL);
    MOE_ARG(o != NULL);
    MOE_ARG(strcmp(src, dst) != 0);
    MOE_TRY(moe__opts_copy(&copy, sizeof copy, o, "moe_quantize_options"));
    MOE_ARG(copy.recipe != NULL);
    MOE_ARG(copy.flags == 0);
    MOE_ARG(copy.n_threads >= 0);
    MOE_TRY(moe__allocator_init(&a, copy.allocator));
    MOE_RETURN_ROUNDED(moe__quantize_file(src, dst, &copy, &a));
}

const char *moe_recipe_name(size_t i) { return moe__recipe_name(i); }
