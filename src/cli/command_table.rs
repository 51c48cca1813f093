//! The types of the table that describes the command line.
//!
//! `flags` and `commands` hold the table; the parser, the help texts, the manual page and the shell completions read
//! it. Each flag is written in one place, so help, completions and parser always agree.

use std::ffi::OsString;

use crate::error::Result;

use super::args::Args;

/// A flag. Flags of two commands with the same name but different meanings are two values.
pub(crate) struct Flag {
    /// The long name, without the dashes.
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    /// The placeholder of the value in the help text; `None` for a switch.
    pub(crate) value: Option<&'static str>,
    /// Whether all uses count; otherwise the last use wins.
    pub(crate) repeat: bool,
    /// A sentence that ends with a period.
    pub(crate) help: &'static str,
    pub(crate) complete: Complete,
}

/// The completions that a shell offers for a value or a positional argument.
pub(crate) enum Complete {
    Nothing,
    File,
    Directory,
    /// The ids that `moat list -a -q` prints.
    Run,
    /// The name of a command of moat.
    Command,
    /// A branch of the repository of the current directory.
    Branch,
    /// One of these words; the parser refuses other values.
    Words(&'static [&'static str]),
}

/// The positional arguments of a command, without `--` and the arguments after it.
pub(crate) struct Positional {
    /// The placeholder of one argument in the help text.
    pub(crate) name: &'static str,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) complete: Complete,
}

/// Where the words of another command begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// There are none.
    None,
    /// After `--`.
    AfterSeparator,
    /// After `--`, or after the last positional argument, as with `docker exec`.
    AfterPositional,
}

/// A command, or an action of a command.
pub(crate) struct Command {
    /// The words after `moat`: `list`, or `deps list` for an action.
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    /// The arguments after the name and the flags, such as `[PATH] [-- CMD...]`.
    pub(crate) usage: &'static str,
    /// One line, without a period.
    pub(crate) summary: &'static str,
    /// Paragraphs, one per line.
    pub(crate) about: &'static str,
    /// Command lines, each with its description.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// The command's own flags, without the global flags.
    pub(crate) flags: &'static [&'static Flag],
    pub(crate) positional: Positional,
    /// Where a command for the container begins.
    pub(crate) rest: Rest,
    /// The actions, which the first positional argument names.
    pub(crate) actions: &'static [Command],
    /// Runs the command and returns its exit code.
    pub(crate) run: fn(&Args) -> Result<u8>,
}

impl Flag {
    /// Returns a flag without a value.
    pub(crate) const fn switch(
        long: &'static str,
        short: Option<char>,
        help: &'static str,
    ) -> Flag {
        Flag {
            long,
            short,
            value: None,
            repeat: false,
            help,
            complete: Complete::Nothing,
        }
    }

    /// Returns a flag with a value, which can be any text.
    pub(crate) const fn value(
        long: &'static str,
        short: Option<char>,
        value: &'static str,
        help: &'static str,
    ) -> Flag {
        Flag {
            long,
            short,
            value: Some(value),
            repeat: false,
            help,
            complete: Complete::Nothing,
        }
    }

    /// Returns the flag as messages write it: `--name`.
    pub(crate) fn spelled(&self) -> String {
        ["--", self.long].concat()
    }
}

impl Command {
    /// Returns whether `word` is the name or an alias of this command.
    pub(crate) fn answers_to(&self, word: &str) -> bool {
        self.word() == word || self.aliases.contains(&word)
    }

    /// Returns the last word of the name, which is the name of an action within its command.
    pub(crate) fn word(&self) -> &'static str {
        self.name.rsplit(' ').next().unwrap_or(self.name)
    }

    /// Returns the words of the actions.
    pub(crate) fn action_words(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.actions.iter().map(Command::word)
    }

    /// Returns the action that the first positional argument names.
    pub(crate) fn action(&'static self, positional: &[OsString]) -> Option<&'static Command> {
        let word = positional.first()?.to_str()?;
        self.actions.iter().find(|action| action.answers_to(word))
    }

    /// Returns the name and then the aliases.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Returns all flags that the command accepts; its own flags come first.
    pub(crate) fn all_flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        self.flags.iter().chain(super::flags::GLOBALS).copied()
    }

    /// Returns the usage line, starting with `moat`.
    pub(crate) fn usage_line(&self) -> String {
        let line = ["moat ", self.name, " [FLAGS] ", self.usage].concat();
        line.trim_end().to_owned()
    }
}
