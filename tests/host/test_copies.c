/* SPDX-License-Identifier: MIT */
/*
 * test_copies LIBRARY: several copies of the library in one process: linked statically, loaded by dlopen
 * (twice, from two files), loaded into a name space of its own. Each works by itself, at the same time.
 * Unloading leaves no thread and no mapping.
 */
#define _GNU_SOURCE /* dlmopen, gettid */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <dirent.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

static const char *path; /* of the shared library */
static uint64_t want;    /* what every copy must find */
static char twin[64];    /* another file with the same content */

static unsigned n_threads(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/task");
    if (!dir) return 0;
    for (struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* Threads that were joined may take a moment to be gone from the list. */
static int threads_become(unsigned n)
{
    const struct timespec t = {0, 5000000};
    for (int i = 0; i < 400 && n_threads() != n; i++) nanosleep(&t, NULL);
    return n_threads() == n;
}

static int is_mapped(const char *name)
{
    char line[4096];
    int found = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    if (!f) return -1;
    while (fgets(line, sizeof line, f)) found |= strstr(line, name) != NULL;
    fclose(f);
    return found;
}

static library load(const char *file, void **handle)
{
    library lib = {0};
    *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!*handle) fail_msg("%s", dlerror());
    assert_true(loaded_library(&lib, *handle));
    return lib;
}

static int copy_file(const char *from, const char *to)
{
    char block[65536];
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    size_t n;
    if (!in || !out) return -1;
    while ((n = fread(block, 1, sizeof block, in)) > 0)
        if (fwrite(block, 1, n, out) != n) return -1;
    fclose(in);
    return fclose(out);
}

static void loaded_and_unloaded(void **state)
{
    (void)state;
    const unsigned before = n_threads();
    for (int i = 0; i < 12; i++) {
        void *handle;
        const library lib = load(twin, &handle);
        assert_true(work(&lib, 1 + i % 4) == want);
        const int own_threads = !lib.moe_has_feature("openmp"); /* that runtime keeps its threads */
        assert_int_equal(is_mapped(twin), 1);
        assert_int_equal(dlclose(handle), 0);
        assert_int_equal(is_mapped(twin), 0);
        if (own_threads) assert_true(threads_become(before));
    }
}

/* A copy that is used by a thread which stays alive: its last message was the thread's own. */
static pthread_barrier_t used, closed;

static void *use_and_stay(void *arg)
{
    const library *lib = arg;
    moe_model *m = NULL;
    const int st = lib->moe_model_open(&m, "no such file", NULL);
    const int ok =
        st == MOE_E_NOTFOUND && strstr(lib->moe_last_error(), "no such file") && work(lib, 2) == want;
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&closed); /* meanwhile it is unloaded */
    return ok ? arg : NULL;
}

static void unloaded_under_a_living_thread(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        pthread_t t;
        void *handle, *result;
        library lib = load(twin, &handle);
        pthread_barrier_init(&used, NULL, 2);
        pthread_barrier_init(&closed, NULL, 2);
        assert_int_equal(pthread_create(&t, NULL, use_and_stay, &lib), 0);
        pthread_barrier_wait(&used);
        assert_int_equal(dlclose(handle), 0);
        pthread_barrier_wait(&closed);
        pthread_join(t, &result);
        assert_non_null(result);
        pthread_barrier_destroy(&used);
        pthread_barrier_destroy(&closed);
    }
}

typedef struct copy {
    library lib;
    uint64_t got;
    int rounds;
} copy;

static void *work_on(void *arg)
{
    copy *c = arg;
    for (int i = 0; i < c->rounds; i++) {
        c->got = work(&c->lib, 1 + i % 3);
        if (c->got != want) break;
    }
    return NULL;
}

/* Static, shared, a second shared one, one in its own name space: all different, all at once. */
static void copies_side_by_side(void **state)
{
    (void)state;
    void *handle[3];
    copy c[4] = {0};
    pthread_t t[4];
    moe_model *m = NULL;
    int n = 3;
    c[0].lib = linked_library();
    c[1].lib = load(path, &handle[0]);
    c[2].lib = load(twin, &handle[1]);
    handle[2] = dlmopen(LM_ID_NEWLM, twin, RTLD_NOW | RTLD_LOCAL);
    if (handle[2] && loaded_library(&c[3].lib, handle[2])) n = 4;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++) assert_true(c[i].lib.moe_model_open != c[k].lib.moe_model_open);
    /* last messages are apart */
    assert_int_equal(c[0].lib.moe_model_open(&m, "nothing/here", NULL), MOE_E_NOTFOUND);
    assert_int_equal(c[1].lib.moe_model_open(&m, "nor/there", NULL), MOE_E_NOTFOUND);
    assert_non_null(strstr(c[0].lib.moe_last_error(), "nothing/here"));
    assert_non_null(strstr(c[1].lib.moe_last_error(), "nor/there"));
    assert_string_equal(c[2].lib.moe_last_error(), "");
    for (int i = 0; i < n; i++) {
        c[i].rounds = 10;
        assert_int_equal(pthread_create(&t[i], NULL, work_on, &c[i]), 0);
    }
    for (int i = 0; i < n; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < n; i++) assert_true(c[i].got == want);
    /* OpenMP's runtime in that name space would go, too, and its threads with no code under them. */
    if (handle[2] && !c[0].lib.moe_has_feature("openmp")) dlclose(handle[2]);
    dlclose(handle[1]);
    dlclose(handle[0]);
    assert_true(work(&c[0].lib, 2) == want); /* the one that is left */
    print_message("# %d copies\n", n);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loaded_and_unloaded),
        cmocka_unit_test(unloaded_under_a_living_thread),
        cmocka_unit_test(copies_side_by_side),
    };
    const library own = linked_library();
    if (argc != 2) return 2;
    path = argv[1];
    snprintf(twin, sizeof twin, "/tmp/libmoe-twin-%ld.so", (long)getpid());
    if (copy_file(path, twin) < 0) return 2;
    want = work(&own, 1);
    const int failed = want == 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
    unlink(twin);
    return failed;
}
