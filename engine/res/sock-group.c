// SPDX-License-Identifier: Apache-2.0
/*
 * Multicast memberships. Nothing lists those of a socket; but it tells the sources that it takes
 * of a group at an interface if it is a member there, and /proc/net/igmp and igmp6 list the groups
 * that anybody is a member of. Interfaces go by their names into an image, for a number means
 * another one elsewhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fd.h"
#include "engine/res/sock.h"

enum {
	MAX_TEXT = 16 << 20,
	MAX_SOURCES = 1024, /* net.ipv4.igmp_max_msf is 10 */
};

/* Where somebody is a member. */
struct group {
	unsigned int index;
	struct sock_addr addr;
};

static int level_of(const struct sock_addr *group)
{
	return group->sa.sa_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
}

/* ---- dump ---- */

/* What the socket takes at the group; NULL with *ret_r 0: it is no member. */
static struct group_filter *ask(int fd, const struct group *g, int *ret_r)
{
	size_t n = 0;

	for (;;) {
		socklen_t len = (socklen_t)GROUP_FILTER_SIZE(n);
		struct group_filter *f = calloc(1, len);

		*ret_r = f ? 0 : -ENOMEM;
		if (!f)
			return NULL;
		f->gf_interface = g->index;
		memcpy(&f->gf_group, &g->addr.any, g->addr.len);
		f->gf_numsrc = (uint32_t)n;
		if (getsockopt(fd, level_of(&g->addr), MCAST_MSFILTER, f, &len) < 0) {
			free(f);
			return NULL;
		}
		if (f->gf_numsrc <= n)
			return f;
		n = f->gf_numsrc;
		free(f);
	}
}

static size_t put_addr(const struct sockaddr_storage *a, uint8_t buf[static 16])
{
	const struct sock_addr s = { .any = *a };

	if (a->ss_family == AF_INET) {
		memcpy(buf, &s.in.sin_addr, 4);
		return 4;
	}
	memcpy(buf, &s.in6.sin6_addr, 16);
	return 16;
}

static int fill(SkMoreEntry *m, const struct group *g, const struct group_filter *f)
{
	char name[IF_NAMESIZE];

	m->level = (uint32_t)level_of(&g->addr);
	m->opt = MCAST_JOIN_GROUP;
	m->has_mode = true;
	m->mode = f->gf_fmode;
	m->interface = if_indextoname(g->index, name) ? strdup(name) : NULL;
	m->value.data = malloc(16);
	m->sources = calloc(f->gf_numsrc + 1, sizeof(*m->sources));
	if (!m->interface || !m->value.data || !m->sources)
		return -ENOMEM;
	m->value.len = put_addr(&g->addr.any, m->value.data);
	for (uint32_t i = 0; i < f->gf_numsrc; i++) {
		m->sources[i].data = malloc(16);
		if (!m->sources[i].data)
			return -ENOMEM;
		m->sources[i].len = put_addr(&f->gf_slist[i], m->sources[i].data);
		m->n_sources++;
	}
	return 0;
}

static int look_at(int fd, SkOptsEntry *o, const struct group *g)
{
	int r;
	CK_AUTO(free) struct group_filter *f = ask(fd, g, &r);
	SkMoreEntry **grown, *m;

	if (!f)
		return r;
	grown = reallocarray(o->more, o->n_more + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	o->more = grown;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	sk_more_entry__init(m);
	o->more[o->n_more++] = m;
	return fill(m, g, f);
}

/* "1\tlo        :     1      V3", then lines with a group: "\t\t\t\t010000E0     1 0:00000000\t\t0"
 */
static int each_v4(int fd, SkOptsEntry *o, char *text)
{
	struct group g = { .addr = { .len = sizeof(g.addr.in) } };
	char *rest = NULL;
	int r = 0;

	g.addr.in.sin_family = AF_INET;
	for (char *line = strtok_r(text, "\n", &rest); line && r == 0;
	     line = strtok_r(NULL, "\n", &rest)) {
		if (line[0] >= '0' && line[0] <= '9') {
			g.index = (unsigned int)strtoul(line, NULL, 10);
		} else if (line[0] == '\t' && g.index) {
			g.addr.in.sin_addr.s_addr = (uint32_t)strtoul(line, NULL, 16);
			r = look_at(fd, o, &g);
		}
	}
	return r;
}

/* "1    lo              ff020000000000000000000000000001     1 0000000C 0" */
static int each_v6(int fd, SkOptsEntry *o, char *text)
{
	struct group g = { .addr = { .len = sizeof(g.addr.in6) } };
	char *rest = NULL;
	int r = 0;

	g.addr.in6.sin6_family = AF_INET6;
	for (char *line = strtok_r(text, "\n", &rest); line && r == 0;
	     line = strtok_r(NULL, "\n", &rest)) {
		char *at = NULL, two[3] = "";
		const char *index = strtok_r(line, " ", &at), *name = strtok_r(NULL, " ", &at);
		const char *hex = name ? strtok_r(NULL, " ", &at) : NULL;

		if (!hex || strlen(hex) != 32)
			continue;
		g.index = (unsigned int)strtoul(index, NULL, 10);
		for (int i = 0; i < 16; i++) {
			memcpy(two, hex + 2 * (size_t)i, 2);
			g.addr.in6.sin6_addr.s6_addr[i] = (uint8_t)strtoul(two, NULL, 16);
		}
		r = look_at(fd, o, &g);
	}
	return r;
}

int res_sock_groups_read(int fd, const struct res_sock *s, SkOptsEntry *o, struct ck_err *err)
{
	CK_AUTO(free) char *v4 = NULL;
	CK_AUTO(free) char *v6 = NULL;
	int r = 0;

	if ((s->family != AF_INET && s->family != AF_INET6) || s->type == SOCK_STREAM)
		return 0;
	/* COMPAT: a kernel may be without one of them */
	if (ck_read_file_at(AT_FDCWD, "/proc/net/igmp", MAX_TEXT, &v4, NULL) == 0)
		r = each_v4(fd, o, v4);
	if (r == 0 && s->family == AF_INET6 &&
	    ck_read_file_at(AT_FDCWD, "/proc/net/igmp6", MAX_TEXT, &v6, NULL) == 0)
		r = each_v6(fd, o, v6);
	return r < 0 ? ck_fail(err, CK_ERR_SYS, r, "cannot remember a multicast group") : 0;
}

/* ---- restore ---- */

bool res_sock_is_group(const SkMoreEntry *m)
{
	return m->opt == MCAST_JOIN_GROUP && (m->level == IPPROTO_IP || m->level == IPPROTO_IPV6);
}

int res_sock_group_check(const SkMoreEntry *m, struct ck_err *err)
{
	size_t len = m->level == IPPROTO_IP ? 4 : 16;
	bool right = m->value.len == len && m->has_mode && m->mode <= MCAST_INCLUDE &&
		     m->interface && strlen(m->interface) < IF_NAMESIZE &&
		     m->n_sources <= MAX_SOURCES;

	for (size_t i = 0; i < m->n_sources && right; i++)
		right = m->sources[i].len == len;
	return right ? 0
		     : ck_fail(err, CK_ERR_IMAGE, -EINVAL,
			       "a multicast group of a socket makes no sense");
}

static void get_addr(const SkMoreEntry *m, const ProtobufCBinaryData *from,
		     struct sockaddr_storage *ret)
{
	struct sock_addr s = { .len = 0 };

	memset(&s.any, 0, sizeof(s.any));
	if (m->level == IPPROTO_IP) {
		s.in.sin_family = AF_INET;
		memcpy(&s.in.sin_addr, from->data, 4);
	} else {
		s.in6.sin6_family = AF_INET6;
		memcpy(&s.in6.sin6_addr, from->data, 16);
	}
	*ret = s.any;
}

/* Of a member that takes all, or some sources only, each is joined; one that takes all but some
 * says so once it is a member. */
static int join(int fd, const SkMoreEntry *m, unsigned int index)
{
	struct group_req all = { .gr_interface = index };
	struct group_source_req one = { .gsr_interface = index };

	get_addr(m, &m->value, &all.gr_group);
	one.gsr_group = all.gr_group;
	if (m->mode == MCAST_EXCLUDE &&
	    setsockopt(fd, (int)m->level, MCAST_JOIN_GROUP, &all, sizeof(all)) < 0)
		return -errno;
	for (size_t i = 0; i < m->n_sources; i++) {
		get_addr(m, &m->sources[i], &one.gsr_source);
		if (setsockopt(fd, (int)m->level,
			       m->mode == MCAST_EXCLUDE ? MCAST_BLOCK_SOURCE
							: MCAST_JOIN_SOURCE_GROUP,
			       &one, sizeof(one)) < 0)
			return -errno;
	}
	return 0;
}

int res_sock_group_set(int fd, const SkMoreEntry *m, struct ck_err *err)
{
	unsigned int index = if_nametoindex(m->interface);
	int r;

	if (!index)
		return ck_fail(err, CK_ERR_HOST, -ENODEV,
			       "a socket needs the interface %s, which is not here", m->interface);
	r = join(fd, m, index);
	return r < 0 ? ck_fail(err, CK_ERR_SYS, r,
			       "cannot make a socket member of a multicast group at %s",
			       m->interface)
		     : 0;
}
