/* SPDX-License-Identifier: MIT */
/* See alloc.h. The default hook is the C library's aligned allocation. */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <malloc.h>
#endif

#include "base/opts.h"
#include "base/status.h"

typedef struct block_head {
    size_t n; /* bytes asked of the hook, head included */
} block_head;

#ifdef _WIN32
static void *system_alloc(size_t n, size_t align, void *user)
{
    (void)user;
    return _aligned_malloc(n, align);
}
static void system_free(void *p, size_t n, void *user)
{
    (void)n;
    (void)user;
    _aligned_free(p);
}
#else
static void *system_alloc(size_t n, size_t align, void *user)
{
    (void)user;
    return aligned_alloc(align, (n + align - 1) / align * align);
}
static void system_free(void *p, size_t n, void *user)
{
    (void)n;
    (void)user;
    free(p);
}
#endif

int moe__allocator_init(moe__allocator *out, const moe_allocator *a)
{
    moe_allocator copy = MOE_ALLOCATOR_INIT;
    if (a) MOE_TRY(moe__opts_copy(&copy, sizeof copy, a, "moe_allocator"));
    if (!copy.alloc != !copy.free)
        return MOE_FAIL(INVALID, "moe_allocator: alloc and free must both be set, or neither");
    out->alloc = copy.alloc ? copy.alloc : system_alloc;
    out->free = copy.free ? copy.free : system_free;
    out->user = copy.user;
    return MOE_OK;
}

int moe__alloc_raw(const moe__allocator *a, void **out, size_t n, const char *what)
{
    *out = NULL;
    /* Half the address space is refused here, so that hooks may round up without overflow. */
    if (n > SIZE_MAX / 2) return MOE_FAIL(NOMEM, "%s: %zu bytes cannot be allocated", what, n);
    char *p = a->alloc(MOE_BLOCK_BYTES(n), MOE_ALIGN, a->user);
    if (!p) return MOE_FAIL(NOMEM, "%s: out of memory, %zu bytes wanted", what, n);
    ((block_head *)(void *)p)->n = MOE_BLOCK_BYTES(n);
    *out = p + MOE_ALIGN;
    return MOE_OK;
}

int moe__alloc(const moe__allocator *a, void **out, size_t n, const char *what)
{
    MOE_TRY(moe__alloc_raw(a, out, n, what));
    memset(*out, 0, n);
    return MOE_OK;
}

int moe__alloc_array(const moe__allocator *a, void **out, size_t count, size_t size, const char *what)
{
    *out = NULL;
    if (size != 0 && count > SIZE_MAX / size)
        return MOE_FAIL(NOMEM, "%s: %zu elements of %zu bytes cannot be allocated", what, count, size);
    return moe__alloc(a, out, count * size, what);
}

int moe__realloc_array(const moe__allocator *a, void **p, size_t count, size_t size, const char *what)
{
    void *q;
    MOE_TRY(moe__alloc_array(a, &q, count, size, what));
    if (*p) {
        const size_t old = ((block_head *)(void *)((char *)*p - MOE_ALIGN))->n - MOE_ALIGN;
        memcpy(q, *p, old < count * size ? old : count * size);
        moe__free(a, *p);
    }
    *p = q;
    return MOE_OK;
}

void moe__free(const moe__allocator *a, void *p)
{
    if (!p) return;
    char *head = (char *)p - MOE_ALIGN;
    a->free(head, ((block_head *)(void *)head)->n, a->user);
}
