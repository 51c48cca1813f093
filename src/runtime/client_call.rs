//! Builds the client call that creates a container. Pure.

use super::error::RuntimeError;

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
    pub(super) environment: Vec<(String, String)>,
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

    /// Adds the values: `--env NAME` takes them from the client's environment. Names that the client itself obeys go
    /// through its input instead, one line each; the error is the name of a variable whose value contains a line
    /// break.
    pub(super) fn variables<'a>(
        &mut self,
        env: &'a [(String, String)],
        is_obeyed: fn(&str) -> bool,
    ) -> std::result::Result<(), &'a str> {
        for (name, value) in env {
            if !is_obeyed(name) {
                self.add(&["--env", name]);
                self.environment.push((name.clone(), value.clone()));
            } else if value.contains('\n') {
                return Err(name);
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

/// The error for a value that cannot be passed on.
pub(super) fn newline(engine: &str, name: &str) -> RuntimeError {
    RuntimeError::Refused(format!(
        "the value of {name} may not contain a newline on {engine}, whose client itself obeys \
         {name}: use another name, or a file (mounts in moat.yaml, -m)"
    ))
}
