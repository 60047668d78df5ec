/* SPDX-License-Identifier: Apache-2.0 */
/* What check and restore have in common: the policy, and verdicts as exit statuses. */
#ifndef CK_CMD_VERDICT_H
#define CK_CMD_VERDICT_H

#include "image/ckpt-isa.pb-c.h"

struct cmd_args;
struct fsmap_maps;
struct image;
struct policy;
struct verdict;

/* The policy with all that the command line allows. Not CMD_EXIT_OK: it has been said why. */
int cmd_verdict_policy(const struct cmd_args *a, struct policy **ret);

/* The maps of a command line, likewise. */
int cmd_verdict_maps(const struct cmd_args *a, struct fsmap_maps *ret);

int cmd_verdict_status(const struct verdict *v);
/*
 * Checks an image against this host, now. 0 says nothing: go ahead. Anything else is the exit
 * status of the subcommand, and the verdict (or the error) stands on standard error. *ret_isa
 * becomes what is known of the image's code, or stays NULL; freed with
 * ckpt_isa__free_unpacked(*ret_isa, NULL).
 */
int cmd_verdict_refuses(const char *sub, const struct image *img, const struct fsmap_maps *maps,
			const struct policy *policy, CkptIsa **ret_isa);

#endif
