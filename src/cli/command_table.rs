//! The shape of the table that describes the command line.
//!
//! `flags` and `commands` fill it in; the parser, the help texts, the manual page and the shell
//! completions only read it. So a flag exists in one place, and none of them can drift.

use crate::error::Result;

use super::args::Args;

/// One flag. Two commands whose flags share a name but not a meaning have two of these.
pub(crate) struct Flag {
    /// The long name, without the dashes.
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    /// What help calls the value; a switch has none.
    pub(crate) value: Option<&'static str>,
    /// Every use counts. Otherwise the last one wins.
    pub(crate) repeat: bool,
    /// One sentence.
    pub(crate) help: &'static str,
    pub(crate) complete: Complete,
}

/// What a shell offers for a value or a positional argument.
pub(crate) enum Complete {
    Nothing,
    File,
    Directory,
    /// What `moat list -a -q` prints.
    Run,
    /// The name of a command of moat.
    Command,
    /// A branch of the repository here, or one of these words.
    Branch(&'static [&'static str]),
    /// One of these comes first; the command itself looks at it.
    Action(&'static [&'static str]),
    /// Exactly these: the parser refuses anything else.
    Words(&'static [&'static str]),
}

/// The arguments of a command that are not flags, `--` and what follows it left out.
pub(crate) struct Positional {
    /// What help calls one of them.
    pub(crate) name: &'static str,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) complete: Complete,
}

/// One command.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    /// What follows the name and the flags, as in `[PATH] [-- CMD...]`.
    pub(crate) usage: &'static str,
    /// One line, without a period.
    pub(crate) summary: &'static str,
    /// Paragraphs, each on a line of its own.
    pub(crate) about: &'static str,
    /// A command line, and what it does.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// Its own flags; the global ones come on top.
    pub(crate) flags: &'static [&'static Flag],
    pub(crate) positional: Positional,
    /// Takes `-- CMD...`.
    pub(crate) rest: bool,
    /// Does the work; the result is the exit code.
    pub(crate) run: fn(&Args) -> Result<u8>,
}

impl Flag {
    /// A flag that is on or off.
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

    /// A flag with a value that is free text.
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

    /// How the flag is written in messages: `--name`.
    pub(crate) fn spelled(&self) -> String {
        ["--", self.long].concat()
    }
}

impl Command {
    /// Whether `word` names this command, by its name or an alias.
    pub(crate) fn answers_to(&self, word: &str) -> bool {
        self.name == word || self.aliases.contains(&word)
    }

    /// Its name, then its aliases.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The flags it accepts, its own first.
    pub(crate) fn all_flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        self.flags.iter().chain(super::flags::GLOBALS).copied()
    }

    /// How it is called, from `moat` on.
    pub(crate) fn usage_line(&self) -> String {
        let line = ["moat ", self.name, " [FLAGS] ", self.usage].concat();
        line.trim_end().to_owned()
    }
}
