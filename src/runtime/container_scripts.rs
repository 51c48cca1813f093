//! The scripts for `sh` that moat runs inside containers on every engine, with the varying parts as arguments.

use crate::secret::Secret;
use crate::variable_name::is_shell_name;

/// The directory in which a container leaves notes for moat.
pub(super) const NOTES_DIR: &str = "/run/moat";

/// The note that the script before the command failed.
pub(super) const PRE_RUN_FAILED_NOTE: &str = "pre-run-failed";
const PRE_RUN_FAILED_PATH: &str = "/run/moat/pre-run-failed";

/// The variables of a container whose first process is a shell. Many shells remove a variable whose name is no name of
/// theirs (`discovery.type`). Such a variable gets another name for the shell, and its own name back with the command.
pub(super) struct ShellEnvironment {
    pub(super) variables: Vec<(String, Secret)>,
    /// The words before the command that give the variables their names back; can be empty.
    restore: String,
    /// Removes the other names.
    forget: String,
}

impl ShellEnvironment {
    pub(super) fn new(env: &[(String, Secret)]) -> ShellEnvironment {
        let (mut options, mut words, mut forget) = (String::new(), String::new(), String::new());
        let variables = env.iter().enumerate().map(|(at, (name, value))| {
            if is_shell_name(name) {
                return (name.clone(), value.clone());
            }
            let other = format!("MOAT_VALUE_{at}");
            options.push_str(&format!("-u {other} "));
            words.push_str(&format!("{}=\"${other}\" ", single_quoted(name)));
            forget.push_str(&format!("unset {other}; "));
            (other, value.clone())
        });
        ShellEnvironment {
            variables: variables.collect(),
            restore: match words.is_empty() {
                true => String::new(),
                false => format!("env {options}-- {words}"),
            },
            forget,
        }
    }

    /// The part of a script that becomes the command in its arguments.
    pub(super) fn exec_script(&self) -> String {
        format!("exec {}\"$@\"", self.restore)
    }

    /// Runs a script of the user, then becomes the command. Its arguments: the script, the command. The script does not
    /// consume the command's input. No variable of the shell is set here: it could be one of the container.
    pub(super) fn pre_run_script(&self) -> String {
        let exec = self.exec_script();
        let run = match self.forget.as_str() {
            "" => "sh -ec \"$1\" pre_run".to_owned(),
            forget => format!("( {forget}exec sh -ec \"$1\" pre_run )"),
        };
        format!(
            "{run} </dev/null && {{ shift; {exec}; }}; \
             set -- $?; echo $1 >{PRE_RUN_FAILED_PATH}; exit $1"
        )
    }
}

/// A word that a shell takes as written.
fn single_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The variable that identifies a command beside the container's own, and all of its descendants.
pub(super) const EXEC_MARKER_VARIABLE: &str = "MOAT_EXEC";

/// Sends the signal `$2` to every process with the marker `$1`; fails if there is none. Processes whose environment
/// is not readable are skipped.
pub(super) const KILL_SCRIPT: &str = "found=; for process in /proc/[0-9]*; do \
    tr '\\0' '\\n' < $process/environ 2> /dev/null | grep -qxF \"$1\" && \
    kill -$2 ${process#/proc/} && found=1; done; [ \"$found\" ]";

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Runs a script as a container would, and returns the variables of the command.
    fn run(env: &[(&str, &str)], hook: Option<&str>) -> (Option<i32>, Vec<String>) {
        let env: Vec<_> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        let shell = ShellEnvironment::new(&env);
        let dir = crate::store::scratch::Scratch::new();
        let note = dir.dir("notes").join("failed");
        let script = match hook {
            None => shell.exec_script(),
            Some(_) => shell
                .pre_run_script()
                .replace(PRE_RUN_FAILED_PATH, note.to_str().unwrap()),
        };
        let output = Command::new("sh")
            .args(["-c", &script, "moat"])
            .args(hook)
            .args(["env", "-0"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(
                shell
                    .variables
                    .iter()
                    .map(|(name, value)| (name, value.expose())),
            )
            .output()
            .unwrap();
        if let (Some(code), true) = (output.status.code(), hook == Some("exit 3")) {
            let noted = std::fs::read_to_string(note).unwrap();
            assert_eq!(noted, format!("{code}\n"));
        }
        let text = String::from_utf8(output.stdout).unwrap();
        let known = ["PATH=", "PWD=", "_=", "SHLVL=", "OLDPWD="];
        let found = text.split_terminator('\0');
        let found = found.filter(|line| !known.iter().any(|known| line.starts_with(known)));
        let mut found: Vec<String> = found.map(str::to_owned).collect();
        found.sort();
        (output.status.code(), found)
    }

    #[test]
    fn a_shell_removes_no_variable() {
        let env = [
            ("code", "kept"),
            ("a.b", "x y\n'\"$z"),
            ("a'b", ""),
            ("-x", "1"),
            ("A", "2"),
        ];
        let expected = ["-x=1", "A=2", "a'b=", "a.b=x y\n'\"$z", "code=kept"];
        for hook in [None, Some("code=1; [ -z \"$MOAT_VALUE_1\" ]")] {
            let (code, found) = run(&env, hook);
            assert_eq!(code, Some(0), "{hook:?}");
            assert_eq!(found, expected, "{hook:?}");
        }
        assert_eq!(run(&[], Some("exit 3")), (Some(3), Vec::new()));
    }
}
