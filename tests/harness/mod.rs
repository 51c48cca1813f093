//! The base of all integration tests: the real binary in a place of its own.
//!
//! ```ignore
//! let Some(moat) = Moat::on(Runtime::Bwrap) else { return };   // skipped with a note if bwrap is missing
//! moat.run(["sh", "-c", "echo hi; exit 7"]).stdout("hi\n").status(7);
//! moat.args(["logs", "--raw"]).stdout("hi\n").success();
//! ```
//!
//! - A [`Moat`] is a place: its own HOME, MOAT_HOME and workspace, and a runtime. When it is dropped, it asserts that
//!   nothing is left: no container, no process, no incomplete directory.
//! - A [`Call`] is one command line. **Output for which nothing is expected must be empty**, and the exit code must be 0.
//!   A call has a timeout, and then fails with its output so far.
//! - [`Call::spawn`] returns a [`Running`], for commands that run while the test continues.
//! - A text with placeholders, such as `Started [NAME] ([ID])`, is compared with the output as [`Moat::normal`] returns
//!   it.

mod call;
mod disk;
pub(crate) mod docker_api;
#[macro_use]
mod engines;
pub(crate) mod home_labels;
mod leftovers;
pub(crate) mod once;
mod place;
mod ports;
mod running;
mod runtime;
pub(crate) mod screen;
mod skip;
mod snapshot;
mod stand_in;
pub(crate) mod support;
mod text;
mod tier;
mod until;

pub(crate) use call::{Call, Done};
pub(crate) use disk::Disk;
pub(crate) use place::{Moat, TempDir};
pub(crate) use ports::Ports;
pub(crate) use running::Running;
pub(crate) use runtime::Runtime;
pub(crate) use skip::skip;
pub(crate) use snapshot::assert_snapshot;
pub(crate) use stand_in::stand_in;
pub(crate) use text::fnv1a;
pub(crate) use tier::{amount, full};
pub(crate) use until::{SAMPLE_INTERVAL, until, until_some};

pub(crate) use rustix::process::Signal;

/// The image of tests that need only a shell.
pub(crate) const IMAGE: &str = "moat-test/busybox:1";
