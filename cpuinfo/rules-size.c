// SPDX-License-Identifier: Apache-2.0
/*
 * cpu.xsave.size: the target lays register state out differently. Threads and signal frames are
 * rebuilt; what is left is ld.so, which saves registers while it binds a function, in as much room
 * as the CPU of the start needed. A CPU that writes more would write over the frames of the caller.
 * So the restore raises ld.so's number, where it is known where that stands.
 */
#include <string.h>

#include "base/auto.h"
#include "cpuinfo/cpuinfo-internal.h"
#include "image/needs.pb-c.h"

/* What ld.so saves: glibc sysdeps/x86/sysdep.h, STATE_SAVE_MASK */
#define LAZY_MASK UINT64_C(0xee)
#define SUBJECT "xsave areas of lazy binding"

static bool same_layout(const CkptCpuFacts *a, const CkptCpuFacts *b)
{
	if (a->n_xsave != b->n_xsave || a->xsave_size != b->xsave_size)
		return false;
	for (size_t i = 0; i < a->n_xsave; i++) {
		const CkptXsaveComponent *c = cpuinfo_component(b, a->xsave[i]->bit);

		if (!c || c->offset != a->xsave[i]->offset || c->size != a->xsave[i]->size)
			return false;
	}
	return true;
}

struct judged {
	const struct rule *rule;
	const CkptCpuFacts *source, *target; /* source: NULL if it is not known */
	const CkptIsa *isa;
	struct findings *out;
	bool same;     /* as far as register state goes */
	size_t raised; /* numbers */
	const CkptIsaTask *task;
	const CkptIsaSave *first;
	uint64_t room;
};

/* Bytes of saved registers. */
static uint32_t lazy_size(const CkptCpuFacts *cpu, bool compacted)
{
	return compacted ? cpuinfo_compacted_size(cpu, LAZY_MASK)
			 : cpuinfo_area_size(cpu, LAZY_MASK);
}

/* Can saved registers take more on the target than where the image was made? */
static bool is_larger(const struct judged *j)
{
	bool compacts = j->source && cpuinfo_has(j->source, "xsavec");

	return !j->source || lazy_size(j->target, compacts) > lazy_size(j->source, compacts);
}

static struct finding *add(const struct judged *j, enum finding_status status)
{
	struct finding *f = findings_add(j->out, j->rule, status, SUBJECT);
	bool compacts = j->source && cpuinfo_has(j->source, "xsavec");

	if (j->source)
		finding_need(f, "%u bytes, as the CPU of the source has them",
			     lazy_size(j->source, compacts));
	else
		finding_need(f, "areas as large as the CPU of the source has them");
	finding_have(f, "this CPU writes %u bytes", lazy_size(j->target, compacts));
	if (status != FINDING_OK)
		finding_remedy(f,
			       "start the job with LD_BIND_NOW=1, or restore it on a CPU like %s",
			       j->source ? cpuinfo_cpu_name(j->source) : "that of the source");
	return f;
}

/* Its registers lie on its stack in the source's layout, and the CPU will load them from there. */
static void binding_finding(const struct judged *j, const CkptIsaTask *t)
{
	struct finding *f = findings_add(j->out, j->rule, FINDING_UNKNOWN, SUBJECT);

	finding_need(f, "registers that ld.so has put on the stack, to be as this CPU has them");
	finding_have(f, "the layout of %s",
		     j->source ? cpuinfo_cpu_name(j->source) : "an unknown CPU");
	finding_evidence(f, "a thread of task %u seems to be just binding a function", t->pid);
	finding_remedy(f, "dump the job again, at another moment");
}

/* Code that saves registers in a way that can't be read, or is gone. */
static void judge_unread(const struct judged *j, const CkptIsaTask *t)
{
	bool blind = t->has_saves_unknown && t->saves_unknown;
	bool gone = false;
	struct finding *f;

	for (size_t i = 0; i < j->isa->n_modules; i++)
		gone = gone || j->isa->modules[i]->unknown;
	if (!is_larger(j) || (!blind && !(t->has_trampoline_unknown && t->trampoline_unknown)))
		return;
	if (t->lazy) {
		f = add(j, FINDING_REFUSE);
		finding_evidence(f,
				 "ld.so of task %u is not understood, and %u functions are still "
				 "to be bound",
				 t->pid, t->lazy);
	} else if (gone) {
		f = add(j, FINDING_UNKNOWN);
		finding_evidence(f, "not all files of task %u could be looked at", t->pid);
	}
}

static void judge_task(struct judged *j, const CkptIsaTask *t)
{
	for (size_t i = 0; i < t->n_saves; i++) {
		const CkptIsaSave *s = t->saves[i];
		uint64_t room = cpuinfo_save_room(j->target, t, s);

		if (room <= s->size)
			continue;
		if (!j->raised++) {
			j->task = t;
			j->first = s;
			j->room = room;
		}
	}
	judge_unread(j, t);
	if (t->has_binding && t->binding && !j->same)
		binding_finding(j, t);
}

static void raised_finding(const struct judged *j)
{
	struct finding *f = findings_add(j->out, j->rule, FINDING_OK, SUBJECT);

	finding_need(f, "%llu bytes, as ld.so of the job reserves them",
		     (unsigned long long)j->first->size);
	finding_have(f, "this CPU needs %llu", (unsigned long long)j->room);
	finding_evidence(f, "its number at %#llx of task %u: the restore raises it",
			 (unsigned long long)j->first->at, j->task->pid);
}

static void rebuilt_finding(const struct judged *j)
{
	struct finding *f = findings_add(j->out, j->rule, FINDING_OK, "xsave layout");

	if (j->source)
		finding_need(f, "%u bytes", j->source->xsave_size);
	finding_have(f, "%u bytes", j->target->xsave_size);
	finding_evidence(f, "areas are rebuilt component by component");
}

/* Nobody has looked at the job's code. */
static void judge_blindly(const struct judged *j)
{
	if (!cpuinfo_has(j->source, "xsave") || !is_larger(j)) {
		rebuilt_finding(j);
		return;
	}
	finding_evidence(add(j, FINDING_UNKNOWN), "whether the job binds lazily was not analysed");
}

void cpuinfo_size_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptCpuFacts *s = in->source ? in->source->cpu : NULL, *t = in->target->cpu;
	struct judged j = { .rule = r, .target = t, .isa = in->isa, .out = out };
	size_t before = out->n;

	if (s && s->has_xcr0)
		j.source = s;
	if (strcmp(in->needs->arch, t->arch) || !t->has_xcr0 || (!j.source && !in->isa)) {
		findings_add(out, r, FINDING_NA, NULL);
		return;
	}
	j.same = j.source && same_layout(s, t);
	for (size_t i = 0; in->isa && i < in->isa->n_tasks; i++)
		judge_task(&j, in->isa->tasks[i]);
	if (j.raised)
		raised_finding(&j);
	else if (j.same)
		findings_add(out, r, FINDING_OK, NULL);
	else if (!in->isa)
		judge_blindly(&j);
	else if (out->n == before)
		rebuilt_finding(&j);
}
