//! What all groups of a plan are made from, and the problems that they find.

use super::{ConfigLayers, Host, ParsedFlags, RunRequest};
use crate::config::{ConfigFile, Settings};
use crate::error::{Error, ErrorKind, FileProblem, Result};
use crate::runtime::RuntimeName;
use crate::yaml::{NodeId, Placed};

/// Makes the groups of a plan. A problem of a flag ends the planning; problems of files are collected.
pub(super) struct Planner<'a> {
    pub(super) request: &'a RunRequest,
    pub(super) flags: ParsedFlags,
    pub(super) files: ConfigLayers<'a>,
    pub(super) host: &'a Host,
    /// Problems without a node in a configuration file.
    problems: Vec<FileProblem>,
    notices: Vec<String>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        request: &'a RunRequest,
        files: ConfigLayers<'a>,
        host: &'a Host,
    ) -> Result<Planner<'a>> {
        Ok(Planner {
            request,
            flags: ParsedFlags::read(request, host)?,
            files,
            host,
            problems: Vec::new(),
            notices: Vec::new(),
        })
    }

    pub(super) fn runtime(&self) -> RuntimeName {
        self.host.runtime
    }

    /// The settings of all files, the strongest first.
    pub(super) fn settings(&self) -> impl Iterator<Item = &'a Settings> + use<'a> {
        self.files.iter().map(|file| &file.settings)
    }

    /// The value of the strongest file that has one.
    pub(super) fn strongest<T: Clone + 'a>(
        &self,
        pick: impl Fn(&'a Settings) -> Option<&'a Placed<T>>,
    ) -> Option<T> {
        let mut values = self.settings().filter_map(pick);
        values.next().map(|placed| placed.value.clone())
    }

    pub(super) fn add_notice(&mut self, notice: String) {
        self.notices.push(notice);
    }

    pub(super) fn add_problem(&mut self, problem: FileProblem) {
        self.problems.push(problem);
    }

    /// Reports a setting that this runtime does not support. The defaults of `config.yaml` are for all runtimes: such
    /// a default is noted and ignored.
    pub(super) fn refuse(&mut self, file: &ConfigFile, at: NodeId, why: String) {
        match file.is_default {
            true => self.add_notice(format!("ignoring a default of config.yaml: {why}")),
            false => file.source.report(at, why),
        }
    }

    /// Reports a key that does not work on this runtime, which has `lack`.
    pub(super) fn refuse_key(&mut self, file: &ConfigFile, at: NodeId, key: &str, lack: &str) {
        let why = unsupported_key(key, self.runtime(), lack);
        self.refuse(file, at, why);
    }

    /// The error for a flag, if it was given, that does not work on this runtime, which has `lack`.
    pub(super) fn refuse_flag(&self, flag: &str, given: bool, lack: &str) -> Result<()> {
        if !given {
            return Ok(());
        }
        let runtime = self.runtime();
        let hint = match runtime {
            RuntimeName::Docker => format!("leave out {flag}"),
            _ => format!("leave out {flag}, or use --runtime {}", RuntimeName::Docker),
        };
        let message = format!("{flag} does not work on {runtime} here, which has {lack}");
        Err(Error::new(ErrorKind::Runtime, message).hint(hint))
    }

    /// Returns the notices, or all problems as one error.
    pub(super) fn finish(self) -> Result<Vec<String>> {
        finish_files(self.files, self.problems)?;
        Ok(self.notices)
    }
}

/// The reason why a key does not work on a runtime, which has `lack`.
pub(super) fn unsupported_key(key: &str, runtime: RuntimeName, lack: &str) -> String {
    let instead = match runtime {
        RuntimeName::Docker => format!("leave out '{key}'"),
        _ => format!("use the runtime {}", RuntimeName::Docker),
    };
    format!("'{key}' does not work on {runtime}, which has {lack}; {instead}")
}

/// Returns all problems of the files as one error; `more`: problems without a node in them.
pub(super) fn finish_files(files: ConfigLayers<'_>, more: Vec<FileProblem>) -> Result<()> {
    let mut problems = Vec::new();
    for file in files {
        if let Err(error) = file.source.finish() {
            problems.extend(error.problems);
        }
    }
    problems.extend(more);
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::problems(problems)),
    }
}
