/* SPDX-License-Identifier: MIT */
/*
 * Saving and loading a session, or one sequence of it (docs/formats/session.md). Little-endian: a head with
 * magic, version, model fingerprint and sizes; then for each sequence that has tokens its number, length,
 * tokens, and for every layer its keys and values in logical order; then the last logits and hidden states;
 * then XXH64 over all that came before. A saved sequence is a session with that sequence and no results. A
 * load reads everything into memory of its own and checks the sum before it touches the session.
 */
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "kv/cell.h"
#include "run/session.h"

#define VERSION         1u
#define VERSION_WINDOWS 2u /* of models with sliding windows: a word more for each sequence */
static const char magic[8] = {'M', 'O', 'E', 'S', 'E', 'S', 'S', '\n'};

enum {
    HEAD_VERSION,
    HEAD_TYPE_K,
    HEAD_TYPE_V,
    HEAD_WIDTH_K,
    HEAD_WIDTH_V,
    HEAD_LAYERS,
    HEAD_VOCAB,
    HEAD_DIM,
    HEAD_SEQS,
    HEAD_LOGITS,
    HEAD_HIDDEN,
    HEAD_N
};

/* ---- numbers as bytes ---- */

static void put32(uint8_t *p, uint32_t x)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(x >> 8 * i);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put64(uint8_t *p, uint64_t x)
{
    put32(p, (uint32_t)x);
    put32(p + 4, (uint32_t)(x >> 32));
}

static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }

static int big_endian(void)
{
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 0;
}

/* Turns elements of `size` bytes between the machine's order and the file's, in place. */
static void to_file_order(void *data, size_t n, size_t size)
{
    uint8_t *p = data;
    if (!big_endian()) return;
    for (size_t i = 0; i < n; i++, p += size)
        for (size_t j = 0; j < size / 2; j++) {
            const uint8_t t = p[j];
            p[j] = p[size - 1 - j];
            p[size - 1 - j] = t;
        }
}

/* ---- save ---- */

typedef struct saver {
    moe_write_fn fn;
    void *user;
    moe__hash hash;
} saver;

static int put_data(saver *k, const void *data, size_t n)
{
    if (n == 0) return MOE_OK;
    moe__hash_add(&k->hash, data, n);
    const int st = k->fn(data, n, k->user);
    if (st < 0 && !*moe__last_error())
        return moe__fail(st, "saving the session: the write callback returned %d", st);
    return st > 0
               ? MOE_FAIL(
                     CALLBACK,
                     "saving the session: the write callback returned %d: expected 0 or a negative value", st)
               : st;
}

/* Elements in the file's order, through a small buffer. */
static int put_elements(saver *k, const void *data, size_t n, size_t size)
{
    uint8_t part[4096];
    const size_t step = sizeof part / size;
    for (size_t i = 0; i < n; i += step) {
        const size_t m = n - i < step ? n - i : step;
        memcpy(part, (const uint8_t *)data + i * size, m * size);
        to_file_order(part, m, size);
        MOE_TRY(put_data(k, part, m * size));
    }
    return MOE_OK;
}

static uint32_t version_of(const moe_session *s) { return s->win.n_layers ? VERSION_WINDOWS : VERSION; }

static int put_head(saver *k, const moe_session *s, uint32_t n_seqs, uint32_t n_logits, uint32_t n_hidden)
{
    uint8_t head[sizeof magic + 8 + 4 * HEAD_N];
    const uint32_t word[HEAD_N] = {[HEAD_VERSION] = version_of(s),
                                   [HEAD_TYPE_K] = (uint32_t)s->kv.type_k,
                                   [HEAD_TYPE_V] = (uint32_t)s->kv.type_v,
                                   [HEAD_WIDTH_K] = s->kv.width_k,
                                   [HEAD_WIDTH_V] = s->kv.width_v,
                                   [HEAD_LAYERS] = s->m->hp.n_layers,
                                   [HEAD_VOCAB] = s->m->hp.n_vocab,
                                   [HEAD_DIM] = s->m->hp.dim,
                                   [HEAD_SEQS] = n_seqs,
                                   [HEAD_LOGITS] = n_logits,
                                   [HEAD_HIDDEN] = n_hidden};
    memcpy(head, magic, sizeof magic);
    put64(head + sizeof magic, s->m->fingerprint);
    for (int i = 0; i < HEAD_N; i++) put32(head + sizeof magic + 8 + 4 * i, word[i]);
    return put_data(k, head, sizeof head);
}

/* End of the page that position p is in, or of the sequence. */
static uint32_t page_end(uint32_t p, uint32_t len)
{
    const uint32_t end = (p / MOE_KV_PAGE + 1) * MOE_KV_PAGE;
    return end < len ? end : len;
}

/* Where the window of the next position begins, and the page where it does. */
static uint32_t page_of_window(const moe_session *s, uint32_t len)
{
    return moe__kv_window_from(s->m->hp.window, len) / MOE_KV_PAGE * MOE_KV_PAGE;
}

/* First position that layers with a window keep of a sequence. */
static uint32_t window_from(const moe_session *s, uint32_t q, uint32_t len)
{
    const uint32_t from = page_of_window(s, len), start = s->win.seq[q].start;
    return from > start ? from : start;
}

/* Keys and values of one layer, page by page. */
static int put_kv_layer(saver *k, const moe_session *s, uint32_t layer, uint32_t q, uint32_t from)
{
    const moe__kv *kv = moe__attn_kv(&s->attn, layer);
    const uint32_t l = s->m->layers[layer].kv_index, len = kv->seq[q].len;
    uint8_t *cell = (uint8_t *)(void *)s->scratch; /* the scratch of a thread holds a key or value in f32 */
    for (uint32_t p = s->m->layers[layer].window ? from : 0, end; p < len; p = end) {
        end = page_end(p, len);
        for (uint32_t i = p; i < end; i++) {
            moe__kv_get_k(kv, moe__kv_at(kv, l, q, i), cell);
            MOE_TRY(put_data(k, cell, kv->cell_k));
        }
        for (uint32_t i = p; i < end; i++) {
            moe__kv_get_v(kv, moe__kv_at(kv, l, q, i), cell);
            MOE_TRY(put_data(k, cell, kv->cell_v));
        }
    }
    return MOE_OK;
}

static int put_seq(saver *k, const moe_session *s, uint32_t q)
{
    const moe__kv *kv = &s->kv;
    const uint32_t len = kv->seq[q].len, from = s->win.n_layers ? window_from(s, q, len) : 0;
    uint8_t head[12];
    put32(head, q);
    put32(head + 4, len);
    put32(head + 8, from);
    MOE_TRY(put_data(k, head, s->win.n_layers ? 12 : 8));
    for (uint32_t p = 0; p < len; p++) MOE_TRY(put_elements(k, moe__kv_token(kv, q, p), 1, 4));
    for (uint32_t l = 0; l < s->m->hp.n_layers; l++) MOE_TRY(put_kv_layer(k, s, l, q, from));
    return MOE_OK;
}

static int put_sum(saver *k)
{
    uint8_t sum[8];
    put64(sum, moe__hash_get(&k->hash));
    return put_data(k, sum, sizeof sum);
}

int moe__session_save(const moe_session *s, moe_write_fn fn, void *user)
{
    saver k = {.fn = fn, .user = user};
    uint32_t n_seqs = 0;
    for (uint32_t q = 0; q < s->o.n_seq_max; q++) n_seqs += s->kv.seq[q].len != 0;
    moe__hash_init(&k.hash);
    MOE_TRY(put_head(&k, s, n_seqs, s->n_logits, s->n_hidden));
    for (uint32_t q = 0; q < s->o.n_seq_max; q++)
        if (s->kv.seq[q].len) MOE_TRY(put_seq(&k, s, q));
    MOE_TRY(put_elements(&k, s->logits, (size_t)s->n_logits * s->m->hp.n_vocab, 4));
    MOE_TRY(put_elements(&k, s->hidden, (size_t)s->n_hidden * s->m->hp.dim, 4));
    return put_sum(&k);
}

int moe__session_seq_save(const moe_session *s, uint32_t q, moe_write_fn fn, void *user)
{
    saver k = {.fn = fn, .user = user};
    const uint32_t n = s->kv.seq[q].len != 0;
    moe__hash_init(&k.hash);
    MOE_TRY(put_head(&k, s, n, 0, 0));
    if (n) MOE_TRY(put_seq(&k, s, q));
    return put_sum(&k);
}

/* ---- load ---- */

typedef struct source {
    moe_read_fn fn;
    void *user;
    moe__hash hash;
    uint64_t at; /* bytes read */
} source;

static int get(source *k, void *data, size_t n)
{
    if (n == 0) return MOE_OK;
    const int st = k->fn(data, n, k->user);
    if (st < 0 && !*moe__last_error())
        return moe__fail(st, "loading a session: the read callback returned %d", st);
    if (st > 0)
        return MOE_FAIL(
            CALLBACK, "loading a session: the read callback returned %d: expected 0 or a negative value", st);
    MOE_TRY(st);
    moe__hash_add(&k->hash, data, n);
    k->at += n;
    return MOE_OK;
}

/* What was read of one sequence, before the session is touched. */
typedef struct saved_seq {
    uint32_t seq, len;
    uint32_t from; /* first position of layers with a window */
    uint8_t *data; /* tokens, then per layer and page keys and values */
    size_t bytes;
} saved_seq;

typedef struct saved {
    uint32_t word[HEAD_N];
    saved_seq *seq; /* [word[HEAD_SEQS]] */
    float *logits, *hidden;
} saved;

static int same(const char *what, uint32_t want, uint32_t found)
{
    return want == found ? MOE_OK
                         : MOE_FAIL(STATE, "the saved session does not fit: %s: expected %u, found %u", what,
                                    want, found);
}

static int get_head(source *k, const moe_session *s, saved *v)
{
    uint8_t head[sizeof magic + 8 + 4 * HEAD_N];
    MOE_TRY(get(k, head, sizeof head));
    if (memcmp(head, magic, sizeof magic) != 0)
        return MOE_FAIL(FORMAT, "this is not a saved session: the first 8 bytes are wrong");
    for (int i = 0; i < HEAD_N; i++) v->word[i] = get32(head + sizeof magic + 8 + 4 * i);
    if (v->word[HEAD_VERSION] != version_of(s))
        return MOE_FAIL(VERSION, "saved session: format version: expected %u, found %u", version_of(s),
                        v->word[HEAD_VERSION]);
    if (get64(head + sizeof magic) != s->m->fingerprint)
        return MOE_FAIL(
            STATE, "the saved session belongs to another model (fingerprint %016llx, this model has %016llx)",
            (unsigned long long)get64(head + sizeof magic), (unsigned long long)s->m->fingerprint);
    MOE_TRY(same("key type", (uint32_t)s->kv.type_k, v->word[HEAD_TYPE_K]));
    MOE_TRY(same("value type", (uint32_t)s->kv.type_v, v->word[HEAD_TYPE_V]));
    MOE_TRY(same("key width", s->kv.width_k, v->word[HEAD_WIDTH_K]));
    MOE_TRY(same("value width", s->kv.width_v, v->word[HEAD_WIDTH_V]));
    MOE_TRY(same("layers", s->m->hp.n_layers, v->word[HEAD_LAYERS]));
    MOE_TRY(same("vocabulary", s->m->hp.n_vocab, v->word[HEAD_VOCAB]));
    MOE_TRY(same("width", s->m->hp.dim, v->word[HEAD_DIM]));
    const uint32_t out =
        v->word[HEAD_LOGITS] > v->word[HEAD_HIDDEN] ? v->word[HEAD_LOGITS] : v->word[HEAD_HIDDEN];
    if (v->word[HEAD_SEQS] > s->o.n_seq_max || out > s->o.n_output_max)
        return MOE_FAIL(
            FULL, "the saved session has %u sequences and %u result rows; this one has room for %u and %u",
            v->word[HEAD_SEQS], out, s->o.n_seq_max, s->o.n_output_max);
    return MOE_OK;
}

/* into: the number it is to have here, or MOE_ALL_SEQS for that of the file. */
static int get_seq(source *k, const moe_session *s, saved_seq *q, moe_seq into, uint32_t previous,
                   uint64_t *pages)
{
    uint8_t head[12] = {0};
    MOE_TRY(get(k, head, s->win.n_layers ? 12 : 8));
    q->seq = into == MOE_ALL_SEQS ? get32(head) : (uint32_t)into;
    q->len = get32(head + 4);
    q->from = get32(head + 8);
    if (q->seq >= s->o.n_seq_max)
        return MOE_FAIL(FULL, "saved session: sequence %u: this session has %u", q->seq, s->o.n_seq_max);
    if (previous != UINT32_MAX && q->seq <= previous)
        return MOE_FAIL(FORMAT, "saved session: offset %llu: sequence %u follows %u",
                        (unsigned long long)(k->at - (s->win.n_layers ? 12 : 8)), q->seq, previous);
    *pages += ((uint64_t)q->len + MOE_KV_PAGE - 1) / MOE_KV_PAGE;
    if (q->len == 0)
        return MOE_FAIL(FORMAT, "saved session: offset %llu: sequence %u has no tokens",
                        (unsigned long long)(k->at - (s->win.n_layers ? 8 : 4)), q->seq);
    const uint32_t first = page_of_window(s, q->len);
    if (s->win.n_layers && (q->from < first || q->from > q->len))
        return MOE_FAIL(
            FORMAT, "saved session: offset %llu: sequence %u: windows from position %u on: expected %u to %u",
            (unsigned long long)(k->at - 4), q->seq, q->from, first, q->len);
    if (*pages > s->kv.n_pages)
        return MOE_FAIL(FULL, "saved session: sequence %u has %u tokens: this session has room for %u in all",
                        q->seq, q->len, s->kv.n_pages * MOE_KV_PAGE);
    const moe__kv *kv = &s->kv; /* the length fits into the cache, so these products fit too */
    q->bytes = (size_t)q->len * (4 + (size_t)kv->n_layers * ((size_t)kv->cell_k + kv->cell_v)) +
               (size_t)(q->len - q->from) * s->win.n_layers * ((size_t)kv->cell_k + kv->cell_v);
    MOE_TRY(moe__alloc(&s->m->alloc, (void **)&q->data, q->bytes, "saved sequence"));
    const uint64_t start = k->at;
    MOE_TRY(get(k, q->data, q->bytes));
    for (uint32_t p = 0; p < q->len; p++)
        if (get32(q->data + 4 * (size_t)p) >= s->m->hp.n_vocab)
            return MOE_FAIL(
                FORMAT, "saved session: offset %llu: sequence %u: token %u at position %u is out of range",
                (unsigned long long)(start + 4 * (uint64_t)p), q->seq, get32(q->data + 4 * (size_t)p), p);
    return MOE_OK;
}

/* A stream of one sequence has that and nothing else. */
static int check_single(const saved *v)
{
    if (v->word[HEAD_SEQS] <= 1 && !v->word[HEAD_LOGITS] && !v->word[HEAD_HIDDEN]) return MOE_OK;
    return MOE_FAIL(STATE,
                    "this is a saved session with %u sequences and its results, not a single sequence: "
                    "moe_session_load() takes it",
                    v->word[HEAD_SEQS]);
}

static int get_all(source *k, const moe_session *s, moe_seq into, saved *v)
{
    const moe__allocator *a = &s->m->alloc;
    uint64_t pages = 0;
    uint8_t sum[8];
    MOE_TRY(get_head(k, s, v));
    if (into != MOE_ALL_SEQS) MOE_TRY(check_single(v));
    MOE_TRY(MOE_NEW(a, &v->seq, v->word[HEAD_SEQS], "saved sequences"));
    for (uint32_t i = 0; i < v->word[HEAD_SEQS]; i++)
        MOE_TRY(get_seq(k, s, &v->seq[i], into, i ? v->seq[i - 1].seq : UINT32_MAX, &pages));
    const size_t n_logits = (size_t)v->word[HEAD_LOGITS] * s->m->hp.n_vocab,
                 n_hidden = (size_t)v->word[HEAD_HIDDEN] * s->m->hp.dim;
    MOE_TRY(MOE_NEW(a, &v->logits, n_logits, "saved logits"));
    MOE_TRY(MOE_NEW(a, &v->hidden, n_hidden, "saved hidden states"));
    MOE_TRY(get(k, v->logits, n_logits * 4));
    MOE_TRY(get(k, v->hidden, n_hidden * 4));
    const uint64_t want = moe__hash_get(&k->hash);
    MOE_TRY(get(k, sum, sizeof sum));
    if (get64(sum) != want)
        return MOE_FAIL(FORMAT, "saved session: offset %llu: checksum: expected %016llx, found %016llx",
                        (unsigned long long)(k->at - sizeof sum), (unsigned long long)want,
                        (unsigned long long)get64(sum));
    return MOE_OK;
}

/* Writes one layer of a sequence into pages that are already reserved; returns what follows in the stream. */
static const uint8_t *place_layer(const moe_session *s, uint32_t layer, const saved_seq *q, const uint8_t *p)
{
    moe__kv *kv = moe__attn_kv(&s->attn, layer);
    const uint32_t l = s->m->layers[layer].kv_index;
    for (uint32_t i = s->m->layers[layer].window ? q->from : 0, end; i < q->len; i = end) {
        end = page_end(i, q->len);
        for (uint32_t j = i; j < end; j++, p += kv->cell_k)
            moe__kv_put_k(kv, moe__kv_at(kv, l, q->seq, j), p);
        for (uint32_t j = i; j < end; j++, p += kv->cell_v)
            moe__kv_put_v(kv, moe__kv_at(kv, l, q->seq, j), p);
    }
    return p;
}

/* The pages were counted: there is room. */
static int place_one(moe_session *s, saved_seq *q)
{
    const uint8_t *p = q->data;
    MOE_TRY(moe__kv_reserve(&s->kv, q->seq, q->len));
    if (s->win.n_layers) MOE_TRY(moe__kv_restore(&s->win, q->seq, q->from, q->len));
    for (uint32_t i = 0; i < q->len; i++, p += 4) *moe__kv_token(&s->kv, q->seq, i) = (moe_token)get32(p);
    for (uint32_t l = 0; l < s->m->hp.n_layers; l++) p = place_layer(s, l, q, p);
    moe__kv_set_len(&s->kv, q->seq, q->len);
    if (s->win.n_layers) moe__kv_set_len(&s->win, q->seq, q->len);
    return MOE_OK;
}

static int place(moe_session *s, saved *v)
{
    moe__kv_reset(&s->kv);
    moe__kv_reset(&s->win);
    for (uint32_t i = 0; i < v->word[HEAD_SEQS]; i++) MOE_TRY(place_one(s, &v->seq[i]));
    moe__kv_commit(&s->kv);
    moe__kv_commit(&s->win);
    s->n_logits = v->word[HEAD_LOGITS];
    s->n_hidden = v->word[HEAD_HIDDEN];
    const size_t n_logits = (size_t)s->n_logits * s->m->hp.n_vocab,
                 n_hidden = (size_t)s->n_hidden * s->m->hp.dim;
    to_file_order(v->logits, n_logits, 4);
    to_file_order(v->hidden, n_hidden, 4);
    memcpy(s->logits, v->logits, n_logits * sizeof(float));
    memcpy(s->hidden, v->hidden, n_hidden * sizeof(float));
    moe__routers_reset_seq(s, MOE_ALL_SEQS); /* states of policies are not in the file */
    return MOE_OK;
}

/* Pages that a sequence would leave free, and those that are. */
static uint32_t pages_to_have(const moe__kv *kv, uint32_t q)
{
    uint32_t n = kv->n_free;
    for (uint32_t i = 0; i < kv->seq[q].n_pages; i++)
        n += kv->refs[moe__kv_page(kv, q, i * MOE_KV_PAGE)] == 1;
    return n;
}

static int place_as(moe_session *s, uint32_t q, saved *v)
{
    const uint32_t len = v->word[HEAD_SEQS] ? v->seq[0].len : 0, have = pages_to_have(&s->kv, q);
    if ((len + MOE_KV_PAGE - 1) / MOE_KV_PAGE > have)
        return MOE_FAIL(FULL, "the saved sequence has %u tokens: there is room for %u", len,
                        have * MOE_KV_PAGE);
    moe__kv_truncate(&s->kv, q, 0);
    if (s->win.n_layers) moe__kv_truncate(&s->win, q, 0);
    moe__routers_reset_seq(s, (moe_seq)q);
    if (len) MOE_TRY(place_one(s, &v->seq[0]));
    moe__kv_commit(&s->kv);
    moe__kv_commit(&s->win);
    return MOE_OK;
}

static int load_state(moe_session *s, moe_seq into, moe_read_fn fn, void *user)
{
    const moe__allocator *a = &s->m->alloc;
    source k = {.fn = fn, .user = user};
    saved v = {{0}, NULL, NULL, NULL};
    moe__hash_init(&k.hash);
    int st = get_all(&k, s, into, &v);
    if (st == MOE_OK) st = into == MOE_ALL_SEQS ? place(s, &v) : place_as(s, (uint32_t)into, &v);
    for (uint32_t i = 0; v.seq && i < v.word[HEAD_SEQS]; i++) moe__free(a, v.seq[i].data);
    moe__free(a, v.seq);
    moe__free(a, v.logits);
    moe__free(a, v.hidden);
    return st;
}

int moe__session_load(moe_session *s, moe_read_fn fn, void *user)
{
    return load_state(s, MOE_ALL_SEQS, fn, user);
}

int moe__session_seq_load(moe_session *s, uint32_t q, moe_read_fn fn, void *user)
{
    return load_state(s, (moe_seq)q, fn, user);
}
