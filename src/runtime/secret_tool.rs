//! Queries the command-line tools of secret stores.

use std::io;
use std::process::Command;
use std::time::Duration;

use super::child;

/// Long, because a tool may ask the user for a fingerprint.
const TOOL_TIMEOUT: Duration = Duration::from_secs(60);

/// The output of a tool; its own message if it fails.
pub(crate) fn ask_tool(program: &str, args: &[&str]) -> Result<String, String> {
    let output = child::run(Command::new(program).args(args), b"", TOOL_TIMEOUT, &|| {
        true
    });
    match output {
        Ok(output) if output.success => Ok(output.stdout),
        Ok(output) => {
            let text = crate::term::escape_unsafe(output.stderr.lines().next().unwrap_or_default());
            Err(format!("{program} failed: {text}"))
        }
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => format!("there is no '{program}' on PATH"),
            io::ErrorKind::TimedOut => format!("{program} did not answer within 60 s"),
            _ => format!("{program}: {}", crate::error::os_error_text(&error)),
        }),
    }
}
