//! The parsed arguments: a command, its flags and its positional arguments, as text that is not interpreted yet.

use std::ffi::{OsStr, OsString};

use crate::error::{Error, Result};

use super::command_table::{Command, Flag};

/// The arguments of one command, checked against the table.
pub(crate) struct Args {
    pub(crate) command: &'static Command,
    given: FlagValues,
    positional: Vec<OsString>,
    rest: Option<Vec<OsString>>,
}

impl Args {
    pub(super) fn new(
        command: &'static Command,
        given: FlagValues,
        positional: Vec<OsString>,
        rest: Option<Vec<OsString>>,
    ) -> Args {
        Args {
            command,
            given,
            positional,
            rest,
        }
    }

    /// Returns whether the flag was given.
    pub(crate) fn has(&self, flag: &Flag) -> bool {
        self.given.has(flag)
    }

    /// Returns the value of the flag, the last of several.
    pub(crate) fn value(&self, flag: &Flag) -> Option<&OsStr> {
        self.given.of(flag).last().flatten()
    }

    /// Returns all values of the flag, in their order.
    pub(crate) fn values(&self, flag: &Flag) -> impl Iterator<Item = &OsStr> {
        self.given.of(flag).flatten()
    }

    /// Returns the value of the flag as text. Fails with a usage error if the value is not UTF-8.
    pub(crate) fn text(&self, flag: &Flag) -> Result<Option<&str>> {
        self.value(flag)
            .map(|value| value.to_str().ok_or_else(|| not_utf8_error(flag)))
            .transpose()
    }

    /// Returns the positional arguments, without the words after `--`.
    pub(crate) fn positional(&self) -> &[OsString] {
        &self.positional
    }

    /// Returns the words after `--`, unchanged, or `None` without `--`.
    pub(crate) fn rest(&self) -> Option<&[OsString]> {
        self.rest.as_deref()
    }
}

fn not_utf8_error(flag: &Flag) -> Error {
    Error::usage(format!("the value of {} is not UTF-8", flag.spelled()))
}

/// The given flags and their values, in order.
#[derive(Default)]
pub(super) struct FlagValues(Vec<(&'static Flag, Option<OsString>)>);

impl FlagValues {
    /// Adds a flag. A flag that does not repeat replaces its earlier value.
    pub(super) fn add(&mut self, flag: &'static Flag, value: Option<OsString>) {
        if !flag.repeat {
            self.0.retain(|(earlier, _)| earlier.long != flag.long);
        }
        self.0.push((flag, value));
    }

    /// Returns whether the flag was given.
    pub(super) fn has(&self, flag: &Flag) -> bool {
        self.of(flag).next().is_some()
    }

    /// Returns the first flag that the command does not have.
    pub(super) fn first_not_in(&self, command: &Command) -> Option<&'static Flag> {
        let is_known = |flag: &Flag| command.all_flags().any(|known| known.long == flag.long);
        let mut flags = self.0.iter().map(|(flag, _)| *flag);
        flags.find(|flag| !is_known(flag))
    }

    /// Returns each use of the flag. Compares long names, because they are unique within a command.
    fn of(&self, flag: &Flag) -> impl Iterator<Item = Option<&OsStr>> {
        self.0
            .iter()
            .filter(move |(given, _)| given.long == flag.long)
            .map(|(_, value)| value.as_deref())
    }
}
