// SPDX-License-Identifier: Apache-2.0
/*
 * Rules about addresses and interfaces: what sockets of the job listen at or are bound to must
 * exist on the host, and be free. The job shares the network with its host, whatever other
 * namespaces it gets.
 */
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/strbuf.h"
#include "image/facts.pb-c.h"
#include "image/needs.pb-c.h"
#include "probe/probe-internal.h"

static bool is_any(const char *address)
{
	return !strcmp(address, "0.0.0.0") || !strcmp(address, "::");
}

/* 4 addresses as IPv6 sockets see them. */
static const char *plain(const char *address)
{
	return strncmp(address, "::ffff:", 7) ? address : address + 7;
}

static bool is_loopback(const char *address)
{
	return !strncmp(plain(address), "127.", 4) || !strcmp(address, "::1");
}

static bool same_transport(const char *a, const char *b)
{
	return !strncmp(a, b, 3); /* tcp and tcp6 share their ports */
}

/* Of 0.0.0.0 and ::, each takes the other's ports too, unless IPV6_V6ONLY keeps it from it; which
 * of the two it is can't be told of a listener from outside. */
static bool overlaps(const CkptNeedAddress *n, const CkptListener *l)
{
	if (l->port != n->port || !same_transport(l->protocol, n->protocol))
		return false;
	if (!strcmp(plain(l->address), plain(n->address)))
		return true;
	if (!is_any(l->address) && !is_any(n->address))
		return false;
	return !strcmp(l->protocol, n->protocol) || !strcmp(l->address, "::") ||
	       !strcmp(n->address, "::");
}

static void write_end(struct ck_strbuf *b, const char *protocol, const char *address, uint32_t port)
{
	ck_strbuf_addf(b, strchr(address, ':') ? "%s%.3s [%s]:%u" : "%s%.3s %s:%u",
		       b->len ? ", " : "", protocol, address, port);
}

void probe_port_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	CK_AUTO(strbuf) struct ck_strbuf need = CK_STRBUF_INIT;
	const CkptListener *taken = NULL;
	struct finding *f;
	size_t n = 0;

	for (size_t i = 0; i < in->needs->n_addresses; i++) {
		const CkptNeedAddress *a = in->needs->addresses[i];

		if (!a->exclusive)
			continue;
		n++;
		for (size_t k = 0; in->live && k < in->target->n_listeners && !taken; k++)
			if (overlaps(a, in->target->listeners[k]))
				taken = in->target->listeners[k];
		if (taken || !in->live)
			write_end(&need, a->protocol, a->address, a->port);
		if (taken)
			break;
	}
	f = findings_add(out, r,
			 !n          ? FINDING_NA
			 : !in->live ? FINDING_DEFERRED
			 : taken     ? FINDING_REFUSE
				     : FINDING_OK,
			 NULL);
	if (!n || (in->live && !taken))
		return;
	finding_need(f, "%s", ck_strbuf_str(&need));
	if (!taken) {
		finding_evidence(f, "which ports are taken is known on the host only");
		return;
	}
	ck_strbuf_done(&need);
	write_end(&need, taken->protocol, taken->address, taken->port);
	finding_have(f, "%s is taken by uid %u", ck_strbuf_str(&need), taken->uid);
	finding_evidence(f, "/proc/net/%s", taken->protocol);
	finding_remedy(
		f,
		"end who has it (ss -lntup 'sport = :%u' names it); it may be the job itself, "
		"still running",
		taken->port);
	if (f)
		f->retry = true;
}

/* "192.0.2.2/24" */
static bool is_address_of(const char *with_prefix, const char *address)
{
	size_t n = strlen(address);

	return !strncmp(with_prefix, address, n) && (with_prefix[n] == '/' || !with_prefix[n]);
}

static bool has_address(const CkptFacts *t, const char *address)
{
	for (size_t i = 0; i < t->n_interfaces; i++)
		for (size_t k = 0; k < t->interfaces[i]->n_addresses; k++)
			if (is_address_of(t->interfaces[i]->addresses[k], plain(address)))
				return true;
	return is_any(address) || is_loopback(address);
}

void probe_address_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptNeeds *n = in->needs;
	bool missing = false;

	for (size_t i = 0; i < n->n_addresses; i++) {
		const CkptNeedAddress *a = n->addresses[i];
		struct finding *f;
		bool again = false;

		for (size_t k = 0; k < i; k++)
			again = again || !strcmp(n->addresses[k]->address, a->address);
		if (again || has_address(in->target, a->address))
			continue;
		missing = true;
		/* A profile that was made without asking says nothing. */
		f = findings_add(out, r,
				 in->target->n_interfaces ? FINDING_REFUSE : FINDING_DEFERRED,
				 a->address);
		finding_need(f, "%s%s%s", a->address, a->who ? ", for " : "", a->who ? a->who : "");
		if (in->target->n_interfaces) {
			finding_have(f, "no interface has it");
			finding_remedy(f, "as root: ip address add %s/%d dev lo", plain(a->address),
				       strchr(plain(a->address), ':') ? 128 : 32);
		}
	}
	if (!missing)
		findings_add(out, r, n->n_addresses ? FINDING_OK : FINDING_NA, NULL);
}

static bool has_interface(const CkptFacts *t, const char *name)
{
	for (size_t i = 0; i < t->n_interfaces; i++)
		if (!strcmp(t->interfaces[i]->name, name))
			return true;
	return false;
}

void probe_interface_rule(const struct rule *r, const struct rule_input *in, struct findings *out)
{
	const CkptNeeds *n = in->needs;
	bool missing = false;

	for (size_t i = 0; i < n->n_interfaces; i++) {
		const CkptNeedInterface *want = n->interfaces[i];
		struct finding *f;

		if (has_interface(in->target, want->name))
			continue;
		missing = true;
		f = findings_add(out, r,
				 in->target->n_interfaces ? FINDING_REFUSE : FINDING_DEFERRED,
				 want->name);
		finding_need(f, "%s%s%s", want->name, want->who ? ", for " : "",
			     want->who ? want->who : "");
		if (in->target->n_interfaces) {
			finding_have(f, "no interface of that name");
			finding_remedy(f, "as root: ip link set dev NAME name %s, or add one",
				       want->name);
		}
	}
	if (!missing)
		findings_add(out, r, n->n_interfaces ? FINDING_OK : FINDING_NA, NULL);
}
