// SPDX-License-Identifier: Apache-2.0
/*
 * CRIU's own decoder reads what we write: every message of every kind, each field set to a number
 * of its own, so that a wrong field number or type shows as a wrong value. Skipped without crit.
 */
#include <check.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "image/ghost-file.pb-c.h"
#include "image/image.h"
#include "image/inventory.pb-c.h"
#include "image/pagemap.pb-c.h"
#include "image/pipe-data.pb-c.h"
#include "image/sk-packet.pb-c.h"

static char top[64];
static uint32_t next_value = 1;

static void fill(ProtobufCMessage *m);

static void fill_value(const ProtobufCFieldDescriptor *f, void *p)
{
	const ProtobufCEnumDescriptor *e = f->descriptor;
	char text[16];

	switch (f->type) {
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)p = true;
		break;
	case PROTOBUF_C_TYPE_ENUM:
		/* The second one: not what an absent field would give. */
		*(int *)p = e->values[e->n_values > 1].value;
		break;
	case PROTOBUF_C_TYPE_STRING:
		snprintf(text, sizeof(text), "text%u", next_value++);
		*(char **)p = strdup(text);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		((ProtobufCBinaryData *)p)->data = (uint8_t *)strdup("bytes");
		((ProtobufCBinaryData *)p)->len = 5;
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		*(ProtobufCMessage **)p =
			calloc(1,
			       ((const ProtobufCMessageDescriptor *)f->descriptor)->sizeof_message);
		protobuf_c_message_init(f->descriptor, *(ProtobufCMessage **)p);
		fill(*(ProtobufCMessage **)p);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_UINT64:
		*(uint64_t *)p = 0x100000000 + next_value++;
		break;
	default:
		*(uint32_t *)p = next_value++;
	}
}

/* Our own additions to CRIU's messages, of which it knows nothing. */
static bool is_ours(const ProtobufCFieldDescriptor *f)
{
	return f->id >= 1000;
}

static void fill(ProtobufCMessage *m)
{
	for (unsigned int i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		uint8_t *base = (uint8_t *)m;

		if (is_ours(f))
			continue;
		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			*(void **)(base + f->offset) = calloc(1, 16);
			*(size_t *)(base + f->quantifier_offset) = 1;
			fill_value(f, *(void **)(base + f->offset));
			continue;
		}
		fill_value(f, base + f->offset);
		if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->quantifier_offset)
			*(protobuf_c_boolean *)(base + f->quantifier_offset) = true;
	}
}

static ProtobufCMessage *filled(const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = calloc(1, d->sizeof_message);

	protobuf_c_message_init(d, m);
	fill(m);
	if (d == &inventory_entry__descriptor)
		((InventoryEntry *)m)->img_version = IMAGE_FORMAT_V1_1;
	if (d == &pipe_data_entry__descriptor)
		((PipeDataEntry *)m)->bytes = 4;
	if (d == &sk_packet_entry__descriptor)
		((SkPacketEntry *)m)->length = 4;
	/* What older ones call nr_pages is compat_nr_pages. */
	if (d == &pagemap_entry__descriptor)
		((PagemapEntry *)m)->nr_pages = ((PagemapEntry *)m)->compat_nr_pages;
	if (d == &ghost_chunk_entry__descriptor)
		((GhostChunkEntry *)m)->len = 4;
	return m;
}

static void write_kind(struct image_writer *w, enum image_kind k, struct json_object *ret)
{
	const struct image_type *t = &image_types[k];
	struct ck_err err = CK_ERR_INIT;
	struct image_file *f;

	ck_assert_int_eq(image_create(w, k, 5, &f, &err), 0);
	for (int i = 0; i < (t->flags & IMAGE_F_ARRAY ? 3 : 1); i++) {
		ProtobufCMessage *m = filled(i == 0 && t->head ? t->head : t->entry);

		ck_assert_int_eq(image_append(f, m, &err), 0);
		if ((t->flags & IMAGE_F_EXTRA) && m->descriptor != &ghost_file_entry__descriptor)
			ck_assert_int_eq(image_append_raw(f, "data", 4, &err), 0);
		json_object_array_add(ret, image_to_json(m));
		protobuf_c_message_free_unpacked(m, NULL);
	}
	ck_assert_int_eq(image_file_close(f, &err), 0);
}

/* Fields that the crit of the time may not know yet. */
static bool may_be_unknown(const char *key)
{
	static const char *const keys[] = {
		"membarrier_registration_mask",
		"stop_signo",
		"rseq_cs_pointer",
		"cet",
		"pkru",
		"blk_sigset_extended",
		"mask_extended",
		"apparmor_data",
		"thp_disabled",
		"aios",
		"plugins_entry",
		"dump_criu_run_id",
		"allow_uprobes",
		"network_lock_method",
		"nr_pages",
		"rseq_entry",
		"no_new_privs",
		"compat_nr_pages",
		"cg_set",
		"symlnk_target",
		"cap_amb",
		"time_ns_id",
		"fdflags",
		"pktinfo",
		"tos",
		"ttl",
		"raw",
		"tcp_opts",
		"so_buf_lock",
		"pidfd",
	};

	for (size_t i = 0; i < CK_ARRAY_SIZE(keys); i++)
		if (!strcmp(key, keys[i]))
			return true;
	return false;
}

static uint64_t number(struct json_object *j)
{
	if (json_object_is_type(j, json_type_string))
		return strtoull(json_object_get_string(j), NULL, 0);
	return json_object_get_uint64(j);
}

static void compare(const char *where, struct json_object *ours, struct json_object *theirs)
{
	switch (json_object_get_type(ours)) {
	case json_type_object:
		ck_assert_msg(json_object_is_type(theirs, json_type_object), "%s", where);
		json_object_object_foreach(ours, key, v)
		{
			struct json_object *t;

			if (json_object_object_get_ex(theirs, key, &t))
				compare(key, v, t);
			else
				ck_assert_msg(may_be_unknown(key), "crit finds no %s in %s", key,
					      where);
		}
		break;
	case json_type_array:
		ck_assert_msg(json_object_is_type(theirs, json_type_array), "%s", where);
		ck_assert_uint_eq(json_object_array_length(ours), json_object_array_length(theirs));
		for (size_t i = 0; i < json_object_array_length(ours); i++)
			compare(where, json_object_array_get_idx(ours, i),
				json_object_array_get_idx(theirs, i));
		break;
	case json_type_int:
		ck_assert_msg(number(ours) == number(theirs), "%s: %s, crit says %s", where,
			      json_object_to_json_string(ours), json_object_to_json_string(theirs));
		break;
	case json_type_boolean:
		ck_assert_msg(json_object_get_boolean(ours) == json_object_get_boolean(theirs),
			      "%s", where);
		break;
	default:
		/* fixed64, of which crit makes decimal digits */
		if (strncmp(json_object_get_string(ours), "0x", 2) == 0) {
			ck_assert_msg(number(ours) == number(theirs), "%s", where);
			break;
		}
		/* crit writes bytes in base64. */
		if (strcmp(json_object_get_string(ours), "6279746573") != 0)
			ck_assert_str_eq(json_object_get_string(ours),
					 json_object_get_string(theirs));
	}
}

static void check_with_crit(const char *name, struct json_object *ours)
{
	struct json_object *theirs, *entries;
	char cmd[128];
	int status;

	snprintf(cmd, sizeof(cmd), "crit decode -i img/%s -o out.json", name);
	status = system(cmd);
	ck_assert_msg(status == 0, "%s failed", cmd);
	theirs = json_object_from_file("out.json");
	ck_assert_ptr_nonnull(theirs);
	ck_assert(json_object_object_get_ex(theirs, "entries", &entries));
	compare(name, ours, entries);
	json_object_put(theirs);
}

START_TEST(crit_reads_every_kind)
{
	struct json_object *ours[IMAGE_N_KINDS] = { NULL };
	struct ck_err err = CK_ERR_INIT;
	struct image_writer *w;
	char name[IMAGE_NAME_MAX];

	ck_assert_int_eq(image_writer_open("img", &w, &err), 0);
	for (enum image_kind k = 0; k < IMAGE_N_KINDS; k++) {
		if (image_types[k].flags & (IMAGE_F_OURS | IMAGE_F_RAW))
			continue;
		ours[k] = json_object_new_array();
		if (!(image_types[k].flags & IMAGE_F_LATE))
			write_kind(w, k, ours[k]);
	}
	ck_assert_int_eq(image_commit(w, &err), 0);
	for (enum image_kind k = 0; k < IMAGE_N_KINDS; k++)
		if (ours[k] && image_types[k].flags & IMAGE_F_LATE)
			write_kind(w, k, ours[k]);
	image_writer_free(w);
	for (enum image_kind k = 0; k < IMAGE_N_KINDS; k++) {
		if (!ours[k])
			continue;
		image_file_name(k, 5, name);
		check_with_crit(name, ours[k]);
		json_object_put(ours[k]);
	}
}
END_TEST

static void setup(void)
{
	strcpy(top, "/tmp/t-image-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	ck_assert_int_eq(chdir(top), 0);
}

static void teardown(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	ck_assert_int_eq(system(cmd), 0);
}

int main(void)
{
	Suite *s = suite_create("image-crit");
	TCase *t = tcase_create("all");
	SRunner *r;
	int failed;

	if (system("crit --help >/dev/null 2>&1") != 0) {
		puts("# SKIP all: no crit (Debian's package criu)");
		return EXIT_SUCCESS;
	}
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, crit_reads_every_kind);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
