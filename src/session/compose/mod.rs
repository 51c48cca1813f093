//! The services of a session that come from a compose file in its worktree.
//!
//! The compose tool reads the file and creates its services. It never removes any: removal goes through the engine,
//! by the label of the session's incarnation, and so works without the file and without the tool, and never touches
//! another project of the same name.

mod base_images;
mod decisions;
mod engine;
mod health;
mod networks;
mod readiness;
mod remove;
mod rewrite;
mod start;

pub(super) use decisions::{decide, dependencies_of, record_intents};
pub(super) use health::{ComposeContainers, container, is_complete, runs};
pub(super) use networks::join_networks;
pub(super) use remove::{forget_rolled_back, remove_all, roll_back_compose, roll_back_interrupted};
pub(super) use start::start;
