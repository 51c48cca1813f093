//! A filter for lines that repeat with different numbers, such as progress bars.

use std::time::{Duration, Instant};

/// The minimum time between two lines with the same beginning.
const REPEAT_INTERVAL: Duration = Duration::from_secs(5);

/// A filter that drops repeated lines. A progress bar is one line on a screen, but thousands in a log.
#[derive(Debug, Default)]
pub(crate) struct RepeatFilter(Option<(String, Instant)>);

impl RepeatFilter {
    pub(crate) fn passes(&mut self, line: &str) -> bool {
        // Progress lines have their label before ':' or '%', and their number after it.
        let beginning = line.split([':', '%']).next().unwrap_or_default();
        let repeats = self
            .0
            .as_ref()
            .is_some_and(|(earlier, at)| earlier == beginning && at.elapsed() < REPEAT_INTERVAL);
        if !repeats {
            self.0 = Some((beginning.to_owned(), Instant::now()));
        }
        !repeats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_itself_passes_rarely() {
        let mut sparse = RepeatFilter::default();
        let lines = [
            "pulling manifest",
            "pulling 6a07: 1%",
            "pulling 6a07: 2%",
            "success",
        ];
        let passed: Vec<&str> = lines
            .into_iter()
            .filter(|line| sparse.passes(line))
            .collect();
        assert_eq!(passed, ["pulling manifest", "pulling 6a07: 1%", "success"]);
    }
}
