/* SPDX-License-Identifier: MIT */
/*
 * All memory goes through the hook. The program has its own malloc, free, mmap, ... in front of the C
 * library's, and a counting hook in every object it makes. While the library is at work, on any thread,
 * nobody may call them, with these exceptions, each by name:
 *
 *   threads   pthread_create and pthread_join take the thread's stack and its control block
 *   stdio     fopen, fgets, fclose: the control group's files that tell how many CPUs there are
 *
 * An eval and sampling have no exceptions. What the hook gave is all given back at the end.
 */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS /* mmap and mmap64 are two functions here */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../api/support.h"
#include "moe/study.h"

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);
extern void __libc_free(void *p);

/* ---- what the C library is asked for ---- */

static atomic_int watching;               /* the library is at work */
static atomic_uint n_calls, n_exceptions; /* of any thread, meanwhile */
static const char *volatile culprit;
static _Thread_local const char *excepted; /* inside one of the named functions */
static _Thread_local int in_hook;          /* the hook itself may allocate */

static void count_call(const char *name)
{
    if (!atomic_load(&watching) || in_hook) return;
    if (excepted) {
        atomic_fetch_add(&n_exceptions, 1);
        return;
    }
    culprit = name;
    atomic_fetch_add(&n_calls, 1);
}

/* Seen by the library in the place of the C library's: compiled with -fvisibility=default. */
void *malloc(size_t n)
{
    count_call("malloc");
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size)
{
    count_call("calloc");
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n)
{
    count_call("realloc");
    return __libc_realloc(p, n);
}
void free(void *p)
{
    if (p) count_call("free");
    __libc_free(p);
}
void *memalign(size_t align, size_t n);
void *memalign(size_t align, size_t n)
{
    count_call("memalign");
    return __libc_memalign(align, n);
}
void *aligned_alloc(size_t align, size_t n)
{
    count_call("aligned_alloc");
    return __libc_memalign(align, n);
}
int posix_memalign(void **p, size_t align, size_t n)
{
    count_call("posix_memalign");
    *p = __libc_memalign(align, n);
    return *p ? 0 : 12;
}

static void *real(const char *name)
{
    void *p = dlsym(RTLD_NEXT, name);
    if (!p) abort();
    return p;
}
#define REAL(name) ((__typeof__(&name))(uintptr_t)real(#name))

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
    if (flags & MAP_ANONYMOUS) count_call("mmap");
    return REAL(mmap)(at, n, prot, flags, fd, off);
}
void *mmap64(void *at, size_t n, int prot, int flags, int fd, off64_t off)
{
    if (flags & MAP_ANONYMOUS) count_call("mmap64");
    return REAL(mmap64)(at, n, prot, flags, fd, off);
}

/* ---- the exceptions ---- */

#define EXCEPTED(type, name, call)                                                                           \
    const char *before = excepted;                                                                           \
    excepted = #name;                                                                                        \
    const type result = REAL(name) call;                                                                     \
    excepted = before;                                                                                       \
    return result

int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg)
{
    EXCEPTED(int, pthread_create, (t, a, f, arg));
}
int pthread_join(pthread_t t, void **r) { EXCEPTED(int, pthread_join, (t, r)); }
typedef FILE *file_pointer;
FILE *fopen(const char *path, const char *mode) { EXCEPTED(file_pointer, fopen, (path, mode)); }
FILE *fopen64(const char *path, const char *mode) { EXCEPTED(file_pointer, fopen64, (path, mode)); }
typedef char *char_pointer;
char *fgets(char *s, int n, FILE *f) { EXCEPTED(char_pointer, fgets, (s, n, f)); }
int fclose(FILE *f) { EXCEPTED(int, fclose, (f)); }

/* ---- the hook ---- */

static atomic_size_t live, taken; /* bytes now, blocks ever */

static void *hook_alloc(size_t n, size_t align, void *user)
{
    in_hook = 1;
    void *p = __libc_memalign(align, n);
    in_hook = 0;
    assert_ptr_equal(user, &live);
    atomic_fetch_add(&live, n);
    atomic_fetch_add(&taken, 1);
    return p;
}
static void hook_free(void *p, size_t n, void *user)
{
    (void)user;
    atomic_fetch_sub(&live, n);
    __libc_free(p);
}

static const moe_allocator hook = {sizeof hook, hook_alloc, hook_free, &live};

/* ---- phases ---- */

static unsigned exceptions_of; /* those of the last phase */

/* Watches one call. */
#define WATCHED(expr)                                                                                        \
    do {                                                                                                     \
        atomic_store(&n_calls, 0);                                                                           \
        atomic_store(&n_exceptions, 0);                                                                      \
        atomic_store(&watching, 1);                                                                          \
        const int watched_ = (expr);                                                                         \
        atomic_store(&watching, 0);                                                                          \
        exceptions_of = atomic_load(&n_exceptions);                                                          \
        if (atomic_load(&n_calls)) fail_msg("%s: %u calls of %s", #expr, atomic_load(&n_calls), culprit);    \
        assert_ok(watched_);                                                                                 \
    } while (0)
/* One without exceptions, which takes nothing from the hook either. */
#define WATCHED_STRICT(expr)                                                                                 \
    do {                                                                                                     \
        const size_t taken_ = atomic_load(&taken);                                                           \
        WATCHED(expr);                                                                                       \
        assert_int_equal(exceptions_of, 0);                                                                  \
        assert_int_equal(atomic_load(&taken), taken_);                                                       \
    } while (0)
#define WATCHED_VOID(expr) WATCHED(((expr), MOE_OK))

enum { N = 40 };
static moe_token id[N];

static int expert_zero(const moe_expert_call *c, void *user)
{
    (void)user;
    memset(c->y, 0, (size_t)c->n_rows * c->dim * sizeof *c->y);
    return 0;
}

static int swallow(const void *data, size_t n, void *user)
{
    (void)data;
    *(size_t *)user += n;
    return 0;
}

static void steer(moe_session *s, moe_trace *t)
{
    moe_router *all, *one;
    moe_expert *e;
    size_t n = 0;
    WATCHED(moe_session_router(s, MOE_ALL_LAYERS, &all));
    WATCHED(moe_session_router(s, 1, &one));
    WATCHED(moe_router_set_named(all, "threshold:t=0.3,kmax=3"));
    WATCHED(moe_router_expert(one, 2, &e));
    WATCHED(moe_expert_set_use(e, MOE_USE_BAN));
    WATCHED(moe_router_expert(one, 3, &e));
    WATCHED(moe_expert_redirect(e, 2, 1));
    WATCHED(moe_session_observe(s, moe_trace_observe, t));
    WATCHED(moe_session_save_steering(s, swallow, &n));
    assert_true(n > 0);
    WATCHED(moe_session_eval(s, id, N)); /* the trace grows: by the hook */
    WATCHED(moe_session_observe(s, NULL, NULL));
    WATCHED(moe_expert_replace_fn(e, expert_zero, NULL));
    WATCHED_STRICT(moe_session_eval(s, id, N));
    WATCHED(moe_router_reset(all));
}

static void sample(moe_session *s, const moe_tokenizer *tok)
{
    moe_sampler *p;
    moe_token next;
    char text[64];
    size_t n;
    WATCHED(moe_sampler_create(&p, &hook));
    WATCHED(moe_sampler_add_named(
        p, "penalties:repeat=1.1,last=64;top-k:k=20;top-p:p=0.9;temp:t=0.7;dist:seed=1"));
    for (int i = 0; i < 4; i++) {
        WATCHED(moe_sampler_pick(p, s, 0, &next));
        WATCHED(moe_sampler_accept(p, next));
        WATCHED_STRICT(moe_session_eval(s, &next, 1));
        WATCHED_STRICT(moe_tokenizer_decode(tok, &next, 1, 0, text, sizeof text, &n));
    }
    WATCHED_STRICT(moe_sampler_pick(p, s, 0, &next)); /* its scratch has grown by now */
    WATCHED(moe_tokenizer_encode(tok, "Once upon", 9, 0, id, N, &n));
    WATCHED_VOID(moe_sampler_free(p));
}

static void run_all(uint32_t open_flags, int threads)
{
    moe_model *m;
    moe_session *s, *again;
    moe_profile *profile;
    moe_trace *trace;
    const moe_tokenizer *tok;
    moe_model_options mo = MOE_MODEL_OPTIONS_INIT;
    moe_session_options so = MOE_SESSION_OPTIONS_INIT;
    moe_memory mem = MOE_MEMORY_INIT;
    char state[] = "/tmp/libmoe-state-XXXXXX";
    close(mkstemp(state));
    mo.flags = open_flags;
    mo.n_threads = threads;
    mo.allocator = &hook;
    so.n_ctx = 256;
    so.n_threads = threads;
    so.flags = MOE_SESSION_KEEP_ROUTES;
    WATCHED(moe_plan("tests/golden/data/qwen3moe.gguf", &mo, &so, &mem));
    WATCHED(moe_model_open(&m, "tests/golden/data/qwen3moe.gguf", &mo));
    assert_ok(moe_model_tokenizer(m, &tok));
    fill_tokens(m, id, N, 4);
    WATCHED(moe_session_create(&s, m, &so));
    WATCHED_STRICT(moe_session_warm_up(s));
    WATCHED_STRICT(moe_session_eval(s, id, N));
    WATCHED(moe_profile_create(&profile, m, NULL));
    WATCHED(moe_session_set_profile(s, profile));
    WATCHED_STRICT(moe_session_eval(s, id, N));
    WATCHED(moe_session_set_profile(s, NULL));
    WATCHED(moe_trace_create(&trace, m, MOE_TRACE_WEIGHTS, NULL));
    moe_session_reset(s);
    steer(s, trace);
    sample(s, tok);
    WATCHED(moe_session_save_file(s, state));
    WATCHED(moe_session_create(&again, m, &so));
    WATCHED(moe_session_load_file(again, state));
    WATCHED(moe_session_copy_routing(again, s));
    WATCHED_VOID(moe_model_release(m)); /* its children keep it */
    WATCHED_VOID(moe_session_free(again));
    WATCHED_VOID(moe_trace_free(trace));
    WATCHED_VOID(moe_session_free(s));
    WATCHED_VOID(moe_profile_free(profile));
    unlink(state);
    assert_int_equal(atomic_load(&live), 0);
    assert_true(atomic_load(&taken) > 0);
}

static void everything_goes_through_the_hook(void **state)
{
    (void)state;
    static const uint32_t flags[] = {0, MOE_OPEN_NO_MMAP, MOE_OPEN_RESIDENT, MOE_OPEN_CHECK_DATA};
    if (moe_has_feature("openmp")) return; /* whose runtime has memory of its own */
    for (int i = 0; i < 4; i++)
        for (int threads = 1; threads <= 3; threads++) run_all(flags[i], threads);
}

static void quantize_goes_through_the_hook(void **state)
{
    (void)state;
    char to[] = "/tmp/libmoe-quantized-XXXXXX";
    moe_quantize_options q = MOE_QUANTIZE_OPTIONS_INIT;
    if (moe_has_feature("openmp")) return; /* whose runtime has memory of its own */
    close(mkstemp(to));
    q.recipe = "Q8_0";
    q.n_threads = 2;
    q.allocator = &hook;
    WATCHED(moe_quantize("tests/golden/data/qwen3moe.gguf", to, &q));
    unlink(to);
    assert_int_equal(atomic_load(&live), 0);
}

/* The net has no holes: without a hook the library's own allocations show. */
static void the_count_counts(void **state)
{
    (void)state;
    moe_model *m;
    atomic_store(&n_calls, 0);
    atomic_store(&watching, 1);
    const int st = moe_model_open(&m, "tests/golden/data/qwen3moe.gguf", NULL);
    atomic_store(&watching, 0);
    assert_ok(st);
    assert_true(atomic_load(&n_calls) > 3);
    moe_model_release(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_goes_through_the_hook),
        cmocka_unit_test(quantize_goes_through_the_hook),
        cmocka_unit_test(the_count_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
