// SPDX-License-Identifier: Apache-2.0
/*
 * Looks at paths on this host, as the calling user. What is there may change at any moment; the
 * restore itself opens the files and fails cleanly if they went away after all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/pb.h"
#include "fsmap/fold.h"

/* Smaller files are hashed even if size and time are the same: it costs a millisecond. */
enum { ALWAYS_HASH = 4 << 20 };

static uint64_t mtime_ns(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
}

/* faccessat() is faccessat2(2), which old seccomp profiles of containers answer with EPERM:
 * access(2) says the same unless we have borrowed another user's rights. */
static bool may(const char *path, int mode, bool borrowed)
{
	return borrowed ? faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0
			: access(path, mode) == 0;
}

/* path: its last component is missing. */
static bool can_make(char *path, bool borrowed)
{
	char *slash = strrchr(path, '/');
	bool yes;

	if (slash == path)
		return may("/", W_OK | X_OK, borrowed);
	*slash = '\0';
	yes = may(path, W_OK | X_OK, borrowed);
	*slash = '/';
	return yes;
}

/* The first component of path that is not there, or that is no directory though more follows. */
static int find_missing(const char *path, bool borrowed, CkptPathFact *f)
{
	char *part = strdup(path);
	struct stat st;

	if (!part)
		return -ENOMEM;
	for (char *p = part + 1; *p; p++) {
		bool gone;

		if (*p != '/')
			continue;
		*p = '\0';
		gone = stat(part, &st) < 0;
		if (gone && errno == ENOENT)
			f->parent_missing = part;
		else if (!gone && !S_ISDIR(st.st_mode))
			f->parent = part;
		if (f->parent_missing)
			f->has_can_make = f->can_make = can_make(part, borrowed);
		if (f->parent_missing || f->parent)
			return 0;
		*p = '/';
		if (gone)
			break;
	}
	f->parent_missing = part;
	f->has_can_make = f->can_make = can_make(part, borrowed);
	return 0;
}

/*
 * With size and modification time the same to the nanosecond a large file is the same. Times
 * without a fraction don't count: archives and reproducible builds set those.
 */
static bool same_by_time(const CkptNeedPath *need, const struct stat *st)
{
	return need->has_size && need->has_mtime_ns && need->size == (uint64_t)st->st_size &&
	       need->mtime_ns == mtime_ns(st) && st->st_mtim.tv_nsec != 0 &&
	       st->st_size > ALWAYS_HASH;
}

static int read_build_id(int fd, CkptPathFact *f)
{
	uint8_t id[CK_BUILD_ID_MAX];
	int n = ck_elf_build_id_fd(fd, id);

	if (n <= 0)
		return 0;
	f->build_id.data = malloc((size_t)n);
	if (!f->build_id.data)
		return -ENOMEM;
	memcpy(f->build_id.data, id, (size_t)n);
	f->build_id.len = (size_t)n;
	f->has_build_id = true;
	return 0;
}

/* What of a readable regular file is comparable with what the image knows of it: there may be a
 * hundred thousand, and every call counts. */
static int compare_contents(int fd, const CkptNeedPath *need, const struct stat *st,
			    CkptPathFact *f)
{
	uint64_t size = (uint64_t)st->st_size;

	if (need->has_build_id && read_build_id(fd, f) < 0)
		return -ENOMEM;
	/* What is shorter has lost something: no hash says more. */
	if (need->has_size && need->size > size)
		return 0;
	if ((need->has_build_id && !fsmap_is_written(need)) || same_by_time(need, st))
		return 0;
	if (need->has_hash && (!need->has_size || need->size == size))
		f->has_hash = fsmap_hash(fd, size, &f->hash, NULL) == 0;
	else if (need->has_hash)
		f->has_prefix_hash = fsmap_hash(fd, need->size, &f->prefix_hash, NULL) == 0;
	else if (need->has_sample && need->has_size)
		f->has_sample = fsmap_sample(fd, need->size, &f->sample, NULL) == 0;
	f->has_prefix = f->has_prefix_hash || f->has_sample;
	f->prefix = f->has_prefix ? need->size : 0;
	return 0;
}

static void fill_stat(const struct stat *st, CkptPathFact *f)
{
	f->exists = true;
	f->has_mode = f->has_owner = f->has_mtime_ns = true;
	f->mode = st->st_mode;
	f->owner = st->st_uid;
	f->mtime_ns = mtime_ns(st);
	if (S_ISREG(st->st_mode)) {
		f->has_size = true;
		f->size = (uint64_t)st->st_size;
	}
}

/* A log that the job may not open again, but that the caller has on the same standard descriptor,
 * open in the same way: the restore takes that one. */
static bool callers(const CkptNeedPath *need, const struct stat *st)
{
	struct stat own;
	int fd = (int)need->stdio;
	int flags = need->has_stdio && fd <= 2 ? fcntl(fd, F_GETFL) : -1;

	return flags >= 0 && fstat(fd, &own) == 0 && own.st_dev == st->st_dev &&
	       own.st_ino == st->st_ino && (uint32_t)(flags & O_ACCMODE) == need->access;
}

/* What is not needed is not asked; a regular file is opened to know whether it can be read. */
static void ask(const CkptNeedPath *need, const char *path, const struct stat *st, bool borrowed,
		CkptPathFact *f)
{
	f->has_readable = true;
	f->readable = S_ISREG(st->st_mode) || may(path, R_OK, borrowed);
	f->has_writable = fsmap_is_written(need);
	f->writable = f->has_writable && may(path, W_OK, borrowed);
	f->has_executable =
		S_ISDIR(st->st_mode) || fsmap_has_role(need, CKPT_PATH_ROLE__CKPT_PATH_EXE);
	f->executable = f->has_executable && may(path, X_OK, borrowed);
}

/* Opening a FIFO or a device may do something; of those only the permission is asked. path: where
 * it is. */
static int look_at(const CkptNeedPath *need, const char *path, bool borrowed, CkptPathFact *f)
{
	CK_AUTO(fd) int fd = -EBADF;
	struct stat st;

	if (path[0] != '/')
		return 0;
	if (fstatat(AT_FDCWD, path, &st, S_ISLNK(need->mode) ? AT_SYMLINK_NOFOLLOW : 0) < 0) {
		f->has_error = true;
		f->error = errno;
		return errno == ENOENT || errno == ENOTDIR ? find_missing(path, borrowed, f) : 0;
	}
	fill_stat(&st, f);
	if (fsmap_is_path_only(need))
		return 0;
	ask(need, path, &st, borrowed, f);
	f->has_callers = f->callers = callers(need, &st);
	if (!S_ISREG(st.st_mode))
		return 0;
	fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	f->readable = fd >= 0;
	if (fd < 0) {
		f->has_error = true;
		f->error = errno;
		return 0;
	}
	return compare_contents(fd, need, &st, f);
}

/* Whether there is room for a carried file. One that can't go into its old directory goes
 * elsewhere: then nothing is said. */
static int look_for_room(const char *path, CkptPathFact *f)
{
	const char *slash = strrchr(path, '/');
	CK_AUTO(free) char *dir = strndup(path, slash > path ? (size_t)(slash - path) : 1);
	struct statvfs fs;
	struct stat st;

	if (!dir)
		return -ENOMEM;
	if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode) || access(dir, W_OK) < 0 ||
	    statvfs(dir, &fs) < 0)
		return 0;
	f->has_free = f->has_device = true;
	f->free = (uint64_t)fs.f_bavail * fs.f_frsize;
	f->device = st.st_dev;
	return 0;
}

/* Asked of CVMFS only where it was one when the image was made. */
static int look_at_mount(const CkptNeedMount *need, CkptFacts *facts)
{
	CkptMount *m = (CkptMount *)(uintptr_t)fsmap_mount_of(facts, need->point);
	struct fsmap_cvmfs c;

	if (!need->fqrn || !m || m->fqrn || strcmp(m->fstype, need->fstype) != 0 ||
	    !fsmap_cvmfs(need->point, &c))
		return 0;
	m->fqrn = strdup(c.fqrn);
	m->root_hash = c.root_hash[0] ? strdup(c.root_hash) : NULL;
	m->has_revision = true;
	m->revision = c.revision;
	return m->fqrn && (m->root_hash || !c.root_hash[0]) ? 0 : -ENOMEM;
}

/* Are they one file, or neither of them there? */
static bool same_file(const char *a, const char *b)
{
	struct stat x = { 0 }, y = { 0 };

	return (stat(a, &x) == 0) == (stat(b, &y) == 0) && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* Where the job will find it: links may lead into what is bound. */
static int look_where(const CkptNeeds *needs, const CkptNeedPath *need, bool borrowed,
		      CkptPathFact *f)
{
	CK_AUTO(free) char *leads = NULL;
	const char *path = need->path;
	int r;

	f->path = strdup(path);
	if (!f->path ||
	    fsmap_leads(needs, need->recorded ? need->recorded : need->path, &leads) < 0)
		return -ENOMEM;
	if (leads && !same_file(leads, path))
		path = f->leads = ck_take_ptr(&leads);
	r = look_at(need, path, borrowed, f);
	if (r == 0 && need->has_disk && path[0] == '/')
		r = look_for_room(path, f);
	return r;
}

int fsmap_look(const CkptNeeds *needs, CkptFacts *facts)
{
	bool borrowed = geteuid() != getuid() || getegid() != getgid();

	for (size_t i = 0; i < needs->n_paths; i++) {
		CkptPathFact *f = CK_PB_NEW(CkptPathFact, ckpt_path_fact);
		int r = f ? look_where(needs, needs->paths[i], borrowed, f) : -ENOMEM;

		if (r == 0)
			r = ck_pb_append(&facts->paths, &facts->n_paths, f);
		if (r < 0) {
			if (f)
				ckpt_path_fact__free_unpacked(f, NULL);
			return r;
		}
	}
	for (size_t i = 0; i < needs->n_mounts; i++)
		if (look_at_mount(needs->mounts[i], facts) < 0)
			return -ENOMEM;
	return fsmap_look_scratch(needs, facts) < 0 ? -ENOMEM : fsmap_look_binds(needs, facts);
}
