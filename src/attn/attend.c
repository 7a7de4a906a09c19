/* SPDX-License-Identifier: MIT */
/* Attention of one item: see attn.h. */
#include <math.h>
#include <string.h>

#include "attn/attn.h"

#define SUB_QUERIES 64u /* that meet a chunk together: what is made of a page serves all of them */

enum {
    PAGES = MOE_ATTN_CHUNK / MOE_KV_PAGE,
    PAGE_K_TILES = MOE_KV_PAGE / MOE_K_TILE,
    PAGE_V_TILES = MOE_KV_PAGE / MOE_V_TILE,
    SCORES = MOE_ATTN_CHUNK + 16 /* floats between rows of scores: rows do not share sets of the cache */
};

static int quantised(int type) { return type == MOE_TYPE_Q8_0 || type == MOE_TYPE_Q4_0; }

/* Bytes of a row of dim queries or weights that meet a type. */
static size_t operand_bytes(int type, uint32_t dim)
{
    return quantised(type) ? dim / 32 * sizeof(moe__act32) : dim * sizeof(float);
}

/* A member's scratch. */
typedef struct room {
    char *q;       /* [queries] operands of a tile */
    float *acc;    /* [queries] rows: the running softmax of each */
    float *part;   /* [SUB_QUERIES] rows: of the chunk at hand */
    float *score;  /* [SUB_QUERIES][SCORES] */
    moe__act32 *w; /* [SUB_QUERIES][PAGE_V_TILES][dim_head_v / 32] */
    uint8_t *v;    /* a page of values that are part of their keys */
} room;

static void *take_room(float *scratch, size_t *used, size_t bytes)
{
    float *at = scratch ? scratch + *used : NULL;
    *used += (bytes + 63) / 64 * 16;
    return at;
}

/* Returns the floats it takes; with scratch NULL it only counts. */
static size_t cut_room(room *r, const moe__kv *kv, const moe__hparams *h, uint32_t n_rows, float *scratch)
{
    const uint32_t rows = moe__attn_tile_rows(h) < n_rows ? moe__attn_tile_rows(h) : n_rows;
    const size_t n = (size_t)rows * (h->n_heads / h->n_heads_kv), sub = n < SUB_QUERIES ? n : SUB_QUERIES;
    const size_t row = moe__attn_row_floats(h) * sizeof(float);
    size_t used = 0;
    r->q = take_room(scratch, &used, n * operand_bytes(kv->type_k, h->dim_head_k));
    r->acc = take_room(scratch, &used, n * row);
    r->part = take_room(scratch, &used, sub * row);
    r->score = take_room(scratch, &used, sub * SCORES * sizeof(float));
    r->w =
        take_room(scratch, &used,
                  quantised(kv->type_v) ? sub * PAGE_V_TILES * operand_bytes(kv->type_v, h->dim_head_v) : 0);
    r->v = take_room(scratch, &used, kv->v_in_k ? PAGE_V_TILES * kv->tile_v : 0);
    return used;
}

size_t moe__attn_scratch(const moe__kv *kv, const moe__hparams *h, uint32_t n_rows)
{
    room r;
    return cut_room(&r, kv, h, n_rows, NULL);
}

/* One KV head of a tile. Query k is head k % group of row k / group. */
typedef struct attn_job {
    const moe__attn *a;
    const moe__kernels *k;
    const moe__attn_tile *t;
    const moe__kv *kv;
    uint32_t layer, seq, head, window; /* layer: of kv */
    uint32_t group, n_q, dim;          /* dim of values */
    const float *sinks;                /* of the head's queries, or NULL */
    float scale, cap;                  /* of scores; cap 0: none */
    size_t row, q_bytes;               /* floats of a row of sums, bytes of a query */
    room r;
} attn_job;

/* ---- a chunk ---- */

/* Positions of page p of chunk c that query k sees. */
static uint32_t sees(const attn_job *j, uint32_t k, uint32_t c, uint32_t p)
{
    const uint32_t n = j->a->place[j->t->first + k / j->group].pos + 1,
                   first = c * MOE_ATTN_CHUNK + p * MOE_KV_PAGE;
    return n <= first ? 0 : n - first < MOE_KV_PAGE ? n - first : MOE_KV_PAGE;
}

/* First position that query k sees: none lies further back than the layer's window. */
static uint32_t sees_from(const attn_job *j, uint32_t k)
{
    return moe__kv_sees_from(j->kv, j->window, j->seq, j->a->place[j->t->first + k / j->group].pos);
}

static uint32_t page_at(const attn_job *j, uint32_t c, uint32_t p)
{
    return j->kv->table[(size_t)j->seq * j->kv->n_slots + c * PAGES + p];
}

/* Later rows see more: of the queries k .. end-1 the first that sees page p. */
static uint32_t first_that_sees(const attn_job *j, uint32_t k, uint32_t end, uint32_t c, uint32_t p)
{
    while (k < end && !sees(j, k, c, p)) k += j->group - k % j->group;
    return k < end ? k : end;
}

/* Later rows begin later: of the queries k .. end-1 the first whose window is past page p. */
static uint32_t first_past(const attn_job *j, uint32_t k, uint32_t end, uint32_t c, uint32_t p)
{
    const uint32_t next = c * MOE_ATTN_CHUNK + (p + 1) * MOE_KV_PAGE;
    if (!j->window) return end; /* then nothing is gone either */
    while (k < end && sees_from(j, k) < next) k += j->group - k % j->group;
    return k < end ? k : end;
}

/* A chunk's n scores to weights, as attn_exp does it: limited first, and those before the window count for
 * nothing. */
static float weights(const attn_job *j, uint32_t k, uint32_t c, float *score, uint32_t n, float *sum)
{
    const uint32_t first = c * MOE_ATTN_CHUNK, from = sees_from(j, k),
                   hidden = from > first ? from - first : 0;
    if (j->cap > 0) j->k->softcap(score + hidden, j->scale / j->cap, j->cap, n - hidden);
    for (uint32_t i = 0; i < hidden; i++) score[i] = -INFINITY;
    return j->k->attn_exp(score, j->cap > 0 ? 1.0f : j->scale, n, sum);
}

/* What is read after the keys of a page: its values, or the keys a chunk later. */
static const void *behind_keys(const attn_job *j, uint32_t c, uint32_t p)
{
    const moe__kv *kv = j->kv;
    if (!kv->v_in_k) return moe__kv_page_v(kv, j->layer, j->head, page_at(j, c, p));
    if ((c + 1) * PAGES + p >= kv->seq[j->seq].n_pages) return NULL;
    return moe__kv_page_k(kv, j->layer, j->head, page_at(j, c + 1, p));
}

/* Values of a page, as far as query `last` sees it. */
static const void *values(const attn_job *j, uint32_t c, uint32_t p, uint32_t last)
{
    const uint32_t page = page_at(j, c, p);
    if (!j->kv->v_in_k) return moe__kv_page_v(j->kv, j->layer, j->head, page);
    const uint32_t n = (sees(j, last, c, p) + MOE_V_TILE - 1) / MOE_V_TILE * MOE_V_TILE;
    moe__kv_turn(j->kv, moe__kv_page_k(j->kv, j->layer, j->head, page), n, j->r.v);
    return j->r.v;
}

static void page_scores(const attn_job *j, uint32_t c, uint32_t p, uint32_t k0, uint32_t k, uint32_t end)
{
    const moe__kv *kv = j->kv;
    const uint32_t page = page_at(j, c, p);
    const moe__attn_qk args = {.s = j->r.score + (size_t)(k - k0) * SCORES + p * MOE_KV_PAGE,
                               .lds = SCORES,
                               .q = j->r.q + k * j->q_bytes,
                               .q_bytes = j->q_bytes,
                               .k = moe__kv_page_k(kv, j->layer, j->head, page),
                               .n_q = end - k,
                               .n_tiles = (sees(j, end - 1, c, p) + MOE_K_TILE - 1) / MOE_K_TILE,
                               .dim = kv->dim_k,
                               .ahead = behind_keys(j, c, p)};
    switch (kv->type_k) {
    case MOE_TYPE_F32: j->k->attn_qk_f32(&args); break;
    case MOE_TYPE_F16: j->k->attn_qk_f16(&args); break;
    case MOE_TYPE_BF16: j->k->attn_qk_bf16(&args); break;
    case MOE_TYPE_Q8_0: j->k->attn_qk_q8_0(&args); break;
    default: j->k->attn_qk_q4_0(&args); break;
    }
}

static void sum_values(const attn_job *j, const moe__attn_av *args)
{
    switch (j->kv->type_v) {
    case MOE_TYPE_F32: j->k->attn_av_f32(args); break;
    case MOE_TYPE_F16: j->k->attn_av_f16(args); break;
    case MOE_TYPE_BF16: j->k->attn_av_bf16(args); break;
    case MOE_TYPE_Q8_0: j->k->attn_av_q8_0(args); break;
    default: j->k->attn_av_q4_0(args); break;
    }
}

/* Weights behind a row's own position are zeros: all rows take the page together. */
static void page_values_quantised(const attn_job *j, uint32_t c, uint32_t p, uint32_t k, uint32_t end,
                                  moe__attn_av *args, const float *score)
{
    uint32_t n[SUB_QUERIES];
    const size_t n_tiles = (sees(j, end - 1, c, p) + MOE_V_TILE - 1) / MOE_V_TILE;
    for (uint32_t i = k; i < end; i++) n[i - k] = sees(j, i, c, p);
    const moe__attn_weights w = {.w = j->r.w,
                                 .p = score,
                                 .ldp = SCORES,
                                 .v = args->v,
                                 .tile_bytes = j->kv->tile_v,
                                 .n = n,
                                 .n_q = args->n_q,
                                 .n_tiles = n_tiles,
                                 .dim = j->dim};
    j->k->attn_weigh(&w);
    args->p = w.w;
    args->p_bytes = n_tiles * (j->dim / 32) * sizeof(moe__act32);
    args->n = n_tiles * MOE_V_TILE;
    sum_values(j, args);
}

/* What all rows see they take together, from where the first one's window begins (what stands before may be
 * no number); the rest of each, which may lie behind the others' positions, alone. */
static void page_values_float(const attn_job *j, uint32_t c, uint32_t p, uint32_t k, uint32_t end,
                              moe__attn_av *args, const float *score)
{
    const size_t common = sees(j, k, c, p), bytes = j->dim * (j->kv->type_v == MOE_TYPE_F32 ? 4u : 2u);
    const uint32_t first = c * MOE_ATTN_CHUNK + p * MOE_KV_PAGE, from = sees_from(j, k),
                   hidden = from > first ? from - first : 0;
    const char *v = args->v;
    float *y = args->y;
    args->p = score + hidden;
    args->p_bytes = SCORES * sizeof *score;
    args->v = v + hidden * bytes;
    args->n = common - hidden;
    sum_values(j, args);
    args->ahead = NULL;
    args->v = v + common * bytes;
    for (uint32_t i = k; i < end; i += (uint32_t)args->n_q) {
        const uint32_t same = j->group - i % j->group; /* heads of the row */
        args->n_q = same < end - i ? same : end - i;
        args->n = sees(j, i, c, p) - common;
        args->p = score + (size_t)(i - k) * SCORES + common;
        args->y = y + (i - k) * j->row;
        if (args->n) sum_values(j, args);
    }
}

static void page_values(const attn_job *j, uint32_t c, uint32_t p, uint32_t k0, uint32_t k, uint32_t end,
                        float *rows)
{
    const moe__kv *kv = j->kv;
    const uint32_t next = c * PAGES + p + PAGES; /* the keys that follow those that were asked for */
    const float *score = j->r.score + (size_t)(k - k0) * SCORES + p * MOE_KV_PAGE;
    moe__attn_av args = {.y = rows + (k - k0) * j->row,
                         .ldy = j->row,
                         .v = values(j, c, p, end - 1),
                         .n_q = end - k,
                         .dim = j->dim};
    if (!kv->v_in_k && next < kv->seq[j->seq].n_pages)
        args.ahead = moe__kv_page_k(kv, j->layer, j->head, page_at(j, c + 1, p));
    if (quantised(kv->type_v))
        page_values_quantised(j, c, p, k, end, &args, score);
    else
        page_values_float(j, c, p, k, end, &args, score);
}

/* Rows of sums of queries k0 .. end-1 over chunk c. Those that see any of it are *begin .. *past-1. */
static void do_chunk(const attn_job *j, uint32_t c, uint32_t k0, uint32_t end, float *rows, uint32_t *begin,
                     uint32_t *past)
{
    const uint32_t at = (uint32_t)j->row - 16;
    uint32_t k[PAGES], e[PAGES]; /* queries k .. e-1 see a page */
    *begin = first_that_sees(j, k0, end, c, 0);
    *past = first_past(j, *begin, end, c, PAGES - 1);
    for (uint32_t p = 0; p < PAGES; p++) {
        k[p] = first_that_sees(j, p ? k[p - 1] : *begin, end, c, p);
        e[p] = first_past(j, k[p], end, c, p);
        if (k[p] < e[p]) page_scores(j, c, p, k0, k[p], e[p]);
    }
    for (uint32_t i = *begin; i < *past; i++) {
        float *row = rows + (i - k0) * j->row;
        uint32_t n = 0;
        for (uint32_t p = 0; p < PAGES; p++) n += sees(j, i, c, p);
        memset(row, 0, j->dim * sizeof *row);
        row[at] = weights(j, i, c, j->r.score + (size_t)(i - k0) * SCORES, n, &row[at + 1]);
    }
    for (uint32_t p = 0; p < PAGES; p++)
        if (k[p] < e[p]) page_values(j, c, p, k0, k[p], e[p], rows);
}

/* ---- running softmax ---- */

/* Adds a later chunk to what is there: both sides are brought to the larger maximum. */
static void merge(const attn_job *j, float *acc, const float *part)
{
    const size_t at = j->row - 16;
    const float top = part[at] > acc[at] ? part[at] : acc[at];
    const float from[2] = {acc[at] - top, part[at] - top};
    float by[2];
    j->k->exp(by, from, 2);
    j->k->scale(acc, by[0], j->dim);
    j->k->axpy(acc, by[1], part, j->dim);
    acc[at + 1] = acc[at + 1] * by[0] + part[at + 1] * by[1];
    acc[at] = top;
}

/* What a row of sums is multiplied by: 1 / sum of weights. A sink is one more score, whose value is zero. */
static float weight_of_all(const attn_job *j, uint32_t k, const float *acc)
{
    const float max = acc[j->row - 16], sum = acc[j->row - 16 + 1];
    if (!j->sinks) return 1.0f / sum;
    const float sink = j->sinks[k % j->group], top = sink > max ? sink : max;
    const float from[2] = {max - top, sink - top};
    float by[2];
    j->k->exp(by, from, 2);
    return by[0] / (sum * by[0] + by[1]);
}

static void finish_row(const attn_job *j, uint32_t k, const float *acc, float *out)
{
    const uint32_t n_heads = j->a->m->hp.n_heads;
    float *y =
        out + ((size_t)(j->t->first + k / j->group) * n_heads + j->head * j->group + k % j->group) * j->dim;
    memcpy(y, acc, j->dim * sizeof *y);
    j->k->scale(y, weight_of_all(j, k, acc), j->dim);
}

/* Chunk c's sums of query i join what is there, or are the first. */
static void join(const attn_job *j, uint32_t i, uint32_t c, float *acc, const float *part)
{
    if (sees_from(j, i) / MOE_ATTN_CHUNK == c)
        memcpy(acc, part, j->row * sizeof *acc);
    else
        merge(j, acc, part);
}

/* All chunks of the tile. */
static void whole_item(const attn_job *j, float *out)
{
    uint32_t begin, past;
    for (uint32_t c = sees_from(j, 0) / MOE_ATTN_CHUNK; c < j->t->n_chunks; c++)
        for (uint32_t k = 0; k < j->n_q; k += SUB_QUERIES) {
            const uint32_t end = j->n_q - k < SUB_QUERIES ? j->n_q : k + SUB_QUERIES;
            float *acc = j->r.acc + k * j->row;
            do_chunk(j, c, k, end, c ? j->r.part : acc, &begin, &past);
            for (uint32_t i = begin; c && i < past; i++)
                join(j, i, c, acc + (i - k) * j->row, j->r.part + (i - k) * j->row);
        }
    for (uint32_t k = 0; k < j->n_q; k++) finish_row(j, k, j->r.acc + k * j->row, out);
}

/* Where the results of chunk c are kept, [n_q] rows. */
static float *kept(const attn_job *j, uint32_t c)
{
    return j->a->part + (j->t->part + ((size_t)c * j->kv->n_heads + j->head) * j->n_q) * j->row;
}

static void merge_kept(const attn_job *j, float *out)
{
    for (uint32_t k = 0; k < j->n_q; k++) {
        const uint32_t first = sees_from(j, k) / MOE_ATTN_CHUNK;
        float *acc = kept(j, first) + k * j->row;
        for (uint32_t c = first + 1; c < j->t->n_chunks && sees(j, k, c, 0); c++)
            merge(j, acc, kept(j, c) + k * j->row);
        finish_row(j, k, acc, out);
    }
}

/* Some chunks of the tile; the last one to finish merges all. */
static void cut_item(const attn_job *j, uint32_t span, float *out)
{
    const uint32_t first = span * j->a->span, left = j->t->n_chunks - first,
                   end = left < j->a->span ? j->t->n_chunks : first + j->a->span;
    uint32_t begin, past;
    for (uint32_t c = first; c < end; c++)
        for (uint32_t k = 0; k < j->n_q; k += SUB_QUERIES)
            do_chunk(j, c, k, j->n_q - k < SUB_QUERIES ? j->n_q : k + SUB_QUERIES, kept(j, c) + k * j->row,
                     &begin, &past);
    atomic_uint *done = &j->a->done[(size_t)(j->t - j->a->tile) * j->kv->n_heads + j->head];
    if (atomic_fetch_add_explicit(done, 1, memory_order_acq_rel) + 1 != j->t->n_spans) return;
    atomic_store_explicit(done, 0, memory_order_relaxed);
    merge_kept(j, out);
}

/* ---- items ---- */

/* Queries of the tile's rows for this KV head, side by side. */
static void gather_queries(const attn_job *j)
{
    const moe__hparams *h = &j->a->m->hp;
    for (uint32_t k = 0; k < j->n_q; k++) {
        const float *q = j->a->q + ((size_t)(j->t->first + k / j->group) * h->n_heads + j->head * j->group +
                                    k % j->group) *
                                       h->dim_head_k;
        char *dst = j->r.q + k * j->q_bytes;
        if (quantised(j->kv->type_k))
            j->k->act_q8_32(dst, q, h->dim_head_k);
        else
            memcpy(dst, q, j->q_bytes);
    }
}

/* Whole tiles: one head after the other, so that its cache is read by all tiles at about the same time. */
static const moe__attn_tile *find_item(const moe__attn *a, size_t item, uint32_t *head, uint32_t *span)
{
    if (!a->span) {
        *head = (uint32_t)(item / a->n_tiles);
        *span = 0;
        return &a->tile[item % a->n_tiles];
    }
    uint32_t i = 0; /* tiles that are cut are few */
    while (i + 1 < a->n_tiles && a->tile[i + 1].item <= item) i++;
    *head = (uint32_t)((item - a->tile[i].item) / a->tile[i].n_spans);
    *span = (uint32_t)((item - a->tile[i].item) % a->tile[i].n_spans);
    return &a->tile[i];
}

void moe__attn_item(const moe__attn *a, uint32_t layer, size_t item, float *out, float *scratch)
{
    const moe__hparams *h = &a->m->hp;
    uint32_t head, span;
    const moe__attn_tile *t = find_item(a, item, &head, &span);
    const float *sinks = a->m->layers[layer].vec[ROLE_ATTN_SINKS];
    attn_job j = {.a = a,
                  .k = &a->m->k,
                  .t = t,
                  .kv = moe__attn_kv(a, layer),
                  .layer = a->m->layers[layer].kv_index,
                  .seq = a->place[t->first].seq,
                  .head = head,
                  .window = a->m->layers[layer].window,
                  .group = h->n_heads / h->n_heads_kv,
                  .dim = h->dim_head_v,
                  .sinks = sinks ? sinks + head * (h->n_heads / h->n_heads_kv) : NULL,
                  .scale = a->m->attn_scale,
                  .cap = h->attn_softcap,
                  .row = moe__attn_row_floats(h),
                  .q_bytes = operand_bytes(a->kv->type_k, h->dim_head_k)};
    j.n_q = t->n * j.group;
    cut_room(&j.r, a->kv, h, t->n, scratch);
    gather_queries(&j);
    if (a->span)
        cut_item(&j, span, out);
    else
        whole_item(&j, out);
}
