/* SPDX-License-Identifier: Apache-2.0 */
/* What is made of the table besides --help: `ckpt help --format`. All to standard output. */
#ifndef CK_CMD_HELP_H
#define CK_CMD_HELP_H

struct cmd;

/* The manual page of a command, or ckpt(1) for NULL, as scdoc(5). */
void cmd_print_scdoc(const struct cmd *c);
/* Completion for bash. */
void cmd_print_bash(void);

#endif
