//! Flags of `docker run` and `docker exec` that moat has under another name, or does not have.

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
        "give the grace period to the command that stops the run: moat stop --time SECONDS",
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

/// The hint for a flag of docker that a command of moat does not have.
pub(super) fn hint(command: &str, written: &str) -> Option<&'static str> {
    if !matches!(command, "run" | "exec") {
        return None;
    }
    let found = RUN_FLAGS.iter().find(|(flags, _)| flags.contains(&written));
    let run = found.map(|(_, hint)| *hint);
    match (command, written) {
        ("exec", "-d" | "--detach") => Some("write a background job: moat exec RUN sh -c 'CMD &'"),
        ("exec", "-u" | "--user") => Some("leave it out: the command has the user of the run"),
        ("exec", "--privileged") => run,
        ("exec", _) => None,
        _ => run,
    }
}

/// Whether a word looks like the value of docker's `-v SRC:DST`, because `-v` is moat's `--verbose`.
pub(super) fn is_volume(word: &str) -> bool {
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
