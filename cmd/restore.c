// SPDX-License-Identifier: Apache-2.0
/* ckpt restore: ends as the job ends. A fatal signal of the job becomes ours, without a core file.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "engine/engine.h"
#include "image/image.h"

struct restore_args {
	const char *image;
	unsigned int flags;
};

enum { OPT_IMAGE = 1, OPT_DETACH, OPT_SHELL_JOB, OPT_NO_INPLACE };

static int parse(int argc, char **argv, struct restore_args *a)
{
	static const struct option options[] = {
		{ "image", required_argument, NULL, OPT_IMAGE },
		{ "detach", no_argument, NULL, OPT_DETACH },
		{ "shell-job", no_argument, NULL, OPT_SHELL_JOB },
		{ "no-inplace", no_argument, NULL, OPT_NO_INPLACE },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == OPT_IMAGE)
			a->image = optarg;
		else if (c == OPT_DETACH)
			a->flags |= ENGINE_DETACH;
		else if (c == OPT_SHELL_JOB)
			a->flags |= ENGINE_RESTORE_SHELL_JOB;
		else if (c == OPT_NO_INPLACE)
			a->flags |= ENGINE_NO_INPLACE;
		else
			return cmd_usage("restore", "unknown or incomplete option %s",
					 argv[optind - 1]);
	}
	if (optind < argc)
		return cmd_usage("restore", "what is %s?", argv[optind]);
	if (!a->image)
		return cmd_usage("restore", "--image DIR is missing");
	return CMD_EXIT_OK;
}

static void tell_note(void *arg, const char *text)
{
	(void)arg;
	fprintf(stderr, "ckpt restore: note: %s\n", text);
}

/* Ends this process as a wait status says. */
static int end_as(int status)
{
	int signo;
	sigset_t one;

	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	signo = WTERMSIG(status);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(signo, SIG_DFL);
	sigemptyset(&one);
	sigaddset(&one, signo);
	sigprocmask(SIG_UNBLOCK, &one, NULL);
	fflush(NULL);
	raise(signo);
	return 128 + signo;
}

/* The place where facts of this host are judged before anything happens: 0, or negative with
 * CK_ERR_VERDICT. */
static int check_before_restore(const struct image *img, const struct restore_args *a,
				struct ck_err *err)
{
	(void)img;
	(void)a;
	(void)err;
	return 0;
}

int cmd_restore(int argc, char **argv)
{
	CK_AUTO(image) struct image *img = NULL;
	struct restore_args a = { .image = NULL };
	struct ck_err err = CK_ERR_INIT;
	struct engine_restore_opts o = { .on_note = tell_note };
	int r = parse(argc, argv, &a), status = 0;

	if (r != CMD_EXIT_OK)
		return r;
	r = image_open(a.image, &img, &err);
	if (r == 0)
		r = check_before_restore(img, &a, &err);
	if (r == 0) {
		o.image = img;
		o.flags = a.flags;
		r = engine_restore(&o, &status, &err);
	}
	if (r < 0)
		return cmd_fail("restore", &err);
	return a.flags & ENGINE_DETACH ? CMD_EXIT_OK : end_as(status);
}
