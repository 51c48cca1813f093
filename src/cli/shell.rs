//! `moat shell`: open a shell in the worktree of a session.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::args::Args;
use super::{flags, session_commands};
use crate::error::{Error, ErrorKind, Result};
use crate::program::clear_git_repository;
use crate::session::{attach, variables};
use crate::store::{Home, SessionStatus};
use crate::term::escape_unsafe;

pub(crate) fn run(args: &Args) -> Result<u8> {
    if args.has(&flags::JSON) {
        return Err(Error::usage("'shell' does not support --json").hint("leave out --json"));
    }
    let home = Home::locate()?;
    let found = session_commands::find(&home, session_commands::branch_argument(args, 0)?)?;
    let branch = escape_unsafe(&found.branch);
    if found.status != SessionStatus::Active {
        let message = format!("the session of '{branch}' is {}", found.status.as_str());
        return Err(
            Error::new(ErrorKind::Failed, message).hint(format!("start it: moat up {}", found.key))
        );
    }
    if std::io::stdout().is_terminal()
        && let Some(mut windows) = attach(&found)?
    {
        let reason = crate::error::os_error_text(&windows.exec());
        return Err(Error::new(
            ErrorKind::Failed,
            format!("cannot run tmux: {reason}"),
        ));
    }
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let shell = shell.unwrap_or_else(|| "/bin/sh".into());
    let error = clear_git_repository(&mut Command::new(&shell))
        .current_dir(&found.worktree.path)
        .envs(variables(&found))
        .exec();
    let reason = crate::error::os_error_text(&error);
    let shown = escape_unsafe(&shell.to_string_lossy());
    Err(
        Error::new(ErrorKind::Failed, format!("cannot run '{shown}': {reason}"))
            .hint("set the variable SHELL to an executable shell"),
    )
}
