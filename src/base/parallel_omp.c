/* SPDX-License-Identifier: MIT */
/*
 * Thread backend over OpenMP: one parallel region per run. The host's OpenMP settings are read, never
 * changed. A region nested in one of the host's, or cut by a thread limit, has fewer threads; members then
 * get the true number.
 */
#include <omp.h>

#include "base/parallel_impl.h"
#include "base/status.h"

const char *const moe__backend_name = "openmp";

uint32_t moe__backend_limit(uint32_t n) { return n; }
int moe__backend_start(moe__team *t) { (void)t; return MOE_OK; }
void moe__backend_stop(moe__team *t) { (void)t; }

void moe__backend_run(moe__team *t)
{
#pragma omp parallel num_threads((int)t->n_now)
    moe__team_member(t, (uint32_t)omp_get_thread_num(), (uint32_t)omp_get_num_threads());
}
