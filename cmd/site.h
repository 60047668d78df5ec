/* SPDX-License-Identifier: Apache-2.0 */
/* Images judged for the hosts of many profiles; for match and report. */
#ifndef CK_CMD_SITE_H
#define CK_CMD_SITE_H

struct cmd_args;
struct report_site;

/*
 * Judges every --image for the host of every profile that the operands name (cmd/profile.h). A
 * profile that can't be read is told on standard error and left out. Returns CMD_EXIT_OK with *ret
 * filled and at least one host in it, or the exit status after saying why not.
 */
int cmd_site_judge(const struct cmd_args *a, struct report_site *ret);

#endif
