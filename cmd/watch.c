// SPDX-License-Identifier: Apache-2.0
/*
 * Telling how far it is: see watch.h.
 *
 * 1. A line that can't be written at once is dropped: a reader that sleeps must not keep a job
 *    stopped.
 * 2. A reader that is gone costs us no SIGPIPE. Ignoring that signal is no way: while a restored
 *    job runs, signals are its own.
 * 3. Progress is drawn only in the foreground of a terminal, which would stop us otherwise, and
 * only where there is something to wait for.
 */
#include "cmd/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "cmd/cmd.h"
#include "image/image.h"

#define MS 1000000ull /* nanoseconds */
#define EVERY (100 * MS)
#define PATIENCE (400 * MS) /* shorter copies are not worth a line */

CK_DEFINE_AUTO(json, struct json_object *, json_object_put);

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 * MS + (uint64_t)ts.tv_nsec;
}

static void write_now(int fd, const char *text, size_t len)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	struct timespec none = { 0 };
	sigset_t pipe, old, pending;
	ssize_t n;

	if (poll(&p, 1, 0) != 1 || !(p.revents & (POLLOUT | POLLERR)))
		return;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	sigprocmask(SIG_BLOCK, &pipe, &old);
	sigpending(&pending);
	n = write(fd, text, len);
	if (n < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE))
		sigtimedwait(&pipe, NULL, &none);
	sigprocmask(SIG_SETMASK, &old, NULL);
}

static void erase(struct cmd_watch *w)
{
	char line[128];
	int n;

	if (!w->drawn)
		return;
	n = snprintf(line, sizeof(line), "\r%*s\r", w->drawn, "");
	write_now(STDERR_FILENO, line, (size_t)n);
	w->drawn = 0;
}

void cmd_watch_say(struct cmd_watch *w, const char *fmt, ...)
{
	char line[1400];
	va_list ap;
	int n, m;

	erase(w);
	n = snprintf(line, sizeof(line), "ckpt %s: ", w->sub);
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	n = (int)strlen(cmd_safe(line));
	line[n++] = '\n';
	write_now(STDERR_FILENO, line, (size_t)n);
}

/* ---- for launchers ---- */
void cmd_watch_add(struct json_object *fields, const char *key, uint64_t v)
{
	json_object_object_add(fields, key, json_object_new_uint64(v));
}

static const char *line_of(struct json_object *o)
{
	return json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
							 JSON_C_TO_STRING_NOSLASHESCAPE);
}

void cmd_watch_event(struct cmd_watch *w, const char *name, struct json_object *fields)
{
	CK_AUTO(json) struct json_object *more = fields;
	CK_AUTO(json) struct json_object *o = NULL;
	static const char *const texts[] = { "hint", "where", "text", "error" };
	char line[PIPE_BUF + 1];
	const char *text;
	int n;

	if (w->status_fd < 0)
		return;
	o = json_object_new_object();
	if (!o)
		return;
	json_object_object_add(o, "event", json_object_new_string(name));
	cmd_watch_add(o, "us", (now() - w->start) / 1000);
	if (more) {
		json_object_object_foreach(more, key, v)
		{
			json_object_object_add(o, key, json_object_get(v));
		}
	}
	text = line_of(o);
	/* Texts that are too long for a pipe to take at once, names full of escapes: better without
	 * them than not at all. */
	for (size_t i = 0; i < CK_ARRAY_SIZE(texts) && strlen(text) >= PIPE_BUF; i++) {
		json_object_object_del(o, texts[i]);
		text = line_of(o);
	}
	n = snprintf(line, sizeof(line), "%s\n", text);
	if (n > 0 && n <= PIPE_BUF)
		write_now(w->status_fd, line, (size_t)n);
}

static struct json_object *text_field(const char *key, const char *text)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, key, image_json_string(text));
	return o;
}

/* ---- what the engine calls ---- */
void cmd_watch_stage(struct cmd_watch *w, const char *name)
{
	erase(w);
	w->copying = 0;
	if (cmd_verbose)
		cmd_watch_say(w, "%8.1f ms  %s", (double)(now() - w->start) / 1e6, name);
	cmd_watch_event(w, "stage", text_field("stage", name));
}

static void on_stage(void *arg, const char *name)
{
	cmd_watch_stage(arg, name);
}

static void on_detail(void *arg, const char *text)
{
	cmd_watch_say(arg, "               %s", text);
}

static const char *scale(double v, double *ret)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t i = 0;

	for (; v >= 1024 && i + 1 < CK_ARRAY_SIZE(unit); i++)
		v /= 1024;
	*ret = v;
	return unit[i];
}

static void draw(struct cmd_watch *w, uint64_t done, uint64_t total, double seconds)
{
	double d, t, rate;
	const char *du = scale((double)done, &d), *tu = scale((double)total, &t);
	const char *ru = scale((double)done / seconds, &rate);
	char line[128];
	int n;

	if (tcgetpgrp(STDERR_FILENO) != getpgrp())
		return;
	n = snprintf(line, sizeof(line), "\rckpt %s: %.1f %s of %.1f %s, %.0f %%, %.1f %s/s",
		     w->sub, d, du, t, tu, 100.0 * (double)done / (double)total, rate, ru);
	if (n - 1 < w->drawn && w->drawn < (int)sizeof(line) - 1)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "%*s", w->drawn - (n - 1), "");
	w->drawn = n - 1;
	write_now(STDERR_FILENO, line, (size_t)n);
}

static void on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct cmd_watch *w = arg;
	struct json_object *fields;
	uint64_t t = now();

	if (!total || !done)
		return;
	if (!w->copying)
		w->copying = t;
	if (t - w->shown < EVERY || t - w->copying < PATIENCE)
		return;
	w->shown = t;
	if (w->terminal)
		draw(w, done, total, (double)(t - w->copying) / 1e9);
	if (w->status_fd < 0)
		return;
	fields = json_object_new_object();
	cmd_watch_add(fields, "done", done);
	cmd_watch_add(fields, "total", total);
	cmd_watch_event(w, "progress", fields);
}

struct engine_watch cmd_watch_engine(struct cmd_watch *w)
{
	return (struct engine_watch){
		.stage = on_stage,
		.detail = cmd_verbose > 1 ? on_detail : NULL,
		.progress = w->terminal || w->status_fd >= 0 ? on_progress : NULL,
		.arg = w,
	};
}

/* ---- beginning and end ---- */
int cmd_watch_start(struct cmd_watch *w, const struct cmd_args *a)
{
	const char *text = cmd_value(a, "status-fd");
	struct json_object *fields;
	long fd;
	int flags;

	*w = (struct cmd_watch){ .sub = a->cmd->name, .status_fd = -EBADF, .start = now() };
	w->terminal = isatty(STDERR_FILENO) == 1;
	if (!text)
		return CMD_EXIT_OK;
	if (!cmd_number(text, 0, INT_MAX, &fd))
		return cmd_usage(w->sub, "not a descriptor: %s", text);
	flags = fcntl((int)fd, F_GETFL);
	if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY)
		return cmd_usage(w->sub, "descriptor %ld is not open for writing", fd);
	w->status_fd = (int)fd;
	fields = text_field("command", w->sub);
	cmd_watch_add(fields, "version", 1);
	cmd_watch_event(w, "start", fields);
	return CMD_EXIT_OK;
}

int cmd_watch_end(struct cmd_watch *w, int status, struct json_object *fields)
{
	struct json_object *o = fields ? fields : json_object_new_object();

	erase(w);
	cmd_watch_add(o, "status", (uint64_t)status);
	cmd_watch_event(w, "end", o);
	return status;
}

int cmd_watch_fail(struct cmd_watch *w, const struct ck_err *err)
{
	struct json_object *o = text_field("error", err->what);

	if (err->where[0])
		json_object_object_add(o, "where", image_json_string(err->where));
	if (err->hint[0])
		json_object_object_add(o, "hint", image_json_string(err->hint));
	erase(w);
	return cmd_watch_end(w, cmd_fail(w->sub, err), o);
}
