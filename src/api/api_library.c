/* SPDX-License-Identifier: MIT */
/* Entry points about the library itself. */
#include "base/status.h"

uint32_t moe_version(void) { return MOE_VERSION; }

#define TEXT(x) #x
#define DOTTED(a, b, c) TEXT(a) "." TEXT(b) "." TEXT(c)
const char *moe_version_string(void) { return DOTTED(MOE_VERSION_MAJOR, MOE_VERSION_MINOR, MOE_VERSION_PATCH); }

const char *moe_status_name(int status) { return moe__status_name(status); }

const char *moe_last_error(void) { return moe__last_error(); }
