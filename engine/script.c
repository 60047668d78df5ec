// SPDX-License-Identifier: Apache-2.0
/*
 * Building scripts, and the zone they live in. Addresses are final from the first append on: the
 * header and the blob's code have fixed places, data grows behind them, and what is only counted
 * while planning (operations, slots, stacks, bounce buffers) is laid behind the data at the end.
 *
 * Texts for the user stay in this process; the zone carries only what the blob needs.
 */
#include "engine/script.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/auto.h"
#include "base/err.h"

extern const uint8_t pie_restorer_start[], pie_restorer_end[];

#define DATA_ALIGN 64u
#define MIN_ROOM (1u << 20)

struct script {
	struct script_zone *zone;
	size_t slot;
	enum script_role role;
	pid_t tid;
	bool top, bounce;
	char *who;
	struct pie_op *ops;
	char **what; /* one per operation */
	size_t n, size;
};

struct script_zone {
	uint64_t base, room;
	uint64_t data_at; /* offsets from base */
	uint8_t *data;
	size_t len, size;
	struct script **s;
	size_t n, s_size;
	int failed; /* -errno of the first thing that could not be kept */
	uint64_t ops_at, slots_at, stacks_at, bounce_at, total;
	uint32_t mark_signo;
	uint8_t *map;
};

static uint64_t round_up(uint64_t x, uint64_t to)
{
	return (x + to - 1) / to * to;
}

static size_t code_len(void)
{
	return (uintptr_t)pie_restorer_end - (uintptr_t)pie_restorer_start;
}

int script_zone_new(uint64_t base, uint64_t room, struct script_zone **ret, struct ck_err *err)
{
	struct script_zone *z;

	if (base % PIE_PAGE || room < MIN_ROOM)
		return ck_fail(err, CK_ERR_HOST, -ENOSPC,
			       "cannot find room for the restorer beside the job's memory");
	z = calloc(1, sizeof(*z));
	if (!z)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot plan the restore");
	z->base = base;
	z->room = room;
	z->data_at = PIE_PAGE + round_up(code_len(), PIE_PAGE);
	*ret = z;
	return 0;
}

static void script_free(struct script *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->what[i]);
	free(s->what);
	free(s->ops);
	free(s->who);
	free(s);
}

void script_zone_free(struct script_zone *z)
{
	if (!z)
		return;
	for (size_t i = 0; i < z->n; i++)
		script_free(z->s[i]);
	script_zone_unmap(z);
	free(z->s);
	free(z->data);
	free(z);
}

static void zone_fail(struct script_zone *z, int code)
{
	if (!z->failed)
		z->failed = code;
}

/* Makes room for one more element; false if memory ran out. */
static bool grow(void **array, size_t n, size_t *size, size_t elem)
{
	size_t want = *size ? *size * 2 : 16;
	void *p;

	if (n < *size)
		return true;
	p = reallocarray(*array, want, elem);
	if (!p)
		return false;
	*array = p;
	*size = want;
	return true;
}

struct script *script_new(struct script_zone *z, enum script_role role, pid_t tid, const char *who,
			  ...)
{
	struct script *s = calloc(1, sizeof(*s));
	va_list ap;

	if (!s || !grow((void **)&z->s, z->n, &z->s_size, sizeof(z->s[0])))
		goto failed;
	va_start(ap, who);
	if (vasprintf(&s->who, who, ap) < 0)
		s->who = NULL;
	va_end(ap);
	if (!s->who)
		goto failed;
	s->zone = z;
	s->role = role;
	s->tid = tid;
	s->slot = z->n;
	z->s[z->n++] = s;
	return s;
failed:
	free(s);
	zone_fail(z, -ENOMEM);
	return NULL;
}

size_t script_slot(const struct script *s)
{
	return s ? s->slot : 0;
}

void script_set_top(struct script *s)
{
	if (s)
		s->top = true;
}

void script_wants_bounce(struct script *s)
{
	if (s)
		s->bounce = true;
}

static void append(struct script *s, const struct pie_op *op, const char *what, va_list ap)
{
	size_t size = s->size;
	char *text = NULL;

	if (vasprintf(&text, what, ap) < 0)
		text = NULL;
	if (!text || !grow((void **)&s->ops, s->n, &size, sizeof(s->ops[0]))) {
		free(text);
		zone_fail(s->zone, -ENOMEM);
		return;
	}
	if (size != s->size) {
		char **w = reallocarray(s->what, size, sizeof(*w));

		if (!w) {
			free(text);
			zone_fail(s->zone, -ENOMEM);
			return;
		}
		s->what = w;
		s->size = size;
	}
	s->ops[s->n] = *op;
	s->what[s->n++] = text;
}

void script_op(struct script *s, enum pie_code code, enum script_expect expect, uint64_t nr,
	       const uint64_t a[6], const char *what, ...)
{
	struct pie_op op = { .code = code, .expect = expect, .nr = nr };
	va_list ap;

	if (!s)
		return;
	memcpy(op.a, a, sizeof(op.a));
	va_start(ap, what);
	append(s, &op, what, ap);
	va_end(ap);
}

void script_syscall(struct script *s, enum script_expect expect, long nr, uint64_t a0, uint64_t a1,
		    uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, const char *what, ...)
{
	struct pie_op op = { .code = PIE_SYSCALL,
			     .expect = expect,
			     .nr = (uint64_t)nr,
			     .a = { a0, a1, a2, a3, a4, a5 } };
	va_list ap;

	if (!s)
		return;
	va_start(ap, what);
	append(s, &op, what, ap);
	va_end(ap);
}

static uint64_t zone_data(struct script_zone *z, const void *data, size_t len)
{
	uint64_t at = z->len;
	size_t want = round_up(len, DATA_ALIGN), size = z->size ? z->size : PIE_PAGE;
	uint8_t *p;

	if (len > z->room || z->len > z->room - len) {
		zone_fail(z, -ENOSPC);
		return 0;
	}
	while (size < z->len + want)
		size *= 2;
	if (size != z->size) {
		p = realloc(z->data, size);
		if (!p) {
			zone_fail(z, -ENOMEM);
			return 0;
		}
		z->data = p;
		z->size = size;
	}
	if (len)
		memcpy(z->data + at, data, len);
	memset(z->data + at + len, 0, want - len);
	z->len += want;
	return z->base + z->data_at + at;
}

uint64_t script_data(struct script *s, const void *data, size_t len)
{
	return s ? zone_data(s->zone, data, len) : 0;
}

uint64_t script_barrier(struct script_zone *z, uint32_t n)
{
	struct pie_barrier b = { .target = n };

	return zone_data(z, &b, sizeof(b));
}

int script_zone_finish(struct script_zone *z, uint32_t mark_signo, struct ck_err *err)
{
	size_t n_ops = 0, n_bounce = 0;

	for (size_t i = 0; i < z->n; i++) {
		n_ops += z->s[i]->n;
		n_bounce += z->s[i]->bounce;
	}
	if (z->failed == 0) {
		z->mark_signo = mark_signo;
		z->ops_at = round_up(z->data_at + z->len, PIE_PAGE);
		z->slots_at = round_up(z->ops_at + n_ops * sizeof(struct pie_op), PIE_PAGE);
		z->stacks_at = round_up(z->slots_at + z->n * sizeof(struct pie_slot), PIE_PAGE);
		z->bounce_at = z->stacks_at + z->n * PIE_STACK;
		z->total = z->bounce_at + n_bounce * PIE_BOUNCE;
		if (z->total > z->room)
			zone_fail(z, -ENOSPC);
	}
	if (z->failed == -ENOSPC)
		return ck_fail(err, CK_ERR_HOST, z->failed,
			       "cannot find room for the restorer beside the job's memory");
	if (z->failed)
		return ck_fail(err, CK_ERR_SYS, z->failed, "cannot plan the restore");
	return 0;
}

uint64_t script_zone_base(const struct script_zone *z)
{
	return z->base;
}

uint64_t script_zone_size(const struct script_zone *z)
{
	return z->total;
}

uint64_t script_zone_room(const struct script_zone *z)
{
	return z->room;
}

size_t script_zone_count(const struct script_zone *z)
{
	return z->n;
}

/* Any two bytes 0f 05 are a system call when one jumps to them. */
static uint64_t find_syscall(void)
{
	for (size_t i = 0; i + 1 < code_len(); i++)
		if (pie_restorer_start[i] == 0x0f && pie_restorer_start[i + 1] == 0x05)
			return i;
	return 0;
}

static void fill_slots(struct script_zone *z)
{
	struct pie_slot *slots = (struct pie_slot *)(void *)(z->map + z->slots_at);
	uint64_t ops = z->ops_at, bounce = z->bounce_at;

	for (size_t i = 0; i < z->n; i++) {
		struct script *s = z->s[i];

		slots[i] = (struct pie_slot){
			.zone = z->base,
			.ops = z->base + ops,
			.n_ops = s->n,
			.stack = z->base + z->stacks_at + i * PIE_STACK,
			.bounce = s->bounce ? z->base + bounce : 0,
			.tid = s->tid,
			.top = s->top,
		};
		if (s->n)
			memcpy(z->map + ops, s->ops, s->n * sizeof(s->ops[0]));
		ops += s->n * sizeof(s->ops[0]);
		bounce += s->bounce ? PIE_BOUNCE : 0;
	}
}

int script_zone_map(struct script_zone *z, struct ck_err *err)
{
	void *want = (void *)(uintptr_t)z->base;
	void *p = mmap(want, z->total, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	struct pie_zone *h;

	if (p == MAP_FAILED)
		return ck_fail_errno(err, "cannot map the restorer at %llx",
				     (unsigned long long)z->base);
	if (p != want) {
		munmap(p, z->total);
		return ck_fail(err, CK_ERR_HOST, -EEXIST, "cannot map the restorer at %llx",
			       (unsigned long long)z->base);
	}
	z->map = p;
	h = script_zone_header(z);
	h->base = z->base;
	h->size = z->total;
	h->slots = z->base + z->slots_at;
	h->n_slots = z->n;
	h->syscall_insn = z->base + PIE_PAGE + find_syscall();
	h->mark_signo = z->mark_signo;
	memcpy(z->map + PIE_PAGE, pie_restorer_start, code_len());
	if (z->len)
		memcpy(z->map + z->data_at, z->data, z->len);
	fill_slots(z);
	if (mprotect(z->map + PIE_PAGE, round_up(code_len(), PIE_PAGE), PROT_READ | PROT_EXEC) < 0)
		return ck_fail_errno(err, "cannot make the restorer executable");
	return 0;
}

void script_zone_unmap(struct script_zone *z)
{
	if (z->map)
		munmap(z->map, z->total);
	z->map = NULL;
}

struct pie_zone *script_zone_header(const struct script_zone *z)
{
	return (struct pie_zone *)(void *)z->map;
}

struct pie_slot *script_zone_slot(const struct script_zone *z, size_t slot)
{
	return (struct pie_slot *)(void *)(z->map + z->slots_at) + slot;
}

ssize_t script_zone_find(const struct script_zone *z, pid_t tid)
{
	for (size_t i = 0; i < z->n; i++)
		if (z->s[i]->tid == tid)
			return (ssize_t)i;
	return -1;
}

enum script_role script_zone_role(const struct script_zone *z, size_t slot)
{
	return z->s[slot]->role;
}

static const char *what_at(const struct script *s, size_t op)
{
	return op < s->n ? s->what[op] : "come to the end of its script";
}

int script_zone_failure(const struct script_zone *z, struct ck_err *err)
{
	const struct pie_zone *h = script_zone_header(z);
	const struct script *s;
	int r;

	if (__atomic_load_n(&h->failed, __ATOMIC_ACQUIRE) != 2)
		return 0;
	/* The header is writable by tasks that by now run nothing but the blob; still no index of
	 * it is believed. */
	if (h->slot >= z->n || h->error >= 0)
		return ck_fail(err, CK_ERR_BUG, -EPROTO, "cannot read what went wrong in a task");
	s = z->s[h->slot];
	if (h->error == -EBADMSG && h->op < s->n && s->ops[h->op].code == PIE_PAGES)
		r = ck_fail(err, CK_ERR_IMAGE, h->error,
			    "cannot %s: wrong checksum of bytes %llu to %llu", what_at(s, h->op),
			    (unsigned long long)h->detail * PIE_SUM_CHUNK,
			    (unsigned long long)(h->detail + 1) * PIE_SUM_CHUNK - 1);
	else
		r = ck_fail(err, CK_ERR_SYS, h->error, "cannot %s", what_at(s, h->op));
	return ck_err_at(err, r, "%s", s->who);
}

int script_zone_crashed(const struct script_zone *z, size_t slot, int wait_status,
			struct ck_err *err)
{
	const struct script *s = z->s[slot];
	uint32_t at = script_zone_slot(z, slot)->at;
	char how[64];
	int r;

	if (WIFSIGNALED(wait_status))
		snprintf(how, sizeof(how), "killed by signal %d", WTERMSIG(wait_status));
	else if (WIFSTOPPED(wait_status))
		snprintf(how, sizeof(how), "signal %d", WSTOPSIG(wait_status));
	else
		snprintf(how, sizeof(how), "exit status %d", WEXITSTATUS(wait_status));
	r = ck_fail(err, CK_ERR_SYS, -ECHILD, "cannot %s: the task ended (%s)", what_at(s, at),
		    how);
	return ck_err_at(err, r, "%s", s->who);
}

const char *script_zone_degraded(const struct script_zone *z, size_t *slot, const char **ret_who)
{
	while (*slot < z->n) {
		const struct script *s = z->s[*slot];
		uint32_t op = script_zone_slot(z, (*slot)++)->degraded;

		if (op && op <= s->n) {
			*ret_who = s->who;
			return s->what[op - 1];
		}
	}
	return NULL;
}
