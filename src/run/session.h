/* SPDX-License-Identifier: MIT */
/*
 * A session: all that changes while a model runs. One arena holds every buffer, cut once at creation
 * (layout.c), so that eval allocates nothing and moe_plan answers from the same code. forward.c walks the
 * program; ops.c holds the operations.
 */
#ifndef MOE_RUN_SESSION_H
#define MOE_RUN_SESSION_H

#include <stdatomic.h>

#include "attn/attn.h"
#include "base/work.h"
#include "dispatch/dispatch.h"
#include "expert/ffn.h"
#include "kv/kv.h"
#include "model/model.h"
#include "moe/study.h"
#include "route/router.h"
#include "run/experts.h"

/* One step of the program: a layer's step with what depends on the weights filled in. */
typedef struct moe__run_step {
    uint8_t op, in, out, role;
    uint32_t layer;
    uint32_t formats; /* activation formats that later steps read `out` in */
} moe__run_step;

/* A row whose result the caller wants. */
typedef struct moe__output {
    uint32_t want; /* MOE_WANT_* */
} moe__output;

/* Public handles: views of one layer's routing in a session, or of all. */
struct moe_expert {
    moe_router *router;
    uint32_t index;
};
struct moe_router {
    moe_session *s;
    uint32_t layer;     /* MOE_ALL_LAYERS: every layer with a router */
    moe__router *route; /* NULL for all layers */
    moe_expert *expert; /* [n_experts] */
};

/* What moe_router_last() shows of a layer, with MOE_SESSION_KEEP_ROUTES. */
typedef struct moe__kept {
    uint32_t n_rows;
    moe__routes routes; /* [n_batch_max] rows */
    float *logits;      /* [n_batch_max][n_logits] */
    moe_token *token;   /* [n_batch_max], likewise: */
    moe_pos *pos;
    moe_seq *seq;
} moe__kept;

typedef struct moe__layer_hook {
    moe_layer_fn fn;
    void *user;
} moe__layer_hook;

/* What the calling thread does behind a step, while the team is parked: bits of moe_session.park. */
#define MOE_PARK_ROUTE 1u /* serial policies, the observer, profile, kept routes, expert functions */
#define MOE_PARK_HOOK  2u /* layer hooks */

/* Outputs of a tile's pairs, [max_slots] each; first by pair, then without gaps. */
typedef struct moe__measured {
    float *norm, *max;
    uint32_t *channel;
    uint32_t *expert;
    float *weight;
} moe__measured;

typedef struct moe__observer {
    int (*fn)(const moe_route_view *v, void *user);
    void *user;
} moe__observer;

/* The eval under way: what is left to do of it. */
typedef struct moe__eval_state {
    moe_batch batch;
    size_t done;    /* tokens of finished sub-batches */
    uint32_t n_out; /* next output slot */
    int walking;    /* a sub-batch is under way, at pc */
    uint64_t ns;    /* time spent */
} moe__eval_state;

/* moe_session.busy */
#define MOE_BUSY_RUNNING 1 /* callbacks may only read */
#define MOE_BUSY_BETWEEN 2 /* an eval in slices waits to go on */

struct moe_session {
    moe_model *m;
    moe_session_options o; /* defaults filled in */
    moe_executor executor;
    moe__team *team;
    uint32_t n_threads;
    void *arena;
    uint64_t arena_bytes, kv_bytes;

    moe__run_step *step; /* the program */
    size_t n_steps;
    uint8_t *park; /* [n_steps] MOE_PARK_*: where the walk stops for work of the calling thread (park.c) */

    /* rows of the sub-batch: [n_batch_max] */
    uint32_t n_rows;
    moe__place *place;
    uint32_t *row_output; /* output slot of a row, or MOE_EXPERT_NONE */
    moe__rows buf[N_BUFS];
    moe__attn attn;
    moe__kv kv;  /* of layers that see all positions, and the tokens; lengths of sequences are looked up here */
    moe__kv win; /* of layers with a sliding window; without sequences if there are none */

    /* routing and experts */
    moe__router *router;   /* [n_layers]; of dense layers unused */
    moe_router *handle;    /* [n_layers+1]; the last is that of all layers */
    moe_expert *expert;    /* [n_layers+1][n_experts] */
    float *router_logits;  /* [n_batch_max][n_logits] */
    moe__routes routes;    /* room for n_experts pairs a row */
    uint32_t *n_pairs;     /* [n_batch_max] pairs of each row while a layer is routed */
    void *serial;          /* scratch of serial policies, made when one is set (moe__session_serial) */
    moe__kept *kept;       /* [n_layers], or NULL */
    moe__layer_hook *hook; /* [n_layers][MOE_N_PLACES], or NULL; element where - 1 */
    moe_profile *profile;  /* or NULL */
    int whole;             /* some router can only route whole sequences, in one sub-batch */
    moe__experts experts;  /* what stands in experts' places */
    moe__dispatch dispatch;
    moe__ffn_job *job;   /* [max(n_experts, 1)] */
    moe__ffn ffn;        /* of the tile at hand, written by member 0 */
    float *mid, *mid_up; /* [mid_floats] */
    void *mid_act[MOE_N_ACTS];
    uint64_t mid_floats;
    float *slot_out;        /* [max_slots][dim] results of pairs */
    moe__measured measured; /* of the tile's pairs, for the profile */
    float *shared_gate;     /* [n_batch_max] */
    uint32_t max_slots;

    /* results */
    moe__output *output; /* [n_output_max] of the eval under way */
    float *stage;        /* [n_output_max][dim] their final rows */
    uint32_t n_staged;
    float *hidden, *logits; /* [n_output_max][dim], [n_output_max][n_vocab]: of the last eval */
    float *hidden_next;     /* becomes hidden when the eval succeeds */
    uint32_t n_hidden, n_logits;

    /* per sequence, [n_seq_max], used while a batch is checked */
    uint32_t *seq_new; /* tokens in the batch */
    size_t *seq_last;  /* index of the last one */

    /* the walk */
    moe__work work;
    float *scratch; /* [n_threads][scratch_floats] */
    size_t scratch_floats;
    size_t pc;
    int stop; /* as of the last meeting */
    atomic_int fault; /* status of a step that failed, 0 if none */
    atomic_uint fault_layer;
    atomic_int interrupt;
    int busy; /* MOE_BUSY_*, 0 = idle */
    moe__eval_state eval;
    uint64_t deadline; /* by `clock`: the walk stops behind the step under way */
    moe__observer observer;
    moe_token *view_token; /* [n_batch_max] what policies, observers and hooks are shown */
    moe_pos *view_pos;
    moe_seq *view_seq;
    moe_stats stats;
    uint64_t clock; /* start of the step under way */
    uint64_t selection_start;
};

enum { MOE_N_PLACES = 5 }; /* MOE_AT_INPUT .. MOE_AT_OUTPUT */

/* layout.c */
int moe__session_options(moe_session_options *out, const moe_session_options *o, const moe_model *m);
/* Sizes of everything; the session needs m and o only. */
int moe__session_layout(moe_session *s, moe__carve *kv, moe__carve *rest);
size_t moe__session_scratch(const moe_session *s); /* floats of one member */
/* Adds a session's bytes to *out. */
int moe__session_memory(const moe_model *m, const moe_session_options *o, moe_memory *out);

/* session.c */
int moe__session_create(moe_session **out, moe_model *m, const moe_session_options *o);
void moe__session_free(moe_session *s);
int moe__session_threads(moe_session *s, uint32_t n);

/* program.c */
size_t moe__program_size(const moe_model *m);
void moe__program_build(moe_session *s);
/* Formats that the steps after `i` read buffer `buf` in. */
uint32_t moe__program_formats(const moe_model *m, const moe__run_step *step, size_t n, size_t i, uint8_t buf,
                              int exact);

/* batch.c: the whole eval: check, reserve, run sub-batches, head, commit or roll back */
int moe__eval(moe_session *s, const moe_batch *b);
/* The same in slices: *more tells that there is something left to do. */
int moe__eval_begin(moe_session *s, const moe_batch *b);
int moe__eval_slice(moe_session *s, uint64_t max_ns, int *more);
void moe__eval_cancel(moe_session *s);

/* warm.c: reads every page of the weights */
int moe__warm_up(moe_session *s);

/* forward.c: the rows in s->place through all layers, from s->pc on until the end or the deadline */
void moe__forward_begin(moe_session *s);
int moe__forward(moe_session *s);
/* ops.c: one step, run by every member of the team. */
void moe__op_run(moe_session *s, moe__worker *w, const moe__run_step *step);
/* head.c: staged rows -> hidden states and logits. */
int moe__head(moe_session *s);

/* park.c: what the calling thread does between steps */
int moe__parked(moe_session *s, const moe__run_step *step);
void moe__park_update(moe_session *s);   /* after anything that needs it was set or unset */
int moe__session_serial(moe_session *s); /* makes sure of the serial policies' scratch */

/* route.c */
void moe__route_compact(moe_session *s, uint32_t max_k);
int moe__route_explain(moe_session *s, uint32_t layer);
int moe__route_rows(moe_session *s, uint32_t layer, const float *hidden, uint32_t n_rows);
moe_route_view moe__route_view(const moe_session *s, uint32_t layer);
/* Tell policies with a state what becomes of sequences. */
void moe__routers_reset_seq(moe_session *s, moe_seq seq);
void moe__routers_copy_seq(moe_session *s, moe_seq from, moe_seq to);
void moe__routers_truncate_seq(moe_session *s, moe_seq seq, moe_pos keep);
void moe__routers_remove_seq(moe_session *s, moe_seq seq, moe_pos first, moe_pos n);
/* Floats of a row of router logits. */
static inline uint32_t moe__n_logits(const moe_model *m) { return m->hp.n_experts + m->hp.n_null; }

/* shift.c: keeps the first positions of a sequence; E_STATE if the windows before the next one are gone */
int moe__session_truncate(moe_session *s, uint32_t q, uint32_t keep);
/* takes positions first .. first+n-1 out of a sequence that has them; what follows moves down */
int moe__session_remove(moe_session *s, uint32_t q, uint32_t first, uint32_t n);

/* state_io.c: whole sessions, and single sequences */
int moe__session_save(const moe_session *s, moe_write_fn fn, void *user);
int moe__session_load(moe_session *s, moe_read_fn fn, void *user);
int moe__session_seq_save(const moe_session *s, uint32_t q, moe_write_fn fn, void *user);
int moe__session_seq_load(moe_session *s, uint32_t q, moe_read_fn fn, void *user);

static inline int moe__session_exact(const moe_session *s)
{
    return (s->o.flags & MOE_SESSION_EXACT_ACT) != 0;
}
static inline float *moe__session_member(const moe_session *s, const moe__worker *w)
{
    return s->scratch + w->index * s->scratch_floats;
}
static inline float *moe__session_exact_row(const moe_session *s, const moe__worker *w)
{
    return moe__session_exact(s) ? moe__session_member(s, w) : NULL;
}

#endif
