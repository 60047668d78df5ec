// SPDX-License-Identifier: Apache-2.0
/*
 * The rules about signal frames: those that are there, and those to come. A restore rewrites them
 * in the target's layout, where they are. A frame can get smaller, but not larger: below it lies
 * the handler's stack, above it that of the code that was interrupted.
 */
#include <string.h>

#include "base/auto.h"
#include "cpuinfo/cpuinfo-internal.h"

#define BIT(n) (UINT64_C(1) << (n))

enum {
	FIRST = 2, /* components 0 and 1 have the same place everywhere */
	LAST = 62,
	TILEDATA = 18,
	END_MARK = 4, /* bytes behind the area */
};

/* The components of this CPU that lie within room bytes. */
static uint64_t places(const CkptCpuFacts *cpu, uint32_t room)
{
	uint64_t bits = 3;

	for (size_t i = 0; i < cpu->n_xsave; i++) {
		const CkptXsaveComponent *c = cpu->xsave[i];
		uint64_t end = (uint64_t)c->offset + c->size;

		if (c->bit <= LAST && (cpu->xcr0 & BIT(c->bit)) && end + END_MARK <= room)
			bits |= BIT(c->bit);
	}
	return bits;
}

/* Is a frame taken as it is? What this CPU has beyond it gets its initial value, as it had before.
 */
static bool is_native(const CkptNeedFrame *n, const CkptCpuFacts *s, const CkptCpuFacts *t)
{
	if (!t->has_xcr0 || (n->xfeatures & ~t->xcr0) || n->size > t->xsave_size)
		return false;
	for (unsigned int bit = FIRST; bit <= LAST; bit++) {
		const CkptXsaveComponent *c = cpuinfo_component(t, bit);

		if ((n->xfeatures & BIT(bit)) &&
		    (!c || c->offset != cpuinfo_offset(s, n->xfeatures, n->size, bit)))
			return false;
	}
	return true;
}

static void lost_finding(const struct rule *r, const CkptNeedFrame *n, unsigned int bit,
			 const CkptCpuFacts *cpu, enum finding_status status, struct findings *out)
{
	struct finding *f = findings_add(out, r, status, cpuinfo_component_name(bit));
	const CkptXsaveComponent *c = cpuinfo_component(cpu, bit);

	finding_need(f, "%s in the code that a signal handler of thread %u interrupted",
		     status == FINDING_REFUSE ? "live" : "perhaps live", n->state->tid);
	if (c && (cpu->xcr0 & BIT(bit)))
		finding_have(f, "%s keeps it at byte %u, and the frame has room for %u bytes",
			     cpuinfo_cpu_name(cpu), c->offset, n->room - END_MARK);
	else
		finding_have(f, "%s does not have it (XCR0 %#llx)", cpuinfo_cpu_name(cpu),
			     (unsigned long long)cpu->xcr0);
	finding_evidence(f, "the signal frame at %#llx", (unsigned long long)n->address);
	finding_remedy(f,
		       "restore it on a CPU like that of the source, or dump the job while it is "
		       "not in a signal handler");
}

static void mxcsr_finding(const struct rule *r, const CkptNeedFrame *n, const CkptCpuFacts *cpu,
			  struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_REFUSE, "MXCSR");

	finding_need(f, "%#x in the code that a signal handler of thread %u interrupted",
		     n->state->mxcsr, n->state->tid);
	finding_have(f, "%s does not have all these bits", cpuinfo_cpu_name(cpu));
	finding_evidence(f, "the signal frame at %#llx", (unsigned long long)n->address);
	finding_remedy(f, "restore it on a CPU with the feature misalignsse");
}

static void unknown_finding(const struct rule *r, const CkptCpuFacts *cpu, struct findings *out)
{
	struct finding *f = findings_add(out, r, FINDING_UNKNOWN, "signal frames");

	finding_need(f, "to be laid out as the CPU has them");
	if (cpu) {
		finding_have(f, "%s: the profile does not say where state lies",
			     cpuinfo_cpu_name(cpu));
		finding_evidence(f, "CPUID leaf 0xD is missing, or its sub-leaves");
		finding_remedy(f, "make a profile on the host itself: ckpt probe -o FILE");
		return;
	}
	finding_have(f, "frames of a CPU that is not known");
	finding_evidence(f, "no known CPU has areas of that size with these components");
	finding_remedy(f, "restore it on the host where it was made");
}

/* Live state that can't be found in the frame: it is of an unknown CPU. */
static bool is_strange(const CkptNeedFrame *n, const CkptCpuFacts *source)
{
	for (unsigned int bit = FIRST; bit <= LAST; bit++)
		if ((n->state->xstate_bv & n->xfeatures & BIT(bit)) &&
		    !cpuinfo_offset(source, n->xfeatures, n->size, bit))
			return true;
	return false;
}

/* Bits of reported have been said of another frame. */
static void judge_frame(const struct rule *r, const CkptNeedFrame *n, const CkptCpuFacts *cpu,
			uint64_t *reported, struct findings *out)
{
	uint64_t there = places(cpu, n->room);

	for (unsigned int bit = FIRST; bit <= LAST; bit++) {
		enum cpuinfo_fate fate = cpuinfo_fate(n->state, bit, there);

		if ((*reported & BIT(bit)) || fate == CPUINFO_CARRIED || fate == CPUINFO_DEAD)
			continue;
		*reported |= BIT(bit);
		lost_finding(r, n, bit, cpu,
			     fate == CPUINFO_LOST ? FINDING_REFUSE : FINDING_UNKNOWN, out);
	}
	if (!(*reported & 1) && cpuinfo_lost_mxcsr(n->state, cpu)) {
		*reported |= 1;
		mxcsr_finding(r, n, cpu, out);
	}
}

static bool layout_is_known(const CkptCpuFacts *cpu)
{
	for (unsigned int bit = FIRST; bit <= LAST; bit++)
		if (cpu->has_xcr0 && (cpu->xcr0 & BIT(bit)) && !cpuinfo_component(cpu, bit))
			return false;
	return true;
}

void cpuinfo_frame_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptNeeds *n = in->needs;
	const CkptCpuFacts *cpu = in->target->cpu, *source = in->source ? in->source->cpu : NULL;
	bool known = layout_is_known(cpu), strange = false;
	size_t before = out->n, moved = 0;
	uint64_t reported = 0;
	struct finding *f;

	if (!n->n_frames || strcmp(n->arch, cpu->arch)) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	for (size_t i = 0; i < n->n_frames; i++) {
		if (is_native(n->frames[i], source, cpu) &&
		    !cpuinfo_lost_mxcsr(n->frames[i]->state, cpu))
			continue;
		moved++;
		strange |= is_strange(n->frames[i], source);
		if (known)
			judge_frame(r, n->frames[i], cpu, &reported, out);
	}
	if (moved && (!known || strange))
		unknown_finding(r, known ? NULL : cpu, out);
	if (out->n > before)
		return;
	f = findings_add(out, r, FINDING_OK, moved ? "signal frames" : NULL);
	if (moved)
		finding_evidence(f, "%zu of %zu are rewritten as this CPU has them", moved,
				 n->n_frames);
}

/*
 * Where a frame does not fit on the alternate stack, the kernel sends SIGSEGV instead of calling
 * the handler (Linux arch/x86/kernel/signal.c:get_sigframe()).
 */
void cpuinfo_sigstack_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptNeeds *n = in->needs;
	const CkptCpuFacts *cpu = in->target->cpu, *source = in->source ? in->source->cpu : NULL;
	bool tiles = n->has_xcomp_perm && (n->xcomp_perm >> TILEDATA & 1);
	size_t before = out->n;

	if (!n->n_altstacks || strcmp(n->arch, cpu->arch)) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	for (size_t i = 0; i < n->n_altstacks; i++) {
		const CkptNeedAltstack *a = n->altstacks[i];
		struct finding *f;

		if (cpuinfo_frame_fits(cpu, a->address, a->size, tiles) ||
		    (source && !cpuinfo_frame_fits(source, a->address, a->size, tiles)))
			continue;
		f = findings_add(out, r, a->faults_only ? FINDING_DEGRADED : FINDING_REFUSE,
				 "alternate signal stack");
		finding_need(f, "%llu bytes of thread %u", (unsigned long long)a->size, a->tid);
		finding_have(f, "signal frames of %s are larger: %u bytes of register state",
			     cpuinfo_cpu_name(cpu), cpuinfo_area_size(cpu, cpu->xcr0));
		finding_evidence(f,
				 a->faults_only
					 ? "sigaltstack(2); only handlers of faults use it, which "
					   "would end the job without being called"
					 : "sigaltstack(2); the next signal that is handled there "
					   "would be SIGSEGV");
		finding_remedy(
			f, "start the job with larger alternate stacks (sysconf(_SC_SIGSTKSZ)), "
			   "or restore it on a CPU like that of the source");
	}
	if (out->n == before)
		findings_add(out, r, FINDING_OK, NULL);
}
