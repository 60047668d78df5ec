/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The error object that travels. A fallible function returns 0 or a negative errno and fills the
 * caller's struct ck_err, its last parameter. The object is flat and fixed-size: it can't fail for
 * lack of memory, and a child process sends it to its parent by plain copy. Only cmd/ prints it.
 *
 *	return ck_fail(err, CK_ERR_REFUSED, -EPERM, "cannot dump a connected TCP socket");
 *	return ck_err_at(err, r, "fd %d", fd);           the caller adds the place
 *	return ck_err_hint(err, r, "use --tcp=close");   who knows a way out says so
 *
 * A positive return is a documented answer of that one function; its caller must handle it there.
 */
#ifndef CK_BASE_ERR_H
#define CK_BASE_ERR_H

/* The kind decides the exit status (cmd/exit.h). */
enum ck_err_kind {
	CK_ERR_NONE,
	CK_ERR_SYS,     /* a system call failed on our side */
	CK_ERR_REFUSED, /* the job holds something that can't be kept */
	CK_ERR_GONE,    /* the task went away meanwhile */
	CK_ERR_IMAGE,   /* the image is corrupt or incomplete */
	CK_ERR_NOIMAGE, /* there is no such image */
	CK_ERR_PERM,    /* the kernel or a policy forbids it to this user */
	CK_ERR_HOST,    /* this host can't do it */
	CK_ERR_BUSY,    /* a resource is taken just now: try later */
	CK_ERR_CONFIG,  /* a policy, profile or configuration file is wrong */
	CK_ERR_USAGE,   /* the command line is wrong */
	CK_ERR_VERDICT, /* the check refused; status is in code */
	CK_ERR_BUG,     /* an invariant of ours does not hold */
};

struct ck_err {
	enum ck_err_kind kind;
	int code; /* negative errno, or 0 */
	int line;
	char file[40];   /* origin, shown with -v */
	char what[320];  /* verb phrase, lower case, no full stop, no errno text */
	char where[400]; /* task > fd > object, outermost first */
	char hint[320];  /* an option, a command, a kernel release */
};

#define CK_ERR_INIT                 \
	{                           \
		.kind = CK_ERR_NONE \
	}

/* What ck_fail() promises: compilers and analyzers can't see it from its caller. */
static inline int ck_negative(int r)
{
	if (r >= 0)
		__builtin_unreachable();
	return r;
}

/* Sets *err (which may be NULL) and returns code, which must be negative. */
#define ck_fail(err, kind, code, ...) \
	ck_negative(ck_fail_at(err, kind, code, __FILE__, __LINE__, __VA_ARGS__))
/* The same with code = -errno and kind = CK_ERR_SYS. */
#define ck_fail_errno(err, ...) ck_negative(ck_fail_errno_at(err, __FILE__, __LINE__, __VA_ARGS__))

int ck_fail_at(struct ck_err *err, enum ck_err_kind kind, int code, const char *file, int line,
	       const char *fmt, ...) __attribute__((format(printf, 6, 7)));
int ck_fail_errno_at(struct ck_err *err, const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Puts a place in front of err->where; returns r unchanged. */
int ck_err_at(struct ck_err *err, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Sets the hint if there is none yet (the innermost knows best); returns r unchanged. */
int ck_err_hint(struct ck_err *err, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* One line "what: errno text (at where; hint)" into buf, always terminated. */
void ck_err_format(const struct ck_err *err, char *buf, unsigned int size);

#endif
