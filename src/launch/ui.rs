//! What a launched run shows to its user. Only the command line writes to stdout and stderr, so it implements this.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::store::RunRecord;

/// The output of a command that launches a run. Methods without a result ignore write errors, because these cannot be
/// reported.
pub(crate) trait Ui: Send + Sync {
    /// Whether the result is one JSON document. Then stderr carries only the error.
    fn is_json(&self) -> bool;

    /// Whether [`Ui::notice`] prints anything.
    fn shows_notices(&self) -> bool;

    /// Prints a message that `--quiet` and `--json` hide.
    fn notice(&self, text: &str);

    /// Prints a message in any case.
    fn print_notice(&self, text: &str);

    /// Prints a message that only `--verbose` shows.
    fn detail(&self, text: &str);

    fn warning(&self, text: &str);

    fn error(&self, error: &Error);

    /// Writes the result of the command.
    fn print_result(&self, text: &str) -> Result<()>;

    /// Writes a record as the JSON document.
    fn print_record(&self, record: &RunRecord) -> Result<()>;

    /// The display of progress.
    fn progress(&self) -> Box<dyn Progress>;

    /// Tells whether a workload has the terminal in raw mode, which needs other line ends.
    fn set_raw(&self, is_raw: bool);

    fn is_raw(&self) -> bool;
}

/// A display of progress.
pub(crate) trait Progress {
    /// Shows a new step of an item, or a message within its current step. The image has no name.
    fn show(&mut self, item: &str, text: &str, is_new_step: bool);

    /// Stops changing lines on the terminal, which the workload uses from now on.
    fn suspend(&mut self);

    /// Removes the display from the terminal.
    fn clear(&mut self);
}

/// A [`Ui`] that several threads use.
pub(crate) type SharedUi = Arc<dyn Ui>;
