// SPDX-License-Identifier: Apache-2.0
/*
 * Packages that own libraries, from dpkg's own files, which deb822(5) and dpkg's manual pages
 * describe. No tool is run. Other package systems keep databases of their own: what was installed
 * by them is unknown.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fd.h"
#include "base/pb.h"
#include "probe/probe-internal.h"

enum {
	MAX_STATUS = 256 << 20, /* bytes */
	MAX_LIST = 64 << 20,
};

/* Sources whose libraries decide most often whether a job goes on; "*" ends a prefix. */
static const char *const sources[] = {
	"glibc",     "gcc-*",    "musl",    "openssl", "zlib", "openmpi", "mpich",
	"openblas",  "lapack",   "fftw3",   "hdf5",    "ucx",  "pmix",    "libfabric",
	"rdma-core", "python3*", "numactl", "hwloc",   "blis", "lammps",  "nvidia-*",
};

/* dpkg(1) has it from there, too. */
static const char *admin_dir(void)
{
	const char *dir = getenv("DPKG_ADMINDIR");

	return dir && dir[0] == '/' ? dir : "/var/lib/dpkg";
}

struct field {
	const char *p;
	size_t len;
};

struct stanza {
	struct field package, status, version, source, arch;
};

static bool is_wanted_source(const char *name, size_t len)
{
	for (size_t i = 0; i < CK_ARRAY_SIZE(sources); i++) {
		size_t n = strlen(sources[i]);

		if (sources[i][n - 1] == '*' ? len >= n - 1 && !memcmp(name, sources[i], n - 1)
					     : len == n && !memcmp(name, sources[i], n))
			return true;
	}
	return false;
}

/* "glibc (2.36-9)": without the version, which stands there only if it differs. */
static size_t source_len(const struct field *f)
{
	const char *blank = memchr(f->p, ' ', f->len);

	return blank ? (size_t)(blank - f->p) : f->len;
}

static bool take(const char *line, size_t len, const char *key, struct field *ret)
{
	size_t n = strlen(key);

	if (len < n || memcmp(line, key, n) != 0)
		return false;
	line += n;
	len -= n;
	while (len && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	ret->p = line;
	ret->len = len;
	return true;
}

/* Takes one stanza off the front; false at the end. */
static bool next_stanza(const char **text, struct stanza *s)
{
	const char *p = *text;

	*s = (struct stanza){ 0 };
	while (*p == '\n')
		p++;
	if (!*p)
		return false;
	while (*p && *p != '\n') {
		const char *end = strchrnul(p, '\n');
		size_t len = (size_t)(end - p);

		(void)(take(p, len, "Package:", &s->package) ||
		       take(p, len, "Status:", &s->status) ||
		       take(p, len, "Version:", &s->version) ||
		       take(p, len, "Source:", &s->source) ||
		       take(p, len, "Architecture:", &s->arch));
		p = *end ? end + 1 : end;
	}
	*text = p;
	return true;
}

static bool starts(const struct field *f, const char *prefix)
{
	size_t n = strlen(prefix);

	return f->p && f->len >= n && !memcmp(f->p, prefix, n);
}

static bool ends(const struct field *f, const char *suffix)
{
	size_t n = strlen(suffix);

	return f->p && f->len >= n && !memcmp(f->p + f->len - n, suffix, n);
}

static bool is_installed(const struct stanza *s)
{
	return s->package.len && s->version.len && ends(&s->status, " installed");
}

/* ---- packages that somebody asked for, whatever they hold ---- */

struct asked {
	const char **name; /* sorted */
	size_t n;
};

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int compare_field(const void *field, const void *name)
{
	const struct field *f = field;
	const char *s = *(const char *const *)name;
	int r = strncmp(f->p, s, f->len);

	return r ? r : -(s[f->len] != '\0');
}

static bool is_asked_for(const struct asked *a, const struct field *name)
{
	return a->n && name->len &&
	       bsearch(name, a->name, a->n, sizeof(*a->name), compare_field) != NULL;
}

/* Those that own a path, and those that did where the image was made. */
static int ask_for(struct asked *a, const CkptFacts *facts, const CkptNeeds *needs)
{
	size_t room = facts->n_paths + (needs ? needs->n_paths : 0);

	a->name = calloc(room + 1, sizeof(*a->name));
	if (!a->name)
		return -ENOMEM;
	for (size_t i = 0; i < facts->n_paths; i++)
		if (facts->paths[i]->package)
			a->name[a->n++] = facts->paths[i]->package;
	for (size_t i = 0; needs && i < needs->n_paths; i++)
		if (needs->paths[i]->package)
			a->name[a->n++] = needs->paths[i]->package;
	qsort(a->name, a->n, sizeof(*a->name), compare_strings);
	return 0;
}

static int add(CkptFacts *facts, const struct stanza *s, const struct field *source)
{
	CkptPackage *p = CK_PB_NEW(CkptPackage, ckpt_package);

	if (!p)
		return -ENOMEM;
	p->name = strndup(s->package.p, s->package.len);
	p->version = strndup(s->version.p, s->version.len);
	p->source = strndup(source->p, source_len(source));
	p->arch = s->arch.len ? strndup(s->arch.p, s->arch.len) : NULL;
	if (!p->name || !p->version || !p->source || (s->arch.len && !p->arch) ||
	    ck_pb_append(&facts->packages, &facts->n_packages, p) < 0) {
		ckpt_package__free_unpacked(p, NULL);
		return -ENOMEM;
	}
	return 0;
}

/* A library to run with, by Debian's names. */
static bool is_library(const struct field *name)
{
	return (starts(name, "lib") || starts(name, "musl")) && !ends(name, "-dev") &&
	       !ends(name, "-dbg") && !ends(name, "-bin") && !ends(name, "-devtools");
}

static void forget(CkptFacts *facts)
{
	for (size_t i = 0; i < facts->n_packages; i++)
		ckpt_package__free_unpacked(facts->packages[i], NULL);
	facts->n_packages = 0;
}

static int read_status(CkptFacts *facts, const char *admin, const struct asked *asked)
{
	CK_AUTO(free) char *path = NULL;
	CK_AUTO(free) char *text = NULL;
	const char *rest;
	struct stanza s;

	if (asprintf(&path, "%s/status", admin) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	if (ck_read_file_at(AT_FDCWD, path, MAX_STATUS, &text, NULL) < 0)
		return 0;
	forget(facts);
	if (!facts->packages_from)
		facts->packages_from = strdup("dpkg");
	if (!facts->packages_from)
		return -ENOMEM;
	for (rest = text; next_stanza(&rest, &s);) {
		const struct field *source = s.source.len ? &s.source : &s.package;
		bool wanted =
			is_asked_for(asked, &s.package) ||
			(is_library(&s.package) && is_wanted_source(source->p, source_len(source)));

		if (is_installed(&s) && wanted && add(facts, &s, source) < 0)
			return -ENOMEM;
	}
	return 0;
}

int probe_packages_in(CkptFacts *facts, const char *admin)
{
	const struct asked nobody = { 0 };

	return read_status(facts, admin, &nobody);
}

int probe_packages(CkptFacts *facts)
{
	return probe_packages_in(facts, admin_dir());
}

/* ---- which package owns a path ---- */

/* dpkg knows a file by the name that its package gave it; since /lib became a link to /usr/lib,
 * that may lack the /usr. */
static const char *without_usr(const char *path)
{
	return !strncmp(path, "/usr/", 5) ? path + 4 : path;
}

static int compare_paths(const void *a, const void *b)
{
	const CkptPathFact *x = *(CkptPathFact *const *)a, *y = *(CkptPathFact *const *)b;

	return strcmp(without_usr(x->path), without_usr(y->path));
}

static int compare_name(const void *key, const void *item)
{
	return strcmp(without_usr(key), without_usr((*(CkptPathFact *const *)item)->path));
}

/* The package of a file "libc6:amd64.list". */
static char *package_of(const char *file)
{
	size_t n = strcspn(file, ":");

	return strndup(file, file[n] ? n : n - strlen(".list"));
}

static bool is_list(const char *name)
{
	size_t n = strlen(name);

	return n > 5 && !strcmp(name + n - 5, ".list");
}

/* All lines of one package's list. */
static int claim(CkptPathFact **sorted, size_t n, char *text, const char *file)
{
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n")) != NULL) {
		CkptPathFact **hit;

		if (line[0] != '/')
			continue;
		hit = bsearch(line, sorted, n, sizeof(CkptPathFact *), compare_name);
		while (hit && hit > sorted && compare_name(line, hit - 1) == 0)
			hit--;
		for (; hit && hit < sorted + n && compare_name(line, hit) == 0; hit++) {
			if ((*hit)->package || !(*hit)->exists || S_ISDIR((*hit)->mode))
				continue;
			(*hit)->package = package_of(file);
			if (!(*hit)->package)
				return -ENOMEM;
		}
	}
	return 0;
}

static int find_owners(CkptFacts *facts, const char *admin)
{
	CK_AUTO(free) CkptPathFact **sorted = NULL;
	CK_AUTO(free) char *info = NULL;
	CK_AUTO(dir) DIR *d = NULL;
	struct dirent *e;
	int r = 0;

	if (!facts->n_paths)
		return 0;
	sorted = malloc(facts->n_paths * sizeof(*sorted));
	if (!sorted || asprintf(&info, "%s/info", admin) < 0) {
		info = NULL;
		return -ENOMEM;
	}
	memcpy(sorted, facts->paths, facts->n_paths * sizeof(*sorted));
	qsort(sorted, facts->n_paths, sizeof(*sorted), compare_paths);
	d = opendir(info);
	while (d && r == 0 && (e = readdir(d)) != NULL) {
		CK_AUTO(free) char *text = NULL;

		if (is_list(e->d_name) &&
		    ck_read_file_at(dirfd(d), e->d_name, MAX_LIST, &text, NULL) == 0)
			r = claim(sorted, facts->n_paths, text, e->d_name);
	}
	return r;
}

int probe_path_packages_in(CkptFacts *facts, const CkptNeeds *needs, const char *admin)
{
	struct asked asked = { 0 };
	int r = find_owners(facts, admin);

	if (r == 0)
		r = ask_for(&asked, facts, needs);
	if (r == 0)
		r = read_status(facts, admin, &asked);
	free(asked.name);
	return r;
}

int probe_path_packages(CkptFacts *facts, const CkptNeeds *needs)
{
	return probe_path_packages_in(facts, needs, admin_dir());
}
