/* SPDX-License-Identifier: MIT */
/*
 * The whole library as one file, for programs that compile it into themselves without a build system:
 *
 *   cc -std=c11 -O2 -Iinclude -Isrc -c src/moe_all.c
 *
 * Plain C kernels only, the definition of all others, so that results are those of every other build to the
 * bit; for speed use the regular build. Threads are the library's own (link with -lpthread where the system
 * wants it, and -lm); -DMOE_THREADS_SERIAL leaves them out, a caller's executor works in both cases.
 *
 * Names at file scope are therefore unique over all files of the library.
 */
#if defined(__linux__)
#define _GNU_SOURCE
#elif !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#define MOE_BUILDING
#if !defined(MOE_THREADS_SERIAL) && !defined(MOE_THREADS_POOL)
#define MOE_THREADS_POOL
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF /* gcc never contracts with -std=c11 */
#endif

/* base */
#ifdef _WIN32
#include "base/os_win32.c"
#include "base/os_thread_win32.c"
#else
#include "base/os_posix.c"
#include "base/os_cpu_posix.c"
#include "base/os_thread_posix.c"
#endif
#include "base/alloc.c"
#include "base/cpu.c"
#include "base/decimal.c"
#include "base/hash.c"
#include "base/log.c"
#include "base/mathx.c"
#include "base/opts.c"
#include "base/parallel.c"
#include "base/work.c"
#include "base/rng.c"
#include "base/status.c"
#ifdef MOE_THREADS_SERIAL
#include "base/parallel_serial.c"
#else
#include "base/parallel_pool.c"
#endif

/* quant */
#include "quant/dequant.c"
#include "quant/quantize.c"
#include "quant/quantize_fit.c"
#include "quant/quantize_iq4.c"
#include "quant/quantize_k.c"
#include "quant/types.c"

/* file */
#include "file/file.c"
#include "file/gguf.c"
#include "file/gguf_write.c"
#include "file/index.c"
#include "file/json.c"
#include "file/json_get.c"
#include "file/json_write.c"
#include "file/meta.c"
#include "file/pool.c"
#include "file/reader.c"
#include "file/shards.c"
#include "file/source.c"

/* kernel */
#include "kernel/matrix.c"
#include "kernel/select.c"
#include "kernel/ref/act.c"
#include "kernel/ref/attn.c"
#include "kernel/ref/cap.c"
#include "kernel/ref/double.c"
#include "kernel/ref/gemm_f.c"
#include "kernel/ref/gemm_q.c"
#include "kernel/ref/row.c"

/* arch */
#include "arch/arch.c"
#include "arch/granitemoe.c"
#include "arch/mixtral.c"
#include "arch/olmoe.c"
#include "arch/qwen2moe.c"
#include "arch/qwen3moe.c"

/* model */
#include "model/bind.c"
#include "model/hparams.c"
#include "model/memory.c"
#include "model/open.c"
#include "model/pieces.c"
#include "model/quantize.c"
#include "model/recipe.c"
#include "model/rope.c"
#include "model/shape.c"
#include "model/weights.c"
#include "model/window.c"

/* token */
#include "token/bpe.c"
#include "token/chat.c"
#include "token/decode.c"
#include "token/encode.c"
#include "token/memo.c"
#include "token/merge.c"
#include "token/nfc.c"
#include "token/nfc_tables.c"
#include "token/pretok.c"
#include "token/same.c"
#include "token/spm.c"
#include "token/tokenizer.c"
#include "token/unicode.c"
#include "token/unicode_tables.c"
#include "token/vocab.c"

/* kv, attn, route, expert, study, dispatch */
#include "kv/cell.c"
#include "kv/kv.c"
#include "kv/shift.c"
#include "kv/turn.c"
#include "attn/attend.c"
#include "attn/attn.c"
#include "route/router.c"
#include "route/setup.c"
#include "route/steer.c"
#include "route/best.c"
#include "route/capacity.c"
#include "route/fields.c"
#include "route/group.c"
#include "route/named.c"
#include "route/names.c"
#include "route/rule_draw.c"
#include "route/rule_expert_choice.c"
#include "route/rule_list.c"
#include "route/rule_rank.c"
#include "route/rule_sparsemixer.c"
#include "route/score.c"
#include "route/spec.c"
#include "route/weight.c"
#include "expert/ffn.c"
#include "expert/slots.c"
#include "expert/store_map.c"
#include "expert/store_ram.c"
#include "expert/weights.c"
#include "study/cache.c"
#include "study/idmap.c"
#include "study/lru.c"
#include "study/profile.c"
#include "study/profile_add.c"
#include "study/profile_find.c"
#include "study/profile_io.c"
#include "study/profile_read.c"
#include "study/srp.c"
#include "study/stream.c"
#include "study/trace.c"
#include "study/trace_io.c"
#include "study/uses.c"
#include "dispatch/combine.c"
#include "dispatch/plan.c"

/* run */
#include "run/apply.c"
#include "run/batch.c"
#include "run/experts.c"
#include "run/forward.c"
#include "run/functions.c"
#include "run/head.c"
#include "run/layout.c"
#include "run/ops.c"
#include "run/park.c"
#include "run/program.c"
#include "run/replace.c"
#include "run/route.c"
#include "run/session.c"
#include "run/shift.c"
#include "run/state_io.c"
#include "run/steer_load.c"
#include "run/steer_save.c"
#include "run/take.c"
#include "run/warm.c"

/* sample */
#include "sample/draw.c"
#include "sample/dry.c"
#include "sample/filter.c"
#include "sample/kinds.c"
#include "sample/logprob.c"
#include "sample/mix.c"
#include "sample/named.c"
#include "sample/order.c"
#include "sample/penalty.c"
#include "sample/pick.c"
#include "sample/rank.c"
#include "sample/sampler.c"
#include "sample/temp.c"
#include "sample/tokmap.c"
#include "sample/weight.c"

/* api */
#include "api/api_expert.c"
#include "api/api_library.c"
#include "api/api_mix.c"
#include "api/api_model.c"
#include "api/api_next.c"
#include "api/api_profile.c"
#include "api/api_quantize.c"
#include "api/api_route.c"
#include "api/api_router.c"
#include "api/api_sampler.c"
#include "api/api_session.c"
#include "api/api_steering.c"
#include "api/api_tokenizer.c"
#include "api/api_trace.c"
