/* SPDX-License-Identifier: MIT */
/*
 * See chat.h. Two shapes of conversation cover the known templates: turns that all look alike (ChatML,
 * Llama-3, Granite, OLMo) and Mistral's instructions. A row of the table gives a template's texts and the
 * marks by which its Jinja text is known; more special rows stand before more general ones.
 */
#include "token/chat.h"

#include <string.h>

#include "base/status.h"
#include "token/unicode.h"

#define MAX_MARKS 3

#define TRIM 1u        /* white space around a message's text goes away */
#define TRIM_REPLY 2u  /* ... around the assistant's only */
#define THINKING 4u    /* earlier replies lose their reasoning, the last one always has a <think> part */
#define SYSTEM_LAST 8u /* the system message goes into the last instruction, not the first */
#define NO_SYSTEM 16u
#define BEGIN 32u            /* the begin-of-text token comes first */
#define END_ALL_BUT_LAST 64u /* replies end with the end token; nothing follows the last message's */

/* Where formatted text goes: counted always, written as far as there is room. */
typedef struct sink {
    char *dst;
    size_t cap, n;
} sink;

struct moe__chat_template {
    const char *name;
    const char *marks[MAX_MARKS]; /* all of them occur in the Jinja text ... */
    const char *absent;           /* ... and this does not; may be NULL */
    int (*write)(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags, sink *o);
    uint32_t flags;
    const char *open, *middle, *close; /* turns: open role middle text close; Mistral: open text close */
    const char *reply;         /* Mistral: before the assistant's text; turns: after the opening of a reply */
    const char *system;        /* system message if there is none; NULL: then no system turn */
    const char *before_system; /* stands in every system turn before the text; may be NULL */
};

static void put_bytes(sink *o, const char *s, size_t n)
{
    if (o->n <= o->cap && n <= o->cap - o->n && n > 0) memcpy(o->dst + o->n, s, n);
    o->n += n;
}

static void put(sink *o, const char *s)
{
    if (s) put_bytes(o, s, strlen(s));
}

static void put_token(sink *o, const moe_tokenizer *t, moe_token id)
{
    if (id >= 0) put(o, (const char *)t->text + t->at[id]);
}

/* White space as Python's str.strip has it, which Jinja's trim is. */
static int strips(uint32_t cp)
{
    return cp != MOE_CP_INVALID &&
           ((moe__unicode_flags(cp) & MOE_UC_SPACE) != 0 || (cp >= 0x1c && cp <= 0x1f));
}

static void put_trimmed(sink *o, const char *text)
{
    const uint8_t *s = (const uint8_t *)text;
    const size_t n = strlen(text);
    size_t begin = 0, end = 0;
    uint32_t cp;
    for (size_t i = 0, len; i < n; i += len) {
        len = moe__utf8_next(s + i, n - i, &cp);
        if (strips(cp)) {
            if (end == 0) begin = i + len;
        } else {
            end = i + len;
        }
    }
    if (end > begin) put_bytes(o, text + begin, end - begin);
}

static void put_text(sink *o, const char *text, int trim)
{
    if (trim) put_trimmed(o, text);
    else put(o, text);
}

static int is_role(const moe_message *m, const char *role) { return strcmp(m->role, role) == 0; }

/* ---------------------------------------- turns that look alike */

/* Puts s without the line ends around it. */
static void put_without_line_ends(sink *o, const char *s, size_t n, int left_only)
{
    while (n > 0 && s[0] == '\n') s++, n--;
    while (!left_only && n > 0 && s[n - 1] == '\n') n--;
    put_bytes(o, s, n);
}

/*
 * An assistant's text that may have a reasoning part <think>...</think>. after_query: no user message
 * follows; last: nothing does.
 */
static void put_thinking(sink *o, const char *text, int after_query, int last)
{
    const char *end = NULL, *reason = text, *content = text;
    for (const char *p = text; (p = strstr(p, "</think>")) != NULL; p += 8) {
        if (!end) end = p;
        content = p + 8;
    }
    if (end) { /* the reasoning is what stands between the last <think> before the first </think> and that */
        for (const char *p = text; (p = strstr(p, "<think>")) != NULL && p < end; p += 7) reason = p + 7;
        while (*content == '\n') content++;
    }
    size_t n_reason = end ? (size_t)(end - reason) : 0;
    while (n_reason > 0 && *reason == '\n') reason++, n_reason--;
    while (n_reason > 0 && reason[n_reason - 1] == '\n') n_reason--;
    if (after_query && (last || n_reason > 0)) {
        put(o, "<think>\n");
        put_bytes(o, reason, n_reason);
        put(o, "\n</think>\n\n");
        put_without_line_ends(o, content, strlen(content), 1);
    } else {
        put(o, content);
    }
}

static void put_turn_head(const moe__chat_template *c, const char *role, sink *o)
{
    put(o, c->open);
    put(o, role);
    put(o, c->middle);
}

static int write_turns(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags, sink *o)
{
    const moe__chat_template *c = t->chat;
    size_t last_query = n;
    for (size_t i = n; i-- > 0 && last_query == n;)
        if (is_role(&msg[i], "user")) last_query = i;
    if (c->system && (n == 0 || !is_role(&msg[0], "system"))) {
        put_turn_head(c, "system", o);
        put(o, c->before_system);
        put(o, c->system);
        put(o, c->close);
    }
    for (size_t i = 0; i < n; i++) {
        const int reply = is_role(&msg[i], "assistant"), last = i + 1 == n;
        put_turn_head(c, msg[i].role, o);
        if (i == 0 && is_role(&msg[i], "system")) put(o, c->before_system);
        if (reply && (c->flags & THINKING))
            put_thinking(o, msg[i].text, last_query < n && i > last_query, last);
        else put_text(o, msg[i].text, (c->flags & TRIM) != 0);
        if (reply && (c->flags & END_ALL_BUT_LAST)) {
            put_token(o, t, t->special[MOE_TOKEN_EOS]);
            if (!last) put(o, c->close);
        } else {
            put(o, c->close);
        }
    }
    if (flags & MOE_CHAT_ADD_ASSISTANT) {
        put_turn_head(c, "assistant", o);
        put(o, c->reply);
    }
    return MOE_OK;
}

/* ---------------------------------------- Mistral */

/* System message or none, then user and assistant in turn. */
static int write_instructions(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags,
                              sink *o)
{
    const moe__chat_template *c = t->chat;
    const char *system = NULL;
    (void)flags; /* a reply begins right after an instruction */
    if (n > 0 && is_role(&msg[0], "system")) {
        if (c->flags & NO_SYSTEM)
            return MOE_FAIL(INVALID, "message 0: the chat template '%s' has no system message", c->name);
        system = msg[0].text;
        msg++;
        n--;
    }
    const size_t last_user = n == 0 ? 0 : (n - 1) / 2 * 2, at = c->flags & SYSTEM_LAST ? last_user : 0;
    for (size_t i = 0; i < n; i++) {
        const int user = i % 2 == 0;
        if (!is_role(&msg[i], user ? "user" : "assistant"))
            return MOE_FAIL(
                INVALID,
                "message %zu: the chat template '%s' wants user and assistant in turn, found '%.32s'",
                i + (system != NULL), c->name, msg[i].role);
        put(o, user ? c->open : c->reply);
        if (user && i == at && system) {
            put(o, system);
            put(o, "\n\n");
        }
        put_text(o, msg[i].text, !user && (c->flags & TRIM_REPLY) != 0);
        if (user) put(o, c->close);
        else put_token(o, t, t->special[MOE_TOKEN_EOS]);
        if (!user) put(o, c->middle);
    }
    return MOE_OK;
}

/* ---------------------------------------- the table */

#define CHATML .write = write_turns, .open = "<|im_start|>", .middle = "\n", .close = "<|im_end|>\n"
#define LLAMA3                                                                  \
    .write = write_turns, .flags = BEGIN | TRIM, .open = "<|start_header_id|>", \
    .middle = "<|end_header_id|>\n\n", .close = "<|eot_id|>"
#define OLMO .write = write_turns, .open = "<|", .middle = "|>\n", .close = "\n"
#define MISTRAL .write = write_instructions

/* In marks a double quote stands for either quote, and a line end for "\n" as well. */
static const moe__chat_template templates[] = {
    {.name = "chatml-qwen3-thinking",
     .marks = {"<|im_start|>", "last_query_index", "<|im_start|>assistant\n<think>\n\""},
     CHATML,
     .flags = THINKING,
     .reply = "<think>\n"},
    {.name = "chatml-qwen3",
     .marks = {"<|im_start|>", "last_query_index", "reasoning_content"},
     CHATML,
     .flags = THINKING},
    {.name = "chatml-qwen2.5",
     .marks = {"<|im_start|>", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
     CHATML,
     .system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
    {.name = "chatml-qwen2",
     .marks = {"<|im_start|>", "system\nYou are a helpful assistant.<|im_end|>"},
     CHATML,
     .system = "You are a helpful assistant."},
    {.name = "chatml-qwen1.5",
     .marks = {"<|im_start|>", "system\nYou are a helpful assistant<|im_end|>"},
     CHATML,
     .system = "You are a helpful assistant"},
    {.name = "chatml", .marks = {"<|im_start|>", "<|im_end|>"}, .absent = "<|im_sep|>", CHATML},
    {.name = "llama3.1",
     .marks = {"<|start_header_id|>", "<|eot_id|>", "Cutting Knowledge Date: December 2023"},
     LLAMA3,
     .system = "",
     .before_system = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"},
    {.name = "llama3", .marks = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, LLAMA3},
    {.name = "granite",
     .marks = {"<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"},
     .write = write_turns,
     .open = "<|start_of_role|>",
     .middle = "<|end_of_role|>",
     .close = "<|end_of_text|>\n"},
    {.name = "olmo",
     .marks = {"{{ bos_token }}", "\"<|user|>\n\" + message[\"content\"] + \"\n\"", "loop.last"},
     OLMO,
     .flags = BEGIN | END_ALL_BUT_LAST},
    {.name = "tulu",
     .marks = {"\"<|user|>\n\" + message[\"content\"] + \"\n\"", "loop.last", "eos_token"},
     OLMO,
     .flags = END_ALL_BUT_LAST},
    {.name = "mistral-v3-tekken",
     .marks = {"\"[INST]\" + message", "\"[/INST]\""},
     .absent = "[SYSTEM_PROMPT]",
     MISTRAL,
     .flags = BEGIN | SYSTEM_LAST,
     .open = "[INST]",
     .close = "[/INST]"},
    {.name = "mistral-v3",
     .marks = {"\"[INST] \" + message", "+ \"[/INST]\"", "|trim + eos_token"},
     .absent = "[SYSTEM_PROMPT]",
     MISTRAL,
     .flags = BEGIN | SYSTEM_LAST | TRIM_REPLY,
     .open = "[INST] ",
     .close = "[/INST]",
     .reply = " "},
    {.name = "mistral-v1",
     .marks = {"\" [INST] \" + message", "\" [/INST]\"", "\" \" + message[\"content\"] + eos_token"},
     MISTRAL,
     .flags = BEGIN,
     .open = " [INST] ",
     .close = " [/INST]",
     .reply = " "},
    {.name = "mistral-v0-spaced",
     .marks = {"\"[INST] \" + message", "\" [/INST]\"", "message[\"content\"] + eos_token + \" \""},
     .absent = "<<SYS>>",
     MISTRAL,
     .flags = BEGIN | NO_SYSTEM,
     .open = "[INST] ",
     .close = " [/INST]",
     .middle = " "},
    {.name = "mistral-v0",
     .marks = {"\"[INST] \" + message", "\" [/INST]\"", "{{ message[\"content\"] + eos_token"},
     .absent = "<<SYS>>",
     MISTRAL,
     .flags = BEGIN | NO_SYSTEM,
     .open = "[INST] ",
     .close = " [/INST]"},
};
#define N_TEMPLATES (sizeof templates / sizeof templates[0])

/* Length of what mark matches at the start of s, or 0. */
static size_t match_mark(const char *s, const char *mark)
{
    const char *p = s;
    for (; *mark; mark++) {
        if (*mark == '"' && *p == '\'') p++;
        else if (*mark == '\n' && p[0] == '\\' && p[1] == 'n') p += 2;
        else if (*mark == *p) p++;
        else return 0;
    }
    return (size_t)(p - s);
}

static int has_mark(const char *jinja, const char *mark)
{
    for (; *jinja; jinja++)
        if (match_mark(jinja, mark)) return 1;
    return 0;
}

const moe__chat_template *moe__chat_recognise(const char *jinja)
{
    for (size_t i = 0; i < N_TEMPLATES; i++) {
        const moe__chat_template *c = &templates[i];
        int fits = !c->absent || !has_mark(jinja, c->absent);
        for (size_t k = 0; k < MAX_MARKS && c->marks[k] && fits; k++) fits = has_mark(jinja, c->marks[k]);
        if (fits) return c;
    }
    return NULL;
}

const char *moe__chat_name(const moe__chat_template *c) { return c->name; }

int moe__chat_format(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags, char *dst,
                     size_t cap, size_t *len)
{
    if (!t->has_template) return MOE_FAIL(NOTFOUND, "%s: the file has no chat template", t->name);
    if (!t->chat)
        return MOE_FAIL(
            UNSUPPORTED,
            "%s: the chat template is none of the built-in ones: ChatML, Llama-3, Mistral, Granite, OLMo",
            t->name);
    for (size_t i = 0; i < n; i++)
        if (msg[i].size < sizeof *msg || !msg[i].role || !msg[i].text)
            return MOE_FAIL(INVALID, "message %zu: size, role and text must be set", i);
    sink o = {dst, cap, 0};
    if (t->chat->flags & BEGIN) put_token(&o, t, t->special[MOE_TOKEN_BOS]);
    MOE_TRY(t->chat->write(t, msg, n, flags, &o));
    *len = o.n;
    if (o.n > cap) return MOE_FAIL(BUFFER, "room for %zu bytes is needed, there is room for %zu", o.n, cap);
    return MOE_OK;
}
