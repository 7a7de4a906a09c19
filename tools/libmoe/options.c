/* SPDX-License-Identifier: MIT */
/* The table of options. Order within a group is the order of the help. */
#include "options.h"

#include <string.h>

#define AT(member) offsetof(struct settings, member)
#define COUNT_MAX  1e9

#define CMD_STUDY (CMD_TRACE | CMD_STATS | CMD_STEER)
#define CMD_ALL                                                                                              \
    (CMD_RUN | CMD_CHAT | CMD_INFO | CMD_PLAN | CMD_BENCH | CMD_TOKENIZE | CMD_PERPLEXITY | CMD_QUANTIZE |   \
     CMD_STUDY)
#define CMD_EVAL  (CMD_RUN | CMD_CHAT | CMD_PERPLEXITY | CMD_STUDY)
#define CMD_ROUTE (CMD_EVAL | CMD_BENCH)
#define CMD_LOAD  (CMD_EVAL | CMD_BENCH | CMD_PLAN)
#define CMD_TALK  (CMD_RUN | CMD_CHAT)
#define CMD_DRAW  (CMD_TALK | CMD_TRACE)
#define CMD_JSON  (CMD_ALL & ~(CMD_CHAT | CMD_QUANTIZE))

static const char g_model[] = "Model", g_text[] = "Text", g_sample[] = "Sampling", g_show[] = "What to show",
                  g_measure[] = "What to measure", g_quant[] = "Quantisation", g_session[] = "Session",
                  g_route[] = "Routing", g_trace[] = "Trace", g_profile[] = "Statistics",
                  g_find[] = "Finding experts", g_output[] = "Output";

/* clang-format off */

/* Rows of the table: what the option is, where it goes, how it is explained. */
#define FLAG(name, letter, commands, field, group, help)                                                     \
    {name, letter, commands, KIND_FLAG, AT(field), 0, group, NULL, NULL, NULL, 0, 0, help}
#define NUMBER(name, letter, commands, kind, field, group, arg, def, lo, hi, help)                           \
    {name, letter, commands, kind, AT(field), 0, group, arg, def, NULL, lo, hi, help}
#define CHOICE(name, letter, commands, field, group, arg, def, choices, help)                                \
    {name, letter, commands, KIND_CHOICE, AT(field), 0, group, arg, def, choices, 0, 0, help}
#define PAIR(name, letter, commands, field, group, arg, def, choices, help)                                  \
    {name, letter, commands, KIND_PAIR, AT(field), 0, group, arg, def, choices, 0, 0, help}
#define VALUE(name, letter, commands, kind, field, group, arg, def, help)                                    \
    {name, letter, commands, kind, AT(field), 0, group, arg, def, NULL, 0, 0, help}
#define SEED(name, letter, commands, field, given, group, arg, help)                                         \
    {name, letter, commands, KIND_U64, AT(field), AT(given), group, arg, NULL, NULL, 0, 0, help}

const struct option options[] = {
    VALUE("model", 'm', CMD_ALL & ~CMD_QUANTIZE, KIND_FILE, model, g_model, "FILE", NULL,
         "GGUF file to use (the first of a split set opens all); without it the bundled model"),
    CHOICE("isa", 0, CMD_EVAL | CMD_BENCH, isa, g_model, "LEVEL", NULL,
           "ref avx2 avxvnni avx512 avx512vnni amx neon dotprod i8mm",
         "highest instruction set to use; without it the best of this machine"),
    FLAG("no-mmap", 0, CMD_LOAD, no_mmap, g_model, "read the file into memory instead of mapping it"),
    FLAG("resident", 0, CMD_LOAD, resident, g_model, "copy all experts into private memory when opening"),
    VALUE("budget", 0, CMD_LOAD, KIND_BYTES, budget, g_model, "BYTES", NULL,
         "refuse to take more private memory for weights than this (K, M, G and T stand for powers of "
         "1024)"),

    NUMBER("ctx", 'c', CMD_TALK | CMD_PLAN, KIND_INT, ctx, g_session, "N", NULL, 1, COUNT_MAX,
         "context length in tokens; without it the training context, at most 4096"),
    NUMBER("ctx", 'c', CMD_PERPLEXITY | CMD_STUDY, KIND_INT, ctx, g_session, "N", NULL, 2, COUNT_MAX,
         "window length in tokens; without it the training context, at most 4096"),
    NUMBER("stride", 0, CMD_PERPLEXITY, KIND_INT, stride, g_session, "N", NULL, 1, COUNT_MAX,
         "step from window to window; without it half the window, so that a token is seen with at "
         "least that much before it"),
    NUMBER("shift", 0, CMD_TALK, KIND_INT, shift, g_session, "KEEP", NULL, 1, COUNT_MAX,
         "when the context is full, keep its first KEEP tokens, take out the older half of the others and go "
         "on; without it generation ends there"),
    PAIR("kv", 0, CMD_LOAD, kv, g_session, "TYPE", "f16", "f16 bf16 f32 q8_0 q4_0",
         "element type of the KV cache, or K,V for keys and values that differ, such as q8_0,f16"),
    NUMBER("batch", 0, CMD_LOAD, KIND_INT, batch, g_session, "N", NULL, 1, 65536,
         "rows computed at once; longer inputs are split (results stay the same to the bit)"),
    NUMBER("threads", 't', CMD_EVAL | CMD_QUANTIZE, KIND_INT, threads, g_session, "N", NULL, 1, 4096,
         "threads; without it one per CPU (results stay the same to the bit)"),

    VALUE("route", 0, CMD_ROUTE, KIND_TEXT, route, g_route, "RULE", NULL,
         "routing of all layers, such as topk:k=1 or topp:p=0.4; `libmoe info --policies` lists the rules"),
    VALUE("route-file", 0, CMD_ROUTE, KIND_FILE, route_file, g_route, "FILE", NULL,
         "routing of each layer: lines such as `3: topk:k=2`, `0-5: topp:p=0.4`, `*: native`"),
    VALUE("steer", 0, CMD_ROUTE, KIND_FILE, steer, g_route, "FILE", NULL,
         "steering file to begin with, as --save-steering and `libmoe steer` write it"),
    VALUE("disable", 0, CMD_ROUTE, KIND_TEXTS, disable, g_route, "EXPERTS", NULL,
         "take experts out, others step in: LAYER:EXPERT, such as 3:7,9 or 0-3:5 or *:0; may be repeated"),
    VALUE("edit", 0, CMD_ROUTE, KIND_TEXTS, edits, g_route, "EXPERTS=WHAT", NULL,
         "change experts: free, ban, ban-scored, drop, drop-renorm or force, or a number by logit:X, "
         "select:X, pre:X, post:X or gain:X, such as 3:7=drop or *:0-3=gain:0.5; may be repeated"),
    VALUE("save-steering", 0, CMD_ROUTE, KIND_FILE, save_steering, g_route, "FILE", NULL,
         "write the routing that these options make to a steering file"),
    VALUE("contrast", 0, CMD_TALK, KIND_TEXT, contrast, g_route, "RULE", NULL,
         "contrastive decoding: a second, weaker routing of the same text whose likings are taken off, such "
         "as ranks:ids=1"),
    NUMBER("contrast-alpha", 0, CMD_TALK, KIND_REAL, contrast_alpha, g_route, "X", "0.1", 1e-6, 1,
         "with --contrast: only tokens at least this probable, in parts of the most probable one"),
    NUMBER("contrast-beta", 0, CMD_TALK, KIND_REAL, contrast_beta, g_route, "X", "0.5", 0, 100,
         "with --contrast: strength"),

    NUMBER("prompt", 'p', CMD_BENCH, KIND_INTS, prompts, g_measure, "N,...", "128,512", 0, COUNT_MAX,
         "prompt lengths whose prefill is measured; 0 for none"),
    NUMBER("generate", 'g', CMD_BENCH, KIND_INT, generate, g_measure, "N", "64", 0, COUNT_MAX,
         "tokens decoded one by one; 0 to leave decoding out"),
    NUMBER("contexts", 'c', CMD_BENCH, KIND_INTS, contexts, g_measure, "N,...", "0", 0, COUNT_MAX,
         "tokens already in the context when measuring begins"),
    NUMBER("sequences", 0, CMD_BENCH, KIND_INTS, sequences, g_measure, "N,...", "1", 1, 65536,
         "sequences decoded together, one token of each in a step"),
    NUMBER("threads", 't', CMD_BENCH, KIND_INTS, thread_list, g_measure, "N,...", NULL, 1, 4096,
         "thread counts; without it one per CPU"),
    NUMBER("repetitions", 'r', CMD_BENCH, KIND_INT, repetitions, g_measure, "N", "5", 1, 1000,
         "measurements of each kind; the median is reported with the smallest and the largest"),
    FLAG("limits", 0, CMD_BENCH, limits, g_measure,
         "also measure what the machine can do: bytes read from memory and 8-bit operations per second"),

    VALUE("file", 'f', CMD_RUN | CMD_TOKENIZE, KIND_FILE, file, g_text, "FILE", NULL,
         "read the text from a file (- for standard input)"),
    VALUE("voice", 0, CMD_TALK, KIND_TEXT, voice, g_text, "NAME", NULL,
         "domain of the text, for models that know some (see `libmoe info`): a name, or none; without "
         "it the model's default"),
    VALUE("text", 0, CMD_TRACE, KIND_TEXTS, texts, g_text, "TEXT", NULL,
         "a text given here instead of in a file; may be repeated"),
    VALUE("voice", 0, CMD_PERPLEXITY | CMD_STUDY, KIND_TEXT, voice, g_text, "NAME", "none",
         "domain of the texts, for models that know some: a name, none, or auto to take it from each "
         "file's name"),
    FLAG("special", 0, CMD_RUN | CMD_TOKENIZE | CMD_PERPLEXITY | CMD_STUDY, special, g_text,
         "read special tokens such as <|im_start|> in the text as what they name, not as plain text"),
    FLAG("bos", 0, CMD_TOKENIZE, bos, g_text, "put the begin-of-text token first if the model asks for it"),
    FLAG("decode", 'd', CMD_TOKENIZE, decode, g_text,
         "the other way round: token ids (separated by spaces, commas or line ends) to text"),
    VALUE("system", 0, CMD_CHAT, KIND_TEXT, system, g_text, "TEXT", NULL,
         "system message that opens the conversation"),

    NUMBER("max-tokens", 'n', CMD_RUN, KIND_INT, max_tokens, g_sample, "N", "256", 0, COUNT_MAX,
         "stop after this many tokens"),
    NUMBER("max-tokens", 'n', CMD_TRACE, KIND_INT, max_tokens, g_sample, "N", "0", 0, COUNT_MAX,
         "go on with each text for up to this many tokens, which are recorded as well"),
    NUMBER("max-tokens", 'n', CMD_CHAT, KIND_INT, max_tokens, g_sample, "N", NULL, 1, COUNT_MAX,
         "longest answer in tokens; without it 1024, or 100 where a text is continued"),
    NUMBER("temp", 0, CMD_DRAW, KIND_REAL, temp, g_sample, "X", "0.8", 0, 100,
         "temperature; 0 always takes the most probable token"),
    NUMBER("top-k", 0, CMD_DRAW, KIND_INT, top_k, g_sample, "N", "40", 0, COUNT_MAX,
         "choose among the N most probable tokens; 0 for no limit"),
    NUMBER("top-p", 0, CMD_DRAW, KIND_REAL, top_p, g_sample, "X", "0.95", 0, 1,
         "choose among the most probable tokens that make up this share; 1 for no limit"),
    NUMBER("min-p", 0, CMD_DRAW, KIND_REAL, min_p, g_sample, "X", "0.05", 0, 1,
         "drop tokens less probable than this share of the most probable one; 0 for no limit"),
    NUMBER("repeat", 0, CMD_DRAW, KIND_REAL, repeat, g_sample, "X", "1", 0.01, 100,
         "penalty of recent tokens; 1 for none"),
    NUMBER("repeat-window", 0, CMD_DRAW, KIND_INT, repeat_window, g_sample, "N", "64", -1, COUNT_MAX,
         "tokens that count as recent; -1 for all"),
    SEED("seed", 's', CMD_DRAW, seed, has_seed, g_sample, "N",
         "seed of the random numbers: the same seed gives the same text; without it a new one each "
         "time"),
    VALUE("samplers", 0, CMD_DRAW, KIND_TEXT, samplers, g_sample, "SPEC", NULL,
         "the whole chain of samplers as text instead of the options above, such as "
         "`top-k:k=40;temp:t=0.7;dist`"),
    FLAG("ignore-end", 0, CMD_RUN | CMD_TRACE, ignore_end, g_sample, "go on when the model ends the text"),

    FLAG("tensors", 0, CMD_INFO, tensors, g_show, "table of tensors: name, type, shape, bytes"),
    FLAG("meta", 0, CMD_INFO, meta, g_show, "all metadata of the file"),
    FLAG("layers", 0, CMD_INFO, layers, g_show, "table of layers"),
    FLAG("kernels", 0, CMD_INFO, kernels, g_show, "compute kernels and the instruction set in use for each"),
    FLAG("policies", 0, CMD_INFO, policies, g_show, "the routing rules and recipes that --route knows"),

    VALUE("output", 'o', CMD_TRACE, KIND_FILE, output, g_trace, "FILE", NULL,
         "write the trace to this file (- for standard output)"),
    CHOICE("format", 0, CMD_TRACE, format, g_trace, "NAME", NULL, "binary jsonl csv",
         "form of the output; without it what the name ends in (.jsonl, .csv), JSON lines on standard "
         "output, else binary"),
    VALUE("from", 0, CMD_TRACE, KIND_FILE, from, g_trace, "FILE", NULL,
         "no model: take a recorded trace, binary or JSON lines, to convert or analyse it"),
    NUMBER("experts", 0, CMD_TRACE, KIND_INT, experts, g_trace, "N", NULL, 1, 65536,
         "experts of a layer, where JSON lines do not tell; without it the highest number there, plus 1"),
    FLAG("weights", 0, CMD_TRACE, weights, g_trace, "record the weights as well"),
    FLAG("logits", 0, CMD_TRACE, logits, g_trace, "record the routers' logits as well"),
    FLAG("analyse", 0, CMD_TRACE, analyse, g_trace,
         "with --output: print the analysis as well (without an output it is always printed)"),

    VALUE("html", 0, CMD_STATS, KIND_FILE, html, g_profile, "FILE", NULL,
         "write a report with heat maps and curves: one file, to be opened in a browser, offline"),
    VALUE("save", 0, CMD_STATS, KIND_FILE, save, g_profile, "FILE", NULL,
         "write the counts to a profile file"),
    VALUE("load", 0, CMD_STATS, KIND_FILES, load, g_profile, "FILE", NULL,
         "begin with the counts of a profile file of this model; may be repeated, the counts are added up"),
    VALUE("names", 0, CMD_STATS, KIND_TEXT, names, g_profile, "A,B,...", NULL,
         "names of the classes, in order; without it the names of the files"),
    FLAG("outputs", 0, CMD_STATS, outputs, g_profile,
         "also measure the experts' outputs (saliency, super experts); takes longer"),
    NUMBER("top", 0, CMD_STATS, KIND_INT, top, g_profile, "N", "3", 1, 1000,
         "how many of the busiest and laziest experts, and of those tied to a class, to name"),

    VALUE("against", 0, CMD_STEER, KIND_FILES, against, g_find, "FILE", NULL,
         "text to compare with; may be repeated"),
    VALUE("mark", 0, CMD_STEER, KIND_TEXTS, marks, g_find, "TEXT", NULL,
         "look for the experts of this text's tokens, wherever they come in the files; may be repeated"),
    FLAG("lines", 0, CMD_STEER, lines, g_find, "every line of a file is a prompt of its own"),
    CHOICE("by", 0, CMD_STEER, by, g_find, "MEASURE", NULL, "npmi diff rate",
         "how experts are ranked: npmi (mutual information, RICE), diff (choices per prompt less those in "
         "--against, MoTE), rate (the same per token); without it npmi for --mark, else rate"),
    NUMBER("top", 0, CMD_STEER, KIND_INT, top, g_find, "N", "10", 1, 100000, "how many experts to take"),
    VALUE("set", 0, CMD_STEER, KIND_TEXT, set, g_find, "WHAT", "pre:64",
         "what the steering file does with them, as for --edit: pre:64 listens to them more, logit:6 makes "
         "the router want them, drop, ban and gain:0 switch them off, force always takes them"),
    SEED("control", 0, CMD_STEER, control, has_control, g_find, "SEED",
         "instead of those found take as many others, drawn at random in the same layers"),
    VALUE("output", 'o', CMD_STEER, KIND_FILE, output, g_find, "FILE", NULL,
         "write the steering file"),

    VALUE("type", 0, CMD_QUANTIZE, KIND_TEXT, type, g_quant, "NAME", "Q4_K_M",
         "tensor type or mix of types to write; --list names all"),
    VALUE("rule", 0, CMD_QUANTIZE, KIND_TEXTS, rules, g_quant, "PATTERN=TYPE", NULL,
         "type for the tensors whose name matches (* and ? match); may be repeated, the first match "
         "wins"),
    FLAG("list", 0, CMD_QUANTIZE, list, g_quant, "list the types and mixes, and end"),
    FLAG("force", 0, CMD_QUANTIZE, force, g_quant, "replace an output file that exists"),

    FLAG("no-echo", 0, CMD_RUN, no_echo, g_output, "print the continuation without the prompt"),
    FLAG("ids", 0, CMD_TOKENIZE, ids, g_output, "only the ids, on one line"),
    FLAG("count", 0, CMD_TOKENIZE, count, g_output, "only the number of tokens"),
    FLAG("stages", 0, CMD_BENCH, stages, g_output,
         "under each row of the table, time per token in attention, routers, experts, output"),
    FLAG("csv", 0, CMD_BENCH, csv, g_output, "comma-separated values instead of a table"),
    FLAG("json", 'j', CMD_JSON, json, g_output, "JSON, for programs"),
    FLAG("stats", 0, CMD_TALK, stats, g_output, "tokens, times and speed afterwards, on stderr"),
    FLAG("quiet", 'q', CMD_ALL, quiet, g_output, "no progress bars and notes"),
    FLAG("verbose", 'v', CMD_ALL & ~(CMD_TOKENIZE | CMD_QUANTIZE), verbose, g_output,
         "what the library has to say, on stderr"),
    FLAG("help", 'h', CMD_ALL, help, g_output, "this text"),
};

/* clang-format on */

const size_t n_options = sizeof options / sizeof *options;

bool is_rule(const struct option *o) { return o->arg && strcmp(o->arg, "RULE") == 0; }
