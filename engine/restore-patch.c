// SPDX-License-Identifier: Apache-2.0
/*
 * Memory of the job that has to be other on this CPU than in the image: planned while a refusal
 * still costs nothing, put in place by the tracer at the very end. Who plans: the signal frames
 * (engine/restore-frames.c), and ld.so here.
 *
 * ld.so keeps vector registers on its caller's stack while it binds a function, in as much room as
 * the CPU of the start needed for that. Where this CPU writes more, the number is raised: at any
 * moment, since it is read once for each function, and who has read it returns by another register.
 * It is never lowered.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#include "base/auto.h"
#include "base/fd.h"
#include "cpuinfo/cpuinfo.h"
#include "engine/restore.h"
#include "image/format.h"

static void free_cpu(CkptCpuFacts *c)
{
	ckpt_cpu_facts__free_unpacked(c, NULL);
}

CK_DEFINE_AUTO(cpu, CkptCpuFacts *, free_cpu);

void engine_patches_done(struct engine_rtask *t)
{
	for (size_t i = 0; i < t->n_patches; i++)
		free(t->patches[i].bytes);
	free(t->patches);
	t->patches = NULL;
	t->n_patches = 0;
}

int engine_patch(struct engine_rtask *t, uint64_t addr, uint8_t *bytes, size_t len,
		 struct ck_err *err)
{
	struct engine_rpatch *grown =
		bytes ? reallocarray(t->patches, t->n_patches + 1, sizeof(*grown)) : NULL;

	if (!grown) {
		free(bytes);
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot keep what is to be changed");
	}
	t->patches = grown;
	grown[t->n_patches++] = (struct engine_rpatch){ .addr = addr, .bytes = bytes, .len = len };
	return 0;
}

/* ---- ld.so ---- */

static struct engine_rtask *find_task(struct engine_restore *r, uint32_t pid)
{
	for (size_t i = 0; i < r->n_tasks; i++)
		if (r->tasks[i].ps->pid == pid && !r->tasks[i].zombie)
			return &r->tasks[i];
	return NULL;
}

static int raise_number(struct engine_restore *r, struct engine_rtask *t, const CkptIsaSave *s,
			uint64_t room, struct ck_err *err)
{
	CK_AUTO(fd) int fd = image_open_fd(r->image, IMAGE_PAGES, t->pages.pages_id, NULL);
	uint64_t v = 0;
	int rc = image_pages_read(&t->pages, fd, s->at, &v, sizeof(v));
	uint8_t *bytes;

	if (rc < 0 || v != s->size)
		return ck_fail(err, CK_ERR_IMAGE, rc < 0 ? rc : -EBADMSG,
			       "cannot raise the number of ld.so at %#llx: it is not there",
			       (unsigned long long)s->at);
	bytes = malloc(sizeof(room));
	if (bytes)
		memcpy(bytes, &room, sizeof(room));
	engine_note(r,
		    "ld.so reserves %llu bytes for registers while it binds a function; this CPU "
		    "needs %llu: raised",
		    (unsigned long long)s->size, (unsigned long long)room);
	return engine_patch(t, s->at, bytes, sizeof(room), err);
}

/* Several places of its code may read the same number. */
static uint64_t most_room(const CkptCpuFacts *cpu, const CkptIsaTask *it, size_t save)
{
	uint64_t most = 0;

	for (size_t i = 0; i < it->n_saves; i++) {
		uint64_t room = it->saves[i]->at == it->saves[save]->at
					? cpuinfo_save_room(cpu, it, it->saves[i])
					: 0;

		if (i < save && room)
			return 0; /* it has been seen to */
		most = room > most ? room : most;
	}
	return most;
}

static int plan_task(struct engine_restore *r, struct engine_rtask *t, const CkptIsaTask *it,
		     const CkptCpuFacts *cpu, struct ck_err *err)
{
	int rc = 0;

	for (size_t i = 0; i < it->n_saves && rc == 0; i++) {
		uint64_t room = most_room(cpu, it, i);

		if (room > it->saves[i]->size)
			rc = raise_number(r, t, it->saves[i], room, err);
	}
	return rc;
}

int engine_plan_saves(struct engine_restore *r, struct ck_err *err)
{
	const CkptIsa *isa = r->opts->isa;
	CK_AUTO(cpu) CkptCpuFacts *cpu = NULL;
	int rc = isa ? cpuinfo_facts(&cpu, err) : 0;

	for (size_t i = 0; isa && i < isa->n_tasks && rc == 0; i++) {
		struct engine_rtask *t = find_task(r, isa->tasks[i]->pid);

		if (!t)
			continue;
		rc = plan_task(r, t, isa->tasks[i], cpu, err);
		if (rc < 0)
			ck_err_at(err, rc, ENGINE_RTASK_FMT, ENGINE_RTASK_ARG(t));
	}
	return rc;
}

/* ---- in place ---- */

int engine_put_patches(const struct engine_rtask *t, struct ck_err *err)
{
	pid_t pid = (pid_t)t->ps->threads[engine_first_alive(t)];

	for (size_t i = 0; i < t->n_patches; i++) {
		const struct engine_rpatch *p = &t->patches[i];

		for (size_t off = 0; off < p->len; off += sizeof(uint64_t)) {
			size_t n = p->len - off;
			uint64_t word = 0;

			errno = 0;
			if (n < sizeof(word)) /* what lies behind it stays */
				word = (uint64_t)ptrace(PTRACE_PEEKDATA, pid, p->addr + off, 0);
			memcpy(&word, p->bytes + off, n < sizeof(word) ? n : sizeof(word));
			if (errno || ptrace(PTRACE_POKEDATA, pid, p->addr + off, word) < 0)
				return ck_fail_errno(err, "cannot change memory at %#llx",
						     (unsigned long long)p->addr);
		}
	}
	return 0;
}
