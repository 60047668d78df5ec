// SPDX-License-Identifier: Apache-2.0
/* The only list of commands, options and exit statuses, with all that is said about them. */
#include <stdint.h>

#include "base/auto.h"
#include "cmd/caller.h"
#include "cmd/cmd.h"

const struct cmd_option cmd_globals[] = {
	{ "verbose", 'v', NULL, CMD_FLAG, 0,
	  "say what is done, stage by stage, and where in the source an error arose; -vv: with "
	  "details" },
	{ "help", 'h', NULL, CMD_FLAG, 0, "print help" },
};
const size_t cmd_globals_len = CK_ARRAY_SIZE(cmd_globals);

/* What treats findings, wherever there is a verdict. */
/* clang-format off */
#define POLICY_OPTIONS \
	{ "policy", 0, "NAME|FILE", CMD_TEXT, 0, \
	  "how findings are treated: strict, default, permissive, or a file" }, \
	{ "allow", 0, "ACTION", CMD_TEXT, CMD_REPEAT, \
	  "the action may be taken: status 21 becomes 0" }, \
	{ "allow-undecided", 0, NULL, CMD_FLAG, 0, \
	  "what can't be known counts as fine: status 22 becomes 0" }, \
	{ "files", 0, "rollback|keep|refuse", CMD_WORD, 0, \
	  "output files that have grown since: cut them back to what they were, saving the rest " \
	  "beside them; leave them; or refuse whatever the policy says" }, \
	{ "make-dirs", 0, NULL, CMD_FLAG, 0, \
	  "make directories that are missing, with the modes they had" }, \
	{ "override", 0, "RULE", CMD_TEXT, CMD_REPEAT, \
	  "go on against what this rule finds; the verdict says who did so" }
/* clang-format on */

/* Where files are on the target. */
/* clang-format off */
#define MAP_OPTIONS \
	{ "map", 0, "OLD:NEW", CMD_TEXT, CMD_REPEAT, \
	  "what the job had below OLD is below NEW; the longest OLD counts. A ':' within a path is " \
	  "written \\:" }, \
	{ "maps", 0, "FILE", CMD_FILE, CMD_REPEAT, "a file with such maps, a line each" }, \
	{ "map-mode", 0, "rewrite|bind", CMD_WORD, 0, \
	  "rewrite: what was open is opened below NEW. bind: in a mount namespace of the job's OLD " \
	  "leads to NEW, also for paths that it has in its memory" }
/* clang-format on */

/* clang-format off */
#define STATUS_OPTION \
	{ "status-fd", 0, "N", CMD_TEXT, 0, \
	  "tell launchers on descriptor N how far it is: a line of JSON for each event" }
/* clang-format on */

static const struct cmd_option check_options[] = {
	{ "image", 0, "DIR", CMD_DIR, CMD_REQUIRED,
	  "the image; CRIU's are judged too, and the archives that Podman and CRI-O make of them" },
	{ "host", 0, "FILE", CMD_FILE, 0,
	  "judge for the host of this profile, which ckpt probe made; what holds only for the "
	  "moment (free memory, taken pids) is deferred" },
	{ "format", 0, "text|json", CMD_WORD, 0, "how the verdict is written" },
	{ "all", 0, NULL, CMD_FLAG, 0, "tell also what is fine" },
	{ "for", 0, CMD_CALLERS, CMD_WORD, 0,
	  "answer a scheduler in its own way: the verdict goes to standard error" },
	MAP_OPTIONS,
	POLICY_OPTIONS,
};

static const struct cmd_option dump_options[] = {
	{ "tree", 't', "PID", CMD_PID, CMD_REQUIRED, "the root of the tree" },
	{ "image", 0, "DIR", CMD_DIR, CMD_REQUIRED,
	  "where to. If DIR does not exist, it appears only when it is complete; if it does, it "
	  "must not hold an image" },
	{ "leave-running", 'R', NULL, CMD_FLAG, 0, "the job goes on instead of being killed" },
	{ "shell-job", 'j', NULL, CMD_FLAG, 0, "the job's standard streams may be a terminal" },
	{ "tcp", 0, "refuse|close|reset", CMD_WORD, 0,
	  "TCP connections that lead out of the job: refuse the dump (the default); or, after the "
	  "restore, the job finds them closed, or reset, by the other side" },
	{ "unix", 0, "refuse|close", CMD_WORD, 0,
	  "the same for Unix sockets that are connected to outside of the job" },
	{ "pipe", 0, "refuse|close", CMD_WORD, 0,
	  "the same for pipes that lead out of the job and are not its standard input or output" },
	STATUS_OPTION,
};

static const struct cmd_option help_options[] = {
	{ "format", 0, "text|list|scdoc|bash", CMD_WORD, CMD_HIDDEN, "what to make of the table" },
};

static const struct cmd_option map_options[] = {
	{ "image", 0, "DIR", CMD_DIR, CMD_REQUIRED, "the image; CRIU's too" },
	{ "host", 0, "FILE", CMD_FILE, 0,
	  "for the host of this profile, which ckpt probe made, not for this one" },
};

static const struct cmd_option match_options[] = {
	{ "image", 0, "DIR", CMD_DIR, CMD_REQUIRED, "the image; CRIU's are judged too" },
	{ "format", 0, "text|json", CMD_WORD, 0, "how the list is written" },
	MAP_OPTIONS,
	POLICY_OPTIONS,
};

static const struct cmd_option probe_options[] = {
	{ "output", 'o', "FILE", CMD_FILE, 0,
	  "write a profile for ckpt check --host; it is there as a whole or not at all" },
	{ "for", 0, "IMAGE", CMD_DIR, 0,
	  "answer also what this image asks: its files, directories and pids, as this user finds "
	  "them" },
	MAP_OPTIONS,
	{ "modules", 0, "DIR", CMD_DIR, 0,
	  "look for kernel modules in this tree, another kernel's /lib/modules/RELEASE" },
	{ "from-cpuid", 0, "FILE", CMD_FILE, 0,
	  "the CPU of another host instead of this one, from CPUID leaves in AIDA64's text form" },
};

static const struct cmd_option report_options[] = {
	{ "image", 0, "DIR", CMD_DIR, CMD_REQUIRED | CMD_REPEAT,
	  "an image; CRIU's are judged too" },
	{ "output", 'o', "FILE", CMD_FILE, 0,
	  "write the page, as HTML that needs no other file; it is there as a whole or not at "
	  "all" },
	{ "format", 0, "text|json", CMD_WORD, 0, "how the summary is written" },
	MAP_OPTIONS,
	POLICY_OPTIONS,
};

static const struct cmd_option restore_options[] = {
	{ "image", 0, "DIR", CMD_DIR, CMD_REQUIRED,
	  "where from. The image is only read, and can be restored again" },
	{ "detach", 0, NULL, CMD_FLAG, 0, "return as soon as the job runs" },
	{ "shell-job", 0, NULL, CMD_FLAG, 0,
	  "the terminal and the session of the caller become the job's" },
	{ "no-inplace", 0, NULL, CMD_FLAG, 0, "always in fresh namespaces" },
	{ "stats", 0, "FILE", CMD_FILE, 0,
	  "write what it cost to FILE, as CRIU does to stats-restore, once the job runs" },
	STATUS_OPTION,
	MAP_OPTIONS,
	POLICY_OPTIONS,
};

static const struct cmd_option show_options[] = {
	{ "image", 0, "DIR", CMD_DIR, CMD_REQUIRED, "the image, ours or CRIU's" },
	{ "format", 0, "text|json", CMD_WORD, 0, "how it is written" },
};

#define OPTIONS(name) .options = name##_options, .n_options = CK_ARRAY_SIZE(name##_options)

/* Not clang-format's: it breaks texts, and never joins them. */
/* clang-format off */
/* clang-format off: it would break texts at any length, but never join them */
const struct cmd cmd_table[] = {
	{
		.name = "check",
		.summary = "tell whether an image can be restored here, or on another host",
		.about =
			"Says whether the job in an image can be restored on this host, or on the "
			"one that a profile describes. All findings are told at once, each with "
			"what the image needs, what the host has, how that is known, and a way "
			"out. Nothing is changed.",
		OPTIONS(check),
		.examples =
			"ckpt check --image snap\n"
			"ckpt check --image snap --host node7.json --format json\n",
		.run = cmd_check,
	},
	{
		.name = "dump",
		.summary = "checkpoint a running tree of processes",
		.about =
			"Writes the tree of processes whose root is PID to a directory. The job "
			"is killed once the image is complete and durable. Until then any "
			"failure, or the end of ckpt itself, leaves the job running as before.",
		OPTIONS(dump),
		.examples =
			"ckpt dump -t 4711 --image snap\n"
			"ckpt dump -t 4711 --image snap --leave-running\n",
		.run = cmd_dump,
	},
	{
		.name = "explain",
		.summary = "tell what a rule of the check looks at, or list the rules",
		.about =
			"Prints what a rule means, how it knows, what to do, and how each policy "
			"that is built in treats it. Without RULE, lists the rules.",
		.operands = "[RULE]",
		.max_operands = 1,
		.operand_kind = CMD_TEXT,
		.examples = "ckpt explain fs.file.changed\n",
		.run = cmd_explain,
	},
	{
		.name = "help",
		.summary = "print help, of a command if one is named",
		.about = "Prints what ckpt COMMAND --help prints, or the list of commands.",
		.operands = "[COMMAND]",
		.max_operands = 1,
		.operand_kind = CMD_COMMAND,
		OPTIONS(help),
		.run = cmd_help,
	},
	{
		.name = "map",
		.summary = "propose maps for what is elsewhere on a host",
		.about =
			"suggest: looks for what the image needs and the host has not at its place, "
			"and prints a line for --maps for each that was found: the scratch directory "
			"that the same variable names now, the same device or export under another "
			"mount point, a directory near by (beside the missing one, here, or at home) "
			"with the same contents. A comment tells why.\n\n"
			"Status 20 says that something is missing that was found nowhere. With "
			"--host nothing but variables and mounts can be compared.",
		.operands = "suggest",
		.min_operands = 1,
		.max_operands = 1,
		.operand_kind = CMD_WORD,
		.words = "suggest",
		OPTIONS(map),
		.examples =
			"ckpt map suggest --image snap >maps\n"
			"ckpt restore --image snap --maps maps\n",
		.run = cmd_map,
	},
	{
		.name = "match",
		.summary = "rank stored hosts by how well they would take an image",
		.about =
			"Judges an image for the host of each profile, as ckpt check --host "
			"would, and lists the hosts, best first: those that can take it, then "
			"those that can once an action is allowed, undecided ones, and those that "
			"can't. Among equals the one with the fewest findings comes first, then "
			"the one with the CPU and kernel of the source, then the one that was "
			"named first.\n\n"
			"PROFILE is a file that ckpt probe wrote, a directory of NAME.json files, "
			"or, as @FILE or -, a list with a path per line, - being standard input. "
			"One that can't be read is told and left out. The exit status is what "
			"ckpt check would say on the best host.",
		.operands = "PROFILE...",
		.min_operands = 1,
		.max_operands = SIZE_MAX,
		.operand_kind = CMD_FILE,
		OPTIONS(match),
		.examples =
			"ckpt match --image snap pool/\n"
			"ckpt match --image snap --format json node1.json node2.json\n"
			"find /srv/pool -name '*.json' | ckpt match --image snap -\n",
		.run = cmd_match,
	},
	{
		.name = "policy",
		.summary = "list policies, print one, or tell what is wrong with one",
		.about =
			"A policy says how the findings of ckpt check are treated.\n\n"
			"list: those that are built in. show: a policy as JSON, with every rule; "
			"a start for one's own. lint: all that is wrong with a policy.",
		.operands = "list|show|lint [NAME|FILE]",
		.min_operands = 1,
		.max_operands = 2,
		.operand_kind = CMD_WORD,
		.words = "list|show|lint",
		.examples =
			"ckpt policy show default >site.json\n"
			"ckpt policy lint site.json\n",
		.run = cmd_policy,
	},
	{
		.name = "probe",
		.summary = "print what this host is, as JSON",
		.about =
			"Prints what this host is: CPU, kernel, privileges, memory, control "
			"groups, mounts, network, packages. What can't be known is told as "
			"unknown. A stored profile lets ckpt check judge for this host elsewhere.",
		OPTIONS(probe),
		.examples =
			"ckpt probe -o node7.json\n"
			"ckpt probe --for snap -o node7.json\n",
		.run = cmd_probe,
	},
	{
		.name = "report",
		.summary = "tell which images of a site could go to which of its hosts",
		.about =
			"Judges every image for the host of every profile, and tells which images "
			"have no host, which hosts take nothing, and what is in the way most. "
			"With -o it writes a page with the matrix of images against hosts, every "
			"reason and remedy, and what ckpt itself can do on each host. Hosts about "
			"which all the same is to be said are one line.\n\n"
			"PROFILE is as for ckpt match.",
		.operands = "PROFILE...",
		.min_operands = 1,
		.max_operands = SIZE_MAX,
		.operand_kind = CMD_FILE,
		OPTIONS(report),
		.examples =
			"ckpt report pool/ --image snap1 --image snap2 -o site.html\n"
			"ckpt report pool/ --image snap1 --format json\n",
		.run = cmd_report,
	},
	{
		.name = "restore",
		.summary = "restore a tree of processes, and end as it ends",
		.about =
			"Runs the check first and refuses on it. Then the job goes on with its "
			"old pids: on this host as it is, if they are free and the kernel lets "
			"this user choose them; else in fresh user, pid and mount namespaces.\n\n"
			"In the foreground ckpt stands for the job: it forwards signals to it and "
			"ends as it ends, with the same exit status or by the same signal.",
		OPTIONS(restore),
		.examples =
			"ckpt restore --image snap\n"
			"ckpt restore --image snap --detach\n",
		.run = cmd_restore,
	},
	{
		.name = "show",
		.summary = "list or decode the files of an image",
		.about =
			"Lists the files of an image and sums it up, or decodes those that NAME "
			"tells: a file (core-812), or all of a kind (core). Works on damaged "
			"images as far as they can be read; the exit status tells.",
		.operands = "[NAME]",
		.max_operands = 1,
		.operand_kind = CMD_TEXT,
		OPTIONS(show),
		.examples =
			"ckpt show --image snap\n"
			"ckpt show --image snap pstree --format json\n",
		.run = cmd_show,
	},
};
/* clang-format on */
/* clang-format on */
const size_t cmd_table_len = CK_ARRAY_SIZE(cmd_table);

const struct cmd_status cmd_statuses[] = {
	{ CMD_EXIT_OK, "done; check: compatible" },
	{ CMD_EXIT_INCOMPATIBLE, "incompatible with the host" },
	{ CMD_EXIT_ACTIONS, "compatible once the listed actions are allowed" },
	{ CMD_EXIT_UNDECIDED, "undecided: the findings name what would decide" },
	{ CMD_EXIT_USAGE, "wrong command line" },
	{ CMD_EXIT_DATA, "the image is corrupt or incomplete" },
	{ CMD_EXIT_NOIMAGE, "no such image, or no such job" },
	{ CMD_EXIT_HOST, "the job holds something that can't be kept, or this host can't do it" },
	{ CMD_EXIT_SOFTWARE, "a bug in ckpt" },
	{ CMD_EXIT_OS, "a system call failed" },
	{ CMD_EXIT_TRYLATER, "try again later" },
	{ CMD_EXIT_NOPERM, "not permitted" },
	{ CMD_EXIT_CONFIG, "a policy, profile or configuration file is wrong" },
};
const size_t cmd_statuses_len = CK_ARRAY_SIZE(cmd_statuses);
