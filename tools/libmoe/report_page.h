/* SPDX-License-Identifier: MIT */
/* The report's page before and after its data; report_page.c is made by embed.py. */
#ifndef REPORT_PAGE_H
#define REPORT_PAGE_H

#include <stddef.h>

extern const char report_before[], report_after[];
extern const size_t report_before_size, report_after_size;

#endif
