// SPDX-License-Identifier: Apache-2.0
/*
 * Signal frames of a stopped tree: where they are, and whether the code that a handler interrupted
 * was in a system call, which only its instructions tell. What becomes of them on another CPU is
 * engine/restore-frames.c's matter.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/dump.h"

struct looking {
	struct engine_task *task;
	struct engine_thread *thread;
};

static const struct proc_map *map_of(const struct engine_task *t, uint64_t addr)
{
	for (size_t i = 0; i < t->maps.n; i++)
		if (addr >= t->maps.m[i].start && addr < t->maps.m[i].end)
			return &t->maps.m[i];
	return NULL;
}

const char *engine_code_name(const struct engine_task *t, uint64_t ip)
{
	const struct proc_map *m = map_of(t, ip);

	return m ? m->name : NULL;
}

static int read_task(void *arg, uint64_t addr, void *buf, size_t len)
{
	const struct engine_task *t = arg;

	return ck_pread_full(t->memfd, buf, len, (off_t)addr) == (ssize_t)len ? 0 : -EFAULT;
}

/* Before it (the call has ended, or will be ended by EINTR) or at it (to be made again). */
static bool is_syscall_at(struct engine_task *t, uint64_t ip)
{
	static const uint8_t insn[2] = { 0x0f, 0x05 };
	uint8_t code[2];

	return (read_task(t, ip - 2, code, 2) == 0 && !memcmp(code, insn, 2)) ||
	       (read_task(t, ip, code, 2) == 0 && !memcmp(code, insn, 2));
}

static int take(const struct cpuinfo_frame *f, void *arg)
{
	const struct looking *l = arg;
	struct engine_thread *th = l->thread;
	struct engine_frame *grown =
		reallocarray(th->frames, th->n_frames + 1, sizeof(th->frames[0]));

	if (!grown)
		return -ENOMEM;
	th->frames = grown;
	grown += th->n_frames++;
	*grown = (struct engine_frame){ .f = *f, .in_syscall = is_syscall_at(l->task, f->ip) };
	if (grown->in_syscall)
		grown->caller = engine_code_name(l->task, f->ip);
	return 0;
}

static int look_task(struct engine_task *t, struct ck_err *err)
{
	CK_AUTO(free) struct cpuinfo_map *maps = calloc(t->maps.n + 1, sizeof(*maps));
	struct cpuinfo_memory m = { .map = maps, .n = t->maps.n, .read = read_task, .arg = t };
	int r = maps ? 0 : -ENOMEM;

	for (size_t i = 0; maps && i < t->maps.n; i++)
		maps[i] = (struct cpuinfo_map){ t->maps.m[i].start, t->maps.m[i].end,
						t->maps.m[i].x };
	for (size_t i = 0; i < t->n_threads && r == 0; i++) {
		struct looking l = { t, &t->threads[i] };
		const struct engine_thread_view *v = &l.thread->view;

		r = cpuinfo_frames(&m, l.thread->stopped.rsp, v->sas_sp, v->sas_size, take, &l);
	}
	return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot look for signal frames") : 0;
}

int engine_find_frames(struct engine_dump *d, struct ck_err *err)
{
	for (size_t i = 0; i < d->n_tasks; i++) {
		struct engine_task *t = d->tasks[i];
		int r = t->zombie ? 0 : look_task(t, err);

		if (r < 0)
			return ck_err_at(err, r, ENGINE_TASK_FMT, ENGINE_TASK_ARG(t));
	}
	return 0;
}
