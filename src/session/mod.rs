//! Sessions: worktrees that run side by side, each with its own slot, ports, services and processes.
//!
//! An operation ([`up`], [`down`], [`recover`]) holds the session's lock for its whole duration and writes an intent
//! to the journal before it makes a resource. So the resources of a killed operation are known, and the rollback
//! after a failure and after a crash is the same: the journal, backwards. No resource is identified by its name: a
//! process belongs to a session by the incarnation in its environment, a worktree by its path.

mod compose;
mod down;
mod files;
mod git_mounts;
mod hooks;
mod inherit;
mod logs;
mod marked_processes;
mod member;
mod monitor;
mod operation;
mod ownership;
mod port_probe;
mod ports;
mod process;
mod process_end;
mod repository;
mod request;
mod rollback;
mod runs;
mod services;
mod status;
mod sync;
mod teardown;
#[cfg(test)]
mod tests;
mod tmux;
mod up;
mod variables;
mod work;
mod worktree;

pub(crate) use down::{DownRequest, down};
pub(crate) use git_mounts::git_mounts;
pub(crate) use logs::service_log;
pub(crate) use monitor::{MONITOR, monitor};
pub(crate) use operation::OperationContext;
pub(crate) use ownership::{Ownership, OwnershipQuery, find_owner};
pub(crate) use port_probe::PortListener;
pub(crate) use ports::PinnedPort;
pub(crate) use repository::Repository;
pub(crate) use request::{Decision, UpRequest};
pub(crate) use rollback::recover;
pub(crate) use runs::join;
pub(crate) use services::ServiceHealth;
pub(crate) use status::{PortView, ProcessHealth, SessionView, view};
pub(crate) use sync::sync;
pub(crate) use tmux::attach;
pub(crate) use up::{check_services, up};
pub(crate) use variables::{of_run as run_variables, shared as variables};
pub(crate) use work::find as find_work;
pub(crate) use worktree::{remove as remove_worktree, unused as unused_worktrees};
