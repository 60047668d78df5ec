/* SPDX-License-Identifier: Apache-2.0 */
/* What tty.c (terminals that stay behind) and pty.c (those that the job makes) have in common. */
#ifndef CK_ENGINE_RES_TTY_H
#define CK_ENGINE_RES_TTY_H

#include "engine/res/res.h"
#include "image/tty.pb-c.h"

/* Documentation/admin-guide/devices.txt: the first of eight majors, Linux numbers all slaves in it
 */
enum { PTY_MAJOR = 136, PTY_INDEX_MAX = 0xfffff };

/* The kernel's struct termios; libc's is larger and without the line discipline. */
struct kernel_termios {
	uint32_t iflag, oflag, cflag, lflag;
	uint8_t line;
	uint8_t cc[19];
};
_Static_assert(sizeof(struct kernel_termios) == 36, "struct termios of linux/termbits.h");

/* tty.c */
/* A task's controlling terminal; 0 if it has none. */
dev_t res_tty_of(const struct engine_task *t);
/* Adds the modes that fd answers (which may be negative) to e, and writes it, once per e->id. */
int res_tty_put_info(struct engine_dump *d, const struct res_file *f, int fd, TtyInfoEntry *e,
		     struct ck_err *err);
/* Writes f's tty_file_entry, and its tty_info_entry. */
int res_tty_dump(struct engine_dump *d, struct res_file *f, struct ck_err *err);
const TtyInfoEntry *res_tty_info(const struct engine_restore *r, uint32_t id);
/* False if e is NULL or not complete. */
bool res_tty_termios(const TermiosEntry *e, struct kernel_termios *ret);

/* pty.c */
/* 1 if the job has the master of this slave, else 0. */
int res_pty_slave_look(struct engine_dump *d, struct res_file *f, struct ck_err *err);
/* Is it a slave whose master is gone? */
bool res_pty_is_hung_up(struct engine_dump *d, const struct res_file *f);
/* The tty_info_entry of one side. */
int res_pty_dump(struct engine_dump *d, const struct res_file *f, uint32_t *ret_id,
		 struct ck_err *err);
/* Is its master in the image? e may be NULL. */
bool res_pty_is_ours(const struct engine_restore *r, const TtyInfoEntry *e);
int res_pty_open(struct engine_restore *r, const TtyFileEntry *f, const TtyInfoEntry *e,
		 int *ret_fd, struct ck_err *err);
int res_pty_open_hung_up(struct engine_restore *r, const TtyFileEntry *f, int *ret_fd,
			 struct ck_err *err);
int res_ptys_finish(struct engine_restore *r, struct ck_err *err);

#endif
