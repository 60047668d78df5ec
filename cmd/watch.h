/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a dump or a restore is, as it is told meanwhile: stages for -v, a line of progress on a
 * terminal, and lines of JSON for launchers (--status-fd, docs/schema/status.json). Nothing here
 * blocks, whoever reads or not: the job may be standing still.
 */
#ifndef CK_CMD_WATCH_H
#define CK_CMD_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

struct cmd_args;
struct json_object;

struct cmd_watch {
	const char *sub;
	int status_fd;                  /* -EBADF: none */
	bool terminal;                  /* draw */
	int drawn;                      /* columns */
	uint64_t start, shown, copying; /* when: nanoseconds */
};

/* Not CMD_EXIT_OK: the command line is wrong, and it has been said. */
int cmd_watch_start(struct cmd_watch *w, const struct cmd_args *a);
/* For the engine's options. */
struct engine_watch cmd_watch_engine(struct cmd_watch *w);
void cmd_watch_stage(struct cmd_watch *w, const char *name);
/* A line for the user, now. */
void cmd_watch_say(struct cmd_watch *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* { "event": name, ...fields } for launchers; takes fields, which may be NULL. */
void cmd_watch_event(struct cmd_watch *w, const char *name, struct json_object *fields);
/* A counter of an event. */
void cmd_watch_add(struct json_object *fields, const char *key, uint64_t v);
/* The last event, with the exit status, which is returned. fields as above. */
int cmd_watch_end(struct cmd_watch *w, int status, struct json_object *fields);
/* The same for an error: cmd_fail() and the last event. */
int cmd_watch_fail(struct cmd_watch *w, const struct ck_err *err);

#endif
