/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nouns of the judge: a rule looks at what an image needs and at what a host is, and gives
 * findings. Rules are pure; domain folders hold the tables, policies/ runs them.
 */
#ifndef CK_IMAGE_RULE_H
#define CK_IMAGE_RULE_H

#include <stdbool.h>
#include <stddef.h>

struct CkptNeeds;
struct CkptFacts;
struct CkptIsa;

enum finding_status {
	FINDING_OK,
	FINDING_NA,       /* the image does not need it */
	FINDING_DEGRADED, /* runs, but something is slower or looks different */
	FINDING_ACTION,   /* runs once an action is allowed */
	FINDING_UNKNOWN,  /* can't be known here; the evidence that would decide is named */
	FINDING_DEFERRED, /* momentary fact, decided on the host itself */
	FINDING_REFUSE,   /* would not run */
};

/* One rule's answer about one subject. Strings are owned by the finding. */
struct finding {
	const char *rule; /* stable id, "fs.file.build-id" */
	enum finding_status status;
	char *subject;         /* path, pid, feature */
	char *need;            /* what the image has */
	char *have;            /* what the host has */
	char *evidence;        /* how we know */
	char *remedy;          /* what to do, to be followed to the letter */
	const char *action;    /* FINDING_ACTION: the name that --allow takes */
	const char *otherwise; /* and that of another action which helps as well, or NULL */
	bool retry;            /* may be different in a minute: exit status 75 */
	bool host;             /* this host can't restore any image: exit status 69 */
	const char *cause;     /* set by the judge: the rule whose finding explains this one */
	bool overridden; /* set by the judge: would stand in the way, had nobody overridden it */
};

struct findings {
	struct finding *f;
	size_t n, size;
	bool failed; /* memory ran out */
};

/* What is known of the image as such. */
enum rule_image_state {
	RULE_IMAGE_WHOLE,
	RULE_IMAGE_CORRUPT,
	RULE_IMAGE_INCOMPLETE, /* its dump did not finish */
	RULE_IMAGE_VERSION,    /* needs another ckpt */
};
struct rule_image {
	enum rule_image_state state;
	const char *fault, *hint; /* unless it is whole */
	bool foreign;             /* made by CRIU */
	bool no_sums;             /* its pages carry no checksums */
};

struct rule_input {
	const struct rule_image *image; /* NULL: whole */
	const struct CkptNeeds *needs;
	const struct CkptFacts *source; /* may be NULL (foreign image) */
	const struct CkptFacts *target;
	const struct CkptIsa *isa; /* may be NULL: nobody looked at the image's code */
	bool live;                 /* the target is this host, now */
};

struct rule {
	const char *id;
	const char *title;
	void (*evaluate)(const struct rule *r, const struct rule_input *in, struct findings *out);
};

/*
 * printf-like constructors keep the tables short; NULL format means no text. subject is copied. The
 * result is valid until the next findings_add(); it is NULL if memory ran out, which out->failed
 * remembers and the setters accept.
 */
struct finding *findings_add(struct findings *out, const struct rule *r, enum finding_status status,
			     const char *subject);
void finding_need(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void finding_have(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void finding_evidence(struct finding *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void finding_remedy(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Frees the texts. */
void finding_done(struct finding *f);
void findings_done(struct findings *f);

#endif
