// SPDX-License-Identifier: Apache-2.0
/*
 * deny [-u UID:GID] CALL[,CALL...] [ERROR] -- PROGRAM [ARG...]: runs a program, and all that
 * comes of it, in a world where these system calls fail: with ENOSYS, as on an older kernel, or
 * with EPERM, as in a container, or ENOTTY, as an older kernel's ioctl(). With -u it runs as that
 * user.
 *
 * A CALL is a name, or NAME:I=VALUE, where its argument I (0 to 5) equals VALUE, or NAME:I&MASK,
 * where it has one of its bits: ioctl:1=0xc0606610, clone:0&0x10000000.
 *
 * With privilege the filter needs no no_new_privs, which the program would see; without, it gets
 * that too.
 */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static void usage(void)
{
	fputs("usage: deny [-u UID:GID] CALL[,CALL...] [ENOSYS|EPERM|ENOTTY] -- PROGRAM [ARG...]\n",
	      stderr);
	exit(2);
}

static void die(const char *what, int error)
{
	fprintf(stderr, "deny: %s: %s\n", what, strerror(error));
	exit(2);
}

static void add(scmp_filter_ctx ctx, int error, int nr, const struct scmp_arg_cmp *cmp)
{
	int r = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO((unsigned int)error), nr, cmp ? 1 : 0,
				       cmp);

	if (r < 0)
		die("seccomp_rule_add_array", -r);
}

/* ":I=VALUE" or ":I&MASK" */
static void add_by_argument(scmp_filter_ctx ctx, int error, int nr, const char *spec)
{
	unsigned int i = (unsigned int)(spec[0] - '0');
	uint64_t value;
	char *end;

	if (i > 5 || (spec[1] != '=' && spec[1] != '&'))
		usage();
	value = strtoull(spec + 2, &end, 0);
	if (*end || end == spec + 2)
		usage();
	if (spec[1] == '=') {
		struct scmp_arg_cmp cmp = { i, SCMP_CMP_EQ, value, 0 };

		add(ctx, error, nr, &cmp);
		return;
	}
	for (unsigned int b = 0; b < 64; b++) {
		struct scmp_arg_cmp cmp = { i, SCMP_CMP_MASKED_EQ, 1ull << b, 1ull << b };

		if (value & 1ull << b)
			add(ctx, error, nr, &cmp);
	}
}

static void add_call(scmp_filter_ctx ctx, int error, char *call)
{
	char *spec = strchr(call, ':');
	int nr;

	if (spec)
		*spec++ = '\0';
	nr = seccomp_syscall_resolve_name(call);
	if (nr == __NR_SCMP_ERROR) {
		fprintf(stderr, "deny: no system call %s\n", call);
		exit(2);
	}
	if (spec)
		add_by_argument(ctx, error, nr, spec);
	else
		add(ctx, error, nr, NULL);
}

static void become(const char *ids)
{
	unsigned int uid, gid;
	char more;

	if (sscanf(ids, "%u:%u%c", &uid, &gid, &more) != 2) /* NOLINT(cert-err34-c) */
		usage();
	if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		die("cannot become that user", errno);
}

/* 0 if it is none that we know. */
static int error_of(const char *name)
{
	return !strcmp(name, "ENOSYS")   ? ENOSYS
	       : !strcmp(name, "EPERM")  ? EPERM
	       : !strcmp(name, "ENOTTY") ? ENOTTY
					 : 0;
}

int main(int argc, char **argv)
{
	const char *ids = NULL;
	char *calls, *save = NULL;
	int error = ENOSYS, r;
	scmp_filter_ctx ctx;

	if (argc > 2 && !strcmp(argv[1], "-u")) {
		ids = argv[2];
		argv += 2;
		argc -= 2;
	}
	if (argc > 2 && error_of(argv[2])) {
		error = error_of(argv[2]);
		argv[2] = argv[1];
		argv++;
		argc--;
	}
	if (argc < 4 || strcmp(argv[2], "--") != 0)
		usage();
	calls = argv[1];
	ctx = seccomp_init(SCMP_ACT_ALLOW);
	if (!ctx)
		die("seccomp_init", ENOMEM);
	/* Privilege is tried first: without it the kernel wants no_new_privs. */
	seccomp_attr_set(ctx, SCMP_FLTATR_API_SYSRAWRC, 1);
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
	for (char *c = strtok_r(calls, ",", &save); c; c = strtok_r(NULL, ",", &save))
		add_call(ctx, error, c);
	r = seccomp_load(ctx);
	if (r == -EACCES) {
		seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 1);
		r = seccomp_load(ctx);
	}
	if (r < 0)
		die("seccomp_load", -r);
	seccomp_release(ctx);
	if (ids)
		become(ids);
	execvp(argv[3], argv + 3);
	die(argv[3], errno);
	return 2;
}
