/* SPDX-License-Identifier: Apache-2.0 */
/* Private to image/: the state of an image being written, shared by writer.c and commit.c. */
#ifndef CK_IMAGE_WRITER_H
#define CK_IMAGE_WRITER_H

#include "image/dir.h"

/* A file of the image. */
struct image_written {
	enum image_kind kind;
	unsigned int id;
	bool open; /* not closed yet */
	bool failed;
	uint64_t size; /* bytes; of use once it is closed */
	uint64_t hash; /* XXH64; 0 for RAW */
};

struct image_writer {
	char *dir;     /* as the user gave it, for messages */
	int parentfd;  /* O_PATH: the directory that holds it */
	char *base;    /* its last component */
	char *partial; /* "<base>.partial", or NULL if dir existed */
	int dirfd;     /* where the files are; locked */
	/* What has happened, for undoing it. */
	bool created;     /* partial was made, or taken over, by us */
	bool marked;      /* the marker is there */
	bool inventoried; /* the inventory has its name */
	bool manifested;  /* the manifest has its name */
	bool renamed;     /* partial has become base */
	bool committed;
	struct image_written *files;
	size_t n, size;
};

/* The name under which a file lies before the commit. */
void image_written_name(const struct image_written *f,
			char name[static IMAGE_NAME_MAX + sizeof(IMAGE_TMP_SUFFIX)]);

#endif
