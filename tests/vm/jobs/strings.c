// SPDX-License-Identifier: Apache-2.0
/*
 * The string functions of the C library, each compared with a loop of our own. What they are bound
 * to is chosen when the job starts; what the job is compiled for is the builder's choice.
 * Built with -fno-builtin, lest the compiler sees through either side.
 */
#include <wchar.h>

#include "../../jobs/job.h"

enum { SIZE = 700 };

static char a[SIZE + 64], b[SIZE + 64];

/* Loops that the compiler may not recognise. */
static size_t my_length(const volatile char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

static size_t my_find(const volatile char *s, size_t n, char c)
{
	size_t i = 0;

	while (i < n && s[i] != c)
		i++;
	return i;
}

static size_t my_differ(const volatile char *s, const volatile char *t, size_t n)
{
	size_t i = 0;

	while (i < n && s[i] == t[i])
		i++;
	return i;
}

static uint64_t fill(uint64_t x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		x = job_next(x);
		a[i] = (char)('b' + x % 24);
	}
	a[n] = 0;
	return x;
}

static void copies(size_t n, size_t skew)
{
	memset(b, '#', sizeof(b));
	CHECK(memcpy(b + skew, a, n) == b + skew);
	CHECK(my_differ(a, b + skew, n) == n && b[skew + n] == '#');
	CHECK(memmove(b + skew + 3, b + skew, n) == b + skew + 3);
	CHECK(my_differ(a, b + skew + 3, n) == n);
	memset(b, 0x5a, n);
	CHECK(my_find(b, n, 0) == n);
	b[n] = 0;
	CHECK(my_length(b) == n);
	CHECK(strcpy(b + skew, a) == b + skew && my_differ(a, b + skew, n + 1) == n + 1);
	CHECK(stpcpy(b, a) == b + n);
	CHECK(my_differ(a, strncpy(b + skew, a, n), n) == n);
}

static void searches(size_t n, size_t skew)
{
	size_t at = n / 2 + skew % 7;
	char word[4];

	CHECK(strlen(a) == my_length(a) && strnlen(a, n / 2) == n / 2);
	a[at] = 'a';
	CHECK(memchr(a, 'a', n) == a + at && strchr(a, 'a') == a + at && strrchr(a, 'a') == a + at);
	CHECK(!memchr(a, 'a', at) && !strchr(a, 'A') && *strchrnul(a, 'A') == 0);
	CHECK(strcspn(a, "aA") == at && strpbrk(a, "A?a") == a + at);
	CHECK(memrchr(a, 'a', n) == a + at);
	memcpy(word, a + at, 3);
	word[3] = 0;
	CHECK(strstr(a, word) == a + at && strspn(a, "bcdefghijklmnopqrstuvwxyz") == at);
}

static void comparisons(size_t n, size_t skew)
{
	size_t at;

	memcpy(b + skew, a, n + 1);
	CHECK(!memcmp(a, b + skew, n) && !strcmp(a, b + skew) && !strcasecmp(a, b + skew));
	at = n * 2 / 3;
	b[skew + at] = 'z';
	CHECK(my_differ(a, b + skew, n) == at || a[at] == 'z');
	CHECK(a[at] == 'z' || memcmp(a, b + skew, n) < 0);
	CHECK(a[at] == 'z' || (strcmp(a, b + skew) < 0 && strncmp(b + skew, a, at + 1) > 0));
	CHECK(!strncmp(a, b + skew, at));
}

static void wide(size_t n)
{
	static wchar_t w[SIZE + 1], v[SIZE + 1];

	for (size_t i = 0; i < n; i++)
		w[i] = (unsigned char)a[i];
	w[n] = 0;
	CHECK(wcslen(w) == n && wmemcpy(v, w, n + 1) == v && !wcscmp(v, w));
	CHECK(wmemset(v, L'q', n) == v && wcschr(v, L'q') == v);
}

int main(void)
{
	uint64_t x = 1;

	job_begin(8000);
	while (job_more()) {
		size_t n = 24 + job_rounds() % (SIZE - 64), skew = job_rounds() % 33;

		x = fill(x, n);
		copies(n, skew);
		searches(n, skew);
		comparisons(n, skew);
		wide(n);
	}
	return job_end("strings", x);
}
