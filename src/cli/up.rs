//! `moat up`: give a branch its own worktree, ports, services and processes.

use std::cell::RefCell;

use super::args::Args;
use super::command_table::Flag;
use super::session_commands::{self, SessionDocument};
use super::{flags, output, session_text};
use crate::error::Result;
use crate::runtime;
use crate::session::{Decision, OperationContext, PinnedPort, Repository, UpRequest, up};
use crate::store::{Home, Session};

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let branch = session_commands::branch_argument(args, 0)?;
    session_commands::interruptible(args, &home, &mut |context| {
        let warnings = RefCell::new(Vec::new());
        let warn = |text: String| {
            (context.notify)(&text);
            warnings.borrow_mut().push(text);
        };
        let BroughtUp {
            session,
            decisions,
            emptiness,
        } = bring_up(args, context, branch, &warn)?;
        emptiness.into_iter().for_each(warn);
        let view = session_commands::view_session(&home, session, runtime::REQUEST_TIMEOUT)?;
        if args.has(&flags::JSON) {
            let told = (&*decisions, &**warnings.borrow());
            output::json(&SessionDocument::of(&view, Some(told)))?;
        } else if !args.has(&flags::QUIET) {
            output::print_result(&session_text::text(&view, &decisions))?;
        }
        Ok(0)
    })
}

/// A session that is up, and how it came about.
pub(super) struct BroughtUp {
    pub(super) session: Session,
    decisions: Vec<Decision>,
    /// The note about a session that its configuration gives nothing that runs.
    emptiness: Option<String>,
}

/// Brings up the session of the arguments.
pub(super) fn bring_up(
    args: &Args,
    context: &OperationContext<'_>,
    branch: Option<&str>,
    warn: &dyn Fn(String),
) -> Result<BroughtUp> {
    let (repository, branch) = match session_commands::find_by_key(context.home, branch)? {
        Some(found) => (Repository::discover(&found.main)?, found.branch),
        None => {
            let repository = session_commands::repository()?;
            let branch = repository.branch(branch)?;
            (repository, branch)
        }
    };
    let settings = session_commands::settings(&repository)?;
    let wished = session_commands::SessionConfig::read(context.home, &repository)?;
    let pins = super::run::all_text(args.values(&flags::PORT), "--port")?;
    let pins = pins
        .iter()
        .map(|pin| PinnedPort::parse(pin))
        .collect::<Result<Vec<PinnedPort>>>()?;
    let only = names(args, &flags::UP_SERVICES)?;
    let request = UpRequest {
        branch: &branch,
        settings: &settings,
        services: &wished.services,
        host: &|runtime| wished.host(context.home, runtime),
        pins: &pins,
        only: args.has(&flags::UP_SERVICES).then_some(&only),
        skip: &names(args, &flags::UP_SKIP)?,
        force: args.has(&flags::UP_FORCE),
        warn,
    };
    let (session, decisions) = up(context, &repository, &request)?;
    let emptiness =
        session_commands::emptiness_note(&session, &repository, &settings, &wished.services)?;
    Ok(BroughtUp {
        session,
        decisions,
        emptiness,
    })
}

/// Returns the names of a flag, which are separated by commas.
fn names(args: &Args, flag: &Flag) -> Result<Vec<String>> {
    let lists = super::run::all_text(args.values(flag), &flag.spelled())?;
    let names = lists.iter().flat_map(|list| list.split(','));
    Ok(names
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect())
}
