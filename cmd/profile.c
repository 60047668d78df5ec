// SPDX-License-Identifier: Apache-2.0
/*
 * Host profiles, and the ways to name many of them. A profile comes from another host: its text is
 * checked by image/json-parse.c, its size has a limit.
 */
#include "cmd/profile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "cpuinfo/cpuinfo.h"
#include "image/image.h"

enum { MAX_PROFILE = 16 << 20 }; /* bytes */

static inline void ck_auto_json(struct json_object **o)
{
	json_object_put(*o);
}

static inline void ck_auto_tokener(struct json_tokener **t)
{
	if (*t)
		json_tokener_free(*t);
}

int cmd_profile_read(const char *path, CkptFacts **ret, struct ck_err *err)
{
	CK_AUTO(tokener) struct json_tokener *t = json_tokener_new();
	CK_AUTO(json) struct json_object *o = NULL;
	CK_AUTO(free) char *text = NULL;
	ProtobufCMessage *m;
	size_t len;
	int r = ck_read_file_at(AT_FDCWD, path, MAX_PROFILE, &text, &len);

	if (r < 0)
		return ck_fail(err, CK_ERR_CONFIG, r, "cannot read host profile %s: %s", path,
			       strerror(-r));
	if (!t)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read host profile %s", path);
	o = json_tokener_parse_ex(t, text, (int)len);
	if (json_tokener_get_error(t) == json_tokener_continue)
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "host profile %s ends too early", path);
	if (json_tokener_get_error(t) != json_tokener_success)
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "host profile %s is not JSON: %s", path,
			       json_tokener_error_desc(json_tokener_get_error(t)));
	r = image_from_json(o, &ckpt_facts__descriptor, &m, err);
	if (r < 0)
		return ck_err_at(err, r, "host profile %s", path);
	*ret = (CkptFacts *)m;
	/* A profile made by hand may have CPUID leaves only. */
	return cpuinfo_derive((*ret)->cpu) < 0
		       ? ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot use host profile %s", path)
		       : 0;
}

/* ---- many of them ---- */

void cmd_profiles_done(struct cmd_profiles *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->paths[i]);
	free(p->paths);
	memset(p, 0, sizeof(*p));
}

/* Takes path, which may be NULL: memory ran out then. */
static int add_path(struct cmd_profiles *p, char *path, struct ck_err *err)
{
	size_t size = p->size ? p->size * 2 : 64;
	char **grown = p->paths;

	if (path && p->n == p->size) {
		grown = reallocarray(p->paths, size, sizeof(*grown));
		if (grown) {
			p->paths = grown;
			p->size = size;
		}
	}
	if (!path || !grown) {
		free(path);
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot list host profiles");
	}
	p->paths[p->n++] = path;
	return 0;
}

/* A path per line, none longer than a path can be. */
static int add_list(struct cmd_profiles *p, FILE *f, const char *name, struct ck_err *err)
{
	CK_AUTO(free) char *line = NULL;
	size_t size = 0, number = 0;
	ssize_t len;
	int r = 0;

	while (r == 0 && (len = getline(&line, &size, f)) >= 0) {
		number++;
		if (len && line[len - 1] == '\n')
			line[--len] = '\0';
		if (len >= PATH_MAX || strlen(line) != (size_t)len)
			return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "line %zu of %s is no path",
				       number, name);
		if (len)
			r = add_path(p, strdup(line), err);
	}
	if (r == 0 && ferror(f))
		return ck_fail(err, CK_ERR_CONFIG, -EIO, "cannot read the list %s", name);
	return r;
}

static int is_profile(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');

	return d->d_name[0] != '.' && dot && !strcmp(dot, ".json");
}

static int add_dir(struct cmd_profiles *p, const char *dir, struct ck_err *err)
{
	struct dirent **list;
	int n = scandir(dir, &list, is_profile, versionsort), r = 0;

	if (n < 0)
		return ck_fail(err, CK_ERR_CONFIG, -errno, "cannot list host profiles in %s", dir);
	for (int i = 0; i < n; i++) {
		char *path = NULL;

		if (r == 0 && asprintf(&path, "%s/%s", dir, list[i]->d_name) < 0)
			path = NULL;
		r = r ? r : add_path(p, path, err);
		free(list[i]);
	}
	free(list);
	return r;
}

int cmd_profiles_add(struct cmd_profiles *p, const char *operand, struct ck_err *err)
{
	CK_AUTO(file) FILE *f = NULL;
	struct stat st;

	if (!strcmp(operand, "-"))
		return add_list(p, stdin, "standard input", err);
	if (operand[0] == '@') {
		f = fopen(operand + 1, "re");
		if (!f)
			return ck_fail(err, CK_ERR_CONFIG, -errno, "cannot read the list %s",
				       operand + 1);
		return add_list(p, f, operand + 1, err);
	}
	if (stat(operand, &st) == 0 && S_ISDIR(st.st_mode))
		return add_dir(p, operand, err);
	return add_path(p, strdup(operand), err);
}
