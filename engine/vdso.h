/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vDSO of this kernel, and what becomes of the one a job was dumped with: the same kernel's is
 * moved to where the job had it; another kernel's becomes ordinary memory in which every exported
 * function jumps to this kernel's function of the same name, or to a routine that makes the call.
 */
#ifndef CK_ENGINE_VDSO_H
#define CK_ENGINE_VDSO_H

#include <stddef.h>
#include <stdint.h>

struct ck_err;
struct script;

#define ENGINE_VDSO_MAPS 8

/* What /proc/self/maps shows: data pages ([vvar], [vvar_vclock]) and the code, ascending. */
struct engine_rvdso {
	struct {
		uint64_t start, end;
	} map[ENGINE_VDSO_MAPS];
	size_t n;
	uint64_t start, end; /* of the code */
	uint8_t *code;       /* a copy, end - start bytes */
	uint64_t parked;     /* where map[0].start goes; the others keep their distances */
};

int engine_vdso_find(struct engine_rvdso **ret, struct ck_err *err);
void engine_vdso_free(struct engine_rvdso *v);
/* Bytes of address space from the first mapping to the last one's end. */
uint64_t engine_vdso_span(const struct engine_rvdso *v);

/* End of the only PT_LOAD segment of a vDSO of len bytes: what follows is no part of it. 0 if this
 * is no vDSO that we understand. */
size_t engine_vdso_loaded(const uint8_t *code, size_t len);
/* The same, with what lies behind the segment: a job may still need what a killed dump left there.
 */
int engine_vdso_same(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len);

/*
 * Rewrites old so that its functions lead to those of now (which may be NULL), which will lie at
 * now_at. Returns how many were redirected. CK_ERR_IMAGE if old is no vDSO, CK_ERR_HOST if there is
 * no room in it.
 */
int engine_vdso_redirect(uint8_t *old, size_t old_len, const uint8_t *now, size_t now_len,
			 uint64_t now_at, struct ck_err *err);

#endif
