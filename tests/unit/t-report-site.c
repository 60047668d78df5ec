// SPDX-License-Identifier: Apache-2.0
/*
 * A site's page, and what is counted for it. tests/lib/site.json is a site of 200 hosts and 20
 * jobs: each host is the target of tests/rules/base.json with changes, each job its needs and its
 * source. CKPT_PAGE=FILE keeps the page, to be looked at in a browser.
 */
#include <check.h>
#include <json-c/json.h>
#include <json-c/json_pointer.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fd.h"
#include "image/image.h"
#include "probe/probe.h"
#include "report/html.h"
#include "report/internal.h"
#include "report/kinds.h"

static inline void ck_auto_facts(CkptFacts **f)
{
	if (*f)
		ckpt_facts__free_unpacked(*f, NULL);
}

enum { MAX_HOSTS = 400 };

/* ---- the sample ---- */

static struct json_object *load(const char *path)
{
	struct json_object *o = json_object_from_file(path);

	ck_assert_msg(o != NULL, "%s: %s", path, json_util_get_last_err());
	return o;
}

static struct json_object *get(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(o, key, &v);
	return v;
}

struct sample {
	struct json_object *base, *site;
	struct policy_case cases[32];
	struct policy *policy;
};

/* "@x" stands for the sample's part x. */
static struct json_object *part(const struct sample *m, struct json_object *v)
{
	const char *s = json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";

	return json_object_get(s[0] == '@' ? get(get(m->site, "parts"), s + 1) : v);
}

/* base's member key with the changes of set, as a message. */
static void *changed(const struct sample *sample, const char *key, struct json_object *set,
		     const char *hostname, const ProtobufCMessageDescriptor *d)
{
	CK_AUTO(json) struct json_object *o = NULL;
	struct ck_err err = CK_ERR_INIT;
	ProtobufCMessage *m = NULL;

	ck_assert_int_eq(json_object_deep_copy(get(sample->base, key), &o, NULL), 0);
	json_object_object_foreach(set, pointer, v)
	{
		ck_assert_int_eq(json_pointer_set(&o, pointer, part(sample, v)), 0);
	}
	if (hostname)
		json_object_object_add(o, "hostname", json_object_new_string(hostname));
	ck_assert_msg(image_from_json(o, d, &m, &err) == 0, "%s: %s", err.what, err.where);
	return m;
}

/* What the sample doesn't name is there: facts that come later change nothing in it. */
static void complete(CkptFacts *facts)
{
	bool ns = probe_has(facts, "ns", NULL) == CKPT_TRISTATE__CKPT_YES;
	CkptKernelFacts *k = facts->kernel;

	for (size_t i = 0; i < PROBE_N_FACTS; i++) {
		const char *name = probe_fact_infos[i].name;
		CkptFeature *f;

		if (probe_has(facts, name, NULL) != CKPT_TRISTATE__CKPT_UNKNOWN ||
		    (!ns && !strncmp(name, "ns.", 3)) || !strncmp(name, "pidns.", 6))
			continue;
		f = malloc(sizeof(*f));
		ckpt_feature__init(f);
		f->name = strdup(name);
		f->value = CKPT_TRISTATE__CKPT_YES;
		k->features = reallocarray(k->features, k->n_features + 1, sizeof(*k->features));
		k->features[k->n_features++] = f;
	}
}

static void add_image(struct report_site *s, struct sample *m, struct json_object *image)
{
	const char *name = json_object_get_string(get(image, "name"));

	m->cases[s->n_images] = (struct policy_case){
		.dir = strdup(name),
		.needs = changed(m, "needs", get(image, "needs"), NULL, &ckpt_needs__descriptor),
		.source = changed(m, "source", get(image, "source"), NULL, &ckpt_facts__descriptor),
	};
	s->images[s->n_images++] = strdup(name);
}

static void add_host(struct report_site *s, const struct sample *m, struct json_object *host,
		     int number)
{
	struct report_host *h = &s->hosts[s->n_hosts];
	CK_AUTO(facts) CkptFacts *facts = NULL;
	char name[80];

	snprintf(name, sizeof(name), "%s%0*d%s", json_object_get_string(get(host, "prefix")),
		 json_object_get_int(get(host, "digits")), number,
		 json_object_get_string(get(host, "suffix")));
	facts = changed(m, "target", get(host, "set"), name, &ckpt_facts__descriptor);
	complete(facts);
	*h = (struct report_host){
		.profile = strdup(name),
		.name = strdup(name),
		.cpu = strdup(facts->cpu->brand),
		.kernel = strdup(facts->kernel->release),
		.level = facts->cpu->level ? strdup(facts->cpu->level) : NULL,
		.memory = facts->memory->total,
		.at = 1700000000,
	};
	ck_assert_int_eq(policy_readiness(facts, &h->ready), 0);
	for (size_t i = 0; i < s->n_images; i++) {
		struct verdict *v = &s->cells[s->n_hosts * s->n_images + i];

		ck_assert_int_eq(policy_case_judge(&m->cases[i], facts, m->policy, v, NULL), 0);
		policy_verdict_trim(v);
	}
	s->n_hosts++;
}

static void sample(struct report_site *s)
{
	struct sample m = {
		.base = load("tests/rules/base.json"),
		.site = load("tests/lib/site.json"),
	};
	struct json_object *images = get(m.site, "images"), *hosts = get(m.site, "hosts");

	ck_assert_int_eq(policy_open("default", &m.policy, NULL), 0);
	s->policy = strdup("default");
	s->images = calloc(CK_ARRAY_SIZE(m.cases), sizeof(*s->images));
	s->hosts = calloc(MAX_HOSTS, sizeof(*s->hosts));
	s->cells = calloc(MAX_HOSTS * CK_ARRAY_SIZE(m.cases), sizeof(*s->cells));
	for (size_t i = 0; i < json_object_array_length(images); i++)
		add_image(s, &m, json_object_array_get_idx(images, i));
	for (size_t i = 0; i < json_object_array_length(hosts); i++) {
		struct json_object *host = json_object_array_get_idx(hosts, i);

		for (int n = 1; n <= json_object_get_int(get(host, "count")); n++)
			add_host(s, &m, host, n);
	}
	for (size_t i = 0; i < s->n_images; i++)
		policy_case_done(&m.cases[i]);
	policy_free(m.policy);
	json_object_put(m.base);
	json_object_put(m.site);
}

static char *page_of(const struct report_site *s)
{
	struct ck_err err = CK_ERR_INIT;
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	ck_assert_ptr_nonnull(f);
	ck_assert_msg(report_site_html(f, s, 1700000000, &err) == 0, "%s", err.what);
	fclose(f);
	return text;
}

static size_t count(const char *s, const char *what)
{
	size_t n = 0;

	while ((s = strstr(s, what)) != NULL) {
		n++;
		s++;
	}
	return n;
}

/* ---- tests ---- */

START_TEST(page_of_a_site)
{
	CK_AUTO(site) struct report_site s = { 0 };
	CK_AUTO(free) char *html = NULL;
	const char *keep = getenv("CKPT_PAGE");

	sample(&s);
	ck_assert_uint_eq(s.n_hosts, 200);
	ck_assert_uint_eq(s.n_images, 20);
	html = page_of(&s);
	if (keep) {
		FILE *f = fopen(keep, "we");

		ck_assert(f && fputs(html, f) >= 0 && fclose(f) == 0);
	}
	/* 10 kinds of hosts: a cell each, and no more than somebody would read. */
	ck_assert_uint_eq(count(html, "<td><a class="), 10 * 20);
	ck_assert_uint_lt(strlen(html), 300000);
	/* Nothing is loaded, nothing runs. */
	ck_assert_ptr_null(strstr(html, "<script"));
	ck_assert_ptr_null(strstr(html, "http"));
	ck_assert_ptr_null(strstr(html, "url("));
	ck_assert_ptr_null(strstr(html, "@import"));
}
END_TEST

/* Each anchor that is referred to is there, once. */
START_TEST(anchors)
{
	CK_AUTO(site) struct report_site s = { 0 };
	CK_AUTO(free) char *html = NULL;
	size_t n = 0;

	sample(&s);
	html = page_of(&s);
	for (const char *p = html; (p = strstr(p, "href=\"#")); p++, n++) {
		char id[80];

		snprintf(id, sizeof(id), " id=\"%.*s\"", (int)strcspn(p + 7, "\""), p + 7);
		ck_assert_msg(count(html, id) == 1, "%s", id);
	}
	ck_assert_uint_gt(n, 200);
}
END_TEST

#define HOSTILE "</td><script>alert(1)</script>\" onclick='x' &amp; \x1b[2J \xe2\x80\x8b\xff"

START_TEST(hostile_names)
{
	CK_AUTO(site) struct report_site s = { 0 };
	CK_AUTO(free) char *html = NULL;
	struct verdict *v;
	struct finding *f;

	sample(&s);
	free(s.hosts[0].name);
	free(s.hosts[0].cpu);
	free(s.images[0]);
	s.hosts[0].name = strdup(HOSTILE);
	s.hosts[0].cpu = strdup(HOSTILE);
	s.images[0] = strdup(HOSTILE);
	s.unread = calloc(1, sizeof(*s.unread));
	s.unread[s.n_unread++] = (struct report_unread){ strdup(HOSTILE), strdup(HOSTILE) };
	v = &s.cells[0];
	f = findings_add(&v->findings, policy_rule_find("fs.cwd"), FINDING_REFUSE, HOSTILE);
	finding_need(f, "%s", HOSTILE);
	finding_have(f, "%s", HOSTILE);
	finding_evidence(f, "%s", HOSTILE);
	finding_remedy(f, "%s", HOSTILE);
	html = page_of(&s);
	ck_assert_ptr_null(strstr(html, "<script"));
	ck_assert_ptr_null(strstr(html, "' &amp; "));
	ck_assert_uint_gt(count(html, "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; "
				      "onclick=&#39;x&#39; &amp;amp; \xef\xbf\xbd[2J "
				      "\xef\xbf\xbd\xef\xbf\xbd"),
			  10);
	for (const unsigned char *p = (unsigned char *)html; *p; p++)
		ck_assert(*p >= 0x20 || *p == '\n');
	ck_assert_ptr_null(strstr(html, "\xe2\x80\x8b"));
	ck_assert_ptr_null(strchr(html, 0xff));
}
END_TEST

START_TEST(writer_notices_what_is_not_nested)
{
	CK_AUTO(free) char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	struct report_html w = REPORT_HTML_INIT(f);

	report_tag(&w, "p");
	report_attr(&w, "class", "%s", "\"<&>'");
	report_text(&w, "a<b");
	report_tag(&w, "br");
	report_end(&w);
	report_end(&w);
	fflush(f);
	ck_assert_str_eq(text, "<p class=\"&quot;&lt;&amp;&gt;&#39;\">a&lt;b<br/>\n</p>");
	ck_assert(!w.bug && !w.depth);
	report_attr(&w, "class", "late");
	ck_assert(w.bug);
	w.bug = false;
	report_end(&w);
	ck_assert(w.bug);
	w.bug = false;
	for (int i = 0; i <= REPORT_HTML_DEPTH; i++)
		report_tag(&w, "p");
	ck_assert(w.bug);
	fclose(f);
}
END_TEST

static const struct {
	const char *names[6];
	const char *folded;
} folds[] = {
	{ { "a1" }, "a1" },
	{ { "a1", "a2" }, "a[1,2]" },
	{ { "a01.x", "a02.x", "a03.x" }, "a[01-03].x" },
	{ { "n8", "n9", "n10", "n11" }, "n[8-11]" },
	{ { "n08", "n09", "n10", "n12", "n14" }, "n[08-10,12,14]" },
	{ { "n1.x", "n2.y" }, "n1.x, n2.y" },
	{ { "n01", "n1" }, "n01, n1" },
	{ { "a", "b", "c1" }, "a, b, c1" },
	{ { "r1n1", "r1n2", "r2n1" }, "r1n[1,2], r2n1" },
	{ { "x12345678901", "x12345678902" }, "x12345678901, x12345678902" },
	{ { "", "." }, ", ." },
	{ { "a1", "a1", "a2" }, "a[1,2]" },
};

START_TEST(names_are_folded)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	const char *names[6] = { NULL };
	size_t n = 0;

	while (n < 6 && folds[_i].names[n]) {
		names[n] = folds[_i].names[n];
		n++;
	}
	qsort(names, n, sizeof(*names), report_compare_names);
	report_fold_names(&b, names, n);
	ck_assert_str_eq(ck_strbuf_str(&b), folds[_i].folded);
}
END_TEST

/* Two images on three hosts: what is counted is counted once. */
START_TEST(blockers_are_counted)
{
	CK_AUTO(site) struct report_site s = { 0 };
	CK_AUTO(blockers) struct report_blockers b = { 0 };
	const struct rule *cwd = policy_rule_find("fs.cwd"), *isa = policy_rule_find("cpu.isa");

	s.n_hosts = 3;
	s.n_images = 2;
	s.hosts = calloc(3, sizeof(*s.hosts));
	s.images = calloc(2, sizeof(*s.images));
	s.cells = calloc(6, sizeof(*s.cells));
	for (int i = 0; i < 3; i++)
		ck_assert_int_gt(asprintf(&s.hosts[i].name, "h%d", i + 1), 0);
	/* host 1: image 1 twice the same rule, and another; host 2: alone; a note that is none */
	findings_add(&s.cells[0].findings, cwd, FINDING_REFUSE, "/a");
	findings_add(&s.cells[0].findings, cwd, FINDING_REFUSE, "/b");
	findings_add(&s.cells[0].findings, isa, FINDING_UNKNOWN, "avx");
	findings_add(&s.cells[2].findings, cwd, FINDING_REFUSE, "/a");
	findings_add(&s.cells[3].findings, cwd, FINDING_REFUSE, "/a");
	findings_add(&s.cells[4].findings, cwd, FINDING_DEGRADED, "/a");
	findings_add(&s.cells[5].findings, cwd, FINDING_REFUSE, "/a");
	findings_add(&s.cells[5].findings, isa, FINDING_UNKNOWN, "avx")->cause = "fs.cwd";
	ck_assert_int_eq(report_blockers_of(&s, &b), 0);
	ck_assert_uint_eq(b.n, 2);
	ck_assert_str_eq(b.b[0].rule->id, "fs.cwd");
	ck_assert_uint_eq(b.b[0].cells, 4);
	ck_assert_uint_eq(b.b[0].alone, 3);
	ck_assert_uint_eq(b.b[0].hosts, 3);
	ck_assert_uint_eq(b.b[0].images, 2);
	ck_assert_uint_eq(b.b[0].n_obstacles, 2);
	ck_assert_str_eq(b.b[0].obstacles[0].finding->subject, "/a");
	ck_assert_uint_eq(b.b[0].obstacles[0].cells, 4);
	ck_assert_uint_eq(b.b[0].obstacles[0].hosts, 3);
	ck_assert_str_eq(b.b[0].obstacles[0].names, "h[1-3]");
	ck_assert_str_eq(b.b[0].obstacles[1].names, "h1");
	ck_assert_str_eq(b.b[1].rule->id, "cpu.isa");
	ck_assert_uint_eq(b.b[1].cells, 1);
	ck_assert_uint_eq(b.b[1].alone, 0);
}
END_TEST

START_TEST(kinds_differ_in_anything_that_is_said)
{
	CK_AUTO(site) struct report_site s = { 0 };
	struct report_kinds k = { 0 };
	struct finding *f;

	sample(&s);
	ck_assert_int_eq(report_kinds_of(&s, &k), 0);
	ck_assert_uint_eq(k.n, 10);
	for (size_t i = 1; i < k.n; i++)
		ck_assert_uint_ge(k.k[i - 1].can, k.k[i].can);
	report_kinds_done(&k);
	f = findings_add(&s.cells[s.n_images * 5].findings, policy_rule_find("fs.cwd"),
			 FINDING_DEGRADED, "/x");
	ck_assert_int_eq(report_kinds_of(&s, &k), 0);
	ck_assert_uint_eq(k.n, 11);
	report_kinds_done(&k);
	finding_have(f, "x");
	free(s.hosts[0].kernel);
	s.hosts[0].kernel = strdup("6.6.6");
	ck_assert_int_eq(report_kinds_of(&s, &k), 0);
	ck_assert_uint_eq(k.n, 12);
	report_kinds_done(&k);
}
END_TEST

START_TEST(full_disk)
{
	CK_AUTO(site) struct report_site s = { 0 };
	FILE *out = fopen("/dev/full", "we");

	sample(&s);
	ck_assert_ptr_nonnull(out);
	ck_assert_int_lt(report_site_html(out, &s, 0, NULL), 0);
	ck_assert_int_lt(report_site_text(out, &s, NULL), 0);
	ck_assert_int_lt(report_site_json(out, &s, NULL), 0);
	ck_assert_int_lt(report_match_text(out, &s, NULL), 0);
	fclose(out);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("report-site");
	TCase *tc = tcase_create("all");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, page_of_a_site);
	tcase_add_test(tc, anchors);
	tcase_add_test(tc, hostile_names);
	tcase_add_test(tc, writer_notices_what_is_not_nested);
	tcase_add_loop_test(tc, names_are_folded, 0, CK_ARRAY_SIZE(folds));
	tcase_add_test(tc, blockers_are_counted);
	tcase_add_test(tc, kinds_differ_in_anything_that_is_said);
	tcase_add_test(tc, full_disk);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
