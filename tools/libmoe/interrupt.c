/* SPDX-License-Identifier: MIT */
/* Signals. The handler touches lock-free atomics and calls the one library function that allows it. */
#include "interrupt.h"
#include "term.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* One key press can arrive twice, for the process and for its group. */
#define TWICE_NS 300000000u

static volatile sig_atomic_t pending; /* number of the signal, 0 for none */
static volatile sig_atomic_t be_patient;
static _Atomic(moe_session *) target;
static _Atomic uint64_t first_ns; /* when the pending one came */

static void on_signal(int number)
{
    const uint64_t now = clock_ns(); /* clock_gettime() may be called here */
    moe_session *s = atomic_load(&target);
    if (pending && now - atomic_load(&first_ns) < TWICE_NS) return;
    if (pending && !be_patient) {
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    atomic_store(&first_ns, now);
    pending = number;
    if (s) moe_session_interrupt(s);
}

void interrupt_install(bool patient)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction a, old;
    be_patient = patient;
    memset(&a, 0, sizeof a);
    sigemptyset(&a.sa_mask);
    a.sa_handler = on_signal;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        /* What the parent chose to ignore (nohup, a background job) stays ignored. */
        if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(numbers[i], &a, NULL);
    }
    a.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &a, NULL); /* out.c sees EPIPE instead */
}

bool interrupted(void) { return pending != 0; }

bool interrupted_by_user(void) { return pending == SIGINT; }

void interrupt_forget(void) { pending = 0; }

void interrupt_target(moe_session *s) { atomic_store(&target, s); }

int eval_batch(moe_session *s, const moe_batch *b)
{
    int status;
    interrupt_target(s);
    if (interrupted()) return MOE_E_ABORTED;
    status = moe_session_eval_batch(s, b);
    /* A request that came too late for the last eval waits for this one, though its signal is long dealt
     * with. */
    if (status == MOE_E_ABORTED && !interrupted()) status = moe_session_eval_batch(s, b);
    return status;
}

int eval_tokens(moe_session *s, const moe_token *ids, size_t n)
{
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = n;
    b.token = ids;
    return eval_batch(s, &b);
}
