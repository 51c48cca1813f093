//! Every command there is, in the order of help. A command that is not here does not exist.

use crate::error::Result;

use super::args::Args;
use super::command_table::{Command, Complete, Positional};
use super::flags;

/// The commands, the daily ones first.
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

const RUN: Command = Command {
    name: "run",
    aliases: &[],
    usage: "[PATH] [-- CMD...]",
    summary: "Run a command in an isolated container",
    about: "\
Runs CMD in a new container, with the directory PATH (the current one by default) as its \
workspace. Everything after '--' belongs to the workload and reaches it untouched.\n\
The output streams to stdout and stderr and is kept, and the exit code is the workload's own. \
A first Ctrl-C stops the run gracefully, a second one kills it. If the terminal goes away the \
run carries on: 'moat logs' shows its output and 'moat wait' its exit code.\n\
With -b the command returns once the workload has started, and prints the id of the run alone \
on stdout. Set run.background to true in config.yaml to make this the default; -f then stays \
and streams.\n\
Without -i the stdin of the workload is empty, and that of moat is left alone. With -i the \
workload gets the bytes of the pipe or file on stdin, then end of file. If stdin is a terminal, \
the workload has it until it ends: Ctrl-/ and then k stops the run, K kills it, and ? tells of that; \
Ctrl-/ twice sends it, and before any other key it passes. If the terminal goes away, the run is \
stopped.\n\
With --session the run is in a session ('moat help up'): its workspace is the worktree, it reaches the services of the session \
instead of having its own, it has the session's variables, and 'moat down' stops it.\n\
Give a secret as '-e NAME': its value is taken from the environment and appears on no command \
line and in no record.",
    examples: &[
        ("moat run -- npm test", "Run the tests of this directory."),
        (
            "moat run ~/src/app -n tests -- make check",
            "Run in another directory, under a name.",
        ),
        (
            "moat run -b --timeout 2h -- ./train.sh",
            "Start it, print the id of the run and return.",
        ),
        (
            "moat run -e API_TOKEN -e CI=1 -m ../data:/data:ro -- ./report.sh",
            "Pass on a secret, set a variable and mount data read-only.",
        ),
        (
            "tar c . | moat run -i -- tar t",
            "Feed the workload through a pipe.",
        ),
        ("moat run -i -- bash", "Work in the container."),
    ],
    flags: &[
        &flags::BACKGROUND,
        &flags::FOLLOW,
        &flags::INTERACTIVE,
        &flags::NAME,
        &flags::SESSION,
        &flags::ENV,
        &flags::MOUNT,
        &flags::IMAGE,
        &flags::RUNTIME,
        &flags::CONTEXT,
        &flags::REBUILD,
        &flags::EXPORT,
        &flags::KEEP,
        &flags::TIMEOUT,
        &flags::MEMORY,
        &flags::CPUS,
        &flags::DRY_RUN,
    ],
    positional: optional("PATH", Complete::Directory),
    rest: true,
    run: super::run::run,
};

const CHECK: Command = Command {
    name: "check",
    aliases: &[],
    usage: "[PATH]",
    summary: "Check moat.yaml without running anything",
    about: "\
Reads moat.yaml (or agent.yaml) in the directory PATH, by default the current one, or, if there is none in that, \
in the main checkout of its repository, as 'moat up' does; together with config.yaml and the registry. Prints \
everything that is wrong with them, each problem with its line and column. No runtime is asked. The exit code is 0 if nothing is wrong, and 1 if something is.",
    examples: &[
        ("moat check", "Check the project in this directory."),
        ("moat check --json", "Print the problems for a script."),
        ("moat check --ports", "Print the ports of every slot, too."),
    ],
    flags: &[&flags::CHECK_RUNTIME, &flags::CHECK_PORTS],
    positional: optional("PATH", Complete::Directory),
    rest: false,
    run: super::check::run,
};

const EXEC: Command = Command {
    name: "exec",
    aliases: &[],
    usage: "RUN [-- CMD...]",
    summary: "Run another command in a run that is running",
    about: "\
Runs CMD in the container of RUN, as the same user and with the same environment, or in one of its \
services. Its output streams to stdout and stderr and is kept, for 'moat logs RUN --exec NUMBER'; \
-v tells the number. The exit code is the command's own.\n\
Without -i the stdin of the command is empty. With -i it gets the terminal, if stdin is one, as \
'moat run -i' does, with the same escape: Ctrl-/ k ends the command. Else it gets the bytes of the \
pipe or file on stdin, then end of file. A first Ctrl-C ends a command without a terminal and what \
it has started, a second one kills it; the run goes on.",
    examples: &[
        (
            "moat exec -it tests -- bash",
            "Look around in the run 'tests'.",
        ),
        (
            "moat exec tests -- ps aux",
            "See what runs in the run 'tests'.",
        ),
        (
            "moat exec tests --service postgres -- psql -U postgres -l",
            "List the databases of the run.",
        ),
        (
            "cat dump.sql | moat exec tests -i --service postgres -- psql -U postgres",
            "Feed it through a pipe.",
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
    rest: true,
    run: super::exec::run,
};

const SERVICES: Command = Command {
    name: "services",
    aliases: &[],
    usage: "[RUN]",
    summary: "Show the services of a run",
    about: "\
Prints the services that run beside RUN, by default the newest run: their state, the address at \
which the workload reaches them, since when they have been ready, and how often they were started \
again. 'moat logs RUN --service NAME' shows what a service says.",
    examples: &[
        ("moat services", "Show the services of the newest run."),
        ("moat services tests --json", "Print them for a script."),
    ],
    flags: &[],
    positional: optional("RUN", Complete::Run),
    rest: false,
    run: super::services::run,
};

const EXPORT: Command = Command {
    name: "export",
    aliases: &[],
    usage: "RUN DIR",
    summary: "Get the workspace of a run that had a copy",
    about: "\
Where workspace.mode is volume in moat.yaml, the workload works on a copy, and moat keeps what it \
left there. This puts it into the directory DIR, which must be empty or not exist, with owners and \
modes as they were.",
    examples: &[(
        "moat export tests ../result",
        "Put the workspace of a run into a new directory.",
    )],
    flags: &[],
    positional: Positional {
        name: "RUN DIR",
        min: 2,
        max: 2,
        complete: Complete::Run,
    },
    rest: false,
    run: super::export::run,
};

const VOLUMES: Command = Command {
    name: "volumes",
    aliases: &[],
    usage: "[rm VOLUME...]",
    summary: "List the volumes of projects, or remove some",
    about: "\
Volumes are declared in moat.yaml, belong to a project, and outlive its runs. This lists them, as \
PROJECT/NAME, and those of the compose files of sessions by the names that the engine has for them. 'rm' removes \
them with what is in them.",
    examples: &[
        ("moat volumes", "List the volumes."),
        (
            "moat volumes rm -f shop/cache",
            "Remove one, without asking.",
        ),
    ],
    flags: &[&flags::VOLUMES_FORCE],
    positional: Positional {
        name: "VOLUME",
        min: 0,
        max: usize::MAX,
        complete: Complete::Action(&["rm"]),
    },
    rest: false,
    run: super::volumes::run,
};

const UP: Command = Command {
    name: "up",
    aliases: &[],
    usage: "[BRANCH]",
    summary: "Give a branch its own worktree, ports and services",
    about: "\
Brings up the session of BRANCH, by default of the branch that is checked out here: a worktree, a slot \
with its ports, the services among the dependencies, and the processes and services under 'session' in the moat.yaml of the main checkout. A branch that is checked out somewhere already is taken where it is; else moat makes a worktree, from the local branch, from that of a remote, or from a new one.\n\
It can be repeated: what runs is kept, and what does not is started. If something fails, or on Ctrl-C, \
all that was made is taken back.",
    examples: &[
        ("moat up feat-a", "Bring up a branch."),
        (
            "moat up --json",
            "Bring up what is checked out here, for a script.",
        ),
        ("moat up feat-a --port web=4001", "Choose a port."),
        (
            "moat up feat-a --services web --force",
            "Start one process or service again.",
        ),
    ],
    flags: &[
        &flags::PORT,
        &flags::UP_SERVICES,
        &flags::UP_SKIP,
        &flags::UP_FORCE,
    ],
    positional: optional("BRANCH", Complete::Branch(&[])),
    rest: false,
    run: super::up::run,
};

const DOWN: Command = Command {
    name: "down",
    aliases: &[],
    usage: "[BRANCH]",
    summary: "Take a session away",
    about: "\
Ends the processes of the session of BRANCH, by default of the branch that is checked out here, removes its \
services with their data, frees its slot and ports, and removes the worktree if moat made it. A worktree with work that is not committed stays, \
and the branch always does. An 'up' that is under way is ended first.",
    examples: &[
        ("moat down feat-a", "Take a session away."),
        (
            "moat down feat-a --keep",
            "Stop all of it, and keep its slot, ports, worktree and data.",
        ),
        (
            "moat down --all",
            "Take all sessions of this repository away.",
        ),
    ],
    flags: &[
        &flags::DOWN_KEEP,
        &flags::DELETE_WORKTREE,
        &flags::DOWN_FORCE,
        &flags::DOWN_ALL,
    ],
    positional: optional("BRANCH", Complete::Branch(&[])),
    rest: false,
    run: super::down::run,
};

const WT: Command = Command {
    name: "wt",
    aliases: &[],
    usage: "BRANCH [-- CMD...] | ACTION [BRANCH]",
    summary: "Run a command in a session, or look at sessions",
    about: "\
'moat wt BRANCH -- CMD' brings the session of BRANCH up, and runs CMD in an isolated container whose \
workspace is the worktree, as 'moat run --session BRANCH' does.\n\
'list' prints all sessions. 'status [BRANCH]' prints how one is, and exits with 1 if something of it is not \
as it should be. 'env [BRANCH]' prints its variables, and 'logs [BRANCH] NAME' what a process or a \
service of it printed. 'sync [BRANCH]' takes in what was started by hand: who works in the worktree and listens on a port \
of the session. 'recover [BRANCH]' settles what a killed command has left. 'clean' removes worktrees that belong \
to no session any more.",
    examples: &[
        (
            "moat wt feat-a -- npm test",
            "Run the tests of a branch in its worktree.",
        ),
        ("moat wt list", "List all sessions."),
        (
            "moat wt status feat-a --json",
            "Print how a session is, for a script.",
        ),
        ("moat wt logs feat-a web", "Print what a process printed."),
    ],
    flags: &[
        &flags::BACKGROUND,
        &flags::INTERACTIVE,
        &flags::NAME,
        &flags::WT_FORCE,
    ],
    positional: Positional {
        name: "BRANCH",
        min: 1,
        max: 3,
        complete: Complete::Branch(super::wt::ACTIONS),
    },
    rest: true,
    run: super::wt::run,
};

const SHELL: Command = Command {
    name: "shell",
    aliases: &[],
    usage: "[BRANCH]",
    summary: "Open a shell in the worktree of a session",
    about: "\
Becomes the shell that SHELL names, in the worktree of the session of BRANCH, by default of the branch that \
is checked out here, with the variables of the session. The shell is on the host, not in a container. Where the \
session has windows of tmux (session.tmux), and stdout is a terminal, those are shown.",
    examples: &[("moat shell feat-a", "Work in the worktree of a branch.")],
    flags: &[],
    positional: optional("BRANCH", Complete::Branch(&[])),
    rest: false,
    run: super::shell::run,
};

const WHOSE: Command = Command {
    name: "whose",
    aliases: &[],
    usage: "PID|PORT|CONTAINER",
    summary: "Say whose a process, a port or a container is",
    about: "\
For those who are about to end something. Prints the session and the process or service, or the run, that it \
belongs to. The exit code is 0 if it is one of moat, 1 if not, and 2 if that cannot be told.\n\
A number is a process if there is one with that pid, else a port; write :PORT for a port.",
    examples: &[
        ("moat whose 4711", "Ask about a process."),
        ("moat whose :4101 --json", "Ask about a port, for a script."),
    ],
    flags: &[],
    positional: Positional {
        name: "PID|PORT|CONTAINER",
        min: 1,
        max: 1,
        complete: Complete::Nothing,
    },
    rest: false,
    run: super::whose::run,
};

const DEPS: Command = Command {
    name: "deps",
    aliases: &[],
    usage: "list | info NAME... | search WORD",
    summary: "Show what a project can depend on",
    about: "\
'list' prints the names that can stand under 'dependencies' in moat.yaml, 'search' those whose name \
or description contains WORD, and 'info' all that is known of some. Your own entries are in the files \
registry.d/*.yaml of the home of moat. Packages that have no entry are written npm:NAME, pip:NAME, \
uv:NAME, cargo:NAME or go:PATH.",
    examples: &[
        ("moat deps list", "List all names."),
        ("moat deps info node", "Show the versions of one."),
        ("moat deps search lint --json", "Search, for a script."),
    ],
    flags: &[],
    positional: Positional {
        name: "ACTION",
        min: 1,
        max: usize::MAX,
        complete: Complete::Action(super::deps::ACTIONS),
    },
    rest: false,
    run: super::deps::run,
};

const LOGS: Command = Command {
    name: "logs",
    aliases: &[],
    usage: "[RUN]",
    summary: "Print the output of a run",
    about: "\
Prints what a run has written so far; without RUN, that of the newest run. What the workload \
wrote to stdout goes to stdout, and what it wrote to stderr goes to stderr.\n\
--stdout and --stderr each select one of the two. With --raw, --stdout reproduces the stdout of \
the workload byte for byte. With --json there is one document per line.",
    examples: &[
        ("moat logs", "Print the output of the newest run."),
        (
            "moat logs -f -n 20 tests",
            "Follow a run, from its last 20 lines on.",
        ),
        (
            "moat logs --stderr -t --since 10m tests",
            "Print the errors of the last ten minutes, with their times.",
        ),
        (
            "moat logs --raw --stdout build > app.tar",
            "Save the stdout of a run exactly as it was.",
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
    rest: false,
    run: super::logs::run,
};

const LIST: Command = Command {
    name: "list",
    aliases: &["ls", "ps"],
    usage: "",
    summary: "List runs, the newest first",
    about: "\
Lists the active runs; with -a, the finished ones too.\n\
With -q it prints the ids alone, one a line, for use in scripts. With --json it prints one \
array, [] when there is no run.",
    examples: &[
        ("moat list", "List the active runs."),
        ("moat list --state failed", "List the runs that failed."),
        ("moat list -a -q", "Print the ids of all runs."),
    ],
    flags: &[&flags::ALL, &flags::STATE],
    positional: NONE,
    rest: false,
    run: super::list::run,
};

const WAIT: Command = Command {
    name: "wait",
    aliases: &[],
    usage: "RUN...",
    summary: "Wait for runs to finish, and exit with their code",
    about: "\
Blocks until every RUN has finished. The exit code is the run's own; of several runs, that of \
the first in the order given that did not exit with 0.",
    examples: &[
        ("moat wait tests", "Wait for a run and exit with its code."),
        ("moat wait lint tests", "Wait for two runs."),
    ],
    flags: &[],
    positional: RUNS,
    rest: false,
    run: super::wait::run,
};

const STOP: Command = Command {
    name: "stop",
    aliases: &[],
    usage: "RUN...",
    summary: "Stop runs gracefully",
    about: "\
Asks the workload of every RUN to end (SIGTERM), and kills it if it has not ended in time. The \
record and the output are kept.",
    examples: &[
        ("moat stop tests", "Stop a run."),
        (
            "moat stop --time 60 train",
            "Stop a run, and give it a minute to end.",
        ),
    ],
    flags: &[&flags::TIME],
    positional: RUNS,
    rest: false,
    run: super::stop::run,
};

const KILL: Command = Command {
    name: "kill",
    aliases: &[],
    usage: "RUN...",
    summary: "Kill runs at once",
    about: "\
Kills the workload of every RUN (SIGKILL), which gives it no time to clean up after itself. \
The record and the output are kept.",
    examples: &[("moat kill tests", "Kill a run.")],
    flags: &[],
    positional: RUNS,
    rest: false,
    run: super::kill::run,
};

const INSPECT: Command = Command {
    name: "inspect",
    aliases: &[],
    usage: "RUN",
    summary: "Print all that is known of a run",
    about: "\
Prints the record of a run: its plan, state, exit code and times, and what was made for it. \
Values of secrets are not in it.",
    examples: &[
        ("moat inspect tests", "Print the record of a run."),
        ("moat inspect --json tests", "Print it for a script."),
    ],
    flags: &[],
    positional: Positional {
        name: "RUN",
        min: 1,
        max: 1,
        complete: Complete::Run,
    },
    rest: false,
    run: super::inspect::run,
};

const DESTROY: Command = Command {
    name: "destroy",
    aliases: &["rm"],
    usage: "RUN...",
    summary: "Remove finished runs, with their output",
    about: "\
Removes the record and the output of every RUN, and its container where it was kept. An active \
run is refused; -f stops it first.",
    examples: &[
        ("moat destroy tests", "Remove a finished run."),
        ("moat destroy -f train", "Stop a run and remove it."),
    ],
    flags: &[&flags::DESTROY_FORCE],
    positional: RUNS,
    rest: false,
    run: super::destroy::run,
};

const CLEAN: Command = Command {
    name: "clean",
    aliases: &[],
    usage: "",
    summary: "Remove what no run owns any more",
    about: "\
Looks for containers and files that moat made and no run owns any more, shows them, asks, and \
removes them. Records of finished runs stay unless --older-than is given.\n\
Without a terminal to ask on, it removes nothing unless --force is given.",
    examples: &[
        ("moat clean --dry-run", "Show what would be removed."),
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
    rest: false,
    run: super::clean::run,
};

const STATUS: Command = Command {
    name: "status",
    aliases: &[],
    usage: "",
    summary: "Show runs and runtimes at a glance",
    about: "Shows the active runs, the runtimes of this host and the one that a new run would use.",
    examples: &[("moat status", "Show the overview.")],
    flags: &[],
    positional: NONE,
    rest: false,
    run: super::status::run,
};

const DOCTOR: Command = Command {
    name: "doctor",
    aliases: &[],
    usage: "",
    summary: "Check this host, and say how to fix what does not work",
    about: "\
Checks the runtimes, the home of moat and what else a run needs, and what sessions need (git, and where \
they use them tmux and a compose tool), and says for each problem what to do about it. The exit code is 1 \
if no run can work here.",
    examples: &[("moat doctor", "Check this host.")],
    flags: &[],
    positional: NONE,
    rest: false,
    run: super::doctor::run,
};

const HELP: Command = Command {
    name: "help",
    aliases: &[],
    usage: "[COMMAND]",
    summary: "Print help on moat or on a command",
    about: "'moat help COMMAND' prints the same as 'moat COMMAND --help'.",
    examples: &[("moat help run", "Print help on 'moat run'.")],
    flags: &[],
    positional: optional("COMMAND", Complete::Command),
    rest: false,
    run: handled_by_parser,
};

const COMPLETIONS: Command = Command {
    name: "completions",
    aliases: &[],
    usage: "SHELL",
    summary: "Print the completion script of a shell",
    about: "\
Prints a script that makes bash, zsh or fish complete commands, flags and runs. In bash and zsh \
load it from the start-up file of the shell: for bash, eval \"$(moat completions bash)\" in \
~/.bashrc; for zsh, eval \"$(moat completions zsh)\" in ~/.zshrc, after compinit.",
    examples: &[
        (
            "moat completions bash > ~/.local/share/bash-completion/completions/moat",
            "Install the completions of bash.",
        ),
        (
            "moat completions fish > ~/.config/fish/completions/moat.fish",
            "Install the completions of fish.",
        ),
    ],
    flags: &[],
    positional: Positional {
        name: "SHELL",
        min: 1,
        max: 1,
        complete: Complete::Words(&["bash", "zsh", "fish"]),
    },
    rest: false,
    run: super::completions::run,
};

const MAN: Command = Command {
    name: "man",
    aliases: &[],
    usage: "",
    summary: "Print the manual page",
    about: "Prints the manual page moat(1) in roff, for man(1) to show or for a file.",
    examples: &[
        ("moat man | man -l -", "Read the manual page."),
        (
            "moat man > ~/.local/share/man/man1/moat.1",
            "Install the manual page.",
        ),
    ],
    flags: &[],
    positional: NONE,
    rest: false,
    run: super::man::run,
};

const VERSION: Command = Command {
    name: "version",
    aliases: &[],
    usage: "",
    summary: "Print the version of moat",
    about: "Prints the same as 'moat --version'.",
    examples: &[("moat version", "Print the version.")],
    flags: &[],
    positional: NONE,
    rest: false,
    run: super::version::run,
};

const NONE: Positional = Positional {
    name: "",
    min: 0,
    max: 0,
    complete: Complete::Nothing,
};

/// One run or more.
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

/// `moat help` never gets here: the parser makes `Parsed::Help` of it.
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
        let own = COMMANDS.iter().flat_map(Command::all_flags);
        own.chain([&flags::VERSION])
    }

    #[test]
    fn no_command_has_a_flag_twice() {
        for command in COMMANDS {
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
        for name in COMMANDS.iter().flat_map(Command::names) {
            assert!(names.insert(name), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase()), "{name}");
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
        for command in COMMANDS {
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
        for command in COMMANDS {
            let positional = &command.positional;
            assert!(positional.min <= positional.max, "{}", command.name);
            let name = positional.name;
            let expected = match (positional.min, positional.max) {
                // What follows depends on the first word.
                _ if matches!(positional.complete, Complete::Action(_)) => continue,
                _ if command.name == "wt" => continue,
                (0, 0) => String::new(),
                (0, 1) => format!("[{name}]"),
                (1, 1) | (2, 2) => name.to_owned(),
                (1, _) => format!("{name}..."),
                other => panic!("{} takes {other:?}", command.name),
            };
            let rest = if command.rest { " [-- CMD...]" } else { "" };
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
        for command in COMMANDS {
            assert!(!command.examples.is_empty(), "{}", command.name);
            for (line, text) in command.examples {
                assert!(text.ends_with('.') && line.is_ascii(), "{line}");
                let parsed = parse(words(line));
                match parsed.unwrap_or_else(|error| panic!("{line}: {error}")) {
                    Parsed::Run(args) => assert_eq!(args.command.name, command.name, "{line}"),
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
