/* SPDX-License-Identifier: MIT */
/*
 * Settings to library objects. The bundled model is found beside the program: in the data directory of an
 * installation, or in examples/models of the source tree whose build directory the program runs from.
 */
#include "setup.h"
#include "interrupt.h"
#include "out.h"
#include "progress.h"
#include "routing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE  4096
#define TREE_MODEL "examples/models/demo.gguf"
#define DATA_MODEL MOE_TOOL_DATA "/demo.gguf" /* seen from the program's directory, or an absolute path */

/* -------------------------------------------------------------------------------------------- which model */

/* Path of `name` seen from the program's directory or, with `up`, from one of the directories above it. */
static bool find_beside(char *dst, const char *name, int up)
{
    char dir[PATH_SIZE];
    const ssize_t n = readlink("/proc/self/exe", dir, sizeof dir - 1);
    if (n <= 0) return false;
    dir[n] = '\0';
    for (int i = 0; i <= up; i++) {
        char *slash = strrchr(dir, '/');
        if (!slash) return false;
        *slash = '\0';
        if (strlen(dir) + strlen(name) + 2 > PATH_SIZE) return false;
        memcpy(dst, dir, strlen(dir));
        dst[strlen(dir)] = '/';
        memcpy(dst + strlen(dir) + 1, name, strlen(name) + 1);
        if (access(dst, R_OK) == 0) return true;
    }
    return false;
}

static const char *bundled_model(void)
{
    static char path[PATH_SIZE];
    if (path[0]) return path;
    if (DATA_MODEL[0] == '/' && access(DATA_MODEL, R_OK) == 0) return DATA_MODEL;
    if (find_beside(path, DATA_MODEL, 0) || find_beside(path, TREE_MODEL, 6)) return path;
    path[0] = '\0';
    return NULL;
}

const char *model_path(const struct settings *s)
{
    const char *variable = getenv("LIBMOE_MODEL"), *path = s->model;
    const bool takes_file = s->command->bit == CMD_INFO || s->command->bit == CMD_PLAN;
    if (!path && takes_file && s->n_args) path = s->args[0];
    if (!path && variable && *variable) path = variable;
    if (!path) path = bundled_model();
    if (!path) complain("no model: the bundled one is not there, name a GGUF file with --model");
    return path;
}

/* ------------------------------------------------------------------------------------------------ objects */

static void log_line(int level, const char *area, const char *msg, void *user)
{
    static const char *const name[] = {"", "error: ", "warning: ", "", "debug: "};
    (void)user;
    progress_clear();
    fprintf(stderr, "libmoe: %s%s: %s\n", level >= 1 && level <= 4 ? name[level] : "", area, msg);
}

void model_options(const struct settings *s, moe_model_options *o)
{
    static moe_logger logger = MOE_LOGGER_INIT;
    const moe_model_options init = MOE_MODEL_OPTIONS_INIT;
    *o = init;
    o->flags = (s->no_mmap ? MOE_OPEN_NO_MMAP : 0) | (s->resident ? MOE_OPEN_RESIDENT : 0);
    o->n_threads = s->threads;
    o->memory_budget = s->budget;
    o->isa_max = s->isa;
    o->progress = progress_callback;
    if (s->verbose) {
        logger.level = MOE_LOG_INFO;
        logger.write = log_line;
        o->logger = &logger;
    }
}

/* A name of --kv, which parse.c has checked; it ends at a comma. */
static int32_t kv_type(const char *name)
{
    static const struct {
        const char *name;
        int32_t type;
    } types[] = {{"bf16", MOE_TYPE_BF16}, {"f32", MOE_KV_F32}, {"q8_0", MOE_TYPE_Q8_0}, {"q4_0", MOE_TYPE_Q4_0}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strncmp(name, types[i].name, strcspn(name, ",")) == 0) return types[i].type;
    return MOE_TYPE_F16;
}

void session_options(const struct settings *s, moe_session_options *o)
{
    const moe_session_options init = MOE_SESSION_OPTIONS_INIT;
    *o = init;
    o->n_ctx = (uint32_t)s->ctx;
    o->n_batch_max = (uint32_t)s->batch;
    o->n_threads = s->threads;
    o->progress = progress_callback;
    if (s->kv) {
        const char *v = strchr(s->kv, ',');
        o->kv_type_k = kv_type(s->kv);
        o->kv_type_v = v ? kv_type(v + 1) : o->kv_type_k;
    }
}

int open_model(const struct settings *s, uint32_t flags, moe_model **out)
{
    moe_model_options o;
    const char *path = model_path(s);
    int status;
    *out = NULL;
    if (!path) return CODE_FAIL;
    model_options(s, &o);
    o.flags |= flags;
    progress_begin("loading", true);
    status = moe_model_open(out, path, &o);
    progress_end();
    return status == MOE_OK ? CODE_OK : report(status, "cannot open the model %s", path);
}

int open_session(const struct settings *s, moe_model *m, const moe_session_options *o, moe_session **out)
{
    const int status = moe_session_create(out, m, o);
    int code;
    if (status != MOE_OK) {
        *out = NULL;
        return report(status, "cannot make a session");
    }
    code = routing_apply(s, *out);
    if (code != CODE_OK) {
        moe_session_free(*out);
        *out = NULL;
    } else {
        interrupt_target(*out);
    }
    return code;
}

int open_weak(const struct settings *s, const moe_session *strong, const moe_session_options *o,
              moe_session **out)
{
    moe_router *all;
    int status;
    *out = NULL;
    if (!s->contrast) return CODE_OK;
    status = moe_session_create(out, moe_session_model(strong), o);
    if (status == MOE_OK) status = moe_session_copy_routing(*out, strong);
    if (status == MOE_OK) status = moe_session_router(*out, MOE_ALL_LAYERS, &all);
    if (status == MOE_OK) status = moe_router_set_named(all, s->contrast);
    if (status == MOE_OK) return CODE_OK;
    status = report(status, "--contrast %s", s->contrast);
    moe_session_free(*out);
    *out = NULL;
    return status;
}

moe_contrast contrast_settings(const struct settings *s)
{
    moe_contrast c = MOE_CONTRAST_INIT;
    c.alpha = (float)s->contrast_alpha;
    c.beta = (float)s->contrast_beta;
    return c;
}

const moe_tokenizer *tokenizer_of(const moe_model *m)
{
    const moe_tokenizer *t = NULL;
    const int status = moe_model_tokenizer(m, &t);
    if (status != MOE_OK) {
        report(status, "the model has no tokenizer");
        return NULL;
    }
    return t;
}

/* ------------------------------------------------------------------------------------------------ sampler */

/* The chain that the separate options describe; stages that would do nothing are left out. */
static int add_stages(const struct settings *s, moe_sampler *p)
{
    const moe_sample_stage init = MOE_SAMPLE_STAGE_INIT;
    moe_sample_stage stage[6];
    size_t n = 0;
    for (size_t i = 0; i < sizeof stage / sizeof *stage; i++) stage[i] = init;
    if (s->repeat < 1.0 || s->repeat > 1.0) {
        stage[n].kind = MOE_SAMPLE_PENALTIES;
        stage[n].n = s->repeat_window;
        stage[n++].a = (float)s->repeat;
    }
    if (s->temp > 0.0) {
        if (s->top_k > 0) {
            stage[n].kind = MOE_SAMPLE_TOP_K;
            stage[n++].n = s->top_k;
        }
        if (s->top_p < 1.0) {
            stage[n].kind = MOE_SAMPLE_TOP_P;
            stage[n].n = 1;
            stage[n++].a = (float)s->top_p;
        }
        if (s->min_p > 0.0) {
            stage[n].kind = MOE_SAMPLE_MIN_P;
            stage[n].n = 1;
            stage[n++].a = (float)s->min_p;
        }
        stage[n].kind = MOE_SAMPLE_TEMP;
        stage[n++].a = (float)s->temp;
        stage[n++].kind = MOE_SAMPLE_DIST;
    } else {
        stage[n++].kind = MOE_SAMPLE_GREEDY;
    }
    for (size_t i = 0; i < n; i++) {
        const int status = moe_sampler_add(p, &stage[i]);
        if (status != MOE_OK) return status;
    }
    return MOE_OK;
}

/* A seed that differs from run to run. */
static uint64_t fresh_seed(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return ((uint64_t)t.tv_sec * 1000003u + (uint64_t)t.tv_nsec / 1000u + (uint64_t)getpid() * 7919u) %
           1000000000u;
}

int open_sampler(const struct settings *s, moe_sampler **out, uint64_t *seed)
{
    const bool reseed = s->has_seed || !s->samplers || !strstr(s->samplers, "seed=");
    int status = moe_sampler_create(out, NULL);
    *seed = s->has_seed ? s->seed : fresh_seed();
    if (status != MOE_OK) {
        *out = NULL;
        return report(status, "cannot make a sampler");
    }
    status = s->samplers ? moe_sampler_add_named(*out, s->samplers) : add_stages(s, *out);
    if (status == MOE_OK && reseed) status = moe_sampler_set_seed(*out, *seed);
    if (status != MOE_OK) {
        const int code = report(status, s->samplers ? "--samplers" : "sampling");
        moe_sampler_free(*out);
        *out = NULL;
        return code;
    }
    return CODE_OK;
}

/* ------------------------------------------------------------------------------------------------- voices */

#define KEY_VOICES  "libmoe.voices"
#define KEY_DEFAULT "libmoe.voice.default"

uint64_t voice_count(const moe_model *m)
{
    moe_meta v = MOE_META_INIT;
    if (moe_model_meta_find(m, KEY_VOICES, &v) != MOE_OK || v.type != MOE_META_ARRAY ||
        v.elem_type != MOE_META_STRING)
        return 0;
    return v.n;
}

const char *voice_name(const moe_model *m, uint64_t i)
{
    moe_meta v = MOE_META_INIT;
    return i < voice_count(m) && moe_model_meta_elem(m, KEY_VOICES, i, &v) == MOE_OK ? v.str : NULL;
}

const char *voice_default(const moe_model *m)
{
    moe_meta v = MOE_META_INIT;
    return moe_model_meta_find(m, KEY_DEFAULT, &v) == MOE_OK && v.type == MOE_META_STRING ? v.str : NULL;
}

static const char *voice_at(size_t i, const void *user) { return voice_name(user, i); }

static int unknown_voice(const moe_model *m, const char *name)
{
    const uint64_t n = voice_count(m);
    const char *near = nearest(name, (size_t)n, voice_at, m);
    if (n == 0)
        complain("--voice %s: this model has no voices", name);
    else if (near)
        complain("unknown voice `%s`; did you mean %s?", name, near);
    else
        complain("unknown voice `%s`", name);
    if (n) {
        fputs("Voices of this model:", stderr);
        for (uint64_t i = 0; i < n; i++) fprintf(stderr, " %s", voice_name(m, i));
        fputs(", or none\n", stderr);
    }
    return CODE_USAGE;
}

int voice_token(const moe_model *m, const char *name, moe_token *out)
{
    char tag[128];
    const moe_tokenizer *t = NULL;
    const uint64_t n = voice_count(m);
    *out = MOE_TOKEN_NONE;
    if (name && strcmp(name, "none") == 0) return CODE_OK;
    if (!name && (name = voice_default(m)) == NULL) return CODE_OK;
    for (uint64_t i = 0; i < n; i++) {
        const char *known = voice_name(m, i);
        if (!known || strcmp(known, name) != 0) continue;
        snprintf(tag, sizeof tag, "<|%s|>", name);
        if (moe_model_tokenizer(m, &t) == MOE_OK && moe_tokenizer_find(t, tag, strlen(tag), out) == MOE_OK)
            return CODE_OK;
        complain("the model has no token %s for its voice %s", tag, name);
        return CODE_FAIL;
    }
    return unknown_voice(m, name);
}
