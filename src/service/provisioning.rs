//! Downloads what a service needs, such as models, into the cache that runs share.
//!
//! Each item has its own lock: runs that need different items do not wait for each other, and an item that several
//! runs need is downloaded once.

use std::collections::VecDeque;
use std::time::Duration;

use super::{StartingService, errors};
use crate::error::Result;
use crate::failpoint::checkpoint;
use crate::plan::PlannedProvision;
use crate::registry::ITEM_PLACEHOLDER;
use crate::runtime::{self, CommandSpec};
use crate::term::{RepeatFilter, escape_unsafe, strip_sequences};

/// Timeout of one item.
const ITEM_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Timeout of the query for existing items.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn provide(
    subject: &dyn StartingService,
    service: &str,
    wanted: &PlannedProvision,
    should_continue: &dyn Fn() -> bool,
) -> Result<()> {
    // Items contain no comma.
    let lock_name = |item: &str| format!("{service}-{}", item.replace('/', ","));
    let count = wanted.items.len();
    for (at, item) in wanted.items.iter().enumerate() {
        let should_continue = || should_continue() && subject.exit().is_none();
        subject.notify(&format!("getting {item} ({} of {count})", at + 1), true);
        let home = subject.home();
        let lock = home.lock_creation(&lock_name(item), &should_continue)?;
        if lock.is_some() && !is_there(subject, wanted, item, &should_continue) {
            checkpoint("provisioning");
            get(subject, wanted, item, &should_continue)?;
        }
        if let Some(exit) = subject.exit() {
            return Err(errors::ended(subject, &exit, "before it was provisioned"));
        }
        if !should_continue() {
            return Err(errors::cancelled(subject));
        }
        subject.notify(&format!("{item} is there"), true);
    }
    Ok(())
}

/// Whether the item exists already. As with images, a name without a tag means `latest`.
fn is_there(
    subject: &dyn StartingService,
    wanted: &PlannedProvision,
    item: &str,
    should_continue: &dyn Fn() -> bool,
) -> bool {
    if wanted.list.is_empty() {
        return false;
    }
    let tagged = format!("{item}:latest");
    let mut found = false;
    let Some(commands) = subject.runtime().commands() else {
        return false;
    };
    let spec = CommandSpec {
        handle: &subject.handle(),
        command: &wanted.list,
        timeout: LIST_TIMEOUT,
    };
    let listed = commands.exec(&spec, should_continue, &mut |line| {
        let name = line.split_whitespace().next();
        found |= name == Some(item) || name == Some(&tagged);
    });
    listed.is_ok_and(|code| code == Some(0)) && found
}

fn get(
    subject: &dyn StartingService,
    wanted: &PlannedProvision,
    item: &str,
    should_continue: &dyn Fn() -> bool,
) -> Result<()> {
    let words = wanted.command.iter();
    let command: Vec<String> = words
        .map(|word| if word == ITEM_PLACEHOLDER { item } else { word }.to_owned())
        .collect();
    let mut talk = ProvisioningOutput::default();
    let mut code = None;
    let note = |why: &str| subject.log_note(&format!("{item}: {why}"));
    let ended = runtime::retry(should_continue, &note, &mut || {
        talk = ProvisioningOutput::default();
        let spec = CommandSpec {
            handle: &subject.handle(),
            command: &command,
            timeout: ITEM_TIMEOUT,
        };
        let mut tell = |line: &str| talk.on_output(subject, line);
        code = subject
            .runtime()
            .need_commands()?
            .exec(&spec, should_continue, &mut tell)?;
        Ok(())
    });
    match ended {
        Ok(()) if code == Some(0) => Ok(()),
        _ if !should_continue() => Ok(()),
        Ok(()) => Err(errors::provision(
            subject,
            wanted,
            (item, &command),
            code,
            &talk.end(),
        )),
        Err(problem) => {
            let why = problem.message();
            let what = (item, command.as_slice());
            Err(errors::provision(subject, wanted, what, None, why))
        }
    }
}

/// Number of lines that are shown of a failed command; the order of its two streams is arbitrary.
const SHOWN_LINES: usize = 3;

/// Receives the output of a provisioning command.
#[derive(Default)]
struct ProvisioningOutput {
    last: VecDeque<String>,
    sparse: RepeatFilter,
}

impl ProvisioningOutput {
    fn on_output(&mut self, subject: &dyn StartingService, line: &str) {
        // A carriage return starts the line again.
        let line = line.rsplit('\r').find(|part| !part.is_empty());
        let line = escape_unsafe(&strip_sequences(line.unwrap_or_default()));
        if line.is_empty() {
            return;
        }
        subject.notify(&line, false);
        if self.sparse.passes(&line) {
            subject.log_output(&line);
        } else {
            // The same line with another number.
            self.last.pop_back();
        }
        if self.last.len() == SHOWN_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Its last output, on one line.
    fn end(&self) -> String {
        let lines: Vec<&str> = self.last.iter().map(String::as_str).collect();
        lines.join("; ")
    }
}
