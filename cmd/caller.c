// SPDX-License-Identifier: Apache-2.0
/*
 * The answer to a scheduler that asks whether a job's image can be restored on the host that it has
 * chosen. Each has its own way to say "elsewhere", "later" and "not without its owner"; an exit
 * status that one takes for the job's fault takes a node out of service at the next.
 */
#include "cmd/caller.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"

enum advice {
	GO,
	ELSEWHERE, /* another host may do */
	LATER,     /* this host may do in a minute */
	HOLD,      /* no host will, until somebody has done something */
};

static enum advice advice_of(enum cmd_exit status)
{
	switch (status) {
	case CMD_EXIT_OK:
	case CMD_EXIT_NOIMAGE: /* the job starts afresh */
		return GO;
	case CMD_EXIT_INCOMPATIBLE:
	case CMD_EXIT_UNDECIDED:
	case CMD_EXIT_HOST:
	case CMD_EXIT_OS:
	case CMD_EXIT_NOPERM:
		return ELSEWHERE;
	case CMD_EXIT_TRYLATER:
		return LATER;
	case CMD_EXIT_ACTIONS:
	case CMD_EXIT_USAGE:
	case CMD_EXIT_DATA:
	case CMD_EXIT_SOFTWARE:
	case CMD_EXIT_CONFIG:
		break;
	}
	return HOLD;
}

/* Between quotes of any language: names come from images. */
static void put_plain(const char *s)
{
	for (; *s; s++)
		putchar(strchr("'\"\\`$", *s) || !isprint((unsigned char)*s) ? '_' : *s);
}

/* A word of the environment that a shell may see; NULL if it is not there or not of that kind. */
static const char *word_of(const char *name)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789._-";
	const char *s = getenv(name);

	return s && s[0] && s[0] != '-' && strspn(s, safe) == strlen(s) ? s : NULL;
}

/*
 * A Prolog that ends with anything but 0 drains its node, which is right for a sick node and wrong
 * for an image (slurm.schedmd.com/prolog_epilog.html, "Failure Handling"). So this never does; it
 * prints what the Prolog has to run instead. In this order: a job that was requeued may be changed.
 */
static int slurm_prolog(enum cmd_exit status, const char *why)
{
	const char *job = word_of("SLURM_JOB_ID"), *node = word_of("SLURMD_NODENAME");
	enum advice advice = advice_of(status);

	if (advice == GO)
		return 0;
	if (!job) {
		fputs("ckpt check: SLURM_JOB_ID is not set, nothing can be done about the job\n",
		      stderr);
		return 0;
	}
	printf("scontrol %s %s\n", advice == HOLD ? "requeuehold" : "requeue", job);
	if (advice == ELSEWHERE && node)
		printf("scontrol update JobId=%s ExcNodeList=%s\n", job, node);
	printf("scontrol update JobId=%s AdminComment='ckpt: ", job);
	put_plain(why);
	puts("'");
	return 0;
}

/*
 * HTCondor takes HookStatusCode for the hook's status: 1 to 299 hold the job, 300 and more make it
 * idle again, to be matched with another machine (manual, "Job hooks that fetch work" and "Prepare
 * job hook"). Releases that don't know it go by the exit status.
 */
static int condor_prepare(enum cmd_exit status, const char *why)
{
	enum advice advice = advice_of(status);

	if (status == CMD_EXIT_OK)
		return 0;
	printf("HookStatusCode = %d\n", advice == GO     ? 0
					: advice == HOLD ? (int)status
							 : 300 + (int)status);
	fputs("HookStatusMessage = \"ckpt: ", stdout);
	put_plain(why);
	puts("\"");
	return advice == GO ? 0 : (int)status;
}

/*
 * 99 ends the job; anything else but 0 puts it back into the queue, and those named in
 * PREEXEC_EXCLUDE_HOST_EXIT_VALUES exclude this host for it (IBM Spectrum LSF, "Pre- and
 * post-execution processing"). Its streams are /dev/null at queue level.
 */
static int lsf_preexec(enum cmd_exit status, const char *why)
{
	(void)why;
	switch (advice_of(status)) {
	case GO:
		return 0;
	case HOLD:
		return 99;
	case ELSEWHERE:
	case LATER:
		break;
	}
	return (int)status;
}

int cmd_caller_end(const char *caller, enum cmd_exit status, const char *why)
{
	static const struct {
		const char *name;
		int (*end)(enum cmd_exit status, const char *why);
	} callers[] = {
		{ "slurm-prolog", slurm_prolog },
		{ "condor-prepare", condor_prepare },
		{ "lsf-preexec", lsf_preexec },
	};
	int r = (int)status;

	for (size_t i = 0; i < CK_ARRAY_SIZE(callers); i++)
		if (!strcmp(callers[i].name, caller))
			r = callers[i].end(status, why);
	(void)fflush(stdout);
	return r;
}
