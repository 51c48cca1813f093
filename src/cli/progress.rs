//! Long work, shown while it lasts: one line that changes on a terminal, plain lines elsewhere.

use super::args::Args;
use super::{flags, output};
use crate::term;

pub(super) struct Progress {
    how: How,
    step: String,
    shown: bool,
}

enum How {
    Nothing,
    Lines,
    /// One line, of so many columns.
    Line(usize),
}

impl Progress {
    pub(super) fn new(args: &Args) -> Progress {
        let quiet = args.has(&flags::QUIET) || args.has(&flags::JSON);
        let width = term::width(std::io::stderr()).filter(|_| !args.has(&flags::VERBOSE));
        Progress {
            how: match width {
                _ if quiet => How::Nothing,
                Some(width) => How::Line(width),
                None => How::Lines,
            },
            step: String::new(),
            shown: false,
        }
    }

    /// Shows another line of a build.
    pub(super) fn show(&mut self, text: &str, step: bool) {
        if step {
            text.clone_into(&mut self.step);
        }
        match self.how {
            How::Nothing => {}
            How::Lines if step => output::say(&format!("step {text}")),
            How::Lines => output::say(&format!("  {text}")),
            How::Line(width) => {
                let line = if step {
                    self.step.clone()
                } else {
                    format!("{}: {text}", self.step)
                };
                let line: String = line.chars().take(width.saturating_sub(2)).collect();
                output::status_line(&line);
                self.shown = true;
            }
        }
    }

    /// Makes room for something else.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            output::status_line("");
        }
    }
}
