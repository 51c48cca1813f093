//! `moat down`: stop and remove a session.

use serde::Serialize;

use super::args::Args;
use super::{flags, output, session_commands};
use crate::error::{Error, ErrorKind, Result};
use crate::session::{DownRequest, OperationContext, PortListener, down};
use crate::store::{Home, Session};

#[derive(Serialize)]
struct DownResult {
    branch: String,
    key: String,
    /// A worktree that moat created but kept, because it has uncommitted work or cannot be removed.
    kept_worktree: Option<String>,
    /// The engines that did not answer and that `--force` abandoned, with the session's resources there.
    abandoned_engines: Vec<String>,
    /// The ports of its processes that another process still listens on.
    held_ports: Vec<HeldPort>,
    error: Option<String>,
}

#[derive(Serialize)]
struct HeldPort {
    port: u16,
    /// `None` if the process belongs to another user.
    pid: Option<u32>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let request = DownRequest {
        keep: args.has(&flags::DOWN_KEEP),
        delete_worktree: args.has(&flags::DELETE_WORKTREE),
        force: args.has(&flags::DOWN_FORCE),
    };
    let without_keep = match (request.delete_worktree, request.force) {
        (true, _) => Some(&flags::DELETE_WORKTREE),
        (_, true) => Some(&flags::DOWN_FORCE),
        _ => None,
    };
    if let Some(flag) = without_keep.filter(|_| request.keep) {
        let message = format!("--keep and {} exclude each other", flag.spelled());
        return Err(Error::usage(message).hint("leave out one of them"));
    }
    let branch = session_commands::branch_argument(args, 0)?;
    let all = args.has(&flags::DOWN_ALL);
    if all && branch.is_some() {
        return Err(Error::usage("--all takes no branch").hint("leave out one of them"));
    }
    session_commands::interruptible(args, &home, &mut |context| {
        if all {
            return take_all_down(args, context, request);
        }
        let session = session_commands::find(&home, branch)?;
        let taken = take_down(args, context, &session, request)?;
        if args.has(&flags::JSON) {
            output::json(&taken)?;
        }
        // The operation is complete; the exit code tells of the signal.
        context.check().map(|()| 0)
    })
}

/// Takes the sessions of the repository down. Continues after a failure: the sessions are independent.
fn take_all_down(args: &Args, context: &OperationContext<'_>, request: DownRequest) -> Result<u8> {
    let json = args.has(&flags::JSON);
    let repository = session_commands::repository()?;
    let mut sessions = context.home.sessions()?;
    sessions.retain(|session| session.repository == repository.common);
    let (mut done, mut failed) = (Vec::new(), 0);
    for session in &sessions {
        if context.check().is_err() {
            break;
        }
        let taken = take_down(args, context, session, request);
        done.push(taken.unwrap_or_else(|error| {
            failed += 1;
            if !json {
                output::error(&error, false);
            }
            DownResult {
                error: Some(error.message.clone()),
                ..result_document(session)
            }
        }));
    }
    if json {
        output::json(&done)?;
    } else if done.is_empty() {
        output::notice(args, "there are no sessions of this repository");
    }
    context.check()?;
    Ok(u8::from(failed > 0))
}

fn result_document(session: &Session) -> DownResult {
    DownResult {
        branch: session.branch.clone(),
        key: session.key.clone(),
        kept_worktree: None,
        abandoned_engines: Vec::new(),
        held_ports: Vec::new(),
        error: None,
    }
}

fn take_down(
    args: &Args,
    context: &OperationContext<'_>,
    session: &Session,
    request: DownRequest,
) -> Result<DownResult> {
    let left = down(context, &session.key, request)?;
    let branch = crate::term::escape_unsafe(&session.branch);
    let how = if request.keep {
        "stopped; its slot and ports are kept"
    } else {
        "taken down"
    };
    output::notice(args, &format!("'{branch}' is {how}"));
    let still = context.home.session(&session.key)?;
    if still.is_some_and(|still| still.incarnation == session.incarnation) && !request.keep {
        return Err(Error::new(
            ErrorKind::Failed,
            format!("the session of '{branch}' still exists"),
        ));
    }
    Ok(DownResult {
        kept_worktree: left.kept_worktree.map(|path| path.display().to_string()),
        abandoned_engines: left.abandoned_engines,
        held_ports: left.held_ports.into_iter().map(held_port).collect(),
        ..result_document(session)
    })
}

fn held_port(held: PortListener) -> HeldPort {
    HeldPort {
        port: held.port,
        pid: held.pid,
    }
}
