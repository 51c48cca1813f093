//! Starts this program again in another role.

use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::scaled;
use crate::store::{Home, PROCESS_MARK_VARIABLE, RunId};

/// The hidden commands.
pub(crate) const SUPERVISE: &str = "__supervise";
pub(crate) const ADOPT: &str = "__adopt";

/// A command for this program, bound to a home, outside of the current directory.
pub(super) fn own_command(home: &Home) -> Result<Command> {
    // Descriptors that the caller left open must reach neither the supervisor, which would hold them as long as the
    // run lasts, nor a sandbox, in which an open directory is a way out.
    close_fds::set_fds_cloexec(3, &[]);
    let mut command = Command::new(own_executable()?);
    command.env("MOAT_HOME", home.root()).current_dir("/");
    // A run outlives the session process that started it and must not carry that one's mark.
    command.env_remove(PROCESS_MARK_VARIABLE);
    Ok(command)
}

/// On Linux the running executable itself, even if its file was replaced meanwhile.
pub(crate) fn own_executable() -> Result<std::path::PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok("/proc/self/exe".into());
    }
    std::env::current_exe().map_err(|error| {
        let reason = crate::error::os_error_text(&error);
        Error::new(
            ErrorKind::Failed,
            format!("cannot find moat's own program: {reason}"),
        )
    })
}

/// The adopters that this process has started.
static ADOPTERS: Mutex<Vec<Adopter>> = Mutex::new(Vec::new());

struct Adopter {
    id: RunId,
    child: Child,
    since: Instant,
}

/// Time to leave a run alone after its adopter gave up.
const ADOPTION_RETRY_DELAY: Duration = Duration::from_secs(2);

/// Waits for the exit of a run's adopter, if this process has started one.
pub(super) fn wait_adopter(id: &RunId) {
    let mut adopters = ADOPTERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(adopter) = adopters.iter_mut().find(|adopter| adopter.id == *id) {
        let _ = adopter.child.wait();
    }
}

/// Starts an adopting supervisor in the background unless one that this process started is running or has just given
/// up. Returns whether it did.
pub(super) fn adopter(home: &Home, id: &RunId) -> Result<bool> {
    let mut adopters = ADOPTERS.lock().unwrap_or_else(PoisonError::into_inner);
    adopters.retain_mut(|adopter| {
        let over = adopter
            .child
            .try_wait()
            .is_ok_and(|status| status.is_some());
        !over || adopter.since.elapsed() < scaled(ADOPTION_RETRY_DELAY)
    });
    if adopters.iter().any(|adopter| adopter.id == *id) {
        return Ok(false);
    }
    let child = own_command(home)?
        .arg(ADOPT)
        .arg(id.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| {
            let reason = crate::error::os_error_text(&error);
            Error::new(
                ErrorKind::Failed,
                format!("cannot start a supervisor: {reason}"),
            )
        })?;
    adopters.push(Adopter {
        id: id.clone(),
        child,
        since: Instant::now(),
    });
    Ok(true)
}
