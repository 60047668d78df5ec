// SPDX-License-Identifier: Apache-2.0
/* res_load() on images that say what can't be: each must be refused, by name, before anything is
 * done. */
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/socket.h>

#include "image/fdinfo.pb-c.h"
#include "image/file-lock.pb-c.h"
#include "image/fs.pb-c.h"
#include "image/ghost-file.pb-c.h"
#include "image/pipe-data.pb-c.h"
#include "image/remap-file-path.pb-c.h"
#include "tests/unit/res-job.h"

/* An image that is fine, until a test changes something in it. */
struct spec {
	RegFileEntry dir, file, gone;
	PipeEntry rd, wr;
	FileEntry fe[5];
	FdinfoEntry fd[4];
	PipeDataEntry data;
	RemapFilePathEntry remap;
	GhostFileEntry ghost;
	GhostChunkEntry chunk;
	CkptFileEntry named; /* file 2's, once file.has_carried is set */
	GhostFileEntry named_file;
	GhostChunkEntry named_chunk;
	FsEntry fs;
	FileLockEntry lock;
	FownEntry fown;
	size_t n_files, n_fds;
	size_t data_len, chunk_len; /* bytes that really are there */
	bool data_twice, remap_twice, no_fs, no_fdinfo;
	uint64_t map; /* file of a mapping */
};

static const char path_dir[] = "/";
static char path_file[100];

static void spec_reg(struct spec *s, int i, RegFileEntry *e, const char *name, uint32_t mode)
{
	reg_file_entry__init(e);
	file_entry__init(&s->fe[i]);
	s->fe[i].id = e->id = (uint32_t)i + 1;
	s->fe[i].type = FD_TYPES__REG;
	s->fe[i].reg = e;
	e->fown = &s->fown;
	e->name = (char *)(uintptr_t)name;
	e->has_mode = true;
	e->mode = mode;
}

static void spec_pipe(struct spec *s, int i, PipeEntry *e, uint32_t flags)
{
	pipe_entry__init(e);
	file_entry__init(&s->fe[i]);
	s->fe[i].id = e->id = (uint32_t)i + 1;
	s->fe[i].type = FD_TYPES__PIPE;
	s->fe[i].pipe = e;
	e->fown = &s->fown;
	e->pipe_id = 77;
	e->flags = flags;
}

/* What was the pipe's end is an epoll instance that watches a file. */
static void spec_epoll(struct spec *s, uint32_t target)
{
	static EventpollFileEntry e;
	static EventpollTfdEntry t;
	static EventpollTfdEntry *list[] = { &t };

	eventpoll_file_entry__init(&e);
	eventpoll_tfd_entry__init(&t);
	t.tfd = 8;
	t.has_target = true;
	t.target = target;
	e.fown = &s->fown;
	e.n_tfd = 1;
	e.tfd = list;
	s->fe[2].pipe = NULL;
	s->fe[2].type = s->fd[1].type = FD_TYPES__EVENTPOLL;
	s->fe[2].epfd = &e;
}

/* An inotify instance instead of the pipe's end, with one watch; for the test to spoil. */
static InotifyWdEntry *spec_inotify(struct spec *s)
{
	static InotifyFileEntry e;
	static InotifyWdEntry w;
	static FhEntry fh;
	static InotifyWdEntry *list[] = { &w };

	inotify_file_entry__init(&e);
	inotify_wd_entry__init(&w);
	fh_entry__init(&fh);
	w.f_handle = &fh;
	w.mask = 2;
	w.wd = 1;
	w.has_target = true;
	w.target = 1000;
	e.fown = &s->fown;
	e.n_wd = 1;
	e.wd = list;
	s->fe[2].pipe = NULL;
	s->fe[2].type = s->fd[1].type = FD_TYPES__INOTIFY;
	s->fe[2].ify = &e;
	return &w;
}

static void spec_pidfd(struct spec *s)
{
	static PidfdEntry e;

	pidfd_entry__init(&e);
	e.fown = &s->fown;
	e.nspid = 1;
	s->fe[2].pipe = NULL;
	s->fe[2].type = s->fd[1].type = FD_TYPES__PIDFD;
	s->fe[2].pidfd = &e;
}

/* A socket instead of the pipe's end; for the test to spoil. */
static UnixSkEntry *spec_unix(struct spec *s)
{
	static UnixSkEntry e;
	static SkOptsEntry o;

	unix_sk_entry__init(&e);
	sk_opts_entry__init(&o);
	e.id = 3;
	e.ino = 500;
	e.type = SOCK_STREAM;
	e.state = 7;
	e.fown = &s->fown;
	e.opts = &o;
	s->fe[2].pipe = NULL;
	s->fe[2].type = s->fd[1].type = FD_TYPES__UNIXSK;
	s->fe[2].usk = &e;
	return &e;
}

static InetSkEntry *spec_inet(struct spec *s)
{
	static InetSkEntry e;
	static SkOptsEntry o;

	inet_sk_entry__init(&e);
	sk_opts_entry__init(&o);
	e.id = 3;
	e.ino = 500;
	e.family = AF_INET;
	e.type = SOCK_STREAM;
	e.proto = IPPROTO_TCP;
	e.state = 7;
	e.fown = &s->fown;
	e.opts = &o;
	s->fe[2].pipe = NULL;
	s->fe[2].type = s->fd[1].type = FD_TYPES__INETSK;
	s->fe[2].isk = &e;
	return &e;
}

static void spec_timerfd(struct spec *s)
{
	static TimerfdEntry e;

	timerfd_entry__init(&e);
	e.fown = &s->fown;
	e.vnsec = 1000000000;
	s->fe[2].pipe = NULL;
	s->fe[2].type = s->fd[1].type = FD_TYPES__TIMERFD;
	s->fe[2].tfd = &e;
}

static void spec_named(struct spec *s)
{
	static GhostChunkEntry *chunks[1];

	s->named_file = s->ghost;
	s->named_chunk = s->chunk;
	chunks[0] = &s->named_chunk;
	ckpt_file_entry__init(&s->named);
	s->named.id = s->file.carried = 7;
	s->named.file = &s->named_file;
	s->named.chunks = chunks;
	s->named.n_chunks = 1;
	s->file.has_carried = true;
}

static void spec_fd(struct spec *s, int i, uint32_t fd, uint32_t id, FdTypes type)
{
	fdinfo_entry__init(&s->fd[i]);
	s->fd[i].fd = fd;
	s->fd[i].id = id;
	s->fd[i].type = type;
}

static void spec_init(struct spec *s)
{
	memset(s, 0, sizeof(*s));
	fown_entry__init(&s->fown);
	spec_reg(s, 0, &s->dir, path_dir, S_IFDIR | 0755);
	spec_reg(s, 1, &s->file, path_file, S_IFREG | 0644);
	spec_pipe(s, 2, &s->rd, O_RDONLY);
	spec_pipe(s, 3, &s->wr, O_WRONLY);
	spec_reg(s, 4, &s->gone, "/tmp/gone", S_IFREG | 0644);
	s->n_files = 5;
	spec_fd(s, 0, 3, 2, FD_TYPES__REG);
	spec_fd(s, 1, 5, 3, FD_TYPES__PIPE);
	spec_fd(s, 2, 4, 4, FD_TYPES__PIPE);
	spec_fd(s, 3, 7, 5, FD_TYPES__REG);
	s->n_fds = 4;
	pipe_data_entry__init(&s->data);
	s->data.pipe_id = 77;
	s->data.bytes = 4;
	s->data.has_size = true;
	s->data.size = 65536;
	s->data_len = 4;
	remap_file_path_entry__init(&s->remap);
	s->remap.orig_id = 5;
	s->remap.remap_id = 1;
	s->remap.has_remap_type = true;
	s->remap.remap_type = REMAP_TYPE__GHOST;
	ghost_file_entry__init(&s->ghost);
	s->ghost.mode = S_IFREG | 0600;
	s->ghost.has_chunks = s->ghost.chunks = true;
	s->ghost.has_size = true;
	s->ghost.size = 100;
	ghost_chunk_entry__init(&s->chunk);
	s->chunk.off = 10;
	s->chunk.len = 4;
	s->chunk_len = 4;
	fs_entry__init(&s->fs);
	s->fs.cwd_id = s->fs.root_id = 1;
	file_lock_entry__init(&s->lock);
	s->lock.flag = IMAGE_LOCK_FLOCK;
	s->lock.type = F_WRLCK;
	s->lock.pid = getpid();
	s->lock.fd = 3;
}

static void put(struct image_writer *w, enum image_kind kind, unsigned int id,
		const ProtobufCMessage *m, size_t raw, bool twice)
{
	struct image_file *f;

	ck_assert_int_eq(image_create(w, kind, id, &f, &job_err), 0);
	for (int i = 0; i < (twice ? 2 : 1); i++) {
		ck_assert_int_eq(image_append(f, m, &job_err), 0);
		if (raw)
			ck_assert_int_eq(image_append_raw(f, "contents", raw, &job_err), 0);
	}
	ck_assert_int_eq(image_file_close(f, &job_err), 0);
}

static void spec_write(const struct spec *s)
{
	struct image_writer *w;
	InventoryEntry inv = INVENTORY_ENTRY__INIT;
	struct image_file *f;
	unsigned int pid = (unsigned int)getpid();

	ck_assert_int_eq(image_writer_open(job_path("img"), &w, &job_err), 0);
	ck_assert_int_eq(image_create(w, IMAGE_FILES, 0, &f, &job_err), 0);
	for (size_t i = 0; i < s->n_files; i++)
		ck_assert_int_eq(image_append(f, &s->fe[i].base, &job_err), 0);
	ck_assert_int_eq(image_file_close(f, &job_err), 0);
	if (!s->no_fdinfo) {
		ck_assert_int_eq(image_create(w, IMAGE_FDINFO, pid, &f, &job_err), 0);
		for (size_t i = 0; i < s->n_fds; i++)
			ck_assert_int_eq(image_append(f, &s->fd[i].base, &job_err), 0);
		ck_assert_int_eq(image_file_close(f, &job_err), 0);
	}
	if (!s->no_fs)
		put(w, IMAGE_FS, pid, &s->fs.base, 0, false);
	put(w, IMAGE_PIPES_DATA, 0, &s->data.base, s->data_len, s->data_twice);
	put(w, IMAGE_REMAP_FPATH, 0, &s->remap.base, 0, s->remap_twice);
	put(w, IMAGE_FILE_LOCKS, 0, &s->lock.base, 0, false);
	if (s->file.has_carried)
		put(w, IMAGE_CKPT_FILES, 0, &s->named.base, s->chunk_len, false);
	ck_assert_int_eq(image_create(w, IMAGE_GHOST_FILE, 1, &f, &job_err), 0);
	ck_assert_int_eq(image_append(f, &s->ghost.base, &job_err), 0);
	if (s->ghost.chunks)
		ck_assert_int_eq(image_append(f, &s->chunk.base, &job_err), 0);
	if (s->chunk_len)
		ck_assert_int_eq(image_append_raw(f, "contents", s->chunk_len, &job_err), 0);
	ck_assert_int_eq(image_file_close(f, &job_err), 0);
	inv.img_version = IMAGE_FORMAT_V1_1;
	ck_assert_int_eq(image_write_one(w, IMAGE_INVENTORY, 0, &inv.base, &job_err), 0);
	ck_assert_int_eq(image_commit(w, &job_err), 0);
	image_writer_free(w);
}

static int spec_load(const struct spec *s, struct job_restore *jr)
{
	static VmaEntry vma;
	static VmaEntry *vmas[1] = { &vma };

	memset(jr, 0, sizeof(*jr));
	ck_assert_int_eq(image_open(job_path("img"), &jr->image, &job_err), 0);
	jr->opts.image = jr->r.image = jr->image;
	jr->r.opts = &jr->opts;
	jr->r.tasks = jr->tasks;
	jr->r.n_tasks = 1;
	pstree_entry__init(&jr->ps[0]);
	task_kobj_ids_entry__init(&jr->ids[0]);
	mm_entry__init(&jr->mm[0]);
	jr->ps[0].pid = jr->ids[0].files_id = (uint32_t)getpid();
	jr->tasks[0] = (struct engine_rtask){
		.ps = &jr->ps[0], .ids = &jr->ids[0], .mm = &jr->mm[0], .script = &jr->script[0]
	};
	jr->mm[0].exe_file_id = 2;
	if (s->map) {
		vma_entry__init(&vma);
		vma.status = IMAGE_VMA_FILE_PRIVATE;
		vma.shmid = s->map;
		jr->mm[0].vmas = vmas;
		jr->mm[0].n_vmas = 1;
	}
	return res_load(&jr->r, &job_err);
}

static void load_setup(void)
{
	CK_AUTO(fd) int fd = -EBADF;

	job_setup();
	snprintf(path_file, sizeof(path_file), "%s", job_path("file"));
	fd = open(path_file, O_WRONLY | O_CREAT | O_EXCL, 0644);
	ck_assert_int_ge(fd, 0);
}

/* ---- what is wrong, and what must be said ---- */

#define CASE(name, what, change)               \
	static void bad_##name(struct spec *s) \
	{                                      \
		change;                        \
	}                                      \
	static const char text_##name[] = what
#define ROW(name)                              \
	{                                      \
#name, bad_##name, text_##name \
	}

/* clang-format off */
CASE(file_zero, "file 0 is incomplete", s->fe[4].id = s->gone.id = 0);
CASE(file_twice, "file 2 is there twice", s->fe[4].id = s->gone.id = 2);
CASE(file_other_id, "file 2 is incomplete", s->file.id = 9);
CASE(file_no_message, "file 2 is incomplete", s->fe[1].reg = NULL);
CASE(file_unknown_type, "type NETLINKSK", s->fe[1].type = FD_TYPES__NETLINKSK;
     s->fd[0].type = FD_TYPES__NETLINKSK; s->n_fds = 1; s->map = 0);
CASE(path_relative, "not absolute", s->file.name = (char *)(uintptr_t) "etc/passwd");
CASE(path_empty, "not absolute", s->file.name = (char *)(uintptr_t) "");
CASE(offset, "out of range", s->file.pos = UINT64_MAX - 1);
CASE(external, "external", s->file.has_ext = s->file.ext = true);
CASE(owner_signal, "makes no sense", s->fown.signum = 65);
CASE(owner_type, "makes no sense", s->fown.pid_type = 3);
CASE(owner_stranger, "not of the job", s->fown.pid = 1);
CASE(no_fdinfo, "no fdinfo-", s->no_fdinfo = true);
CASE(fd_unknown, "file 99 is not in files.img", s->fd[0].id = 99);
CASE(fd_type, "of another type", s->fd[0].type = FD_TYPES__PIPE);
CASE(fd_twice, "the number is there twice", s->fd[1].fd = 3);
CASE(fd_huge, "out of range", s->fd[1].fd = UINT32_MAX);
CASE(no_fs, "no fs-", s->no_fs = true);
CASE(cwd_unknown, "file 1000 is not", s->fs.cwd_id = 1000);
CASE(cwd_pipe, "has no path", s->fs.cwd_id = 3);
CASE(root_unknown, "file 0 is not", s->fs.root_id = 0);
CASE(umask, "umask", s->fs.has_umask = true; s->fs.umask = 01000);
CASE(unix_type, "of type 77", spec_unix(s)->type = 77);
CASE(unix_state, "in state 3", spec_unix(s)->state = 3);
CASE(unix_name, "name of a Unix socket makes no sense",
     spec_unix(s)->name = ((ProtobufCBinaryData){ 109, (uint8_t *)calloc(1, 109) }));
CASE(unix_listen, "name of a Unix socket makes no sense", spec_unix(s)->state = 10);
CASE(unix_option, "option of a socket", spec_unix(s)->opts->so_sndbuf = UINT32_MAX);
CASE(inet_family, "type 1, protocol 6", spec_inet(s)->family = AF_UNIX);
CASE(inet_state, "state of an IP socket", spec_inet(s)->state = 13);
CASE(inet_peer, "leads out of the job", spec_inet(s)->state = 1);
CASE(inet_ended, "end of a TCP connection", InetSkEntry *e = spec_inet(s); e->has_ended = true;
     e->ended = 4);
CASE(inet_ended_twice, "end of a TCP connection", InetSkEntry *e = spec_inet(s);
     e->has_ended = e->has_peer = true; e->ended = 1);
CASE(unix_inherit, "to be inherited from descriptor 3", UnixSkEntry *e = spec_unix(s);
     e->has_inherit = true; e->inherit = 3);
CASE(unix_external, "dumped as external", spec_unix(s)->uflags = 1);
CASE(inet_option, "option 31 of level 6", static SkMoreEntry m; static SkMoreEntry *all[] = { &m };
     SkOptsEntry *o = spec_inet(s)->opts; sk_more_entry__init(&m); m.level = IPPROTO_TCP;
     m.opt = 31; o->more = all; o->n_more = 1);
CASE(inet_address, "address of an IP socket", static uint32_t word; InetSkEntry *e = spec_inet(s);
     e->n_src_addr = 1; e->src_addr = &word; e->src_port = 65536);
CASE(epoll_target, "once fd 8, that no task", spec_epoll(s, 50));
CASE(epoll_target_closed, "once fd 8, that no task", spec_epoll(s, 5); s->n_fds = 3);
CASE(inotify_target, "file 1000 is not in", spec_inotify(s));
CASE(inotify_itself, "not its own", spec_inotify(s)->target = 3);
CASE(inotify_number, "makes no sense", spec_inotify(s)->wd = 1u << 31);
CASE(inotify_no_events, "makes no sense", spec_inotify(s)->mask = 0x80000000);
CASE(inotify_no_path, "without a path", spec_inotify(s)->has_target = false);
CASE(pidfd_stranger, "pidfd is of 1, which is not of the job", spec_pidfd(s));
CASE(timerfd_time, "no valid time", spec_timerfd(s));
CASE(map_unknown, "file 50 is not", s->map = 50);
CASE(map_huge, "out of range", s->map = 1ull << 32 | 2);
CASE(map_pipe, "has no path", s->map = 4);
CASE(pipe_mode, "makes no sense", s->rd.flags = 3);
CASE(pipe_inherit, "to be inherited from descriptor 3", s->rd.has_inherit = true; s->rd.inherit = 3);
CASE(pipe_data_twice, "twice", s->data_twice = true);
CASE(pipe_packets, "don't add up", uint32_t *p = malloc(8); p[0] = 3; p[1] = 2; s->data.packets = p;
     s->data.n_packets = 2; s->data.has_packets_size = true; s->data.packets_size = 65536);
CASE(remap_unknown, "file 70", s->remap.orig_id = 70);
CASE(remap_pipe, "file 3", s->remap.orig_id = 3);
CASE(remap_twice, "carried twice", s->remap_twice = true);
CASE(remap_linked, "link of another file", s->remap.remap_type = REMAP_TYPE__LINKED);
CASE(ghost_missing, "", s->remap.remap_id = 2);
CASE(ghost_socket, "kind of file", s->ghost.mode = S_IFSOCK | 0600);
CASE(ghost_size, "no size", s->ghost.size = 1ull << 63);
CASE(ghost_no_size, "no size", s->ghost.has_size = false);
CASE(chunk_beyond, "chunk outside", s->chunk.off = 97);
CASE(chunk_wraps, "chunk outside", s->chunk.off = UINT64_MAX - 2);
CASE(named_missing, "has no file 8", spec_named(s); s->file.carried = 8);
CASE(named_dir, "holds a directory", spec_named(s); s->named_file.mode = S_IFDIR | 0700);
CASE(named_no_size, "no size", spec_named(s); s->named_file.has_size = false);
CASE(named_beyond, "chunk outside", spec_named(s); s->named_chunk.off = 97);
CASE(named_short, "lacks the data", spec_named(s); s->named_chunk.len = 5);
CASE(named_wraps, "lacks the data", spec_named(s); s->named_chunk.len = UINT64_MAX);
CASE(lock_kind, "lock of kind", s->lock.flag = IMAGE_LOCK_LEASE);
CASE(lock_type, "lock makes no sense", s->lock.type = 2);
CASE(lock_start, "lock makes no sense", s->lock.start = -1);
CASE(lock_fd, "which is not open", s->lock.fd = 6);
CASE(lock_pid, "which is not open", s->lock.pid = 1);
/* clang-format on */

/* clang-format off */
static const struct {
	const char *name;
	void (*change)(struct spec *s);
	const char *what;
} bad[] = {
	ROW(file_zero),
	ROW(file_twice),
	ROW(file_other_id),
	ROW(file_no_message),
	ROW(file_unknown_type),
	ROW(path_relative),
	ROW(path_empty),
	ROW(offset),
	ROW(external),
	ROW(owner_signal),
	ROW(owner_type),
	ROW(owner_stranger),
	ROW(no_fdinfo),
	ROW(fd_unknown),
	ROW(fd_type),
	ROW(fd_twice),
	ROW(fd_huge),
	ROW(no_fs),
	ROW(cwd_unknown),
	ROW(cwd_pipe),
	ROW(root_unknown),
	ROW(umask),
	ROW(unix_type),
	ROW(unix_state),
	ROW(unix_name),
	ROW(unix_listen),
	ROW(unix_option),
	ROW(inet_family),
	ROW(inet_state),
	ROW(inet_peer),
	ROW(inet_address),
	ROW(inet_option),
	ROW(inet_ended),
	ROW(inet_ended_twice),
	ROW(unix_inherit),
	ROW(unix_external),
	ROW(epoll_target),
	ROW(epoll_target_closed),
	ROW(pidfd_stranger),
	ROW(inotify_target),
	ROW(inotify_itself),
	ROW(inotify_number),
	ROW(inotify_no_events),
	ROW(inotify_no_path),
	ROW(timerfd_time),
	ROW(map_unknown),
	ROW(map_huge),
	ROW(map_pipe),
	ROW(pipe_mode),
	ROW(pipe_inherit),
	ROW(pipe_data_twice),
	ROW(pipe_packets),
	ROW(remap_unknown),
	ROW(remap_pipe),
	ROW(remap_twice),
	ROW(remap_linked),
	ROW(ghost_missing),
	ROW(ghost_socket),
	ROW(ghost_size),
	ROW(ghost_no_size),
	ROW(chunk_beyond),
	ROW(chunk_wraps),
	ROW(named_missing),
	ROW(named_dir),
	ROW(named_no_size),
	ROW(named_beyond),
	ROW(named_short),
	ROW(named_wraps),
	ROW(lock_kind),
	ROW(lock_type),
	ROW(lock_start),
	ROW(lock_fd),
	ROW(lock_pid),
};
/* clang-format on */

START_TEST(refused)
{
	struct job_restore *jr = calloc(1, sizeof(*jr));
	char text[1200];
	struct spec s;
	int r;

	spec_init(&s);
	bad[_i].change(&s);
	spec_write(&s);
	r = spec_load(&s, jr);
	ck_err_format(&job_err, text, sizeof(text));
	ck_assert_msg(r < 0, "%s was accepted", bad[_i].name);
	ck_assert_msg(strstr(text, bad[_i].what) != NULL, "%s: \"%s\" is not in: %s", bad[_i].name,
		      bad[_i].what, text);
	ck_assert_msg(job_err.kind == CK_ERR_IMAGE || job_err.kind == CK_ERR_HOST, "%s: kind %d",
		      bad[_i].name, (int)job_err.kind);
	res_restore_done(&jr->r);
	image_free(jr->image);
	free(s.data.packets);
	free(jr);
}
END_TEST

START_TEST(accepted)
{
	struct job_restore *jr = calloc(1, sizeof(*jr));
	struct spec s;
	char buf[200] = "";
	int fd;

	spec_init(&s);
	s.map = 5;
	spec_write(&s);
	ck_assert_msg(spec_load(&s, jr) == 0, "%s (%s)", job_err.what, job_err.where);
	ck_assert_uint_eq(res_count(&jr->r), 5);
	ck_assert_msg(res_open(&jr->r, &job_err) == 0, "%s (%s)", job_err.what, job_err.where);
	fd = res_parked_fd(&jr->r, 5);
	ck_assert_int_eq(read(fd, buf, sizeof(buf)), 100);
	ck_assert_int_eq(memcmp(buf + 10, "cont", 4), 0);
	ck_assert_int_eq(read(res_parked_fd(&jr->r, 3), buf, sizeof(buf)), 4);
	ck_assert_int_eq(res_plan(&jr->r, &jr->tasks[0], &job_err), 0);
	ck_assert_uint_gt(jr->script[0].n, 5);
	res_restore_done(&jr->r);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	image_free(jr->image);
	free(jr);
}
END_TEST

/* CRIU's own form: small files without chunks. */
START_TEST(carried_without_chunks)
{
	struct job_restore *jr = calloc(1, sizeof(*jr));
	struct spec s;
	char buf[200] = "";

	spec_init(&s);
	s.ghost.has_chunks = s.ghost.chunks = s.ghost.has_size = false;
	s.chunk_len = 8;
	spec_write(&s);
	ck_assert_int_eq(spec_load(&s, jr), 0);
	ck_assert_int_eq(res_open(&jr->r, &job_err), 0);
	ck_assert_int_eq(read(res_parked_fd(&jr->r, 5), buf, sizeof(buf)), 8);
	ck_assert_str_eq(buf, "contents");
	res_restore_done(&jr->r);
	image_free(jr->image);
	free(jr);
}
END_TEST

/* More contents than the pipe takes: an error, and no waiting. */
START_TEST(pipe_overfull)
{
	struct job_restore *jr = calloc(1, sizeof(*jr));
	struct spec s;

	spec_init(&s);
	s.data.packets = calloc(4, sizeof(uint32_t));
	s.data.n_packets = 4;
	for (int i = 0; i < 4; i++)
		s.data.packets[i] = 1;
	s.data.has_packets_size = true;
	s.data.packets_size = 4096; /* one slot, for one packet */
	spec_write(&s);
	ck_assert_int_eq(spec_load(&s, jr), 0);
	ck_assert_int_lt(res_open(&jr->r, &job_err), 0);
	ck_assert_ptr_nonnull(strstr(job_err.what, "don't fit"));
	res_restore_done(&jr->r);
	image_free(jr->image);
	free(s.data.packets);
	free(jr);
}
END_TEST

static Suite *load_suite(void)
{
	Suite *s = suite_create("engine/res load");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, load_setup, job_teardown);
	tcase_add_test(c, accepted);
	tcase_add_test(c, carried_without_chunks);
	tcase_add_test(c, pipe_overfull);
	tcase_add_loop_test(c, refused, 0, (int)CK_ARRAY_SIZE(bad));
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	SRunner *r = srunner_create(load_suite());
	int failed;

	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
