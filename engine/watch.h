/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine/: telling the caller of a dump or a restore how far it is. */
#ifndef CK_ENGINE_WATCH_H
#define CK_ENGINE_WATCH_H

#include <stdint.h>

#include "engine/engine.h"

void engine_stage(const struct engine_watch *w, const char *name);
void engine_detail(const struct engine_watch *w, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void engine_progress(const struct engine_watch *w, uint64_t done, uint64_t total);
uint64_t engine_now_ns(void); /* CLOCK_MONOTONIC */

#endif
