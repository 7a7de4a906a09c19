/* SPDX-License-Identifier: MIT */
/*
 * Split files: a set named x-00001-of-00005.gguf ... whose first member holds the metadata and says how many
 * there are (split.count, split.no from 0, split.tensors.count over all). Only the first one is opened by the
 * user; the others must be beside it, or come from the caller's moe_file.sibling.
 */
#include <stdio.h>
#include <string.h>

#include "base/opts.h"
#include "base/status.h"
#include "file/dir.h"

#define SUFFIX_LEN 20u /* -00001-of-00005.gguf */
#define COUNT_MAX  99999u

/* Optional integer of a split set; absent = `missing`. */
static int split_key(const moe__metas *m, const char *file, const char *key, uint64_t max, uint64_t missing,
                     uint64_t *out)
{
    const int st = moe__metas_uint(m, file, key, max, out);
    if (st != MOE_E_NOTFOUND) return st;
    *out = missing;
    return MOE_OK;
}

/* Checks that a file's name is that of member `no` of `count`; *stem = bytes before the suffix. */
static int check_name(const char *name, uint64_t no, uint64_t count, size_t *stem)
{
    char suffix[64];
    const size_t len = strlen(name);
    snprintf(suffix, sizeof suffix, "-%05llu-of-%05llu.gguf", (unsigned long long)no + 1,
             (unsigned long long)count);
    if (len < SUFFIX_LEN || strcmp(name + len - SUFFIX_LEN, suffix) != 0)
        return MOE_FAIL(FORMAT, "%s: part %llu of %llu of a split model: expected a name that ends in %s",
                        name, (unsigned long long)no + 1, (unsigned long long)count, suffix);
    *stem = len - SUFFIX_LEN;
    return MOE_OK;
}

static int open_user_sibling(moe__file *f, moe__source *s, const char *name)
{
    moe_file given = MOE_FILE_INIT, uf = MOE_FILE_INIT;
    void *user = NULL;
    const moe__source *first = &f->shard[0];
    const char *slash = strrchr(name, '/');
    const char *base = slash ? slash + 1 : name;
    if (!first->user.sibling)
        return MOE_FAIL(UNSUPPORTED,
                        "%s: a split model, but the caller's moe_file has no sibling function to open '%s'",
                        first->name, base);
    const int st = first->user.sibling(first->user_data, base, &given, &user);
    if (st != 0)
        return moe__fail(st < 0 ? st : MOE_E_CALLBACK, "%s: sibling '%s' returned %d, expected 0",
                         first->name, base, st);
    MOE_TRY(moe__opts_copy(&uf, sizeof uf, &given, "moe_file"));
    return moe__source_open_user(s, &uf, user, name, !(f->flags & MOE_OPEN_NO_MMAP));
}

/* Opens and parses member no > 0. */
static int open_part(moe__file *f, uint64_t no, uint64_t count, size_t stem)
{
    char suffix[64];
    void *mem;
    size_t i;
    uint64_t found_no, found_count;
    moe__metas metas = {0};
    MOE_TRY(moe__file_shard_add(f, &i));
    snprintf(suffix, sizeof suffix, "-%05llu-of-%05llu.gguf", (unsigned long long)no + 1,
             (unsigned long long)count);
    MOE_TRY(moe__pool_alloc(&f->pool, &mem, stem + strlen(suffix) + 1, "file name"));
    memcpy(mem, f->shard[0].name, stem);
    memcpy((char *)mem + stem, suffix, strlen(suffix) + 1);
    const int is_user = f->shard[0].user.read_at != NULL;
    if (is_user)
        MOE_TRY(open_user_sibling(f, &f->shard[i], mem));
    else
        MOE_TRY(moe__source_open_path(&f->shard[i], mem, !(f->flags & MOE_OPEN_NO_MMAP)));
    int st = moe__gguf_parse(f, i, &metas);
    if (st >= 0) st = split_key(&metas, mem, "split.no", UINT32_MAX, UINT32_MAX, &found_no);
    if (st >= 0) st = split_key(&metas, mem, "split.count", UINT32_MAX, count, &found_count);
    if (st >= 0 && (found_no != no || found_count != count))
        st = MOE_FAIL(FORMAT, "%s: key 'split.no': expected part %llu of %llu, found %llu of %llu",
                      (const char *)mem, (unsigned long long)no, (unsigned long long)count,
                      (unsigned long long)found_no, (unsigned long long)found_count);
    moe__metas_free(&metas, &f->a);
    return st;
}

int moe__shards_open(moe__file *f)
{
    const char *name = f->shard[0].name;
    uint64_t no, count, total;
    size_t stem = 0;
    MOE_TRY(split_key(&f->metas, name, "split.count", COUNT_MAX, 1, &count));
    MOE_TRY(split_key(&f->metas, name, "split.no", COUNT_MAX, 0, &no));
    MOE_TRY(split_key(&f->metas, name, "split.tensors.count", INT64_MAX, UINT64_MAX, &total));
    if (count > 1) {
        if (no != 0)
            return MOE_FAIL(UNSUPPORTED,
                            "%s: this is part %llu of %llu of a split model; open the first one, whose name "
                            "ends in -00001-of-%05llu.gguf",
                            name, (unsigned long long)no + 1, (unsigned long long)count,
                            (unsigned long long)count);
        MOE_TRY(check_name(name, 0, count, &stem));
        for (no = 1; no < count; no++) MOE_TRY(open_part(f, no, count, stem));
    }
    if (total != UINT64_MAX && total != f->n_tensors)
        return MOE_FAIL(FORMAT,
                        "%s: key 'split.tensors.count' at offset %llu: expected %zu, the tensors of all "
                        "parts, found %llu",
                        name, (unsigned long long)moe__metas_find(&f->metas, "split.tensors.count")->offset,
                        f->n_tensors, (unsigned long long)total);
    return MOE_OK;
}
