//! The display of progress: on a terminal one changing line per item, elsewhere plain lines.

use super::args::Args;
use super::{flags, output};
use crate::term::{self, RepeatFilter};

pub(super) struct ProgressDisplay {
    how: ProgressStyle,
    /// The items, in the order of their appearance.
    things: Vec<ProgressItem>,
    /// The number of terminal lines that the display occupies.
    shown: usize,
}

/// A service, or the image, which has no name.
struct ProgressItem {
    name: String,
    step: String,
    /// The last message of this step.
    line: String,
    sparse: RepeatFilter,
}

enum ProgressStyle {
    Silent,
    Lines,
    /// Changing lines on a terminal with this number of columns.
    Terminal(usize),
}

impl ProgressDisplay {
    pub(super) fn new(args: &Args) -> ProgressDisplay {
        let quiet = args.has(&flags::QUIET) || args.has(&flags::JSON);
        let width = term::width(std::io::stderr()).filter(|_| !args.has(&flags::VERBOSE));
        ProgressDisplay {
            how: match width {
                _ if quiet => ProgressStyle::Silent,
                Some(width) => ProgressStyle::Terminal(width),
                None => ProgressStyle::Lines,
            },
            things: Vec::new(),
            shown: 0,
        }
    }

    /// Shows the progress of an item: a new step, or a message within the current step.
    pub(super) fn show(&mut self, name: &str, text: &str, step: bool) {
        let thing = self.thing(name);
        match step {
            true => (thing.step, thing.line) = (text.to_owned(), String::new()),
            false => text.clone_into(&mut thing.line),
        }
        // The output of a builder does not repeat, and users search it, so it is not filtered.
        let passes = step || name.is_empty() || thing.sparse.passes(text);
        match (&self.how, name) {
            (ProgressStyle::Silent, _) => {}
            (ProgressStyle::Lines, _) if !passes => {}
            (ProgressStyle::Lines, "") if step => output::print_notice(&format!("step {text}")),
            (ProgressStyle::Lines, "") => output::print_notice(&format!("  {text}")),
            (ProgressStyle::Lines, name) if step => {
                output::print_notice(&format!("{name}: {text}"))
            }
            (ProgressStyle::Lines, name) => output::print_notice(&format!("  {name}: {text}")),
            (ProgressStyle::Terminal(width), _) => {
                let lines: Vec<String> = self
                    .things
                    .iter()
                    .map(|thing| thing.shown(*width))
                    .collect();
                output::status_lines(self.shown, &lines);
                self.shown = lines.len();
            }
        }
    }

    fn thing(&mut self, name: &str) -> &mut ProgressItem {
        let known = self.things.iter().position(|thing| thing.name == name);
        let at = known.unwrap_or(self.things.len());
        if known.is_none() {
            self.things.push(ProgressItem {
                name: name.to_owned(),
                step: String::new(),
                line: String::new(),
                sparse: RepeatFilter::default(),
            });
        }
        &mut self.things[at]
    }

    /// Stops changing lines on the terminal, which the workload uses from now on.
    pub(super) fn suspend(&mut self) {
        if let ProgressStyle::Terminal(_) = self.how {
            self.how = ProgressStyle::Lines;
        }
    }

    /// Removes the display from the terminal.
    pub(super) fn clear(&mut self) {
        if self.shown > 0 {
            output::status_lines(self.shown, &[]);
            self.shown = 0;
        }
    }
}

impl ProgressItem {
    fn shown(&self, width: usize) -> String {
        let parts = [&self.name, &self.step, &self.line];
        let parts: Vec<&str> = parts
            .into_iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        parts
            .join(": ")
            .chars()
            .take(width.saturating_sub(2))
            .collect()
    }
}
