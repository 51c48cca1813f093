//! The part of a session's record about compose services.
//!
//! Resources are found for removal by the session's label in the engine. The record says which of them an operation
//! made, and on which engine.

use serde::{Deserialize, Serialize};

use super::run_record::ResourceStage;

/// The compose services of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct SessionCompose {
    /// Their project, which is unique to this session.
    pub(crate) project: String,
    /// The settings that choose the engine, as environment variables; all others were unset.
    pub(crate) engine: Vec<(String, String)>,
    /// The operation that created the project's network and volumes, which stay when the session is stopped.
    pub(crate) operation: String,
    /// Whether a request of the tool is pending: if the tool was killed, the engine may still carry it out.
    #[serde(alias = "asked")]
    pub(crate) request_pending: bool,
    pub(crate) services: Vec<ComposeService>,
}

/// A requested service, or a dependency of one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct ComposeService {
    pub(crate) name: String,
    pub(crate) stage: ResourceStage,
    /// The operation that started it last; empty after `down --keep`.
    pub(crate) operation: String,
    /// Whether it must complete, because another service waits for its completion.
    #[serde(alias = "once")]
    pub(crate) one_shot: bool,
    /// Whether it may also end with code 0, because another service only needs it to start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) may_end: bool,
    /// Whether it existed before that operation, perhaps with data.
    #[serde(default, alias = "again")]
    pub(crate) existed_before: bool,
}

impl ComposeService {
    /// Whether an end with code 0 is no failure.
    pub(crate) fn may_complete(&self) -> bool {
        self.one_shot || self.may_end
    }
}
