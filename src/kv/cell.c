/* SPDX-License-Identifier: MIT */
/* See cell.h; the layout is in kernel/kv_tile.h. Rows pass in parts of PART elements, heads one by one. */
#include "kv/cell.h"

#include <string.h>

#include "quant/blocks.h"

#define PART 64u /* elements: two blocks */

static uint32_t part_of(uint32_t d, uint32_t dim) { return dim - d < PART ? dim - d : PART; }

/* ---- rounding: a part of a row to the bytes of its type in a file ---- */

static void encode_q8_0(const moe__kernels *k, uint8_t *dst, const float *x, size_t n)
{
    moe__act32 b[PART / 32];
    k->act_q8_32(b, x, n);
    for (size_t i = 0; i < n / 32; i++) {
        moe__q8_0 q;
        q.d = moe__to_le_f16(b[i].d);
        memcpy(q.qs, b[i].q, sizeof q.qs);
        memcpy(dst + i * sizeof q, &q, sizeof q);
    }
}

/*
 * From the int8 form, since 8 and 127 levels differ so much that rounding twice does not matter: d = amax / 8
 * with the sign that makes an element of that size -8 d, which the other sign does not reach; 16 q + 127 =
 * 254 (q 8 / 127 + 1/2).
 */
static void encode_q4_0(const moe__kernels *k, uint8_t *dst, const float *x, size_t n)
{
    moe__act32 b[PART / 32];
    k->act_q8_32(b, x, n);
    for (size_t i = 0; i < n / 32; i++) {
        moe__q4_0 out;
        uint8_t q[32];
        int positive = 0;
        for (int j = 0; j < 32; j++) positive |= b[i].q[j] == 127;
        const int sign = positive ? -16 : 16;
        for (int j = 0; j < 32; j++) {
            const uint16_t level = (uint16_t)((uint16_t)(sign * b[i].q[j] + 127 + 8 * 254) / 254u);
            q[j] = (uint8_t)(level < 15 ? level : 15);
        }
        out.d = moe__to_le_f16(b[i].d * (positive ? -15.875f : 15.875f));
        for (int j = 0; j < 16; j++) out.qs[j] = (uint8_t)(q[j] | q[j + 16] << 4);
        memcpy(dst + i * sizeof out, &out, sizeof out);
    }
}

static void encode_f16(const moe__kernels *k, uint8_t *dst, const float *x, size_t n)
{
    uint16_t h[PART];
    k->to_f16(h, x, n);
    for (size_t i = 0; i < n; i++) {
        const moe__u16le le = moe__to_le16(h[i]);
        memcpy(dst + 2 * i, &le, 2);
    }
}

static void encode(const moe__kernels *k, int type, uint8_t *dst, const float *x, size_t n)
{
    if (type == MOE_TYPE_Q8_0)
        encode_q8_0(k, dst, x, n);
    else if (type == MOE_TYPE_Q4_0)
        encode_q4_0(k, dst, x, n);
    else if (type == MOE_TYPE_F16)
        encode_f16(k, dst, x, n);
    else
        moe__type_get(type)->quantize(x, dst, n, NULL);
}

/* ---- between the bytes of a part and the tiles; put != 0: into the tiles ---- */

static void swap_half(uint8_t *tile, uint8_t *cell, int put)
{
    uint16_t h;
    moe__u16le le;
    if (put) {
        memcpy(&le, cell, 2);
        h = moe__le16(le);
        memcpy(tile, &h, 2);
    } else {
        memcpy(&h, tile, 2);
        le = moe__to_le16(h);
        memcpy(cell, &le, 2);
    }
}

static void swap_word(uint8_t *tile, uint8_t *cell, int put)
{
    uint32_t w;
    if (put) {
        w = (uint32_t)cell[0] | (uint32_t)cell[1] << 8 | (uint32_t)cell[2] << 16 | (uint32_t)cell[3] << 24;
        memcpy(tile, &w, 4);
    } else {
        memcpy(&w, tile, 4);
        for (int i = 0; i < 4; i++) cell[i] = (uint8_t)(w >> 8 * i);
    }
}

/* n floats of a type, in the tile `step` elements apart. */
static void swap_floats(int type, uint8_t *tile, size_t step, uint32_t n, uint8_t *cell, int put)
{
    if (type == MOE_TYPE_F32)
        for (uint32_t i = 0; i < n; i++) swap_word(tile + 4 * i * step, cell + 4 * i, put);
    else if (put) /* the way that is often taken, by itself */
        for (uint32_t i = 0; i < n; i++) swap_half(tile + 2 * i * step, cell + 2 * i, 1);
    else
        for (uint32_t i = 0; i < n; i++) swap_half(tile + 2 * i * step, cell + 2 * i, 0);
}

static int in_blocks(int type) { return type == MOE_TYPE_Q8_0 || type == MOE_TYPE_Q4_0; }

/* Elements d .. d+n-1 of a key; tile: its sixteen positions, lane: which. */
static void swap_k(int type, uint8_t *tile, uint32_t lane, uint32_t dim, uint32_t d, uint32_t n,
                   uint8_t *cell, int put)
{
    if (!in_blocks(type)) {
        const size_t bytes = type == MOE_TYPE_F32 ? 4 : 2;
        swap_floats(type, tile + ((size_t)d * MOE_K_TILE + lane) * bytes, MOE_K_TILE, n, cell, put);
        return;
    }
    const uint32_t fours = type == MOE_TYPE_Q8_0 ? 8 : 4, flip = type == MOE_TYPE_Q8_0 ? 0x80808080u : 0;
    for (uint32_t b = d / 32; b < (d + n) / 32; b++, cell += 2 + 4 * fours) {
        uint8_t *q = tile + moe__k_tile_scales(dim) + (size_t)b * fours * MOE_K_TILE * 4 + 4 * lane;
        swap_half(tile + 2 * (b * MOE_K_TILE + lane), cell, put);
        for (uint32_t v = 0; v < fours; v++) { /* bytes as in the file, each four in one piece */
            uint8_t *from = put ? cell + 2 + 4 * v : q + v * 4 * MOE_K_TILE,
                    *to = put ? q + v * 4 * MOE_K_TILE : cell + 2 + 4 * v;
            uint32_t four;
            memcpy(&four, from, 4);
            four ^= flip;
            memcpy(to, &four, 4);
        }
    }
}

/* Position `lane` of a tile of quantised values; q4: it has half of each byte. */
static void swap_q8_v(uint8_t *q, uint8_t *cell, int put)
{
    for (int i = 0; i < 32; i++) {
        if (put)
            q[4 * i] = cell[i] ^ 0x80u;
        else
            cell[i] = q[4 * i] ^ 0x80u;
    }
}

static void swap_q4_v(uint8_t *q, int high, uint8_t *cell, int put)
{
    const int by = high ? 4 : 0;
    for (int i = 0; i < 32; i++) {
        uint8_t *at = q + 4 * i, *c = cell + i % 16;
        const int far = i / 16 * 4; /* in the file element i + 16 has the high half */
        if (put)
            *at = (uint8_t)((*at & (high ? 15 : 0xf0)) | (*c >> far & 15) << by);
        else
            *c = (uint8_t)(far ? *c | (*at >> by & 15) << 4 : *at >> by & 15);
    }
}

static void swap_v(int type, uint8_t *page, size_t tile_bytes, uint32_t at, uint32_t dim, uint32_t d,
                   uint32_t n, uint8_t *cell, int put)
{
    if (!in_blocks(type)) {
        swap_floats(type, page + ((size_t)at * dim + d) * (type == MOE_TYPE_F32 ? 4 : 2), 1, n, cell, put);
        return;
    }
    uint8_t *tile = page + at / MOE_V_TILE * tile_bytes, *q = tile + moe__v_tile_scales(dim);
    const uint32_t lane = at % MOE_V_TILE;
    for (uint32_t b = d / 32; b < (d + n) / 32; b++) {
        swap_half(tile + 2 * (b * MOE_V_TILE + lane), cell, put);
        if (type == MOE_TYPE_Q8_0) {
            swap_q8_v(q + (size_t)lane / 4 * 4 * dim + (size_t)b * 128 + lane % 4, cell + 2, put);
            cell += sizeof(moe__q8_0);
        } else {
            swap_q4_v(q + (size_t)lane / 8 * 4 * dim + (size_t)b * 128 + lane % 4, lane / 4 % 2, cell + 2,
                      put);
            cell += sizeof(moe__q4_0);
        }
    }
}

/* ---- one part of a head ---- */

static void part_k(const moe__kv *kv, moe__kv_place p, uint32_t h, uint32_t d, uint32_t n, uint8_t *cell,
                   int put)
{
    swap_k(kv->type_k, moe__kv_page_k(kv, p.layer, h, p.page) + p.at / MOE_K_TILE * kv->tile_k,
           p.at % MOE_K_TILE, kv->dim_k, d, n, cell, put);
}

static void part_v(const moe__kv *kv, moe__kv_place p, uint32_t h, uint32_t d, uint32_t n, uint8_t *cell,
                   int put)
{
    if (kv->v_in_k)
        part_k(kv, p, h, d, n, cell, put);
    else
        swap_v(kv->type_v, moe__kv_page_v(kv, p.layer, h, p.page), kv->tile_v, p.at, kv->dim_v, d, n, cell,
               put);
}

/* Keys or values: the same walk over the parts of a row. */
typedef struct kv_side {
    void (*part)(const moe__kv *kv, moe__kv_place p, uint32_t h, uint32_t d, uint32_t n, uint8_t *cell,
                 int put);
    int type;
    uint32_t dim;
} kv_side;

static kv_side side_k(const moe__kv *kv) { return (kv_side){part_k, kv->type_k, kv->dim_k}; }
static kv_side side_v(const moe__kv *kv) { return (kv_side){part_v, kv->type_v, kv->dim_v}; }

/* For each part of side x: n elements from d on of head h. */
#define EACH_PART(n)                                                                                         \
    for (uint32_t h = 0; h < kv->n_heads; h++)                                                               \
        for (uint32_t d = 0, n; d < x.dim && (n = part_of(d, x.dim)) > 0; d += n)

static void load_row(const moe__kv *kv, kv_side x, moe__kv_place at, float *row)
{
    const moe__type *t = moe__type_get(x.type);
    uint8_t cell[4 * PART];
    EACH_PART(n)
    {
        x.part(kv, at, h, d, n, cell, 0);
        t->dequant(cell, row + (size_t)h * x.dim + d, n);
    }
}

static void store_row(const moe__kv *kv, kv_side x, const moe__kernels *k, moe__kv_place at, const float *row)
{
    uint8_t cell[4 * PART];
    EACH_PART(n)
    {
        encode(k, x.type, cell, row + (size_t)h * x.dim + d, n);
        x.part(kv, at, h, d, n, cell, 1);
    }
}

static size_t part_bytes(kv_side x, uint32_t n) { return (size_t)moe__type_bytes(moe__type_get(x.type), n); }

static void get_cell(const moe__kv *kv, kv_side x, moe__kv_place at, uint8_t *cell)
{
    EACH_PART(n)
    {
        x.part(kv, at, h, d, n, cell, 0);
        cell += part_bytes(x, n);
    }
}

static void put_cell(const moe__kv *kv, kv_side x, moe__kv_place at, const uint8_t *cell)
{
    uint8_t part[4 * PART];
    EACH_PART(n)
    {
        memcpy(part, cell, part_bytes(x, n));
        x.part(kv, at, h, d, n, part, 1);
        cell += part_bytes(x, n);
    }
}

static void move_cell(const moe__kv *kv, kv_side x, moe__kv_place from, moe__kv_place to)
{
    uint8_t cell[4 * PART];
    EACH_PART(n)
    {
        x.part(kv, from, h, d, n, cell, 0);
        x.part(kv, to, h, d, n, cell, 1);
    }
}

void moe__kv_load_k(const moe__kv *kv, moe__kv_place at, float *row) { load_row(kv, side_k(kv), at, row); }
void moe__kv_load_v(const moe__kv *kv, moe__kv_place at, float *row) { load_row(kv, side_v(kv), at, row); }

void moe__kv_store_k(moe__kv *kv, const moe__kernels *k, moe__kv_place at, const float *row)
{
    store_row(kv, side_k(kv), k, at, row);
}

void moe__kv_store_v(moe__kv *kv, const moe__kernels *k, moe__kv_place at, const float *row)
{
    if (!kv->v_in_k) store_row(kv, side_v(kv), k, at, row);
}

void moe__kv_get_k(const moe__kv *kv, moe__kv_place at, uint8_t *cell) { get_cell(kv, side_k(kv), at, cell); }
void moe__kv_put_k(moe__kv *kv, moe__kv_place at, const uint8_t *cell) { put_cell(kv, side_k(kv), at, cell); }

void moe__kv_get_v(const moe__kv *kv, moe__kv_place at, uint8_t *cell)
{
    if (!kv->v_in_k) get_cell(kv, side_v(kv), at, cell);
}

void moe__kv_put_v(moe__kv *kv, moe__kv_place at, const uint8_t *cell)
{
    if (!kv->v_in_k) put_cell(kv, side_v(kv), at, cell);
}

void moe__kv_move_v(moe__kv *kv, moe__kv_place from, moe__kv_place to)
{
    if (!kv->v_in_k) move_cell(kv, side_v(kv), from, to);
}
