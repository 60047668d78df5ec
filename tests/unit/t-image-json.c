// SPDX-License-Identifier: Apache-2.0
/*
 * Messages as JSON and back: exact numbers, names of enum values, texts that are no UTF-8; errors
 * say where they are.
 */
#include <check.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "image/ckpt.pb-c.h"
#include "image/core.pb-c.h"
#include "image/facts.pb-c.h"
#include "image/fdinfo.pb-c.h"
#include "image/image.h"
#include "image/needs.pb-c.h"

static char *to_text(const ProtobufCMessage *m)
{
	struct json_object *j = image_to_json(m);
	char *s;

	ck_assert_ptr_nonnull(j);
	s = strdup(json_object_to_json_string_ext(j, JSON_C_TO_STRING_PLAIN |
							     JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(j);
	return s;
}

static int from_text(const char *text, const ProtobufCMessageDescriptor *d, ProtobufCMessage **ret,
		     struct ck_err *err)
{
	struct json_object *j = json_tokener_parse(text);
	int r;

	ck_assert_msg(j, "the test's own text is no JSON: %s", text);
	*ret = NULL;
	r = image_from_json(j, d, ret, err);
	json_object_put(j);
	return r;
}

static void check_text(const ProtobufCMessage *m, const char *want)
{
	struct ck_err err = CK_ERR_INIT;
	ProtobufCMessage *again;
	char *text = to_text(m), *text2;

	ck_assert_str_eq(text, want);
	ck_assert_int_eq(from_text(text, m->descriptor, &again, &err), 0);
	text2 = to_text(again);
	ck_assert_str_eq(text2, want);
	protobuf_c_message_free_unpacked(again, NULL);
	free(text);
	free(text2);
}

static void check_fails(const char *text, const ProtobufCMessageDescriptor *d, const char *where)
{
	struct ck_err err = CK_ERR_INIT;
	ProtobufCMessage *m;

	ck_assert_int_lt(from_text(text, d, &m, &err), 0);
	ck_assert_int_eq(err.kind, CK_ERR_CONFIG);
	ck_assert_str_eq(err.where, where);
	ck_assert_ptr_null(m);
}

START_TEST(numbers_are_exact)
{
	CkptManifest m = CKPT_MANIFEST__INIT;
	CkptManifestFile f = CKPT_MANIFEST_FILE__INIT, *files[] = { &f };

	m.format = UINT32_MAX;
	m.image_id = 0xdeadbeef;
	f.name = (char *)"pages-1.img";
	f.size = 1ull << 53;
	m.n_files = 1;
	m.files = files;
	check_text(&m.base,
		   "{\"format\":4294967295,\"min_reader\":0,\"image_id\":\"0x00000000deadbeef\","
		   "\"files\":[{\"name\":\"pages-1.img\",\"size\":9007199254740992}]}");
	f.size = UINT64_MAX;
	f.has_hash = true;
	check_text(&f.base, "{\"name\":\"pages-1.img\",\"size\":\"0xffffffffffffffff\","
			    "\"hash\":\"0x0000000000000000\"}");
}
END_TEST

START_TEST(enums_bytes_and_bools)
{
	CkptNeedPath p = CKPT_NEED_PATH__INIT;
	CkptPathRole roles[] = { CKPT_PATH_ROLE__CKPT_PATH_EXE, 77 };
	uint8_t id[] = { 0x00, 0xab, 0xff };

	p.path = (char *)"/a\"b\n";
	p.n_roles = 2;
	p.roles = roles;
	p.has_build_id = true;
	p.build_id.len = sizeof(id);
	p.build_id.data = id;
	p.has_carried = true;
	check_text(&p.base, "{\"path\":\"/a\\\"b\\n\",\"roles\":[\"CKPT_PATH_EXE\",77],\"mode\":0,"
			    "\"build_id\":\"00abff\",\"carried\":false}");
}
END_TEST

START_TEST(negative_numbers)
{
	ThreadCoreEntry t = THREAD_CORE_ENTRY__INIT;
	CkptPathFact f = CKPT_PATH_FACT__INIT;

	t.has_sched_nice = true;
	t.sched_nice = -20;
	check_text(&t.base, "{\"futex_rla\":0,\"futex_rla_len\":0,\"sched_nice\":-20}");
	f.path = (char *)"";
	f.has_error = true;
	f.error = INT32_MIN;
	check_text(&f.base, "{\"path\":\"\",\"exists\":false,\"error\":-2147483648}");
}
END_TEST

START_TEST(texts_that_are_no_utf8)
{
	static const char *const good[] = { "é", "€", "\xf0\x9f\x98\x80", "a\x7f" };
	static const struct {
		const char *raw, *hex;
	} bad[] = { { "\xff", "ff" },
		    { "a\xc3", "61c3" },
		    { "\xc0\xaf", "c0af" },
		    { "\xed\xa0\x80", "eda080" },
		    { "\xf4\x90\x80\x80", "f4908080" },
		    { "\xe2\x82", "e282" } };
	CkptFeature f = CKPT_FEATURE__INIT;
	char want[128];

	for (size_t i = 0; i < CK_ARRAY_SIZE(good); i++) {
		f.name = (char *)good[i];
		snprintf(want, sizeof(want), "{\"name\":\"%s\",\"value\":\"CKPT_UNKNOWN\"}",
			 good[i]);
		check_text(&f.base, want);
	}
	for (size_t i = 0; i < CK_ARRAY_SIZE(bad); i++) {
		f.name = (char *)bad[i].raw;
		snprintf(want, sizeof(want),
			 "{\"name\":{\"hex\":\"%s\"},\"value\":\"CKPT_UNKNOWN\"}", bad[i].hex);
		check_text(&f.base, want);
	}
}
END_TEST

START_TEST(numbers_may_be_strings)
{
	struct ck_err err = CK_ERR_INIT;
	ProtobufCMessage *m;

	ck_assert_int_eq(
		from_text("{\"name\":\"x\",\"size\":\"0xFF\",\"hash\":18446744073709551615}",
			  &ckpt_manifest_file__descriptor, &m, &err),
		0);
	ck_assert_uint_eq(((CkptManifestFile *)m)->size, 255);
	ck_assert(((CkptManifestFile *)m)->hash == UINT64_MAX);
	protobuf_c_message_free_unpacked(m, NULL);
	ck_assert_int_eq(from_text("{\"name\":\"x\",\"size\":\"010\",\"more\":[1]}",
				   &ckpt_manifest_file__descriptor, &m, &err),
			 0);
	ck_assert_uint_eq(((CkptManifestFile *)m)->size, 10);
	ck_assert(!((CkptManifestFile *)m)->has_hash);
	protobuf_c_message_free_unpacked(m, NULL);
}
END_TEST

START_TEST(errors_say_where)
{
	const ProtobufCMessageDescriptor *d = &ckpt_manifest__descriptor;
	const ProtobufCMessageDescriptor *f = &ckpt_manifest_file__descriptor;
	const ProtobufCMessageDescriptor *p = &ckpt_need_path__descriptor;

	check_fails("[]", f, "");
	check_fails("{}", f, "name");
	check_fails("{\"name\":1,\"size\":1}", f, "name");
	check_fails("{\"name\":null,\"size\":1}", f, "name");
	check_fails("{\"name\":\"x\",\"size\":-1}", f, "size");
	check_fails("{\"name\":\"x\",\"size\":1.5}", f, "size");
	check_fails("{\"name\":\"x\",\"size\":\"12x\"}", f, "size");
	check_fails("{\"name\":\"x\",\"size\":\"\"}", f, "size");
	check_fails("{\"name\":\"x\",\"size\":\"0x10000000000000000\"}", f, "size");
	check_fails("{\"name\":{\"hex\":\"0\"},\"size\":1}", f, "name");
	check_fails("{\"format\":4294967296}", d, "format");
	check_fails("{\"format\":1,\"min_reader\":1,\"image_id\":1,\"files\":{}}", d, "files");
	check_fails("{\"format\":1,\"min_reader\":1,\"image_id\":1,"
		    "\"files\":[{\"name\":\"a\",\"size\":1},{\"name\":\"b\"}]}",
		    d, "files > [1] > size");
	check_fails("{\"path\":\"/\",\"mode\":1,\"roles\":[\"NO_SUCH\"]}", p, "roles > [0]");
	check_fails("{\"path\":\"/\",\"mode\":1,\"build_id\":\"abz0\"}", p, "build_id");
	check_fails("{\"path\":\"/\",\"mode\":1,\"carried\":1}", p, "carried");
}
END_TEST

START_TEST(unknown_fields_are_shown)
{
	static const uint8_t entry[] = { 0x08, 6, 0x10, 3, 0x32, 2, 0x08, 3 };
	FileEntry *f = file_entry__unpack(NULL, sizeof(entry), entry);
	char *text;

	ck_assert_ptr_nonnull(f);
	text = to_text(&f->base);
	ck_assert_str_eq(text, "{\"type\":\"EVENTFD\",\"id\":3,\"unknown_fields\":"
			       "[{\"tag\":6,\"wire_type\":2,\"hex\":\"020803\"}]}");
	free(text);
	file_entry__free_unpacked(f, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("image-json");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	tcase_add_test(t, numbers_are_exact);
	tcase_add_test(t, enums_bytes_and_bools);
	tcase_add_test(t, negative_numbers);
	tcase_add_test(t, texts_that_are_no_utf8);
	tcase_add_test(t, numbers_may_be_strings);
	tcase_add_test(t, errors_say_where);
	tcase_add_test(t, unknown_fields_are_shown);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
