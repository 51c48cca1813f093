//! A workload that uses our terminal: keys go in, the screen comes out, and moat restores the terminal at the end.
//!
//! Typed bytes, without escapes, go through a pipe: for a run to its supervisor, for `exec` to this process. The output
//! of a run comes through a second pipe. [`TerminalSession::end`] or a signal handler restores the terminal; if this
//! process is killed, the supervisor of the run restores it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use super::SharedUi;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::checkpoint;
use crate::run::{OutputTarget, Streams};
use crate::term::pty::Size;
use crate::term::{EscapeParser, EscapePrefix, KeyInput, Terminal, write_all};

/// The maximum of typed or pasted input that waits for a workload that does not read, in bytes.
const MAX_TYPE_AHEAD_BYTES: usize = 16 * 1024 * 1024;

const STOPPING_NOTICE: &str = "moat: stopping the workload; press the escape key and K to kill it";

const ESCAPE_HELP: &str =
    "moat: k stops the workload, K kills it, the escape key sends itself; any other key sends both";

/// The time for which a redrawing workload has a different size, so that it notices the change.
const REDRAW_DELAY: Duration = Duration::from_millis(100);

/// The terminal before the workload gets it.
pub(crate) struct PreparedTerminal {
    ui: SharedUi,
    terminal: Arc<Terminal>,
    prefix: Option<EscapePrefix>,
    /// Our end of the pipe for typed bytes.
    input: OwnedFd,
    /// Our end of the pipe for output. `None` for `exec`, which shows the output itself.
    output: Option<OwnedFd>,
}

/// The run or command that has the terminal.
pub(crate) trait Workload: Send + Sync {
    fn resize(&self, size: Size);

    /// Reports whether the workload has the terminal; it has not while moat is suspended, and after the end.
    fn set_has_terminal(&self, has: bool);

    fn end(&self, kill: bool);
}

/// The terminal while the workload has it.
pub(crate) struct TerminalSession {
    ui: SharedUi,
    terminal: Arc<Terminal>,
    screen: Option<JoinHandle<()>>,
    workload: Arc<dyn Workload>,
}

impl PreparedTerminal {
    /// Returns the size of our terminal. Fails if stdout is not a terminal.
    pub(crate) fn size() -> Result<Size> {
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        if !rustix::termios::isatty(stdout) {
            return Err(Error::usage(
                "-i with a terminal on stdin also needs a terminal on stdout",
            )
            .hint("leave out -i, or give -i a pipe or a file: moat run -i -- CMD < FILE"));
        }
        Ok(Size::of(stdout).or(Size::of(stdin)).unwrap_or_default())
    }

    /// Prepares the terminal for a run. Also returns the streams for its supervisor.
    pub(crate) fn of_run(
        prefix: Option<EscapePrefix>,
        ui: &SharedUi,
    ) -> Result<(PreparedTerminal, Streams)> {
        let (mut interactive, typed) =
            PreparedTerminal::new(prefix, ui).map_err(|error| failed(&error))?;
        let (output, shown) = pipe().map_err(|error| failed(&error))?;
        interactive.output = Some(output);
        let copy = |fd: &OwnedFd| fd.try_clone().map_err(|error| failed(&error));
        let terminal = &interactive.terminal;
        let streams = Streams {
            stdin: Some(typed),
            terminal: Some([copy(terminal.keys())?, copy(terminal.screen())?]),
            output: OutputTarget::Descriptor(shown),
        };
        Ok((interactive, streams))
    }

    /// Prepares the terminal for `exec`. Also returns the pipe of typed bytes, and the terminal, on which `exec` itself
    /// shows the output.
    pub(crate) fn of_exec(
        prefix: Option<EscapePrefix>,
        ui: &SharedUi,
    ) -> Result<(PreparedTerminal, OwnedFd, Arc<Terminal>)> {
        let new = PreparedTerminal::new(prefix, ui);
        let (interactive, typed) = new.map_err(|error| failed(&error))?;
        let terminal = Arc::clone(&interactive.terminal);
        Ok((interactive, typed, terminal))
    }

    fn new(prefix: Option<EscapePrefix>, ui: &SharedUi) -> io::Result<(PreparedTerminal, OwnedFd)> {
        let terminal = Terminal::new(rustix::stdio::stdin(), rustix::stdio::stdout())?;
        let (typed, input) = pipe()?;
        rustix::io::ioctl_fionbio(&input, true)?;
        let interactive = PreparedTerminal {
            ui: Arc::clone(ui),
            terminal,
            prefix,
            input,
            output: None,
        };
        Ok((interactive, typed))
    }

    /// Gives the terminal to the workload.
    pub(crate) fn start(self, workload: Arc<dyn Workload>) -> TerminalSession {
        let PreparedTerminal {
            ui,
            terminal,
            prefix,
            input,
            output,
        } = self;
        restore_on_panic(&terminal);
        ui.set_raw(true);
        let _ = terminal.make_raw();
        // The size may have changed since the plan.
        workload.resize(terminal.size());
        handle_signals(&terminal, &workload);
        let screen = output.map(|output| {
            let terminal = Arc::clone(&terminal);
            std::thread::spawn(move || show(&output, &terminal))
        });
        let keyboard = Keyboard {
            escapes: EscapeParser::new(prefix),
            waiting: VecDeque::new(),
            workload: Arc::clone(&workload),
            ui: Arc::clone(&ui),
        };
        let typed = Arc::clone(&terminal);
        std::thread::spawn(move || keyboard.forward_keys(&typed, &input));
        TerminalSession {
            ui,
            terminal,
            screen,
            workload,
        }
    }
}

impl TerminalSession {
    /// Shows the rest of the output after the end of the workload, and restores the terminal.
    pub(crate) fn finish(self) {
        if let Some(screen) = self.screen {
            let _ = screen.join();
        }
        self.terminal.restore();
        self.ui.set_raw(false);
        self.workload.set_has_terminal(false);
    }
}

/// Returns the variables that describe our terminal to the workload.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    let names = ["TERM", "COLORTERM"].into_iter();
    names.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
}

/// Opens a pipe. Returns the reading end and the writing end, which no child inherits.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((reader.into(), writer.into()))
}

fn failed(error: &io::Error) -> Error {
    let reason = crate::error::os_error_text(error);
    Error::new(
        ErrorKind::Failed,
        format!("cannot use the terminal: {reason}"),
    )
}

fn restore_on_panic(terminal: &Arc<Terminal>) {
    let terminal = Arc::clone(terminal);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        terminal.restore_in_panic();
        usual(panic);
        // The terminal session needs all of its threads, so a panic in any of them ends moat.
        std::process::abort();
    }));
}

/// Handles the signals about the terminal.
fn handle_signals(terminal: &Arc<Terminal>, workload: &Arc<dyn Workload>) {
    let Ok(mut signals) = Signals::new([SIGWINCH, SIGHUP, SIGTSTP, SIGCONT]) else {
        return;
    };
    let (terminal, workload) = (Arc::clone(terminal), Arc::clone(workload));
    std::thread::spawn(move || {
        let mut left_on = None;
        for signal in signals.forever() {
            match signal {
                // The terminal is gone, and so is its user.
                SIGHUP => workload.end(false),
                SIGTSTP => {
                    left_on = terminal.suspend();
                    workload.set_has_terminal(left_on.is_none());
                    let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
                }
                SIGCONT => {
                    if let Some(on) = left_on.take() {
                        terminal.resume(&on);
                        workload.set_has_terminal(true);
                    }
                    if terminal.make_raw_again() {
                        redraw(&terminal, &*workload);
                    }
                }
                _ => workload.resize(terminal.size()),
            }
        }
    });
}

/// Makes the workload redraw its screen by changing its size for a moment.
fn redraw(terminal: &Terminal, workload: &dyn Workload) {
    let size = terminal.size();
    let rows = if size.rows > 1 { size.rows - 1 } else { 2 };
    workload.resize(Size { rows, ..size });
    // The engine's client reads the size some time after the signal.
    std::thread::sleep(REDRAW_DELAY);
    workload.resize(size);
}

/// Shows the output of the workload until its end.
fn show(output: &OwnedFd, terminal: &Terminal) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = match rustix::io::read(output, &mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(_) => return,
        };
        terminal.watch(&buffer[..count]);
        if write_all(terminal.screen(), &buffer[..count]).is_err() {
            return;
        }
    }
}

/// The path of typed bytes from the terminal to the workload.
struct Keyboard {
    escapes: EscapeParser,
    /// Bytes that the workload has not read yet. They wait here, so that an escape behind them is still handled.
    waiting: VecDeque<u8>,
    workload: Arc<dyn Workload>,
    ui: SharedUi,
}

impl Keyboard {
    fn forward_keys(mut self, terminal: &Terminal, input: &OwnedFd) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Some((typed, can_pass)) = self.wait(terminal, input) else {
                continue;
            };
            if typed {
                match rustix::io::read(terminal.keys(), &mut buffer) {
                    Ok(0) => return self.workload.end(false),
                    Ok(count) => {
                        let typed = self.escapes.feed(&buffer[..count]);
                        self.apply_escapes(typed);
                    }
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    // The terminal is gone.
                    Err(_) => return self.workload.end(false),
                }
            } else if !can_pass {
                let typed = self.escapes.flush_pending();
                self.apply_escapes(typed);
            }
            if self.write_input(input).is_err() {
                return;
            }
        }
    }

    /// Waits for input or for room in the pipe. Returns whether keys can be read and whether bytes can be passed on.
    /// Both are false after the timeout of an incomplete sequence.
    fn wait(&self, terminal: &Terminal, input: &OwnedFd) -> Option<(bool, bool)> {
        let reads = self.waiting.len() < MAX_TYPE_AHEAD_BYTES;
        let keys = if reads {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let mut fds = vec![PollFd::new(terminal.keys(), keys)];
        if !self.waiting.is_empty() {
            fds.push(PollFd::new(input, PollFlags::OUT));
        }
        let timeout = self.escapes.pending_timeout();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        poll(&mut fds, timeout.as_ref()).ok()?;
        let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Some((is_ready(0), is_ready(1)))
    }

    fn apply_escapes(&mut self, typed: Vec<KeyInput>) {
        for typed in typed {
            match typed {
                KeyInput::Bytes(bytes) => self.waiting.extend(bytes),
                KeyInput::Stop => {
                    self.workload.end(false);
                    self.print_notice(STOPPING_NOTICE);
                }
                KeyInput::Kill => self.workload.end(true),
                KeyInput::Help => {
                    checkpoint("escape-help");
                    self.print_notice(ESCAPE_HELP);
                }
            }
        }
    }

    /// Prints a notice from another thread, because the terminal may block.
    fn print_notice(&self, text: &'static str) {
        let ui = Arc::clone(&self.ui);
        std::thread::spawn(move || ui.print_notice(text));
    }

    fn write_input(&mut self, input: &OwnedFd) -> rustix::io::Result<()> {
        while !self.waiting.is_empty() {
            let (front, _) = self.waiting.as_slices();
            match rustix::io::write(input, front) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
