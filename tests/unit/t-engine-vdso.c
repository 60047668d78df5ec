// SPDX-License-Identifier: Apache-2.0
/* Redirecting a vDSO: the running kernel's is parsed, copied, redirected and called. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "engine/vdso.h"

static struct engine_rvdso *v;

static void setup(void)
{
	ck_assert_int_eq(engine_vdso_find(&v, NULL), 0);
	ck_assert_ptr_nonnull(v->code);
}

static void teardown(void)
{
	engine_vdso_free(v);
}

/* Where the C library would find name: offset of a symbol by a search over the dynamic symbols. */
static long (*lookup(uint8_t *code, const char *name))(long, void *, long, void *, unsigned long)
{
	const unsigned char *p = (void *)code;
	size_t phoff = *(const uint64_t *)(const void *)(p + 32), sym = 0, str = 0, hash = 0;
	const uint64_t *dyn = NULL;

	for (int i = 0; i < *(const uint16_t *)(const void *)(p + 56); i++)
		if (*(const uint32_t *)(const void *)(p + phoff + (size_t)i * 56) == 2)
			dyn = (const void *)(p +
					     *(const uint64_t *)(const void *)(p + phoff +
									       (size_t)i * 56 + 8));
	for (; dyn && dyn[0]; dyn += 2) {
		sym = dyn[0] == 6 ? dyn[1] : sym;
		str = dyn[0] == 5 ? dyn[1] : str;
		hash = dyn[0] == 4 ? dyn[1] : hash;
	}
	for (uint32_t i = 0; hash && i < ((const uint32_t *)(const void *)(p + hash))[1]; i++) {
		const unsigned char *s = p + sym + i * 24;

		if (!strcmp((const char *)p + str + *(const uint32_t *)(const void *)s, name))
			return (void *)(code + *(const uint64_t *)(const void *)(s + 8));
	}
	return NULL;
}

static uint8_t *mapped_copy(void)
{
	size_t len = v->end - v->start;
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	memcpy(p, v->code, len);
	return p;
}

/* Far from its data pages, only redirected functions can work. */
static void call_all(uint8_t *p)
{
	struct timespec a = { 0 }, b = { 0 };
	long tv[2] = { 0 };
	time_t t = 0;
	unsigned int cpu = ~0u;

	ck_assert_int_eq(lookup(p, "__vdso_clock_gettime")(CLOCK_MONOTONIC, &a, 0, 0, 0), 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	ck_assert_int_le(b.tv_sec - a.tv_sec, 1);
	ck_assert_int_eq(lookup(p, "__vdso_gettimeofday")((long)(void *)tv, NULL, 0, 0, 0), 0);
	ck_assert_int_le(labs(time(NULL) - tv[0]), 1);
	ck_assert_int_le(labs(lookup(p, "__vdso_time")((long)(void *)&t, NULL, 0, 0, 0) -
			      time(NULL)),
			 1);
	ck_assert_int_eq(lookup(p, "__vdso_getcpu")((long)(void *)&cpu, NULL, 0, 0, 0), 0);
	ck_assert_uint_ne(cpu, ~0u);
	a.tv_nsec = 0;
	if (!lookup(p, "__vdso_clock_getres"))
		return;
	ck_assert_int_eq(lookup(p, "__vdso_clock_getres")(CLOCK_MONOTONIC, &a, 0, 0, 0), 0);
	ck_assert_int_eq(syscall(SYS_clock_getres, CLOCK_MONOTONIC, &b), 0);
	ck_assert_int_eq(a.tv_nsec, b.tv_nsec);
	ck_assert_int_gt(a.tv_nsec, 0);
}

START_TEST(finds_it)
{
	ck_assert_uint_ge(v->n, 2);
	ck_assert_uint_gt(engine_vdso_loaded(v->code, v->end - v->start), 1000);
	ck_assert_uint_eq(engine_vdso_span(v), v->map[v->n - 1].end - v->map[0].start);
	ck_assert(engine_vdso_same(v->code, v->end - v->start, v->code, v->end - v->start));
}
END_TEST

START_TEST(bytes_behind_the_segment_count)
{
	size_t len = v->end - v->start, loaded = engine_vdso_loaded(v->code, len);
	uint8_t *p = mapped_copy();

	ck_assert(engine_vdso_same(p, len, v->code, len));
	p[loaded] ^= 1;
	ck_assert(!engine_vdso_same(p, len, v->code, len));
	p[loaded] ^= 1;
	p[loaded - 1] ^= 1;
	ck_assert(!engine_vdso_same(p, len, v->code, len));
}
END_TEST

START_TEST(leads_to_the_other)
{
	size_t len = v->end - v->start;
	uint8_t *p = mapped_copy();

	ck_assert_int_ge(engine_vdso_redirect(p, len, v->code, len, v->start, NULL), 4);
	call_all(p);
	ck_assert_int_eq(p[(uint8_t *)(void *)lookup(p, "__vdso_time") - p], 0x48);
}
END_TEST

START_TEST(makes_the_calls_itself)
{
	size_t len = v->end - v->start;
	uint8_t *p = mapped_copy(), buf[16] = { 0 }, none[16] = { 0 };
	long (*getrandom_)(long, void *, long, void *, unsigned long);

	ck_assert_int_ge(engine_vdso_redirect(p, len, NULL, 0, 0, NULL), 4);
	call_all(p);
	getrandom_ = lookup(p, "__vdso_getrandom");
	if (!getrandom_)
		return;
	ck_assert_int_eq(getrandom_((long)(void *)buf, (void *)sizeof(buf), 0, NULL, 0),
			 sizeof(buf));
	ck_assert_mem_ne(buf, none, sizeof(buf));
	ck_assert_int_eq(getrandom_(0, NULL, 0, buf, ~0ul), -ENOSYS);
}
END_TEST

START_TEST(leads_there_again)
{
	size_t len = v->end - v->start;
	uint8_t *p = mapped_copy(), *q = mapped_copy();

	/* third generation: p -> q -> the running one */
	ck_assert_int_ge(engine_vdso_redirect(q, len, v->code, len, v->start, NULL), 4);
	ck_assert_int_ge(engine_vdso_redirect(p, len, v->code, len, (uintptr_t)q, NULL), 4);
	call_all(p);
}
END_TEST

/* Every single byte changed: no crash, no hang; what it says does not matter. */
START_TEST(hostile_bytes)
{
	size_t len = v->end - v->start, loaded = engine_vdso_loaded(v->code, len);
	uint8_t *p = malloc(len);

	ck_assert_ptr_nonnull(p);
	for (size_t i = 0; i < loaded && i < 0x700; i++)
		for (int k = 0; k < 3; k++) {
			memcpy(p, v->code, len);
			p[i] = k == 0 ? 0xff : k == 1 ? 0x7f : (uint8_t)(p[i] + 1);
			engine_vdso_loaded(p, len);
			engine_vdso_redirect(p, len, v->code, len, v->start, NULL);
		}
	for (size_t n = 0; n < 1024; n++)
		engine_vdso_redirect(p, n, NULL, 0, 0, NULL);
	free(p);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine-vdso");
	TCase *t = tcase_create("all");
	SRunner *sr;
	int bad;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, finds_it);
	tcase_add_test(t, bytes_behind_the_segment_count);
	tcase_add_test(t, leads_to_the_other);
	tcase_add_test(t, makes_the_calls_itself);
	tcase_add_test(t, leads_there_again);
	tcase_add_test(t, hostile_bytes);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	bad = srunner_ntests_failed(sr);
	srunner_free(sr);
	return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
