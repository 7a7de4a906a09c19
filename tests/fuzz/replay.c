/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target over stored inputs, without a fuzzer: every argument is a file or a folder of files.
 * Ends with status 0 if all ran; a crash or a broken promise ends it otherwise. A folder without inputs is a
 * fault: nothing was tested.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

static size_t n_run;

static void run_file(const char *path)
{
    fuzz_bytes b = fuzz_load(path);
    /* a block of exactly n bytes, so that a sanitizer sees the first byte read past the end */
    uint8_t *exact = malloc(b.n ? b.n : 1);
    if (!exact) exit(2);
    if (b.n) memcpy(exact, b.p, b.n);
    free((void *)(uintptr_t)b.p);
    fprintf(stderr, "%s: %zu bytes\n", path, b.n);
    (void)LLVMFuzzerTestOneInput(exact, b.n);
    free(exact);
    n_run++;
}

static int run_path(const char *path)
{
    struct stat sb;
    char name[4096];
    const size_t before = n_run;
    if (stat(path, &sb) != 0) {
        fprintf(stderr, "%s: cannot open\n", path);
        return 2;
    }
    if (!S_ISDIR(sb.st_mode)) {
        run_file(path);
        return 0;
    }
    DIR *d = opendir(path);
    if (!d) return 2;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        if (snprintf(name, sizeof name, "%s/%s", path, e->d_name) < (int)sizeof name) run_file(name);
    }
    closedir(d);
    if (n_run > before) return 0;
    fprintf(stderr, "%s: no inputs\n", path);
    return 2;
}

int main(int argc, char **argv)
{
    int bad = argc < 2;
    for (int i = 1; i < argc; i++) bad |= run_path(argv[i]);
    printf("%zu inputs\n", n_run);
    return bad;
}
