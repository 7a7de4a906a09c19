/* SPDX-License-Identifier: MIT */
/* The report: the page of the folder report, made into an array by embed.py, with the data as JSON in the
 * middle. Nothing else is needed to show it. */
#include "report_page.h"
#include "study.h"
#include "whole.h"

int stats_html(const struct stats *st, const char *path)
{
    struct bytes data = {NULL, 0, 0};
    struct json j = JSON_INIT;
    struct whole w;
    size_t size;
    bool ok;
    j.to = &data;
    j.in_html = true;
    json_open(&j, NULL, '{');
    stats_json(&j, st, true);
    json_close(&j);
    size = report_before_size + data.n + report_after_size;
    whole_begin(&w, path);
    whole_write(&w, report_before, report_before_size);
    whole_write(&w, data.v, data.n);
    whole_write(&w, report_after, report_after_size);
    ok = whole_end(&w, !j.failed);
    bytes_free(&data);
    if (ok) note("%s: %zu bytes, to be opened in a browser", path, size);
    return ok ? CODE_OK : CODE_FAIL;
}
