/* SPDX-License-Identifier: MIT */
/*
 * Teams: what all thread backends share (see parallel.h), the barrier, and the caller's executor, which works
 * in every build.
 *
 * The barrier is a counter of arrivals and a gate. The last to arrive sets the counter to zero and opens the
 * gate; the others wait for the gate's value to change. It stores no member count, so a team that got fewer
 * threads than it asked for needs nothing special.
 */
#include "base/parallel.h"

#include "base/opts.h"
#include "base/os.h"
#include "base/parallel_impl.h"
#include "base/rounding.h"
#include "base/status.h"

/*
 * Bounds of the spin. To wake a thread up takes some 50 microseconds on a virtual machine, so shorter waits
 * are better spun; a sleep that was over within WORTH_NS would better have been spun, too. The clock is read
 * every SPINS_PER_LOOK pauses, which take some 10 to 60 ns each.
 */
#define SPIN_MIN_NS    2000u
#define SPIN_MAX_NS    100000u
#define WORTH_NS       100000u
#define SPINS_PER_LOOK 16

/* ---- gate and barrier */

static int gate_init(moe__gate *g, int may_spin)
{
    atomic_init(&g->value, 0);
    atomic_init(&g->n_sleepers, 0);
    atomic_init(&g->spin_ns, may_spin ? SPIN_MAX_NS : 0);
    atomic_init(&g->slept_ns, 0);
    g->may_spin = may_spin;
    if (moe__lock_init(&g->lock) < 0) return -1;
    if (moe__cond_init(&g->cond) == 0) return 0;
    moe__lock_destroy(&g->lock);
    return -1;
}

static void gate_destroy(moe__gate *g)
{
    moe__cond_destroy(&g->cond);
    moe__lock_destroy(&g->lock);
}

unsigned moe__gate_value(moe__gate *g) { return atomic_load_explicit(&g->value, memory_order_acquire); }

static int gate_look(moe__gate *g, unsigned old, moe__ahead *ahead)
{
    for (int i = 0; i < SPINS_PER_LOOK; i++) {
        if (moe__gate_value(g) != old) return 1;
        if (ahead) moe__ahead_some(ahead);
        MOE_CPU_PAUSE();
    }
    return 0;
}

/* Spins for a while; 1 if the value changed. */
static int gate_spin(moe__gate *g, unsigned old, moe__ahead *ahead)
{
    const unsigned limit = atomic_load_explicit(&g->spin_ns, memory_order_relaxed);
    if (limit == 0) return moe__gate_value(g) != old;
    if (gate_look(g, old, ahead)) return 1; /* most waits need no clock */
    for (const uint64_t begin = moe__os_now_ns(); moe__os_now_ns() - begin < limit;)
        if (gate_look(g, old, ahead)) return 1;
    return 0;
}

/* Long sleeps make the next waiters spin less, short ones more. Races only move a hint. */
static void gate_learn(moe__gate *g, uint64_t slept_ns)
{
    const unsigned limit = atomic_load_explicit(&g->spin_ns, memory_order_relaxed);
    const unsigned less = limit / 2 > SPIN_MIN_NS ? limit / 2 : SPIN_MIN_NS;
    const unsigned more = limit * 2 < SPIN_MAX_NS ? limit * 2 : SPIN_MAX_NS;
    const unsigned next = slept_ns > WORTH_NS ? less : more;
    if (next != limit) atomic_store_explicit(&g->spin_ns, next, memory_order_relaxed);
}

void moe__gate_wait(moe__gate *g, unsigned old, moe__ahead *ahead)
{
    if (gate_spin(g, old, ahead)) return;
    const uint64_t begin = moe__os_now_ns();
    moe__lock_enter(&g->lock);
    /* Sequentially consistent on both sides: the opener sees this sleeper, or the sleeper the new value. */
    atomic_fetch_add(&g->n_sleepers, 1);
    while (atomic_load(&g->value) == old) moe__cond_wait(&g->cond, &g->lock);
    atomic_fetch_sub(&g->n_sleepers, 1);
    moe__lock_leave(&g->lock);
    const uint64_t slept = moe__os_now_ns() - begin;
    atomic_fetch_add_explicit(&g->slept_ns, slept, memory_order_relaxed);
    if (g->may_spin) gate_learn(g, slept);
}

void moe__gate_open(moe__gate *g)
{
    atomic_fetch_add(&g->value, 1);
    if (atomic_load(&g->n_sleepers) == 0) return;
    moe__lock_enter(&g->lock);
    moe__cond_wake_all(&g->cond);
    moe__lock_leave(&g->lock);
}

void moe__barrier_meet(moe__barrier *b, uint32_t n, void (*fn)(void *arg), void *arg, moe__ahead *ahead)
{
    if (n == 1) {
        if (fn) fn(arg);
        return;
    }
    const unsigned old = moe__gate_value(&b->gate); /* cannot change before all n have arrived */
    if (atomic_fetch_add_explicit(&b->n_arrived, 1, memory_order_acq_rel) + 1 == n) {
        if (fn) fn(arg);
        atomic_store_explicit(&b->n_arrived, 0, memory_order_relaxed);
        moe__gate_open(&b->gate);
    } else {
        moe__gate_wait(&b->gate, old, ahead);
    }
}

void moe__barrier_wait(moe__member *m) { moe__barrier_meet(m->barrier, m->n, NULL, NULL, NULL); }

void moe__barrier_wait_then(moe__member *m, void (*fn)(void *arg), void *arg, moe__ahead *ahead)
{
    moe__barrier_meet(m->barrier, m->n, fn, arg, ahead);
}

/* ---- how many run
 *
 * Never more than there are CPUs. And where members keep waiting for one that has lost its CPU to another
 * process, fewer are faster: then some sit out, until a pause that doubles each time is over. Results do not
 * depend on the number.
 */

#define PAUSE_MIN_NS 20000000u
#define PAUSE_MAX_NS 1000000000u
#define SLEPT_MIN_NS 1000000u /* less is what it takes to wake a thread up, not the loss of a CPU */

static void choose_members(moe__team *t, uint64_t now)
{
    if (now >= t->retry_ns) t->n_now = t->n_most;
}

/* The run took `ns`, all members together slept `slept` of it. */
static void learn_from_run(moe__team *t, uint64_t ns, uint64_t slept, uint64_t now)
{
    if (slept > SLEPT_MIN_NS && slept > ns / 4 * (t->n_now - 1)) {
        t->n_now -= (t->n_now + 7) / 8;
        t->pause_ns = t->pause_ns * 2 < PAUSE_MAX_NS ? t->pause_ns * 2 : PAUSE_MAX_NS;
        t->retry_ns = now + t->pause_ns;
    } else if (t->n_now == t->n_most && now > t->retry_ns + 4 * t->pause_ns) {
        t->pause_ns = PAUSE_MIN_NS / 2;
    }
}

static uint64_t take_slept(moe__team *t)
{
    return atomic_exchange_explicit(&t->barrier.gate.slept_ns, 0, memory_order_relaxed) +
           atomic_exchange_explicit(&t->done.gate.slept_ns, 0, memory_order_relaxed);
}

/* ---- runs */

void moe__team_member(moe__team *t, uint32_t index, uint32_t n)
{
    moe__rounding host;
    moe__member m = {index, n, &t->barrier, t->share};
    moe__rounding_default(&host);
    t->fn(&m, t->arg);
    moe__rounding_restore(&host);
}

static void executor_task(void *arg, uint32_t i)
{
    moe__team *t = arg;
    moe__team_member(t, i, t->n);
    atomic_fetch_add_explicit(&t->n_finished, 1, memory_order_release);
}

static int executor_run(moe__team *t)
{
    atomic_store_explicit(&t->n_finished, 0, memory_order_relaxed);
    const int st = t->executor.run(t->n, executor_task, t, t->executor.user);
    const uint32_t done = atomic_load_explicit(&t->n_finished, memory_order_acquire);
    if (st != 0) return MOE_FAIL(CALLBACK, "executor: refused %u tasks (result %d)", (unsigned)t->n, st);
    if (done != t->n)
        return MOE_FAIL(CALLBACK, "executor: returned when %u of %u tasks were done", (unsigned)done,
                        (unsigned)t->n);
    return MOE_OK;
}

int moe__team_run(moe__team *t, moe__team_fn fn, void *arg)
{
    t->fn = fn;
    t->arg = arg;
    for (uint32_t i = 0; i < 3 * t->n; i++) moe__chunks_reset(&t->share[i]);
    if (t->executor.run && t->n > 1) return executor_run(t);
    if (t->n > 1 && t->process != moe__os_process_id())
        return MOE_FAIL(STATE, "this process was forked after its threads started; create it after the fork");
    const uint64_t begin = moe__os_now_ns();
    if (t->n_most > 1) choose_members(t, begin);
    if (t->n_now == 1) {
        moe__team_member(t, 0, 1);
        return MOE_OK;
    }
    moe__backend_run(t);
    const uint64_t end = moe__os_now_ns();
    learn_from_run(t, end - begin, take_slept(t), end);
    return MOE_OK;
}

/* ---- life of a team */

static size_t team_size(uint32_t n)
{
    return sizeof(moe__team) + (size_t)(n - 1) * sizeof(moe__pool_worker) +
           (size_t)3 * n * sizeof(moe__chunks);
}

static uint32_t at_most(uint32_t n) { return n < MOE_TEAM_MAX ? n : MOE_TEAM_MAX; }

static uint32_t wanted(uint32_t n_threads) { return at_most(n_threads ? n_threads : moe__cpu_count()); }

uint32_t moe__team_members(uint32_t n_threads, int executor)
{
    return executor ? wanted(n_threads) : moe__backend_limit(wanted(n_threads));
}

size_t moe__team_bytes(uint32_t n_threads) { return MOE_BLOCK_BYTES(team_size(wanted(n_threads))); }

static int sync_init(moe__team *t, uint32_t n_cpus)
{
    /* Spinning only helps when the others can run meanwhile. */
    const int may_spin = !t->executor.run || t->n <= n_cpus;
    if (gate_init(&t->barrier.gate, may_spin) < 0) goto none;
    if (gate_init(&t->done.gate, may_spin) < 0) goto barrier;
    if (gate_init(&t->start, may_spin) < 0) goto done;
    atomic_init(&t->barrier.n_arrived, 0);
    atomic_init(&t->done.n_arrived, 0);
    atomic_init(&t->n_finished, 0);
    return MOE_OK;
done:
    gate_destroy(&t->done.gate);
barrier:
    gate_destroy(&t->barrier.gate);
none:
    return MOE_FAIL(FULL, "the system refuses a lock for a team of %u threads", (unsigned)t->n);
}

static void sync_destroy(moe__team *t)
{
    gate_destroy(&t->start);
    gate_destroy(&t->done.gate);
    gate_destroy(&t->barrier.gate);
}

static int team_create(moe__team **out, const moe__allocator *a, uint32_t n_threads, const moe_executor *ex,
                       int low)
{
    *out = NULL;
    moe_executor copy = {sizeof copy, NULL, NULL};
    if (ex) {
        MOE_TRY(moe__opts_copy(&copy, sizeof copy, ex, "moe_executor"));
        if (!copy.run) return MOE_FAIL(INVALID, "moe_executor: run is NULL");
    }
    if (n_threads > MOE_TEAM_MAX)
        return MOE_FAIL(INVALID, "%u threads asked for, the most is %u", (unsigned)n_threads, MOE_TEAM_MAX);
    moe__team *t;
    int st;
    const uint32_t n_cpus = moe__cpu_count(); /* asked once: it may change at any time */
    const uint32_t n = n_threads ? n_threads : at_most(n_cpus);
    MOE_TRY(moe__alloc(a, (void **)&t, team_size(n), "thread team"));
    t->share = (moe__chunks *)(void *)&t->worker[n - 1];
    t->alloc = *a;
    t->executor = copy;
    t->low = low;
    t->process = moe__os_process_id();
    t->n = moe__team_members(n, copy.run != NULL);
    MOE_TRY_GOTO(sync_init(t, n_cpus), no_sync);
    t->n_most = copy.run || t->n <= n_cpus ? t->n : n_cpus;
    t->n_now = t->n_most;
    t->retry_ns = 0;
    t->pause_ns = PAUSE_MIN_NS / 2;
    if (t->n > 1 && !copy.run) MOE_TRY_GOTO(moe__backend_start(t), no_threads);
    *out = t;
    return MOE_OK;
no_threads:
    sync_destroy(t);
no_sync:
    moe__free(a, t);
    return st;
}

int moe__team_create(moe__team **out, const moe__allocator *a, uint32_t n_threads, const moe_executor *ex)
{
    return team_create(out, a, n_threads, ex, 0);
}

int moe__team_create_low(moe__team **out, const moe__allocator *a, uint32_t n_threads)
{
    return team_create(out, a, n_threads, NULL, 1);
}

void moe__team_free(moe__team *t)
{
    if (!t) return;
    /*
     * In a forked child the parent's threads do not exist, and its locks may be held for ever: only the
     * memory goes.
     */
    if (t->process == moe__os_process_id()) {
        if (t->n > 1 && !t->executor.run) moe__backend_stop(t);
        sync_destroy(t);
    }
    const moe__allocator a = t->alloc;
    moe__free(&a, t);
}

uint32_t moe__team_size(const moe__team *t) { return t->n; }

uint32_t moe__cpu_count(void) { return moe__os_cpu_count(); }

const char *moe__parallel_name(void) { return moe__backend_name; }
