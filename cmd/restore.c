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
#include "cmd/verdict.h"
#include "engine/engine.h"
#include "image/image.h"
#include "policies/policies.h"

struct restore_args {
	const char *image;
	unsigned int flags;
};

enum {
	OPT_IMAGE = 1,
	OPT_DETACH,
	OPT_SHELL_JOB,
	OPT_NO_INPLACE,
	OPT_ALLOW,
	OPT_ALLOW_UNDECIDED,
};

/* What the command line allows goes into the policy. */
static int parse(int argc, char **argv, struct restore_args *a, struct policy *policy)
{
	static const struct option options[] = {
		{ "image", required_argument, NULL, OPT_IMAGE },
		{ "detach", no_argument, NULL, OPT_DETACH },
		{ "shell-job", no_argument, NULL, OPT_SHELL_JOB },
		{ "no-inplace", no_argument, NULL, OPT_NO_INPLACE },
		{ "allow", required_argument, NULL, OPT_ALLOW },
		{ "allow-undecided", no_argument, NULL, OPT_ALLOW_UNDECIDED },
		{ NULL, 0, NULL, 0 },
	};
	struct ck_err err = CK_ERR_INIT;
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
		else if (c == OPT_ALLOW && policy_allow(policy, optarg, &err) < 0)
			return cmd_usage("restore", "%s", err.what);
		else if (c == OPT_ALLOW_UNDECIDED)
			policy_allow_undecided(policy);
		else if (c != OPT_ALLOW)
			return cmd_usage("restore", "unknown or incomplete option %s",
					 argv[optind - 1]);
	}
	if (optind < argc)
		return cmd_usage("restore", "what is %s?", argv[optind]);
	if (!a->image)
		return cmd_usage("restore", "--image DIR is missing");
	/* Either word gives the job the caller's terminal. */
	if (policy_allows(policy, "shell-job"))
		a->flags |= ENGINE_RESTORE_SHELL_JOB;
	if (a->flags & ENGINE_RESTORE_SHELL_JOB)
		(void)policy_allow(policy, "shell-job", NULL);
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

int cmd_restore(int argc, char **argv)
{
	CK_AUTO(image) struct image *img = NULL;
	CK_AUTO(policy) struct policy *policy = NULL;
	struct restore_args a = { .image = NULL };
	struct ck_err err = CK_ERR_INIT;
	struct engine_restore_opts o = { .on_note = tell_note };
	int r = policy_default(&policy, &err), status = 0;

	if (r < 0)
		return cmd_fail("restore", &err);
	r = parse(argc, argv, &a, policy);
	if (r != CMD_EXIT_OK)
		return r;
	r = image_open(a.image, &img, &err);
	if (r == 0) {
		status = cmd_verdict_refuses("restore", img, policy);
		if (status)
			return status;
		o.image = img;
		o.flags = a.flags;
		r = engine_restore(&o, &status, &err);
	}
	if (r < 0)
		return cmd_fail("restore", &err);
	return a.flags & ENGINE_DETACH ? CMD_EXIT_OK : end_as(status);
}
