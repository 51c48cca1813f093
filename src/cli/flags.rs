//! The table of all flags. The parser knows no other flag.

use super::command_table::{Complete, Flag};

// Global flags, which are accepted before and after the command.

/// The flags of every command, in the order of the help text.
pub(crate) static GLOBALS: &[&Flag] = &[&VERBOSE, &QUIET, &JSON, &HELP];

pub(crate) static VERBOSE: Flag =
    Flag::switch("verbose", Some('v'), "Print the actions of moat on stderr.");

pub(crate) static QUIET: Flag = Flag::switch(
    "quiet",
    Some('q'),
    "Print no notices, and only the ids in a list.",
);

pub(crate) static JSON: Flag = Flag::switch("json", None, "Print the result or the error as JSON.");

pub(crate) static HELP: Flag =
    Flag::switch("help", Some('h'), "Print help; -h prints the short form.");

/// The version flag, which is accepted only in the place of a command.
pub(crate) static VERSION: Flag = Flag::switch("version", Some('V'), "Print the version of moat.");

// run

pub(crate) static BACKGROUND: Flag = Flag::switch(
    "background",
    Some('b'),
    "Return when the workload has started, and print the id of the run.",
);

pub(crate) static FOLLOW: Flag = Flag::switch(
    "follow",
    Some('f'),
    "Stream the output and wait, even if run.background is true in config.yaml.",
);

pub(crate) static INTERACTIVE: Flag = Flag::switch(
    "interactive",
    Some('i'),
    "Connect the stdin of moat to the workload: a terminal, a pipe or a file.",
);

pub(crate) static NAME: Flag = Flag::value(
    "name",
    Some('n'),
    "NAME",
    "Name the run; the name must be unique among the active runs.",
);

pub(crate) static ENV: Flag = Flag {
    repeat: true,
    ..Flag::value(
        "env",
        Some('e'),
        "K=V|K",
        "Set a variable; K alone takes its value from the environment, which suits secrets \
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
        "Mount the file or directory SRC of the host at DST, writable without ':ro' (repeatable).",
    )
};

pub(crate) static ENV_FILE: Flag = Flag {
    repeat: true,
    complete: Complete::File,
    ..Flag::value(
        "env-file",
        None,
        "FILE",
        "Set the variables of FILE, in the form of env_file in moat.yaml (repeatable).",
    )
};

pub(crate) static PUBLISH: Flag = Flag {
    repeat: true,
    ..Flag::value(
        "publish",
        Some('p'),
        "[HOST:]PORT",
        "Publish PORT of the workload on 127.0.0.1, on the port HOST or any free one (repeatable).",
    )
};

pub(crate) static RUN_WORKDIR: Flag = Flag::value(
    "workdir",
    Some('w'),
    "DIR",
    "Run the command in this directory of the container (default: /workspace).",
);

pub(crate) static USER: Flag = Flag::value(
    "user",
    Some('u'),
    "UID[:GID]",
    "Run the command as this user instead of the owner of the workspace.",
);

pub(crate) static SHM_SIZE: Flag = Flag::value(
    "shm-size",
    None,
    "SIZE",
    "Make /dev/shm this large, such as 1g.",
);

pub(crate) static IMAGE: Flag = Flag::value(
    "image",
    None,
    "IMAGE",
    "Run in this image, unchanged, instead of the image of moat.yaml (default: debian:bookworm-slim).",
);

pub(crate) static RUNTIME: Flag = Flag {
    complete: Complete::Words(crate::runtime::RUNTIME_NAMES),
    ..Flag::value(
        "runtime",
        None,
        "apple|docker|podman|bwrap",
        "Use this runtime instead of the first runtime that answers.",
    )
};

pub(crate) static CONTEXT: Flag = Flag::value(
    "context",
    None,
    "NAME",
    "Use the engine of this docker context, which can be on another machine (see docker context ls).",
);

pub(crate) static REBUILD: Flag = Flag::switch(
    "rebuild",
    None,
    "Build or pull the image again, even if it exists, and download all that its build downloads.",
);

pub(crate) static EXPORT: Flag = Flag {
    complete: Complete::Directory,
    ..Flag::value(
        "export",
        None,
        "DIR",
        "When the run has ended, export its copied workspace to this directory, which must be \
         empty or not exist.",
    )
};

pub(crate) static SESSION: Flag = Flag {
    complete: Complete::Branch,
    ..Flag::value(
        "session",
        None,
        "BRANCH",
        "Run in the worktree of this session, which must be up, and use its services.",
    )
};

pub(crate) static KEEP: Flag = Flag::switch("keep", None, "Keep the container after the run.");

pub(crate) static TIMEOUT: Flag = Flag::value(
    "timeout",
    None,
    "DURATION",
    "Stop the run when its command has run for DURATION, such as 90s, 10m or 1h30m, and exit with 124.",
);

pub(crate) static START_TIMEOUT: Flag = Flag::value(
    "start-timeout",
    None,
    "DURATION",
    "Give the run up if its command has not started after DURATION, which includes builds, pulls and services, and exit with 124.",
);

pub(crate) static MEMORY: Flag = Flag::value(
    "memory",
    None,
    "SIZE",
    "Limit the memory of the container to SIZE, such as 512m or 2g; a plain number is in megabytes.",
);

pub(crate) static CPUS: Flag = Flag::value(
    "cpus",
    None,
    "N",
    "Limit the container to N processors; 0.5 is half a processor.",
);

pub(crate) static DRY_RUN: Flag = Flag::switch(
    "dry-run",
    None,
    "Print the plan of the run and create nothing.",
);

// logs

pub(crate) static LOGS_FOLLOW: Flag = Flag::switch(
    "follow",
    Some('f'),
    "Print new output as it arrives, until the run has finished.",
);

pub(crate) static LOGS_SERVICE: Flag = Flag::value(
    "service",
    None,
    "NAME",
    "Print the output of this service of the run.",
);

pub(crate) static LINES: Flag =
    Flag::value("lines", Some('n'), "N", "Start with the last N lines.");

pub(crate) static SINCE: Flag = Flag::value(
    "since",
    None,
    "TIME",
    "Start at TIME, in RFC 3339 form, as a local time or date, as Unix seconds, or as an age such as 10m.",
);

pub(crate) static STDOUT: Flag = Flag::switch("stdout", None, "Print the stdout of the workload.");

pub(crate) static STDERR: Flag = Flag::switch("stderr", None, "Print the stderr of the workload.");

pub(crate) static TIMESTAMPS: Flag = Flag::switch(
    "timestamps",
    Some('t'),
    "Print before each line the time at which moat read it.",
);

pub(crate) static RAW: Flag =
    Flag::switch("raw", None, "Print the bytes of the workload unchanged.");

pub(crate) static LOGS_EXEC: Flag = Flag::value(
    "exec",
    None,
    "NUMBER",
    "Print the output of the command with this number, which 'moat exec' ran.",
);

pub(crate) static REPLAY: Flag = Flag::switch(
    "replay",
    None,
    "Play the output of the workload with its original timing.",
);

pub(crate) static SPEED: Flag = Flag::value(
    "speed",
    None,
    "FACTOR",
    "Playback speed for --replay; 2 plays twice as fast.",
);

pub(crate) static IDLE_LIMIT: Flag = Flag::value(
    "idle-limit",
    None,
    "DURATION",
    "Shorten pauses of --replay without output to DURATION.",
);

// exec

pub(crate) static EXEC_INTERACTIVE: Flag = Flag::switch(
    "interactive",
    Some('i'),
    "Connect the stdin of moat to the command: a terminal, a pipe or a file.",
);

pub(crate) static EXEC_TTY: Flag = Flag::switch(
    "tty",
    Some('t'),
    "Do the same as -i, but fail if stdin is not a terminal.",
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

pub(crate) static ALL: Flag = Flag::switch("all", Some('a'), "Also list finished runs.");

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
    Some('t'),
    "SECONDS",
    "Kill the workload after a grace period of SECONDS; the default is 10.",
);

// destroy

pub(crate) static DESTROY_FORCE: Flag = Flag::switch(
    "force",
    Some('f'),
    "Stop an active run first, and do not ask.",
);

// check

pub(crate) static CHECK_RUNTIME: Flag = Flag {
    complete: Complete::Words(crate::runtime::RUNTIME_NAMES),
    ..Flag::value(
        "runtime",
        None,
        "apple|docker|podman|bwrap",
        "Check for this runtime instead of the runtime of moat.yaml.",
    )
};

pub(crate) static CHECK_PORTS: Flag =
    Flag::switch("ports", None, "Also print the ports of each slot.");

// up, down, wt

pub(crate) static PORT: Flag = Flag {
    repeat: true,
    ..Flag::value(
        "port",
        Some('p'),
        "NAME=PORT",
        "Give the process or service NAME this port instead of the port of the slot (repeatable).",
    )
};

pub(crate) static UP_SERVICES: Flag = Flag {
    repeat: true,
    ..Flag::value(
        "services",
        None,
        "NAME,...",
        "Start only these processes and services (repeatable).",
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
    "Restart what runs; a service whose settings have changed is recreated and loses its data.",
);

pub(crate) static DOWN_KEEP: Flag = Flag::switch(
    "keep",
    None,
    "Keep the slot, the ports, the worktree and the services' data for the next 'up'.",
);

pub(crate) static DELETE_WORKTREE: Flag = Flag::switch(
    "delete-worktree",
    None,
    "Remove the worktree, or fail before anything is removed if it has uncommitted work.",
);

pub(crate) static DOWN_FORCE: Flag = Flag::switch(
    "force",
    None,
    "Remove the worktree even if it has uncommitted work, and abandon resources on an engine that does not respond.",
);

pub(crate) static DOWN_ALL: Flag = Flag::switch(
    "all",
    None,
    "Stop and remove all sessions of this repository.",
);

pub(crate) static WT_FORCE: Flag = Flag::switch(
    "force",
    None,
    "Do not ask, and also remove worktrees with uncommitted work.",
);

// volumes

pub(crate) static VOLUMES_FORCE: Flag = Flag::switch("force", Some('f'), "Remove without asking.");

// clean

pub(crate) static CLEAN_DRY_RUN: Flag = Flag::switch(
    "dry-run",
    None,
    "List everything that would be removed, and remove nothing.",
);

pub(crate) static CLEAN_FORCE: Flag = Flag::switch("force", None, "Remove without asking.");

pub(crate) static OLDER_THAN: Flag = Flag::value(
    "older-than",
    None,
    "DURATION",
    "Also remove runs that finished longer than DURATION ago, such as 12h or 7d.",
);
