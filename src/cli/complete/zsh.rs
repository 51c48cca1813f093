//! The completion script of zsh. It works as a file `_moat` in `$fpath`, and with `eval`.

use super::super::command_table::{Command, Complete, Flag};
use super::super::commands::{self, COMMANDS};
use super::{head_flags, spellings};

pub(super) fn script() -> String {
    let mut out = String::from(HEAD);
    out.push_str("\n_moat_commands() {\n    local -a commands=(\n");
    for command in COMMANDS {
        for name in command.names() {
            out.push_str("        ");
            quote(&mut out, &format!("{name}:{}", command.summary));
            out.push('\n');
        }
    }
    out.push_str("    )\n    _describe -t commands command commands\n}\n");
    out.push_str(ENTRY);
    head_flags().for_each(|flag| flag_spec(&mut out, 8, flag));
    out.push_str(DISPATCH);
    let actions = COMMANDS.iter().flat_map(|command| command.actions);
    let names: Vec<String> = actions.map(|action| format!("'{}'", action.name)).collect();
    out.push_str(&format!(
        "    if (( CURRENT > 2 )); then\n        case \"$words[1] $words[2]\" in\n            {})\n                \
         words[1,2]=(\"$words[1] $words[2]\")\n                (( CURRENT-- ))\n                ;;\n        esac\n    fi\n",
        names.join("|")
    ));
    out.push_str(CASE);
    for command in commands::all() {
        arguments(&mut out, command);
    }
    out.push_str(TAIL);
    out
}

const HEAD: &str = r#"#compdef moat
# zsh completion for moat. Load it with: eval "$(moat completions zsh)"

_moat_runs() {
    local -a runs=(${(f)"$(moat list -a -q 2>/dev/null)"})
    compadd -a runs
}

_moat_branches() { # [OPTION...] [WORD...]: the words, and the branches of the repository
    local -a branches=(${(f)"$(git for-each-ref --format='%(refname:short)' refs/heads 2>/dev/null)"})
    compadd "$@"
    compadd -a branches
}
"#;

const ENTRY: &str = r#"
_moat() {
    # The words after -- belong to the workload.
    (( ${words[(ie)--]} < CURRENT )) && return 1
    local curcontext=$curcontext context state state_descr line ret=1
    typeset -A opt_args
    _arguments -C -s -S \
"#;

const DISPATCH: &str = r#"        '1:command:_moat_commands' \
        '*::argument:->argument' && ret=0
    [[ $state == argument ]] || return ret
    curcontext=${curcontext%:*}-$words[1]:
"#;

const CASE: &str = "    case $words[1] in\n";

const TAIL: &str = r#"    esac
    return ret
}

if [[ $funcstack[1] == _moat ]]; then
    _moat "$@"
else
    compdef _moat moat
fi
"#;

fn arguments(out: &mut String, command: &Command) {
    let quoted = |name: &str| match name.contains(' ') {
        true => format!("'{name}'"),
        false => name.to_owned(),
    };
    let names: Vec<String> = command.names().map(quoted).collect();
    out.push_str(&format!(
        "        {})\n            _arguments -s -S \\\n",
        names.join("|")
    ));
    command
        .all_flags()
        .for_each(|flag| flag_spec(out, 16, flag));
    positional_spec(out, command);
    out.push_str("                && ret=0\n            ;;\n");
}

/// Writes the specification of a flag, such as `'(-n --name)'{-n+,--name=}'[Name it.]:NAME: '`.
fn flag_spec(out: &mut String, indent: usize, flag: &Flag) {
    let takes_value = flag.value.is_some();
    let written: Vec<String> = spellings(flag).collect();
    let exclusion = match flag.repeat {
        true => "*".to_owned(),
        false => format!("({})", written.join(" ")),
    };
    let forms: Vec<String> = written
        .iter()
        .map(|form| match (takes_value, form.starts_with("--")) {
            (true, true) => format!("{form}="),
            (true, false) => format!("{form}+"),
            (false, _) => form.clone(),
        })
        .collect();
    out.extend(std::iter::repeat_n(' ', indent));
    quote(out, &exclusion);
    match forms.as_slice() {
        [one] => out.push_str(one),
        several => out.push_str(&format!("{{{}}}", several.join(","))),
    }
    quote(out, &[description(flag.help), value_action(flag)].concat());
    out.push_str(" \\\n");
}

fn value_action(flag: &Flag) -> String {
    match flag.value {
        Some(value) => format!(":{}:{}", escape_colons(value), action(&flag.complete)),
        None => String::new(),
    }
}

fn positional_spec(out: &mut String, command: &Command) {
    let positional = &command.positional;
    let actions: Vec<&str> = command.action_words().collect();
    let candidates = match (actions.as_slice(), &positional.complete) {
        ([], complete) => action(complete),
        (actions, Complete::Branch) => format!("_moat_branches {}", actions.join(" ")),
        (actions, _) => format!("({})", actions.join(" ")),
    };
    let place = match (positional.min, positional.max) {
        (_, 0) if !actions.is_empty() => "1::",
        (_, 0) => return,
        (0, 1) => "1::",
        (_, 1) => "1:",
        _ => "*:",
    };
    out.push_str("                ");
    quote(out, &format!("{place}{}:{candidates}", positional.name,));
    out.push_str(" \\\n");
}

fn action(complete: &Complete) -> String {
    match complete {
        Complete::Nothing => " ".to_owned(),
        Complete::File => "_files".to_owned(),
        Complete::Directory => "_files -/".to_owned(),
        Complete::Run => "_moat_runs".to_owned(),
        Complete::Branch => "_moat_branches".to_owned(),
        Complete::Command => "_moat_commands".to_owned(),
        Complete::Words(words) => format!("({})", words.join(" ")),
    }
}

fn description(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('[', "\\[")
        .replace(']', "\\]");
    format!("[{text}]")
}

fn escape_colons(text: &str) -> String {
    text.replace(':', "\\:")
}

fn quote(out: &mut String, text: &str) {
    out.push('\'');
    out.push_str(&text.replace('\'', "'\\''"));
    out.push('\'');
}
