//! `moat exec`: another command in a run that is running, or in one of its services.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::args::Args;
use super::{flags, interrupts, output, run, select};
use crate::config::value;
use crate::error::{Error, Kind, Result};
use crate::run::{Ender, Exec};
use crate::store::Home;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let id = select::one(&args.positional()[0], &home)?;
    let exec = wish(args)?;
    let record = home.run(&id).require()?;
    select::adopt(&home, std::iter::once(&record));
    if let Some(name) = &exec.service {
        select::service(Some(&record), &id, name)?;
    }
    let ender = Ender::default();
    let first = obey_signals(&ender)?;
    let done = crate::run::exec(&home, &record, exec, &ender)?;
    if let Some(why) = &done.log.missing_why {
        output::warning(&format!("what it printed is not kept completely: {why}"));
    }
    let number = done.number;
    output::detail(
        args,
        &format!("its output is kept: moat logs {id} --exec {number}"),
    );
    if let Some(error) = &done.error {
        let error = Error::new(Kind::Failed, error.clone());
        output::error(&error, args.has(&flags::JSON));
    }
    if args.has(&flags::JSON) {
        output::json(&done)?;
    }
    Ok(match first.load(Ordering::Acquire) {
        SIGINT => 130,
        SIGTERM => 143,
        // It was ended because nobody reads on, and that is fine.
        _ if ender.output_was_closed() => done.exit_code.filter(|code| *code < 128).unwrap_or(0),
        _ => done.exit_code.unwrap_or(1),
    })
}

fn wish(args: &Args) -> Result<Exec> {
    let text = |flag| args.text(flag).map(|value| value.map(str::to_owned));
    let command = args.rest().unwrap_or_default().iter().map(AsRef::as_ref);
    let command = run::all_text(command, "the command")?;
    if command.first().is_none_or(String::is_empty) {
        let hint = "put the command after '--': moat exec RUN -- CMD";
        return Err(Error::usage("no command was given").hint(hint));
    }
    let workdir = text(&flags::WORKDIR)?;
    if workdir.as_ref().is_some_and(|dir| !dir.starts_with('/')) {
        let message = "the directory of --workdir is one of the container, and must be absolute";
        return Err(Error::usage(message).hint("write e.g. --workdir /workspace/src"));
    }
    let mut env: Vec<(String, String)> = Vec::new();
    for text in run::all_text(args.values(&flags::EXEC_ENV), "--env")? {
        let (name, value) = value::env(&text, &|name| std::env::var_os(name))?;
        env.retain(|(earlier, _)| *earlier != name);
        env.push((name, value));
    }
    let stdin = args
        .has(&flags::EXEC_INTERACTIVE)
        .then(run::stdin)
        .transpose()?;
    Ok(Exec {
        service: text(&flags::EXEC_SERVICE)?,
        command,
        env,
        workdir,
        stdin,
        stream: !args.has(&flags::JSON),
    })
}

/// The first signal ends the command, a second one at once. Where the first one is noted.
fn obey_signals(ender: &Ender) -> Result<Arc<AtomicI32>> {
    let mut signals = interrupts::signals()?;
    let first = Arc::new(AtomicI32::new(0));
    let (noted, ender) = (Arc::clone(&first), ender.clone());
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let _ = noted.compare_exchange(0, signal, Ordering::AcqRel, Ordering::Acquire);
            ender.end();
        }
    });
    Ok(first)
}
