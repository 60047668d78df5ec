/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts as exit statuses; for check and for a restore that refuses. */
#ifndef CK_CMD_VERDICT_H
#define CK_CMD_VERDICT_H

struct image;
struct policy;
struct verdict;

int cmd_verdict_status(const struct verdict *v);
/*
 * Checks an image against this host, now. 0 says nothing: go ahead. Anything else is the exit
 * status of the subcommand, and the verdict (or the error) stands on standard error.
 */
int cmd_verdict_refuses(const char *sub, const struct image *img, const struct policy *policy);

#endif
