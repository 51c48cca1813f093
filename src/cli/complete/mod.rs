//! The completion scripts of the shells, generated from the table.
//!
//! The scripts complete commands, flags, values of flags, runs and branches, but nothing after `--`, which belongs to
//! the workload. At completion time, `moat list -a -q` gives the ids of runs, and git gives the branches.

mod bash;
mod fish;
mod zsh;

use super::command_table::Flag;
use super::flags::{GLOBALS, VERSION};

/// A shell that has a completion script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    /// Returns the shell with this name.
    pub(crate) fn named(name: &str) -> Option<Shell> {
        match name {
            "bash" => Some(Shell::Bash),
            "zsh" => Some(Shell::Zsh),
            "fish" => Some(Shell::Fish),
            _ => None,
        }
    }
}

/// Returns the completion script of a shell.
pub(crate) fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash::script(),
        Shell::Zsh => zsh::script(),
        Shell::Fish => fish::script(),
    }
}

/// Returns the flags that are accepted before the command.
fn head_flags() -> impl Iterator<Item = &'static Flag> {
    GLOBALS.iter().copied().chain([&VERSION])
}

/// Returns the spellings of a flag: `-n` and `--name`.
fn spellings(flag: &Flag) -> impl Iterator<Item = String> + use<> {
    let short = flag.short.map(|short| format!("-{short}"));
    short.into_iter().chain([flag.spelled()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command_table::Complete;
    use crate::cli::commands::COMMANDS;

    const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

    #[test]
    fn every_shell_the_command_accepts_has_a_script() {
        let completions = COMMANDS
            .iter()
            .find(|one| one.name == "completions")
            .unwrap();
        let Complete::Words(words) = completions.positional.complete else {
            panic!("the shells are words");
        };
        let shells: Vec<_> = words.iter().map(|word| Shell::named(word)).collect();
        assert_eq!(shells, SHELLS.map(Some));
        assert_eq!(Shell::named("tcsh"), None);
    }

    #[test]
    fn every_script_names_every_command_alias_and_flag() {
        for shell in SHELLS {
            let script = script(shell);
            assert!(script.contains("moat list -a -q 2>/dev/null"), "{shell:?}");
            assert!(script.is_ascii() && script.ends_with('\n'));
            for command in COMMANDS {
                assert!(
                    command.names().all(|name| script.contains(name)),
                    "{shell:?}"
                );
                for flag in command.all_flags() {
                    assert!(script.contains(flag.long), "{shell:?} {}", flag.long);
                }
            }
        }
    }
}
