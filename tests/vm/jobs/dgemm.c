// SPDX-License-Identifier: Apache-2.0
/*
 * Matrix products by the BLAS library, on small integers, compared with three loops.
 */
#include "../../jobs/job.h"

enum { N = 120 };

void dgemm_(const char *, const char *, const int *, const int *, const int *, const double *,
	    const double *, const int *, const double *, const int *, const double *, double *,
	    const int *);

static double a[N * N], b[N * N], c[N * N];

static double entry(int row, int col, int n)
{
	volatile double s = 0;

	for (int k = 0; k < n; k++)
		s += a[k * n + row] * b[col * n + k];
	return s;
}

int main(void)
{
	const double one = 1, zero = 0;
	uint64_t x = 41;

	job_begin(2000);
	while (job_more()) {
		/* Small ones take another path than large ones. */
		const int n = job_rounds() % 2 ? N : 12;

		for (int k = 0; k < n * n; k++) {
			x = job_next(x);
			a[k] = (double)(x % 64);
			b[k] = (double)(x >> 40 & 63);
		}
		dgemm_("N", "N", &n, &n, &n, &one, a, &n, b, &n, &zero, c, &n);
		for (int k = 0; k < 40; k++) {
			int row = (int)(x >> 8) % n, col = (k * 7) % n;

			row = row < 0 ? -row : row;
			CHECKF(c[col * n + row] == entry(row, col, n), "entry %d,%d of %d", row,
			       col, n);
		}
	}
	return job_end("dgemm", x);
}
