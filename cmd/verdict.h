/* SPDX-License-Identifier: Apache-2.0 */
/* Verdicts as exit statuses; for check and for a restore that refuses. */
#ifndef CK_CMD_VERDICT_H
#define CK_CMD_VERDICT_H

struct verdict;

int cmd_verdict_status(const struct verdict *v);

#endif
