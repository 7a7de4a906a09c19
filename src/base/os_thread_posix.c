/* SPDX-License-Identifier: MIT */
/* os_thread.h over POSIX threads. */
#include "base/os_thread.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <unistd.h>

int moe__lock_init(moe__lock *l) { return pthread_mutex_init(&l->m, NULL) == 0 ? 0 : -1; }
int moe__cond_init(moe__cond *c) { return pthread_cond_init(&c->c, NULL) == 0 ? 0 : -1; }
void moe__lock_destroy(moe__lock *l) { pthread_mutex_destroy(&l->m); }
void moe__cond_destroy(moe__cond *c) { pthread_cond_destroy(&c->c); }
void moe__lock_enter(moe__lock *l) { pthread_mutex_lock(&l->m); }
void moe__lock_leave(moe__lock *l) { pthread_mutex_unlock(&l->m); }
void moe__cond_wait(moe__cond *c, moe__lock *l) { pthread_cond_wait(&c->c, &l->m); }
void moe__cond_wake_all(moe__cond *c) { pthread_cond_broadcast(&c->c); }

static void *thread_main(void *p)
{
    moe__thread *t = p;
    t->main(t->arg);
    return NULL;
}

/* With as much stack as kernels take (120 KiB those of AMX) and more, also where the default is 128 KiB
 * (musl). */
static int start_thread(moe__thread *t)
{
    enum { STACK_MIN = 512 * 1024 };
    pthread_attr_t attr;
    size_t stack;
    int err = pthread_attr_init(&attr);
    if (err != 0) return err;
    err = pthread_attr_getstacksize(&attr, &stack);
    if (err == 0 && stack < STACK_MIN) err = pthread_attr_setstacksize(&attr, STACK_MIN);
    if (err == 0) err = pthread_create(&t->t, &attr, thread_main, t);
    pthread_attr_destroy(&attr);
    return err;
}

int moe__thread_start(moe__thread *t, void (*main)(void *arg), void *arg)
{
    t->main = main;
    t->arg = arg;
    sigset_t all, old;
    /* A new thread inherits the mask: the host's signal handlers stay on the host's threads, those aside that
     * tell of a fault of the thread itself (a mapped file that was cut short): blocked they would end the
     * process unheard. */
    static const int own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigfillset(&all);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) sigdelset(&all, own[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    const int err = start_thread(t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err == 0 ? 0 : -1;
}

void moe__thread_join(moe__thread *t) { pthread_join(t->t, NULL); }

void moe__thread_give_way(void)
{
/* Linux: nice values belong to threads; setpriority(2), "C library/kernel differences". */
#ifdef __linux__
    errno = 0;
    const int now = getpriority(PRIO_PROCESS, 0);
    if (now == -1 && errno != 0) return;
    (void)setpriority(PRIO_PROCESS, 0, now + 10); /* beyond the lowest means the lowest */
#endif
}

uint64_t moe__os_process_id(void) { return (uint64_t)getpid(); }
