/* SPDX-License-Identifier: MIT */
/* See opts.h. */
#include "base/opts.h"

#include <string.h>

#include "base/status.h"

static int struct_size(const void *s, size_t *out, const char *name)
{
    memcpy(out, s, sizeof *out);
    /* The upper bound catches structs whose size was never set: no struct of this API will reach 64 KiB. */
    if (*out < sizeof *out || *out > 65536)
        return MOE_FAIL(INVALID, "%s: size is %zu, expected sizeof(%s): start with the _INIT macro", name,
                        *out, name);
    return MOE_OK;
}

int moe__opts_copy(void *dst, size_t dst_size, const void *src, const char *name)
{
    size_t n;
    MOE_TRY(struct_size(src, &n, name));
    for (size_t i = dst_size; i < n; i++)
        if (((const unsigned char *)src)[i] != 0)
            return MOE_FAIL(VERSION, "%s: byte %zu is set, but this library (%s) knows only %zu bytes", name,
                            i, moe_version_string(), dst_size);
    memcpy(dst, src, n < dst_size ? n : dst_size);
    memcpy(dst, &dst_size, sizeof dst_size);
    return MOE_OK;
}

int moe__opts_fill(void *dst, const void *src, size_t src_size, const char *name)
{
    size_t n;
    MOE_TRY(struct_size(dst, &n, name));
    if (n > src_size) {
        memset((char *)dst + src_size, 0, n - src_size);
        memcpy((char *)dst + sizeof n, (const char *)src + sizeof n, src_size - sizeof n);
    } else {
        memcpy((char *)dst + sizeof n, (const char *)src + sizeof n, n - sizeof n);
    }
    return MOE_OK;
}
