/* SPDX-License-Identifier: Apache-2.0 */
/* Files that commands write. */
#ifndef CK_CMD_OUTPUT_H
#define CK_CMD_OUTPUT_H

#include <stdio.h>

struct ck_err;

typedef int (*cmd_write_fn)(FILE *out, const void *arg, struct ck_err *err);
/* A file is there as a whole or not at all; what is no regular file is simply written to. */
int cmd_write_file(const char *path, cmd_write_fn write, const void *arg, struct ck_err *err);

#endif
