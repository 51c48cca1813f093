//! The services of a session that come from a compose file in its worktree.
//!
//! The compose tool reads the file and creates its services. It never removes any: removal goes through the engine,
//! by the label of the session's incarnation, and so works without the file and without the tool, and never touches
//! another project of the same name.

mod base_images;
mod decisions;
mod engine;
mod health;
mod member;
mod networks;
mod readiness;
mod rewrite;
mod start;

pub(super) use decisions::{decide, dependencies_of, record_intents};
pub(super) use health::{ComposeContainers, container, runs};
pub(super) use member::{ComposeServices, roll_back_interrupted};
pub(super) use networks::join_networks;
