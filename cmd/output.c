// SPDX-License-Identifier: Apache-2.0
/* Files that commands write. */
#include "cmd/output.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"

static int write_to(FILE *f, const char *path, cmd_write_fn write, const void *arg,
		    struct ck_err *err)
{
	int r = write(f, arg, err);

	if (fclose(f) != 0 && r == 0)
		r = ck_fail_errno(err, "cannot write %s", path);
	return r;
}

int cmd_write_file(const char *path, cmd_write_fn write, const void *arg, struct ck_err *err)
{
	CK_AUTO(free) char *temp = NULL;
	struct stat st;
	FILE *f;
	int r;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
		f = fopen(path, "we");
		return f ? write_to(f, path, write, arg, err)
			 : ck_fail_errno(err, "cannot write %s", path);
	}
	if (asprintf(&temp, "%s.%d.partial", path, (int)getpid()) < 0) {
		temp = NULL;
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot write %s", path);
	}
	f = fopen(temp, "wxe");
	if (!f)
		return ck_fail_errno(err, "cannot write %s", path);
	r = write_to(f, path, write, arg, err);
	if (r == 0 && rename(temp, path) < 0)
		r = ck_fail_errno(err, "cannot write %s", path);
	if (r < 0)
		unlink(temp);
	return r;
}
