/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers inside the messages of CRIU's image format 1.1 that no .proto file can name. */
#ifndef CK_IMAGE_FORMAT_H
#define CK_IMAGE_FORMAT_H

/* inventory_entry.img_version */
#define IMAGE_FORMAT_V1_1 2u
/* The same with contents that CRIU has no field for and would lose: it refuses this number. */
#define IMAGE_FORMAT_CKPT 0x10002u

/* task_core_entry.task_state */
enum image_task_state {
	IMAGE_TASK_ALIVE = 1,
	IMAGE_TASK_DEAD = 2,
	IMAGE_TASK_STOPPED = 3, /* by a job control signal */
	IMAGE_TASK_ZOMBIE = 6,
};

/* task_core_entry.unwaited: what its parent has not waited for yet, but could */
enum image_unwaited {
	IMAGE_UNWAITED_NONE = 0,
	IMAGE_UNWAITED_STOP = 1, /* WUNTRACED: it was stopped */
	IMAGE_UNWAITED_CONT = 2, /* WCONTINUED: it goes on after a stop */
};

/* vma_entry.status: one of the kinds, with REGULAR for what is an ordinary mapping */
enum image_vma_status {
	IMAGE_VMA_REGULAR = 1 << 0, /* its contents or its file are put back */
	IMAGE_VMA_STACK = 1 << 1,
	IMAGE_VMA_VSYSCALL = 1 << 2,
	IMAGE_VMA_VDSO = 1 << 3,
	IMAGE_VMA_HEAP = 1 << 5,
	IMAGE_VMA_FILE_PRIVATE = 1 << 6, /* shmid is the file's id */
	IMAGE_VMA_FILE_SHARED = 1 << 7,  /* shmid is the file's id */
	IMAGE_VMA_ANON_SHARED = 1 << 8,  /* shmid names pagemap-shmem-%u */
	IMAGE_VMA_ANON_PRIVATE = 1 << 9,
	IMAGE_VMA_SYSVIPC = 1 << 10,
	IMAGE_VMA_SOCKET = 1 << 11,
	IMAGE_VMA_VVAR = 1 << 12,
	IMAGE_VMA_AIORING = 1 << 13,
	IMAGE_VMA_MEMFD = 1 << 14,
	IMAGE_VMA_SHSTK = 1 << 15,
	IMAGE_VMA_GUARD = 1 << 16, /* no mapping: a range under MADV_GUARD_INSTALL */
	IMAGE_VMA_UPROBES = 1 << 17,
};

/* pagemap_entry.flags */
enum image_pagemap_flags {
	IMAGE_PE_PARENT = 1 << 0,  /* the pages are in the parent image */
	IMAGE_PE_LAZY = 1 << 1,    /* may be filled on demand */
	IMAGE_PE_PRESENT = 1 << 2, /* the pages are in pages-*.img; neither bit: zero pages */
};

/* file_lock_entry.flag */
enum image_lock_kind {
	IMAGE_LOCK_POSIX = 1,
	IMAGE_LOCK_FLOCK = 2,
	IMAGE_LOCK_OFD = 4,
	IMAGE_LOCK_LEASE = 8,
};

/* Capability sets of creds_entry: words in each */
#define IMAGE_CAP_WORDS 2

#endif
