// SPDX-License-Identifier: Apache-2.0
/*
 * Memory devices that keep no state: null, zero, full, random, urandom. In an image they are paths
 * as any other; on restore the node must be the same device, whatever its path.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

/* Linux drivers/char/mem.c */
enum {
	MEM_MAJOR = 1,
};
static const struct {
	const char *name;
	unsigned int minor;
} mem_devices[] = {
	{ "null", 3 }, { "zero", 5 }, { "full", 7 }, { "random", 8 }, { "urandom", 9 },
};

static bool is_stateless(const struct stat *st)
{
	if (!S_ISCHR(st->st_mode) || major(st->st_rdev) != MEM_MAJOR)
		return false;
	for (size_t i = 0; i < CK_ARRAY_SIZE(mem_devices); i++)
		if (minor(st->st_rdev) == mem_devices[i].minor)
			return true;
	return false;
}

static bool device_match(const struct engine_fd *fd)
{
	return fd->link[0] == '/' && is_stateless(&fd->st);
}

static int device_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	int r = res_name_look(d, f, f->link, err);

	return r < 0 ? r : res_fown_look(d, f, err);
}

static int device_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return res_put_reg(d, f, f->id, err);
}

static int device_needs(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	return res_need_path(d, f, CKPT_PATH_ROLE__CKPT_PATH_FD, err);
}

static bool device_owns(const FileEntry *fe)
{
	return fe->reg && fe->reg->has_mode && S_ISCHR(fe->reg->mode);
}

static int device_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	(void)r;
	return res_load_reg(f->fe->reg, err);
}

/* The image has no device number; the usual names tell it. */
static bool is_its_device(const char *path, const struct stat *st)
{
	const char *base = strrchr(path, '/') + 1;

	if (!is_stateless(st))
		return false;
	for (size_t i = 0; i < CK_ARRAY_SIZE(mem_devices); i++)
		if (strcmp(base, mem_devices[i].name) == 0)
			return minor(st->st_rdev) == mem_devices[i].minor;
	return true;
}

static int device_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
		       struct ck_err *err)
{
	const RegFileEntry *reg = f->fe->reg;
	CK_AUTO(fd) int fd = -EBADF;
	struct stat st;
	int ret;

	/* Looked at first: opening another device may do something. */
	if (stat(reg->name, &st) < 0)
		return ck_fail_errno(err, "cannot find %s", reg->name);
	if (!is_its_device(reg->name, &st)) {
		ret = ck_fail(err, CK_ERR_HOST, -ENODEV, "%s is another device here", reg->name);
		return ck_err_hint(err, ret, "only null, zero, full, random and urandom are kept");
	}
	ret = res_open_reg(r, f, reg, &fd, err);
	if (ret == 0)
		ret = res_set_status(fd, reg->flags, err);
	if (ret < 0)
		return ret;
	*ret_fd = ck_take_fd(&fd);
	return 0;
}

const struct res_type res_type_device = {
	.name = "a memory device",
	.fd_type = FD_TYPES__REG,
	.match = device_match,
	.look = device_look,
	.dump = device_dump,
	.needs = device_needs,
	.owns = device_owns,
	.load = device_load,
	.open = device_open,
	.fown = res_reg_fown,
};
