/* SPDX-License-Identifier: MIT */
/* See chat.h. Writers first, then the table of templates with the pieces of Jinja text that tell them apart. */
#include "token/chat.h"

#include <string.h>

#include "base/status.h"

#define MAX_MARKS 4

/* Where formatted text goes: counted always, written as far as there is room. */
typedef struct sink {
    char *dst;
    size_t cap, n;
} sink;

struct moe__chat_template {
    const char *name;
    const char *marks[MAX_MARKS];  /* all of them occur in the Jinja text */
    const char *absent[MAX_MARKS]; /* none of these does */
    int (*write)(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags, sink *o);
};

static void put(sink *o, const char *s)
{
    const size_t n = strlen(s);
    if (o->n <= o->cap && n <= o->cap - o->n) memcpy(o->dst + o->n, s, n);
    o->n += n;
}

static int write_chatml(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags, sink *o)
{
    (void)t;
    for (size_t i = 0; i < n; i++) {
        put(o, "<|im_start|>");
        put(o, msg[i].role);
        put(o, "\n");
        put(o, msg[i].text);
        put(o, "<|im_end|>\n");
    }
    if (flags & MOE_CHAT_ADD_ASSISTANT) put(o, "<|im_start|>assistant\n");
    return MOE_OK;
}

static const moe__chat_template templates[] = {
    {"chatml", {"<|im_start|>", "<|im_end|>"}, {NULL}, write_chatml},
};
#define N_TEMPLATES (sizeof templates / sizeof templates[0])

const moe__chat_template *moe__chat_recognise(const char *jinja)
{
    for (size_t i = 0; i < N_TEMPLATES; i++) {
        int fits = 1;
        for (size_t k = 0; k < MAX_MARKS; k++) {
            if (templates[i].marks[k] && !strstr(jinja, templates[i].marks[k])) fits = 0;
            if (templates[i].absent[k] && strstr(jinja, templates[i].absent[k])) fits = 0;
        }
        if (fits) return &templates[i];
    }
    return NULL;
}

const char *moe__chat_name(const moe__chat_template *c) { return c->name; }

int moe__chat_format(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags, char *dst, size_t cap, size_t *len)
{
    if (!t->has_template) return MOE_FAIL(NOTFOUND, "%s: the file has no chat template", t->name);
    if (!t->chat) return MOE_FAIL(UNSUPPORTED, "%s: the chat template is none of the built-in ones: %s", t->name, MOE_CHAT_NAMES);
    for (size_t i = 0; i < n; i++)
        if (msg[i].size < sizeof *msg || !msg[i].role || !msg[i].text)
            return MOE_FAIL(INVALID, "message %zu: size, role and text must be set", i);
    sink o = {dst, cap, 0};
    MOE_TRY(t->chat->write(t, msg, n, flags, &o));
    *len = o.n;
    if (o.n > cap) return MOE_FAIL(BUFFER, "room for %zu bytes is needed, there is room for %zu", o.n, cap);
    return MOE_OK;
}
