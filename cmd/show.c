// SPDX-License-Identifier: Apache-2.0
/*
 * ckpt show: what is in an image. Lists the files and sums them up, or decodes some of them. Works
 * on CRIU's images too, and on incomplete and damaged ones as far as they can be read: what is
 * wrong is then said last, and by the exit status. Text is the JSON data indented; all that comes
 * from the image is stripped of what a terminal would obey.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/auto.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "image/ckpt.pb-c.h"
#include "image/core.pb-c.h"
#include "image/image.h"
#include "image/pstree.pb-c.h"

CK_DEFINE_AUTO(json, struct json_object *, json_object_put);

enum format { TEXT, JSON };

struct show {
	const char *dir;
	const char *name; /* NULL: list */
	enum format format;
	struct image *img;
	struct ck_err fault; /* of the image */
};

static const char *const state_text[] = {
	[IMAGE_FILE_OK] = "ok",           [IMAGE_FILE_FOREIGN] = "unverified",
	[IMAGE_FILE_STRAY] = "stray",     [IMAGE_FILE_MISSING] = "missing",
	[IMAGE_FILE_DAMAGED] = "damaged",
};

/* ---- text ---- */
/* What the bytes of a name could make a terminal do is written as \xNN. */
static void print_safe(const char *s)
{
	for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			printf("\\x%02x", *p);
		else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)
			printf("\\xc2\\x%02x", *++p);
		else
			putchar(*p);
	}
}

static bool is_one_of(const char *key, const char *const *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(key, keys[i]))
			return true;
	return false;
}

/* Addresses, registers, sets of signals and the like are easier to read as hex digits. */
static bool is_hex_key(const char *key)
{
	/* clang-format off */
	static const char *const keys[] = {
		"vaddr", "start", "end", "pgoff", "madv", "flags", "mask", "sigaction", "restorer",
		"clear_tid_addr", "blk_sigset", "futex_rla", "ss_sp", "sival_ptr", "signature",
		"rseq_abi_pointer", "rseq_cs_pointer", "highest_address", "lowest_address",
		"ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip", "r8", "r9", "r10", "r11",
		"r12", "r13", "r14", "r15", "orig_ax", "fs_base", "gs_base", "cs", "ss", "ds", "es",
		"fs", "gs", "cwd", "swd", "mxcsr", "mxcsr_mask", "st_space", "xmm_space", "xstate_bv",
		"ymmh_space", "opmask_reg", "zmm_upper", "hi16_zmm", "pkru", "cet", "ssp", "xcr0",
		"leaf", "subleaf", "eax", "ebx", "ecx", "edx",
		"cap_inh", "cap_prm", "cap_eff", "cap_bnd", "cap_amb",
	};
	/* clang-format on */

	return !strncmp(key, "mm_", 3) || is_one_of(key, keys, CK_ARRAY_SIZE(keys));
}

static bool is_octal_key(const char *key)
{
	static const char *const keys[] = { "mode", "umask" };

	return is_one_of(key, keys, CK_ARRAY_SIZE(keys));
}

static void print_scalar(const char *key, struct json_object *j)
{
	enum { LONG = 64 };
	const char *s;
	int64_t v;

	switch (json_object_get_type(j)) {
	case json_type_string:
		s = json_object_get_string(j);
		/* Bytes and file contents; the whole of them is in the JSON form. */
		if (strlen(s) > LONG && strspn(s, "0123456789abcdef") == strlen(s))
			printf("%.*s... (%zu bytes)", LONG, s, strlen(s) / 2);
		else
			print_safe(s);
		break;
	case json_type_int:
		v = json_object_get_int64(j);
		if (v > 9 && is_hex_key(key))
			printf("0x%" PRIx64, (uint64_t)v);
		else if (v > 0 && is_octal_key(key))
			printf("0%" PRIo64, (uint64_t)v);
		else
			printf("%" PRId64, v);
		break;
	default:
		fputs(json_object_to_json_string(j), stdout);
	}
}

static bool is_scalar(struct json_object *j)
{
	return !json_object_is_type(j, json_type_object) &&
	       !json_object_is_type(j, json_type_array);
}

static bool is_flat(struct json_object *o)
{
	json_object_object_foreach(o, key, v)
	{
		(void)key;
		if (!is_scalar(v))
			return false;
	}
	return true;
}

static void print_value(const char *key, struct json_object *j, int depth);

/* "key: value" lines; indented but for the first one, whose place is made by the caller. */
static void print_object(struct json_object *o, int depth)
{
	int indent = 0;

	json_object_object_foreach(o, key, v)
	{
		printf("%*s%s:", indent, "", key);
		print_value(key, v, depth);
		indent = 2 * depth;
	}
}

/* An object of scalars on one line. */
static void print_flat(struct json_object *o, const char *between)
{
	const char *sep = "";

	json_object_object_foreach(o, key, v)
	{
		printf("%s%s: ", sep, key);
		print_scalar(key, v);
		sep = between;
	}
}

/* Scalars side by side, sixteen to a line; what repeats to the end is told once. */
static void print_scalars(const char *key, struct json_object *a, int depth)
{
	size_t n = json_object_array_length(a), last = n;

	while (last > 1 && json_object_equal(json_object_array_get_idx(a, last - 2),
					     json_object_array_get_idx(a, n - 1)))
		last--;
	if (n - last < 4)
		last = n;
	for (size_t i = 0; i < last; i++) {
		if (i > 0 && i % 16 == 0)
			printf("\n%*s", 2 * depth + 1, "");
		putchar(' ');
		print_scalar(key, json_object_array_get_idx(a, i));
	}
	if (last < n)
		printf(" (%zu times in all)", n - last + 1);
	putchar('\n');
}

static void print_array(const char *key, struct json_object *a, int depth)
{
	size_t n = json_object_array_length(a);

	if (n == 0 || is_scalar(json_object_array_get_idx(a, 0))) {
		print_scalars(key, a, depth);
		return;
	}
	putchar('\n');
	for (size_t i = 0; i < n; i++) {
		struct json_object *v = json_object_array_get_idx(a, i);

		printf("%*s- ", 2 * depth + 2, "");
		if (is_scalar(v) || json_object_is_type(v, json_type_array)) {
			print_value(key, v, depth + 2);
		} else if (is_flat(v)) {
			print_flat(v, "  ");
			putchar('\n');
		} else {
			print_object(v, depth + 2);
		}
	}
}

/* The value behind "key:", with its newline. */
static void print_value(const char *key, struct json_object *j, int depth)
{
	enum { SHORT = 5 };

	if (json_object_is_type(j, json_type_array)) {
		print_array(key, j, depth);
	} else if (is_scalar(j)) {
		putchar(' ');
		print_scalar(key, j);
		putchar('\n');
	} else if (json_object_object_length(j) <= SHORT && is_flat(j)) {
		fputs(" { ", stdout);
		print_flat(j, ", ");
		puts(" }");
	} else {
		printf("\n%*s", 2 * depth + 2, "");
		print_object(j, depth + 1);
	}
}

static void print_json(struct json_object *j)
{
	puts(json_object_to_json_string_ext(j, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int no_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot show the image");
}

static void add_int(struct json_object *o, const char *key, uint64_t v)
{
	json_object_object_add(o, key, json_object_new_uint64(v));
}

static void add_str(struct json_object *o, const char *key, const char *v)
{
	json_object_object_add(o, key, image_json_string(v));
}

/* ---- the entries of some files ---- */
static bool matches(const struct show *s, const struct image_file_info *f)
{
	size_t len = strlen(s->name);

	if (f->kind == IMAGE_N_KINDS || f->state == IMAGE_FILE_MISSING ||
	    f->state == IMAGE_FILE_STRAY)
		return false;
	return !strcmp(s->name, f->name) || !strcmp(s->name, image_types[f->kind].name) ||
	       (!strncmp(s->name, f->name, len) && !strcmp(f->name + len, ".img"));
}

/* The file as { name, bytes, entries: [...] }. */
static int file_json(const struct show *s, const struct image_file_info *f,
		     struct json_object **ret, struct ck_err *err)
{
	CK_AUTO(image_entries) struct image_entries e = { 0 };
	CK_AUTO(json) struct json_object *o = json_object_new_object();
	struct json_object *entries;
	int r = 0;

	if (!o)
		return no_memory(err);
	add_str(o, "name", f->name);
	add_str(o, "kind", image_types[f->kind].name);
	add_int(o, "bytes", f->size);
	if (image_types[f->kind].entry) {
		r = image_read_all(s->img, f->kind, f->id, &e, err);
		if (r < 0)
			return r;
		entries = json_object_new_array();
		json_object_object_add(o, "entries", entries);
		for (size_t i = 0; entries && i < e.n; i++) {
			struct json_object *j = image_to_json(e.m[i]);

			if (!j || json_object_array_add(entries, j) < 0)
				return no_memory(err);
			if (e.raw_len && e.raw_len[i])
				add_int(j, "raw_bytes", e.raw_len[i]);
		}
	}
	*ret = ck_take_ptr(&o);
	return 0;
}

static void print_file(struct json_object *o)
{
	struct json_object *name, *entries;

	json_object_object_get_ex(o, "name", &name);
	print_safe(json_object_get_string(name));
	if (!json_object_object_get_ex(o, "entries", &entries)) {
		json_object_object_get_ex(o, "bytes", &entries);
		printf(": %" PRId64 " raw bytes\n", json_object_get_int64(entries));
		return;
	}
	putchar(':');
	/* A single entry needs no list around it. */
	if (json_object_array_length(entries) == 1) {
		fputs("\n  ", stdout);
		print_object(json_object_array_get_idx(entries, 0), 1);
	} else {
		print_array("", entries, 0);
	}
}

static int show_files(const struct show *s, struct ck_err *err)
{
	CK_AUTO(json) struct json_object *all = json_object_new_object();
	CK_AUTO(json) struct json_object *files = json_object_new_array();
	struct image_file_info f;
	int r;

	if (!all || !files)
		return no_memory(err);
	add_int(all, "version", 1);
	for (size_t i = 0; i < image_n_files(s->img); i++) {
		struct json_object *o = NULL;

		image_file_info(s->img, i, &f);
		if (!matches(s, &f))
			continue;
		r = file_json(s, &f, &o, err);
		if (r < 0)
			return r;
		if (s->format == TEXT)
			print_file(o);
		if (json_object_array_add(files, o) < 0)
			return no_memory(err);
	}
	if (json_object_array_length(files) == 0) {
		r = ck_fail(err, CK_ERR_NOIMAGE, -ENOENT, "the image has no %s", s->name);
		return ck_err_hint(err, r, "ckpt show --image %s lists its files", s->dir);
	}
	json_object_object_add(all, "files", ck_take_ptr(&files));
	if (s->format == JSON)
		print_json(all);
	return 0;
}

/* ---- the list ---- */
static struct json_object *list_row(const struct show *s, const struct image_file_info *f)
{
	CK_AUTO(image_entries) struct image_entries e = { 0 };
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	add_str(o, "name", f->name);
	if (f->kind < IMAGE_N_KINDS && image_types[f->kind].entry && f->state != IMAGE_FILE_STRAY &&
	    image_read_all(s->img, f->kind, f->id, &e, NULL) == 0)
		add_int(o, "entries", e.n);
	add_int(o, "bytes", f->size);
	json_object_object_add(o, "covered", json_object_new_boolean(f->covered));
	add_str(o, "state", state_text[f->state]);
	return o;
}

static void add_root(const struct show *s, struct json_object *o)
{
	CK_AUTO(image_entries) struct image_entries e = { 0 };
	uint64_t threads = 0;
	ProtobufCMessage *m;

	if (image_read_all(s->img, IMAGE_PSTREE, 0, &e, NULL) < 0 || e.n == 0)
		return;
	for (size_t i = 0; i < e.n; i++)
		threads += ((const PstreeEntry *)e.m[i])->n_threads;
	add_int(o, "root", ((const PstreeEntry *)e.m[0])->pid);
	if (image_read_one(s->img, IMAGE_CORE, ((const PstreeEntry *)e.m[0])->pid, &m, NULL) == 0) {
		const CoreEntry *c = (const CoreEntry *)m;
		struct json_object *j = c->tc ? image_to_json(&c->tc->base) : NULL, *comm;

		if (j && json_object_object_get_ex(j, "comm", &comm))
			json_object_object_add(o, "command", json_object_get(comm));
		json_object_put(j);
		protobuf_c_message_free_unpacked(m, NULL);
	}
	add_int(o, "tasks", e.n);
	add_int(o, "threads", threads);
}

static void add_pages(const struct show *s, struct json_object *o)
{
	struct image_file_info f;
	struct image_pagemap p;
	uint64_t pages = 0;

	for (size_t i = 0; i < image_n_files(s->img); i++) {
		image_file_info(s->img, i, &f);
		if (f.kind != IMAGE_PAGEMAP && f.kind != IMAGE_PAGEMAP_SHMEM)
			continue;
		if (image_read_pagemap(s->img, f.kind, f.id, &p, NULL) < 0)
			continue;
		pages += p.present;
		image_pagemap_done(&p);
	}
	add_int(o, "pages", pages);
}

static void add_created(const struct show *s, struct json_object *o)
{
	ProtobufCMessage *m;
	const CkptManifest *manifest;
	struct tm tm;
	char text[64];
	time_t t;

	if (image_read_one(s->img, IMAGE_CKPT_MANIFEST, 0, &m, NULL) < 0)
		return;
	manifest = (const CkptManifest *)m;
	t = (time_t)manifest->created;
	if (manifest->has_created && gmtime_r(&t, &tm) &&
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		add_str(o, "created", text);
	protobuf_c_message_free_unpacked(m, NULL);
}

static struct json_object *list_json(const struct show *s)
{
	CK_AUTO(json) struct json_object *o = json_object_new_object();
	CK_AUTO(json) struct json_object *files = json_object_new_array();
	struct json_object *row;
	struct image_file_info f;

	if (!o || !files)
		return NULL;
	add_int(o, "version", 1);
	add_str(o, "image", s->dir);
	add_str(o, "origin", image_origin(s->img) == IMAGE_OURS ? "ckpt" : "foreign");
	json_object_object_add(o, "whole", json_object_new_boolean(s->fault.kind == CK_ERR_NONE));
	if (s->fault.kind != CK_ERR_NONE)
		add_str(o, "fault", s->fault.what);
	add_created(s, o);
	add_root(s, o);
	add_pages(s, o);
	for (size_t i = 0; i < image_n_files(s->img); i++) {
		image_file_info(s->img, i, &f);
		row = list_row(s, &f);
		if (!row || json_object_array_add(files, row) < 0)
			return NULL;
	}
	json_object_object_add(o, "files", ck_take_ptr(&files));
	return ck_take_ptr(&o);
}

static void print_row(struct json_object *o)
{
	struct json_object *name, *entries = NULL, *bytes, *state;
	char count[24] = "-";

	json_object_object_get_ex(o, "name", &name);
	json_object_object_get_ex(o, "bytes", &bytes);
	json_object_object_get_ex(o, "state", &state);
	if (json_object_object_get_ex(o, "entries", &entries))
		snprintf(count, sizeof(count), "%" PRIu64, json_object_get_uint64(entries));
	printf("%8s %14" PRIu64 "  %-10s  ", count, json_object_get_uint64(bytes),
	       json_object_get_string(state));
	print_safe(json_object_get_string(name));
	putchar('\n');
}

static int show_list(const struct show *s, struct ck_err *err)
{
	CK_AUTO(json) struct json_object *o = list_json(s);
	struct json_object *files;

	if (!o)
		return no_memory(err);
	if (s->format == JSON) {
		print_json(o);
		return 0;
	}
	json_object_object_foreach(o, key, v)
	{
		if (!is_scalar(v) || !strcmp(key, "version"))
			continue;
		printf("%-8s ", key);
		print_scalar(key, v);
		putchar('\n');
	}
	printf("\n%8s %14s  %-10s  %s\n", "entries", "bytes", "state", "file");
	json_object_object_get_ex(o, "files", &files);
	for (size_t i = 0; i < json_object_array_length(files); i++)
		print_row(json_object_array_get_idx(files, i));
	return 0;
}

/* ---- the command ---- */
int cmd_show(const struct cmd_args *a)
{
	CK_AUTO(image) struct image *img = NULL;
	struct ck_err err = CK_ERR_INIT;
	const char *format = cmd_value(a, "format");
	struct show s = {
		.dir = cmd_value(a, "image"),
		.name = a->n_operands ? a->operands[0] : NULL,
		.format = format && !strcmp(format, "json") ? JSON : TEXT,
	};
	int r = image_open_any(s.dir, &img, &s.fault, &err);

	if (r < 0)
		return cmd_fail("show", &err);
	s.img = img;
	r = s.name ? show_files(&s, &err) : show_list(&s, &err);
	if (fflush(stdout) != 0 && r == 0)
		r = ck_fail_errno(&err, "cannot write the output");
	if (r < 0)
		return cmd_fail("show", &err);
	return s.fault.kind == CK_ERR_NONE ? CMD_EXIT_OK : cmd_fail("show", &s.fault);
}
