//! Builds the client call that creates a container. Pure.

use super::error::{Result, RuntimeError};
use crate::secret::Secret;
use crate::variable_name::is_shell_name;

/// The labels of every resource in an engine.
pub(super) const HOME_LABEL: &str = "moat.home";
pub(super) const RUN_LABEL: &str = "moat.run";
pub(super) const ROLE_LABEL: &str = "moat.role";
pub(super) const SERVICE_LABEL: &str = "moat.service";
/// The incarnation of a session.
pub(super) const SESSION_LABEL: &str = "moat.session";

/// A client call: values travel in its environment or its input, never in its arguments.
#[derive(Debug, Default)]
pub(super) struct ClientCall {
    pub(super) args: Vec<String>,
    pub(super) environment: Vec<(String, Secret)>,
    pub(super) input: Vec<u8>,
}

impl ClientCall {
    pub(super) fn add(&mut self, words: &[&str]) {
        self.args
            .extend(words.iter().map(|word| (*word).to_owned()));
    }

    pub(super) fn label(&mut self, name: &str, value: &str) {
        self.add(&["--label", &format!("{name}={value}")]);
    }

    /// Adds the values: `--env NAME` takes them from the client's environment. A name to which the client itself gives
    /// a meaning goes through its input instead, one line each. So does a name that no shell has: the client can be a
    /// script, whose shell would remove the variable.
    pub(super) fn variables(
        &mut self,
        env: &[(String, Secret)],
        engine: &str,
        is_obeyed: impl Fn(&str) -> bool,
    ) -> Result<()> {
        for (name, secret) in env {
            let value = secret.expose();
            if !is_obeyed(name) && (is_shell_name(name) || !fits_line(name, value)) {
                self.add(&["--env", name]);
                self.environment.push((name.clone(), secret.clone()));
            } else if value.contains('\n') {
                return Err(newline(engine, name));
            } else if !is_line_name(name) {
                return Err(RuntimeError::Refused(format!(
                    "a variable of the name '{name}' cannot reach a container on {engine}"
                )));
            } else {
                let line = format!("{name}={value}\n");
                self.input.extend_from_slice(line.as_bytes());
            }
        }
        if !self.input.is_empty() {
            self.add(&["--env-file", "/dev/stdin"]);
        }
        Ok(())
    }
}

/// Whether a line of `--env-file` can have this name.
fn is_line_name(name: &str) -> bool {
    !name.contains(char::is_whitespace) && !name.starts_with('#')
}

/// Whether every client reads a line of `--env-file` as written.
fn fits_line(name: &str, value: &str) -> bool {
    is_line_name(name)
        && value.trim() == value
        && !value.contains('\n')
        && !value.starts_with(['"', '\'', '`'])
}

/// The error for a value that cannot be passed on.
fn newline(engine: &str, name: &str) -> RuntimeError {
    RuntimeError::Refused(format!(
        "the value of {name} may not contain a newline on {engine}, whose client itself obeys \
         {name}: use another name, or a file (mounts in moat.yaml, -m)"
    ))
}
