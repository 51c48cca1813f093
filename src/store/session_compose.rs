//! What the record of a session says of its services that come from a compose file.
//!
//! What is removed is found by the session's label in the engine. This says which of it an operation has
//! made, and where to look.

use serde::{Deserialize, Serialize};

use super::run_record::ResourceStage;

/// The services of a session that are in a compose file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct SessionCompose {
    /// Their project, which no other session has or had.
    pub(crate) project: String,
    /// The settings that chose the engine, as environment variables; the others were unset.
    pub(crate) engine: Vec<(String, String)>,
    /// The operation that first made something of it: network and volumes, which stay when it is stopped.
    pub(crate) operation: String,
    /// Whether the tool has been asked for something, and has not answered yet: if it was killed, the engine may
    /// still be at it.
    pub(crate) asked: bool,
    pub(crate) services: Vec<ComposeService>,
}

/// A service that was asked for, or that one of these depends on.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ComposeService {
    pub(crate) name: String,
    pub(crate) stage: ResourceStage,
    /// The operation that started it last; empty, if it was stopped by `down --keep` since.
    pub(crate) operation: String,
    /// Whether it is to end by itself, as another one waits for that.
    pub(crate) once: bool,
    /// Whether it was there before that operation, perhaps with data.
    #[serde(default)]
    pub(crate) again: bool,
}
