/* SPDX-License-Identifier: MIT */
/*
 * The one table of options, from which the parser, --help, the manual page and the shell completions are
 * made, and the settings that parsing fills.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "tool.h"

#define LIST_MAX 32

struct int_list {
    size_t n;
    int32_t v[LIST_MAX];
};

struct text_list {
    size_t n;
    const char *v[LIST_MAX];
};

struct settings {
    const struct command *command;
    const char **args; /* positional arguments, n_args of them */
    int n_args;
    bool help;
    /* model and session */
    const char *model, *isa, *kv;
    int32_t threads, ctx, batch, shift;
    bool no_mmap, resident;
    uint64_t budget;
    /* text */
    const char *file, *voice, *system;
    bool special, bos, no_echo;
    /* sampling */
    double temp, top_p, min_p, repeat;
    int32_t top_k, repeat_window, max_tokens;
    uint64_t seed;
    bool has_seed, ignore_end;
    const char *samplers;
    /* info */
    bool tensors, meta, kernels, layers, policies;
    /* bench */
    struct int_list prompts, contexts, sequences, thread_list;
    int32_t generate, repetitions;
    bool csv, limits, stages;
    /* tokenize */
    bool decode, ids, count;
    /* perplexity */
    int32_t stride;
    /* quantize */
    const char *type;
    struct text_list rules;
    bool force, list;
    /* routing */
    const char *route, *route_file, *steer, *save_steering, *contrast;
    struct text_list edits, disable;
    double contrast_alpha, contrast_beta;
    /* trace, stats, steer */
    const char *output, *from, *format, *html, *save, *names, *by, *set;
    struct text_list texts, load, against, marks;
    bool analyse, logits, weights, outputs, lines;
    int32_t top, experts;
    uint64_t control;
    bool has_control;
    /* output */
    bool json, stats, quiet, verbose;
};

enum option_kind {
    KIND_FLAG,
    KIND_INT,
    KIND_U64,
    KIND_BYTES,
    KIND_REAL,
    KIND_TEXT,
    KIND_FILE,
    KIND_CHOICE,
    KIND_PAIR, /* a choice, or two with a comma */
    KIND_INTS,
    KIND_TEXTS,
    KIND_FILES
};

struct option {
    const char *name; /* without dashes */
    char letter;      /* short form, 0 for none */
    unsigned commands;
    enum option_kind kind;
    size_t field;        /* offset in struct settings */
    size_t given;        /* offset of a flag that says it was given, or 0 */
    const char *group;   /* heading in the help */
    const char *arg;     /* name of the argument, NULL for flags */
    const char *def;     /* default as text, parsed like the user's; NULL for none */
    const char *choices; /* space-separated, for KIND_CHOICE and KIND_PAIR */
    double lo, hi;       /* for numbers */
    const char *help;    /* one sentence without a full stop */
};

extern const struct option options[];
extern const size_t n_options;

/* An option whose value begins with the name of a routing rule. */
bool is_rule(const struct option *o);
/* Kinds whose values are names of files, and kinds that may be given several times. */
static inline bool takes_file(const struct option *o)
{
    return o->kind == KIND_FILE || o->kind == KIND_FILES;
}
static inline bool may_repeat(const struct option *o)
{
    return o->kind == KIND_TEXTS || o->kind == KIND_FILES;
}

/* Fills *s for a command from argv[0..argc) (what follows the subcommand; reordered). CODE_OK or CODE_USAGE
 * with a message. */
int options_parse(struct settings *s, const struct command *c, int argc, char **argv);
/* The name in a list of n nearest to `word`, NULL if none is near. `at` gives the i-th name or NULL to skip
 * it. */
const char *nearest(const char *word, size_t n, const char *(*at)(size_t i, const void *user),
                    const void *user);

#endif
