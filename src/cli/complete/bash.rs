//! The completion script of bash. It needs bash 3.2 or newer, and no bash-completion package.

use super::super::command_table::{Command, Complete, Flag};
use super::super::commands::{self, COMMANDS};
use super::{head_flags, spellings};

pub(super) fn script() -> String {
    let mut out = String::from(HEAD);
    canonical_names(&mut out);
    value_kinds(&mut out);
    flags(&mut out);
    positionals(&mut out);
    out.push_str(TAIL);
    out
}

const HEAD: &str = r#"# bash completion for moat. Load it with: eval "$(moat completions bash)"

"#;

// bash splits words at = and :, so '--name=x' arrives as three words: 'glued' is set while the next word still belongs
// to the word before it.
const TAIL: &str = r#"
_moat_candidates() { # KIND: prints the candidates for the word under the cursor
    case "$1" in
        file) compgen -f -- "$cur" ;;
        directory) compgen -d -- "$cur" ;;
        run) compgen -W "$(moat list -a -q 2>/dev/null)" -- "$cur" ;;
        'branch '*)
            compgen -W "${1#branch }" -- "$cur"
            _moat_branches
            ;;
        'words '*) compgen -W "${1#words }" -- "$cur" ;;
    esac
}

# compgen would run commands in the name of a branch, and so would the shell if the name were not quoted.
_moat_branches() { # prints the branches that begin with the word under the cursor
    local branch
    git for-each-ref --format='%(refname:short)' refs/heads 2>/dev/null | while IFS= read -r branch; do
        [[ $branch != "$cur"* ]] || printf '%q\n' "$branch"
    done
}

_moat_reply() { # KIND: completes the word under the cursor
    local word
    while IFS= read -r word; do
        COMPREPLY+=("$word")
    done < <(_moat_candidates "$1")
    case "$1" in
        file | directory) compopt -o filenames 2>/dev/null ;;
    esac
}

_moat() {
    local cur="${COMP_WORDS[COMP_CWORD]}" word command='' kind='' pending='' glued='' count=0 i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        case "$word" in
            [=:]*)
                glued=1
                continue
                ;;
        esac
        if [[ -n $glued || -n $pending ]]; then
            glued=''
            pending=''
            continue
        fi
        case "$word" in
            --) return 0 ;;
            -*)
                _moat_kind "$command:$word"
                pending="$kind"
                ;;
            *)
                if [[ -z $command ]]; then
                    _moat_command "$word"
                elif [[ $count == 0 ]] && _moat_is_action "$command $word"; then
                    command="$command $word"
                else
                    count=$((count + 1))
                fi
                ;;
        esac
    done
    if [[ $cur == [=:]* ]]; then
        glued=1
        cur="${cur#?}"
    fi
    if [[ -n $pending ]]; then
        _moat_reply "$pending"
    elif [[ -n $glued ]]; then
        return 0
    elif [[ $cur == -* ]]; then
        _moat_flags "$command"
        _moat_reply "$kind"
    else
        _moat_positional "$command" "$count"
        _moat_reply "$kind"
    fi
}

complete -F _moat moat
"#;

fn canonical_names(out: &mut String) {
    out.push_str("_moat_command() { # WORD: sets command\n    case \"$1\" in\n");
    for command in COMMANDS
        .iter()
        .filter(|command| !command.aliases.is_empty())
    {
        case(
            out,
            &command.aliases.join(" | "),
            &format!("command={}", command.name),
        );
    }
    out.push_str("        *) command=\"$1\" ;;\n    esac\n}\n");
    out.push_str("\n_moat_is_action() { # COMMAND ACTION\n    case \"$1\" in\n");
    for command in COMMANDS.iter().flat_map(|command| command.actions) {
        case(out, &pattern(command), "return 0");
    }
    out.push_str("        *) return 1 ;;\n    esac\n}\n");
}

/// Returns the name of a command for a pattern of `case`.
fn pattern(command: &Command) -> String {
    match command.name.contains(' ') {
        true => format!("'{}'", command.name),
        false => command.name.to_owned(),
    }
}

fn value_kinds(out: &mut String) {
    out.push_str(
        "\n_moat_kind() { # COMMAND:FLAG: sets kind, empty for a switch\n    case \"$1\" in\n",
    );
    for command in commands::all() {
        for flag in command.flags.iter().filter(|flag| flag.value.is_some()) {
            let pattern: Vec<_> = spellings(flag)
                .map(|written| format!("{}:{written}", pattern(command)))
                .collect();
            set_kind(out, &pattern.join(" | "), &flag.complete);
        }
    }
    out.push_str("        *) kind='' ;;\n    esac\n}\n");
}

fn flags(out: &mut String) {
    out.push_str("\n_moat_flags() { # COMMAND: sets kind\n    case \"$1\" in\n");
    for command in commands::all() {
        case(out, &pattern(command), &flag_words(command.all_flags()));
    }
    case(out, "*", &flag_words(head_flags()));
    out.push_str("    esac\n}\n");
}

fn flag_words(flags: impl Iterator<Item = &'static Flag>) -> String {
    let words: Vec<String> = flags.flat_map(spellings).collect();
    format!("kind='words {}'", words.join(" "))
}

fn positionals(out: &mut String) {
    out.push_str("\n_moat_positional() { # COMMAND COUNT: sets kind\n    case \"$1:$2\" in\n");
    set_kind(out, ":*", &Complete::Command);
    for command in commands::all() {
        let actions: Vec<&str> = command.action_words().collect();
        let name = pattern(command);
        let pattern = match command.positional.max {
            0 if actions.is_empty() => continue,
            0 | 1 => format!("{name}:0"),
            _ => format!("{name}:*"),
        };
        match (actions.as_slice(), &command.positional.complete) {
            ([], _) => {}
            (actions, Complete::Branch) => {
                case(
                    out,
                    &pattern,
                    &format!("kind='branch {}'", actions.join(" ")),
                );
                continue;
            }
            (actions, _) => {
                case(out, &pattern, &format!("kind='{}'", words(actions)));
                continue;
            }
        }
        set_kind(out, &pattern, &command.positional.complete);
    }
    out.push_str("        *) kind='' ;;\n    esac\n}\n");
}

fn set_kind(out: &mut String, pattern: &str, complete: &Complete) {
    let kind = match complete {
        Complete::Nothing => "nothing".to_owned(),
        Complete::File => "file".to_owned(),
        Complete::Directory => "directory".to_owned(),
        Complete::Run => "run".to_owned(),
        Complete::Branch => "branch ".to_owned(),
        Complete::Command => words(&COMMANDS.iter().flat_map(Command::names).collect::<Vec<_>>()),
        Complete::Words(list) => words(list),
    };
    case(out, pattern, &format!("kind='{kind}'"));
}

fn words(list: &[&str]) -> String {
    format!("words {}", list.join(" "))
}

fn case(out: &mut String, pattern: &str, action: &str) {
    for part in ["        ", pattern, ") ", action, " ;;\n"] {
        out.push_str(part);
    }
}
