/* SPDX-License-Identifier: MIT */
/*
 * Chat templates: every built-in one against what jinja2 makes of the published template (chat_vectors.h),
 * and the rules around them. The files here carry only the marks by which a template is known.
 */
#include "token_file.h"

#include "chat_vectors.h"

/* Just enough of each template to be told apart, in our words. */
static const struct {
    const char *chat, *jinja;
} known[] = {
    {"chatml", "{{'<|im_start|>' + role}}{{ '<|im_end|>' }}"},
    {"chatml-qwen1.5", "'<|im_start|>system\\nYou are a helpful assistant<|im_end|>\\n'"},
    {"chatml-qwen2", "\"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n\""},
    {"chatml-qwen2.5",
     "<|im_start|> You are Qwen, created by Alibaba Cloud. You are a helpful assistant. <|im_end|>"},
    {"chatml-qwen3", "<|im_start|> <|im_end|> ns.last_query_index message.reasoning_content"},
    {"chatml-qwen3-thinking",
     "<|im_end|> ns.last_query_index reasoning_content '<|im_start|>assistant\\n<think>\\n' }}"},
    {"llama3", "'<|start_header_id|>' '<|end_header_id|>\\n\\n' '<|eot_id|>'"},
    {"llama3.1", "<|start_header_id|> Cutting Knowledge Date: December 2023 <|end_header_id|> <|eot_id|>"},
    {"mistral-v0", "{{ '[INST] ' + message ' [/INST]' }} {{ message['content'] + eos_token}}"},
    {"mistral-v0-spaced", "{{ '[INST] ' + message ' [/INST]' }} {{ message['content'] + eos_token + ' ' }}"},
    {"mistral-v1", "' [INST] ' + message + ' [/INST]' ' ' + message['content'] + eos_token"},
    {"mistral-v3", "\"[INST] \" + message + \"[/INST]\" message[\"content\"]|trim + eos_token"},
    {"mistral-v3-tekken", "\"[INST]\" + message + \"[/INST]\" message[\"content\"] + eos_token"},
    {"granite", "<|start_of_role|> <|end_of_role|> <|end_of_text|>"},
    {"olmo", "{{ bos_token }} '<|user|>\\n' + message['content'] + '\\n' loop.last"},
    {"tulu", "'<|user|>\\n' + message['content'] + '\\n' eos_token loop.last"},
};
#define N_KNOWN (sizeof known / sizeof known[0])

static const char *const tokens[] = {"<s>", "</s>", "a", "b", "ab"};
static const char *const merges[] = {"a b"};

static moe_tokenizer *with_template(const char *jinja)
{
    const vocab v = {.model = "gpt2",
                     .pre = "gpt-2",
                     .chat = jinja,
                     .tokens = tokens,
                     .n_tokens = 5,
                     .types = "33111",
                     .merges = merges,
                     .n_merges = 1,
                     .bos = 1,
                     .eos = 2};
    return tokenizer_of(&v);
}

static void formats(const moe_tokenizer *t, size_t i, uint32_t flags, const char *expected)
{
    char text[4096];
    size_t len, asked;
    const moe_message *msg = talks[vectors[i].talk].msg;
    const size_t n = talks[vectors[i].talk].n;
    const int st = moe_tokenizer_chat(t, msg, n, flags, text, sizeof text - 1, &len);
    if (!expected) {
        if (st != MOE_E_INVALID)
            fail_msg("%s, %s: expected a refusal", vectors[i].chat, talks[vectors[i].talk].name);
        return;
    }
    if (st != MOE_OK) fail_msg("%s, %s: %s", vectors[i].chat, talks[vectors[i].talk].name, moe_last_error());
    text[len] = '\0';
    if (strcmp(text, expected) != 0)
        fail_msg("%s, %s:\n%s\nexpected:\n%s", vectors[i].chat, talks[vectors[i].talk].name, text, expected);
    assert_int_equal(moe_tokenizer_chat(t, msg, n, flags, NULL, 0, &asked), len > 0 ? MOE_E_BUFFER : MOE_OK);
    assert_int_equal(asked, len);
    if (len == 0) return;
    assert_int_equal(moe_tokenizer_chat(t, msg, n, flags, text, len - 1, &asked), MOE_E_BUFFER);
    assert_int_equal(asked, len);
}

static void templates_render_as_jinja(void **state)
{
    (void)state;
    size_t n_checked = 0;
    for (size_t k = 0; k < N_KNOWN; k++) {
        moe_tokenizer *t = with_template(known[k].jinja);
        assert_non_null(moe_tokenizer_chat_name(t));
        assert_string_equal(moe_tokenizer_chat_name(t), known[k].chat);
        for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
            if (strcmp(vectors[i].chat, known[k].chat) != 0) continue;
            formats(t, i, 0, vectors[i].text);
            formats(t, i, MOE_CHAT_ADD_ASSISTANT, vectors[i].opened);
            n_checked++;
        }
        moe_tokenizer_free(t);
    }
    assert_int_equal(n_checked, sizeof vectors / sizeof vectors[0]);
}

static void other_templates_are_refused(void **state)
{
    (void)state;
    const moe_message msg = {sizeof msg, "user", "hello"};
    static const char *const others[] = {
        "",
        "{{ messages }}",
        "<start_of_turn>user",
        "<|im_start|><|im_sep|><|im_end|>",
        "'[SYSTEM_PROMPT] ' '[INST] ' + message '[/INST]' |trim + eos_token",
        "'[INST] <<SYS>>' '[INST] ' + message ' [/INST]' {{ message['content'] + eos_token }}",
        "'<|user|>\\n' + message['content'] + eos_token loop.last",
    };
    size_t len;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        moe_tokenizer *t = with_template(others[i]);
        assert_null(moe_tokenizer_chat_name(t));
        assert_int_equal(moe_tokenizer_chat(t, &msg, 1, 0, NULL, 0, &len), MOE_E_UNSUPPORTED);
        assert_non_null(strstr(moe_last_error(), "ChatML"));
        moe_tokenizer_free(t);
    }
    moe_tokenizer *t = with_template(NULL);
    assert_null(moe_tokenizer_chat_name(t));
    assert_int_equal(moe_tokenizer_chat(t, &msg, 1, 0, NULL, 0, &len), MOE_E_NOTFOUND);
    moe_tokenizer_free(t);
}

static void arguments_are_checked(void **state)
{
    (void)state;
    moe_tokenizer *t = with_template(known[0].jinja);
    moe_message msg = {sizeof msg, "user", "hello"};
    char text[64];
    size_t len;
    assert_int_equal(moe_tokenizer_chat(NULL, &msg, 1, 0, text, 64, &len), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_chat(t, NULL, 1, 0, text, 64, &len), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_chat(t, &msg, 1, 0, text, 64, NULL), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_chat(t, &msg, 1, 0, NULL, 64, &len), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_chat(t, &msg, 1, 8, text, 64, &len), MOE_E_INVALID);
    msg.text = NULL;
    assert_int_equal(moe_tokenizer_chat(t, &msg, 1, 0, text, 64, &len), MOE_E_INVALID);
    assert_non_null(strstr(moe_last_error(), "message 0"));
    msg.text = "x";
    msg.size = 0;
    assert_int_equal(moe_tokenizer_chat(t, &msg, 1, 0, text, 64, &len), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_chat(t, NULL, 0, MOE_CHAT_ADD_ASSISTANT, text, 64, &len), MOE_OK);
    assert_memory_equal(text, "<|im_start|>assistant\n", len);
    moe_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_render_as_jinja),
        cmocka_unit_test(other_templates_are_refused),
        cmocka_unit_test(arguments_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
