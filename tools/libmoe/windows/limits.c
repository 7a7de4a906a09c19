/* SPDX-License-Identifier: MIT */
/* See ../limits.h: what the machine can do at most is not measured on Windows; the bench goes without. */
#include "limits.h"

struct limits limits_measure(uint32_t threads, const char *isa)
{
    (void)threads;
    (void)isa;
    note("--limits is not measured on Windows");
    return (struct limits){0};
}
