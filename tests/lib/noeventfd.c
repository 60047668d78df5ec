// SPDX-License-Identifier: Apache-2.0
/*
 * A preloaded library without eventfd: libevent, and with it Open MPI, then uses pipes. For
 * programs that start such a library although they run on their own, as Debian's LAMMPS does.
 */
#include <errno.h>

int eventfd(unsigned int count, int flags);
int eventfd(unsigned int count, int flags)
{
	(void)count;
	(void)flags;
	errno = ENOSYS;
	return -1;
}
