/* SPDX-License-Identifier: Apache-2.0 */
/* Private to report/: names may be any bytes, output may not. */
#ifndef CK_REPORT_UTF8_H
#define CK_REPORT_UTF8_H

#include <stddef.h>

/* The length in bytes of the character at p, which ends in a 0 byte; 0 if no whole UTF-8 sequence
 * stands there. */
static inline size_t report_utf8_len(const unsigned char *p)
{
	size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

	if (p[0] >= 0x80 && (p[0] < 0xc2 || p[0] > 0xf4))
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

#endif
