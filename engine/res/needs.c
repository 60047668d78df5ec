// SPDX-License-Identifier: Apache-2.0
/*
 * What a host must have for the files of the job: a ckpt_need_path per path, with everything that
 * identifies what was there. Equal paths become one need, with all roles and the widest access.
 * Of what the job writes the contents at this moment count: so it can be told later whether a file
 * has only grown.
 */
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/pb.h"
#include "engine/res/res.h"
#include "fsmap/fsmap.h"

struct res_need {
	CkptNeedPath *p;
	const struct res_file *f; /* how the file can be reached */
};

/* O_ACCMODE: none, the path only. */
static uint32_t access_of(const struct res_file *f)
{
	return f->flags & O_PATH ? O_ACCMODE : f->flags & O_ACCMODE;
}

static uint32_t wider(uint32_t a, uint32_t b)
{
	if (a == O_ACCMODE || a == b)
		return b;
	return b == O_ACCMODE ? a : O_RDWR;
}

static int add_role(CkptNeedPath *p, CkptPathRole role)
{
	CkptPathRole *grown;

	for (size_t i = 0; i < p->n_roles; i++)
		if (p->roles[i] == role)
			return 0;
	grown = reallocarray(p->roles, p->n_roles + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	p->roles = grown;
	p->roles[p->n_roles++] = role;
	return 0;
}

/* A deleted file that is carried and a new one of its name are two needs. */
static int compare_needs(const void *a, const void *b)
{
	const CkptNeedPath *x = a, *y = b;
	int c = strcmp(x->path, y->path);

	return c ? c : (int)(bool)x->carried - (int)(bool)y->carried;
}

static CkptNeedPath *find_need(const struct res_dump *res, char *path, bool carried)
{
	CkptNeedPath key = { .path = path, .carried = carried };
	CkptNeedPath *const *found = tfind(&key, (void *const *)&res->needs_by_path, compare_needs);

	return found ? *found : NULL;
}

static void need_free(CkptNeedPath *p)
{
	if (p)
		protobuf_c_message_free_unpacked(&p->base, NULL);
}
CK_DEFINE_AUTO(need, CkptNeedPath *, need_free);

/* Then its size is nobody's need. */
static bool only_appends(const struct res_file *f)
{
	return (f->flags & O_ACCMODE) == O_WRONLY && (f->flags & O_APPEND);
}

/* What is open as a path only may have any contents. */
static void need_contents(CkptNeedPath *p, const struct res_file *f)
{
	if (f->flags & O_PATH)
		return;
	p->has_mtime_ns = true;
	p->mtime_ns =
		(uint64_t)f->st.st_mtim.tv_sec * 1000000000u + (uint64_t)f->st.st_mtim.tv_nsec;
	p->has_size = S_ISREG(f->st.st_mode);
	p->size = p->has_size ? (uint64_t)f->st.st_size : 0;
}

static CkptNeedPath *need_new(const struct res_file *f)
{
	CK_AUTO(need) CkptNeedPath *p = calloc(1, sizeof(*p));
	char who[120];

	if (!p)
		return NULL;
	ckpt_need_path__init(p);
	if (f->fd >= 0)
		snprintf(who, sizeof(who), ENGINE_TASK_FMT ", fd %d", ENGINE_TASK_ARG(f->task),
			 f->fd);
	else
		snprintf(who, sizeof(who), ENGINE_TASK_FMT, ENGINE_TASK_ARG(f->task));
	p->path = strdup(f->name);
	p->who = strdup(who);
	if (!p->path || !p->who)
		return NULL;
	p->mode = f->st.st_mode;
	p->has_access = true;
	p->access = access_of(f);
	p->has_append = true;
	p->append = only_appends(f);
	p->has_stdio = f->stdio >= 0;
	p->stdio = p->has_stdio ? (uint32_t)f->stdio : 0;
	need_contents(p, f);
	if (f->ghost) {
		p->has_carried = p->carried = true;
		p->has_disk = S_ISREG(f->st.st_mode) && !f->memfd;
		p->disk = (uint64_t)f->st.st_blocks * 512;
	}
	return ck_take_ptr(&p);
}

int res_need_path(struct engine_dump *d, const struct res_file *f, CkptPathRole role,
		  struct ck_err *err)
{
	struct res_dump *res = d->res;
	CkptNeedPath *p = find_need(res, f->name, f->ghost != 0);
	struct res_need *grown;

	if (p) {
		if (!p->has_mtime_ns)
			need_contents(p, f);
		p->access = wider(p->access, access_of(f));
		p->append = p->append && only_appends(f);
	} else {
		grown = reallocarray(res->needs, res->n_needs + 1, sizeof(*grown));
		if (grown)
			res->needs = grown;
		p = grown ? need_new(f) : NULL;
		if (!p)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
		res->needs[res->n_needs++] = (struct res_need){ p, f };
		if (!tsearch(p, &res->needs_by_path, compare_needs))
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
	}
	if (add_role(p, role) < 0)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
	return 0;
}

int res_need_inherit(struct engine_dump *d, int fd, struct ck_err *err)
{
	CkptNeeds *n = &d->needs;
	uint32_t *grown;

	for (size_t i = 0; i < n->n_inherited; i++)
		if (n->inherited[i] == (uint32_t)fd)
			return 0;
	grown = reallocarray(n->inherited, n->n_inherited + 1, sizeof(*grown));
	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a descriptor");
	n->inherited = grown;
	n->inherited[n->n_inherited++] = (uint32_t)fd;
	return 0;
}

/* The mount by its id, else the longest mount point in front of the path; the later one covers. */
static const struct proc_mount *find_mount(const struct res_dump *res, const struct res_file *f)
{
	const struct proc_mount *best = NULL;
	size_t best_len = 0;

	for (size_t i = 0; i < res->mounts.n; i++) {
		const struct proc_mount *m = &res->mounts.m[i];
		size_t len = strlen(m->point);

		if (f->mnt_id >= 0 && m->id == f->mnt_id)
			return m;
		if (len == 1)
			len = 0;
		if (strncmp(f->name, m->point, len) == 0 &&
		    (f->name[len] == '/' || f->name[len] == '\0') && len >= best_len) {
			best = m;
			best_len = len;
		}
	}
	return best;
}

/* With a checksum of the bytes that are there now: of what the job reads those that it relies on,
 * of what it writes those that it has written so far. */
static int set_identity(struct engine_dump *d, CkptNeedPath *p, size_t index,
			const struct res_file *f, struct ck_err *err)
{
	struct fsmap_identity id;
	CK_AUTO(fd)
	int fd = f->via && f->fd < 0 ? res_file_reopen(f, O_RDONLY)
				     : res_name_open(f->task, f->name, O_RDONLY);

	/* What we may not read has size and mode only. */
	if (fd < 0 || fsmap_identify(fd, FSMAP_BUILD_ID, &id, NULL) < 0)
		return 0;
	if (id.build_id_len) {
		p->build_id.data = malloc(id.build_id_len);
		if (!p->build_id.data)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a build-id");
		memcpy(p->build_id.data, id.build_id, id.build_id_len);
		p->build_id.len = id.build_id_len;
		p->has_build_id = true;
	}
	if (!id.build_id_len || p->access != O_RDONLY)
		res_sum(d, p, index, &f->st, &fd);
	return 0;
}

/* File systems whose files are made up by the kernel when they are read. */
static bool is_made_up(const struct proc_mount *m)
{
	static const char *const types[] = { "proc",     "sysfs",   "cgroup",     "cgroup2",
					     "debugfs",  "tracefs", "securityfs", "devpts",
					     "configfs", "pstore",  "bpf" };

	for (size_t i = 0; m && i < CK_ARRAY_SIZE(types); i++)
		if (strcmp(m->fstype, types[i]) == 0)
			return true;
	return false;
}

/* A FUSE filesystem is asked whether it is CVMFS; the job has files of it, so it answers. */
static int look_at_mount(const struct res_file *f, const char *point, CkptNeedMount *nm)
{
	CK_AUTO(fd) int fd = res_name_open(f->task, point, O_PATH | O_DIRECTORY);
	struct fsmap_cvmfs c;
	struct statfs fs;
	char link[40];

	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return 0;
	nm->has_magic = true;
	nm->magic = (uint64_t)fs.f_type;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (strncmp(nm->fstype, "fuse", 4) != 0 || !fsmap_cvmfs(link, &c))
		return 0;
	nm->fqrn = strdup(c.fqrn);
	nm->root_hash = c.root_hash[0] ? strdup(c.root_hash) : NULL;
	nm->has_revision = true;
	nm->revision = c.revision;
	return nm->fqrn && (nm->root_hash || !c.root_hash[0]) ? 0 : -ENOMEM;
}

static int need_mount(struct engine_dump *d, const struct res_file *f, const struct proc_mount *m)
{
	CkptNeeds *n = &d->needs;
	CkptNeedMount *nm;

	for (size_t i = 0; i < n->n_mounts; i++)
		if (!strcmp(n->mounts[i]->point, m->point))
			return 0;
	nm = CK_PB_NEW(CkptNeedMount, ckpt_need_mount);
	if (!nm)
		return -ENOMEM;
	nm->point = strdup(m->point);
	nm->fstype = strdup(m->fstype);
	nm->source = strdup(m->source);
	nm->root = strdup(m->root);
	nm->options = strdup(m->options);
	nm->super_options = strdup(m->super_options);
	if (!nm->point || !nm->fstype || !nm->source || !nm->root || !nm->options ||
	    !nm->super_options || look_at_mount(f, m->point, nm) < 0 ||
	    ck_pb_append(&n->mounts, &n->n_mounts, nm) < 0) {
		ckpt_need_mount__free_unpacked(nm, NULL);
		return -ENOMEM;
	}
	return 0;
}

/* Which will be d->needs.paths[index] */
static int finish_need(struct engine_dump *d, struct res_need *n, size_t index, struct ck_err *err)
{
	const struct proc_mount *m = find_mount(d->res, n->f);

	if (m) {
		n->p->mount_point = strdup(m->point);
		n->p->fstype = strdup(m->fstype);
		if (!n->p->mount_point || !n->p->fstype || need_mount(d, n->f, m) < 0)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a mount");
	}
	if (is_made_up(m)) {
		n->p->has_size = n->p->has_mtime_ns = false;
		return 0;
	}
	if (!n->p->has_size || n->p->carried || n->f->st.st_size == 0)
		return 0;
	return set_identity(d, n->p, index, n->f, err);
}

/* ---- directories ---- */

/* A path that may stand for a directory: its first len bytes. */
struct dir_name {
	const char *path;
	size_t len;
	const struct res_file *f;
};

static int compare_dirs(const void *a, const void *b)
{
	const struct dir_name *x = a, *y = b;
	int r = memcmp(x->path, y->path, x->len < y->len ? x->len : y->len);

	return r ? r : (x->len > y->len) - (x->len < y->len);
}

static size_t count_slashes(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == '/';
	return n;
}

/* All directories above the needed paths, and those that are needed themselves; some twice. */
static size_t list_dirs(const struct res_dump *res, struct dir_name *out)
{
	size_t n = 0;

	for (size_t i = 0; i < res->n_needs; i++) {
		const CkptNeedPath *p = res->needs[i].p;
		const char *slash = p->path;

		if (p->carried || p->path[0] != '/')
			continue;
		while ((slash = strchr(slash + 1, '/')))
			out[n++] = (struct dir_name){ p->path, (size_t)(slash - p->path),
						      res->needs[i].f };
		if (S_ISDIR(p->mode) && p->path[1])
			out[n++] = (struct dir_name){ p->path, strlen(p->path), res->needs[i].f };
	}
	return n;
}

/* One that can't be looked at, or that has just gone, is left out. */
static int need_dir(struct engine_dump *d, const struct dir_name *name)
{
	CK_AUTO(free) char *path = strndup(name->path, name->len);
	CkptNeedDir *dir;
	struct stat st;

	if (!path)
		return -ENOMEM;
	if (res_name_stat(name->f->task, path, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	dir = CK_PB_NEW(CkptNeedDir, ckpt_need_dir);
	if (!dir)
		return -ENOMEM;
	dir->path = ck_take_ptr(&path);
	dir->mode = st.st_mode;
	dir->has_uid = dir->has_gid = true;
	dir->uid = st.st_uid;
	dir->gid = st.st_gid;
	if (ck_pb_append(&d->needs.dirs, &d->needs.n_dirs, dir) < 0) {
		ckpt_need_dir__free_unpacked(dir, NULL);
		return -ENOMEM;
	}
	return 0;
}

static int need_dirs(struct engine_dump *d, struct ck_err *err)
{
	CK_AUTO(free) struct dir_name *names = NULL;
	size_t room = 1, n;

	for (size_t i = 0; i < d->res->n_needs; i++)
		room += count_slashes(d->res->needs[i].p->path);
	names = reallocarray(NULL, room, sizeof(*names));
	if (!names)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list directories");
	n = list_dirs(d->res, names);
	qsort(names, n, sizeof(*names), compare_dirs);
	for (size_t i = 0; i < n; i++)
		if ((i == 0 || compare_dirs(&names[i - 1], &names[i]) != 0) &&
		    need_dir(d, &names[i]) < 0)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a directory");
	return 0;
}

int res_needs_finish(struct engine_dump *d, struct ck_err *err)
{
	struct res_dump *res = d->res;
	CkptNeedPath **grown;
	int r = need_dirs(d, err);

	if (r < 0)
		return r;
	/* Where files are mounted is for the reader only. */
	if (d->n_tasks)
		(void)proc_read_mountinfo(d->tasks[0]->dirfd, &res->mounts, NULL);
	grown = reallocarray(d->needs.paths, d->needs.n_paths + res->n_needs + 1, sizeof(*grown));
	if (!grown)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember %zu paths", res->n_needs);
	d->needs.paths = grown;
	for (size_t i = 0; i < res->n_needs && r == 0; i++) {
		r = finish_need(d, &res->needs[i], d->needs.n_paths, err);
		d->needs.paths[d->needs.n_paths++] = ck_take_ptr(&res->needs[i].p);
	}
	return r;
}

static void keep(void *need)
{
	(void)need; /* it is res->needs[] that owns them */
}

void res_needs_done(struct res_dump *res)
{
	tdestroy(res->needs_by_path, keep);
	for (size_t i = 0; i < res->n_needs; i++)
		need_free(res->needs[i].p);
	free(res->needs);
	proc_mounts_done(&res->mounts);
}
