// SPDX-License-Identifier: Apache-2.0
/*
 * Parsers of fdinfo/N (what every file has, and its locks) and of timers. Lines that only some
 * kinds of file have are left to who knows the kind.
 */
#include "base/procfs.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/procfs-text.h"

/* ---- fdinfo ---- */

static bool copy_word(const struct ck_text *w, char *to, size_t size)
{
	size_t n = ck_text_len(w);

	if (n >= size)
		return false;
	memcpy(to, w->p, n);
	to[n] = '\0';
	return true;
}

/* "1: POSIX  ADVISORY  WRITE 812 fe:01:1234 0 EOF", Linux fs/locks.c:lock_get_status() */
static int parse_lock(struct ck_text *t, struct proc_lock *l)
{
	struct ck_text id, kind, mode, type, file, end;
	int64_t start, last;

	if (!ck_text_word(t, &id) || !ck_text_word(t, &kind) || !ck_text_word(t, &mode) ||
	    !ck_text_word(t, &type) || !ck_text_int(t, &l->pid) || !ck_text_word(t, &file) ||
	    !ck_text_i64(t, &start) || !ck_text_word(t, &end))
		return -EINVAL;
	if (!copy_word(&kind, l->kind, sizeof(l->kind)) ||
	    !copy_word(&type, l->type, sizeof(l->type)) || start < 0)
		return -EINVAL;
	l->start = (uint64_t)start;
	if (ck_text_is(&end, "EOF")) {
		l->end = UINT64_MAX;
		return 0;
	}
	if (!ck_text_i64(&end, &last) || last < start)
		return -EINVAL;
	l->end = (uint64_t)last;
	return 0;
}

static int add_lock(struct ck_text *t, struct proc_fdinfo *i)
{
	if (!ck_text_grow(&i->locks, i->n_locks, sizeof(*i->locks)))
		return -ENOMEM;
	memset(&i->locks[i->n_locks], 0, sizeof(*i->locks));
	if (parse_lock(t, &i->locks[i->n_locks]) < 0)
		return -EINVAL;
	i->n_locks++;
	return 0;
}

enum {
	SEEN_POS = 1 << 0,
	SEEN_FLAGS = 1 << 1,
	SEEN_MNT = 1 << 2,
	SEEN_INO = 1 << 3,
};

static int parse_fdinfo_line(struct ck_text *line, struct proc_fdinfo *i, unsigned int *seen)
{
	if (!(*seen & SEEN_POS) && ck_text_skip(line, "pos:")) {
		*seen |= SEEN_POS;
		return ck_text_i64(line, &i->pos) ? 0 : -EINVAL;
	}
	if (!(*seen & SEEN_FLAGS) && ck_text_skip(line, "flags:")) {
		*seen |= SEEN_FLAGS;
		return ck_text_u32(line, 8, &i->flags) ? 0 : -EINVAL;
	}
	if (!(*seen & SEEN_MNT) && ck_text_skip(line, "mnt_id:")) {
		*seen |= SEEN_MNT;
		return ck_text_int(line, &i->mnt_id) ? 0 : -EINVAL;
	}
	if (!(*seen & SEEN_INO) && ck_text_skip(line, "ino:")) {
		*seen |= SEEN_INO;
		return ck_text_u64(line, 10, &i->ino) ? 0 : -EINVAL;
	}
	return ck_text_skip(line, "lock:") ? add_lock(line, i) : 0;
}

int proc_parse_fdinfo(const char *text, size_t len, struct proc_fdinfo *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	unsigned int seen = 0;
	int r;

	memset(ret, 0, sizeof(*ret));
	ret->mnt_id = -1;
	while ((r = ck_text_line(&t, &line)) > 0) {
		r = parse_fdinfo_line(&line, ret, &seen);
		if (r < 0)
			break;
	}
	if (r == 0 && (seen & (SEEN_POS | SEEN_FLAGS)) != (SEEN_POS | SEEN_FLAGS))
		r = -EINVAL;
	if (r < 0)
		proc_fdinfo_done(ret);
	return r;
}

void proc_fdinfo_done(struct proc_fdinfo *i)
{
	free(i->locks);
	memset(i, 0, sizeof(*i));
}

/* ---- timers ---- */

/* "signal/tid.812", Linux fs/proc/base.c:show_timer() */
static bool parse_notify(struct ck_text *t, struct proc_timer *m)
{
	ck_text_blanks(t);
	if (ck_text_skip(t, "signal/"))
		m->notify = SIGEV_SIGNAL;
	else if (ck_text_skip(t, "none/"))
		m->notify = SIGEV_NONE;
	else if (ck_text_skip(t, "thread/"))
		m->notify = SIGEV_THREAD;
	else
		return false;
	m->notify_tid = ck_text_skip(t, "tid.");
	if (!m->notify_tid && !ck_text_skip(t, "pid."))
		return false;
	if (m->notify_tid)
		m->notify |= SIGEV_THREAD_ID;
	return ck_text_int(t, &m->notify_pid);
}

static bool parse_timer_line(struct ck_text *line, struct proc_timer *m)
{
	if (ck_text_skip(line, "signal:"))
		return ck_text_int(line, &m->signo) && ck_text_skip(line, "/") &&
		       ck_text_u64(line, 16, &m->sigval);
	if (ck_text_skip(line, "notify:"))
		return parse_notify(line, m);
	if (ck_text_skip(line, "ClockID:"))
		return ck_text_int(line, &m->clock);
	return true;
}

int proc_parse_timers(const char *text, size_t len, struct proc_timers *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	int r;

	memset(ret, 0, sizeof(*ret));
	while ((r = ck_text_line(&t, &line)) > 0) {
		bool ok;

		if (ck_text_skip(&line, "ID:")) {
			r = -ENOMEM;
			if (!ck_text_grow(&ret->t, ret->n, sizeof(*ret->t)))
				break;
			memset(&ret->t[ret->n], 0, sizeof(*ret->t));
			ok = ck_text_int(&line, &ret->t[ret->n].id) && ret->t[ret->n].id >= 0;
			ret->n++;
		} else {
			ok = ret->n > 0 && parse_timer_line(&line, &ret->t[ret->n - 1]);
		}
		r = -EINVAL;
		if (!ok)
			break;
	}
	if (r < 0)
		proc_timers_done(ret);
	return r;
}

void proc_timers_done(struct proc_timers *t)
{
	free(t->t);
	memset(t, 0, sizeof(*t));
}
