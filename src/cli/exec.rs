//! `moat exec`: run another command in an active run, or in one of its services.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::args::Args;
use super::{flags, output, run, run_selection};
use crate::config::scalar_values;
use crate::error::{Error, ErrorKind, Result};
use crate::launch::terminal_session::{self, PreparedTerminal, Workload};
use crate::launch::{self, config_files, signals};
use crate::run::{ExecCanceller, ExecRequest};
use crate::store::Home;
use crate::term::pty::Size;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let home = Home::locate()?;
    let id = run_selection::one(&args.positional()[0], &home)?;
    let (exec, terminal) = exec_request(args, &home)?;
    let record = home.run(&id).require()?;
    run_selection::adopt(&home, std::iter::once(&record));
    if let Some(name) = &exec.service {
        run_selection::service(Some(&record), &id, name)?;
    }
    let ender = ExecCanceller::default();
    let first = handle_signals(&ender)?;
    let session = terminal.map(|terminal| terminal.start(Arc::new(ender.clone())));
    let done = crate::run::exec(&home, &record, exec, &ender);
    if let Some(session) = session {
        session.finish();
    }
    let done = done?;
    if let Some(why) = &done.log.missing_why {
        output::warning(&format!("the log of this command is incomplete: {why}"));
    }
    let number = done.number;
    output::detail(args, &format!("its output: moat logs {id} --exec {number}"));
    if let Some(error) = &done.error {
        let error = Error::new(ErrorKind::Failed, error.clone());
        output::error(&error, args.has(&flags::JSON));
    }
    if args.has(&flags::JSON) {
        output::json(&done)?;
    }
    Ok(match first.load(Ordering::Acquire) {
        SIGINT => 130,
        SIGTERM => 143,
        // moat ended the command because its reader went away, which is not a failure.
        _ if ender.output_was_closed() => done.exit_code.filter(|code| *code < 128).unwrap_or(0),
        _ => done.exit_code.unwrap_or(1),
    })
}

/// Returns the request, and our terminal if the command gets it.
fn exec_request(args: &Args, home: &Home) -> Result<(ExecRequest, Option<PreparedTerminal>)> {
    let text = |flag| args.text(flag).map(|value| value.map(str::to_owned));
    let command = args.rest().unwrap_or_default().iter().map(AsRef::as_ref);
    let command = run::all_text(command, "the command")?;
    if command.first().is_none_or(String::is_empty) {
        let hint = "put the command after '--': moat exec RUN -- CMD";
        return Err(Error::usage("no command was given").hint(hint));
    }
    let workdir = text(&flags::WORKDIR)?;
    if workdir.as_ref().is_some_and(|dir| !dir.starts_with('/')) {
        let message = "--workdir must be an absolute path in the container";
        return Err(Error::usage(message).hint("write e.g. --workdir /workspace/src"));
    }
    let mut env: Vec<(String, String)> = Vec::new();
    for text in run::all_text(args.values(&flags::EXEC_ENV), "--env")? {
        let (name, value) = scalar_values::env(&text, &|name| std::env::var_os(name))?;
        env.retain(|(earlier, _)| *earlier != name);
        env.push((name, value));
    }
    let mut exec = ExecRequest {
        service: text(&flags::EXEC_SERVICE)?,
        command,
        env,
        workdir,
        stdin: None,
        terminal: None,
        stream: !args.has(&flags::JSON),
    };
    let session = match wants_terminal(args)? {
        true => Some(offer_terminal(args, &mut exec, home)?),
        false => None,
    };
    if session.is_none() && args.has(&flags::EXEC_INTERACTIVE) {
        exec.stdin = Some(launch::stdin()?);
    }
    Ok((exec, session))
}

/// Returns whether the command gets our terminal.
fn wants_terminal(args: &Args) -> Result<bool> {
    let (interactive, tty) = (
        args.has(&flags::EXEC_INTERACTIVE),
        args.has(&flags::EXEC_TTY),
    );
    let is_terminal = rustix::termios::isatty(rustix::stdio::stdin());
    if tty && !is_terminal {
        return Err(Error::usage("--tty needs a terminal on stdin")
            .hint("for a pipe or a file, leave out --tty: moat exec RUN -i -- CMD < FILE"));
    }
    if !is_terminal || !(interactive || tty) {
        return Ok(false);
    }
    if args.has(&flags::JSON) {
        let message = "--json and -i with a terminal exclude each other";
        let hint = "leave out one of them, or give -i a pipe or a file";
        return Err(Error::usage(message).hint(hint));
    }
    PreparedTerminal::size().map(|_| true)
}

fn offer_terminal(args: &Args, exec: &mut ExecRequest, home: &Home) -> Result<PreparedTerminal> {
    let (session, typed, terminal) =
        PreparedTerminal::of_exec(config_files::escape(home)?, &output::ui(args))?;
    (exec.stdin, exec.terminal) = (Some(typed), Some(terminal));
    for (name, value) in terminal_session::variables() {
        if !exec.env.iter().any(|(set, _)| *set == name) {
            exec.env.push((name, value));
        }
    }
    Ok(session)
}

impl Workload for ExecCanceller {
    fn resize(&self, size: Size) {
        ExecCanceller::resize(self, size);
    }

    fn set_has_terminal(&self, _has: bool) {}

    fn end(&self, kill: bool) {
        ExecCanceller::stop(self, kill);
    }
}

/// Installs the signal handlers: the first signal ends the command, the second kills it. Returns the number of the
/// first signal, 0 until then.
fn handle_signals(ender: &ExecCanceller) -> Result<Arc<AtomicI32>> {
    let mut signals = signals::signals()?;
    let first = Arc::new(AtomicI32::new(0));
    let (noted, ender) = (Arc::clone(&first), ender.clone());
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let _ = noted.compare_exchange(0, signal, Ordering::AcqRel, Ordering::Acquire);
            ender.stop(false);
        }
    });
    Ok(first)
}
