//! The flags of `moat run` as values.

use std::time::Duration;

use super::environment::variables_of_flags;
use super::mounts::mounts_of_flags;
use super::network::ports_of_flags;
use super::{Host, RunRequest, Variable};
use crate::config::scalar_values;
use crate::error::{Error, Result};
use crate::store::{BindMount, NAME_RULE, PublishedPort, RunName};
use crate::yaml::message_text;

/// The parsed values of flags.
pub(super) struct ParsedFlags {
    pub(super) name: Option<RunName>,
    pub(super) env: Vec<Variable>,
    pub(super) mounts: Vec<BindMount>,
    pub(super) ports: Vec<PublishedPort>,
    pub(super) workdir: Option<String>,
    pub(super) user: Option<(u32, u32)>,
    pub(super) shm_bytes: Option<u64>,
    pub(super) memory_bytes: Option<u64>,
    pub(super) cpus: Option<f64>,
    pub(super) timeout: Option<Duration>,
    pub(super) start_timeout: Option<Duration>,
}

impl ParsedFlags {
    pub(super) fn read(request: &RunRequest, host: &Host) -> Result<ParsedFlags> {
        Ok(ParsedFlags {
            name: parse(&request.name, parse_name)?,
            env: variables_of_flags(request, host)?,
            mounts: mounts_of_flags(request, host)?,
            ports: ports_of_flags(request)?,
            workdir: parse(&request.workdir, scalar_values::workdir)?,
            user: parse(&request.user, scalar_values::user)?,
            shm_bytes: parse(&request.shm_size, scalar_values::shm_size)?,
            memory_bytes: parse(&request.memory, scalar_values::memory)?,
            cpus: parse(&request.cpus, scalar_values::cpus)?,
            timeout: parse(&request.timeout, scalar_values::duration)?,
            start_timeout: parse(&request.start_timeout, scalar_values::duration)?,
        })
    }
}

fn parse<T>(text: &Option<String>, read: fn(&str) -> Result<T>) -> Result<Option<T>> {
    text.as_deref().map(read).transpose()
}

fn parse_name(text: &str) -> Result<RunName> {
    RunName::parse(text)
        .ok_or_else(|| Error::usage(format!("bad name '{}'", message_text(text))).hint(NAME_RULE))
}
