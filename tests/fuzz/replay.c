// SPDX-License-Identifier: Apache-2.0
/*
 * replay-NAME DIR: feeds a fuzz target each file of its corpus, in a child of its own, and speaks
 * TAP. Linked in place of libFuzzer, so that make check needs no clang. The input is handed on in
 * a block of its very size: sanitizers see a read past its end.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fd.h"
#include "tests/fuzz/fuzz.h"

enum { LONGEST = 1 << 20, SECONDS = 60 };

static int by_name(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static int feed(int dirfd, const char *name)
{
	CK_AUTO(free) char *data = NULL;
	uint8_t *exact;
	size_t len;

	alarm(SECONDS);
	if (ck_read_file_at(dirfd, name, LONGEST, &data, &len) < 0)
		return EXIT_FAILURE;
	exact = malloc(len ? len : 1);
	if (!exact)
		return EXIT_FAILURE;
	memcpy(exact, data, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	return EXIT_SUCCESS;
}

static int replay(int dirfd, const char *name)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		exit(feed(dirfd, name));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

int main(int argc, char **argv)
{
	struct dirent **list;
	int dirfd, n, bad = 0;

	if (argc != 2 || (dirfd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
	    (n = scandir(argv[1], &list, by_name, alphasort)) < 0) {
		fprintf(stderr, "usage: %s DIR\n", argv[0]);
		return EXIT_FAILURE;
	}
	for (int i = 0; i < n; i++) {
		int status = replay(dirfd, list[i]->d_name);

		bad += status != 0;
		printf("%s %d - %s/%s\n", status ? "not ok" : "ok", i + 1, argv[1],
		       list[i]->d_name);
		if (status)
			printf("# wait status 0x%x\n", (unsigned int)status);
		free(list[i]);
	}
	free(list);
	printf("1..%d\n", n);
	return bad || !n ? EXIT_FAILURE : EXIT_SUCCESS;
}
