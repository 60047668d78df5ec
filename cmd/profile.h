/* SPDX-License-Identifier: Apache-2.0 */
/* Host profiles: files with what `ckpt probe -o FILE` prints. */
#ifndef CK_CMD_PROFILE_H
#define CK_CMD_PROFILE_H

#include <stddef.h>

#include "image/facts.pb-c.h"

struct ck_err;

/* CK_ERR_CONFIG if it can't be read or is no profile. The caller frees *ret with
 * ckpt_facts__free_unpacked(*ret, NULL). */
int cmd_profile_read(const char *path, CkptFacts **ret, struct ck_err *err);
static inline void ck_auto_facts(CkptFacts **f)
{
	if (*f)
		ckpt_facts__free_unpacked(*f, NULL);
}

/* Paths of profiles, in the order in which they were given. */
struct cmd_profiles {
	char **paths;
	size_t n, size;
};
/*
 * Adds what an operand names: a profile; a directory with profiles, NAME.json each, by name; or
 * with @FILE, or - for standard input, a list, a path per line.
 */
int cmd_profiles_add(struct cmd_profiles *p, const char *operand, struct ck_err *err);
void cmd_profiles_done(struct cmd_profiles *p);
static inline void ck_auto_profiles(struct cmd_profiles *p)
{
	cmd_profiles_done(p);
}

#endif
