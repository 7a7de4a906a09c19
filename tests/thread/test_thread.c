/* SPDX-License-Identifier: MIT */
/*
 * Many sessions on one model from many threads: every result must be that of one session alone, to the bit.
 * Interrupts at random moments, callers' executors, changes of the thread count, and ends in any order.
 * Assertions of cmocka jump, which other threads must not do: they count faults, the main thread looks.
 */
#include "../api/support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sched.h>

#define N_TOKENS  48u
#define N_THREADS 6
#define N_ROUNDS  6

static const char model_path[] = "tests/golden/data/qwen2moe-dense.gguf";

static moe_model *model;
static moe_token prompt[N_TOKENS];
static float *reference; /* [N_TOKENS][vocab] */
static size_t vocab;
static atomic_int n_faults;
static _Thread_local uint32_t noise_state;

static uint32_t noise(void)
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return noise_state >> 8;
}

/* Records a fault of a thread with its message; the first one is enough. */
static void fault(int line, const char *what)
{
    if (atomic_fetch_add(&n_faults, 1) == 0) print_error("# line %d: %s: %s\n", line, what, moe_last_error());
}

#define CHECK(cond)                                                                                          \
    do {                                                                                                     \
        if (!(cond)) fault(__LINE__, #cond);                                                                 \
    } while (0)

static int setup(void **state)
{
    (void)state;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    uint8_t want[N_TOKENS];
    memset(want, MOE_WANT_LOGITS, sizeof want);
    atomic_store(&n_faults, 0);
    model = open_model(model_path, 0);
    vocab = vocab_of(model);
    fill_tokens(model, prompt, N_TOKENS, 17);
    o.n_threads = 1;
    o.n_output_max = N_TOKENS;
    moe_session *s = make_session(model, o);
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = N_TOKENS;
    b.token = prompt;
    b.want = want;
    assert_ok(moe_session_eval_batch(s, &b));
    reference = malloc(N_TOKENS * vocab * sizeof *reference);
    assert_non_null(reference);
    for (size_t i = 0; i < N_TOKENS; i++) {
        const float *x;
        assert_ok(moe_session_logits(s, i, &x, NULL));
        memcpy(reference + i * vocab, x, vocab * sizeof *x);
    }
    moe_session_free(s);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    moe_model_release(model);
    free(reference);
    return 0;
}

/* Runs main on n threads with the arguments 0 .. n-1, waits, and reports what they found. */
static void on_threads(int n, void *(*main)(void *arg))
{
    pthread_t thread[16];
    atomic_store(&n_faults, 0);
    for (intptr_t i = 0; i < n; i++) assert_int_equal(pthread_create(&thread[i], NULL, main, (void *)i), 0);
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&n_faults), 0);
}

/* Evaluates prompt[have .. have+n-1] and compares the last row. */
static int eval_and_compare(moe_session *s, size_t have, size_t n)
{
    const float *x;
    const int st = moe_session_eval(s, prompt + have, n);
    if (st != MOE_OK) return st;
    CHECK(moe_session_logits(s, 0, &x, NULL) == MOE_OK);
    CHECK(memcmp(x, reference + (have + n - 1) * vocab, vocab * sizeof *x) == 0);
    return MOE_OK;
}

static moe_session *new_session(moe_model *m, int n_threads, const moe_executor *ex)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_session *s = NULL;
    o.n_ctx = 128;
    o.n_threads = n_threads;
    o.n_batch_max = 16;
    o.executor = ex;
    CHECK(moe_session_create(&s, m, &o) == MOE_OK);
    return s;
}

/* ---- sessions side by side ---- */

/* Pieces of random length, cut back now and then. */
static void wander(moe_session *s, int n_steps)
{
    size_t have = 0;
    for (int i = 0; i < n_steps; i++) {
        if (have == N_TOKENS || noise() % 4 == 0) {
            have = noise() % (have + 1);
            CHECK(moe_session_seq_truncate(s, 0, (moe_pos)have) == MOE_OK);
            if (have == N_TOKENS) continue;
        }
        const size_t n = 1 + noise() % (N_TOKENS - have);
        CHECK(eval_and_compare(s, have, n) == MOE_OK);
        have += n;
    }
}

static void *one_session(void *arg)
{
    const int i = (int)(intptr_t)arg;
    noise_state = (uint32_t)i + 1;
    for (int round = 0; round < N_ROUNDS; round++) {
        moe_session *s = new_session(model, 1 + (i + round) % 3, NULL);
        if (!s) return NULL;
        wander(s, 6);
        moe_session_free(s);
    }
    return NULL;
}

static void sessions_do_not_see_each_other(void **state)
{
    (void)state;
    on_threads(N_THREADS, one_session);
}

/* The messages of failures belong to their threads. */
static void *failing_calls(void *arg)
{
    const int i = (int)(intptr_t)arg;
    char want[32];
    moe_session *s = new_session(model, 1, NULL);
    snprintf(want, sizeof want, "keep %d:", 1000 + i);
    for (int round = 0; round < 200; round++) {
        CHECK(moe_session_seq_truncate(s, 0, 1000 + i) == MOE_E_RANGE);
        CHECK(strstr(moe_last_error(), want) != NULL);
    }
    moe_session_free(s);
    return NULL;
}

static void errors_belong_to_threads(void **state)
{
    (void)state;
    on_threads(N_THREADS, failing_calls);
}

/* ---- models and tokenizers ---- */

static void *read_model(void *arg)
{
    noise_state = (uint32_t)(intptr_t)arg + 100;
    const moe_tokenizer *t = NULL;
    static const char text[] = "Shared by all: \xc3\xa9t\xc3\xa9, 1234 and    spaces\n";
    moe_token first[128], id[128];
    size_t n_first = 0, n, len;
    char back[256];
    float x[64];
    const int has_tokenizer = moe_model_tokenizer(model, &t) == MOE_OK;
    for (int round = 0; round < 100; round++) {
        moe_model_info info = MOE_MODEL_INFO_INIT;
        moe_meta meta = MOE_META_INIT;
        moe_model *m = moe_model_retain(model);
        CHECK(moe_model_get_info(m, &info) == MOE_OK && info.n_vocab == vocab);
        CHECK(moe_model_meta_at(m, noise() % moe_model_meta_count(m), &meta) == MOE_OK);
        CHECK(moe_model_tensor_read(m, noise() % moe_model_tensor_count(m), 0, 16, x) == MOE_OK);
        if (has_tokenizer) {
            CHECK(moe_tokenizer_encode(t, text, sizeof text - 1, 0, id, 128, &n) == MOE_OK);
            if (round == 0) {
                memcpy(first, id, sizeof id);
                n_first = n;
            }
            CHECK(n == n_first && memcmp(first, id, n * sizeof id[0]) == 0);
            CHECK(moe_tokenizer_decode(t, id, n, 0, back, sizeof back, &len) == MOE_OK);
        }
        moe_model_release(m);
    }
    return NULL;
}

static void *use_tokenizer(void *arg)
{
    static moe_tokenizer *shared;
    static const char text[] =
        "The quick brown fox, \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e \xf0\x9f\x98\x80 \xc3\xa9 -- 3.14159\n\n";
    if (!arg) { /* the first call, alone: opens and closes it */
        if (!shared)
            assert_ok(moe_tokenizer_open(&shared, "tests/token/data/qwen2.gguf", NULL));
        else
            moe_tokenizer_free(shared);
        return NULL;
    }
    moe_token id[256];
    char back[256];
    size_t n, len;
    for (int round = 0; round < 50; round++) {
        CHECK(moe_tokenizer_encode(shared, text, sizeof text - 1, 0, id, 256, &n) == MOE_OK);
        CHECK(moe_tokenizer_decode(shared, id, n, 0, back, sizeof back, &len) == MOE_OK);
        CHECK(len == sizeof text - 1 && memcmp(back, text, len) == 0);
    }
    return NULL;
}

static void models_and_tokenizers_are_shared(void **state)
{
    (void)state;
    on_threads(N_THREADS, read_model);
    use_tokenizer(NULL);
    atomic_store(&n_faults, 0);
    pthread_t thread[N_THREADS];
    for (intptr_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, use_tokenizer, (void *)(i + 1)), 0);
    for (int i = 0; i < N_THREADS; i++) pthread_join(thread[i], NULL);
    use_tokenizer(NULL);
    assert_int_equal(atomic_load(&n_faults), 0);
}

/* ---- interrupts ---- */

typedef struct target {
    _Atomic(moe_session *) s;
    atomic_int done;
} target;

static target targets[3];
static atomic_int all_done;

static void *interrupted_session(void *arg)
{
    target *t = &targets[(intptr_t)arg];
    noise_state = (uint32_t)(intptr_t)arg + 50;
    moe_session *s = new_session(model, 2, NULL);
    CHECK(eval_and_compare(s, 0, 8) == MOE_OK);
    atomic_store(&t->s, s);
    int n_stopped = 0;
    for (int round = 0; round < 60 || n_stopped == 0; round++) {
        const size_t have = 8, n = 1 + noise() % (N_TOKENS - have);
        const int st = eval_and_compare(s, have, n);
        if (st == MOE_OK) {
            CHECK(moe_session_seq_len(s, 0) == have + n);
            CHECK(moe_session_seq_truncate(s, 0, (moe_pos)have) == MOE_OK);
        } else {
            CHECK(st == MOE_E_ABORTED);
            CHECK(moe_session_seq_len(s, 0) == have);
            n_stopped++;
        }
    }
    atomic_store(&t->s, NULL);
    atomic_store(&t->done, 1);
    while (atomic_load(&all_done) == 0) sched_yield(); /* the one who interrupts may still hold it */
    moe_session_free(s);
    return NULL;
}

static void *interrupter(void *arg)
{
    noise_state = (uint32_t)(intptr_t)arg;
    for (int n_left = 3; n_left > 0;) {
        n_left = 0;
        for (int i = 0; i < 3; i++) {
            moe_session *s = atomic_load(&targets[i].s);
            if (s) moe_session_interrupt(s);
            n_left += !atomic_load(&targets[i].done);
        }
        for (volatile uint32_t i = noise() % 200000; i > 0; i--) {}
    }
    atomic_store(&all_done, 1);
    return NULL;
}

static void *interrupts(void *arg) { return (intptr_t)arg < 3 ? interrupted_session(arg) : interrupter(arg); }

static void interrupts_at_any_moment(void **state)
{
    (void)state;
    atomic_store(&all_done, 0);
    for (int i = 0; i < 3; i++) {
        atomic_store(&targets[i].s, NULL);
        atomic_store(&targets[i].done, 0);
    }
    on_threads(4, interrupts);
}

/* ---- callers' executors ---- */

typedef struct job {
    void (*task)(void *arg, uint32_t i);
    void *arg;
    uint32_t i;
} job;

static void *run_job(void *arg)
{
    const job *j = arg;
    j->task(j->arg, j->i);
    return NULL;
}

/* A thread for every task; the last task runs on the caller. */
static int run_on_pthreads(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user)
{
    pthread_t thread[16];
    job jobs[16];
    if (n > 16) return MOE_E_FULL;
    for (uint32_t i = 0; i < n; i++) jobs[i] = (job){task, arg, i};
    for (uint32_t i = 0; i + 1 < n; i++)
        if (pthread_create(&thread[i], NULL, run_job, &jobs[i]) != 0) {
            fault(__LINE__, "pthread_create"); /* the others wait for ever: no way to go on */
            exit(1);
        }
    run_job(&jobs[n - 1]);
    for (uint32_t i = 0; i + 1 < n; i++) pthread_join(thread[i], NULL);
    atomic_fetch_add((atomic_int *)user, 1);
    return 0;
}

static void *executor_session(void *arg)
{
    noise_state = (uint32_t)(intptr_t)arg + 9;
    atomic_int n_runs = 0;
    moe_executor ex = {sizeof ex, run_on_pthreads, &n_runs};
    moe_session *s = new_session(model, 1 + (int)(intptr_t)arg, &ex);
    memset(&ex, 0xff, sizeof ex); /* it was copied */
    if (!s) return NULL;
    wander(s, 5);
    moe_session_info info = MOE_SESSION_INFO_INIT;
    CHECK(moe_session_get_info(s, &info) == MOE_OK);
    CHECK(info.n_threads == 1 + (uint32_t)(intptr_t)arg);
    CHECK(info.n_threads == 1 || atomic_load(&n_runs) > 0);
    moe_session_free(s);
    return NULL;
}

static void callers_executors(void **state)
{
    (void)state;
    on_threads(4, executor_session);
}

static atomic_int n_runs_of_others;

static int refuse(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user)
{
    (void)task;
    (void)arg;
    return n > 1 && *(int *)user ? -99 : run_on_pthreads(n, task, arg, &n_runs_of_others);
}

static void an_executor_that_refuses_leaves_the_session_as_it_was(void **state)
{
    (void)state;
    int refusing = 0;
    atomic_store(&n_faults, 0);
    moe_executor ex = {sizeof ex, refuse, &refusing};
    moe_session *s = new_session(model, 3, &ex);
    assert_int_equal(eval_and_compare(s, 0, 10), MOE_OK);
    refusing = 1;
    assert_refused(moe_session_eval(s, prompt + 10, 5), MOE_E_CALLBACK, "executor");
    assert_int_equal(moe_session_seq_len(s, 0), 10);
    refusing = 0;
    assert_int_equal(eval_and_compare(s, 10, 30), MOE_OK);
    moe_session_free(s);
    assert_int_equal(atomic_load(&n_faults), 0);
}

/* ---- thread counts and ends ---- */

static void *changing_threads(void *arg)
{
    noise_state = (uint32_t)(intptr_t)arg + 77;
    moe_session *s = new_session(model, 1, NULL);
    size_t have = 0;
    while (have < N_TOKENS) {
        const size_t n = 1 + noise() % (N_TOKENS - have);
        CHECK(moe_session_set_threads(s, (int)(1 + noise() % 4)) == MOE_OK);
        CHECK(eval_and_compare(s, have, n) == MOE_OK);
        have += n;
    }
    moe_session_free(s);
    return NULL;
}

static void thread_counts_change_between_evals(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) on_threads(4, changing_threads);
}

static moe_session *handed[N_THREADS];

/* Uses and frees a session that another thread made. */
static void *take_over(void *arg)
{
    moe_session *s = handed[(intptr_t)arg];
    noise_state = (uint32_t)(intptr_t)arg + 5;
    CHECK(moe_session_seq_len(s, 0) == 5);
    CHECK(eval_and_compare(s, 5, 20) == MOE_OK);
    moe_session_free(s);
    return NULL;
}

/* The model goes first; the last session, on whatever thread, takes it along. */
static void ends_in_any_order(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        moe_model *m = open_model(model_path, round % 2 ? MOE_OPEN_RESIDENT : 0);
        for (int i = 0; i < N_THREADS; i++) {
            handed[i] = new_session(m, 1 + i % 3, NULL);
            assert_int_equal(eval_and_compare(handed[i], 0, 5), MOE_OK);
        }
        moe_model_release(m);
        on_threads(N_THREADS, take_over);
    }
}

static void *open_and_close(void *arg)
{
    for (int round = 0; round < 5; round++) {
        moe_model *m = NULL;
        moe_model_options o = MOE_MODEL_OPTIONS_INIT;
        o.flags = (intptr_t)arg % 2 ? MOE_OPEN_NO_MMAP : 0;
        CHECK(moe_model_open(&m, model_path, &o) == MOE_OK);
        moe_session *s = new_session(m, 2, NULL);
        moe_model_release(m);
        CHECK(eval_and_compare(s, 0, 7) == MOE_OK);
        moe_session_free(s);
    }
    return NULL;
}

static void models_open_side_by_side(void **state)
{
    (void)state;
    on_threads(4, open_and_close);
}

/* ---- routing of one's own ---- */

static const char *const recipes[] = {"topk:k=1",
                                      "topp:p=0.6",
                                      "random:k=2,seed=3",
                                      "all",
                                      "ranks:1",
                                      "hash:k=2",
                                      "topk:k=3,score=sigmoid,norm=sum"};
#define N_RECIPES (sizeof recipes / sizeof recipes[0])

static float *by_recipe[N_RECIPES]; /* [vocab] of the prompt's last token, computed alone */

static void set_recipe(moe_session *s, size_t i)
{
    moe_router *r;
    CHECK(moe_session_router(s, MOE_ALL_LAYERS, &r) == MOE_OK);
    CHECK(moe_router_set_named(r, recipes[i]) == MOE_OK);
}

/* Another recipe in every session and round, evaluated while others run with theirs. */
static void *routed_session(void *arg)
{
    const size_t me = (size_t)(intptr_t)arg;
    noise_state = (uint32_t)me + 99;
    moe_session *s = new_session(model, 1 + (int)(me % 3), NULL);
    for (size_t round = 0; s && round < 2 * N_RECIPES; round++) {
        const size_t i = (me + round) % N_RECIPES;
        const float *x;
        set_recipe(s, i);
        CHECK(moe_session_eval(s, prompt, N_TOKENS / 2) == MOE_OK);
        CHECK(moe_session_eval(s, prompt + N_TOKENS / 2, N_TOKENS - N_TOKENS / 2) == MOE_OK);
        CHECK(moe_session_logits(s, 0, &x, NULL) == MOE_OK);
        CHECK(memcmp(x, by_recipe[i], vocab * sizeof *x) == 0);
        moe_session_reset(s);
    }
    moe_session_free(s);
    return NULL;
}

static void sessions_route_differently_at_the_same_time(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_RECIPES; i++) {
        moe_session *s = new_session(model, 1, NULL);
        const float *x;
        set_recipe(s, i);
        assert_ok(moe_session_eval(s, prompt, N_TOKENS));
        assert_ok(moe_session_logits(s, 0, &x, NULL));
        by_recipe[i] = malloc(vocab * sizeof *x);
        assert_non_null(by_recipe[i]);
        memcpy(by_recipe[i], x, vocab * sizeof *x);
        moe_session_free(s);
    }
    on_threads(4, routed_session);
    for (size_t i = 0; i < N_RECIPES; i++) free(by_recipe[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_do_not_see_each_other),
        cmocka_unit_test(errors_belong_to_threads),
        cmocka_unit_test(models_and_tokenizers_are_shared),
        cmocka_unit_test(interrupts_at_any_moment),
        cmocka_unit_test(callers_executors),
        cmocka_unit_test(an_executor_that_refuses_leaves_the_session_as_it_was),
        cmocka_unit_test(thread_counts_change_between_evals),
        cmocka_unit_test(ends_in_any_order),
        cmocka_unit_test(models_open_side_by_side),
        cmocka_unit_test(sessions_route_differently_at_the_same_time),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
