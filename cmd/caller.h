/* SPDX-License-Identifier: Apache-2.0 */
/* Schedulers that ask before they start a job, and what each makes of the answer:
 * docs/schedulers.md. */
#ifndef CK_CMD_CALLER_H
#define CK_CMD_CALLER_H

#include "cmd/cmd.h"

#define CMD_CALLERS "slurm-prolog|condor-prepare|lsf-preexec"

/*
 * Ends a check as its caller (one of CMD_CALLERS) needs: writes the caller's own language to
 * standard output and returns the exit status. status is what the check would end with, why one
 * line for people. Whatever else there is to say belongs on standard error.
 */
int cmd_caller_end(const char *caller, enum cmd_exit status, const char *why);

#endif
