// SPDX-License-Identifier: Apache-2.0
/*
 * A program and its terminal: a child in a session of its own reads lines from a pseudo terminal
 * and answers them; now and then it is interrupted by ^C, or the window's size changes.
 */
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "job.h"

static volatile sig_atomic_t interrupts;
static char slave_name[64];

static void on_interrupt(int sig)
{
	(void)sig;
	interrupts++;
}

/* Each line is a number; the answer is what follows from it, and how often ^C came so far. */
static void child(int master)
{
	struct sigaction sa = { .sa_handler = on_interrupt, .sa_flags = SA_RESTART };
	char line[64];
	int fd;

	close(master);
	CHECK(setsid() == getpid());
	fd = open(slave_name, O_RDWR); /* becomes the controlling terminal */
	CHECK(fd >= 0 && tcgetpgrp(fd) == getpid());
	CHECK(sigaction(SIGINT, &sa, NULL) == 0);
	for (;;) {
		struct winsize w;
		ssize_t n = read(fd, line, sizeof(line) - 1);
		uint64_t x;

		if (n < 0 && errno == EINTR)
			continue;
		CHECK(n > 0 && line[n - 1] == '\n');
		line[n] = '\0';
		if (!strcmp(line, "end\n"))
			break;
		x = job_chain(strtoull(line, NULL, 16), 100);
		CHECK(ioctl(fd, TIOCGWINSZ, &w) == 0);
		CHECK(tcgetsid(fd) == getsid(0) && tcgetpgrp(fd) == getpgrp());
		CHECK(dprintf(fd, "%016llx %d %d\n", (unsigned long long)x, (int)interrupts,
			      (int)w.ws_col) > 0);
	}
	_exit(42);
}

static void say(int fd, const char *text)
{
	CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

/* Up to the end of the line, which the terminal makes of two characters. */
static void hear(int fd, char *buf, size_t size)
{
	size_t n = 0;

	for (;;) {
		ssize_t r = read(fd, buf + n, 1);

		if (r < 0 && errno == EINTR)
			continue;
		CHECK(r == 1 && n < size - 1);
		if (buf[n++] == '\n')
			break;
	}
	CHECK(n >= 2 && buf[n - 2] == '\r');
	buf[n - 2] = '\0';
}

static int open_terminal(void)
{
	struct termios t;
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;

	CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	CHECK(ptsname_r(master, slave_name, sizeof(slave_name)) == 0);
	slave = open(slave_name, O_RDWR | O_NOCTTY);
	CHECK(slave >= 0 && tcgetattr(slave, &t) == 0);
	t.c_lflag &= ~(tcflag_t)(ECHO | ECHOCTL);
	CHECK(tcsetattr(slave, TCSANOW, &t) == 0);
	/* stays open: no moment without a slave */
	return master;
}

int main(void)
{
	int master = open_terminal(), status, sent = 0;
	struct winsize w = { .ws_row = 24, .ws_col = 80 };
	uint64_t x = 11;
	pid_t pid;

	CHECK(ioctl(master, TIOCSWINSZ, &w) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		child(master);
	job_begin(8000);
	while (job_more()) {
		char ask[32], answer[64], want[64];

		/* Not before it is listening: the first answer shows it. */
		if (x % 64 == 0 && job_rounds() > 1) {
			say(master, "\003");
			sent++;
		}
		if (x % 64 == 1) {
			w.ws_col = (unsigned short)(x % 500 + 1);
			CHECK(ioctl(master, TIOCSWINSZ, &w) == 0);
		}
		/* A line that is being typed, and one that waits to be read. */
		snprintf(ask, sizeof(ask), "%llx", (unsigned long long)x);
		say(master, ask);
		job_chain(x, 20000);
		say(master, "\n");
		job_chain(x, 20000);
		hear(master, answer, sizeof(answer));
		x = job_chain(x, 100);
		snprintf(want, sizeof(want), "%016llx %d %d", (unsigned long long)x, sent,
			 (int)w.ws_col);
		CHECKF(!strcmp(answer, want), "heard '%s', not '%s'", answer, want);
	}
	say(master, "end\n");
	CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 42);
	return job_end("pty", x);
}
