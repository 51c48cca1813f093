//! `container exec`: another command in a running container.

use std::io;
use std::process::{Command, Stdio};

use super::super::attach::{spawn_exec, spawn_exec_on_terminal};
use super::super::container_scripts::{EXEC_MARKER_VARIABLE, KILL_SCRIPT};
use super::super::error::{Result, RuntimeError};
use super::super::{Attached, CommandSpec, Commands, ExecSpec, Refusal, child, client_terminal};
use super::{Apple, CHANGE_TIMEOUT, attach, classify, client, on_terminal};
use crate::variable_name::is_shell_name;

/// The first bytes of a message of a client that could not start a command.
pub(super) const START_FAILURE_PREFIXES: &[&[u8]] = &[
    b"Error: get failed: container ",
    b"Error: container run_",
    b"Error: failed to create process",
    b"Error: failed to exec",
    b"Error: failed to get container ",
    b"Error: failed to find target executable ",
    b"Error: failed to start process",
    b"Error: internalError: \"",
    b"Error: interrupted: \"",
    b"Error: invalidArgument: \"",
    b"Error: invalidState: \"",
    b"Error: notFound: \"",
    b"Error: XPC ",
];

/// A shell script that executes its arguments, or prints the client's message for a missing command.
const EXEC_SCRIPT: &str = "command -v \"$1\" >/dev/null 2>&1 || \
    { echo \"Error: failed to find target executable $1\" >&2; exit 1; }; exec \"$@\"";

impl Commands for Apple {
    fn exec(
        &self,
        spec: &CommandSpec<'_>,
        should_continue: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Option<u8>> {
        let mut refused = None;
        // The client's last message about its own failure, if there is one.
        let mut interruption = None;
        let mut client = client::client();
        client.args(["exec", spec.handle]).args(spec.command);
        let status = child::run_lines(&mut client, spec.timeout, should_continue, &mut |line| {
            refused = refused.or(classify::refusal(line));
            if !classify::is_advice(line) {
                let is_own = line.starts_with("Error: ") && classify::is_interruption(line);
                interruption = is_own.then(|| classify::message(line));
            }
            tell(line);
        });
        let status = status.map_err(|error| client::failed(&error))?;
        if let (Some(text), Some(1)) = (interruption, status.code()) {
            return Err(RuntimeError::Transient(text));
        }
        Ok(refused.or(status.code().and_then(|code| u8::try_from(code).ok())))
    }

    fn exec_attached(&self, spec: &ExecSpec) -> Result<Attached> {
        let failed = |error: io::Error| client::failed(&error);
        let manner = Box::new(attach::AppleExecMessages {
            handle: spec.handle.clone(),
        });
        if let Some(size) = spec.terminal {
            let mut client = command(on_terminal(), spec)?;
            let prepare = client_terminal::leave_output_alone;
            return spawn_exec_on_terminal(
                &mut client,
                manner,
                START_FAILURE_PREFIXES,
                size,
                prepare,
            )
            .map_err(failed);
        }
        let mut client = command(client::client(), spec)?;
        client.stdin(match &spec.stdin {
            Some(stdin) => attach::feed(stdin.try_clone().map_err(failed)?).map_err(failed)?,
            None => Stdio::null(),
        });
        spawn_exec(&mut client, manner, [&[], START_FAILURE_PREFIXES]).map_err(failed)
    }

    fn kill_exec(&self, handle: &str, marker: &str, signal: &str) -> Result<()> {
        client::run(&mut kill(handle, marker, signal), b"", CHANGE_TIMEOUT).map(drop)
    }

    fn refusal(&self, code: u8, words: &[u8]) -> Refusal {
        refusal(code, words)
    }
}

/// A client that runs a command. Values travel in the client's environment under other names: the client would add
/// them after the container's own variables of the same names, which then win.
pub(super) fn command(mut client: Command, spec: &ExecSpec) -> Result<Command> {
    client.arg("exec");
    if spec.terminal.is_some() {
        client.args(["--interactive", "--tty"]);
    } else if spec.stdin.is_some() {
        client.arg("--interactive");
    }
    if let Some(dir) = &spec.workdir {
        client.args(["--workdir", dir]);
    }
    client.args(["--env", &marker(&spec.marker)]);
    let mut script = String::new();
    for (at, (name, value)) in spec.env.iter().enumerate() {
        if !is_shell_name(name) {
            let message =
                format!("{name} cannot be set this way on apple; write: env {name}=VALUE CMD");
            return Err(RuntimeError::Refused(message));
        }
        let own = format!("MOAT_VALUE_{at}");
        client.args(["--env", &own]).env(&own, value);
        script.push_str(&format!("export {name}=\"${own}\"; unset {own}; "));
    }
    client.arg(&spec.handle);
    if !script.is_empty() {
        client.args(["/bin/sh", "-c", &(script + EXEC_SCRIPT), "moat"]);
    }
    client.args(&spec.command);
    Ok(client)
}

/// A client that ends such a command.
pub(super) fn kill(handle: &str, word: &str, signal: &str) -> Command {
    let mut client = client::client();
    client.args(["exec", handle, "/bin/sh", "-c", KILL_SCRIPT, "moat"]);
    client.args([&marker(word), signal]);
    client
}

fn marker(word: &str) -> String {
    format!("{EXEC_MARKER_VARIABLE}={word}")
}

/// Returns the reason why a command could not start, from the message of the client or of the shell in the container.
pub(super) fn refusal(code: u8, words: &[u8]) -> Refusal {
    let text = classify::message(&String::from_utf8_lossy(words));
    let name = text.split("failed to find target executable ").nth(1);
    let name = name.and_then(|rest| rest.split(['"', ' ', ')', ';']).next());
    Refusal {
        code: classify::refusal(&text).or(classify::refusal_of_shell(code, &text)),
        reason: name.map_or(text.clone(), |name| {
            format!("'{name}' was not found or is not a program")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_no_argument() {
        let spec = ExecSpec {
            handle: "run_1".into(),
            command: vec!["env".into()],
            env: vec![("TOKEN".into(), "s3cret".into())],
            workdir: None,
            marker: "m".into(),
            stdin: None,
            terminal: None,
        };
        let client = command(client::client(), &spec).unwrap();
        let line: Vec<_> = client.get_args().map(|arg| arg.to_string_lossy()).collect();
        let line = line.join(" ");
        assert!(!line.contains("s3cret"), "{line}");
        let script = "export TOKEN=\"$MOAT_VALUE_0\"; unset MOAT_VALUE_0; command -v";
        assert!(
            line.contains(script) && line.ends_with("exec \"$@\" moat env"),
            "{line}"
        );
        let odd = ExecSpec {
            env: vec![("a.b".into(), "c".into())],
            ..spec
        };
        assert!(command(client::client(), &odd).is_err());
    }

    #[test]
    fn a_refusal_says_what_could_not_be_run() {
        let words = b"Error: failed to start process (cause: \"internalError: \"failed to find target executable nosuch\"\")\n";
        let said = refusal(1, words);
        assert_eq!(said.reason, "'nosuch' was not found or is not a program");
        assert_eq!(said.code, Some(127));
        let said = refusal(127, b"sh: exec: line 1: nosuch: not found\n");
        assert_eq!(said.reason, "sh: exec: line 1: nosuch: not found");
        assert_eq!(said.code, Some(127));
        assert_eq!(refusal(1, b"the role is not found\n").code, None);
    }
}
