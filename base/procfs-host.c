// SPDX-License-Identifier: Apache-2.0
/*
 * Parsers of /proc text that tells of the host: sockets, filesystem types, load, groups. The names
 * in it are the kernel's; those of groups are anybody's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/procfs-text.h"
#include "base/procfs.h"

enum {
	TCP_LISTEN_STATE = 0x0a, /* Linux include/net/tcp_states.h */
	UDP_BOUND_STATE = 0x07,
};

/* An address as %08X of each of its 32-bit words, in the machine's byte order. */
static bool parse_address(struct ck_text *t, struct proc_listener *l)
{
	struct ck_text word;
	uint32_t v;
	size_t n;

	if (!ck_text_until(t, ':', &word))
		return false;
	n = ck_text_len(&word);
	if (n != 8 && n != 32)
		return false;
	l->v6 = n == 32;
	for (size_t i = 0; i < n / 8; i++) {
		struct ck_text part = ck_text_of(word.p + i * 8, 8);

		if (!ck_text_u32(&part, 16, &v) || ck_text_len(&part))
			return false;
		memcpy(l->address + i * 4, &v, 4);
	}
	return ck_text_u32(t, 16, &l->port) && l->port <= UINT16_MAX;
}

/* "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 ..."
 * (net/ipv4/tcp_ipv4.c:get_tcp4_sock()) */
static bool parse_socket(struct ck_text *t, struct proc_listener *l, uint32_t *ret_state)
{
	struct ck_text word;

	if (!ck_text_until(t, ':', &word))
		return false;
	ck_text_blanks(t);
	if (!parse_address(t, l) || !ck_text_word(t, &word) || !ck_text_u32(t, 16, ret_state))
		return false;
	for (int i = 0; i < 3; i++) /* queues, timer, retransmits */
		if (!ck_text_word(t, &word))
			return false;
	return ck_text_u32(t, 10, &l->uid);
}

int proc_parse_listeners(const char *text, size_t len, struct proc_listeners *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	int r = ck_text_line(&t, &line); /* the heading */

	*ret = (struct proc_listeners){ 0 };
	while (r > 0 && (r = ck_text_line(&t, &line)) > 0) {
		struct proc_listener l = { 0 };
		uint32_t state;

		if (!parse_socket(&line, &l, &state)) {
			r = -EINVAL;
			break;
		}
		if (state != TCP_LISTEN_STATE && state != UDP_BOUND_STATE) {
			ret->others = true;
			continue;
		}
		if (!ck_text_grow(&ret->l, ret->n, sizeof(*ret->l))) {
			r = -ENOMEM;
			break;
		}
		ret->l[ret->n++] = l;
	}
	if (r < 0)
		proc_listeners_done(ret);
	return r;
}

void proc_listeners_done(struct proc_listeners *l)
{
	free(l->l);
	*l = (struct proc_listeners){ 0 };
}

/* "0.31 0.25 0.15 1/123 4711": the last two are tasks, all of the host's, and the newest pid in
 * the reader's namespace. */
int proc_parse_loadavg(const char *text, size_t len, uint32_t *ret_tasks, uint32_t *ret_last)
{
	struct ck_text t = ck_text_of(text, len), word;
	uint32_t tasks, last;

	for (int i = 0; i < 3; i++)
		if (!ck_text_word(&t, &word))
			return -EINVAL;
	if (!ck_text_until(&t, '/', &word) || !ck_text_u32(&t, 10, &tasks) ||
	    !ck_text_u32(&t, 10, &last))
		return -EINVAL;
	*ret_tasks = tasks;
	*ret_last = last;
	return 0;
}

int proc_parse_cgroups(const char *text, size_t len, struct proc_cgroups *ret)
{
	struct ck_text t = ck_text_of(text, len), line;
	int r;

	*ret = (struct proc_cgroups){ 0 };
	/* "4:cpu,memory:/a/b", and "0::/a/b" for v2; a path may hold colons */
	while ((r = ck_text_line(&t, &line)) > 0) {
		struct ck_text id, list;
		struct proc_cgroup *g;

		if (!ck_text_until(&line, ':', &id) || !ck_text_until(&line, ':', &list)) {
			r = -EINVAL;
			break;
		}
		if (!ck_text_grow(&ret->g, ret->n, sizeof(*ret->g))) {
			r = -ENOMEM;
			break;
		}
		g = &ret->g[ret->n++];
		g->controllers = ck_text_dup(&list, CK_UNESCAPE_NEWLINE);
		g->path = ck_text_dup(&line, CK_UNESCAPE_NEWLINE);
		if (!g->controllers || !g->path) {
			r = -ENOMEM;
			break;
		}
	}
	if (r < 0)
		proc_cgroups_done(ret);
	return r;
}

void proc_cgroups_done(struct proc_cgroups *g)
{
	for (size_t i = 0; i < g->n; i++) {
		free(g->g[i].controllers);
		free(g->g[i].path);
	}
	free(g->g);
	*g = (struct proc_cgroups){ 0 };
}

/* "nodev\tproc" and "\text4": all types that are registered. */
bool proc_has_filesystem(const char *text, size_t len, const char *type)
{
	struct ck_text t = ck_text_of(text, len), line;

	while (ck_text_line(&t, &line) > 0) {
		struct ck_text nodev;

		if (ck_text_until(&line, '\t', &nodev) && ck_text_is(&line, type))
			return true;
	}
	return false;
}
