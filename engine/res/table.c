// SPDX-License-Identifier: Apache-2.0
/*
 * The table of kinds. Order is meaning: a descriptor belongs to the first row that matches it, an
 * entry of an image to the first row that owns it. The last row takes everything, and refuses.
 */
#include "base/auto.h"
#include "engine/res/res.h"

/* clang-format off */
const struct res_type *const res_types[] = {
	&res_type_procfile,
	&res_type_path, /* before the others: with O_PATH only the path is open, whatever it is of */
	&res_type_regular,
	&res_type_dir,
	&res_type_device,
	&res_type_tty,
	&res_type_ptmx,
	&res_type_pipe,
	&res_type_fifo,
	&res_type_eventfd,
	&res_type_epoll,
	&res_type_timerfd,
	&res_type_signalfd,
	&res_type_pidfd,
	&res_type_socket, /* hands over to the next three, which no descriptor matches by itself */
	&res_type_unix,
	&res_type_inet,
	&res_type_netlink,
	&res_type_inotify, /* behind all others: what they do to files is not to be seen by it */
	&res_type_other, /* the last: refuses */
};
/* clang-format on */
const size_t res_n_types = CK_ARRAY_SIZE(res_types);

const struct res_type *res_type_of(const struct engine_fd *fd)
{
	size_t i = 0;

	while (i < res_n_types - 1 && !(res_types[i]->match && res_types[i]->match(fd)))
		i++;
	return res_types[i];
}

const struct res_type *res_type_owning(const FileEntry *fe)
{
	size_t i = 0;

	while (i < res_n_types - 1 && (res_types[i]->fd_type != fe->type || !res_types[i]->owns ||
				       !res_types[i]->owns(fe)))
		i++;
	return res_types[i];
}
