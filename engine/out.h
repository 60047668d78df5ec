/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages on their way into files: while one buffer is filled by the caller, a thread writes the one
 * before. One per dump, for one file after another.
 */
#ifndef CK_ENGINE_OUT_H
#define CK_ENGINE_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ck_err;
struct image_file;
struct engine_out;

/*
 * ends: the job does not go on afterwards, so that what follows the copying may be done beside it:
 * checksums, and the way to the disk.
 */
int engine_out_new(bool ends, struct engine_out **ret, struct ck_err *err);
void engine_out_free(struct engine_out *o); /* waits for the thread; what is not written is lost */

/* What is added from here on goes into this raw file, which the caller keeps open until the end. */
void engine_out_begin(struct engine_out *o, struct image_file *f);
/* Where the file's next bytes go: *ret_len bytes of room, whole pages and at least one. Waits for
 * room. Valid until the next engine_out_add(). */
uint8_t *engine_out_room(struct engine_out *o, size_t *ret_len);
/* The first len bytes of the room are the file's next. A failed write is told here or at the end.
 */
int engine_out_add(struct engine_out *o, size_t len, struct ck_err *err);
/* Until nothing is on its way, whether it could be written or not. */
void engine_out_wait(struct engine_out *o);
/*
 * Everything is in the file. *ret_sums: the checksums that image_write_sums() takes, the caller's
 * to free; NULL if the job goes on or there is one CPU only: it would stand still for them.
 */
int engine_out_end(struct engine_out *o, uint64_t **ret_sums, size_t *ret_n, struct ck_err *err);

#endif
