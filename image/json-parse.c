// SPDX-License-Identifier: Apache-2.0
/*
 * JSON to messages, the reverse of json.c. The text comes from people and other hosts: types and
 * ranges are checked, required fields are demanded, unknown keys are ignored. Numbers may be
 * strings too, since a double can't hold all of them.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "base/err.h"
#include "image/image.h"
#include "image/json.h"

static int message(struct json_object *o, const ProtobufCMessageDescriptor *d,
		   ProtobufCMessage **ret, struct ck_err *err);

static int wrong(struct ck_err *err, const char *wanted, struct json_object *o)
{
	return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "wants %s, has %s", wanted,
		       o ? json_type_to_name(json_object_get_type(o)) : "nothing");
}

static int no_memory(struct ck_err *err)
{
	return ck_fail(err, CK_ERR_SYS, -ENOMEM, "cannot read the text");
}

/* A whole number from text: decimal or 0x; a minus sign for negative ones. */
static bool parse_number(const char *s, bool *negative, uint64_t *ret)
{
	char *end;

	*negative = *s == '-';
	if (*negative)
		s++;
	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*ret = strtoull(s, &end, s[0] == '0' && (s[1] == 'x' || s[1] == 'X') ? 16 : 10);
	return errno == 0 && *end == '\0';
}

/* The magnitude and sign of a number, exactly. */
static int number(struct json_object *o, bool *negative, uint64_t *ret, struct ck_err *err)
{
	int64_t i;

	switch (json_object_get_type(o)) {
	case json_type_string:
		if (parse_number(json_object_get_string(o), negative, ret))
			return 0;
		return wrong(err, "a number", o);
	case json_type_int:
		/* json-c keeps what is beyond int64 as uint64 and clamps only on reading. */
		i = json_object_get_int64(o);
		*negative = i < 0;
		*ret = i < 0 ? -(uint64_t)i : json_object_get_uint64(o);
		return 0;
	default:
		return wrong(err, "a whole number", o);
	}
}

static int unsigned_number(struct json_object *o, uint64_t max, uint64_t *ret, struct ck_err *err)
{
	bool negative;
	int r = number(o, &negative, ret, err);

	if (r < 0)
		return r;
	if ((negative && *ret) || *ret > max)
		return ck_fail(err, CK_ERR_CONFIG, -ERANGE, "is not within 0 and %" PRIu64, max);
	return 0;
}

static int signed_number(struct json_object *o, int64_t min, int64_t max, int64_t *ret,
			 struct ck_err *err)
{
	bool negative;
	uint64_t v;
	int r = number(o, &negative, &v, err);

	if (r < 0)
		return r;
	if (v > (negative ? -(uint64_t)min : (uint64_t)max))
		return ck_fail(err, CK_ERR_CONFIG, -ERANGE,
			       "is not within %" PRId64 " and %" PRId64, min, max);
	*ret = negative ? (int64_t)-v : (int64_t)v;
	return 0;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hex digits to bytes, with a terminator behind them. */
static int unhex(struct json_object *o, ProtobufCBinaryData *ret, struct ck_err *err)
{
	const char *s;
	size_t len;

	if (!json_object_is_type(o, json_type_string))
		return wrong(err, "hex digits", o);
	s = json_object_get_string(o);
	len = (size_t)json_object_get_string_len(o);
	if (len % 2 || len != strspn(s, "0123456789abcdefABCDEF"))
		return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "wants pairs of hex digits");
	ret->data = malloc(len / 2 + 1);
	if (!ret->data)
		return no_memory(err);
	ret->len = len / 2;
	for (size_t i = 0; i < ret->len; i++)
		ret->data[i] = (uint8_t)(nibble(s[2 * i]) << 4 | nibble(s[2 * i + 1]));
	ret->data[ret->len] = '\0';
	return 0;
}

static int string(struct json_object *o, char **ret, struct ck_err *err)
{
	ProtobufCBinaryData raw;
	struct json_object *hex;
	int r;

	if (json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, "hex", &hex)) {
		r = unhex(hex, &raw, err);
		if (r == 0)
			*ret = (char *)raw.data;
		return r;
	}
	if (!json_object_is_type(o, json_type_string))
		return wrong(err, "a string", o);
	*ret = strdup(json_object_get_string(o));
	return *ret ? 0 : no_memory(err);
}

static int enum_value(struct json_object *o, const ProtobufCFieldDescriptor *f, int *ret,
		      struct ck_err *err)
{
	const ProtobufCEnumDescriptor *d = f->descriptor;
	int64_t v;
	int r;

	if (json_object_is_type(o, json_type_string)) {
		const ProtobufCEnumValue *e =
			protobuf_c_enum_descriptor_get_value_by_name(d, json_object_get_string(o));

		if (!e)
			return ck_fail(err, CK_ERR_CONFIG, -EINVAL, "is no value of %s", d->name);
		*ret = e->value;
		return 0;
	}
	r = signed_number(o, INT32_MIN, INT32_MAX, &v, err);
	if (r == 0)
		*ret = (int)v;
	return r;
}

/* Integers of all widths; the rest is value()'s. */
static int integer(struct json_object *o, const ProtobufCFieldDescriptor *f, void *p,
		   struct ck_err *err)
{
	uint64_t u = 0;
	int64_t i = 0;
	int r;

	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		r = signed_number(o, INT32_MIN, INT32_MAX, &i, err);
		*(int32_t *)p = (int32_t)i;
		return r;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return signed_number(o, INT64_MIN, INT64_MAX, p, err);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		r = unsigned_number(o, UINT32_MAX, &u, err);
		*(uint32_t *)p = (uint32_t)u;
		return r;
	default:
		return unsigned_number(o, UINT64_MAX, p, err);
	}
}

static int value(struct json_object *o, const ProtobufCFieldDescriptor *f, void *p,
		 struct ck_err *err)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
		if (!json_object_is_type(o, json_type_double) &&
		    !json_object_is_type(o, json_type_int))
			return wrong(err, "a number", o);
		if (f->type == PROTOBUF_C_TYPE_FLOAT)
			*(float *)p = (float)json_object_get_double(o);
		else
			*(double *)p = json_object_get_double(o);
		return 0;
	case PROTOBUF_C_TYPE_BOOL:
		if (!json_object_is_type(o, json_type_boolean))
			return wrong(err, "true or false", o);
		*(protobuf_c_boolean *)p = json_object_get_boolean(o);
		return 0;
	case PROTOBUF_C_TYPE_ENUM:
		return enum_value(o, f, p, err);
	case PROTOBUF_C_TYPE_STRING:
		return string(o, p, err);
	case PROTOBUF_C_TYPE_BYTES:
		return unhex(o, p, err);
	case PROTOBUF_C_TYPE_MESSAGE:
		return message(o, f->descriptor, p, err);
	default:
		return integer(o, f, p, err);
	}
}

static int array(struct json_object *o, const ProtobufCFieldDescriptor *f, uint8_t *base,
		 struct ck_err *err)
{
	size_t *n = (size_t *)(base + f->quantifier_offset), len;
	uint8_t **p = (uint8_t **)(base + f->offset);
	int r;

	if (!json_object_is_type(o, json_type_array))
		return wrong(err, "an array", o);
	len = json_object_array_length(o);
	if (len == 0)
		return 0;
	*p = calloc(len, image_value_size(f));
	if (!*p)
		return no_memory(err);
	for (size_t i = 0; i < len; i++) {
		r = value(json_object_array_get_idx(o, i), f, *p + i * image_value_size(f), err);
		if (r < 0)
			return ck_err_at(err, r, "[%zu]", i);
		*n = i + 1; /* what is freed on failure */
	}
	return 0;
}

static int field(struct json_object *o, const ProtobufCFieldDescriptor *f, uint8_t *base,
		 struct ck_err *err)
{
	bool pointer = image_value_is_pointer(f);
	int r;

	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return array(o, f, base, err);
	r = value(o, f, base + f->offset, err);
	if (r < 0)
		return r;
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		*(uint32_t *)(base + f->quantifier_offset) = f->id;
	else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && !pointer && f->quantifier_offset)
		*(protobuf_c_boolean *)(base + f->quantifier_offset) = true;
	return 0;
}

static int fields(struct json_object *o, ProtobufCMessage *m, struct ck_err *err)
{
	for (unsigned int i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		struct json_object *v;
		int r = 0;

		if (json_object_object_get_ex(o, f->name, &v))
			r = field(v, f, (uint8_t *)m, err);
		else if (f->label == PROTOBUF_C_LABEL_REQUIRED)
			r = ck_fail(err, CK_ERR_CONFIG, -EINVAL, "is missing");
		if (r < 0)
			return ck_err_at(err, r, "%s", f->name);
	}
	return 0;
}

static int message(struct json_object *o, const ProtobufCMessageDescriptor *d,
		   ProtobufCMessage **ret, struct ck_err *err)
{
	ProtobufCMessage *m;
	int r;

	if (!json_object_is_type(o, json_type_object))
		return wrong(err, "an object", o);
	m = calloc(1, d->sizeof_message);
	if (!m)
		return no_memory(err);
	protobuf_c_message_init(d, m);
	r = fields(o, m, err);
	if (r < 0) {
		protobuf_c_message_free_unpacked(m, NULL);
		return r;
	}
	*ret = m;
	return 0;
}

int image_from_json(struct json_object *o, const ProtobufCMessageDescriptor *d,
		    ProtobufCMessage **ret, struct ck_err *err)
{
	return message(o, d, ret, err);
}
