// SPDX-License-Identifier: Apache-2.0
/*
 * Random messages through the fuzz target: well-formed ones of every kind, then the same with some
 * bytes changed. CKPT_SEED chooses others than the usual ones, CKPT_N how many rounds.
 */
#include <check.h>
#include <stdlib.h>

#include "../fuzz/fuzz-image.c" /* NOLINT(bugprone-suspicious-include) */
#include "tests/unit/rnd.h"

static uint64_t state;

struct out {
	uint8_t data[1 << 16];
	size_t len;
};

static void put(struct out *o, const void *data, size_t len)
{
	if (len > sizeof(o->data) - o->len)
		return;
	memcpy(o->data + o->len, data, len);
	o->len += len;
}

static void put_u8(struct out *o, uint32_t v)
{
	uint8_t b = (uint8_t)v;

	put(o, &b, 1);
}

static void put_varint(struct out *o, uint64_t v)
{
	do {
		uint8_t b = (v & 0x7f) | (v > 0x7f ? 0x80 : 0);

		put(o, &b, 1);
		v >>= 7;
	} while (v);
}

static uint64_t number(void)
{
	static const uint64_t edge[] = { 0,          1,          127,
					 128,        INT32_MAX,  1ull << 31,
					 UINT32_MAX, 1ull << 53, (1ull << 53) + 1,
					 INT64_MAX,  UINT64_MAX };

	return rnd(&state, 4) ? rnd(&state, 1000) : edge[rnd(&state, CK_ARRAY_SIZE(edge))];
}

static void gen(struct out *o, const ProtobufCMessageDescriptor *d, int depth);

static void gen_value(struct out *o, const ProtobufCFieldDescriptor *f, int depth)
{
	static struct out *inner[8];
	uint64_t v = number();
	struct out *in;

	switch (f->type) {
	case PROTOBUF_C_TYPE_FIXED64:
		put_varint(o, f->id << 3 | 1);
		put(o, &v, 8);
		return;
	case PROTOBUF_C_TYPE_FIXED32:
		put_varint(o, f->id << 3 | 5);
		put(o, &v, 4);
		return;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		break;
	default:
		put_varint(o, f->id << 3);
		put_varint(o, f->type == PROTOBUF_C_TYPE_BOOL ? v & 1 : v);
		return;
	}
	ck_assert_int_lt(depth, CK_ARRAY_SIZE(inner));
	if (!inner[depth])
		inner[depth] = malloc(sizeof(*in));
	in = inner[depth];
	in->len = 0;
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		gen(in, f->descriptor, depth + 1);
	else
		for (uint32_t i = rnd(&state, 12); i; i--)
			put_u8(in, rnd(&state, 8) ? 32 + rnd(&state, 95) : rnd(&state, 256));
	put_varint(o, f->id << 3 | 2);
	put_varint(o, in->len);
	put(o, in->data, in->len);
}

static void gen(struct out *o, const ProtobufCMessageDescriptor *d, int depth)
{
	for (unsigned int i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		uint32_t n = 1;

		if (f->label != PROTOBUF_C_LABEL_REQUIRED)
			n = f->label == PROTOBUF_C_LABEL_REPEATED ? rnd(&state, 4) : rnd(&state, 2);
		while (n--)
			gen_value(o, f, depth);
	}
	if (rnd(&state, 4) == 0) {
		/* A field that nobody knows. */
		put_varint(o, 5000 << 3);
		put_varint(o, number());
	}
}

/* A whole file of a kind, as the target takes it. */
static void gen_file(struct out *o, enum image_kind kind)
{
	static struct out message;
	const struct image_type *t = &image_types[kind];
	char name[IMAGE_NAME_MAX];

	image_file_name(kind, 1, name);
	o->len = 0;
	put(o, name, strlen(name));
	put_u8(o, '\n');
	put_u8(o, t->flags & IMAGE_F_SEALED ? 3 : 1);
	for (uint32_t i = 0, n = 1 + rnd(&state, 4); i < n; i++) {
		uint32_t len;

		message.len = 0;
		gen(&message, i == 0 && t->head ? t->head : t->entry, 0);
		len = (uint32_t)message.len;
		put(o, &len, 4);
		put(o, message.data, message.len);
	}
}

static void run(bool damage)
{
	static struct out o;
	long n = rnd_env("CKPT_N", 10) * 20;

	state = (uint64_t)rnd_env("CKPT_SEED", 1);
	for (long round = 0; round < n; round++) {
		for (enum image_kind k = 0; k < IMAGE_N_KINDS; k++) {
			if (!image_types[k].entry)
				continue;
			gen_file(&o, k);
			for (uint32_t i = damage ? 1 + rnd(&state, 4) : 0; i; i--)
				o.data[rnd(&state, (uint32_t)o.len)] = (uint8_t)rnd(&state, 256);
			if (damage && rnd(&state, 4) == 0)
				o.len = rnd(&state, (uint32_t)o.len + 1);
			LLVMFuzzerTestOneInput(o.data, o.len);
		}
	}
}

START_TEST(random_messages)
{
	run(false);
	/* One to four entries each; the raw bytes that EXTRA files promise are mostly not there. */
	ck_assert_uint_gt(n_decoded, rnd_env("CKPT_N", 10) * 20 * (IMAGE_N_KINDS - 5));
}
END_TEST

START_TEST(damaged_messages)
{
	run(true);
	ck_assert_uint_gt(n_decoded, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("image-fuzz");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 300);
	tcase_add_test(t, random_messages);
	tcase_add_test(t, damaged_messages);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
