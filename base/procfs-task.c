// SPDX-License-Identifier: Apache-2.0
/*
 * Parsers of what /proc says about a task as a whole: stat, status and limits. A line that a kernel
 * doesn't write leaves its field at the value that procfs.h names; a line that is there and can't
 * be read is an error. Where a key occurs twice the first one counts.
 */
#include "base/procfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/auto.h"
#include "base/procfs-text.h"

/* ---- stat ---- */

/* What a field of stat is, by its number in proc_pid_stat(5). */
enum stat_width {
	STAT_INT,
	STAT_U64,
};
struct stat_field {
	unsigned int number;
	enum stat_width width;
	size_t offset;
};
#define STAT_ROW(number, width, member)                           \
	{                                                         \
		number, width, offsetof(struct proc_stat, member) \
	}
static const struct stat_field stat_fields[] = {
	STAT_ROW(4, STAT_INT, ppid),         STAT_ROW(5, STAT_INT, pgrp),
	STAT_ROW(6, STAT_INT, sid),          STAT_ROW(7, STAT_INT, tty_nr),
	STAT_ROW(8, STAT_INT, tpgid),        STAT_ROW(20, STAT_INT, num_threads),
	STAT_ROW(22, STAT_U64, start_time),  STAT_ROW(26, STAT_U64, start_code),
	STAT_ROW(27, STAT_U64, end_code),    STAT_ROW(28, STAT_U64, start_stack),
	STAT_ROW(38, STAT_INT, exit_signal), STAT_ROW(45, STAT_U64, start_data),
	STAT_ROW(46, STAT_U64, end_data),    STAT_ROW(47, STAT_U64, start_brk),
	STAT_ROW(48, STAT_U64, arg_start),   STAT_ROW(49, STAT_U64, arg_end),
	STAT_ROW(50, STAT_U64, env_start),   STAT_ROW(51, STAT_U64, env_end),
	STAT_ROW(52, STAT_INT, exit_code),
};

/* "PID (COMM) S". The comm may hold anything, ") R 1" and newlines too, but behind it there are
 * only numbers and one letter: its end is the last closing bracket. */
static int parse_stat_head(struct ck_text *t, struct proc_stat *s)
{
	const char *close;
	size_t n;

	if (!ck_text_int(t, &s->pid) || !ck_text_skip(t, " ("))
		return -EINVAL;
	close = t->p == t->end ? NULL : memrchr(t->p, ')', ck_text_len(t));
	if (!close)
		return -EINVAL;
	n = (size_t)(close - t->p);
	if (n >= sizeof(s->comm))
		n = sizeof(s->comm) - 1;
	memcpy(s->comm, t->p, n);
	t->p = close + 1;
	if (!ck_text_skip(t, " ") || t->p == t->end)
		return -EINVAL;
	s->state = *t->p++;
	return 0;
}

int proc_parse_stat(const char *text, size_t len, struct proc_stat *ret)
{
	struct proc_stat s = { .state = 0 };
	struct ck_text t = ck_text_of(text, len);
	size_t row = 0;

	memset(ret, 0, sizeof(*ret));
	if (len == 0 || text[len - 1] != '\n')
		return -EINVAL;
	t.end--;
	if (parse_stat_head(&t, &s) < 0)
		return -EINVAL;
	for (unsigned int number = 4; row < CK_ARRAY_SIZE(stat_fields); number++) {
		const struct stat_field *f = &stat_fields[row];
		char *at = (char *)&s + f->offset;
		struct ck_text word;

		if (!ck_text_word(&t, &word))
			return -EINVAL;
		if (number != f->number)
			continue;
		if (f->width == STAT_INT ? !ck_text_int(&word, (int *)at)
					 : !ck_text_u64(&word, 10, (uint64_t *)at))
			return -EINVAL;
		if (word.p != word.end)
			return -EINVAL;
		row++;
	}
	*ret = s;
	return 0;
}

/* ---- status ---- */

static bool parse_ids4(struct ck_text *t, uint32_t ids[4])
{
	for (int i = 0; i < 4; i++)
		if (!ck_text_u32(t, 10, &ids[i]))
			return false;
	return true;
}

/* The last of a list of pids, and how long it is. */
static bool parse_ns_list(struct ck_text *t, pid_t *ret_last, size_t *ret_n)
{
	size_t n = 0;
	int v;

	for (;;) {
		ck_text_blanks(t);
		if (t->p == t->end)
			break;
		if (!ck_text_int(t, &v) || v < 0)
			return false;
		*ret_last = v;
		n++;
	}
	if (ret_n)
		*ret_n = n;
	return n > 0;
}

static int parse_groups(struct ck_text *t, struct proc_status *s)
{
	for (;;) {
		ck_text_blanks(t);
		if (t->p == t->end)
			return 0;
		if (!ck_text_grow(&s->groups, s->n_groups, sizeof(*s->groups)))
			return -ENOMEM;
		if (!ck_text_u32(t, 10, &s->groups[s->n_groups]))
			return -EINVAL;
		s->n_groups++;
	}
}

static bool parse_pid(struct ck_text *t, pid_t *ret)
{
	return ck_text_int(t, ret) && *ret >= 0;
}

enum status_key {
	KEY_UMASK,
	KEY_STATE,
	KEY_TGID,
	KEY_PID,
	KEY_PPID,
	KEY_TRACER,
	KEY_UID,
	KEY_GID,
	KEY_GROUPS,
	KEY_NSPID,
	KEY_NSPGID,
	KEY_NSSID,
	KEY_SIGPND,
	KEY_SHDPND,
	KEY_SIGBLK,
	KEY_SIGIGN,
	KEY_SIGCGT,
	KEY_CAPINH,
	KEY_CAPPRM,
	KEY_CAPEFF,
	KEY_CAPBND,
	KEY_CAPAMB,
	KEY_NNP,
	KEY_SECCOMP,
	KEY_FILTERS,
	KEY_RSS,
	KEY_LCK,
	KEY_FEATURES,
	N_KEYS,
};
static const char *const status_keys[N_KEYS] = {
	[KEY_UMASK] = "Umask",
	[KEY_STATE] = "State",
	[KEY_TGID] = "Tgid",
	[KEY_PID] = "Pid",
	[KEY_PPID] = "PPid",
	[KEY_TRACER] = "TracerPid",
	[KEY_UID] = "Uid",
	[KEY_GID] = "Gid",
	[KEY_GROUPS] = "Groups",
	[KEY_NSPID] = "NSpid",
	[KEY_NSPGID] = "NSpgid",
	[KEY_NSSID] = "NSsid",
	[KEY_SIGPND] = "SigPnd",
	[KEY_SHDPND] = "ShdPnd",
	[KEY_SIGBLK] = "SigBlk",
	[KEY_SIGIGN] = "SigIgn",
	[KEY_SIGCGT] = "SigCgt",
	[KEY_CAPINH] = "CapInh",
	[KEY_CAPPRM] = "CapPrm",
	[KEY_CAPEFF] = "CapEff",
	[KEY_CAPBND] = "CapBnd",
	[KEY_CAPAMB] = "CapAmb",
	[KEY_NNP] = "NoNewPrivs",
	[KEY_SECCOMP] = "Seccomp",
	[KEY_RSS] = "VmRSS",
	[KEY_LCK] = "VmLck",
	[KEY_FILTERS] = "Seccomp_filters",
	[KEY_FEATURES] = "x86_Thread_features",
};

static bool parse_nnp(struct ck_text *t, bool *ret)
{
	uint64_t v;

	if (!ck_text_u64(t, 10, &v) || v > 1)
		return false;
	*ret = v == 1;
	return true;
}

static bool parse_state(struct ck_text *t, char *ret)
{
	struct ck_text word;

	if (!ck_text_word(t, &word))
		return false;
	*ret = *word.p;
	return true;
}

/* "shstk wrss", or nothing (since v6.6). */
static bool parse_features(struct ck_text *t, struct proc_status *s)
{
	struct ck_text word;

	while (ck_text_word(t, &word))
		if (ck_text_is(&word, "shstk") || ck_text_is(&word, "wrss"))
			s->shadow_stack = true;
	return true;
}

static int parse_status_value(enum status_key key, struct ck_text *v, struct proc_status *s)
{
	uint64_t *const masks[N_KEYS] = {
		[KEY_SIGPND] = &s->sig_pnd, [KEY_SHDPND] = &s->shd_pnd, [KEY_SIGBLK] = &s->sig_blk,
		[KEY_SIGIGN] = &s->sig_ign, [KEY_SIGCGT] = &s->sig_cgt, [KEY_CAPINH] = &s->cap_inh,
		[KEY_CAPPRM] = &s->cap_prm, [KEY_CAPEFF] = &s->cap_eff, [KEY_CAPBND] = &s->cap_bnd,
		[KEY_CAPAMB] = &s->cap_amb,
	};
	pid_t *const pids[N_KEYS] = {
		[KEY_TGID] = &s->tgid,
		[KEY_PID] = &s->pid,
		[KEY_PPID] = &s->ppid,
		[KEY_TRACER] = &s->tracer,
	};
	bool ok;

	switch (key) {
	case KEY_GROUPS:
		return parse_groups(v, s);
	case KEY_UMASK:
		ok = ck_text_u32(v, 8, &s->umask) && s->umask <= 0777;
		break;
	case KEY_STATE:
		ok = parse_state(v, &s->state);
		break;
	case KEY_UID:
		ok = parse_ids4(v, s->uid);
		break;
	case KEY_GID:
		ok = parse_ids4(v, s->gid);
		break;
	case KEY_NSPID:
		ok = parse_ns_list(v, &s->ns_pid, &s->n_ns);
		break;
	case KEY_NSPGID:
		ok = parse_ns_list(v, &s->ns_pgid, NULL);
		break;
	case KEY_NSSID:
		ok = parse_ns_list(v, &s->ns_sid, NULL);
		break;
	case KEY_NNP:
		ok = parse_nnp(v, &s->no_new_privs);
		break;
	case KEY_SECCOMP:
		ok = ck_text_int(v, &s->seccomp);
		break;
	case KEY_FILTERS:
		ok = ck_text_int(v, &s->seccomp_filters);
		break;
	case KEY_FEATURES:
		ok = parse_features(v, s);
		break;
	case KEY_RSS:
		ok = ck_text_u64(v, 10, &s->vm_rss_kib);
		break;
	case KEY_LCK:
		ok = ck_text_u64(v, 10, &s->vm_lck_kib);
		break;
	default:
		ok = masks[key] ? ck_text_u64(v, 16, masks[key]) : parse_pid(v, pids[key]);
		break;
	}
	return ok ? 0 : -EINVAL;
}

static int status_key_of(struct ck_text *line)
{
	struct ck_text rest = *line, name;

	if (!ck_text_until(&rest, ':', &name))
		return -1;
	for (int i = 0; i < N_KEYS; i++)
		if (ck_text_is(&name, status_keys[i])) {
			*line = rest;
			return i;
		}
	return -1;
}

static int parse_status_lines(struct ck_text *t, struct proc_status *s)
{
	uint64_t seen = 0;
	const uint64_t must = 1ull << KEY_STATE | 1ull << KEY_TGID | 1ull << KEY_PID |
			      1ull << KEY_PPID | 1ull << KEY_UID | 1ull << KEY_GID;
	struct ck_text line;
	int r;

	while ((r = ck_text_line(t, &line)) > 0) {
		int key = status_key_of(&line);

		if (key < 0 || (seen & 1ull << key))
			continue;
		seen |= 1ull << key;
		r = parse_status_value((enum status_key)key, &line, s);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return r;
	if (!(seen & 1ull << KEY_NSPID))
		s->ns_pid = s->pid;
	return (seen & must) == must ? 0 : -EINVAL;
}

int proc_parse_status(const char *text, size_t len, struct proc_status *ret)
{
	struct ck_text t = ck_text_of(text, len);
	int r;

	memset(ret, 0, sizeof(*ret));
	ret->umask = (uint32_t)-1;
	ret->seccomp_filters = -1;
	ret->ns_pgid = -1;
	ret->ns_sid = -1;
	ret->n_ns = 1;
	r = parse_status_lines(&t, ret);
	if (r < 0)
		proc_status_done(ret);
	return r;
}

void proc_status_done(struct proc_status *s)
{
	free(s->groups);
	memset(s, 0, sizeof(*s));
}

/* ---- limits ---- */

static const char *const limit_names[PROC_NLIMITS] = {
	[RLIMIT_CPU] = "Max cpu time",
	[RLIMIT_FSIZE] = "Max file size",
	[RLIMIT_DATA] = "Max data size",
	[RLIMIT_STACK] = "Max stack size",
	[RLIMIT_CORE] = "Max core file size",
	[RLIMIT_RSS] = "Max resident set",
	[RLIMIT_NPROC] = "Max processes",
	[RLIMIT_NOFILE] = "Max open files",
	[RLIMIT_MEMLOCK] = "Max locked memory",
	[RLIMIT_AS] = "Max address space",
	[RLIMIT_LOCKS] = "Max file locks",
	[RLIMIT_SIGPENDING] = "Max pending signals",
	[RLIMIT_MSGQUEUE] = "Max msgqueue size",
	[RLIMIT_NICE] = "Max nice priority",
	[RLIMIT_RTPRIO] = "Max realtime priority",
	[RLIMIT_RTTIME] = "Max realtime timeout",
};
_Static_assert(RLIM_NLIMITS == PROC_NLIMITS, "a resource limit that limits does not name");

static bool parse_limit(struct ck_text *t, uint64_t *ret)
{
	ck_text_blanks(t);
	if (ck_text_skip(t, "unlimited")) {
		*ret = UINT64_MAX;
		return true;
	}
	return ck_text_u64(t, 10, ret);
}

int proc_parse_limits(const char *text, size_t len, struct proc_limits *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	struct proc_limits l = { .cur = { 0 } };
	unsigned int seen = 0;
	int r;

	memset(ret, 0, sizeof(*ret));
	while ((r = ck_text_line(&t, &line)) > 0) {
		for (int i = 0; i < PROC_NLIMITS; i++) {
			if (!ck_text_skip(&line, limit_names[i]))
				continue;
			if (!parse_limit(&line, &l.cur[i]) || !parse_limit(&line, &l.max[i]))
				return -EINVAL;
			seen |= 1u << i;
			break;
		}
	}
	if (r < 0 || seen != (1u << PROC_NLIMITS) - 1)
		return -EINVAL;
	*ret = l;
	return 0;
}
