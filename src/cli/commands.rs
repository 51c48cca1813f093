//! The table of all commands, in the order of the help text. The parser knows no other command.

use crate::error::Result;

use super::args::Args;
use super::command_table::{Command, Complete, Positional, Rest};
use super::flags;

/// All commands; commands for daily use come first.
pub(crate) static COMMANDS: &[Command] = &[
    RUN,
    CHECK,
    LOGS,
    LIST,
    WAIT,
    STOP,
    KILL,
    EXEC,
    INSPECT,
    SERVICES,
    EXPORT,
    DESTROY,
    CLEAN,
    VOLUMES,
    UP,
    DOWN,
    WT,
    SHELL,
    WHOSE,
    DEPS,
    STATUS,
    DOCTOR,
    HELP,
    COMPLETIONS,
    MAN,
    VERSION,
];

/// Returns all commands, each before its actions.
pub(crate) fn all() -> impl Iterator<Item = &'static Command> {
    let with_actions = |command: &'static Command| std::iter::once(command).chain(command.actions);
    COMMANDS.iter().flat_map(with_actions)
}

const RUN: Command = Command {
    name: "run",
    aliases: &[],
    usage: "[PATH] [-- CMD...]",
    summary: "Run a command in an isolated container",
    about: "\
Runs CMD in a new container. Its workspace is the directory PATH, by default the current directory. moat passes \
everything after '--' to the workload unchanged.\n\
moat streams the output to stdout and stderr, keeps it in a log, and exits with the exit code of the workload. \
The first Ctrl-C stops the run gracefully, the second kills it. If the terminal goes away, the run continues: \
'moat logs' shows its output and 'moat wait' its exit code.\n\
With -b, moat returns when the workload has started, and prints only the id of the run on stdout. Set \
run.background to true in config.yaml to make this the default; -f then streams the output and waits.\n\
Without -i, the stdin of the workload is empty and moat does not read its own stdin. With -i, the workload gets \
the bytes of the pipe or file on stdin, then end of file. If stdin is a terminal, the workload has the terminal \
until it ends. The escape key is Ctrl-/: followed by k it stops the run, by K it kills the run, by ? it prints \
these keys. Ctrl-/ twice sends Ctrl-/ to the workload; before any other key, both keys are sent. If the terminal \
goes away, moat stops the run.\n\
Without CMD, moat runs the command of moat.yaml or, with --image or base_image, the command of that image.\n\
With --session, the run belongs to a session ('moat help up'): its workspace is the worktree, it uses the services \
of the session instead of its own, it has the session's variables, and 'moat down' stops it.\n\
Pass a secret as '-e NAME': moat takes its value from the environment, and the value appears on no command line \
and in no record.",
    examples: &[
        ("moat run -- npm test", "Run the tests of this directory."),
        (
            "moat run ~/src/app -n tests -- make check",
            "Run in another directory and name the run.",
        ),
        (
            "moat run -b --timeout 2h -- ./train.sh",
            "Start the run, print its id and return.",
        ),
        (
            "moat run -e API_TOKEN -e CI=1 -m ../data:/data:ro -- ./report.sh",
            "Pass a secret, set a variable and mount data read-only.",
        ),
        (
            "tar c . | moat run -i -- tar t",
            "Send data to the workload through a pipe.",
        ),
        ("moat run -i -- bash", "Work in a shell in the container."),
    ],
    flags: &[
        &flags::BACKGROUND,
        &flags::FOLLOW,
        &flags::INTERACTIVE,
        &flags::NAME,
        &flags::SESSION,
        &flags::ENV,
        &flags::ENV_FILE,
        &flags::MOUNT,
        &flags::PUBLISH,
        &flags::RUN_WORKDIR,
        &flags::USER,
        &flags::IMAGE,
        &flags::RUNTIME,
        &flags::CONTEXT,
        &flags::REBUILD,
        &flags::EXPORT,
        &flags::KEEP,
        &flags::TIMEOUT,
        &flags::START_TIMEOUT,
        &flags::MEMORY,
        &flags::CPUS,
        &flags::SHM_SIZE,
        &flags::DRY_RUN,
    ],
    positional: optional("PATH", Complete::Directory),
    rest: Rest::AfterSeparator,
    actions: &[],
    run: super::run::run,
};

const CHECK: Command = Command {
    name: "check",
    aliases: &[],
    usage: "[PATH]",
    summary: "Check moat.yaml without running anything",
    about: "\
Reads moat.yaml (or agent.yaml) in the directory PATH, together with config.yaml and the registry. Without PATH, it \
reads the file in the current directory or, if there is none, in the main checkout of the repository, as 'moat up' \
does. Prints every problem in these files with its line and column, and asks no runtime. The exit code is 0 if \
there is no problem, and 1 if there is one.",
    examples: &[
        ("moat check", "Check the project in this directory."),
        ("moat check --json", "Print the problems for a script."),
        ("moat check --ports", "Also print the ports of each slot."),
    ],
    flags: &[&flags::CHECK_RUNTIME, &flags::CHECK_PORTS],
    positional: optional("PATH", Complete::Directory),
    rest: Rest::None,
    actions: &[],
    run: super::check::run,
};

const EXEC: Command = Command {
    name: "exec",
    aliases: &[],
    usage: "RUN CMD...",
    summary: "Run another command in the container of an active run",
    about: "\
Runs CMD in the container of RUN or of one of its services, with the user and environment of the run. moat streams \
the output to stdout and stderr and keeps it for 'moat logs RUN --exec NUMBER'; -v prints the number. moat exits \
with the exit code of the command. CMD begins after RUN, or after '--' if flags follow RUN.\n\
Without -i, the stdin of the command is empty. With -i, if stdin is a terminal, the command gets the terminal, with \
the same escape key as 'moat run -i': Ctrl-/ k ends the command. Otherwise the command gets the bytes of the pipe \
or file on stdin, then end of file. If the command has no terminal, the first Ctrl-C ends it with all processes \
that it started, and the second kills them. The run continues.",
    examples: &[
        (
            "moat exec -it tests bash",
            "Open a shell in the run 'tests'.",
        ),
        (
            "moat exec tests ps aux",
            "List the processes of the run 'tests'.",
        ),
        (
            "moat exec tests --service postgres -- psql -U postgres -l",
            "List the databases of the run.",
        ),
        (
            "cat dump.sql | moat exec tests -i --service postgres -- psql -U postgres",
            "Load a dump through a pipe.",
        ),
    ],
    flags: &[
        &flags::EXEC_INTERACTIVE,
        &flags::EXEC_TTY,
        &flags::EXEC_ENV,
        &flags::EXEC_SERVICE,
        &flags::WORKDIR,
    ],
    positional: Positional {
        name: "RUN",
        min: 1,
        max: 1,
        complete: Complete::Run,
    },
    rest: Rest::AfterPositional,
    actions: &[],
    run: super::exec::run,
};

const SERVICES: Command = Command {
    name: "services",
    aliases: &[],
    usage: "[RUN]",
    summary: "Show the services of a run",
    about: "\
Prints the services of RUN, by default of the newest run: their state, the address at which the workload reaches \
them, the time since they became ready, and the number of restarts. 'moat logs RUN --service NAME' prints the \
output of a service.",
    examples: &[
        ("moat services", "Show the services of the newest run."),
        (
            "moat services tests --json",
            "Print the services of a run for a script.",
        ),
    ],
    flags: &[],
    positional: optional("RUN", Complete::Run),
    rest: Rest::None,
    actions: &[],
    run: super::services::run,
};

const EXPORT: Command = Command {
    name: "export",
    aliases: &[],
    usage: "RUN DIR",
    summary: "Export a run's copied workspace to a directory",
    about: "\
With workspace.mode set to volume in moat.yaml, the workload works on a copy of the workspace, which moat keeps \
after the run. This command writes that copy to the directory DIR, which must be empty or not exist. File owners \
and modes are preserved.",
    examples: &[(
        "moat export tests ../result",
        "Export the workspace of a run to a new directory.",
    )],
    flags: &[],
    positional: Positional {
        name: "RUN DIR",
        min: 2,
        max: 2,
        complete: Complete::Run,
    },
    rest: Rest::None,
    actions: &[],
    run: super::export::run,
};

const VOLUMES: Command = Command {
    name: "volumes",
    aliases: &[],
    usage: "",
    summary: "List or remove the volumes of projects",
    about: "\
A volume is declared in moat.yaml, belongs to a project, and outlives the runs of the project. This command lists \
the volumes of projects as PROJECT/NAME, and the volumes of compose files of sessions by their names in the engine.",
    examples: &[("moat volumes", "List the volumes.")],
    flags: &[],
    positional: NONE,
    rest: Rest::None,
    actions: &[VOLUMES_RM],
    run: super::volumes::list,
};

const VOLUMES_RM: Command = Command {
    name: "volumes rm",
    aliases: &[],
    usage: "VOLUME...",
    summary: "Remove volumes and their data",
    about: "Removes each VOLUME, which 'moat volumes' lists as PROJECT/NAME, and all data in it.",
    examples: &[(
        "moat volumes rm -f shop/cache",
        "Remove a volume without asking.",
    )],
    flags: &[&flags::VOLUMES_FORCE],
    positional: Positional {
        name: "VOLUME",
        min: 1,
        max: usize::MAX,
        complete: Complete::Nothing,
    },
    rest: Rest::None,
    actions: &[],
    run: super::volumes::remove,
};

const UP: Command = Command {
    name: "up",
    aliases: &[],
    usage: "[BRANCH]",
    summary: "Give a branch its own worktree, ports and services",
    about: "\
Brings up the session of BRANCH, by default of the branch that is checked out here. A session has a worktree, a \
slot with its ports, the services among the dependencies, and the processes and services under 'session' in the \
moat.yaml of the main checkout. If BRANCH is already checked out, moat uses that worktree. Otherwise moat creates a \
worktree, from the local branch, from the branch of a remote, or from a new branch.\n\
'up' can be repeated: it keeps whatever runs and starts the rest. If a step fails, or on Ctrl-C, everything created \
so far is rolled back.",
    examples: &[
        ("moat up feat-a", "Bring up a branch."),
        (
            "moat up --json",
            "Bring up the branch that is checked out here, for a script.",
        ),
        ("moat up feat-a --port web=4001", "Choose a port."),
        (
            "moat up feat-a --services web --force",
            "Restart one process or service.",
        ),
    ],
    flags: &[
        &flags::PORT,
        &flags::UP_SERVICES,
        &flags::UP_SKIP,
        &flags::UP_FORCE,
    ],
    positional: optional("BRANCH", Complete::Branch),
    rest: Rest::None,
    actions: &[],
    run: super::up::run,
};

const DOWN: Command = Command {
    name: "down",
    aliases: &[],
    usage: "[BRANCH]",
    summary: "Stop and remove a session",
    about: "\
Ends the processes of the session of BRANCH, by default of the branch that is checked out here. Then it removes the \
services of the session and their data, frees its slot and ports, and removes the worktree if moat created it. moat \
keeps a worktree with uncommitted work, and always keeps the branch. If an 'up' of the session is under way, moat \
cancels it first.",
    examples: &[
        ("moat down feat-a", "Stop and remove a session."),
        (
            "moat down feat-a --keep",
            "Stop a session, but keep its slot, ports, worktree and data.",
        ),
        (
            "moat down --all",
            "Stop and remove all sessions of this repository.",
        ),
    ],
    flags: &[
        &flags::DOWN_KEEP,
        &flags::DELETE_WORKTREE,
        &flags::DOWN_FORCE,
        &flags::DOWN_ALL,
    ],
    positional: optional("BRANCH", Complete::Branch),
    rest: Rest::None,
    actions: &[],
    run: super::down::run,
};

const WT: Command = Command {
    name: "wt",
    aliases: &[],
    usage: "BRANCH [-- CMD...]",
    summary: "Run a command in a session, or inspect sessions",
    about: "\
'moat wt BRANCH -- CMD' brings up the session of BRANCH and runs CMD in an isolated container whose workspace is \
the worktree, as 'moat run --session BRANCH' does.\n\
A branch that has the name of an action needs '--' after it.",
    examples: &[(
        "moat wt feat-a -- npm test",
        "Run the tests of a branch in its worktree.",
    )],
    flags: &[&flags::BACKGROUND, &flags::INTERACTIVE, &flags::NAME],
    positional: Positional {
        name: "BRANCH",
        min: 1,
        max: 1,
        complete: Complete::Branch,
    },
    rest: Rest::AfterSeparator,
    actions: &[
        WT_LIST, WT_STATUS, WT_ENV, WT_LOGS, WT_SYNC, WT_RECOVER, WT_CLEAN,
    ],
    run: super::wt::run,
};

const WT_LIST: Command = Command {
    name: "wt list",
    aliases: &[],
    usage: "",
    summary: "List all sessions",
    about: "Prints all sessions of all repositories.",
    examples: &[("moat wt list", "List all sessions.")],
    flags: &[],
    positional: NONE,
    rest: Rest::None,
    actions: &[],
    run: super::wt::list,
};

const WT_STATUS: Command = Command {
    name: "wt status",
    aliases: &[],
    usage: "[BRANCH]",
    summary: "Show the state of a session",
    about: "Prints the state of the session of BRANCH, by default of the branch that is checked out here. The exit code is 1 if the session is not healthy.",
    examples: &[(
        "moat wt status feat-a --json",
        "Print the state of a session for a script.",
    )],
    flags: &[],
    positional: optional("BRANCH", Complete::Branch),
    rest: Rest::None,
    actions: &[],
    run: super::wt::status,
};

const WT_ENV: Command = Command {
    name: "wt env",
    aliases: &[],
    usage: "[BRANCH]",
    summary: "Print the variables of a session",
    about: "Prints the variables of the session of BRANCH, by default of the branch that is checked out here.",
    examples: &[("moat wt env feat-a", "Print the variables of a session.")],
    flags: &[],
    positional: optional("BRANCH", Complete::Branch),
    rest: Rest::None,
    actions: &[],
    run: super::wt::env,
};

const WT_LOGS: Command = Command {
    name: "wt logs",
    aliases: &[],
    usage: "[BRANCH] NAME",
    summary: "Print the output of a process or service of a session",
    about: "Prints the output of the process or service NAME of the session of BRANCH, by default of the branch that is checked out here.",
    examples: &[("moat wt logs feat-a web", "Print the output of a process.")],
    flags: &[],
    positional: Positional {
        name: "[BRANCH] NAME",
        min: 1,
        max: 2,
        complete: Complete::Branch,
    },
    rest: Rest::None,
    actions: &[],
    run: super::wt::logs,
};

const WT_SYNC: Command = Command {
    name: "wt sync",
    aliases: &[],
    usage: "[BRANCH]",
    summary: "Adopt processes that you started yourself",
    about: "Adopts the processes that run in the worktree of the session and listen on one of its ports.",
    examples: &[("moat wt sync feat-a", "Adopt the processes in a worktree.")],
    flags: &[],
    positional: optional("BRANCH", Complete::Branch),
    rest: Rest::None,
    actions: &[],
    run: super::wt::sync,
};

const WT_RECOVER: Command = Command {
    name: "wt recover",
    aliases: &[],
    usage: "[BRANCH]",
    summary: "Repair a session after an operation was killed",
    about: "Rolls back or completes an operation that was killed, by default in all sessions.",
    examples: &[("moat wt recover", "Repair all sessions.")],
    flags: &[],
    positional: optional("BRANCH", Complete::Branch),
    rest: Rest::None,
    actions: &[],
    run: super::wt::recover,
};

const WT_CLEAN: Command = Command {
    name: "wt clean",
    aliases: &[],
    usage: "",
    summary: "Remove worktrees that belong to no session",
    about: "Removes the worktrees of this repository that moat created and that belong to no session. moat keeps a worktree with uncommitted work.",
    examples: &[("moat wt clean", "Remove the unused worktrees.")],
    flags: &[&flags::WT_FORCE],
    positional: NONE,
    rest: Rest::None,
    actions: &[],
    run: super::wt::clean,
};

const SHELL: Command = Command {
    name: "shell",
    aliases: &[],
    usage: "[BRANCH]",
    summary: "Open a shell in the worktree of a session",
    about: "\
Starts the shell that the variable SHELL names, on the host and not in a container. The shell runs in the worktree \
of the session of BRANCH, by default of the branch that is checked out here, and has the variables of the session. \
If the session has tmux windows (session.tmux) and stdout is a terminal, moat attaches to tmux instead.",
    examples: &[("moat shell feat-a", "Work in the worktree of a branch.")],
    flags: &[],
    positional: optional("BRANCH", Complete::Branch),
    rest: Rest::None,
    actions: &[],
    run: super::shell::run,
};

const WHOSE: Command = Command {
    name: "whose",
    aliases: &[],
    usage: "PID|PORT|CONTAINER",
    summary: "Show which run or session owns a process, port or container",
    about: "\
Prints the run, or the session with the name of its process or service, that owns a process, a port or a container. \
Use this command before you end a process. The exit code is 0 if moat owns it, 1 if not, and 2 if the owner is \
unknown.\n\
A number means the process with that pid or, if there is no such process, a port; write :PORT for a port.",
    examples: &[
        ("moat whose 4711", "Show the owner of a process."),
        (
            "moat whose :4101 --json",
            "Print the owner of a port for a script.",
        ),
    ],
    flags: &[],
    positional: Positional {
        name: "PID|PORT|CONTAINER",
        min: 1,
        max: 1,
        complete: Complete::Nothing,
    },
    rest: Rest::None,
    actions: &[],
    run: super::whose::run,
};

const DEPS: Command = Command {
    name: "deps",
    aliases: &[],
    usage: "ACTION",
    summary: "Show the dependencies that a project can have",
    about: "\
Shows the names that 'dependencies' in moat.yaml accepts. Put your own entries into the files \
$MOAT_HOME/registry.d/*.yaml. Write a package without an entry as npm:NAME, pip:NAME, uv:NAME, cargo:NAME or \
go:PATH.",
    examples: &[
        ("moat deps list", "List all dependencies."),
        ("moat deps info node", "Show the versions of a dependency."),
        (
            "moat deps search lint --json",
            "Search the dependencies, for a script.",
        ),
    ],
    flags: &[],
    positional: Positional {
        name: "ACTION",
        min: 1,
        max: 1,
        complete: Complete::Nothing,
    },
    rest: Rest::None,
    actions: &[DEPS_LIST, DEPS_INFO, DEPS_SEARCH],
    run: handled_by_parser,
};

const DEPS_LIST: Command = Command {
    name: "deps list",
    aliases: &[],
    usage: "",
    summary: "List all dependencies",
    about: "Prints the names that 'dependencies' in moat.yaml accepts.",
    examples: &[("moat deps list", "List all dependencies.")],
    flags: &[],
    positional: NONE,
    rest: Rest::None,
    actions: &[],
    run: super::deps::list,
};

const DEPS_INFO: Command = Command {
    name: "deps info",
    aliases: &[],
    usage: "NAME...",
    summary: "Show the entries of dependencies",
    about: "Prints the whole entry of each NAME.",
    examples: &[("moat deps info node", "Show the versions of a dependency.")],
    flags: &[],
    positional: Positional {
        name: "NAME",
        min: 1,
        max: usize::MAX,
        complete: Complete::Nothing,
    },
    rest: Rest::None,
    actions: &[],
    run: super::deps::info,
};

const DEPS_SEARCH: Command = Command {
    name: "deps search",
    aliases: &[],
    usage: "WORD",
    summary: "Search the dependencies",
    about: "Prints the names that contain WORD themselves or in their description.",
    examples: &[(
        "moat deps search lint --json",
        "Search the dependencies, for a script.",
    )],
    flags: &[],
    positional: Positional {
        name: "WORD",
        min: 1,
        max: 1,
        complete: Complete::Nothing,
    },
    rest: Rest::None,
    actions: &[],
    run: super::deps::search,
};

const LOGS: Command = Command {
    name: "logs",
    aliases: &[],
    usage: "[RUN]",
    summary: "Print the output of a run",
    about: "\
Prints the output of RUN so far, by default of the newest run. The workload's stdout goes to stdout, and its stderr \
to stderr.\n\
--stdout and --stderr each select one of the two. --raw --stdout reproduces the stdout of the workload byte for \
byte. With --json, moat prints one document per line.",
    examples: &[
        ("moat logs", "Print the output of the newest run."),
        (
            "moat logs -f -n 20 tests",
            "Follow a run, starting with its last 20 lines.",
        ),
        (
            "moat logs --stderr -t --since 10m tests",
            "Print the stderr of the last ten minutes, with times.",
        ),
        (
            "moat logs --raw --stdout build > app.tar",
            "Save the stdout of a run byte for byte.",
        ),
    ],
    flags: &[
        &flags::LOGS_SERVICE,
        &flags::LOGS_EXEC,
        &flags::REPLAY,
        &flags::SPEED,
        &flags::IDLE_LIMIT,
        &flags::LOGS_FOLLOW,
        &flags::LINES,
        &flags::SINCE,
        &flags::STDOUT,
        &flags::STDERR,
        &flags::TIMESTAMPS,
        &flags::RAW,
    ],
    positional: optional("RUN", Complete::Run),
    rest: Rest::None,
    actions: &[],
    run: super::logs::run,
};

const LIST: Command = Command {
    name: "list",
    aliases: &["ls", "ps"],
    usage: "",
    summary: "List runs, newest first",
    about: "\
Lists the active runs; with -a, also the finished runs.\n\
With -q, moat prints only the ids, one per line. With --json, moat prints one array, which is [] if there is no run.",
    examples: &[
        ("moat list", "List the active runs."),
        ("moat list --state failed", "List the runs that failed."),
        ("moat list -a -q", "Print the ids of all runs."),
    ],
    flags: &[&flags::ALL, &flags::STATE],
    positional: NONE,
    rest: Rest::None,
    actions: &[],
    run: super::list::run,
};

const WAIT: Command = Command {
    name: "wait",
    aliases: &[],
    usage: "RUN...",
    summary: "Wait until runs finish, and exit with their exit code",
    about: "\
Waits until every RUN has finished, and exits with the exit code of the run. Of several runs, moat takes the first \
exit code that is not 0, in the order of the arguments.",
    examples: &[
        (
            "moat wait tests",
            "Wait for a run and exit with its exit code.",
        ),
        ("moat wait lint tests", "Wait for two runs."),
    ],
    flags: &[],
    positional: RUNS,
    rest: Rest::None,
    actions: &[],
    run: super::wait::run,
};

const STOP: Command = Command {
    name: "stop",
    aliases: &[],
    usage: "RUN...",
    summary: "Stop runs gracefully",
    about: "\
Asks the workload of every RUN to end, and kills it after the grace period. The signal is SIGTERM, or the STOPSIGNAL of \
the image; a workload with a terminal gets SIGHUP. moat keeps the record and the output.",
    examples: &[
        ("moat stop tests", "Stop a run."),
        (
            "moat stop --time 60 train",
            "Stop a run, with a grace period of one minute.",
        ),
    ],
    flags: &[&flags::TIME],
    positional: RUNS,
    rest: Rest::None,
    actions: &[],
    run: super::stop::run,
};

const KILL: Command = Command {
    name: "kill",
    aliases: &[],
    usage: "RUN...",
    summary: "Kill runs immediately",
    about: "\
Kills the workload of every RUN (SIGKILL), without a grace period. moat keeps the record and the output.",
    examples: &[("moat kill tests", "Kill a run.")],
    flags: &[],
    positional: RUNS,
    rest: Rest::None,
    actions: &[],
    run: super::kill::run,
};

const INSPECT: Command = Command {
    name: "inspect",
    aliases: &[],
    usage: "RUN",
    summary: "Print the record of a run",
    about: "\
Prints the record of a run: its plan, state, exit code, times and resources. The record contains no values of \
secrets.",
    examples: &[
        ("moat inspect tests", "Print the record of a run."),
        (
            "moat inspect --json tests",
            "Print the record of a run for a script.",
        ),
    ],
    flags: &[],
    positional: Positional {
        name: "RUN",
        min: 1,
        max: 1,
        complete: Complete::Run,
    },
    rest: Rest::None,
    actions: &[],
    run: super::inspect::run,
};

const DESTROY: Command = Command {
    name: "destroy",
    aliases: &["rm"],
    usage: "RUN...",
    summary: "Remove finished runs and their output",
    about: "\
Removes the record and the output of every RUN, and its container if that was kept. moat refuses to remove an active \
run; -f stops it first.",
    examples: &[
        ("moat destroy tests", "Remove a finished run."),
        ("moat destroy -f train", "Stop a run and remove it."),
    ],
    flags: &[&flags::DESTROY_FORCE],
    positional: RUNS,
    rest: Rest::None,
    actions: &[],
    run: super::destroy::run,
};

const CLEAN: Command = Command {
    name: "clean",
    aliases: &[],
    usage: "",
    summary: "Remove resources that no run or session owns",
    about: "\
Finds containers, networks, images and files that moat created and that no run or session owns. Shows them, asks, \
and removes them. moat keeps finished runs unless --older-than is given.\n\
Without a terminal, or with --json, moat cannot ask and removes nothing unless --force is given.",
    examples: &[
        (
            "moat clean --dry-run",
            "List everything that would be removed.",
        ),
        (
            "moat clean --force --older-than 7d",
            "Also remove runs that finished over a week ago, without asking.",
        ),
    ],
    flags: &[
        &flags::CLEAN_DRY_RUN,
        &flags::CLEAN_FORCE,
        &flags::OLDER_THAN,
    ],
    positional: NONE,
    rest: Rest::None,
    actions: &[],
    run: super::clean::run,
};

const STATUS: Command = Command {
    name: "status",
    aliases: &[],
    usage: "",
    summary: "Show active runs and runtimes",
    about: "Shows the active runs, the runtimes of this host and the runtime that a new run would use.",
    examples: &[("moat status", "Show the active runs and the runtimes.")],
    flags: &[],
    positional: NONE,
    rest: Rest::None,
    actions: &[],
    run: super::status::run,
};

const DOCTOR: Command = Command {
    name: "doctor",
    aliases: &[],
    usage: "",
    summary: "Check this host, and show how to fix problems",
    about: "\
Checks the runtimes, the home of moat, the configuration, and the tools that sessions use: git, tmux and a compose \
tool. Prints a hint for each problem. The exit code is 1 if no run can work on this host.",
    examples: &[("moat doctor", "Check this host.")],
    flags: &[],
    positional: NONE,
    rest: Rest::None,
    actions: &[],
    run: super::doctor::run,
};

const HELP: Command = Command {
    name: "help",
    aliases: &[],
    usage: "[COMMAND...]",
    summary: "Print help on moat or on a command",
    about: "Prints the same text as 'moat COMMAND --help'.",
    examples: &[("moat help run", "Print help on 'moat run'.")],
    flags: &[],
    positional: Positional {
        name: "COMMAND",
        min: 0,
        max: 2,
        complete: Complete::Command,
    },
    rest: Rest::None,
    actions: &[],
    run: handled_by_parser,
};

const COMPLETIONS: Command = Command {
    name: "completions",
    aliases: &[],
    usage: "SHELL",
    summary: "Print the completion script of a shell",
    about: "\
Prints a script with which bash, zsh or fish completes commands, flags, runs and branches. Load the script in the \
start-up file of the shell: for bash, eval \"$(moat completions bash)\" in ~/.bashrc; for zsh, eval \"$(moat \
completions zsh)\" in ~/.zshrc, after compinit.",
    examples: &[
        (
            "moat completions bash > ~/.local/share/bash-completion/completions/moat",
            "Install the completions for bash.",
        ),
        (
            "moat completions fish > ~/.config/fish/completions/moat.fish",
            "Install the completions for fish.",
        ),
    ],
    flags: &[],
    positional: Positional {
        name: "SHELL",
        min: 1,
        max: 1,
        complete: Complete::Words(&["bash", "zsh", "fish"]),
    },
    rest: Rest::None,
    actions: &[],
    run: super::completions::run,
};

const MAN: Command = Command {
    name: "man",
    aliases: &[],
    usage: "",
    summary: "Print the manual page",
    about: "Prints the manual page moat(1) in roff, for man(1) or for a file.",
    examples: &[
        ("moat man | man -l -", "Read the manual page."),
        (
            "moat man > ~/.local/share/man/man1/moat.1",
            "Install the manual page.",
        ),
    ],
    flags: &[],
    positional: NONE,
    rest: Rest::None,
    actions: &[],
    run: super::man::run,
};

const VERSION: Command = Command {
    name: "version",
    aliases: &[],
    usage: "",
    summary: "Print the version of moat",
    about: "Prints the same text as 'moat --version'.",
    examples: &[("moat version", "Print the version.")],
    flags: &[],
    positional: NONE,
    rest: Rest::None,
    actions: &[],
    run: super::version::run,
};

const NONE: Positional = Positional {
    name: "",
    min: 0,
    max: 0,
    complete: Complete::Nothing,
};

/// One or more runs.
const RUNS: Positional = Positional {
    name: "RUN",
    min: 1,
    max: usize::MAX,
    complete: Complete::Run,
};

const fn optional(name: &'static str, complete: Complete) -> Positional {
    Positional {
        name,
        min: 0,
        max: 1,
        complete,
    }
}

/// Never runs: the parser turns `moat help` into `Parsed::Help`.
fn handled_by_parser(_: &Args) -> Result<u8> {
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::ffi::OsString;

    use super::*;
    use crate::cli::command_table::Flag;
    use crate::cli::parse::{Parsed, parse};

    fn all_flags() -> impl Iterator<Item = &'static Flag> {
        let own = all().flat_map(Command::all_flags);
        own.chain([&flags::VERSION])
    }

    #[test]
    fn no_command_has_a_flag_twice() {
        for command in all() {
            let mut longs = HashSet::from([flags::VERSION.long]);
            let mut shorts = HashSet::from([flags::VERSION.short]);
            for flag in command.all_flags() {
                assert!(longs.insert(flag.long), "{} --{}", command.name, flag.long);
                let is_new = flag.short.is_none() || shorts.insert(flag.short);
                assert!(is_new, "{} {:?}", command.name, flag.short);
            }
        }
    }

    #[test]
    fn no_name_is_taken_twice() {
        let mut names = HashSet::new();
        for name in all().flat_map(Command::names) {
            assert!(names.insert(name), "{name}");
            assert!(
                name.chars().all(|c| c.is_ascii_lowercase() || c == ' '),
                "{name}"
            );
        }
    }

    #[test]
    fn flags_are_well_formed() {
        for flag in all_flags() {
            let long = flag.long;
            assert!(
                long.len() > 1 && !long.starts_with('-') && !long.ends_with('-'),
                "{long}"
            );
            let is_plain = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(long.chars().all(is_plain), "{long}");
            assert!(flag.short.is_none_or(|c| c.is_ascii_alphabetic()), "{long}");
            assert!(flag.value.is_none_or(|name| !name.is_empty()), "{long}");
            let is_switch = flag.value.is_none();
            let completes = !matches!(flag.complete, Complete::Nothing);
            assert!(!(is_switch && (completes || flag.repeat)), "{long}");
        }
    }

    #[test]
    fn flag_help_is_one_sentence() {
        for flag in all_flags() {
            let help = flag.help;
            assert!(
                help.is_ascii() && help.ends_with('.') && !help.contains(". "),
                "{help}"
            );
            assert!(help.starts_with(|c: char| c.is_ascii_uppercase()), "{help}");
            assert!(!help.contains("  ") && !help.contains('\n'), "{help}");
        }
    }

    #[test]
    fn words_are_named_where_they_are_accepted() {
        for flag in all_flags() {
            if let Complete::Words(words) = flag.complete {
                let text = format!("{} {}", flag.value.unwrap_or_default(), flag.help);
                assert!(words.iter().all(|word| text.contains(word)), "{text}");
            }
        }
    }

    #[test]
    fn command_texts_are_well_formed() {
        for command in all() {
            let name = command.name;
            assert!(
                command.summary.len() <= 60 && !command.summary.ends_with('.'),
                "{name}"
            );
            assert!(
                command
                    .summary
                    .starts_with(|c: char| c.is_ascii_uppercase()),
                "{name}"
            );
            assert!(
                command.summary.is_ascii() && command.about.is_ascii(),
                "{name}"
            );
            for paragraph in command.about.split('\n') {
                assert!(!paragraph.is_empty() && !paragraph.contains("  "), "{name}");
                assert!(paragraph.ends_with('.'), "{name}: {paragraph}");
            }
        }
    }

    #[test]
    fn usage_agrees_with_the_arguments() {
        for command in all() {
            let positional = &command.positional;
            assert!(positional.min <= positional.max, "{}", command.name);
            let name = positional.name;
            let expected = match (positional.min, positional.max) {
                (0, 0) => String::new(),
                (0, 1) => format!("[{name}]"),
                (1, 1) | (1, 2) | (2, 2) => name.to_owned(),
                (0, _) => format!("[{name}...]"),
                (1, _) => format!("{name}..."),
                other => panic!("{} takes {other:?}", command.name),
            };
            let rest = match command.rest {
                Rest::None => "",
                Rest::AfterSeparator => " [-- CMD...]",
                Rest::AfterPositional => " CMD...",
            };
            assert_eq!(
                command.usage,
                format!("{expected}{rest}"),
                "{}",
                command.name
            );
        }
    }

    #[test]
    fn every_command_has_examples_that_parse_as_that_command() {
        for command in all() {
            assert!(!command.examples.is_empty(), "{}", command.name);
            for (line, text) in command.examples {
                assert!(text.ends_with('.') && line.is_ascii(), "{line}");
                let parsed = parse(words(line));
                match parsed.unwrap_or_else(|error| panic!("{line}: {error}")) {
                    Parsed::Run(args) => {
                        let mut names = std::iter::once(command).chain(command.actions);
                        assert!(names.any(|one| one.name == args.command.name), "{line}")
                    }
                    Parsed::Help(Some(_), _) => assert_eq!(command.name, "help", "{line}"),
                    _ => panic!("{line} is not about {}", command.name),
                }
            }
        }
    }

    /// The arguments of the one call of moat in a line of shell.
    fn words(line: &str) -> Vec<OsString> {
        let call = line
            .split(" | ")
            .find_map(|part| part.strip_prefix("moat "));
        let call = call.unwrap_or_else(|| panic!("{line} does not call moat"));
        let call = call.split(" > ").next().unwrap_or_default();
        assert!(
            !call.contains(['\'', '"', '$', '\\']),
            "{line} needs a shell"
        );
        call.split(' ').map(OsString::from).collect()
    }
}
