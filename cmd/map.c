// SPDX-License-Identifier: Apache-2.0
/* ckpt map suggest: where on a host what an image needs could be, as lines for --maps. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/strbuf.h"
#include "cmd/cmd.h"
#include "cmd/profile.h"
#include "fsmap/fsmap.h"
#include "image/image.h"
#include "policies/policies.h"

static inline void ck_auto_needs(CkptNeeds **n)
{
	if (*n)
		ckpt_needs__free_unpacked(*n, NULL);
}

static int find(const struct cmd_args *a, struct fsmap_suggestions *ret, struct ck_err *err)
{
	const char *profile = cmd_value(a, "host");
	CK_AUTO(image) struct image *img = NULL;
	CK_AUTO(needs) CkptNeeds *needs = NULL;
	CK_AUTO(facts) CkptFacts *source = NULL, *host = NULL;
	int r = policy_image_open(cmd_value(a, "image"), &img, err);

	if (r == 0)
		r = policy_read_needs(img, NULL, &needs, &source, err);
	if (r == 0)
		r = profile ? cmd_profile_read(profile, &host, err)
			    : policy_look(needs, &host, err);
	if (r == 0 && fsmap_suggest(needs, host, !profile, ret) < 0)
		r = ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot look for maps");
	return r;
}

/* Newlines would end a comment. */
static void say(const char *what, const char *path)
{
	printf("# %s", what);
	for (; *path; path++)
		putchar(*path == '\n' ? '?' : *path);
	putchar('\n');
}

static bool tell(const struct fsmap_suggestions *x)
{
	for (size_t i = 0; i < x->n; i++) {
		CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

		fsmap_map_side(&b, x->s[i].from);
		ck_strbuf_addf(&b, ":");
		fsmap_map_side(&b, x->s[i].to);
		if (!ck_strbuf_ok(&b))
			return false;
		say("", x->s[i].why);
		if (strchr(ck_strbuf_str(&b), '\n'))
			say("no line can hold it, --map can: ", ck_strbuf_str(&b));
		else
			printf("%s\n", ck_strbuf_str(&b));
	}
	for (size_t i = 0; i < x->n_missing; i++)
		say("missing, and found nowhere: ", x->missing[i]);
	return fflush(stdout) == 0 && !ferror(stdout);
}

int cmd_map(const struct cmd_args *a)
{
	CK_AUTO(fsmap_suggestions) struct fsmap_suggestions x = { 0 };
	struct ck_err err = CK_ERR_INIT;

	if (strcmp(a->operands[0], "suggest") != 0)
		return cmd_usage("map", "what is meant: suggest?");
	if (find(a, &x, &err) < 0)
		return cmd_fail("map", &err);
	if (!tell(&x))
		return CMD_EXIT_OS;
	return x.n_missing ? CMD_EXIT_INCOMPATIBLE : CMD_EXIT_OK;
}
