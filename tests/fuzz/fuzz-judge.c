// SPDX-License-Identifier: Apache-2.0
/*
 * Any JSON as what an image needs and what two hosts are, in the form of tests/rules/base.json: a
 * host profile comes from a stranger, needs come from an image. The judge must find a verdict, and
 * the verdict must be fit to print.
 */
#include <json-c/json.h>
#include <stdbool.h>

#include "cpuinfo/cpuinfo.h"
#include "image/image.h"
#include "policies/policies.h"
#include "report/report.h"
#include "tests/fuzz/fuzz.h"

static void *message(struct json_object *o, const char *key, const ProtobufCMessageDescriptor *d)
{
	struct ck_err err = CK_ERR_INIT;
	ProtobufCMessage *m = NULL;
	struct json_object *v;
	int r;

	if (!json_object_object_get_ex(o, key, &v))
		return NULL;
	r = image_from_json(v, d, &m, &err);
	if (r < 0)
		fuzz_failed_well(r, &err);
	return r < 0 ? NULL : m;
}

static bool flag(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) && json_object_get_boolean(v);
}

/* No control character but the newline leaves for a terminal. */
static void harmless(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		FUZZ_ASSERT((uint8_t)text[i] >= ' ' || text[i] == '\n');
}

static void print(const struct verdict *v)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	FUZZ_ASSERT(f);
	FUZZ_ASSERT(report_verdict_text(f, v, REPORT_ALL, NULL) == 0);
	fflush(f);
	harmless(text, len);
	rewind(f);
	FUZZ_ASSERT(report_verdict_json(f, v, 0, NULL) == 0);
	fclose(f);
	free(text);
}

static void judge(struct json_object *o)
{
	struct rule_image image = { .foreign = flag(o, "foreign"), .no_sums = flag(o, "no_sums") };
	CkptNeeds *needs = message(o, "needs", &ckpt_needs__descriptor);
	CkptFacts *source = message(o, "source", &ckpt_facts__descriptor);
	CkptFacts *target = message(o, "target", &ckpt_facts__descriptor);
	CkptIsa *isa = message(o, "isa", &ckpt_isa__descriptor);
	struct verdict v = { 0 };
	struct policy *p;

	FUZZ_ASSERT(policy_open("default", &p, NULL) == 0);
	if (target)
		FUZZ_ASSERT(cpuinfo_derive(target->cpu) == 0);
	if (needs && target) {
		struct rule_input in = { &image, needs, source, target, isa, flag(o, "live") };

		FUZZ_ASSERT(policy_judge(&in, p, &v, NULL) == 0);
		print(&v);
		policy_verdict_done(&v);
	}
	policy_free(p);
	if (needs)
		ckpt_needs__free_unpacked(needs, NULL);
	if (source)
		ckpt_facts__free_unpacked(source, NULL);
	if (target)
		ckpt_facts__free_unpacked(target, NULL);
	if (isa)
		ckpt_isa__free_unpacked(isa, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *o;

	FUZZ_ASSERT(t);
	o = json_tokener_parse_ex(t, (const char *)data, len < INT32_MAX ? (int)len : INT32_MAX);
	if (o)
		judge(o);
	json_object_put(o);
	json_tokener_free(t);
	return 0;
}
