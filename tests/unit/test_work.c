/* SPDX-License-Identifier: MIT */
/*
 * Items and put-off jobs of a walk (base/work.h): random programs, run by teams of every size, against the
 * same program run in order by one loop. Each step reads what the one before wrote for all rows, so a job
 * that runs too early, twice or not at all changes the result.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/parallel_impl.h"
#include "base/rng.h"
#include "base/status.h"
#include "base/work.h"

enum { MAX_ROWS = 9, MAX_STEPS = 40, MAX_MEMBERS = 5, N_PROGRAMS = 300 };

enum { ITEMS, PARTS, ROWS, ONCE, ANY_TIME, SETTLE, N_KINDS };

typedef struct program {
    uint32_t n_rows, n_steps;
    uint8_t kind[MAX_STEPS];
} program;

typedef struct state {
    const program *p;
    moe__work work;
    uint64_t row[MAX_ROWS];
    uint64_t all;
    uint32_t n_any_time;
    uint8_t step[MAX_STEPS]; /* 0, 1, 2 ...: what put-off jobs point at */
} state;

static uint64_t turn(uint64_t x, uint64_t y) { return (x ^ y) * 0x9e3779b97f4a7c15u + (x >> 29); }

static uint64_t of_all(const state *s)
{
    uint64_t x = s->all;
    for (uint32_t i = 0; i < s->p->n_rows; i++) x = turn(x, s->row[i]);
    return x;
}

/* A row's job reads its own row and what the last step for all left. */
static void do_row(moe__worker *w, void *arg, const void *what, size_t i)
{
    state *s = arg;
    (void)w;
    s->row[i] = turn(s->row[i], s->all + *(const uint8_t *)what);
}

static void do_once(moe__worker *w, void *arg, const void *what, size_t i)
{
    state *s = arg;
    (void)w;
    s->all = turn(of_all(s), *(const uint8_t *)what + i);
}

static void do_any_time(moe__worker *w, void *arg, const void *what, size_t i)
{
    (void)w;
    (void)what;
    (void)i;
    ((state *)arg)->n_any_time++;
}

static void walk(moe__member *m, void *arg)
{
    state *s = arg;
    const program *p = s->p;
    moe__worker w = {.member = m, .work = &s->work, .index = m->index};
    for (uint32_t k = 0; k < p->n_steps; k++) {
        const uint8_t *what = &s->step[k];
        switch (p->kind[k]) {
        case ITEMS:
            for (size_t i; (i = moe__work_take(&w)) < p->n_rows;) do_row(&w, s, what, i);
            moe__work_close(&w);
            break;
        case PARTS: {
            moe__run run = {0};
            moe__work_ahead(&w, s->row, sizeof(s->row)); /* changes nothing */
            for (size_t i; moe__work_item(&w, &run, p->n_rows, &i);) do_row(&w, s, what, i);
            moe__work_close(&w);
            break;
        }
        case ROWS: moe__work_after(&w, do_row, s, what, p->n_rows); break;
        case ONCE: moe__work_once(&w, do_once, s, what, 0); break;
        case ANY_TIME: moe__work_once(&w, do_any_time, s, what, 1); break;
        default: moe__work_settle(&w);
        }
    }
    moe__work_settle(&w);
}

static void in_order(state *s)
{
    const program *p = s->p;
    for (uint32_t k = 0; k < p->n_steps; k++) {
        for (uint32_t i = 0; p->kind[k] <= ROWS && i < p->n_rows; i++) do_row(NULL, s, &s->step[k], i);
        if (p->kind[k] == ONCE) do_once(NULL, s, &s->step[k], 0);
        if (p->kind[k] == ANY_TIME) do_any_time(NULL, s, NULL, 0);
    }
}

static state fresh(const program *p)
{
    state s = {.p = p};
    for (uint32_t i = 0; i < MAX_STEPS; i++) s.step[i] = (uint8_t)i;
    for (uint32_t i = 0; i < MAX_ROWS; i++) s.row[i] = i;
    moe__work_reset(&s.work);
    return s;
}

/* What is read ahead lies inside what was named, and ends. */
static void test_ahead(void **unused)
{
    static const char rows[8 * 200 + 7];
    moe__ahead none = moe__ahead_of(NULL, 0), some = moe__ahead_of(rows, sizeof(rows));
    (void)unused;
    moe__ahead_some(&none);
    assert_int_equal(none.done, 0);
    assert_int_equal(some.length, 200);
    for (int i = 1; i <= 4; i++) {
        moe__ahead_some(&some);
        assert_int_equal(some.done, 64 * i);
    }
    moe__ahead_some(&some);
    assert_int_equal(some.done, 256);
    moe__worker w = {0};
    moe__work_ahead(&w, rows, sizeof(rows)); /* no meeting to come */
    assert_null(w.ahead.at);
    w.open = 1;
    moe__work_ahead(&w, rows, sizeof(rows));
    assert_ptr_equal(w.ahead.at, rows);
}

static void test_programs(void **unused)
{
    moe__allocator heap;
    (void)unused;
    assert_int_equal(moe__allocator_init(&heap, NULL), MOE_OK);
    for (uint32_t n = 1; n <= MAX_MEMBERS; n++) {
        moe__team *t;
        moe__rng rng = {.seed = 7 * n};
        assert_int_equal(moe__team_create(&t, &heap, n, NULL), MOE_OK);
        t->n_most = t->n_now = t->n; /* however few CPUs there are */
        for (int round = 0; round < N_PROGRAMS; round++) {
            program p = {.n_rows = 1 + (uint32_t)(moe__rng_next(&rng) % MAX_ROWS),
                         .n_steps = (uint32_t)(moe__rng_next(&rng) % MAX_STEPS)};
            if (round % 3 == 0) p.n_rows = 1; /* decoding */
            for (uint32_t k = 0; k < p.n_steps; k++) p.kind[k] = (uint8_t)(moe__rng_next(&rng) % N_KINDS);
            state want = fresh(&p), have = fresh(&p);
            in_order(&want);
            assert_int_equal(moe__team_run(t, walk, &have), MOE_OK);
            assert_memory_equal(have.row, want.row, sizeof want.row);
            assert_true(have.all == want.all);
            assert_int_equal(have.n_any_time, want.n_any_time);
        }
        moe__team_free(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_programs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
