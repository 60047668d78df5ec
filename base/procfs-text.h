/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to base/procfs*.c: a cursor over text that is bounded and not terminated. Every function
 * either moves forward and says true, or says false; none reads past the end. A number that doesn't
 * fit its type is refused, never cut.
 */
#ifndef CK_BASE_PROCFS_TEXT_H
#define CK_BASE_PROCFS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ck_text {
	const char *p, *end;
};

static inline struct ck_text ck_text_of(const char *s, size_t len)
{
	return (struct ck_text){ s, s + len };
}
static inline size_t ck_text_len(const struct ck_text *t)
{
	return (size_t)(t->end - t->p);
}

/*
 * Takes the next line, without its newline. 1: *ret_line is set; 0: the text is used up; -EINVAL:
 * the last line has no newline. The kernel ends every line it writes, so such a text was cut short.
 */
int ck_text_line(struct ck_text *t, struct ck_text *ret_line);
/* Takes exactly this string off the front. */
bool ck_text_skip(struct ck_text *t, const char *s);
/* Takes spaces and tabs off the front. */
void ck_text_blanks(struct ck_text *t);
/* Blanks, then what stands before the next blank; false if there is nothing. */
bool ck_text_word(struct ck_text *t, struct ck_text *ret);
/* What stands before the next c, and takes the c too; false if there is no c. */
bool ck_text_until(struct ck_text *t, char c, struct ck_text *ret);
bool ck_text_is(const struct ck_text *t, const char *s);

/* Blanks, then a number in base 8, 10 or 16, without prefix. */
bool ck_text_u64(struct ck_text *t, unsigned int base, uint64_t *ret);
bool ck_text_u32(struct ck_text *t, unsigned int base, uint32_t *ret);
/* Decimal, with an optional minus. */
bool ck_text_i64(struct ck_text *t, int64_t *ret);
bool ck_text_int(struct ck_text *t, int *ret);

/*
 * A terminated copy. CK_UNESCAPE_NEWLINE undoes only "\012", which is all that maps escapes: a
 * backslash of the name itself stays (Linux fs/seq_file.c:mangle_path()). CK_UNESCAPE_ALL undoes
 * every backslash with three octal digits. NULL if memory runs out.
 */
enum ck_unescape {
	CK_UNESCAPE_NEWLINE,
	CK_UNESCAPE_ALL,
};
char *ck_text_dup(const struct ck_text *t, enum ck_unescape how);

/* A line of maps or smaps, onto what the lines before it made: 0, -EINVAL, -ENOMEM. */
struct proc_maps;
int proc_parse_map_line(struct ck_text *line, struct proc_maps *maps);

/* name, of a task, could not be read or parsed: sets err, returns r or what it comes to. */
struct ck_err;
int proc_fail_read(struct ck_err *err, int r, const char *name);
int proc_fail_parse(struct ck_err *err, int r, const char *name);

/* Makes room for element n of an array of elements of the given size; false without memory. */
bool ck_text_grow(void *array, size_t n, size_t size);

#endif
