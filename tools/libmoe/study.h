/* SPDX-License-Identifier: MIT */
/* Profiles in the tool: how they are gathered (profile.c) and shown (stats_text.c, stats_json.c,
 * stats_html.c). */
#ifndef STUDY_TOOL_H
#define STUDY_TOOL_H

#include "corpus.h"
#include "json.h"

#include <moe/study.h>

#define CLASS_NAME 64
#define CLASS_MAX  256

/* Names of the classes that tokens are counted in. */
struct classes {
    uint32_t n;
    char (*name)[CLASS_NAME]; /* [n] */
};

/* The number of a name, UINT32_MAX if it is none of them. */
uint32_t class_find(const struct classes *c, const char *name);
/* Adds a name unless it is there; false after a message. */
bool class_add(struct classes *c, const char *name);
/* Names behind commas, each once. */
bool class_add_list(struct classes *c, const char *list);
void classes_free(struct classes *c);

/* What is shown. */
struct stats {
    const struct settings *s;
    const moe_model *model; /* NULL if only profile files were read */
    const moe_profile *profile;
    const moe_trace *trace; /* of the same texts, or NULL */
    struct classes classes;
    moe_profile_info info;
    uint32_t *layers; /* [n_layers] those with a router that has seen tokens */
    uint32_t n_layers;
};

/* An array of a router: malloc'ed, *n elements; NULL if the profile lacks it. */
double *profile_array(const moe_profile *p, uint32_t layer, int what, size_t *n);

void stats_text(const struct stats *st);
/* One object with everything; `fine`: caches in fine steps, for curves. */
void stats_json(struct json *j, const struct stats *st, bool fine);
/* The report: one page. An exit code. */
int stats_html(const struct stats *st, const char *path);

#endif
