// SPDX-License-Identifier: Apache-2.0
/*
 * Which parts of the kernel are built in, loaded, could be loaded, or are kept from it. The one
 * file that knows libkmod. Nothing is loaded. Without a tree of modules for this kernel (a
 * container) /sys and /proc/filesystems tell what is there, and the rest is unknown: it can still
 * be on the host.
 */
#include <errno.h>
#include <fcntl.h>
#include <libkmod.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/pb.h"
#include "base/procfs.h"
#include "probe/probe-internal.h"

enum { MAX_TEXT = 1 << 20 };

static const struct module {
	const char *name, *fstype, *who;
} modules[] = {
#define MODULE(name, fstype, who) { name, fstype, who },
#include "probe/modules.def"
#undef MODULE
};

static inline void ck_auto_kmod(struct kmod_ctx **c)
{
	kmod_unref(*c);
}
static inline void ck_auto_kmod_list(struct kmod_list **l)
{
	kmod_module_unref_list(*l);
}

/* What can be seen of a kernel. */
struct view {
	struct kmod_ctx *ctx; /* NULL: there is no tree */
	bool running;         /* it is the kernel we run on */
	bool no_modules;      /* it was built without any */
	char *filesystems;    /* text; NULL if it can't be read */
	size_t filesystems_len;
};

static int add(CkptFacts *facts, const char *name, CkptModuleState state, const char *detail)
{
	CkptModule *m = CK_PB_NEW(CkptModule, ckpt_module);

	if (!m)
		return -ENOMEM;
	m->name = strdup(name);
	m->state = state;
	m->detail = detail && *detail ? strdup(detail) : NULL;
	if (!m->name || (detail && *detail && !m->detail) ||
	    ck_pb_append(&facts->modules, &facts->n_modules, m) < 0) {
		ckpt_module__free_unpacked(m, NULL);
		return -ENOMEM;
	}
	return 0;
}

/* Of the running kernel: does it have it now, and how? */
static CkptModuleState running_state(const struct view *v, const struct module *m)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "/sys/module/%s/initstate", m->name);
	if (stat(path, &st) == 0)
		return CKPT_MODULE_STATE__CKPT_MODULE_LOADED;
	snprintf(path, sizeof(path), "/sys/module/%s", m->name);
	if (stat(path, &st) == 0) /* built in, with parameters */
		return CKPT_MODULE_STATE__CKPT_MODULE_BUILTIN;
	if (m->fstype[0] && v->filesystems &&
	    proc_has_filesystem(v->filesystems, v->filesystems_len, m->fstype))
		return CKPT_MODULE_STATE__CKPT_MODULE_BUILTIN;
	/* All types that there ever will be are registered. */
	if (m->fstype[0] && v->filesystems && v->no_modules)
		return CKPT_MODULE_STATE__CKPT_MODULE_MISSING;
	return CKPT_MODULE_STATE__CKPT_MODULE_UNKNOWN;
}

/* "install NAME /bin/false" keeps a module out for good; a blacklist, out unless asked for by
 * name. */
static CkptModuleState kept_out(struct kmod_ctx *ctx, struct kmod_list *list,
				const char **ret_detail)
{
	struct kmod_module *mod = kmod_module_get_module(list);
	CK_AUTO(kmod_list) struct kmod_list *left = NULL;
	const char *install = kmod_module_get_install_commands(mod);
	CkptModuleState state = CKPT_MODULE_STATE__CKPT_MODULE_LOADABLE;

	if (install && (strstr(install, "/false") || strstr(install, "/true"))) {
		*ret_detail = "an install command of modprobe.d stands in its place";
		state = CKPT_MODULE_STATE__CKPT_MODULE_BLACKLISTED;
	} else if (kmod_module_apply_filter(ctx, KMOD_FILTER_BLACKLIST, list, &left) == 0 &&
		   !left) {
		*ret_detail = "blacklisted in modprobe.d";
		state = CKPT_MODULE_STATE__CKPT_MODULE_BLACKLISTED;
	}
	kmod_module_unref(mod);
	return state;
}

static CkptModuleState tree_state(const struct view *v, const struct module *m,
				  const char **ret_detail)
{
	CK_AUTO(kmod_list) struct kmod_list *list = NULL;
	struct kmod_module *mod;
	bool builtin, there;

	if (kmod_module_new_from_lookup(v->ctx, m->name, &list) < 0) {
		*ret_detail = "the tree of modules can't be read";
		return CKPT_MODULE_STATE__CKPT_MODULE_UNKNOWN;
	}
	if (!list)
		return CKPT_MODULE_STATE__CKPT_MODULE_MISSING;
	mod = kmod_module_get_module(list);
	/* For what is not built in this looks at the running kernel, which may be another. */
	builtin = kmod_module_get_initstate(mod) == KMOD_MODULE_BUILTIN;
	there = kmod_module_get_path(mod) != NULL;
	kmod_module_unref(mod);
	if (there)
		return kept_out(v->ctx, list, ret_detail);
	return builtin ? CKPT_MODULE_STATE__CKPT_MODULE_BUILTIN
		       : CKPT_MODULE_STATE__CKPT_MODULE_MISSING;
}

static int look_at(CkptFacts *facts, const struct view *v, const struct module *m)
{
	CkptModuleState state = CKPT_MODULE_STATE__CKPT_MODULE_UNKNOWN;
	const char *detail = NULL;

	if (v->running)
		state = running_state(v, m);
	if (state == CKPT_MODULE_STATE__CKPT_MODULE_UNKNOWN && v->ctx)
		state = tree_state(v, m, &detail);
	else if (state == CKPT_MODULE_STATE__CKPT_MODULE_UNKNOWN)
		detail = v->no_modules ? "this kernel has no modules; whether it is built in "
					 "can't be seen"
				       : "there is no tree of modules for this kernel here";
	return add(facts, m->name, state, detail);
}

static void silent(void *data, int priority, const char *file, int line, const char *fn,
		   const char *format, va_list args)
{
	(void)data;
	(void)priority;
	(void)file;
	(void)line;
	(void)fn;
	(void)format;
	(void)args;
}

static int open_tree_of(struct view *v, const char *tree, const char *const *config)
{
	char deps[4200];
	struct stat st;

	snprintf(deps, sizeof(deps), "%s/modules.dep.bin", tree);
	if (stat(deps, &st) < 0)
		return -errno;
	v->ctx = kmod_new(tree, config);
	if (!v->ctx)
		return -ENOMEM;
	kmod_set_log_fn(v->ctx, silent, NULL);
	/* Maps the indices once, instead of once for each question. */
	(void)kmod_load_resources(v->ctx);
	return 0;
}

static int look_at_all(CkptFacts *facts, const struct view *v)
{
	int r = 0;

	for (size_t i = 0; i < CK_ARRAY_SIZE(modules) && r == 0; i++)
		r = look_at(facts, v, &modules[i]);
	return r;
}

static int set_tree(CkptFacts *facts, const char *tree)
{
	char *copy = strdup(tree);

	if (!copy)
		return -ENOMEM;
	free(facts->kernel->modules_tree);
	facts->kernel->modules_tree = copy;
	return 0;
}

int probe_modules(CkptFacts *facts)
{
	struct view v = { .running = true };
	CK_AUTO(kmod) struct kmod_ctx *ctx = NULL;
	CK_AUTO(free) char *tree = NULL;
	CK_AUTO(free) char *filesystems = NULL;
	int r;

	if (asprintf(&tree, "/lib/modules/%s", facts->kernel->release) < 0) {
		tree = NULL;
		return -ENOMEM;
	}
	if (ck_read_file_at(AT_FDCWD, "/proc/filesystems", MAX_TEXT, &filesystems,
			    &v.filesystems_len) == 0)
		v.filesystems = filesystems;
	v.no_modules = access("/proc/modules", F_OK) < 0 && errno == ENOENT && v.filesystems;
	r = open_tree_of(&v, tree, NULL);
	ctx = v.ctx;
	if (r == -ENOMEM || (r == 0 && set_tree(facts, tree) < 0))
		return -ENOMEM;
	return look_at_all(facts, &v);
}

/* The root of the tree's host: what stands before lib/modules. */
static size_t root_length(const char *tree)
{
	static const char *const places[] = { "/usr/lib/modules/", "/lib/modules/" };

	for (size_t i = 0; i < CK_ARRAY_SIZE(places); i++) {
		const char *at = strstr(tree, places[i]);

		if (at)
			return (size_t)(at - tree);
	}
	return 0;
}

int probe_modules_of(CkptFacts *facts, const char *dir, struct ck_err *err)
{
	static const char *const parts[] = { "/etc/modprobe.d", "/run/modprobe.d",
					     "/usr/lib/modprobe.d", "/lib/modprobe.d" };
	CK_AUTO(free) char *tree = realpath(dir, NULL);
	CK_AUTO(kmod) struct kmod_ctx *ctx = NULL;
	char config[CK_ARRAY_SIZE(parts)][4200];
	const char *list[CK_ARRAY_SIZE(parts) + 1] = { NULL };
	struct view v = { 0 };
	int r;

	if (!tree)
		return ck_fail_errno(err, "cannot look at the modules in %s", dir);
	for (size_t i = 0; i < CK_ARRAY_SIZE(parts); i++) {
		snprintf(config[i], sizeof(config[i]), "%.*s%s", (int)root_length(tree), tree,
			 parts[i]);
		list[i] = config[i];
	}
	r = open_tree_of(&v, tree, list);
	ctx = v.ctx;
	if (r == -ENOENT) {
		r = ck_fail(err, CK_ERR_CONFIG, r, "%s is no tree of modules", dir);
		return ck_err_hint(err, r,
				   "it has modules.dep.bin: /lib/modules/RELEASE, as "
				   "depmod leaves it");
	}
	for (size_t i = 0; i < facts->n_modules; i++)
		ckpt_module__free_unpacked(facts->modules[i], NULL);
	facts->n_modules = 0;
	if (r == 0)
		r = set_tree(facts, tree);
	if (r == 0)
		r = look_at_all(facts, &v);
	return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot look at the modules in %s", dir) : 0;
}
