//! Programs of the host that moat calls, and the variables of the user's environment that do not reach them.
//!
//! A program gets the user's environment, so that PATH, proxies, credentials and the user's own configuration work. It
//! does not get the variables with which the user changes their own calls of the program: moat's calls would then read
//! other files, change another repository or project, or print another form. docs/command-line.md has this table.

use std::path::Path;
use std::process::Command;

/// The variables that a program does not get.
const NOT_PASSED: &[(&str, &[&str])] = &[
    // Options for every call; the archive without `-f`.
    (
        "tar",
        &[
            "TAR_OPTIONS",
            "TAR_READER_OPTIONS",
            "TAR_WRITER_OPTIONS",
            "TAPE",
        ],
    ),
    ("git", &GIT_PATH_VARIABLES),
    // Options that a shell takes over from its parent, and directories that change the meaning of `cd`.
    ("sh", &["SHELLOPTS", "BASHOPTS", "CDPATH"]),
    (
        "ps",
        &[
            "PS_FORMAT",
            "PS_PERSONALITY",
            "CMD_ENV",
            "I_WANT_A_BROKEN_PS",
            "COLUMNS",
        ],
    ),
    ("lsof", &["LSOFOPTS", "LSOFPERSDCPATH"]),
    (
        "compose",
        &[
            "COMPOSE_FILE",
            "COMPOSE_PROJECT_NAME",
            "COMPOSE_REMOVE_ORPHANS",
            "COMPOSE_IGNORE_ORPHANS",
            "COMPOSE_ENV_FILES",
            "COMPOSE_PATH_SEPARATOR",
            "COMPOSE_CONVERT_WINDOWS_PATHS",
            "COMPOSE_ANSI",
            "COMPOSE_MENU",
        ],
    ),
];

/// Variables with which a caller that git started (a hook, for example) would redirect moat and its children to another
/// repository: `git rev-parse --local-env-vars` without `GIT_CONFIG_COUNT`, which users set, and the variables that git
/// sets for the hooks of a server.
pub(crate) const GIT_REPOSITORY_VARIABLES: [&str; 16] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Variables that change the meaning of the paths in git's arguments.
const GIT_PATH_VARIABLES: [&str; 4] = [
    "GIT_GLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
];

/// A call of a program by its name.
pub(crate) fn call(program: &str) -> Command {
    let mut command = Command::new(program);
    clear_environment(&mut command, program);
    command
}

/// Removes the variables that this program does not get. Variables for the call itself are set afterwards.
pub(crate) fn clear_environment(command: &mut Command, program: &str) {
    let found = NOT_PASSED.iter().find(|(name, _)| *name == program);
    let variables = found.map_or(&[][..], |(_, variables)| variables);
    for name in variables {
        command.env_remove(name);
    }
    if program == "git" {
        clear_git_repository(command);
    }
}

/// Removes the variables that name a repository, for programs that may call git.
pub(crate) fn clear_git_repository(command: &mut Command) -> &mut Command {
    for name in GIT_REPOSITORY_VARIABLES {
        command.env_remove(name);
    }
    command
}

/// Whether a program is found on PATH.
pub(crate) fn is_on_path(program: &str) -> bool {
    let executable = |path: &Path| {
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
    };
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| executable(&dir.join(program))))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_program_does_not_get_the_variables_of_other_calls() {
        let removed = |program: &str, name: &str| {
            let command = call(program);
            let mut variables = command.get_envs();
            variables.any(|(found, value)| found == OsStr::new(name) && value.is_none())
        };
        assert!(removed("tar", "TAR_OPTIONS"));
        assert!(removed("git", "GIT_DIR") && removed("git", "GIT_ICASE_PATHSPECS"));
        assert!(removed("sh", "SHELLOPTS") && !removed("sh", "PATH"));
        assert!(!removed("git", "GIT_CONFIG_COUNT") && !removed("docker", "TAR_OPTIONS"));
    }
}
