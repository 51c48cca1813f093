//! A run that has this terminal: keys in, the screen out, and the terminal as it was in the end.
//!
//! What is typed goes through a pipe to the supervisor, but for the escape; what the workload prints comes
//! through another one. Whoever ends it, however it ends, [`Session::end`] or a handler brings the
//! terminal back; where we are killed, the supervisor does.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::consts::{SIGHUP, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use super::interrupts::{Target, lock};
use super::output;
use crate::error::{Error, Kind, Result};
use crate::failpoint::checkpoint;
use crate::run::{FromClient, Link, Output, Streams};
use crate::term::pty::Size;
use crate::term::{Escapes, Prefix, Terminal, Typed, write_all};

/// How long the beginning of a sequence may wait for its rest: less than a person feels.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// So much may be typed, or pasted, ahead of a workload that does not read, in bytes.
const AHEAD: usize = 16 * 1024 * 1024;

const HELP: &str = "moat: k stops the run, K kills it; the prefix again sends it, and any other key goes to the run";

/// The terminal, before the workload has it.
pub(super) struct Interactive {
    terminal: Arc<Terminal>,
    prefix: Option<Prefix>,
    /// Our ends of the two pipes.
    input: OwnedFd,
    output: OwnedFd,
}

/// The terminal, while the workload has it.
pub(super) struct Session {
    terminal: Arc<Terminal>,
    link: Link,
    screen: JoinHandle<()>,
}

impl Interactive {
    /// Our terminal and its size; an error if there is none that a workload could have.
    pub(super) fn size() -> Result<Size> {
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        if !rustix::termios::isatty(stdout) {
            return Err(
                Error::usage("-i needs a terminal on stdout, too, if stdin is one")
                    .hint("leave out -i, or give it a pipe or a file: moat run -i -- CMD < FILE"),
            );
        }
        Ok(Size::of(stdin).unwrap_or_default())
    }

    /// Prepares for the workload; also the streams that the supervisor gets.
    pub(super) fn prepare(prefix: Option<Prefix>) -> Result<(Interactive, Streams)> {
        let failed = |error: io::Error| {
            let reason = crate::error::reason(&error);
            Error::new(Kind::Failed, format!("cannot use the terminal: {reason}"))
        };
        let terminal = Terminal::new(rustix::stdio::stdin()).map_err(failed)?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()));
        let ((typed, input), (output, shown)) = (pipe()?, pipe()?);
        rustix::io::ioctl_fionbio(&input, true).map_err(|error| failed(error.into()))?;
        let copy = terminal.fd().try_clone().map_err(failed)?;
        let streams = Streams {
            stdin: Some(typed),
            terminal: Some(copy),
            output: Output::To(shown),
        };
        let interactive = Interactive {
            terminal,
            prefix,
            input,
            output,
        };
        Ok((interactive, streams))
    }

    /// The workload runs: it has the terminal from here on.
    pub(super) fn begin(self, link: Link, target: Arc<Mutex<Target>>) -> Session {
        let Interactive {
            terminal,
            prefix,
            input,
            output,
        } = self;
        restore_on_panic(&terminal);
        output::set_raw(true);
        let _ = terminal.make_raw();
        // It may have another size by now.
        tell_size(&terminal, &link);
        obey(&terminal, &link, &target);
        let screen = {
            let terminal = Arc::clone(&terminal);
            std::thread::spawn(move || show(&output, &terminal))
        };
        let keyboard = Keyboard {
            escapes: Escapes::new(prefix),
            waiting: VecDeque::new(),
            target,
        };
        let typed = Arc::clone(&terminal);
        std::thread::spawn(move || keyboard.pass_on(&typed, &input));
        Session {
            terminal,
            link,
            screen,
        }
    }
}

impl Session {
    /// The workload has ended: what it printed is shown, and the terminal is as it was.
    pub(super) fn end(self) {
        let _ = self.screen.join();
        self.terminal.restore();
        output::set_raw(false);
        self.link.tell(FromClient::Restored);
    }
}

fn restore_on_panic(terminal: &Arc<Terminal>) {
    let terminal = Arc::clone(terminal);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        terminal.restore();
        usual(panic);
        // Whichever thread it is: without it there is no session.
        std::process::abort();
    }));
}

fn tell_size(terminal: &Terminal, link: &Link) {
    if let Some(size) = Size::of(terminal.fd()) {
        link.tell(FromClient::Size(size));
    }
}

/// Signals that concern the terminal.
fn obey(terminal: &Arc<Terminal>, link: &Link, target: &Arc<Mutex<Target>>) {
    let Ok(mut signals) = Signals::new([SIGWINCH, SIGHUP, SIGTSTP]) else {
        return;
    };
    let (terminal, link, target) = (Arc::clone(terminal), link.clone(), Arc::clone(target));
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match signal {
                // The terminal is gone, and with it who used it.
                SIGHUP => lock(&target).end(false),
                SIGTSTP => {
                    let left_on = terminal.leave();
                    let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
                    terminal.come_back(&left_on);
                    redraw(&terminal, &link);
                }
                _ => tell_size(&terminal, &link),
            }
        }
    });
}

/// Makes the workload draw its screen anew, by telling it of a size that it has not.
fn redraw(terminal: &Terminal, link: &Link) {
    if let Some(size) = Size::of(terminal.fd()) {
        let rows = if size.rows > 1 { size.rows - 1 } else { 2 };
        link.tell(FromClient::Size(Size { rows, ..size }));
        link.tell(FromClient::Size(size));
    }
}

/// Shows what the workload prints, until all of it is shown.
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
        if write_all(terminal.fd(), &buffer[..count]).is_err() {
            return;
        }
    }
}

/// What is typed, on its way.
struct Keyboard {
    escapes: Escapes,
    /// For a workload that does not read yet: the escape must come through all the same.
    waiting: VecDeque<u8>,
    target: Arc<Mutex<Target>>,
}

impl Keyboard {
    fn pass_on(mut self, terminal: &Terminal, input: &OwnedFd) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let Some((typed, can_pass)) = self.wait(terminal, input) else {
                continue;
            };
            if typed {
                match rustix::io::read(terminal.fd(), &mut buffer) {
                    Ok(0) => return lock(&self.target).end(false),
                    Ok(count) => {
                        let typed = self.escapes.take(&buffer[..count]);
                        self.obey(typed);
                    }
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    // The terminal is gone.
                    Err(_) => return lock(&self.target).end(false),
                }
            } else if !can_pass {
                let typed = self.escapes.let_go();
                self.obey(typed);
            }
            if self.pass(input).is_err() {
                return;
            }
        }
    }

    /// Waits until something can be done: whether there are keys, and whether keys can be passed on.
    /// Neither: the rest of a sequence does not come.
    fn wait(&self, terminal: &Terminal, input: &OwnedFd) -> Option<(bool, bool)> {
        let reads = self.waiting.len() < AHEAD;
        let keys = if reads {
            PollFlags::IN
        } else {
            PollFlags::empty()
        };
        let mut fds = vec![PollFd::new(terminal.fd(), keys)];
        if !self.waiting.is_empty() {
            fds.push(PollFd::new(input, PollFlags::OUT));
        }
        let patience = self.escapes.is_holding().then_some(PATIENCE);
        poll(&mut fds, patience.as_ref()).ok()?;
        let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Some((is_ready(0), is_ready(1)))
    }

    fn obey(&mut self, typed: Vec<Typed>) {
        for typed in typed {
            match typed {
                Typed::Bytes(bytes) => self.waiting.extend(bytes),
                Typed::Stop => lock(&self.target).end(false),
                Typed::Kill => lock(&self.target).end(true),
                Typed::Help => {
                    checkpoint("escape-help");
                    output::say(HELP);
                }
            }
        }
    }

    fn pass(&mut self, input: &OwnedFd) -> rustix::io::Result<()> {
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
