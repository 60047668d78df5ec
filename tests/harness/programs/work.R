# SPDX-License-Identifier: Apache-2.0
# Matrices, sorting, random numbers and a model, with a deterministic result.
set.seed(7)
out <- file("work.txt", "w")
m <- matrix(runif(160 * 160), 160)
for (round in 1:90) {
    m <- m %*% m
    m <- m / max(m)
    x <- sort(rnorm(60000))
    fit <- lm(y ~ x, data.frame(x = 1:500, y = x[1:500]))
    cat(sprintf("%d %.12e %.12e %.12e\n", round, sum(m), sum(x), coef(fit)[2]), file = out)
    flush(out)
}
close(out)
