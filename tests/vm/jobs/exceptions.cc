// SPDX-License-Identifier: Apache-2.0
/*
 * C++: exceptions through several frames with destructors, strings, maps and sorting.
 */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace
{
int alive;

[[noreturn]] void bad(const char *what)
{
	printf("BAD exceptions.cc: %s\n", what);
	fflush(stdout);
	_exit(3);
}

struct Counted {
	Counted()
	{
		alive++;
	}
	~Counted()
	{
		alive--;
	}
};

struct Odd : std::runtime_error {
	explicit Odd(unsigned long v) : std::runtime_error("odd " + std::to_string(v)), value(v)
	{
	}
	unsigned long value;
};

unsigned long descend(unsigned long v, int depth)
{
	Counted here;
	std::string pad(static_cast<size_t>(depth) * 9 + 3, 'x');

	if (!depth && v % 2)
		throw Odd(v);
	return depth ? descend(v, depth - 1) + pad.size() : v;
}

void round_of(unsigned long v)
{
	std::map<std::string, unsigned long> seen;
	std::vector<std::string> names;

	for (unsigned long k = v; k < v + 60; k++) {
		try {
			seen["even " + std::to_string(k)] = descend(k, 6);
		} catch (const Odd &odd) {
			if (odd.value != k || odd.what() != "odd " + std::to_string(k))
				bad("another exception was caught");
			seen[odd.what()] = k;
		}
		if (alive)
			bad("destructors were not run");
	}
	for (const auto &pair : seen)
		names.push_back(pair.first);
	if (names.size() != 60 || !std::is_sorted(names.begin(), names.end()))
		bad("a map is out of order");
}
} // namespace

int main()
{
	const char *path = getenv("JOB_BOARD");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		bad("no board");
	close(fd);
	auto *board = static_cast<volatile unsigned long *>(p);
	for (unsigned long v = 0; !board[1]; v = v + 7) {
		round_of(v);
		board[0] = board[0] + 1;
	}
	puts("exceptions: right");
	return 0;
}
