/* SPDX-License-Identifier: MIT */
/* libmoe plan: the memory that a model and a session would take. */
#include "json.h"
#include "out.h"
#include "setup.h"
#include "term.h"

#include <inttypes.h>
#include <unistd.h>

#define N_ROWS 7

/* Memory of this machine in bytes, 0 if unknown. */
static uint64_t machine_memory(void)
{
#if defined(_SC_PHYS_PAGES)
    const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
#else
    return 0;
#endif
}

static int show(const struct settings *s, const char *path, const moe_memory *m)
{
    const struct {
        const char *key, *label, *about;
        uint64_t bytes;
    } row[N_ROWS] = {
        {"dense", "dense weights", "used for every token", m->dense},
        {"experts", "experts", "of which each token uses a few", m->experts},
        {"kv", "KV cache", "grows with --ctx", m->kv},
        {"scratch", "scratch", "activations and logits", m->scratch},
        {"overhead", "tables", "vocabulary, metadata", m->overhead},
        {"total", "total", "the sum", m->total},
        {"private", "of it private", "the rest is the mapped file", m->private_bytes},
    };
    const uint64_t machine = machine_memory();
    char text[TEXT_SIZE];
    struct json j = JSON_INIT;
    if (s->json) {
        json_open(&j, NULL, '{');
        json_text(&j, "file", path);
        for (size_t i = 0; i < N_ROWS; i++) json_uint(&j, row[i].key, row[i].bytes);
        json_uint(&j, "machine", machine);
        json_close(&j);
        return CODE_OK;
    }
    for (size_t i = 0; i < N_ROWS; i++)
        out_format("%-14s %14" PRIu64 "  %-11s %s\n", row[i].label, row[i].bytes,
                   readable_bytes(text, row[i].bytes), row[i].about);
    if (machine)
        out_format("%-14s %14" PRIu64 "  %-11s %s\n", "this machine", machine, readable_bytes(text, machine),
                   m->total <= machine ? "has room for it"
                                       : "has less: parts of the file would be read again and again");
    return CODE_OK;
}

int cmd_plan(const struct settings *s)
{
    moe_model_options mo;
    moe_session_options so;
    moe_memory memory = MOE_MEMORY_INIT;
    const char *path;
    int status;
    if (s->model && s->n_args) return usage_error(s->command, "--model and a file name do not go together");
    path = model_path(s);
    if (!path) return CODE_FAIL;
    model_options(s, &mo);
    session_options(s, &so);
    status = moe_plan(path, &mo, &so, &memory);
    return status == MOE_OK ? show(s, path, &memory) : report(status, "cannot plan for %s", path);
}
