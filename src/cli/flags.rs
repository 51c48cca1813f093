//! Every flag there is. A flag that is not here does not exist.

use super::command_table::{Complete, Flag};

// Accepted by every command, and before it.

/// In this order in help.
pub(crate) static GLOBALS: &[&Flag] = &[&VERBOSE, &QUIET, &JSON, &HELP];

pub(crate) static VERBOSE: Flag =
    Flag::switch("verbose", Some('v'), "Say on stderr what moat does.");

pub(crate) static QUIET: Flag = Flag::switch(
    "quiet",
    Some('q'),
    "Say nothing but errors, and print ids only in a list.",
);

pub(crate) static JSON: Flag =
    Flag::switch("json", None, "Print the result, or the error, as JSON.");

pub(crate) static HELP: Flag =
    Flag::switch("help", Some('h'), "Print help; -h prints the short form.");

/// Accepted before the command only.
pub(crate) static VERSION: Flag = Flag::switch("version", Some('V'), "Print the version of moat.");

// run

pub(crate) static BACKGROUND: Flag = Flag::switch(
    "background",
    Some('b'),
    "Return once the workload has started, and print the id of the run.",
);

pub(crate) static FOLLOW: Flag = Flag::switch(
    "follow",
    Some('f'),
    "Stay and stream the output, even where run.background is true in config.yaml.",
);

pub(crate) static INTERACTIVE: Flag = Flag::switch(
    "interactive",
    Some('i'),
    "Give the workload the stdin of moat: this terminal, a pipe or a file.",
);

pub(crate) static NAME: Flag = Flag::value(
    "name",
    Some('n'),
    "NAME",
    "Name the run, uniquely among the active ones.",
);

pub(crate) static ENV: Flag = Flag {
    repeat: true,
    ..Flag::value(
        "env",
        Some('e'),
        "K=V|K",
        "Set a variable; K alone takes its value from the environment, as a secret should \
         (repeatable).",
    )
};

pub(crate) static MOUNT: Flag = Flag {
    repeat: true,
    complete: Complete::File,
    ..Flag::value(
        "mount",
        Some('m'),
        "SRC:DST[:ro|rw]",
        "Mount the file or directory SRC of the host at DST, writable unless ro (repeatable).",
    )
};

pub(crate) static IMAGE: Flag = Flag::value(
    "image",
    None,
    "IMAGE",
    "Run in this image as it is, whatever moat.yaml says (debian:bookworm-slim by default).",
);

pub(crate) static RUNTIME: Flag = Flag {
    complete: Complete::Words(crate::runtime::WORDS),
    ..Flag::value(
        "runtime",
        None,
        "apple|docker|podman|bwrap",
        "Use this runtime instead of the first that answers.",
    )
};

pub(crate) static CONTEXT: Flag = Flag::value(
    "context",
    None,
    "NAME",
    "Use docker's engine of this context (docker context ls), here or on another machine.",
);

pub(crate) static REBUILD: Flag = Flag::switch(
    "rebuild",
    None,
    "Build or get the image anew, even if it is there.",
);

pub(crate) static EXPORT: Flag = Flag {
    complete: Complete::Directory,
    ..Flag::value(
        "export",
        None,
        "DIR",
        "When the run has ended, put its copy of the workspace into this directory, which must be \
         empty or not exist.",
    )
};

pub(crate) static SESSION: Flag = Flag {
    complete: Complete::Branch(&[]),
    ..Flag::value(
        "session",
        None,
        "BRANCH",
        "Run in the worktree of this session, which must be up, and beside its services.",
    )
};

pub(crate) static KEEP: Flag = Flag::switch("keep", None, "Keep the container after the run.");

pub(crate) static TIMEOUT: Flag = Flag::value(
    "timeout",
    None,
    "DURATION",
    "Stop the run after this long, such as 90s, 10m or 1h30m, and exit with 124.",
);

pub(crate) static MEMORY: Flag = Flag::value(
    "memory",
    None,
    "SIZE",
    "Limit the memory of the container, for example to 512m or 2g.",
);

pub(crate) static CPUS: Flag = Flag::value(
    "cpus",
    None,
    "N",
    "Limit the container to this many processors; 0.5 is half of one.",
);

pub(crate) static DRY_RUN: Flag = Flag::switch(
    "dry-run",
    None,
    "Print the plan of the run and make nothing.",
);

// logs

pub(crate) static LOGS_FOLLOW: Flag = Flag::switch(
    "follow",
    Some('f'),
    "Go on printing as output arrives, until the run has finished.",
);

pub(crate) static LOGS_SERVICE: Flag = Flag::value(
    "service",
    None,
    "NAME",
    "Print the output of this service of the run.",
);

pub(crate) static LINES: Flag =
    Flag::value("lines", Some('n'), "N", "Begin with the last N lines.");

pub(crate) static SINCE: Flag = Flag::value(
    "since",
    None,
    "TIME",
    "Begin at this time, in RFC 3339 form or as an age such as 10m.",
);

pub(crate) static STDOUT: Flag =
    Flag::switch("stdout", None, "Print what the workload wrote to stdout.");

pub(crate) static STDERR: Flag =
    Flag::switch("stderr", None, "Print what the workload wrote to stderr.");

pub(crate) static TIMESTAMPS: Flag = Flag::switch(
    "timestamps",
    Some('t'),
    "Put the time of its arrival before each line.",
);

pub(crate) static RAW: Flag = Flag::switch(
    "raw",
    None,
    "Print the bytes of the workload exactly as they were.",
);

pub(crate) static LOGS_EXEC: Flag = Flag::value(
    "exec",
    None,
    "NUMBER",
    "Print the output of this command that 'moat exec' ran.",
);

pub(crate) static REPLAY: Flag = Flag::switch(
    "replay",
    None,
    "Print the bytes of the workload in the time they took.",
);

pub(crate) static SPEED: Flag = Flag::value(
    "speed",
    None,
    "FACTOR",
    "With --replay: so many times as fast.",
);

pub(crate) static IDLE_LIMIT: Flag = Flag::value(
    "idle-limit",
    None,
    "DURATION",
    "With --replay: wait no longer than this where nothing was printed.",
);

// exec

pub(crate) static EXEC_INTERACTIVE: Flag = Flag::switch(
    "interactive",
    Some('i'),
    "Give the command the stdin of moat: the terminal, or the bytes of a pipe or file.",
);

pub(crate) static EXEC_TTY: Flag = Flag::switch(
    "tty",
    Some('t'),
    "Like -i, but fail where stdin is no terminal.",
);

pub(crate) static EXEC_ENV: Flag = Flag {
    repeat: true,
    ..Flag::value(
        "env",
        Some('e'),
        "K=V|K",
        "Set a variable; K alone takes its value from the environment (repeatable).",
    )
};

pub(crate) static EXEC_SERVICE: Flag = Flag::value(
    "service",
    None,
    "NAME",
    "Run the command in this service of the run.",
);

pub(crate) static WORKDIR: Flag = Flag::value(
    "workdir",
    Some('w'),
    "DIR",
    "Run the command in this directory of the container.",
);

// list

pub(crate) static ALL: Flag = Flag::switch("all", Some('a'), "List finished runs too.");

pub(crate) static STATE: Flag = Flag {
    complete: Complete::Words(&[
        "created", "starting", "running", "stopping", "stopped", "failed",
    ]),
    ..Flag::value(
        "state",
        None,
        "STATE",
        "List the runs in this state: created, starting, running, stopping, stopped or failed.",
    )
};

// stop

pub(crate) static TIME: Flag = Flag::value(
    "time",
    None,
    "SECONDS",
    "Kill the workload if it has not ended after this many seconds; the default is 10.",
);

// destroy

pub(crate) static DESTROY_FORCE: Flag =
    Flag::switch("force", Some('f'), "Stop the run first if it is active.");

// check

pub(crate) static CHECK_RUNTIME: Flag = Flag {
    complete: Complete::Words(crate::runtime::WORDS),
    ..Flag::value(
        "runtime",
        None,
        "apple|docker|podman|bwrap",
        "Check for this runtime, whatever moat.yaml says.",
    )
};

pub(crate) static CHECK_PORTS: Flag = Flag::switch(
    "ports",
    None,
    "Also print the ports that each slot of a session has.",
);

// up, down, wt

pub(crate) static PORT: Flag = Flag {
    repeat: true,
    ..Flag::value(
        "port",
        Some('p'),
        "NAME=PORT",
        "Give the process or service NAME this port, instead of that of the slot (repeatable).",
    )
};

pub(crate) static UP_SERVICES: Flag = Flag {
    repeat: true,
    ..Flag::value(
        "services",
        None,
        "NAME,...",
        "Start these processes and services alone (repeatable).",
    )
};

pub(crate) static UP_SKIP: Flag = Flag {
    repeat: true,
    ..Flag::value(
        "skip",
        None,
        "NAME,...",
        "Do not start these processes and services (repeatable).",
    )
};

pub(crate) static UP_FORCE: Flag = Flag::switch(
    "force",
    None,
    "Start again what runs; a service whose settings have changed is made anew, without its data.",
);

pub(crate) static DOWN_KEEP: Flag = Flag::switch(
    "keep",
    None,
    "Keep the slot, the ports, the worktree and the data of services for the next 'up'.",
);

pub(crate) static DELETE_WORKTREE: Flag = Flag::switch(
    "delete-worktree",
    None,
    "Remove the worktree, or refuse at once if there is work in it that is not committed.",
);

pub(crate) static DOWN_FORCE: Flag = Flag::switch(
    "force",
    None,
    "Remove the worktree even with work in it that is not committed, and give up what an engine has that does not answer.",
);

pub(crate) static DOWN_ALL: Flag =
    Flag::switch("all", None, "Take down all sessions of this repository.");

pub(crate) static WT_FORCE: Flag = Flag::switch(
    "force",
    None,
    "With 'clean': do not ask, and remove worktrees with work that is not committed, too.",
);

// volumes

pub(crate) static VOLUMES_FORCE: Flag = Flag::switch("force", Some('f'), "Remove without asking.");

// clean

pub(crate) static CLEAN_DRY_RUN: Flag = Flag::switch(
    "dry-run",
    None,
    "Show what would be removed and remove nothing.",
);

pub(crate) static CLEAN_FORCE: Flag = Flag::switch("force", None, "Remove without asking.");

pub(crate) static OLDER_THAN: Flag = Flag::value(
    "older-than",
    None,
    "DURATION",
    "Also remove runs that finished longer ago than this, such as 12h or 7d.",
);
