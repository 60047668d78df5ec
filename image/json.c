// SPDX-License-Identifier: Apache-2.0
/*
 * Messages to JSON, by protobuf-c's descriptors. What JSON can't say exactly is said in strings:
 * 64-bit numbers beyond 2^53 and fixed64 (checksums, ids) as "0x...", bytes as hex digits, strings
 * that are no UTF-8 as { "hex": ... }. The way back is json-parse.c.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "image/image.h"
#include "image/json.h"

/* Running out of memory is remembered, as everything would else be checked twice. */
struct out {
	bool failed;
};

static struct json_object *message(struct out *o, const ProtobufCMessage *m);

static struct json_object *keep(struct out *o, struct json_object *j)
{
	if (!j)
		o->failed = true;
	return j;
}

static struct json_object *hex(struct out *o, const uint8_t *data, size_t len)
{
	static const char digit[] = "0123456789abcdef";
	CK_AUTO(free) char *s = NULL;

	if (len > INT32_MAX / 2) {
		o->failed = true;
		return NULL;
	}
	s = malloc(2 * len + 1);
	if (!s) {
		o->failed = true;
		return NULL;
	}
	for (size_t i = 0; i < len; i++) {
		s[2 * i] = digit[data[i] >> 4];
		s[2 * i + 1] = digit[data[i] & 15];
	}
	return keep(o, json_object_new_string_len(s, (int)(2 * len)));
}

/* Length of the UTF-8 sequence at p, or 0: no overlong forms, surrogates or numbers too large. */
static size_t utf8_len(const uint8_t *p)
{
	static const struct {
		uint8_t first, last, low, high, len;
	} form[] = {
		{ 0x00, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < CK_ARRAY_SIZE(form); i++) {
		if (p[0] < form[i].first || p[0] > form[i].last)
			continue;
		if (form[i].len > 1 && (p[1] < form[i].low || p[1] > form[i].high))
			return 0;
		for (size_t k = 2; k < form[i].len; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return form[i].len;
	}
	return 0;
}

static struct json_object *string(struct out *o, const char *s)
{
	const uint8_t *p = (const uint8_t *)s;
	struct json_object *j;

	while (*p) {
		size_t n = utf8_len(p);

		if (n == 0) {
			j = keep(o, json_object_new_object());
			if (j)
				json_object_object_add(j, "hex",
						       hex(o, (const uint8_t *)s, strlen(s)));
			return j;
		}
		p += n;
	}
	return keep(o, json_object_new_string(s));
}

static struct json_object *hex64(struct out *o, uint64_t v)
{
	char s[24];

	snprintf(s, sizeof(s), "0x%016" PRIx64, v);
	return keep(o, json_object_new_string(s));
}

#define MAX_EXACT (1ull << 53)

static struct json_object *u64(struct out *o, uint64_t v)
{
	char s[24];

	if (v <= MAX_EXACT)
		return keep(o, json_object_new_int64((int64_t)v));
	snprintf(s, sizeof(s), "0x%" PRIx64, v);
	return keep(o, json_object_new_string(s));
}

static struct json_object *i64(struct out *o, int64_t v)
{
	char s[24];

	if (v >= -(int64_t)MAX_EXACT && v <= (int64_t)MAX_EXACT)
		return keep(o, json_object_new_int64(v));
	snprintf(s, sizeof(s), "%" PRId64, v);
	return keep(o, json_object_new_string(s));
}

static struct json_object *enum_value(struct out *o, const ProtobufCFieldDescriptor *f, int v)
{
	const ProtobufCEnumValue *e = protobuf_c_enum_descriptor_get_value(f->descriptor, v);

	return keep(o, e ? json_object_new_string(e->name) : json_object_new_int(v));
}

/* One value lying at p. */
static struct json_object *value(struct out *o, const ProtobufCFieldDescriptor *f, const void *p)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return keep(o, json_object_new_int(*(const int32_t *)p));
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return i64(o, *(const int64_t *)p);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return keep(o, json_object_new_int64(*(const uint32_t *)p));
	case PROTOBUF_C_TYPE_UINT64:
		return u64(o, *(const uint64_t *)p);
	case PROTOBUF_C_TYPE_FIXED64:
		return hex64(o, *(const uint64_t *)p);
	case PROTOBUF_C_TYPE_FLOAT:
		return keep(o, json_object_new_double((double)*(const float *)p));
	case PROTOBUF_C_TYPE_DOUBLE:
		return keep(o, json_object_new_double(*(const double *)p));
	case PROTOBUF_C_TYPE_BOOL:
		return keep(o, json_object_new_boolean(*(const protobuf_c_boolean *)p));
	case PROTOBUF_C_TYPE_ENUM:
		return enum_value(o, f, *(const int *)p);
	case PROTOBUF_C_TYPE_STRING:
		return string(o, *(char *const *)p);
	case PROTOBUF_C_TYPE_BYTES:
		return hex(o, ((const ProtobufCBinaryData *)p)->data,
			   ((const ProtobufCBinaryData *)p)->len);
	case PROTOBUF_C_TYPE_MESSAGE:
		return message(o, *(ProtobufCMessage *const *)p);
	}
	return NULL;
}

static bool is_present(const ProtobufCFieldDescriptor *f, const uint8_t *base)
{
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return *(const size_t *)(base + f->quantifier_offset) > 0;
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(base + f->quantifier_offset) == f->id;
	if (image_value_is_pointer(f))
		return *(void *const *)(base + f->offset) != NULL &&
		       (f->label == PROTOBUF_C_LABEL_REQUIRED ||
			*(void *const *)(base + f->offset) != f->default_value);
	if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->quantifier_offset)
		return *(const protobuf_c_boolean *)(base + f->quantifier_offset);
	return true;
}

static struct json_object *array(struct out *o, const ProtobufCFieldDescriptor *f,
				 const uint8_t *base)
{
	size_t n = *(const size_t *)(base + f->quantifier_offset);
	const uint8_t *p = *(uint8_t *const *)(base + f->offset);
	struct json_object *a = keep(o, json_object_new_array());

	for (size_t i = 0; a && i < n && !o->failed; i++)
		if (json_object_array_add(a, value(o, f, p + i * image_value_size(f))) < 0)
			o->failed = true;
	return a;
}

static struct json_object *unknown(struct out *o, const ProtobufCMessage *m)
{
	struct json_object *a = keep(o, json_object_new_array());

	for (unsigned int i = 0; a && i < m->n_unknown_fields && !o->failed; i++) {
		const ProtobufCMessageUnknownField *u = &m->unknown_fields[i];
		struct json_object *j = keep(o, json_object_new_object());

		if (!j)
			break;
		json_object_object_add(j, "tag", json_object_new_int64(u->tag));
		json_object_object_add(j, "wire_type", json_object_new_int((int)u->wire_type));
		json_object_object_add(j, "hex", hex(o, u->data, u->len));
		if (json_object_array_add(a, j) < 0)
			o->failed = true;
	}
	return a;
}

static struct json_object *message(struct out *o, const ProtobufCMessage *m)
{
	const uint8_t *base = (const uint8_t *)m;
	struct json_object *j = keep(o, json_object_new_object());

	for (unsigned int i = 0; j && i < m->descriptor->n_fields && !o->failed; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		struct json_object *v;

		if (!is_present(f, base))
			continue;
		v = f->label == PROTOBUF_C_LABEL_REPEATED ? array(o, f, base)
							  : value(o, f, base + f->offset);
		if (json_object_object_add(j, f->name, v) < 0)
			o->failed = true;
	}
	if (j && m->n_unknown_fields)
		json_object_object_add(j, "unknown_fields", unknown(o, m));
	return j;
}

struct json_object *image_to_json(const ProtobufCMessage *m)
{
	struct out o = { false };
	struct json_object *j = message(&o, m);

	if (!o.failed)
		return j;
	json_object_put(j);
	return NULL;
}

struct json_object *image_json_string(const char *s)
{
	struct out o = { false };
	struct json_object *j = string(&o, s);

	if (!o.failed)
		return j;
	json_object_put(j);
	return NULL;
}
