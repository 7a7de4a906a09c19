/* SPDX-License-Identifier: MIT */
/* Thread backend of a serial build: a team has one member, unless the caller brings an executor. */
#include "base/parallel_impl.h"
#include "base/status.h"

const char *const moe__backend_name = "serial";

uint32_t moe__backend_limit(uint32_t n) { (void)n; return 1; }
int moe__backend_start(moe__team *t) { (void)t; return MOE_OK; }
void moe__backend_stop(moe__team *t) { (void)t; }
void moe__backend_run(moe__team *t) { moe__team_member(t, 0, 1); }
