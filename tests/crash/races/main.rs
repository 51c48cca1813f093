//! Many at once, and two at the same thing: all right codes and logs, one winner, no terminal state
//! ever overwritten, nobody hangs.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../harness/mod.rs"]
mod harness;
#[path = "../support.rs"]
mod support;

mod crowd;
mod duel;
