//! `moat wt`: run a command in a session, and inspect sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::args::Args;
use super::confirm::confirm;
use super::session_commands::{self, SessionDocument};
use super::{flags, output, run, session_text};
use crate::error::{Error, ErrorKind, Result};
use crate::launch::{self, LaunchRequest};
use crate::plan::RunRequest;
use crate::runtime;
use crate::session::{self as sessions, SessionView, variables};
use crate::store::{Home, Session};
use crate::term;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let branch = words(args)?[0];
    run_in(args, &Home::locate()?, branch)
}

/// Returns the positional arguments as text.
fn words(args: &Args) -> Result<Vec<&str>> {
    let not_text = || Error::usage("an argument is not UTF-8");
    let words = args.positional().iter();
    words
        .map(|word| word.to_str().ok_or_else(not_text))
        .collect()
}

pub(crate) fn logs(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let (branch, process) = match words(args)?.as_slice() {
        [branch, process] => (Some(*branch), *process),
        words => (None, words[0]),
    };
    let session = session_commands::find(&home, branch)?;
    super::logs::of_process(args, &home, &session, process)
}

/// Brings up the session, and runs a command in its worktree.
fn run_in(args: &Args, home: &Home, branch: &str) -> Result<u8> {
    let mut found: Option<Session> = None;
    let brought = session_commands::interruptible(args, home, &mut |context| {
        let warn = |text: String| (context.notify)(&text);
        found = Some(super::up::bring_up(args, context, Some(branch), &warn)?.session);
        // The session is up; a signal from now on does not roll it back.
        context.check().map(|()| 0)
    });
    let session = match (brought, found) {
        (Ok(0), Some(session)) => session,
        (Ok(code), _) => return Ok(code),
        // Like 'moat run', a failure of moat must differ from a failure of the workload.
        (Err(error), _) => {
            output::error(&error, args.has(&flags::JSON));
            return Ok(if error.kind == ErrorKind::Usage {
                2
            } else {
                125
            });
        }
    };
    match launch(args, home, session) {
        Err(error) if error.kind != ErrorKind::Usage && error.kind != ErrorKind::OutputClosed => {
            output::error(&error, args.has(&flags::JSON));
            Ok(125)
        }
        result => result,
    }
}

/// Launches a run in the session.
fn launch(args: &Args, home: &Home, session: Session) -> Result<u8> {
    let command = args.rest().unwrap_or_default().iter().map(AsRef::as_ref);
    let request = LaunchRequest {
        run: RunRequest {
            name: run::text(args, &flags::NAME)?,
            command: run::all_text(command, "the command")?,
            interactive: args.has(&flags::INTERACTIVE),
            background: args.has(&flags::BACKGROUND),
            ..RunRequest::default()
        },
        session: Some(session),
        runtime: None,
        context: None,
        follow: false,
        export_to: None,
    };
    let ui = output::ui(args);
    launch::prepare(home, request, &ui)?.launch(home, &ui)
}

pub(crate) fn list(args: &Args) -> Result<u8> {
    let home = &Home::locate()?;
    let views = sessions::view(home, home.sessions()?, runtime::QUICK_TIMEOUT)?;
    if args.has(&flags::JSON) {
        let documents: Vec<SessionDocument<'_>> = views
            .iter()
            .map(|view| SessionDocument::of(view, None))
            .collect();
        output::json(&documents)?;
    } else if args.has(&flags::QUIET) {
        let keys: String = views
            .iter()
            .map(|view| format!("{}\n", view.session.key))
            .collect();
        output::print_result(&keys)?;
    } else if views.is_empty() {
        output::notice(args, "there are no sessions; bring one up: moat up BRANCH");
    } else {
        let names = repository_names(&views);
        let rows: Vec<Vec<String>> = views.iter().map(|view| row(view, &names)).collect();
        let mut header = vec![
            "BRANCH", "SLOT", "STATUS", "RUNNING", "PORTS", "CREATED", "WORKTREE",
        ];
        if names.len() > 1 {
            header.insert(0, "REPOSITORY");
        }
        output::print_result(&term::table(&header, &rows, term::width(std::io::stdout())))?;
    }
    let silent: BTreeMap<String, &str> = views
        .iter()
        .flat_map(SessionView::unreachable_engines)
        .collect();
    for (engine, why) in silent {
        let why = term::escape_unsafe(why);
        output::warning(&format!(
            "the state of the services in {engine} is unknown: {why}"
        ));
    }
    let abandoned = views.iter().filter(|view| view.abandoned);
    for view in abandoned {
        let (branch, key) = (term::escape_unsafe(&view.session.branch), &view.session.key);
        output::notice(
            args,
            &format!("note: an operation on '{branch}' was killed; run 'moat wt recover {key}'"),
        );
    }
    Ok(0)
}

/// The repositories of sessions, each with the shortest end of its path that no other one has.
fn repository_names(views: &[SessionView]) -> BTreeMap<&Path, String> {
    let repositories = views.iter().map(|view| view.session.repository.as_path());
    let repositories: BTreeSet<&Path> = repositories.collect();
    let ends_with = |path: &Path, end: &Path| checkout(path).ends_with(end);
    let name = |path: &Path| {
        let above = checkout(path).ancestors().skip(1);
        let ends = above.filter_map(|above| checkout(path).strip_prefix(above).ok());
        let mut unique = ends.filter(|end| {
            repositories
                .iter()
                .filter(|other| ends_with(other, end))
                .count()
                == 1
        });
        let name = unique.next().unwrap_or_else(|| checkout(path));
        term::escape_unsafe(&name.display().to_string())
    };
    repositories
        .iter()
        .map(|path| (*path, name(path)))
        .collect()
}

/// The directory that people know as the repository.
fn checkout(repository: &Path) -> &Path {
    match repository.parent() {
        Some(parent) if repository.ends_with(".git") => parent,
        _ => repository,
    }
}

/// `names`: of the repositories; the row has the name only if there are several.
fn row(view: &SessionView, names: &BTreeMap<&Path, String>) -> Vec<String> {
    let session = &view.session;
    let processes = view.processes.iter().map(|health| health.running);
    let services = view.services.iter().map(|health| match health.state {
        "unknown" => None,
        _ => Some(health.is_running()),
    });
    let known: Vec<Option<bool>> = processes.chain(services).collect();
    let count = |which| known.iter().filter(|known| **known == which).count();
    let mut running = format!("{}/{}", count(Some(true)), known.len());
    if count(None) > 0 {
        running.push_str(&format!(" ({} unknown)", count(None)));
    }
    let ports = session.ports.iter().filter(|port| port.published);
    let ports: Vec<String> = ports
        .map(|port| format!("{}:{}", port.name, port.port))
        .collect();
    let mut row = vec![
        term::escape_unsafe(&session.branch),
        session.slot.to_string(),
        session_text::status(view),
        running,
        ports.join(" "),
        term::age(session.created_at.age()),
        term::escape_unsafe(&session.worktree.path.display().to_string()),
    ];
    if names.len() > 1 {
        let name = names.get(session.repository.as_path());
        row.insert(0, name.cloned().unwrap_or_default());
    }
    row
}

pub(crate) fn status(args: &Args) -> Result<u8> {
    let home = &Home::locate()?;
    let branch = words(args)?.first().copied();
    let view = session_commands::view_session(
        home,
        session_commands::find(home, branch)?,
        runtime::QUICK_TIMEOUT,
    )?;
    if args.has(&flags::JSON) {
        output::json(&SessionDocument::of(&view, None))?;
    } else {
        output::print_result(&session_text::text(&view, &[]))?;
    }
    Ok(u8::from(!view.is_healthy()))
}

pub(crate) fn env(args: &Args) -> Result<u8> {
    let home = &Home::locate()?;
    let branch = words(args)?.first().copied();
    let session = session_commands::find(home, branch)?;
    let variables = variables(&session);
    if args.has(&flags::JSON) {
        let map: BTreeMap<String, String> = variables.into_iter().collect();
        output::json(&map)?;
        return Ok(0);
    }
    let line = |(name, value): (String, String)| {
        let value = shlex::try_quote(&value).unwrap_or_default().into_owned();
        term::escape_unsafe(&format!("{name}={value}")) + "\n"
    };
    let text: String = variables.into_iter().map(line).collect();
    output::print_result(&text)?;
    Ok(0)
}

pub(crate) fn sync(args: &Args) -> Result<u8> {
    let home = &Home::locate()?;
    let branch = words(args)?.first().copied();
    let found = session_commands::find(home, branch)?;
    session_commands::interruptible(args, home, &mut |context| {
        let taken = sessions::sync(context, &found.key)?;
        if args.has(&flags::JSON) {
            output::json(&taken)?;
        } else if taken.is_empty() {
            output::notice(
                args,
                "no other process in the worktree listens on a port of the session",
            );
        } else {
            output::notice(args, &format!("adopted: {}", taken.join(", ")));
        }
        Ok(0)
    })
}

pub(crate) fn recover(args: &Args) -> Result<u8> {
    let home = &Home::locate()?;
    let branch = words(args)?.first().copied();
    let found = match branch {
        Some(branch) => vec![session_commands::find(home, Some(branch))?],
        None => home.sessions()?,
    };
    let views = sessions::view(home, found, runtime::QUICK_TIMEOUT)?;
    let (mut done, mut failed) = (BTreeMap::new(), None);
    let code = session_commands::interruptible(args, home, &mut |context| {
        for view in views.iter().filter(|view| view.abandoned) {
            context.check()?;
            let branch = term::escape_unsafe(&view.session.branch);
            match sessions::recover(context, &view.session.key) {
                Ok(how) => {
                    output::notice(args, &format!("'{branch}': {how}"));
                    // Use the key, because two repositories can have the same branch.
                    done.insert(view.session.key.clone(), how);
                }
                Err(error) => {
                    output::notice(args, &format!("'{branch}': {}", error.message));
                    failed.get_or_insert(error);
                }
            }
        }
        Ok(0)
    })?;
    if args.has(&flags::JSON) {
        output::json(&done)?;
    } else if done.is_empty() && failed.is_none() && code == 0 {
        output::notice(args, "there is nothing to recover");
    }
    failed.map_or(Ok(code), Err)
}

pub(crate) fn clean(args: &Args) -> Result<u8> {
    let home = &Home::locate()?;
    let repository = session_commands::repository()?;
    let force = args.has(&flags::WT_FORCE);
    let mut going: Vec<PathBuf> = Vec::new();
    let work_in = |path: &PathBuf| {
        // If the directory is gone, only git's entry is left.
        let is_gone = path.symlink_metadata().is_err();
        let is_asked = !force && !is_gone;
        is_asked
            .then(|| sessions::find_work(&repository.common, path, None))
            .flatten()
    };
    for path in sessions::unused_worktrees(home, &repository)? {
        match work_in(&path) {
            None => going.push(path),
            Some(work) => output::notice(args, &work.kept_message(&path)),
        }
    }
    let shown = |paths: &[PathBuf]| -> String {
        let paths = paths.iter();
        let lines = paths.map(|path| term::escape_unsafe(&path.display().to_string()) + "\n");
        lines.collect::<String>().trim_end().to_owned()
    };
    if !going.is_empty() && !force {
        output::print_notice(&shown(&going));
        let hint = "remove them without asking, even with uncommitted work: moat wt clean --force";
        confirm(args, "Remove these worktrees?", hint)?;
        // Check again after the answer: a worktree may have a session or uncommitted work by now.
        let unused = sessions::unused_worktrees(home, &repository)?;
        going.retain(|path| {
            let stays = !unused.contains(path) || work_in(path).is_some();
            if stays {
                let shown = term::escape_unsafe(&path.display().to_string());
                output::notice(args, &format!("note: keeping {shown}: it is now in use"));
            }
            !stays
        });
    }
    for path in &going {
        sessions::remove_worktree(home, &repository.common, path)?;
    }
    match args.has(&flags::JSON) {
        true => output::json(&going)?,
        false if going.is_empty() => {
            output::notice(args, "there are no worktrees without a session")
        }
        false => output::notice(args, &format!("removed:\n{}", shown(&going))),
    }
    Ok(0)
}
