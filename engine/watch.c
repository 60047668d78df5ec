// SPDX-License-Identifier: Apache-2.0
/* Telling the caller how far it is, if he wants to know. */
#include "engine/watch.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void engine_stage(const struct engine_watch *w, const char *name)
{
	if (w->stage)
		w->stage(w->arg, name);
}

void engine_detail(const struct engine_watch *w, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	if (!w->detail)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	w->detail(w->arg, text);
}

void engine_progress(const struct engine_watch *w, uint64_t done, uint64_t total)
{
	if (w->progress)
		w->progress(w->arg, done < total ? done : total, total);
}

uint64_t engine_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
