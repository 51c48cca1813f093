//! Starting this program again in another role.

use std::process::{Child, Command, Stdio};

use crate::error::{Error, Kind, Result};
use crate::store::{Home, RunId};

/// The hidden commands.
pub(crate) const SUPERVISE: &str = "__supervise";
pub(crate) const ADOPT: &str = "__adopt";

/// This program, bound to a home, away from the current directory.
pub(super) fn ourselves(home: &Home) -> Result<Command> {
    let mut command = Command::new(program()?);
    command.env("MOAT_HOME", home.root()).current_dir("/");
    Ok(command)
}

/// On Linux the running program itself, also when its file was replaced meanwhile.
fn program() -> Result<std::path::PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    std::env::current_exe().map_err(|error| {
        let reason = crate::error::reason(&error);
        Error::new(
            Kind::Failed,
            format!("cannot find moat's own program: {reason}"),
        )
    })
}

/// Starts an adopting supervisor in the background.
pub(super) fn adopter(home: &Home, id: &RunId) -> Result<Child> {
    ourselves(home)?
        .arg(ADOPT)
        .arg(id.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            let reason = crate::error::reason(&error);
            Error::new(Kind::Failed, format!("cannot start a supervisor: {reason}"))
        })
}
