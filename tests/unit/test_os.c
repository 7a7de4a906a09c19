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
    assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
    assert_int_equal(moe__os_open(&f, in_dir("pipe")), MOE_E_IO); /* and does not wait for a writer */
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
    assert_int_equal(moe__os_writer_open(&w, "/dev/null", &heap), MOE_E_IO);
    assert_non_null(strstr(moe__last_error(), "not a regular file"));
    /* the target becomes a directory while the file is written: commit fails and the temporary is gone */
    snprintf(sub, sizeof sub, "%s", in_dir("late"));
    assert_int_equal(moe__os_writer_open(&w, sub, &heap), MOE_OK);
    assert_int_equal(mkdir(sub, 0700), 0);
    assert_true(moe__os_writer_commit(&w) < 0);
    assert_int_equal(count_files(0), 1);
    assert_int_equal(rmdir(sub), 0);
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
        cmocka_unit_test(pages_and_clock),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
