//! The display of progress: on a terminal one changing line per item, elsewhere plain lines.

use super::output;
use crate::launch::Progress;
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
    /// `has_lines`: every message gets a line of its own, also on a terminal.
    pub(super) fn new(is_silent: bool, has_lines: bool) -> ProgressDisplay {
        let width = term::width(std::io::stderr()).filter(|_| !has_lines);
        ProgressDisplay {
            how: match width {
                _ if is_silent => ProgressStyle::Silent,
                Some(width) => ProgressStyle::Terminal(width),
                None => ProgressStyle::Lines,
            },
            things: Vec::new(),
            shown: 0,
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
}

impl Progress for ProgressDisplay {
    fn show(&mut self, item: &str, text: &str, is_new_step: bool) {
        let thing = self.thing(item);
        match is_new_step {
            true => (thing.step, thing.line) = (text.to_owned(), String::new()),
            false => text.clone_into(&mut thing.line),
        }
        // The output of a builder does not repeat, and users search it, so it is not filtered.
        let passes = is_new_step || item.is_empty() || thing.sparse.passes(text);
        match (&self.how, item) {
            (ProgressStyle::Silent, _) => {}
            (ProgressStyle::Lines, _) if !passes => {}
            (ProgressStyle::Lines, "") if is_new_step => {
                output::print_notice(&format!("step {text}"))
            }
            (ProgressStyle::Lines, "") => output::print_notice(&format!("  {text}")),
            (ProgressStyle::Lines, name) if is_new_step => {
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

    fn suspend(&mut self) {
        if let ProgressStyle::Terminal(_) = self.how {
            self.how = ProgressStyle::Lines;
        }
    }

    fn clear(&mut self) {
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
