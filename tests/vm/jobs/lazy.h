/* SPDX-License-Identifier: Apache-2.0 */
/* 1,024 functions for lazy.c to bind, named by three hexadecimal digits from a to d and 0 to f. */
#ifndef TESTS_VM_JOBS_LAZY_H
#define TESTS_VM_JOBS_LAZY_H

#define LAZY_NAME(n) lazy_##n
/* clang-format off */
#define LAZY_16(X, p) X(p##0) X(p##1) X(p##2) X(p##3) X(p##4) X(p##5) X(p##6) X(p##7) \
	X(p##8) X(p##9) X(p##a) X(p##b) X(p##c) X(p##d) X(p##e) X(p##f)
#define LAZY_256(X, p) LAZY_16(X, p##0) LAZY_16(X, p##1) LAZY_16(X, p##2) LAZY_16(X, p##3) \
	LAZY_16(X, p##4) LAZY_16(X, p##5) LAZY_16(X, p##6) LAZY_16(X, p##7) LAZY_16(X, p##8) \
	LAZY_16(X, p##9) LAZY_16(X, p##a) LAZY_16(X, p##b) LAZY_16(X, p##c) LAZY_16(X, p##d) \
	LAZY_16(X, p##e) LAZY_16(X, p##f)
#define LAZY_ALL(X) LAZY_256(X, a) LAZY_256(X, b) LAZY_256(X, c) LAZY_256(X, d)
/* clang-format on */

#endif
