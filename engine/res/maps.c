// SPDX-License-Identifier: Apache-2.0
/*
 * Files that are mapped or executed: each gets an entry of its own in files.img, one for all tasks
 * and mappings that mean the same path and access. What is no file (anonymous and shared memory,
 * the kernel's own mappings) gets id 0 and is the business of who dumps memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/res.h"

enum map_kind {
	MAPS_NO_FILE,
	MAPS_FILE,
	MAPS_REFUSED,
};

/* Names that look like paths and are none; all are on nameless file systems. */
static const struct {
	const char *name;
	enum map_kind kind;
	const char *what;
} odd_names[] = {
	{ "/dev/zero", MAPS_NO_FILE, NULL }, /* shared anonymous memory */
	{ "/anon_hugepage", MAPS_NO_FILE, NULL },
	{ "/SYSV", MAPS_NO_FILE, NULL }, /* engine/ipc.c */
	{ "/[aio]", MAPS_REFUSED, "a ring of asynchronous I/O" },
};

static enum map_kind kind_of(const struct proc_map *m, const char **what)
{
	if (m->inode == 0 || m->name[0] == '\0' || m->name[0] == '[')
		return MAPS_NO_FILE;
	*what = m->name;
	if (m->name[0] != '/')
		return MAPS_REFUSED;
	for (size_t i = 0; m->deleted && m->dev_major == 0 && i < CK_ARRAY_SIZE(odd_names); i++)
		if (strncmp(m->name, odd_names[i].name, strlen(odd_names[i].name)) == 0) {
			*what = odd_names[i].what ? odd_names[i].what : m->name;
			return odd_names[i].kind;
		}
	return MAPS_FILE;
}

/* Another path-only file that is the same. */
static struct res_file *find_same(struct engine_dump *d, const struct res_file *f)
{
	for (size_t i = 0; i < d->res->n_files; i++) {
		struct res_file *o = d->res->files[i];

		if (o->fd < 0 && o->type == f->type && o->st.st_ino == f->st.st_ino &&
		    o->st.st_dev == f->st.st_dev && o->flags == f->flags && o->name &&
		    strcmp(o->name, f->name) == 0)
			return o;
	}
	return NULL;
}

int res_path_file(struct engine_dump *d, struct res_file *f, CkptPathRole role,
		  struct res_file **ret, struct ck_err *err)
{
	struct res_file *same = find_same(d, f);
	int r;

	if (!same) {
		same = res_file_new(d, f->task, f->via);
		if (!same)
			return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a file");
		same->type = f->type;
		same->st = f->st;
		same->flags = f->flags;
		same->mnt_id = f->mnt_id;
		same->ghost = f->ghost;
		same->named = f->named;
		same->memfd = f->memfd;
		same->name = ck_take_ptr(&f->name);
		/* A carried copy is found by its first file, which must outlive f. */
		if (same->ghost)
			res_ghost_move(d, f, same);
		r = res_put_reg(d, same, same->id, err);
		if (r < 0)
			return r;
	}
	*ret = same;
	return res_need_path(d, same, role, err);
}

/* On overlayfs maps of older kernels show the inode below, on btrfs another device than stat(). */
static bool is_mapped_inode(const struct engine_task *t, const struct proc_map *m,
			    const struct stat *st)
{
	CK_AUTO(fd) int fd = -EBADF;
	struct statfs fs;

	if (st->st_ino == m->inode)
		return true;
	fd = res_name_open(t, m->name, O_PATH);
	return fd >= 0 && fstatfs(fd, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}

/* The name as it is on disk: the mark " (deleted)" may have been part of it. */
static bool find_name(const struct engine_task *t, const struct proc_map *m, struct res_file *f)
{
	struct stat st;

	if (m->deleted) {
		char *whole = NULL;

		if (asprintf(&whole, "%s (deleted)", m->name) < 0)
			return false;
		if (res_name_stat(t, whole, &st) == 0 && st.st_ino == m->inode) {
			free(f->name);
			f->name = whole;
			f->st = st;
			return true;
		}
		free(whole);
	}
	if (res_name_stat(t, m->name, &st) < 0)
		return false;
	if (m->deleted ? st.st_ino != m->inode : !is_mapped_inode(t, m, &st))
		return false;
	f->st = st;
	return true;
}

/* The file has no name: some link of the task to it, else only memory is left. */
static int find_link(struct engine_dump *d, const struct engine_task *t, const struct proc_map *m,
		     struct res_file *f, struct ck_err *err)
{
	CK_AUTO(fd) int fd = -EBADF;
	char link[64];
	struct stat st;

	snprintf(link, sizeof(link), "map_files/%llx-%llx", (unsigned long long)m->start,
		 (unsigned long long)m->end);
	fd = openat(t->dirfd, link, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 && fstat(fd, &f->st) == 0) {
		f->via = strdup(link);
	} else if (fstatat(t->dirfd, "exe", &st, 0) == 0 && st.st_ino == m->inode &&
		   st.st_dev == makedev(m->dev_major, m->dev_minor)) {
		f->st = st;
		f->via = strdup("exe");
	} else {
		f->st = (struct stat){ .st_ino = m->inode,
				       .st_dev = makedev(m->dev_major, m->dev_minor),
				       .st_mode = S_IFREG | S_IRWXU,
				       .st_uid = t->status.uid[1],
				       .st_gid = t->status.gid[1] };
	}
	return res_ghost_add_mapped(d, f, err);
}

static int dump_map(struct engine_dump *d, struct engine_task *t, const struct proc_map *m,
		    uint32_t *ret_id, struct ck_err *err)
{
	struct res_file f = { .type = &res_type_regular, .task = t, .fd = -1, .mnt_id = -1 }, *same;
	int r = 0;

	f.flags = m->shared && m->w ? O_RDWR : O_RDONLY;
	f.memfd = m->deleted && res_is_memfd(m->name, makedev(m->dev_major, m->dev_minor));
	f.name = strdup(m->name);
	if (!f.name)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot remember a path");
	if (find_name(t, m, &f)) {
		/* /dev/zero mapped in private is memory under a name. */
		if (S_ISCHR(f.st.st_mode) && f.st.st_rdev == makedev(1, 5) && !m->shared)
			f.type = &res_type_device;
		else if (!S_ISREG(f.st.st_mode))
			r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP,
				    "cannot dump a mapping of a device");
		else
			r = res_state_look(d, &f, m->shared, err);
	} else if (m->deleted) {
		r = find_link(d, t, m, &f, err);
	} else {
		r = ck_fail(err, CK_ERR_REFUSED, -ENOENT, "cannot reach a mapped file by its path");
		r = ck_err_hint(err, r, "a mount hides it, or another file has its name now");
	}
	if (r == 0)
		r = res_path_file(d, &f, CKPT_PATH_ROLE__CKPT_PATH_MAP, &same, err);
	if (r == 0)
		*ret_id = same->id;
	free(f.name);
	free(f.via);
	return r;
}

static int dump_exe(struct engine_dump *d, struct engine_task *t, struct ck_err *err)
{
	struct res_file f = { .type = &res_type_regular, .task = t, .fd = -1, .mnt_id = -1 }, *same;
	CK_AUTO(free) char *link = NULL;
	int r = ck_readlink_at(t->dirfd, "exe", &link);

	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot read the link to the program");
	if (fstatat(t->dirfd, "exe", &f.st, 0) < 0)
		return ck_fail_errno(err, "cannot stat the program %s", link);
	f.flags = O_RDONLY;
	f.via = strdup("exe");
	r = f.via ? res_name_look(d, &f, link, err) : -ENOMEM;
	if (r == 0)
		r = res_path_file(d, &f, CKPT_PATH_ROLE__CKPT_PATH_EXE, &same, err);
	if (r == 0)
		t->exe_file_id = same->id;
	free(f.name);
	free(f.via);
	return r < 0 ? ck_err_at(err, r, "the program") : 0;
}

/* The parts of a program or library follow one another. */
static bool is_same_file(const struct proc_map *a, const struct proc_map *b)
{
	return a->inode == b->inode && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor && a->deleted == b->deleted &&
	       (a->shared && a->w) == (b->shared && b->w) && strcmp(a->name, b->name) == 0;
}

int res_dump_maps(struct engine_dump *d, struct engine_task *t, struct ck_err *err)
{
	int r = dump_exe(d, t, err);

	if (r < 0)
		return r;
	free(t->map_file_ids);
	t->map_file_ids = calloc(t->maps.n ? t->maps.n : 1, sizeof(*t->map_file_ids));
	if (!t->map_file_ids)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list %zu mappings", t->maps.n);
	for (size_t i = 0; i < t->maps.n && r == 0; i++) {
		const struct proc_map *m = &t->maps.m[i];
		const char *what = NULL;

		if (i > 0 && is_same_file(m, m - 1)) {
			t->map_file_ids[i] = t->map_file_ids[i - 1];
			continue;
		}
		switch (kind_of(m, &what)) {
		case MAPS_NO_FILE:
			break;
		case MAPS_REFUSED:
			r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump a mapping of %s",
				    what);
			break;
		case MAPS_FILE:
			r = dump_map(d, t, m, &t->map_file_ids[i], err);
			break;
		}
		if (r < 0)
			r = ck_err_at(err, r, "mapping %llx-%llx (%s)",
				      (unsigned long long)m->start, (unsigned long long)m->end,
				      m->name);
	}
	return r;
}
