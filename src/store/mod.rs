//! `$MOAT_HOME`: the only code that knows its layout.
//!
//! The store does not know how runs are executed. Readers never write and need no runtime; only the holder of a run's
//! owner lock writes the run's record and log ([`OwnedRun`]).

mod atomic_file;
mod home;
mod home_id;
mod id;
mod identity;
#[cfg(test)]
mod kept;
mod lock;
mod log_entry;
mod log_read;
mod log_write;
mod owned_run;
mod reserved_space;
mod run_dir;
mod run_lookup;
mod run_names;
mod run_record;
mod run_settings;
#[cfg(test)]
pub(crate) mod scratch;
mod session_claim;
mod session_compose;
mod session_dir;
mod session_record;
mod tar;
#[cfg(test)]
mod tests;
mod time;

pub(crate) use atomic_file::{
    create, document, make_dir, remove_tree, write_atomically, write_atomically_concurrent,
};
pub(crate) use home::{CreationLock, Home, fnv1a};
pub(crate) use home_id::HomeLabels;
pub(crate) use id::{NAME_RULE, RunId, RunName, random_word};
pub(crate) use identity::ProcessIdentity;
pub(crate) use lock::{exclusive, is_held};
pub(crate) use log_entry::{LogEntry, Stream, StreamBytes};
pub(crate) use log_read::{LogReader, StreamReader, last_lines};
pub(crate) use log_write::LogWriter;
pub(crate) use owned_run::{NewRun, OwnedRun, remove};
pub(crate) use run_dir::{EndRequest, Loaded, RunDir, RunEnd};
pub(crate) use run_lookup::resolve;
pub(crate) use run_record::{
    EndReason, LogState, Resource, ResourceKind, ResourceStage, RunRecord, RunState, SCHEMA,
    ServicePort, ServiceRecord, ServiceState,
};
pub(crate) use run_settings::{
    BindMount, Dependency, IdentitySettings, ImageSettings, IoSettings, LimitSettings,
    MountSettings, NetworkSettings, PublishedPort, RunSession, RunSettings, Ulimit, WorkspaceMode,
};
pub(crate) use session_claim::Claim;
pub(crate) use session_compose::{ComposeService, SessionCompose};
pub(crate) use session_dir::{ProcessState, SessionKey, key_of};
pub(crate) use session_record::{
    CreatedFile, CreatedFileKind, DownOptions, OpKind, PROCESS_MARK_VARIABLE, Session,
    SessionHooks, SessionPort, SessionProcess, SessionService, SessionStatus, Tmux, VARIABLES_FILE,
    Worktree,
};
pub(crate) use tar::{extract, filter_archive, pack, pack_into};
pub(crate) use time::Timestamp;
