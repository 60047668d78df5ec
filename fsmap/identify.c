// SPDX-License-Identifier: Apache-2.0
/*
 * What identifies a file's contents. Reads by pread() only: the descriptor may be shared with
 * somebody whose offset matters. A file that shrinks meanwhile is hashed as far as it goes; nothing
 * is mapped, so that can't kill us.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "fsmap/fsmap.h"

enum { HASH_CHUNK = 1 << 18, SAMPLE_BLOCK = 1 << 16 };

CK_DEFINE_AUTO(xxh, XXH64_state_t *, XXH64_freeState);

int fsmap_hash(int fd, uint64_t limit, uint64_t *ret, struct ck_err *err)
{
	CK_AUTO(xxh) XXH64_state_t *state = XXH64_createState();
	/* Most files are small, and big buffers are dear: the kernel clears them. */
	size_t chunk = limit < HASH_CHUNK ? (size_t)limit : HASH_CHUNK;
	CK_AUTO(free) void *buf = malloc(chunk ? chunk : 1);
	uint64_t off = 0;

	if (!state || !buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot hash a file");
	XXH64_reset(state, 0);
	while (off < limit) {
		size_t want = limit - off < chunk ? (size_t)(limit - off) : chunk;
		ssize_t n = ck_pread_full(fd, buf, want, (off_t)off);

		if (n < 0)
			return ck_fail(err, CK_ERR_SYS, (int)n, "cannot read a file");
		XXH64_update(state, buf, (size_t)n);
		off += (uint64_t)n;
		if ((size_t)n < want)
			break;
	}
	*ret = XXH64_digest(state);
	return 0;
}

int fsmap_sample(int fd, uint64_t size, uint64_t *ret, struct ck_err *err)
{
	CK_AUTO(xxh) XXH64_state_t *state = XXH64_createState();
	CK_AUTO(free) void *buf = malloc(SAMPLE_BLOCK);
	uint64_t last = size > SAMPLE_BLOCK ? size - SAMPLE_BLOCK : 0;

	if (!state || !buf)
		return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot hash a file");
	XXH64_reset(state, 0);
	XXH64_update(state, &size, sizeof(size));
	for (uint64_t i = 0; i < FSMAP_SAMPLES; i++) {
		/* last / n * i, without the overflow and with the rest */
		uint64_t off = last / (FSMAP_SAMPLES - 1) * i +
			       last % (FSMAP_SAMPLES - 1) * i / (FSMAP_SAMPLES - 1);
		size_t want = size - off < SAMPLE_BLOCK ? (size_t)(size - off) : SAMPLE_BLOCK;
		ssize_t n = ck_pread_full(fd, buf, want, (off_t)off);

		if (n < 0)
			return ck_fail(err, CK_ERR_SYS, (int)n, "cannot read a file");
		XXH64_update(state, buf, (size_t)n);
	}
	*ret = XXH64_digest(state);
	return 0;
}

int fsmap_identify(int fd, unsigned int flags, struct fsmap_identity *ret, struct ck_err *err)
{
	struct fsmap_identity id = { 0 };
	int fl = fcntl(fd, F_GETFL);
	int r;

	if (fl < 0)
		return ck_fail_errno(err, "cannot use a descriptor");
	if (fstat(fd, &id.st) < 0)
		return ck_fail_errno(err, "cannot stat a file");
	if (!S_ISREG(id.st.st_mode) || (fl & O_PATH) || (fl & O_ACCMODE) == O_WRONLY) {
		*ret = id;
		return 0;
	}
	r = ck_elf_build_id_fd(fd, id.build_id);
	if (r < 0)
		return ck_fail(err, CK_ERR_SYS, r, "cannot read a file");
	id.build_id_len = (size_t)r;
	if (!id.build_id_len && (flags & FSMAP_HASH)) {
		r = fsmap_hash(fd, UINT64_MAX, &id.hash, err);
		if (r < 0)
			return r;
		id.has_hash = true;
	}
	*ret = id;
	return 0;
}
