/* SPDX-License-Identifier: MIT */
/* Has the window used by a file of actions, one a line, for the tests and for screenshots (README.md lists
 * them). */
#ifndef DESKTOP_SCRIPT_H
#define DESKTOP_SCRIPT_H

#include "window.h"

struct script;

/*
 * Begins a script; the window must be shown. `text` NULL: only the screenshot, then the end. `screenshot`
 * (may be NULL) is written when the script ends. *status becomes 1 if a line cannot be done, with the reason
 * on stderr; then, and at the end of the script, the window is closed.
 */
struct script *script_start(struct window *w, const char *text, const char *screenshot, int *status);
void script_free(struct script *s); /* NULL is fine */

#endif
