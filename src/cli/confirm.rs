//! Questions to the user. Without a terminal, the answer is no.

use std::io::{self, BufRead, Write};

use super::args::Args;
use super::flags;
use crate::error::{Error, ErrorKind, Result};

/// Asks a question. Fails unless the answer is yes, or if there is no terminal; `hint` says what to do then.
pub(super) fn confirm(args: &Args, question: &str, hint: &str) -> Result<()> {
    let refused = |message: &str| Error::new(ErrorKind::NotConfirmed, message).hint(hint);
    let people = rustix::termios::isatty(rustix::stdio::stdin())
        && rustix::termios::isatty(rustix::stdio::stderr())
        && !args.has(&flags::JSON);
    if !people {
        return Err(refused(
            "nothing was removed: there is no terminal to ask for confirmation",
        ));
    }
    let question = crate::term::escape_unsafe(question);
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(refused("nothing was removed")),
    }
}
