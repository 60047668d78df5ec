// SPDX-License-Identifier: Apache-2.0
/*
 * The reader of image files on any bytes: the first line is a file name, which tells the kind; then
 * a byte says what is put right before it is read (1: the magics, 2: the seal), so that what lies
 * behind them is reached. What can be decoded must survive the way to JSON and back. A manifest is
 * also opened as one, in a directory.
 *
 * tests/unit/t-image-fuzz.c runs it on random messages.
 */
#include <fcntl.h>
#include <json-c/json.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "image/dir.h"
#include "tests/fuzz/fuzz.h"

/* Entries that could be decoded: tells whoever feeds it whether anything gets that far. */
static unsigned long n_decoded;

static char *json_text(const ProtobufCMessage *m)
{
	struct json_object *j = image_to_json(m);
	char *s;

	FUZZ_ASSERT(j);
	json_object_object_del(j, "unknown_fields");
	s = strdup(json_object_to_json_string(j));
	json_object_put(j);
	return s;
}

/* Unknown fields inside messages are not carried by JSON: drop them before comparing. */
static void forget_unknown(struct json_object *j)
{
	if (json_object_is_type(j, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(j); i++)
			forget_unknown(json_object_array_get_idx(j, i));
	} else if (json_object_is_type(j, json_type_object)) {
		json_object_object_del(j, "unknown_fields");
		json_object_object_foreach(j, key, v)
		{
			(void)key;
			forget_unknown(v);
		}
	}
}

static void there_and_back(const ProtobufCMessage *m)
{
	struct ck_err err = CK_ERR_INIT;
	struct json_object *j = image_to_json(m);
	ProtobufCMessage *again = NULL;
	char *text, *text2;

	FUZZ_ASSERT(j);
	forget_unknown(j);
	text = strdup(json_object_to_json_string(j));
	FUZZ_ASSERT(image_from_json(j, m->descriptor, &again, &err) == 0);
	json_object_put(j);
	text2 = json_text(again);
	FUZZ_ASSERT(strcmp(text, text2) == 0);
	protobuf_c_message_free_unpacked(again, NULL);
	free(text);
	free(text2);
}

static void read_file(int fd, enum image_kind kind, uint64_t size)
{
	struct image_entries e = { 0 };
	struct ck_err err = CK_ERR_INIT;

	if (image_read_entries(fd, kind, size, &e, &err) < 0) {
		fuzz_failed_well(-1, &err);
		FUZZ_ASSERT(e.n == 0);
		return;
	}
	for (size_t i = 0; i < e.n; i++) {
		if (e.raw_off)
			FUZZ_ASSERT(e.raw_off[i] <= size && e.raw_len[i] <= size - e.raw_off[i]);
		there_and_back(e.m[i]);
		n_decoded++;
	}
	image_entries_done(&e);
}

static void put_file(const char *dir, const char *name, const void *data, size_t len)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	FUZZ_ASSERT(fd >= 0);
	FUZZ_ASSERT(ck_write_full(fd, data, len) == 0);
	close(fd);
}

/* A directory that holds the manifest, and two of the files that it may name. */
static void open_image(int manifest_fd, uint64_t size)
{
	static const char *const names[] = { "pstree.img", "core-1.img", "ckpt-manifest.img" };
	char dir[] = "/dev/shm/fuzz-image-XXXXXX", path[64];
	struct ck_err err = CK_ERR_INIT, fault;
	uint8_t *manifest = malloc(size + 1);
	struct image *img;

	FUZZ_ASSERT(manifest && mkdtemp(dir));
	FUZZ_ASSERT(ck_pread_full(manifest_fd, manifest, size, 0) == (ssize_t)size);
	put_file(dir, names[0], "", 0);
	put_file(dir, names[1], "", 0);
	put_file(dir, names[2], manifest, size);
	if (image_open_any(dir, &img, &fault, &err) == 0)
		image_free(img);
	for (size_t i = 0; i < CK_ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
	free(manifest);
}

static void seal(int fd, uint64_t *size)
{
	uint8_t tail[IMAGE_SEAL_LEN] = { 9, 0, 0, 0, 0x09 };
	struct ck_err err;
	uint64_t hash;

	FUZZ_ASSERT(image_hash_fd(fd, *size, &hash, &err) == 0);
	memcpy(tail + 5, &hash, sizeof(hash));
	FUZZ_ASSERT(ck_pwrite_full(fd, tail, sizeof(tail), (off_t)*size) == 0);
	*size += sizeof(tail);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char name[IMAGE_NAME_MAX];
	enum image_kind kind;
	uint32_t magic[2];
	uint64_t size = 0;
	unsigned int id;
	uint8_t fix;
	int fd;

	if (!fuzz_take_line(&data, &len, name, sizeof(name)) || !len ||
	    !image_parse_name(name, &kind, &id))
		return 0;
	fix = *data++;
	len--;
	fd = memfd_create("fuzz", MFD_CLOEXEC);
	FUZZ_ASSERT(fd >= 0);
	if (fix & 1) {
		size = 4 * image_magics(kind, magic);
		FUZZ_ASSERT(ck_pwrite_full(fd, magic, size, 0) == 0);
	}
	FUZZ_ASSERT(ck_pwrite_full(fd, data, len, (off_t)size) == 0);
	size += len;
	if (fix & 2)
		seal(fd, &size);
	if (image_types[kind].entry)
		read_file(fd, kind, size);
	if (kind == IMAGE_CKPT_MANIFEST)
		open_image(fd, size);
	close(fd);
	return 0;
}
