//! The completion script of fish.

use super::super::command_table::{Command, Complete, Flag};
use super::super::commands::COMMANDS;
use super::head_flags;

pub(super) fn script() -> String {
    let mut out = String::from(HEAD);
    for command in COMMANDS {
        for name in command.names() {
            offer(
                &mut out,
                "__moat_at",
                &format!("-a {name}"),
                command.summary,
            );
        }
    }
    for flag in head_flags() {
        flag_line(&mut out, "__moat_at", flag);
    }
    for command in COMMANDS {
        let names: Vec<&str> = command.names().collect();
        let mut condition = format!("__moat_at {}", names.join(" "));
        let actions: Vec<&str> = command.action_words().collect();
        if !actions.is_empty() {
            condition = format!(
                "{condition}; and not __moat_nested {} {}",
                command.name,
                actions.join(" ")
            );
        }
        for action in command.actions {
            let option = format!("-a {}", action.word());
            offer(&mut out, &condition, &option, action.summary);
            let condition = format!("__moat_nested {}", action.name);
            positional_line(&mut out, &condition, action);
            for flag in action.all_flags() {
                flag_line(&mut out, &condition, flag);
            }
        }
        positional_line(&mut out, &condition, command);
        for flag in command.all_flags() {
            flag_line(&mut out, &condition, flag);
        }
    }
    out
}

const HEAD: &str = "\
# fish completion for moat. Load it with: moat completions fish | source

# True if no -- was typed and the command is one of the arguments, or if there is neither a command
# nor an argument.
function __moat_at
    set -l words (commandline -opc)
    set -e words[1]
    contains -- -- $words; and return 1
    for word in $words
        string match -q -- '-*' $word; and continue
        contains -- $word $argv; and return 0
        return 1
    end
    test (count $argv) -eq 0
end

# True if no -- was typed and the first two arguments are the command and one of the actions.
function __moat_nested
    set -l words (commandline -opc)
    set -e words[1]
    contains -- -- $words; and return 1
    set words (string match -v -- '-*' $words)
    test (count $words) -ge 2; and test $words[1] = $argv[1]; and contains -- $words[2] $argv[2..-1]
end

function __moat_runs
    moat list -a -q 2>/dev/null
end

function __moat_branches
    git for-each-ref --format='%(refname:short)' refs/heads 2>/dev/null
end

complete -c moat -f
";

fn positional_line(out: &mut String, condition: &str, command: &Command) {
    if let Some(source) = source(&command.positional.complete) {
        offer(out, condition, &source, command.positional.name);
    }
}

fn flag_line(out: &mut String, condition: &str, flag: &Flag) {
    let mut options = String::new();
    if let Some(short) = flag.short {
        options.push_str(&format!("-s {short} "));
    }
    options.push_str(&format!("-l {}", flag.long));
    if flag.value.is_some() {
        options.push_str(value_options(&flag.complete));
        if let Some(source) = source(&flag.complete) {
            options.push(' ');
            options.push_str(&source);
        }
    }
    offer(out, condition, &options, flag.help);
}

/// Returns the options for a required value. Without -x, fish would offer files; -x and -F exclude each other.
fn value_options(complete: &Complete) -> &'static str {
    match complete {
        Complete::File => " -r",
        _ => " -x",
    }
}

/// Returns the options that name the source of candidates.
fn source(complete: &Complete) -> Option<String> {
    match complete {
        Complete::Nothing => None,
        Complete::File => Some("-F".to_owned()),
        Complete::Directory => Some("-a '(__fish_complete_directories)'".to_owned()),
        Complete::Run => Some("-a '(__moat_runs)'".to_owned()),
        Complete::Branch => Some("-a '(__moat_branches)'".to_owned()),
        Complete::Command => {
            let names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
            Some(format!("-a '{}'", names.join(" ")))
        }
        Complete::Words(words) => Some(format!("-a '{}'", words.join(" "))),
    }
}

fn offer(out: &mut String, condition: &str, options: &str, description: &str) {
    let description = description.replace('\\', "\\\\").replace('\'', "\\'");
    for part in [
        "complete -c moat -n '",
        condition,
        "' ",
        options,
        " -d '",
        &description,
        "'\n",
    ] {
        out.push_str(part);
    }
}
