// SPDX-License-Identifier: Apache-2.0
/* The evidence about a whole image: each task is looked at, each file is read once. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/pb.h"
#include "isa/isa-internal.h"

static inline void ck_auto_isa(CkptIsa **i)
{
	if (*i)
		ckpt_isa__free_unpacked(*i, NULL);
}

static inline void ck_auto_space(struct isa_space *s)
{
	isa_space_done(s);
}

static inline void ck_auto_graph(struct isa_graph *g)
{
	isa_graph_done(g);
}

static inline void ck_auto_objects(struct isa_objects *all)
{
	for (size_t i = 0; i < all->n; i++) {
		isa_object_done(all->o[i]);
		free(all->o[i]);
	}
	free(all->o);
}

/* Its directory below glibc-hwcaps, or NULL. */
static char *hwcaps_of(const char *path)
{
	const char *p = strstr(path, "/glibc-hwcaps/");

	if (!p)
		return NULL;
	p += strlen("/glibc-hwcaps/");
	return strndup(p, strcspn(p, "/"));
}

static int fill_module(CkptIsaModule *m, const struct isa_object *o)
{
	m->path = strdup(o->path);
	m->unknown = o->unknown ? strdup(o->unknown) : NULL;
	m->dispatch = o->dispatch ? strdup(o->dispatch) : NULL;
	m->hwcaps = hwcaps_of(o->path);
	if (!m->path || (o->unknown && !m->unknown) || (o->dispatch && !m->dispatch))
		return -ENOMEM;
	m->has_bind_now = true;
	m->bind_now = o->bind_now;
	m->has_functions = true;
	m->functions = (uint32_t)o->n_fn;
	if (o->level > 1 && asprintf(&m->level, "x86-64-v%u", o->level) < 0) {
		m->level = NULL;
		return -ENOMEM;
	}
	if (!o->build_id_len)
		return 0;
	m->build_id.data = malloc(o->build_id_len);
	if (!m->build_id.data)
		return -ENOMEM;
	memcpy(m->build_id.data, o->build_id, o->build_id_len);
	m->build_id.len = o->build_id_len;
	m->has_build_id = true;
	return 0;
}

/* One for each object. */
static int add_modules(CkptIsa *isa, const struct isa_objects *all)
{
	while (isa->n_modules < all->n) {
		CkptIsaModule *m = CK_PB_NEW(CkptIsaModule, ckpt_isa_module);

		if (!m || ck_pb_append(&isa->modules, &isa->n_modules, m) < 0) {
			free(m);
			return -ENOMEM;
		}
		if (fill_module(m, all->o[isa->n_modules - 1]) < 0)
			return -ENOMEM;
	}
	return 0;
}

static CkptIsaTask *add_task(CkptIsa *isa, const struct isa_space *s)
{
	CkptIsaTask *t = CK_PB_NEW(CkptIsaTask, ckpt_isa_task);

	if (!t || ck_pb_append(&isa->tasks, &isa->n_tasks, t) < 0) {
		free(t);
		return NULL;
	}
	t->pid = s->pid;
	for (size_t i = 0; i < s->n_unknown; i++)
		if (ck_pb_append_str(&t->unknown, &t->n_unknown, s->unknown[i]) < 0)
			return NULL;
	return t;
}

static int fail_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look at the image's code");
}

static int look(CkptIsa *isa, const struct image *img, const CkptNeeds *needs,
		const CkptNeedTask *task, struct isa_objects *all,
		const struct image_entries *files, struct ck_err *err)
{
	CK_AUTO(space) struct isa_space s = { .pages_fd = -EBADF };
	CK_AUTO(graph) struct isa_graph g = { 0 };
	CkptIsaTask *t;
	int r = isa_space_load(&s, img, needs, task, all, files, err);

	if (r)
		return r > 0 ? 0 : r;
	t = add_task(isa, &s);
	if (!t || add_modules(isa, all) < 0 || isa_launch(&s, t) < 0)
		return fail_memory(err);
	r = isa_graph_walk(&g, &s, err);
	if (r == 0 && isa_evidence(&g, isa->modules, all, t) < 0)
		r = fail_memory(err);
	return r;
}

int isa_gather(const struct image *img, const CkptNeeds *needs, CkptIsa **ret, struct ck_err *err)
{
	CK_AUTO(isa) CkptIsa *isa = CK_PB_NEW(CkptIsa, ckpt_isa);
	CK_AUTO(objects) struct isa_objects all = { 0 };
	CK_AUTO(image_entries) struct image_entries files = { 0 };
	int r;

	if (!isa)
		return fail_memory(err);
	isa->version = 1;
	isa->has_image_id = image_id(img) != 0;
	isa->image_id = image_id(img);
	if (strcmp(needs->arch, "x86_64") != 0)
		return ck_fail(err, CK_ERR_REFUSED, -ENODATA, "cannot read %s code", needs->arch);
	if (!image_has_pages(img))
		return ck_fail(err, CK_ERR_REFUSED, -ENODATA, "the image has no pages");
	r = image_read_all(img, IMAGE_FILES, 0, &files, err);
	for (size_t i = 0; i < needs->n_tasks && r == 0; i++) {
		r = look(isa, img, needs, needs->tasks[i], &all, &files, err);
		if (r < 0)
			r = ck_err_at(err, r, "task %u (%s)", needs->tasks[i]->pid,
				      needs->tasks[i]->comm);
	}
	if (r < 0)
		return r;
	*ret = ck_take_ptr(&isa);
	return 0;
}
