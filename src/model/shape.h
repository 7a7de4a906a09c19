/* SPDX-License-Identifier: MIT */
/* Calculators: what the shape of a MoE layer means in parameters (Tian et al. 2025, "Towards Greater
 * Leverage"), and what one layer of a model is. */
#ifndef MOE_MODEL_SHAPE_H
#define MOE_MODEL_SHAPE_H

#include "model/model.h"

/* E_INVALID names the field; E_RANGE for counts beyond 64 bits. */
int moe__shape_measure(const moe_shape *shape, moe_shape_info *out);
/* layer < n_layers. */
void moe__layer_info(const moe_model *m, uint32_t layer, moe_layer_info *out);

#endif
