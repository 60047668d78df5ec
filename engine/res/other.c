// SPDX-License-Identifier: Apache-2.0
/*
 * The last row: whatever no other kind takes is refused by name, with a hint. Also knows what a
 * descriptor is when it can't be kept, so that the user can find it in the program.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/auto.h"
#include "engine/res/res.h"

/* What a link's text begins with */
static const struct {
	const char *link, *what, *hint;
} kinds[] = {
	{ "socket:", "a socket", "let the job close its connections before the dump" },
	{ "anon_inode:[fanotify]", "a fanotify group", "let the job stop watching files" },
	{ "anon_inode:[userfaultfd]", "a userfaultfd", NULL },
	{ "anon_inode:[perf_event]", "a performance counter",
	  "let the job stop measuring before the dump" },
	{ "anon_inode:[io_uring]", "an io_uring instance",
	  "many libraries fall back to epoll: UV_USE_IO_URING=0 does it for libuv" },
	{ "anon_inode:kvm", "a virtual machine", NULL },
	{ "anon_inode:bpf", "a BPF object", NULL },
	{ "anon_inode:", "an anonymous kernel object", NULL },
	{ "/memfd:", "a memfd", NULL },
	{ "/dev/nvidia", "an NVIDIA device", "GPU state can't be kept" },
	{ "/dev/dri/", "a graphics device", "GPU state can't be kept" },
	{ "/dev/kfd", "an AMD GPU", "GPU state can't be kept" },
	{ "/dev/infiniband/", "an InfiniBand device",
	  "have MPI use TCP or shared memory, if it must be dumped" },
	{ "/dev/fuse", "a FUSE connection", NULL },
	{ "/dev/net/tun", "a network tunnel", NULL },
	{ "mnt:[", "a namespace", NULL },
	{ "net:[", "a namespace", NULL },
	{ "user:[", "a namespace", NULL },
	{ "pid:[", "a namespace", NULL },
	{ "ipc:[", "a namespace", NULL },
	{ "uts:[", "a namespace", NULL },
	{ "time:[", "a namespace", NULL },
	{ "cgroup:[", "a namespace", NULL },
};

static bool other_match(const struct engine_fd *fd)
{
	(void)fd;
	return true;
}

/* "a TCP socket": the family is asked of the socket itself, where that is allowed. */
static void describe_socket(struct engine_dump *d, const struct res_file *f, char *buf, size_t size)
{
	CK_AUTO(fd) int fd = res_file_borrow(d, f);
	int family = -1, type = -1;
	socklen_t len = sizeof(family);
	const char *name;

	if (fd >= 0) {
		(void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
		len = sizeof(type);
		(void)getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	}
	switch (family) {
	case AF_UNIX:
		name = "a Unix socket";
		break;
	case AF_INET:
	case AF_INET6:
		name = type == SOCK_STREAM  ? "a TCP socket"
		       : type == SOCK_DGRAM ? "a UDP socket"
					    : "an IP socket";
		break;
	case AF_NETLINK:
		name = "a netlink socket";
		break;
	case AF_PACKET:
		name = "a packet socket";
		break;
	default:
		name = "a socket";
		break;
	}
	snprintf(buf, size, "%s", name);
}

static int other_look(struct engine_dump *d, struct res_file *f, struct ck_err *err)
{
	const char *hint = NULL;
	char what[64] = "";
	int r;

	for (size_t i = 0; i < CK_ARRAY_SIZE(kinds) && !what[0]; i++)
		if (strncmp(f->link, kinds[i].link, strlen(kinds[i].link)) == 0) {
			snprintf(what, sizeof(what), "%s", kinds[i].what);
			hint = kinds[i].hint;
		}
	if (S_ISSOCK(f->st.st_mode))
		describe_socket(d, f, what, sizeof(what));
	else if (!what[0] && S_ISCHR(f->st.st_mode))
		snprintf(what, sizeof(what), "a device %u:%u", major(f->st.st_rdev),
			 minor(f->st.st_rdev));
	else if (!what[0] && S_ISBLK(f->st.st_mode))
		snprintf(what, sizeof(what), "a block device");
	else if (!what[0])
		snprintf(what, sizeof(what), "an unknown kind of file");
	r = ck_fail(err, CK_ERR_REFUSED, -EOPNOTSUPP, "cannot dump %s (%s)", what, f->link);
	return hint ? ck_err_hint(err, r, "%s", hint) : r;
}

static bool other_owns(const FileEntry *fe)
{
	(void)fe;
	return true;
}

static int other_load(struct engine_restore *r, struct res_rfile *f, struct ck_err *err)
{
	const ProtobufCEnumValue *v =
		protobuf_c_enum_descriptor_get_value(&fd_types__descriptor, (int)f->fe->type);

	(void)r;
	return ck_fail(err, CK_ERR_HOST, -EOPNOTSUPP, "cannot restore a descriptor of type %s",
		       v ? v->name : "unknown");
}

const struct res_type res_type_other = {
	.name = "something unknown",
	.fd_type = FD_TYPES__UND,
	.match = other_match,
	.look = other_look,
	.owns = other_owns,
	.load = other_load,
};
