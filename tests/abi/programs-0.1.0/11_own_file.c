/* SPDX-License-Identifier: MIT */
/*
 * A model from the application's own archive:  11_own_file MODEL.gguf
 *
 * Games and installers keep everything in one file of their own. Here the archive is a block of memory, a
 * short head and the model behind it, and a moe_file hands the library views into that block: nothing is
 * copied. Opened that way the model gives the same logits as the file on disk, to the bit.
 */
#include <moe/ext.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD                                                                                                 \
    64 /* bytes of the archive in front of the model: a multiple of 4, so that weights are used in place */

typedef struct archive {
    unsigned char *block; /* the head, then the model */
    size_t n;             /* bytes of the model */
    int n_open;           /* how many models use it */
} archive;

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

/* ---- the functions of the moe_file; f is the archive. They may be called from several threads at once. */

static uint64_t file_length(void *f) { return ((const archive *)f)->n; }

static int file_read_at(void *f, uint64_t off, void *dst, size_t n)
{
    const archive *a = f;
    if (off > a->n || n > a->n - off) return MOE_E_IO;
    memcpy(dst, a->block + HEAD + off, n);
    return 0;
}

static const void *file_map(void *f, uint64_t off, size_t n)
{
    const archive *a = f;
    return off <= a->n && n <= a->n - off ? a->block + HEAD + off : NULL;
}

static void file_close(void *f) { ((archive *)f)->n_open--; }

/* ---- */

static int pack(archive *a, const char *path)
{
    FILE *in = fopen(path, "rb");
    if (!in) {
        perror(path);
        return -1;
    }
    size_t cap = 1 << 20, got;
    a->block = malloc(HEAD + cap);
    while (a->block && (got = fread(a->block + HEAD + a->n, 1, cap - a->n, in)) > 0) {
        a->n += got;
        if (a->n < cap) continue;
        unsigned char *more = realloc(a->block, HEAD + 2 * cap);
        if (!more) break;
        a->block = more;
        cap *= 2;
    }
    const int bad = !a->block || ferror(in) || !feof(in);
    fclose(in);
    if (bad) fprintf(stderr, "%s: could not be read\n", path);
    return bad ? -1 : 0;
}

/* Logits after three tokens; the session is handed out because they belong to it. */
static int try_model(moe_model *m, moe_session **s, const float **logits, size_t *n)
{
    static const moe_token ids[] = {1, 2, 3};
    if (moe_session_create(s, m, NULL) != MOE_OK || moe_session_eval(*s, ids, 3) != MOE_OK ||
        moe_session_logits(*s, 0, logits, n) != MOE_OK)
        return failed("evaluating");
    return 0;
}

static int compare(moe_model *a, moe_model *b)
{
    moe_session *sa = NULL, *sb = NULL;
    const float *x, *y;
    size_t n;
    int bad = try_model(a, &sa, &x, &n) != 0 || try_model(b, &sb, &y, &n) != 0;
    if (!bad) {
        bad = memcmp(x, y, n * sizeof *x) != 0;
        puts(bad ? "the logits differ" : "the same logits from the archive as from the file");
    }
    moe_session_free(sa);
    moe_session_free(sb);
    return bad ? -1 : 0;
}

int main(int argc, char **argv)
{
    archive a = {NULL, 0, 0};
    moe_file f = MOE_FILE_INIT;
    moe_model *packed = NULL, *plain = NULL;
    int bad = -1;
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL.gguf\n", argv[0]);
        return 2;
    }
    f.name = "archive:model";
    f.length = file_length;
    f.read_at = file_read_at;
    f.map = file_map;
    f.close = file_close;
    if (pack(&a, argv[1]) == 0) {
        a.n_open = 1; /* from the call on the library closes it, whatever the result */
        if (moe_model_open_file(&packed, &f, &a, NULL) != MOE_OK ||
            moe_model_open(&plain, argv[1], NULL) != MOE_OK)
            failed("opening");
        else
            bad = compare(packed, plain);
    }
    moe_model_release(plain);
    moe_model_release(packed);
    if (a.n_open != 0) bad = -1;
    free(a.block); /* only now: the model looked into it */
    return bad == 0 ? 0 : 1;
}
