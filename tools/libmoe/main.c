/* SPDX-License-Identifier: MIT */
/* Entry point: the table of subcommands and what comes before one. */
#include "interrupt.h"
#include "options.h"
#include "out.h"
#include "progress.h"

#include <stdio.h>
#include <string.h>

const struct command commands[] = {
    {CMD_RUN, "run", "[PROMPT...]", "continue a prompt",
     "Continues a prompt and prints the text as it is made. Several words are joined by blanks; `-` or no "
     "prompt at all "
     "reads standard input when that is not a terminal. The bundled model knows several voices (tales, "
     "shakespeare, "
     "cookery, ...), of which --voice chooses one.\n"
     "\n"
     "The text ends where the model ends it, after --max-tokens, or when the context is full.",
     "# a story\nlibmoe run \"Once upon a time\"\n"
     "# the same verse each time\nlibmoe run --voice verse --seed 7 \"The night\"\n"
     "# another model, the most probable text, as JSON\n"
     "libmoe run -m olmoe-q4_k_m.gguf --temp 0 --json \"The capital of France is\"\n"
     "# a prompt from a file, only the continuation\nlibmoe run -f notes.txt --no-echo > more.txt\n",
     0, -1, cmd_run},
    {CMD_CHAT, "chat", "", "talk with a model",
     "A conversation. A chat template that the file carries is used if it is one of the built-in ones "
     "(ChatML, Llama-3, "
     "Mistral, Granite, OLMo); with any other model what you write is simply continued. Only what is new is "
     "evaluated in "
     "each turn.\n"
     "\n"
     "Ctrl-C stops the answer, not the program; Ctrl-D or /quit ends it. Commands: /reset begins anew, /save "
     "FILE and "
     "/load FILE keep a conversation with its evaluated state, /help lists all. A line that ends in a "
     "backslash goes on "
     "in the next one.",
     "# talk with a model\nlibmoe chat -m qwen3-30b-a3b-q4_k_m.gguf\n"
     "# with a system message, from a script\n"
     "echo \"What is a mixture of experts?\" | libmoe chat -m model.gguf --system \"Answer in one "
     "sentence.\"\n",
     0, 0, cmd_chat},
    {CMD_INFO, "info", "[FILE]", "describe a model file",
     "Family, sizes, parameters in all and per token, the router's recipe, tokenizer and voices of a model; "
     "on request its "
     "tensors, metadata, layers, and the kernels in use. No weights are read.",
     "# the essentials of the bundled model\nlibmoe info\n"
     "# all tensors of another one\nlibmoe info --tensors model.gguf\n"
     "# for a program\nlibmoe info --json --meta model.gguf\n",
     0, 1, cmd_info},
    {CMD_PLAN, "plan", "[FILE]", "tell the memory a model needs",
     "How much memory a model and a session would take: dense weights, experts, KV cache, scratch, tables. "
     "Only the "
     "file's header is read.",
     "# with the usual context\nlibmoe plan model.gguf\n"
     "# with a long one in f32, for a program\nlibmoe plan --ctx 32768 --kv f32 --json model.gguf\n",
     0, 1, cmd_plan},
    {CMD_BENCH, "bench", "", "measure the speed",
     "Measures prefill and decode speed: for each thread count and each context depth, prompts of the given "
     "lengths and "
     "the decoding of tokens one by one. Reported are the median, the smallest and the largest of the "
     "repetitions in "
     "tokens per second, and for decoding the bytes of active weights read per second.",
     "# the bundled model\nlibmoe bench\n"
     "# how threads scale, as a file for a spreadsheet\nlibmoe bench -m model.gguf --threads 1,2,4,8 --csv > "
     "speed.csv\n"
     "# decoding deep in the context\nlibmoe bench -m model.gguf --prompt 0 --contexts 0,1024,4096\n",
     0, 0, cmd_bench},
    {CMD_TOKENIZE, "tokenize", "[TEXT...]", "turn text into tokens and back",
     "Shows the tokens of a text, or with --decode the text of tokens. `-` or nothing reads standard input.",
     "# a table of ids and pieces\nlibmoe tokenize \"Once upon a time\"\n"
     "# there and back\nlibmoe tokenize --ids \"Once upon a time\" | libmoe tokenize --decode\n"
     "# how long is a file?\nlibmoe tokenize --count -f book.txt\n",
     0, -1, cmd_tokenize},
    {CMD_PERPLEXITY, "perplexity", "[FILE...]", "measure how well a model predicts texts",
     "Perplexity, its standard error and bits per byte over texts (without files, or for `-`, standard "
     "input). A text is "
     "cut into windows of --ctx tokens that overlap; every token is scored once. `--voice auto` takes the "
     "voice of each "
     "file from its name: tales.txt is scored in the voice of tales, and so is valid-tales.txt.",
     "# a text\nlibmoe perplexity -m model.gguf book.txt\n"
     "# the held-out texts of the bundled model, each in its own voice\n"
     "libmoe perplexity --voice auto heldout/*.txt\n",
     0, -1, cmd_perplexity},
    {CMD_QUANTIZE, "quantize", "INPUT OUTPUT", "write a smaller copy of a model",
     "Converts the weights of a GGUF model with F32, F16 or BF16 weights. The output appears only when it is "
     "whole: an "
     "interrupted or failed run leaves nothing behind.",
     "# the usual mix\nlibmoe quantize model-f16.gguf model-q4_k_m.gguf\n"
     "# experts small, the rest precise\n"
     "libmoe quantize --type Q8_0 --rule '*_exps.weight=Q4_K' model-f16.gguf model-mixed.gguf\n",
     0, 2, cmd_quantize},
    {CMD_TRACE, "trace", "[FILE...]", "record which experts are chosen, token by token",
     "Evaluates texts (files, --text, or standard input) and records which experts every router chose for "
     "every token. The record is written with --output, in a compact form, as JSON lines or as CSV, or "
     "analysed: how often a token has experts of the one before it, how well a set of experts does for a "
     "whole segment (SRP), and how often caches of several sizes would hit (LRU, LFU, Belady's optimum, "
     "segment cache).\n"
     "\n"
     "A text longer than --ctx is cut into windows; every window is a request of its own. With --from a "
     "record is converted or analysed and no model is needed: JSON lines of other programs will do, one "
     "object a line, such as {\"tok\": 0, \"layers\": [[3, 7], [1, 4]]}.",
     "# what the bundled model does with a story\nlibmoe trace --text \"Once upon a time\" -n 100\n"
     "# record, then look\nlibmoe trace -m model.gguf --weights -o book.moetrace book.txt\n"
     "libmoe trace --from book.moetrace\n"
     "# for another program\nlibmoe trace --from book.moetrace -o book.jsonl\n",
     0, -1, cmd_trace},
    {CMD_STATS, "stats", "[FILE...]", "statistics of routers and experts, as tables or as a report",
     "Evaluates texts and tells for every layer how many experts a token uses, how sure the router is, how "
     "evenly the load is spread, what tokens and classes of text say about the expert, and which experts "
     "are busy, idle, or tied to a class. Every file is a class named after it; files of the same name in "
     "several folders are one class.\n"
     "\n"
     "--html writes a report with heat maps and curves: one file that any browser opens, offline. --save "
     "and --load keep the counts, which add up over runs.",
     "# the domains of the bundled model\nlibmoe stats --voice auto heldout/*.txt\n"
     "# a report\nlibmoe stats -m model.gguf --outputs --html report.html english.txt code.txt\n"
     "# in two runs\nlibmoe stats --save a.profile one.txt\nlibmoe stats --load a.profile two.txt\n",
     0, -1, cmd_stats},
    {CMD_STEER, "steer", "FILE...", "find the experts behind something, and steer by them",
     "Ranks all experts by what ties them to the texts in FILE, as compared with those in --against, or to "
     "the tokens of --mark, and shows the best. --output writes a steering file that favours them "
     "(--set pre:64), or switches them off (--set drop, --set ban): give it to --steer of any command. "
     "--control takes as many experts at random, to see whether those found matter.",
     "# which experts know German?\nlibmoe steer german.txt --against tales.txt --against french.txt\n"
     "# switch them off, and see what it costs\n"
     "libmoe steer german.txt --against tales.txt --set drop -o no-german.json\n"
     "libmoe perplexity --steer no-german.json german.txt tales.txt\n"
     "# experts of certain words (RICE)\nlibmoe steer --mark \"However\" --mark \"Wait\" answers.txt\n",
     0, -1, cmd_steer},
};

const size_t n_commands = sizeof commands / sizeof *commands;

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < n_commands; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static const char *command_name(size_t i, const void *user)
{
    (void)user;
    return commands[i].name;
}

static int unknown_command(const char *name)
{
    const char *near = nearest(name, n_commands, command_name, NULL);
    if (near) return usage_error(NULL, "unknown command `%s`; did you mean %s?", name, near);
    return usage_error(NULL, "unknown command `%s`", name);
}

static int show_help(const char *topic)
{
    const struct command *c;
    if (!topic) {
        help_tool();
        return CODE_OK;
    }
    c = command_find(topic);
    if (!c) return unknown_command(topic);
    help_command(c);
    return CODE_OK;
}

static int run_command(const struct command *c, int argc, char **argv)
{
    struct settings s;
    const int code = options_parse(&s, c, argc, argv);
    if (code != CODE_OK) return code;
    if (s.help) return show_help(c->name);
    if (s.quiet) notes_off();
    progress_enable(!s.quiet);
    interrupt_install(c->bit == CMD_QUANTIZE);
    return c->run(&s);
}

static int start(int argc, char **argv)
{
    const char *first = argc > 1 ? argv[1] : NULL;
    const struct command *c;
    if (!first) {
        help_tool();
        return CODE_USAGE;
    }
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "help") == 0)
        return show_help(argc > 2 ? argv[2] : NULL);
    if (strcmp(first, "--version") == 0 || strcmp(first, "-V") == 0) {
        out_format("libmoe %s\n%s\n", moe_version_string(), moe_build_info());
        return CODE_OK;
    }
    if (strcmp(first, "--generate") == 0 && argc == 3) return generate_file(argv[2]);
    c = command_find(first);
    if (c) return run_command(c, argc - 2, argv + 2);
    if (first[0] == '-') return usage_error(NULL, "unknown option %s before a command", first);
    return unknown_command(first);
}

int main(int argc, char **argv) { return out_finish(start(argc, argv)); }
