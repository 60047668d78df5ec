/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to the files of engine/res/ that are about sockets. A socket is read through a borrowed
 * descriptor (res_file_borrow()) and sock_diag(7), neither of which needs privilege, and neither
 * of which consumes anything. At restore all sockets of a family are made at once, for their ends
 * belong together, by the process that all tasks are forked from.
 */
#ifndef CK_ENGINE_RES_SOCK_H
#define CK_ENGINE_RES_SOCK_H

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "engine/res/res.h"
#include "image/sk-packet.pb-c.h"

/* Linux include/net/tcp_states.h; Unix sockets use these three. */
enum {
	SOCK_ESTABLISHED = 1,
	SOCK_CLOSED = 7,
	SOCK_LISTENING = 10,
};

/* As what a connection comes back that can't be made again; the image's numbers. */
enum sock_ended {
	SOCK_ENDED_CLOSED = 1, /* the other side has closed it */
	SOCK_ENDED_RESET = 2,
	SOCK_ENDED_OVER = 3, /* both sides have closed it */
};

/* CRIU's word in unix_sk_entry.uflags for one that is connected to outside: it refuses that unless
 * it is told to do something about it. */
#define SOCK_EXTERN 1u

/* A socket address; len 0: none. */
struct sock_addr {
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_storage any;
	};
};

/* sock.c: "a Unix socket bound to ..." -> text for messages; never fails. */
void res_sock_addr_text(const struct sock_addr *a, char *buf, size_t size);
bool res_sock_addr_equal(const struct sock_addr *a, const struct sock_addr *b);
/* getsockname(), getpeername(): 0 or -errno. */
int res_sock_name(int fd, struct sock_addr *ret);
int res_sock_peer_name(int fd, struct sock_addr *ret);

/* ---- options: one table per message ---- */
enum sock_opt_kind {
	SOCK_OPT_BOOL,
	SOCK_OPT_U32,
	SOCK_OPT_S32,
};
struct sock_opt {
	int level, opt;
	enum sock_opt_kind kind;
	size_t has, value; /* offsets into the message */
	const char *name;
};
/* What the kernel does not know of this socket is left out. */
void res_sock_opts_read(int fd, const struct sock_opt *t, size_t n, void *msg);
/* Sets what differs. */
int res_sock_opts_set(int fd, const struct sock_opt *t, size_t n, const void *msg,
		      struct ck_err *err);

struct res_sock;

/* Bits of SO_BUF_LOCK */
#define SOCK_LOCK_SND 1u
#define SOCK_LOCK_RCV 2u

/* The common ones. o's strings and arrays are owned by the caller: res_sock_common_done(). */
int res_sock_common_read(int fd, SkOptsEntry *o, struct ck_err *err);
void res_sock_common_done(SkOptsEntry *o);
int res_sock_common_check(const SkOptsEntry *o, struct ck_err *err);
/* tuned: the kernel sizes the buffers by itself, unless they are locked. */
int res_sock_common_set(int fd, const SkOptsEntry *o, bool tuned, struct ck_err *err);
/* sock-more.c: options without a field, in o->more. idle: there is no TCP connection. */
int res_sock_more_read(int fd, struct res_sock *s, bool idle, struct ck_err *err);
void res_sock_more_done(SkOptsEntry *o);
int res_sock_more_check(const SkOptsEntry *o, struct ck_err *err);
int res_sock_more_set(int fd, const SkOptsEntry *o, struct ck_err *err);
/* sock-group.c: multicast memberships, in o->more. */
int res_sock_groups_read(int fd, const struct res_sock *s, SkOptsEntry *o, struct ck_err *err);
bool res_sock_is_group(const SkMoreEntry *m);
int res_sock_group_check(const SkMoreEntry *m, struct ck_err *err);
int res_sock_group_set(int fd, const SkMoreEntry *m, struct ck_err *err);
/* As much room to send as this user may have; res_sock_common_set() takes it back. */
void res_sock_widen(int fd);

/* ---- diag.c: what sock_diag(7) tells ---- */
struct sock_diag {
	uint32_t ino, type, state, peer, shutdown;
	uint32_t rqueue, wqueue; /* of listening ones: connections that wait, backlog */
	bool has_vfs;
	uint32_t vfs_ino, vfs_dev; /* of the file that it is bound to; dev as the kernel has it */
	uint32_t *icons;           /* inos of clients that wait to be accepted, in order; 0: gone */
	size_t n_icons;
};
/* The Unix socket with this ino, or NULL: it is of another network namespace. The first call reads
 * all of them, into d->res. */
int res_sock_diag_unix(struct engine_dump *d, uint32_t ino, const struct sock_diag **ret,
		       struct ck_err *err);
void res_sock_diag_done(struct res_dump *res);
/* The TCP socket that is at from and connected to to, listening ones not: its ino, 0 if no process
 * has it any more. -ENOENT: there is none. */
int res_sock_diag_tcp(const struct sock_addr *from, const struct sock_addr *to, uint32_t *ret_ino,
		      uint32_t *ret_state);

/* ---- dump ---- */
struct sock_packet {
	uint8_t *data;
	size_t len;
	struct sock_addr from;
	uint32_t *rights; /* ids of files */
	size_t n_rights;
};

struct res_sock {
	struct res_file *f;
	int family, type, protocol;
	struct sock_addr name, peer_name;
	uint32_t ino, state, shutdown, backlog;
	uint32_t peer;           /* ino, 0 if none */
	uint32_t waiting, found; /* connections that wait to be accepted: all, and the job's */
	uint32_t pending;        /* place among those that wait to be accepted, from 1 */
	bool orphan;             /* connected to what is gone */
	bool accepted;
	bool outside;          /* connected to outside of the job */
	enum sock_ended ended; /* or 0 */
	bool deleted;          /* its path leads elsewhere */
	struct stat file;      /* of the path, unless deleted */
	SkOptsEntry opts;
	struct sock_packet *q;
	size_t n_q;
};

/* sock.c: the file's socket, with opts and names; f->sock. */
int res_sock_look(struct engine_dump *d, struct res_file *f, int fd, struct ck_err *err);
struct res_sock *res_sock_by_ino(const struct engine_dump *d, int family, uint32_t ino);
/* "task 812 (dbus-daemon)" of a process that has the socket, or "nobody that we may see". */
void res_sock_holder(uint32_t ino, char *buf, size_t size);

/* unix.c, inet.c, netlink.c: called by the socket row once the family is known. */
int res_sock_unix_look(struct engine_dump *d, struct res_file *f, int fd, struct ck_err *err);
int res_sock_netlink_look(struct engine_dump *d, struct res_file *f, int fd, struct ck_err *err);
int res_sock_inet_look(struct engine_dump *d, struct res_file *f, int fd, struct ck_err *err);

/* inet.c: what TCP tells; the state is one of those with a connection; the other side has closed.
 */
int res_sock_tcp_info(int fd, struct tcp_info *ret);
bool res_sock_is_connected(const struct res_sock *s);
bool res_sock_has_fin(uint32_t state);
/* In network order; at the same place in both families. */
static inline uint16_t res_sock_port(const struct sock_addr *a)
{
	return a->in.sin_port;
}

/* peek.c: reads the queue without consuming, into s->q. */
int res_sock_peek(struct engine_dump *d, struct res_sock *s, struct ck_err *err);

/* queue.c */
int res_sock_queue_dump(struct engine_dump *d, const struct res_sock *s, struct ck_err *err);

/* ---- restore ---- */
/* unix-open.c */
int res_sock_unix_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err);
int res_sock_unix_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
		       struct ck_err *err);
int res_sock_unix_finish(struct engine_restore *r, struct ck_err *err);

/* inet-open.c */
int res_sock_inet_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err);
int res_sock_inet_open(struct engine_restore *r, struct res_rfile *f, int *ret_fd,
		       struct ck_err *err);
int res_sock_inet_finish(struct engine_restore *r, struct ck_err *err);

/* inet-settle.c: address and port are the same, whatever the families; and: it is every address.
 */
bool res_sock_same_end(const struct sock_addr *a, const struct sock_addr *b);
bool res_sock_is_any(const struct sock_addr *a);
/* Writes an address of IPv4 as a socket of this family does; false if it is of IPv6 only. */
bool res_sock_in_family(struct sock_addr *a, int family);
extern const struct sock_opt res_sock_tcp_opts[], res_sock_ip_opts[], res_sock_ip6_opts[];
extern const size_t res_sock_n_tcp_opts, res_sock_n_ip_opts, res_sock_n_ip6_opts;

/* queue.c: calls fn for each packet of the socket's queue, in order; data is of length p->length.
 */
int res_sock_queue_each(struct engine_restore *r, uint32_t id_for,
			int (*fn)(const SkPacketEntry *p, const uint8_t *data, void *arg,
				  struct ck_err *err),
			void *arg, struct ck_err *err);
/* Sends a packet with the descriptors that go with it; to may be NULL. */
int res_sock_queue_send(struct engine_restore *r, int fd, const SkPacketEntry *p,
			const uint8_t *data, const struct sock_addr *to, struct ck_err *err);
/* The queue makes sense; its files are wanted. */
int res_sock_queue_load(struct engine_restore *r, uint32_t id_for, struct ck_err *err);

#endif
