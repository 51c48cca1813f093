//! `moat stop`: stop runs gracefully.

use super::args::Args;
use super::{end_runs, flags};
use crate::error::{Error, Result};
use crate::failpoint::scaled_seconds;
use crate::store::EndRequest;

/// The default grace period.
const GRACE: u32 = 10;

/// The maximum grace period: one day, because a longer one is likely a mistake.
const MAX_GRACE_SECONDS: u32 = 24 * 3600;

pub(crate) fn run(args: &Args) -> Result<u8> {
    let seconds = match args.text(&flags::TIME)? {
        None => scaled_seconds(GRACE),
        Some(text) => match text.parse::<u32>() {
            Ok(seconds) if seconds <= MAX_GRACE_SECONDS => seconds,
            _ => {
                let shown = crate::term::escape_unsafe(text);
                return Err(Error::usage(format!("bad number of seconds '{shown}'"))
                    .hint("write whole seconds up to a day, e.g. --time 30"));
            }
        },
    };
    end_runs::end_runs(args, EndRequest::Stop(seconds))
}
