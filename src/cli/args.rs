//! What was typed, after parsing: a command, its flags and its arguments, and no meaning yet.

use std::ffi::{OsStr, OsString};

use crate::error::{Error, Result};

use super::command_table::{Command, Flag};

/// The arguments of one command, as the table allows them.
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

    /// Whether the flag was given.
    pub(crate) fn has(&self, flag: &Flag) -> bool {
        self.given.of(flag).next().is_some()
    }

    /// The value of the flag; the last one, where it was given several times.
    pub(crate) fn value(&self, flag: &Flag) -> Option<&OsStr> {
        self.given.of(flag).last().flatten()
    }

    /// All values of the flag, in the order given.
    pub(crate) fn values(&self, flag: &Flag) -> impl Iterator<Item = &OsStr> {
        self.given.of(flag).flatten()
    }

    /// The value of the flag as text. A usage error where it is not UTF-8.
    pub(crate) fn text(&self, flag: &Flag) -> Result<Option<&str>> {
        self.value(flag)
            .map(|value| value.to_str().ok_or_else(|| not_utf8_error(flag)))
            .transpose()
    }

    /// The arguments that are neither flags nor behind `--`, as many as the table allows.
    pub(crate) fn positional(&self) -> &[OsString] {
        &self.positional
    }

    /// What follows `--`, untouched; nothing where there was no `--`.
    pub(crate) fn rest(&self) -> Option<&[OsString]> {
        self.rest.as_deref()
    }
}

fn not_utf8_error(flag: &Flag) -> Error {
    Error::usage(format!("the value of {} is not UTF-8", flag.spelled()))
}

/// The flags given, with their values, in order.
#[derive(Default)]
pub(super) struct FlagValues(Vec<(&'static Flag, Option<OsString>)>);

impl FlagValues {
    /// Adds a flag. One that does not repeat takes the place of an earlier one.
    pub(super) fn add(&mut self, flag: &'static Flag, value: Option<OsString>) {
        if !flag.repeat {
            self.0.retain(|(earlier, _)| earlier.long != flag.long);
        }
        self.0.push((flag, value));
    }

    /// Each use of the flag. Long names are compared, as they are unique within a command.
    fn of(&self, flag: &Flag) -> impl Iterator<Item = Option<&OsStr>> {
        self.0
            .iter()
            .filter(move |(given, _)| given.long == flag.long)
            .map(|(_, value)| value.as_deref())
    }
}
