// SPDX-License-Identifier: Apache-2.0
/*
 * The rules about CPUs. Pure: needs and facts in, findings out. Register state that is live in the
 * image decides here; which instructions its code can execute, in rules-isa.c.
 */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/strbuf.h"
#include "cpuinfo/cpuinfo-internal.h"

#define BIT(n) (UINT64_C(1) << (n))

enum {
	BIT_PKRU = 9,
};

/* AVX, opmask, ZMM_Hi256, Hi16_ZMM: the caller of a function that makes a system call has to expect
 * them changed (System V ABI, 3.2.1). */
#define CALLER_SAVED (BIT(2) | BIT(5) | BIT(6) | BIT(7))
#define PKRU_DEFAULT 0x55555554u
#define MXCSR_ALL 0xffffu
#define MXCSR_MM 0x20000u /* AMD64 APM volume 1, 4.2.2: misaligned exception mask */

static void arch_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	bool same = !strcmp(in->needs->arch, in->target->cpu->arch);
	struct finding *f = findings_add(out, r, same ? FINDING_OK : FINDING_REFUSE, NULL);

	finding_need(f, "%s", in->needs->arch);
	finding_have(f, "%s", in->target->cpu->arch);
	if (!same)
		finding_remedy(f, "restore it on a host of architecture %s", in->needs->arch);
}

const char *cpuinfo_cpu_name(const CkptCpuFacts *c)
{
	return c->brand && c->brand[0] ? c->brand : c->arch;
}

/* By the code that made the call: in a function of the C library, nothing lives in registers that
 * its caller has to save; elsewhere a compiler may have put the instruction between two uses. */
static bool is_libc(const char *path)
{
	static const char *const names[] = { "libc.so",  "libc-2.",    "libc.musl", "ld-musl",
					     "ld-linux", "libpthread", "librt.so",  "librt-2." };
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	for (size_t i = 0; i < CK_ARRAY_SIZE(names); i++)
		if (!strncmp(name, names[i], strlen(names[i])))
			return true;
	return false;
}

enum cpuinfo_fate cpuinfo_fate(const CkptNeedXstate *x, unsigned int bit, uint64_t places)
{
	uint64_t initial = x->has_initial ? x->initial : 0;

	if (!(x->xstate_bv & BIT(bit)) || (places & BIT(bit)))
		return CPUINFO_CARRIED;
	if (bit == BIT_PKRU) {
		/* Always live under Linux; only a value of the job's own says that keys are used.
		 */
		bool own = x->has_pkru && x->pkru != PKRU_DEFAULT && x->pkru != 0;

		return own ? CPUINFO_LOST : CPUINFO_CARRIED;
	}
	if (initial & BIT(bit))
		return CPUINFO_CARRIED;
	if (!x->in_syscall || !(CALLER_SAVED & BIT(bit)))
		return CPUINFO_LOST;
	return !x->caller || is_libc(x->caller) ? CPUINFO_DEAD : CPUINFO_DOUBT;
}

uint32_t cpuinfo_lost_mxcsr(const CkptNeedXstate *x, const CkptCpuFacts *cpu)
{
	uint32_t known = MXCSR_ALL;

	if (cpuinfo_has(cpu, "misalignsse"))
		known |= MXCSR_MM;
	return x->has_mxcsr ? x->mxcsr & ~known : 0;
}

struct tally {
	size_t dead, lost, doubt;
	const CkptNeedXstate *first; /* that is lost, else in doubt */
};

static void count(const CkptNeeds *needs, unsigned int bit, uint64_t xcr0, struct tally *t)
{
	for (size_t i = 0; i < needs->n_xstate; i++) {
		const CkptNeedXstate *x = needs->xstate[i];

		switch (cpuinfo_fate(x, bit, xcr0)) {
		case CPUINFO_LOST:
			if (!t->lost++)
				t->first = x;
			break;
		case CPUINFO_DOUBT:
			if (!t->doubt++ && !t->lost)
				t->first = x;
			break;
		case CPUINFO_DEAD:
			t->dead++;
			break;
		case CPUINFO_CARRIED:
			break;
		}
	}
}

static void doubt_finding(struct finding *f, const struct tally *t)
{
	const char *slash = strrchr(t->first->caller, '/');

	finding_need(f, "perhaps live in %zu %s", t->doubt, t->doubt == 1 ? "thread" : "threads");
	finding_evidence(f,
			 "thread %u was stopped in a system call that %s makes itself; only behind "
			 "a call of the C library nothing is kept there",
			 t->first->tid,
			 slash               ? slash + 1
			 : *t->first->caller ? t->first->caller
					     : "code in anonymous memory");
	finding_remedy(f,
		       "restore it on a CPU that has this state; if the program keeps nothing in "
		       "vector registers across system calls: --override cpu.xsave.component");
}

static void component_finding(const struct rule *r, const struct rule_input *in, unsigned int bit,
			      const struct tally *t, struct findings *out)
{
	const char *name = cpuinfo_component_name(bit);
	enum finding_status status = t->lost    ? FINDING_REFUSE
				     : t->doubt ? FINDING_UNKNOWN
						: FINDING_OK;
	struct finding *f = findings_add(out, r, status, name);

	finding_have(f, "%s does not have it (XCR0 %#llx)", cpuinfo_cpu_name(in->target->cpu),
		     (unsigned long long)in->target->cpu->xcr0);
	if (t->lost) {
		finding_need(f, "live in %zu of %zu threads", t->lost, in->needs->n_xstate);
		finding_evidence(f, "XSTATE_BV bit %u of thread %u, stopped outside a system call",
				 bit, t->first->tid);
		finding_remedy(f, "restore it on a CPU that has this state");
		return;
	}
	if (t->doubt) {
		doubt_finding(f, t);
		return;
	}
	finding_need(f, "nothing: it is dropped");
	finding_evidence(f,
			 "all %zu %s with live state were stopped in a system call, where "
			 "its caller keeps nothing in it",
			 t->dead, t->dead == 1 ? "thread" : "threads");
}

/* A control bit that the CPU does not know; it would not take the register. */
static bool mxcsr_finding(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptCpuFacts *cpu = in->target->cpu;

	for (size_t i = 0; i < in->needs->n_xstate; i++) {
		const CkptNeedXstate *x = in->needs->xstate[i];
		uint32_t lost = cpuinfo_lost_mxcsr(x, cpu);
		struct finding *f;

		if (!lost)
			continue;
		f = findings_add(out, r, FINDING_REFUSE, "MXCSR");
		finding_need(f, "bits %#x: SSE with operands that are not aligned", lost);
		finding_have(f, "%s does not have them", cpuinfo_cpu_name(cpu));
		finding_evidence(f, "MXCSR %#x of thread %u", x->mxcsr, x->tid);
		finding_remedy(f, "restore it on a CPU with the feature misalignsse");
		return true;
	}
	return false;
}

/* Permitted, but not in use at the moment: whether it will be again, nobody knows. */
static bool permission_finding(const struct rule *r, const struct rule_input *in, uint64_t xcr0,
			       uint64_t said, struct findings *out)
{
	uint64_t perm = in->needs->has_xcomp_perm ? in->needs->xcomp_perm & ~xcr0 & ~said : 0;

	for (unsigned int bit = 2; bit < 64; bit++) {
		struct finding *f;

		if (!(perm & BIT(bit)))
			continue;
		f = findings_add(out, r, FINDING_UNKNOWN, cpuinfo_component_name(bit));
		finding_need(f, "the permission to use it, which the job has asked for");
		finding_have(f, "%s does not have it (XCR0 %#llx)",
			     cpuinfo_cpu_name(in->target->cpu),
			     (unsigned long long)in->target->cpu->xcr0);
		finding_evidence(f, "arch_prctl(ARCH_GET_XCOMP_PERM); no thread holds any at the "
				    "moment");
		finding_remedy(f,
			       "restore it on a CPU that has this state; if the job is known not "
			       "to use it: --override cpu.xsave.component");
	}
	return perm != 0;
}

static void component_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptCpuFacts *cpu = in->target->cpu;
	/* Without xsave there is the fxsave area: x87 and SSE. */
	uint64_t xcr0 = cpu->has_xcr0 ? cpu->xcr0 | 3 : 3;
	uint64_t said = 0;
	bool any;

	if (!in->needs->n_xstate || strcmp(in->needs->arch, cpu->arch)) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	for (unsigned int bit = 2; bit < 64; bit++) {
		struct tally t = { 0 };

		count(in->needs, bit, xcr0, &t);
		if (!t.lost && !t.dead && !t.doubt)
			continue;
		component_finding(r, in, bit, &t, out);
		said |= BIT(bit);
	}
	any = permission_finding(r, in, xcr0, said, out) || said;
	any |= mxcsr_finding(r, in, out);
	if (!any)
		findings_add(out, r, FINDING_OK, NULL);
}

const struct rule cpuinfo_rules[] = {
	{ "cpu.arch", "another architecture", arch_rule },
	{ "cpu.xsave.component", "live register state is missing", component_rule },
	{ "cpu.xsave.frame", "what a signal handler interrupted does not fit", cpuinfo_frame_rule },
	{ "cpu.sigstack", "an alternate signal stack is too small", cpuinfo_sigstack_rule },
	{ "cpu.isa", "instructions are missing", cpuinfo_isa_rule },
	{ "cpu.xsave.size", "register state is laid out differently", cpuinfo_size_rule },
	{ NULL, NULL, NULL },
};
