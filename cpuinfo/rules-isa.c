// SPDX-License-Identifier: Apache-2.0
/*
 * cpu.isa: can the job's code still execute an instruction that the target lacks? Judged from what
 * was read of its code (ckpt_isa). Certain is a refusal; what may be reached is a question, unless
 * what the job was started with attests that it never is; everything else is in order. Without
 * evidence, CPUID of both hosts is all there is, and what is missing is a question.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/strbuf.h"
#include "cpuinfo/cpuinfo-internal.h"
#include "image/ckpt-isa.pb-c.h"
#include "image/needs.pb-c.h"

/* Of these no instruction can be told by the decoder that read the code. */
static const struct {
	const char *feature;
	bool aliased; /* its bytes are another instruction to it; else they are none */
} unreadable[] = {
	{ "sha512", false },
	{ "sm3", false },
	{ "sm4", false },
	{ "rao_int", false },
	{ "cmpccxadd", false },
	{ "amx_fp16", false },
	{ "amx_complex", false },
	{ "avx_ifma", false },
	{ "movrs", false },
	{ "avx_vnni_int8", false },
	{ "avx10_2", false },
	{ "apx_f", false },
	{ "avx_ne_convert", false },
	{ "avx_vnni_int16", false },
	{ "3dnowext", true },
	{ "rng_en", true },
	{ "ace_en", true },
	{ "ace2_en", true },
	{ "phe_en", true },
	{ "pmm_en", true },
};

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* Features of an instruction set that the source has and the target lacks, as text. */
static size_t list_missing(const CkptCpuFacts *source, const CkptCpuFacts *target,
			   struct ck_strbuf *b)
{
	size_t n = 0;

	for (size_t i = 0; i < source->n_features; i++) {
		const struct cpuinfo_feature *f = cpuinfo_feature_find(source->features[i]);

		if (!f || f->class != CPUINFO_ISA || cpuinfo_has(target, f->name))
			continue;
		ck_strbuf_addf(b, "%s%s", n++ ? " " : "", f->name);
	}
	return n;
}

/* ---- what attests that guarded code is never executed ---- */

/* The job's C library takes it for unusable, in every task. */
static bool glibc_excludes(const CkptIsa *isa, const char *feature)
{
	for (size_t i = 0; i < isa->n_tasks; i++) {
		const CkptIsaTask *t = isa->tasks[i];

		if (!t->has_has_usable || !t->has_usable)
			return false;
		for (size_t k = 0; k < t->n_usable; k++)
			if (!strcmp(t->usable[k], feature))
				return false;
	}
	return isa->n_tasks;
}

/* The value of a variable that all tasks have alike, or NULL. */
static const char *variable(const CkptIsa *isa, const char *name)
{
	size_t len = strlen(name);
	const char *found = NULL;

	for (size_t i = 0; i < isa->n_tasks; i++) {
		const CkptIsaTask *t = isa->tasks[i];
		const char *v = NULL;

		for (size_t k = 0; k < t->n_environment; k++)
			if (!strncmp(t->environment[k], name, len) && t->environment[k][len] == '=')
				v = t->environment[k] + len + 1;
		if (!v || (found && strcmp(found, v) != 0))
			return NULL;
		found = v;
	}
	return found;
}

/* One half of OPENSSL_ia32cap: does it leave out the bit? OPENSSL_ia32cap(3) */
static bool half_excludes(const char *text, unsigned int bit)
{
	bool mask = text[0] == '~';
	uint64_t v = strtoull(text + mask, NULL, 0);

	return (v >> bit & 1) == mask;
}

static bool openssl_excludes(const CkptIsa *isa, const char *feature)
{
	const char *v = variable(isa, "OPENSSL_ia32cap");
	const struct cpuinfo_feature *f = cpuinfo_feature_find(feature);
	const char *second = v ? strchr(v, ':') : NULL;

	if (!v || !f || f->subleaf)
		return false;
	if (f->leaf == 1 && (f->reg == CPUINFO_EDX || f->reg == CPUINFO_ECX))
		return v[0] && v[0] != ':' &&
		       half_excludes(v, f->bit + (f->reg == CPUINFO_ECX ? 32u : 0));
	if (f->leaf == 7 && (f->reg == CPUINFO_EBX || f->reg == CPUINFO_ECX))
		/* Without a second half, OpenSSL takes it for zero. */
		return !second ||
		       half_excludes(second + 1, f->bit + (f->reg == CPUINFO_ECX ? 32u : 0));
	return false;
}

/* numpy's names, and which features of the CPU each stands for. */
static const struct {
	const char *name, *features;
} numpy_names[] = {
	{ "SSSE3", "ssse3" },
	{ "SSE41", "sse4_1" },
	{ "POPCNT", "popcnt" },
	{ "SSE42", "sse4_2" },
	{ "AVX", "avx" },
	{ "F16C", "f16c" },
	{ "XOP", "xop" },
	{ "FMA4", "fma4" },
	{ "FMA3", "fma" },
	{ "AVX2", "avx2" },
	{ "AVX512F", "avx512f" },
	{ "AVX512CD", "avx512cd" },
	{ "AVX512_KNL", "avx512er avx512pf" },
	{ "AVX512_KNM", "avx512_4vnniw avx512_4fmaps" },
	{ "AVX512_SKX", "avx512bw avx512dq avx512vl" },
	{ "AVX512_CLX", "avx512_vnni" },
	{ "AVX512_CNL", "avx512ifma avx512vbmi" },
	{ "AVX512_ICL", "avx512_vbmi2 avx512_bitalg" },
	{ "AVX512_SPR", "avx512_fp16" },
};

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; *p; p += strcspn(p, " ,\t")) {
		p += strspn(p, " ,\t");
		if (strcspn(p, " ,\t") == len && !strncmp(p, word, len))
			return true;
	}
	return false;
}

static bool numpy_excludes(const CkptIsa *isa, const char *feature)
{
	const char *v = variable(isa, "NPY_DISABLE_CPU_FEATURES");

	for (size_t i = 0; v && i < CK_ARRAY_SIZE(numpy_names); i++)
		if (has_word(numpy_names[i].features, feature))
			return has_word(v, numpy_names[i].name);
	return false;
}

/* What attests that the module's guarded code for this feature is never executed; NULL: nothing. */
static const char *attested_by(const CkptIsa *isa, const CkptIsaModule *m, const char *feature)
{
	if (!m->dispatch)
		return NULL;
	if (!strcmp(m->dispatch, "glibc") && glibc_excludes(isa, feature))
		return "the features that glibc takes for usable";
	if (!strcmp(m->dispatch, "openssl") && openssl_excludes(isa, feature))
		return "OPENSSL_ia32cap";
	if (!strcmp(m->dispatch, "numpy") && numpy_excludes(isa, feature))
		return "NPY_DISABLE_CPU_FEATURES";
	return NULL;
}

/* ---- one module ---- */

struct judged {
	const struct rule *rule;
	const CkptIsa *isa;
	const CkptCpuFacts *source, *target;
	struct findings *out;
	size_t refused, open;
	const char *attested; /* the last that was made use of */
};

static void list_need(struct ck_strbuf *b, const CkptIsaNeed *n)
{
	ck_strbuf_addf(b, "%s%s", b->len ? " " : "", n->feature);
}

static void tell_function(struct ck_strbuf *b, const CkptIsaModule *m, const CkptIsaNeed *n)
{
	if (n->bound && n->bound[0])
		ck_strbuf_addf(b, "%s is bound to ", n->bound);
	if (n->function && (!n->bound || strcmp(n->bound, n->function) != 0))
		ck_strbuf_addf(b, "%s of %s", n->function, base_name(m->path));
	else
		ck_strbuf_addf(b, "code of %s", base_name(m->path));
	ck_strbuf_addf(b, ", which needs %s at %#llx", n->feature, (unsigned long long)n->at);
}

static void tell_chain(struct ck_strbuf *b, const CkptIsaNeed *n)
{
	for (size_t i = 0; i < n->n_chain; i++)
		ck_strbuf_addf(b, "%s%s", !i ? "; " : i == 1 ? ": " : " > ", n->chain[i]);
}

/* For which CPUs the file was built, where it says so itself, or by its place. */
static void tell_build(struct ck_strbuf *b, const CkptIsaModule *m)
{
	if (m->level)
		ck_strbuf_addf(b, "; its notes ask for %s", m->level);
	if (m->hwcaps)
		ck_strbuf_addf(b, "; ld.so chose it from glibc-hwcaps/%s", m->hwcaps);
}

/* How glibc is told to leave out what this target lacks. */
static const char *tunables_for(const CkptCpuFacts *target)
{
	if (cpuinfo_has(target, "avx2") && cpuinfo_has(target, "bmi2") &&
	    cpuinfo_has(target, "xsavec"))
		return "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-RTM";
	if (cpuinfo_has(target, "avx2") && cpuinfo_has(target, "bmi2"))
		return "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-RTM,-XSAVEC";
	if (cpuinfo_has(target, "sse4_2"))
		return "GLIBC_TUNABLES=glibc.cpu.hwcaps=-XSAVE,-XSAVEC,-RTM,-AVX_Fast_Unaligned_"
		       "Load";
	return "GLIBC_TUNABLES=glibc.cpu.hwcaps=-XSAVE,-XSAVEC,-RTM,-AVX_Fast_Unaligned_Load,"
	       "-SSE4_2,-SSE4_1,-SSSE3";
}

static void tell_remedy(struct finding *f, const struct judged *j, const CkptIsaModule *m)
{
	const char *how = m->dispatch ? m->dispatch : "";

	if (m->hwcaps)
		finding_remedy(
			f,
			"restore it on a CPU that has them; next time, start the job so that "
			"ld.so does not choose the file: %s",
			tunables_for(j->target));
	else if (!strcmp(how, "glibc"))
		finding_remedy(f,
			       "restore it on a CPU that has them; next time, start the job "
			       "with %s LD_BIND_NOW=1",
			       tunables_for(j->target));
	else if (!strcmp(how, "openblas"))
		finding_remedy(f,
			       "restore it on a CPU that has them; next time, start the job "
			       "with OPENBLAS_CORETYPE=%s",
			       cpuinfo_has(j->target, "avx2") ? "Haswell" : "Nehalem");
	else if (!strcmp(how, "openssl"))
		finding_remedy(f, "restore it on a CPU that has them; next time, start the job "
				  "with OPENSSL_ia32cap set for the weaker CPU; if it does not use "
				  "them: --override cpu.isa");
	else if (!strcmp(how, "numpy"))
		finding_remedy(f,
			       "restore it on a CPU that has them; next time, start the job "
			       "with NPY_DISABLE_CPU_FEATURES, which takes numpy's names of them");
	else
		finding_remedy(f, "restore it on a CPU that has them; if the job is known not to "
				  "use them: --override cpu.isa");
}

/* Some of the module's needs have this answer, n the first of them; features lists them all. */
static void module_finding(struct judged *j, const CkptIsaModule *m, const CkptIsaNeed *n,
			   const char *features, enum finding_status status)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	struct finding *f = findings_add(j->out, j->rule, status, base_name(m->path));

	finding_need(f, "%s (%u %s)", features, n->functions,
		     n->functions == 1 ? "function" : "functions");
	finding_have(f, "%s lacks them", cpuinfo_cpu_name(j->target));
	tell_function(&b, m, n);
	if (status != FINDING_REFUSE && n->class_ == CKPT_ISA_CLASS__CKPT_ISA_GUARDED)
		ck_strbuf_addf(&b, ", in a module that asks for CPU features first, and may have "
				   "kept the answer");
	tell_chain(&b, n);
	tell_build(&b, m);
	finding_evidence(f, "%s", ck_strbuf_str(&b));
	tell_remedy(f, j, m);
}

static bool is_missing(const struct judged *j, const char *feature)
{
	if (cpuinfo_has(j->target, feature))
		return false;
	/* What the source lacks is not executed there either, and the same code asks here. */
	return !j->source || !j->source->n_features || cpuinfo_has(j->source, feature);
}

static void judge_module(struct judged *j, const CkptIsaModule *m)
{
	CK_AUTO(strbuf) struct ck_strbuf sure = CK_STRBUF_INIT;
	CK_AUTO(strbuf) struct ck_strbuf perhaps = CK_STRBUF_INIT;
	const CkptIsaNeed *first_sure = NULL, *first_perhaps = NULL;

	for (size_t i = 0; i < m->n_needs; i++) {
		const CkptIsaNeed *n = m->needs[i];
		const char *by;

		if (!is_missing(j, n->feature))
			continue;
		if (n->class_ == CKPT_ISA_CLASS__CKPT_ISA_CERTAIN) {
			list_need(&sure, n);
			if (!first_sure || (n->bound && !first_sure->bound))
				first_sure = n;
			continue;
		}
		by = n->class_ == CKPT_ISA_CLASS__CKPT_ISA_GUARDED
			     ? attested_by(j->isa, m, n->feature)
			     : NULL;
		if (by) {
			j->attested = by;
			continue;
		}
		list_need(&perhaps, n);
		if (!first_perhaps)
			first_perhaps = n;
	}
	if (first_sure) {
		module_finding(j, m, first_sure, ck_strbuf_str(&sure), FINDING_REFUSE);
		j->refused++;
	}
	if (first_perhaps && !first_sure) {
		module_finding(j, m, first_perhaps, ck_strbuf_str(&perhaps), FINDING_UNKNOWN);
		j->open++;
	}
}

/* ---- what nobody could look at ---- */

static void unseen_finding(struct judged *j, const char *subject, const char *why,
			   const char *missing)
{
	struct finding *f = findings_add(j->out, j->rule, FINDING_UNKNOWN, subject);

	finding_need(f, "instructions of code that could not be looked at");
	finding_have(f, "%s lacks %s", cpuinfo_cpu_name(j->target),
		     missing[0] ? missing : "perhaps something that the source has");
	finding_evidence(f, "%s", why);
	finding_remedy(f, "restore it on a CPU that has all that the source has; if that code is "
			  "known not to use them: --override cpu.isa");
	j->open++;
}

/* The first module with code that was reached and not understood, or where nobody noted whether
 * there is such code. */
static const CkptIsaModule *undecoded(const CkptIsa *isa)
{
	for (size_t i = 0; i < isa->n_modules; i++)
		if (!isa->modules[i]->unknown && isa->modules[i]->has_reached &&
		    (!isa->modules[i]->has_undecoded || isa->modules[i]->undecoded))
			return isa->modules[i];
	return NULL;
}

static void judge_unreadable(struct judged *j)
{
	const CkptIsaModule *m = undecoded(j->isa);

	for (size_t i = 0; j->source && i < CK_ARRAY_SIZE(unreadable); i++) {
		const char *name = unreadable[i].feature;
		CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

		if ((!m && !unreadable[i].aliased) || !cpuinfo_has(j->source, name) ||
		    cpuinfo_has(j->target, name))
			continue;
		ck_strbuf_addf(&b, "its instructions can't be told from others in the code%s%s",
			       m ? " of " : "", m ? base_name(m->path) : "");
		unseen_finding(j, name, ck_strbuf_str(&b), name);
	}
}

static void judge_unseen(struct judged *j, const char *missing)
{
	bool any = missing[0] || !j->source || !j->source->n_features;

	for (size_t i = 0; any && i < j->isa->n_modules; i++) {
		const CkptIsaModule *m = j->isa->modules[i];
		CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

		if (!m->unknown)
			continue;
		ck_strbuf_addf(&b, "%s %s", m->path, m->unknown);
		unseen_finding(j, base_name(m->path), ck_strbuf_str(&b), missing);
	}
	for (size_t i = 0; any && i < j->isa->n_tasks; i++)
		for (size_t k = 0; k < j->isa->tasks[i]->n_unknown; k++) {
			CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;

			ck_strbuf_addf(&b, "task %u", j->isa->tasks[i]->pid);
			unseen_finding(j, ck_strbuf_str(&b), j->isa->tasks[i]->unknown[k], missing);
		}
	judge_unreadable(j);
}

/* ---- the rule ---- */

static void by_evidence(struct judged *j, const char *missing)
{
	uint32_t reached = 0;
	struct finding *f;

	for (size_t i = 0; i < j->isa->n_modules; i++) {
		judge_module(j, j->isa->modules[i]);
		reached += j->isa->modules[i]->reached;
	}
	judge_unseen(j, missing);
	if (j->refused || j->open)
		return;
	f = findings_add(j->out, j->rule, FINDING_OK, missing[0] ? missing : NULL);
	finding_need(f, "none of what is missing");
	finding_have(f, "%s", cpuinfo_cpu_name(j->target));
	finding_evidence(f, "%u functions of %zu files can be reached%s%s", reached,
			 j->isa->n_modules, j->attested ? "; attested by " : "",
			 j->attested ? j->attested : "");
}

static void by_cpuid(const struct rule *r, const struct rule_input *in, const char *missing,
		     struct findings *out)
{
	const CkptCpuFacts *source = in->source ? in->source->cpu : NULL;
	const CkptCpuFacts *target = in->target->cpu;
	struct finding *f = findings_add(out, r, FINDING_UNKNOWN, missing[0] ? missing : NULL);

	finding_have(f, missing[0] ? "%s lacks them" : "%s", cpuinfo_cpu_name(target));
	if (missing[0]) {
		finding_need(f, "%s has them", cpuinfo_cpu_name(source));
		finding_evidence(f,
				 "CPUID%s; the image has no evidence (ckpt-isa) of what its "
				 "code can execute",
				 in->image && in->image->foreign
					 ? " as the job's C library recorded it"
					 : " of both");
		finding_remedy(f, "restore it on a CPU that has them; if the job is known not to "
				  "use them: --override cpu.isa");
		return;
	}
	finding_need(f, "the instructions of the CPU where the image was made");
	finding_evidence(f, "%s",
			 source && source->n_features
				 ? "the host profile lists no CPU features"
				 : "the image does not say which CPU that was: no cpuinfo.img, and "
				   "no glibc that keeps what CPUID said");
	finding_remedy(f, "if both hosts have the same CPU: --override cpu.isa");
}

void cpuinfo_isa_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	CK_AUTO(strbuf) struct ck_strbuf b = CK_STRBUF_INIT;
	struct judged j = {
		.rule = r,
		.isa = in->isa,
		.source = in->source ? in->source->cpu : NULL,
		.target = in->target->cpu,
		.out = out,
	};
	bool known = j.source && j.source->n_features;
	struct finding *f;

	if (strcmp(in->needs->arch, j.target->arch)) {
		findings_add(out, r, FINDING_NA, NULL); /* cpu.arch has said it */
		return;
	}
	if (!j.target->n_features || (!known && !j.isa)) {
		by_cpuid(r, in, "", out);
		return;
	}
	if (known && !list_missing(j.source, j.target, &b)) {
		f = findings_add(out, r, FINDING_OK, NULL);
		finding_need(f, "%s", cpuinfo_cpu_name(j.source));
		finding_have(f, "%s", cpuinfo_cpu_name(j.target));
		return;
	}
	if (j.isa)
		by_evidence(&j, ck_strbuf_str(&b));
	else
		by_cpuid(r, in, ck_strbuf_str(&b), out);
}
