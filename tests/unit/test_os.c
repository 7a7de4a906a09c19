/* SPDX-License-Identifier: MIT */
/* base/os: reading, mapping, and the writer whose file appears only when whole. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/os.h"
#include "base/status.h"

#ifdef _WIN32 /* where a hole must be asked for */
#include <windows.h>
#include <winioctl.h>
#define MAKE_SPARSE(handle)                                                                                  \
    DeviceIoControl((HANDLE)(handle), FSCTL_SET_SPARSE, NULL, 0, NULL, 0, &(DWORD){0}, NULL)
#else
#define MAKE_SPARSE(handle) ((void)(handle))
#endif

static moe__allocator heap;
static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/libmoe-os-XXXXXX");
    return mkdtemp(dir) ? moe__allocator_init(&heap, NULL) : -1;
}

/* Entries of the directory; with `remove_all`, they are gone afterwards. */
static int count_files(int remove_all)
{
    DIR *d = opendir(dir);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        n++;
        if (remove_all) assert_int_equal(unlink(in_dir(e->d_name)), 0);
    }
    closedir(d);
    return n;
}

static int remove_dir(void **state)
{
    (void)state;
    count_files(1);
    return rmdir(dir);
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void check_file(const char *path, const char *text)
{
    moe__os_file f;
    char buf[64] = {0};
    assert_int_equal(moe__os_open(&f, path), MOE_OK);
    assert_int_equal(f.length, strlen(text));
    assert_int_equal(moe__os_read_at(&f, 0, buf, strlen(text), path), MOE_OK);
    assert_string_equal(buf, text);
    moe__os_close(&f);
}

static void files_are_read_and_mapped(void **state)
{
    (void)state;
    const char *path = in_dir("hello");
    moe__os_file f;
    char buf[8] = {0};
    const void *map;
    write_file(path, "hello world");
    assert_int_equal(moe__os_open(&f, path), MOE_OK);
    assert_int_equal(f.length, 11);
    assert_int_equal(moe__os_read_at(&f, 6, buf, 5, path), MOE_OK);
    assert_string_equal(buf, "world");
    assert_int_equal(moe__os_read_at(&f, 7, buf, 5, path), MOE_E_IO);
    assert_non_null(strstr(moe__last_error(), "ends at offset 11"));
    assert_int_equal(moe__os_read_at(&f, UINT64_MAX, buf, 5, path), MOE_E_IO);
    assert_int_equal(moe__os_map(&f, &map, path), MOE_OK);
    moe__os_close(&f); /* the mapping outlives it */
    moe__os_close(&f);
    assert_memory_equal(map, "hello world", 11);
    for (int advice = 0; advice < 5; advice++) moe__os_advise(map, 11, advice);
    assert_memory_equal(map, "hello world", 11);
    moe__os_unmap(map, 11);
    moe__os_unmap(NULL, 0);
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    moe__os_file f;
    const void *map;
    assert_int_equal(moe__os_open(&f, in_dir("missing")), MOE_E_NOTFOUND);
    assert_non_null(strstr(moe__last_error(), in_dir("missing")));
    assert_non_null(strstr(moe__last_error(), "No such file"));
    assert_int_equal(moe__os_open(&f, dir), MOE_E_IO);
    assert_non_null(strstr(moe__last_error(), "directory"));
#ifndef _WIN32 /* whose pipes are in no directory */
    assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
    assert_int_equal(moe__os_open(&f, in_dir("pipe")), MOE_E_IO); /* and does not wait for a writer */
#endif
    write_file(in_dir("nothing"), "");
    assert_int_equal(moe__os_open(&f, in_dir("nothing")), MOE_OK);
    assert_int_equal(moe__os_map(&f, &map, "nothing"), MOE_E_UNSUPPORTED);
    assert_null(map);
    moe__os_close(&f);
    count_files(1);
}

static void a_written_file_appears_when_whole(void **state)
{
    (void)state;
    const char *path = in_dir("out");
    moe__os_writer w;
    write_file(path, "old");
    assert_int_equal(moe__os_writer_open(&w, path, &heap), MOE_OK);
    assert_int_equal(count_files(0), 2);
    assert_int_equal(moe__os_write(&w, "0123456789", 10), MOE_OK);
    assert_int_equal(moe__os_write_at(&w, 2, "xy", 2), MOE_OK);
    assert_int_equal(moe__os_write(&w, "end", 3), MOE_OK);
    check_file(path, "old");
    assert_int_equal(moe__os_writer_commit(&w), MOE_OK);
    assert_int_equal(count_files(0), 1);
    check_file(path, "01xy456789end");
    moe__os_writer_cancel(&w);
    check_file(path, "01xy456789end");
    assert_int_equal(moe__os_writer_commit(&w), MOE_E_INTERNAL);
}

static void a_cancelled_file_leaves_nothing(void **state)
{
    (void)state;
    const char *path = in_dir("out");
    moe__os_writer w;
    write_file(path, "old");
    assert_int_equal(moe__os_writer_open(&w, path, &heap), MOE_OK);
    assert_int_equal(moe__os_write(&w, "new", 3), MOE_OK);
    moe__os_writer_cancel(&w);
    moe__os_writer_cancel(&w);
    check_file(path, "old");
    assert_int_equal(count_files(1), 1);
    memset(&w, 0, sizeof w);
    moe__os_writer_cancel(&w);
}

static void writers_fail_cleanly(void **state)
{
    (void)state;
    char sub[500];
    moe__os_writer w;
    assert_int_equal(moe__os_writer_open(&w, in_dir("no/such/dir"), &heap), MOE_E_NOTFOUND);
    assert_non_null(strstr(moe__last_error(), "no/such/dir"));
    assert_int_equal(moe__os_writer_open(&w, dir, &heap), MOE_E_IO);
#ifndef _WIN32
    assert_int_equal(moe__os_writer_open(&w, "/dev/null", &heap), MOE_E_IO);
#endif
    assert_non_null(strstr(moe__last_error(), "not a regular file"));
    /* the target becomes a directory while the file is written: commit fails and the temporary is gone */
    snprintf(sub, sizeof sub, "%s", in_dir("late"));
    assert_int_equal(moe__os_writer_open(&w, sub, &heap), MOE_OK);
    assert_int_equal(mkdir(sub, 0700), 0);
    assert_true(moe__os_writer_commit(&w) < 0);
    assert_int_equal(count_files(0), 1);
    assert_int_equal(rmdir(sub), 0);
}

/* Names are UTF-8 everywhere; what is not is refused where names are made of other units. */
static void names_are_utf8(void **state)
{
    (void)state;
    const char *path = in_dir("f\xc3\xa4hre-\xd0\xbc\xd0\xbe\xd1\x81\xd1\x82-\xe6\xa9\x8b-\xf0\x9f\x8c\x89");
    moe__os_writer w;
    assert_int_equal(moe__os_writer_open(&w, path, &heap), MOE_OK);
    assert_int_equal(moe__os_write(&w, "bridge", 6), MOE_OK);
    assert_int_equal(moe__os_writer_commit(&w), MOE_OK);
    check_file(path, "bridge");
#ifdef _WIN32
    wchar_t wide[400];
    int n = 0;
    while (dir[n]) wide[n] = (wchar_t)dir[n], n++;
    wcscpy(wide + n, L"/f\u00e4hre-\u043c\u043e\u0441\u0442-\u6a4b-\U0001f309");
    assert_int_equal(_waccess(wide, 4), 0); /* what other programs see */
    assert_int_equal(_wunlink(wide), 0);
    moe__os_file f;
    assert_int_equal(moe__os_open(&f, in_dir("\xff\xfe")), MOE_E_IO);
    assert_non_null(strstr(moe__last_error(), "UTF-8"));
    assert_int_equal(moe__os_writer_open(&w, in_dir("\xc3"), &heap), MOE_E_IO);
#endif
    count_files(1);
}

/* Offsets of more than 32 bits; the file is mostly hole. */
static void files_are_longer_than_4_gib(void **state)
{
    (void)state;
    const char *path = in_dir("long");
    const uint64_t beyond = (UINT64_C(5) << 30) + 12345;
    moe__os_writer w;
    moe__os_file f;
    char buf[8] = {0};
    const void *map;
    assert_int_equal(moe__os_writer_open(&w, path, &heap), MOE_OK);
    assert_int_equal(moe__os_write(&w, "near", 4), MOE_OK);
    MAKE_SPARSE(w.handle);
    if (moe__os_write_at(&w, beyond, "distant", 7) != MOE_OK) { /* a small disk without holes */
        print_message("# not run: %s\n", moe__last_error());
        moe__os_writer_cancel(&w);
        return;
    }
    assert_int_equal(moe__os_write(&w, "er", 2), MOE_OK);
    assert_int_equal(moe__os_writer_commit(&w), MOE_OK);
    assert_int_equal(moe__os_open(&f, path), MOE_OK);
    assert_true(f.length == beyond + 7);
    assert_int_equal(moe__os_read_at(&f, beyond, buf, 7, path), MOE_OK);
    assert_string_equal(buf, "distant");
    assert_int_equal(moe__os_read_at(&f, beyond + 1, buf, 7, path), MOE_E_IO);
    assert_int_equal(moe__os_map(&f, &map, path), MOE_OK);
    assert_memory_equal(map, "nearer", 6);
    assert_memory_equal((const char *)map + beyond, "distant", 7);
    moe__os_unmap(map, f.length);
    moe__os_close(&f);
    count_files(1);
}

static void pages_and_clock(void **state)
{
    (void)state;
    const size_t page = moe__os_page_size();
    assert_true(page >= 512 && (page & (page - 1)) == 0);
    const uint64_t a = moe__os_now_ns();
    const uint64_t b = moe__os_now_ns();
    assert_true(a > 0 && b >= a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_and_mapped),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(a_written_file_appears_when_whole),
        cmocka_unit_test(a_cancelled_file_leaves_nothing),
        cmocka_unit_test(writers_fail_cleanly),
        cmocka_unit_test(names_are_utf8),
        cmocka_unit_test(files_are_longer_than_4_gib),
        cmocka_unit_test(pages_and_clock),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
