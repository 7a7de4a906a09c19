/* SPDX-License-Identifier: MIT */
#ifndef MOE_TESTS_API_REFUSING_H
#define MOE_TESTS_API_REFUSING_H

#include "support.h"

#include <pthread.h>

/* An executor of two threads that can be told to refuse. */
typedef struct one_task {
    void (*task)(void *arg, uint32_t i);
    void *arg;
} one_task;

static inline void *second_task(void *arg)
{
    const one_task *t = arg;
    t->task(t->arg, 1);
    return NULL;
}

static inline int run_or_refuse(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user)
{
    one_task t = {task, arg};
    pthread_t thread;
    if (*(int *)user || n != 2) return 1;
    assert_int_equal(pthread_create(&thread, NULL, second_task, &t), 0);
    task(arg, 0);
    return pthread_join(thread, NULL);
}

#endif
