// SPDX-License-Identifier: Apache-2.0
/*
 * repo SOURCE ATTRIBUTES MOUNTPOINT [FUSE-OPTION...]: shows a directory read-only, as CVMFS shows a
 * repository: its extended attributes user.fqrn, user.revision and user.root_hash are the lines of
 * the file ATTRIBUTES, read each time they are asked for.
 */
#define FUSE_USE_VERSION 31
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *attributes;
static int source;

static const char *below(const char *path)
{
	return path[1] ? path + 1 : ".";
}

static int repo_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	return fstatat(source, below(path), st, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int repo_readlink(const char *path, char *buf, size_t size)
{
	ssize_t n = readlinkat(source, below(path), buf, size - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

static int repo_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
			struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	int fd = openat(source, below(path), O_RDONLY | O_DIRECTORY);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	(void)off;
	(void)fi;
	(void)flags;
	if (!d)
		return -errno;
	while ((e = readdir(d)))
		fill(buf, e->d_name, NULL, 0, 0);
	closedir(d);
	return 0;
}

static int repo_open(const char *path, struct fuse_file_info *fi)
{
	int fd;

	if ((fi->flags & O_ACCMODE) != O_RDONLY)
		return -EROFS;
	fd = openat(source, below(path), O_RDONLY);
	if (fd < 0)
		return -errno;
	fi->fh = (uint64_t)fd;
	return 0;
}

static int repo_read(const char *path, char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	ssize_t n = pread((int)fi->fh, buf, size, off);

	(void)path;
	return n < 0 ? -errno : (int)n;
}

static int repo_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	close((int)fi->fh);
	return 0;
}

static int repo_getxattr(const char *path, const char *name, char *buf, size_t size)
{
	static const char *const names[] = { "user.fqrn", "user.revision", "user.root_hash" };
	char line[256] = "";
	FILE *f = fopen(attributes, "re");
	size_t n;

	(void)path;
	if (!f)
		return -errno;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!fgets(line, sizeof(line), f))
			break;
		if (strcmp(name, names[i]) != 0)
			continue;
		fclose(f);
		n = strcspn(line, "\n");
		if (size && size < n)
			return -ERANGE;
		if (size)
			memcpy(buf, line, n);
		return (int)n;
	}
	fclose(f);
	return -ENODATA;
}

static const struct fuse_operations operations = {
	.getattr = repo_getattr,
	.readlink = repo_readlink,
	.readdir = repo_readdir,
	.open = repo_open,
	.read = repo_read,
	.release = repo_release,
	.getxattr = repo_getxattr,
};

int main(int argc, char **argv)
{
	static char path[PATH_MAX];

	if (argc < 4 || !realpath(argv[2], path)) {
		fputs("usage: repo SOURCE ATTRIBUTES MOUNTPOINT [FUSE-OPTION...]\n", stderr);
		return 2;
	}
	attributes = path;
	source = open(argv[1], O_PATH | O_DIRECTORY);
	if (source < 0) {
		perror(argv[1]);
		return 1;
	}
	argv[2] = argv[0];
	return fuse_main(argc - 2, argv + 2, &operations, NULL);
}
