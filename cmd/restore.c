// SPDX-License-Identifier: Apache-2.0
/* ckpt restore: ends as the job ends. A fatal signal of the job becomes ours, without a core file.
 */
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

static unsigned int flags(const struct cmd_args *a, struct policy *policy)
{
	unsigned int f = 0;

	if (cmd_has(a, "detach"))
		f |= ENGINE_DETACH;
	if (cmd_has(a, "no-inplace"))
		f |= ENGINE_NO_INPLACE;
	/* Either word gives the job the caller's terminal. */
	if (cmd_has(a, "shell-job") || policy_allows(policy, "shell-job")) {
		f |= ENGINE_RESTORE_SHELL_JOB;
		(void)policy_allow(policy, "shell-job", NULL);
	}
	return f;
}

int cmd_restore(const struct cmd_args *a)
{
	CK_AUTO(image) struct image *img = NULL;
	CK_AUTO(policy) struct policy *policy = NULL;
	struct ck_err err = CK_ERR_INIT;
	struct engine_restore_opts o = { .on_note = tell_note };
	int status = cmd_verdict_policy(a, &policy), wait_status = 0;

	if (status != CMD_EXIT_OK)
		return status;
	o.flags = flags(a, policy);
	if (image_open(cmd_value(a, "image"), &img, &err) < 0)
		return cmd_fail("restore", &err);
	status = cmd_verdict_refuses("restore", img, policy);
	if (status != CMD_EXIT_OK)
		return status;
	o.image = img;
	if (engine_restore(&o, &wait_status, &err) < 0)
		return cmd_fail("restore", &err);
	return o.flags & ENGINE_DETACH ? CMD_EXIT_OK : end_as(wait_status);
}
