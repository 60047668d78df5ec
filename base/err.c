// SPDX-License-Identifier: Apache-2.0
/* The error object: see err.h. Nothing here allocates or can fail. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void set_origin(struct ck_err *err, const char *file, int line)
{
	size_t n = strlen(file);
	size_t skip = n >= sizeof(err->file) ? n - sizeof(err->file) + 1 : 0;

	snprintf(err->file, sizeof(err->file), "%s", file + skip);
	err->line = line;
}

static void fill(struct ck_err *err, enum ck_err_kind kind, int code, const char *file, int line)
{
	memset(err, 0, sizeof(*err));
	err->kind = kind;
	err->code = code;
	set_origin(err, file, line);
}

int ck_fail_at(struct ck_err *err, enum ck_err_kind kind, int code, const char *file, int line,
	       const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (err) {
		fill(err, kind, code, file, line);
		va_start(ap, fmt);
		vsnprintf(err->what, sizeof(err->what), fmt, ap);
		va_end(ap);
	}
	errno = saved;
	return code < 0 ? code : -EINVAL;
}

int ck_fail_errno_at(struct ck_err *err, const char *file, int line, const char *fmt, ...)
{
	int saved = errno;
	int code = saved > 0 ? -saved : -EIO;
	va_list ap;

	if (err) {
		fill(err, CK_ERR_SYS, code, file, line);
		va_start(ap, fmt);
		vsnprintf(err->what, sizeof(err->what), fmt, ap);
		va_end(ap);
	}
	errno = saved;
	return code;
}

int ck_err_at(struct ck_err *err, int r, const char *fmt, ...)
{
	char place[200], old[sizeof(err->where)];
	int saved = errno;
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		vsnprintf(place, sizeof(place), fmt, ap);
		va_end(ap);
		memcpy(old, err->where, sizeof(old));
		snprintf(err->where, sizeof(err->where), "%s%s%.*s", place, old[0] ? " > " : "",
			 (int)(sizeof(err->where) - sizeof(place) - 4), old);
	}
	errno = saved;
	return r;
}

int ck_err_hint(struct ck_err *err, int r, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (err && !err->hint[0]) {
		va_start(ap, fmt);
		vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
		va_end(ap);
	}
	errno = saved;
	return r;
}

void ck_err_format(const struct ck_err *err, char *buf, unsigned int size)
{
	char name[80] = "";

	if (err->code < 0)
		snprintf(name, sizeof(name), ": %s", strerror(-err->code));
	/* A refusal states a rule of ours; an errno behind it would only mislead. */
	snprintf(buf, size, "%s%s%s%s%s%s%s", err->what, err->kind == CK_ERR_SYS ? name : "",
		 err->where[0] ? " (" : "", err->where, err->where[0] ? ")" : "",
		 err->hint[0] ? "; " : "", err->hint);
}
