/* SPDX-License-Identifier: MIT */
/* One progress bar on stderr, only if that is a terminal and the work takes a noticeable time. Also where
 * Ctrl-C gets in. */
#ifndef PROGRESS_H
#define PROGRESS_H

#include "tool.h"

void progress_enable(bool on);
void progress_begin(const char *label, bool bytes); /* bytes: show done/total as sizes */
void progress_update(uint64_t done, uint64_t total);
void progress_clear(void); /* wipes the bar; the next update shows it again */
void progress_end(void);
/* The same as moe_progress_fn: shows, and stops the work after an interrupt. `user` is not used. */
int progress_callback(const moe_progress *p, void *user);

#endif
