//! Commands and flags of docker that moat has under another name, or does not have.

use crate::error::Error;
use crate::term::{escape_unsafe, shell_word};

/// What a user of docker writes instead, by the command.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["attach"],
        "to see the output of a run, write: moat logs -f RUN",
    ),
    (
        &["build", "buildx", "builder"],
        "list 'dependencies' or 'hooks' in moat.yaml: a run builds its image itself",
    ),
    (
        &["pull", "image", "images", "rmi"],
        "a run pulls or builds its image itself; to do that again: moat run --rebuild -- CMD",
    ),
    (
        &["start", "restart", "create"],
        "a run is one execution of one command; start another one: moat run -- CMD",
    ),
    (
        &["cp"],
        "the workspace is the shared directory; to get the copied workspace of a run: moat export RUN DIR",
    ),
    (&["top", "stats"], "write: moat exec RUN ps"),
    (
        &["port", "diff", "history", "events"],
        "for all that moat knows of a run, write: moat inspect RUN",
    ),
    (&["container"], "list the runs: moat list -a"),
    (&["volume"], "write: moat volumes"),
    (
        &["network"],
        "moat makes and removes the network of a run itself",
    ),
    (&["system", "prune"], "write: moat clean"),
    (&["info"], "write: moat doctor"),
    (
        &["compose"],
        "name the compose file in moat.yaml (session.compose), then write: moat up",
    ),
    (&["login", "logout"], "log in with the engine's own client"),
    (
        &["rename"],
        "a run keeps its name; to choose it: moat run -n NAME -- CMD",
    ),
];

/// What a user of docker writes instead, by the flag.
const RUN_FLAGS: &[(&[&str], &str)] = &[
    (
        &["-t", "--tty"],
        "write -i: the workload has a terminal if stdin is one",
    ),
    (
        &["--rm"],
        "leave it out: moat removes the container after each run, except with --keep",
    ),
    (
        &["-d", "--detach"],
        "write -b: moat returns when the workload has started",
    ),
    (
        &["--volume"],
        "write -m SRC:DST, or list volumes in moat.yaml",
    ),
    (
        &["--entrypoint"],
        "put the program after '--': moat run --image IMAGE -- PROGRAM ARGS...",
    ),
    (
        &["--network", "--net"],
        "leave it out: a run has the network of its services, or else the engine's default network",
    ),
    (
        &["--restart"],
        "leave it out: a run is one execution of one command",
    ),
    (&["--hostname"], "leave it out: moat chooses the host name"),
    (
        &["--label", "-l"],
        "leave it out: moat labels its containers, and -n names a run",
    ),
    (
        &["--tmpfs"],
        "exclude a directory of a mount in moat.yaml (mounts: [{source: ., target: /workspace, exclude: [DIR]}])",
    ),
    (&["--ulimit"], "write container.ulimits in moat.yaml"),
    (&["--dns"], "write container.dns in moat.yaml"),
    (&["--pids-limit"], "write container.pids in moat.yaml"),
    (
        &["--pull"],
        "write --rebuild to pull or build the image again",
    ),
    (
        &["--stop-timeout"],
        "give the grace period to the command that stops the run: moat stop --time SECONDS RUN",
    ),
    (
        &[
            "--privileged",
            "--cap-add",
            "--cap-drop",
            "--security-opt",
            "--device",
            "--gpus",
            "--pid",
            "--ipc",
            "--userns",
            "--cgroupns",
        ],
        "leave it out: moat runs every container with the same isolation",
    ),
];

/// The hint for a command of docker.
pub(super) fn command_hint(written: &str) -> Option<&'static str> {
    let (_, hint) = COMMANDS
        .iter()
        .find(|(names, _)| names.contains(&written))?;
    Some(hint)
}

/// The hint for a flag of docker that a command of moat does not have.
pub(super) fn hint(command: &str, written: &str) -> Option<&'static str> {
    let found = RUN_FLAGS.iter().find(|(flags, _)| flags.contains(&written));
    let run = found.map(|(_, hint)| *hint);
    match (command, written) {
        ("exec", "-d" | "--detach") => Some("write a background job: moat exec RUN sh -c 'CMD &'"),
        ("exec", "-u" | "--user") => Some("leave it out: the command has the user of the run"),
        ("exec", "--env-file") => Some("give each variable with -e"),
        ("exec", "--privileged") => run,
        ("logs", "--tail") => Some("write -n N"),
        ("logs", "--until") => Some("leave it out: only the beginning can be chosen, with --since"),
        ("kill", "-s" | "--signal") => {
            Some("to send another signal than SIGKILL, write: moat exec RUN kill -HUP 1")
        }
        ("list", "--filter") => Some("write --state STATE"),
        ("list" | "inspect", "--format") | ("inspect", "-f") => {
            Some("write --json, and choose the fields with jq")
        }
        ("up", "-d" | "--detach") => {
            Some("leave it out: moat returns when everything in the session is ready")
        }
        ("run", _) => run,
        _ => None,
    }
}

/// The error for a value of docker's `-v SRC:DST` among the positional arguments, because `-v` is moat's `--verbose`.
pub(super) fn volume_error<'a>(words: impl Iterator<Item = &'a str>) -> Option<Error> {
    let volumes: Vec<&str> = words.filter(|word| is_volume(word)).collect();
    let shown = escape_unsafe(volumes.first()?);
    let mounts: Vec<String> = volumes
        .iter()
        .map(|volume| match volume.split(':').nth(1) {
            Some("/workspace" | "/workspace/") => "PATH".to_owned(),
            _ => format!("-m {}", shell_word(volume)),
        })
        .collect();
    let error = Error::usage(format!("'{shown}' is no workspace, and -v is --verbose"));
    Some(
        error.hint(match mounts.iter().any(|mount| mount == "PATH") {
            true => "moat mounts the directory PATH at /workspace: moat run PATH -- CMD".to_owned(),
            false => format!("to mount it, write: {}", mounts.join(" ")),
        }),
    )
}

/// Whether a word looks like the name of an image, as `docker run IMAGE` has it.
pub(super) fn is_image(word: &str) -> bool {
    let Some((name, tag)) = word.rsplit_once(':') else {
        return false;
    };
    let is_plain = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-/@:".contains(&byte))
    };
    is_plain(name) && is_plain(tag)
}

/// Whether a word looks like the value of docker's `-v SRC:DST`.
fn is_volume(word: &str) -> bool {
    let Some((source, target)) = word.split_once(':') else {
        return false;
    };
    !source.is_empty() && target.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::COMMANDS;

    /// A hint for a flag that exists would never be printed.
    #[test]
    fn no_hint_is_for_a_flag_of_moat() {
        let run = COMMANDS
            .iter()
            .find(|command| command.name == "run")
            .unwrap();
        for written in RUN_FLAGS.iter().flat_map(|(flags, _)| *flags) {
            let is_flag = run.all_flags().any(|flag| {
                written.strip_prefix("--") == Some(flag.long)
                    || flag
                        .short
                        .is_some_and(|short| *written == format!("-{short}"))
            });
            assert!(!is_flag, "{written}");
        }
    }

    #[test]
    fn no_hint_is_for_a_command_of_moat() {
        for name in super::COMMANDS.iter().flat_map(|(names, _)| *names) {
            let is_command = COMMANDS.iter().any(|command| command.answers_to(name));
            assert!(!is_command, "{name}");
        }
    }

    #[test]
    fn images_are_recognized() {
        for (word, is) in [
            ("debian:12", true),
            ("ghcr.io/a/b:1.2-x", true),
            ("localhost:5000/a@sha256:0", true),
            ("debian", false),
            ("./a:b", false),
            ("/a:/b", false),
            ("a:", false),
        ] {
            assert_eq!(is_image(word), is, "{word}");
        }
    }

    #[test]
    fn volumes_of_docker_are_recognized() {
        for (word, is) in [
            ("/a:/b", true),
            ("./a:/b:ro", true),
            ("a", false),
            ("C:", false),
            (":/b", false),
        ] {
            assert_eq!(is_volume(word), is, "{word}");
        }
    }
}
