//! The parser: turns words into a command and its arguments by the table.
//!
//! The parser reads no file, no environment and no terminal.

use std::ffi::{OsStr, OsString};

use lexopt::{Arg, Parser};

use crate::error::{Error, Result};

use super::args::{Args, FlagValues};
use super::command_table::{Command, Complete, Flag, Rest};
use super::commands::COMMANDS;
use super::docker_habits;
use super::flags::{GLOBALS, HELP, JSON, VERBOSE, VERSION};
use super::help_text::HelpSize;
use super::usage_error as wrong;

/// A parsed command line.
pub(crate) enum Parsed {
    Run(Args),
    /// Help on one command, or the overview.
    Help(Option<&'static Command>, HelpSize),
    Version,
}

/// Parses the arguments, without the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut parser = Parser::from_args(args);
    match parse_head(&mut parser)? {
        GlobalArgs::Done(parsed) => Ok(parsed),
        GlobalArgs::Command(command, given) => parse_command(&mut parser, command, given),
    }
}

/// Returns whether the arguments contain `--json`. Needs no successful parse, so that usage errors can be JSON.
pub(crate) fn wants_json(args: &[OsString]) -> bool {
    args.iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| arg.as_encoded_bytes().strip_prefix(b"--") == Some(JSON.long.as_bytes()))
}

/// The result of parsing the words before the command.
enum GlobalArgs {
    Command(&'static Command, FlagValues),
    Done(Parsed),
}

fn parse_head(parser: &mut Parser) -> Result<GlobalArgs> {
    let mut given = FlagValues::default();
    let mut help = None;
    loop {
        if at_separator(parser) {
            return Err(wrong::separator_before_command());
        }
        let Some(arg) = next(parser)? else {
            let size = help.ok_or_else(wrong::no_command)?;
            return Ok(GlobalArgs::Done(Parsed::Help(None, size)));
        };
        let flags = || GLOBALS.iter().copied().chain([&VERSION]);
        let flag = match &arg {
            Arg::Value(word) => {
                let command = find_command(word)?;
                return Ok(match help {
                    Some(size) => GlobalArgs::Done(Parsed::Help(Some(command), size)),
                    None => GlobalArgs::Command(command, given),
                });
            }
            _ => find_flag(&arg, flags())
                .ok_or_else(|| wrong::unknown_global_flag(&written(&arg)))?,
        };
        if flag.long == VERSION.long {
            return Ok(GlobalArgs::Done(Parsed::Version));
        }
        match help_size(&arg, flag) {
            Some(size) => help = Some(size),
            None => given.add(flag, None),
        }
    }
}

fn parse_command(
    parser: &mut Parser,
    command: &'static Command,
    mut given: FlagValues,
) -> Result<Parsed> {
    let mut positional = Vec::new();
    let mut rest = None;
    loop {
        if command.rest != Rest::None && at_separator(parser) {
            rest = Some(after_separator(parser));
        }
        let Some(arg) = next(parser)? else { break };
        if let Arg::Value(word) = arg {
            if command.rest == Rest::AfterPositional && positional.len() == command.positional.max {
                let others = parser
                    .raw_args()
                    .map_err(|error| Error::usage(error.to_string()))?;
                rest = Some([word].into_iter().chain(others).collect());
                break;
            }
            positional.push(word);
            continue;
        }
        let action = command.action(&positional).unwrap_or(command);
        let flag = find_flag(&arg, flags_with(command, action)).ok_or_else(|| {
            let is_workload = action.rest != Rest::None && !positional.is_empty();
            wrong::unknown_flag(action, &written(&arg), is_workload)
        })?;
        if let Some(size) = help_size(&arg, flag) {
            return Ok(Parsed::Help(Some(action), size));
        }
        let value = flag
            .value
            .map(|name| value_of(parser, flag, name))
            .transpose()?;
        given.add(flag, value);
    }
    if given.has(&VERBOSE) && command.name == "run" && positional.len() > command.positional.max {
        let words = positional.iter().filter_map(|word| word.to_str());
        if let Some(error) = docker_habits::volume_error(words) {
            return Err(error);
        }
    }
    let command = match command.action(&positional) {
        // Before '--', the name of an action is the name of a branch.
        Some(action) if rest.is_none() => {
            positional.remove(0);
            action
        }
        _ => command,
    };
    if let Some(flag) = given.first_not_in(command) {
        return Err(wrong::unknown_flag(command, &flag.spelled(), false));
    }
    check_positional(command, &positional, rest.is_some())?;
    if command.name == "help" {
        return help_on(&positional);
    }
    Ok(Parsed::Run(Args::new(command, given, positional, rest)))
}

/// Handles `moat help` and `moat help COMMAND`, which mean the same as `--help`.
fn help_on(positional: &[OsString]) -> Result<Parsed> {
    let Some((word, rest)) = positional.split_first() else {
        return Ok(Parsed::Help(None, HelpSize::Long));
    };
    let command = find_command(word)?;
    let command = match (command.action(rest), rest) {
        (Some(action), _) => action,
        (None, [word, ..]) => return Err(wrong::unknown_action(command, word)),
        (None, []) => command,
    };
    Ok(Parsed::Help(Some(command), HelpSize::Long))
}

/// Returns the flags of the action, then those of its command and of the other actions: a flag can come before the
/// action it belongs to.
fn flags_with(
    command: &'static Command,
    action: &'static Command,
) -> impl Iterator<Item = &'static Flag> {
    let others = std::iter::once(command).chain(command.actions);
    action
        .all_flags()
        .chain(others.flat_map(|one| one.flags).copied())
}

fn find_command(word: &OsStr) -> Result<&'static Command> {
    let known = |name: &str| COMMANDS.iter().find(|command| command.answers_to(name));
    word.to_str()
        .and_then(known)
        .ok_or_else(|| wrong::unknown_command(word))
}

fn find_flag(
    arg: &Arg<'_>,
    mut flags: impl Iterator<Item = &'static Flag>,
) -> Option<&'static Flag> {
    flags.find(|flag| match arg {
        Arg::Long(name) => flag.long == *name,
        Arg::Short(letter) => flag.short == Some(*letter),
        Arg::Value(_) => false,
    })
}

fn written(arg: &Arg<'_>) -> String {
    match arg {
        Arg::Long(name) => format!("--{name}"),
        Arg::Short(letter) => format!("-{letter}"),
        Arg::Value(word) => word.to_string_lossy().into_owned(),
    }
}

/// Returns the size of the requested help, or `None` if the argument does not ask for help.
fn help_size(arg: &Arg<'_>, flag: &Flag) -> Option<HelpSize> {
    match arg {
        _ if flag.long != HELP.long => None,
        Arg::Short(_) => Some(HelpSize::Short),
        _ => Some(HelpSize::Long),
    }
}

/// Returns the next argument. The only error here is a value for a switch; [`value_of`] reads the values of flags.
fn next(parser: &mut Parser) -> Result<Option<Arg<'_>>> {
    parser.next().map_err(|error| match error {
        lexopt::Error::UnexpectedValue { option, .. } => wrong::needless_value(&option),
        other => Error::usage(other.to_string()),
    })
}

fn value_of(parser: &mut Parser, flag: &Flag, name: &str) -> Result<OsString> {
    // A bare `--` is the separator, never a value: in `run --name -- CMD` the name is missing.
    if at_separator(parser) {
        return Err(wrong::missing_value(flag, name));
    }
    let value = parser
        .value()
        .map_err(|_| wrong::missing_value(flag, name))?;
    check_word(
        &format!("value of {}", flag.spelled()),
        &flag.complete,
        &value,
    )?;
    Ok(value)
}

fn at_separator(parser: &mut Parser) -> bool {
    parser
        .try_raw_args()
        .is_some_and(|raw| raw.peek() == Some(OsStr::new("--")))
}

/// Returns the words after `--`, which must be the next word.
fn after_separator(parser: &mut Parser) -> Vec<OsString> {
    parser
        .try_raw_args()
        .map(|raw| raw.skip(1).collect())
        .unwrap_or_default()
}

fn check_positional(command: &Command, words: &[OsString], has_rest: bool) -> Result<()> {
    let positional = &command.positional;
    let takes_branch = matches!(positional.complete, Complete::Branch);
    if let Some(word) = words.first()
        && !command.actions.is_empty()
        && !takes_branch
    {
        return Err(wrong::unknown_action(command, word));
    }
    if words.len() < positional.min {
        return Err(wrong::missing_positional(command));
    }
    if let Some(surplus) = words.get(positional.max) {
        return Err(if command.rest != Rest::None && !has_rest {
            wrong::workload_without_separator(command, words)
        } else {
            wrong::surplus_positional(command, surplus)
        });
    }
    words
        .iter()
        .try_for_each(|word| check_word(positional.name, &positional.complete, word))
}

fn check_word(of: &str, complete: &Complete, value: &OsStr) -> Result<()> {
    match complete {
        Complete::Words(words) if !words.iter().any(|word| value == *word) => {
            Err(wrong::invalid_choice(of, words, value))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;
    use crate::cli::flags::{BACKGROUND, ENV, FOLLOW, IMAGE, LINES, NAME, QUIET, RUNTIME};

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn run(line: &str) -> Args {
        match parse(words(line)) {
            Ok(Parsed::Run(args)) => args,
            Ok(_) => panic!("{line}: not a command to run"),
            Err(error) => panic!("{line}: {error}"),
        }
    }

    /// The message and the hint of the error.
    fn error(line: &str) -> (String, String) {
        match parse(words(line)) {
            Ok(_) => panic!("{line}: no error"),
            Err(error) => {
                assert_eq!(error.kind, crate::error::ErrorKind::Usage, "{line}");
                (error.message, error.hint.unwrap_or_default())
            }
        }
    }

    fn assert_error(line: &str, message: &str, hint: &str) {
        assert_eq!(error(line), (message.to_owned(), hint.to_owned()), "{line}");
    }

    /// Returns the command and the size of the requested help.
    fn help(line: &str) -> (Option<&'static str>, HelpSize) {
        match parse(words(line)) {
            Ok(Parsed::Help(command, size)) => (command.map(|command| command.name), size),
            Ok(_) => panic!("{line}: not help"),
            Err(error) => panic!("{line}: {error}"),
        }
    }

    fn os(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn flags_stand_before_or_after_the_path() {
        for line in [
            "run -b --name x . -- true",
            "run . -b --name x -- true",
            "run -b . --name=x -- true",
        ] {
            let args = run(line);
            assert_eq!(args.command.name, "run");
            assert!(args.has(&BACKGROUND) && !args.has(&FOLLOW));
            assert_eq!(args.text(&NAME).unwrap(), Some("x"));
            assert_eq!(args.positional(), os(&["."]));
            assert_eq!(args.rest(), Some(os(&["true"]).as_slice()));
        }
    }

    #[test]
    fn values_come_in_every_common_form() {
        for line in [
            "logs -n5",
            "logs -n 5",
            "logs -n=5",
            "logs --lines 5",
            "logs --lines=5",
            "logs -fn5",
        ] {
            assert_eq!(run(line).text(&LINES).unwrap(), Some("5"), "{line}");
        }
        assert_eq!(run("logs -n -5").text(&LINES).unwrap(), Some("-5"));
        assert_eq!(run("run --image=").text(&IMAGE).unwrap(), Some(""));
    }

    #[test]
    fn switches_can_be_bundled() {
        let args = run("run -bq");
        assert!(args.has(&BACKGROUND) && args.has(&QUIET));
    }

    #[test]
    fn of_a_flag_given_twice_the_last_wins() {
        let args = run("run -n a --name b -n c");
        assert_eq!(args.value(&NAME), Some(OsStr::new("c")));
        assert_eq!(args.values(&NAME).count(), 1);
    }

    #[test]
    fn a_flag_that_repeats_keeps_every_value() {
        let args = run("run -e A=1 --env B -eC=3");
        assert_eq!(args.values(&ENV).collect::<Vec<_>>(), ["A=1", "B", "C=3"]);
        assert_eq!(args.value(&ENV), Some(OsStr::new("C=3")));
        assert_eq!(args.values(&NAME).count(), 0);
    }

    #[test]
    fn global_flags_stand_anywhere() {
        for line in ["-q list", "list -q", "list --quiet", "--quiet list"] {
            assert!(run(line).has(&QUIET), "{line}");
        }
    }

    #[test]
    fn aliases_are_the_command() {
        for (line, name) in [("ls", "list"), ("ps -a", "list"), ("rm x", "destroy")] {
            assert_eq!(run(line).command.name, name);
        }
    }

    #[test]
    fn what_follows_the_separator_is_untouched() {
        let args = run("run -- npm -b --name=x -- --json -h");
        assert!(args.positional().is_empty() && !args.has(&BACKGROUND));
        let rest = os(&["npm", "-b", "--name=x", "--", "--json", "-h"]);
        assert_eq!(args.rest(), Some(rest.as_slice()));
    }

    #[test]
    fn an_empty_workload_is_not_an_absent_one() {
        assert_eq!(run("run --").rest(), Some([].as_slice()));
        assert_eq!(run("run").rest(), None);
    }

    #[test]
    fn without_a_workload_the_separator_only_ends_the_flags() {
        let args = run("logs -- -f");
        assert_eq!(args.positional(), os(&["-f"]));
        assert_eq!(args.rest(), None);
    }

    #[test]
    fn bytes_that_are_not_utf8_survive_where_they_may() {
        let odd = OsString::from_vec(vec![b'x', 0xff]);
        let line = [
            "run".into(),
            "--name".into(),
            odd.clone(),
            odd.clone(),
            "--".into(),
            odd.clone(),
        ];
        let Ok(Parsed::Run(args)) = parse(line) else {
            panic!("it parses");
        };
        assert_eq!(args.value(&NAME), Some(odd.as_os_str()));
        assert_eq!(args.positional(), std::slice::from_ref(&odd));
        assert_eq!(args.rest(), Some(std::slice::from_ref(&odd)));
        assert_eq!(
            args.text(&NAME).unwrap_err().message,
            "the value of --name is not UTF-8"
        );
    }

    #[test]
    fn help_is_found_wherever_it_is_asked_for() {
        use HelpSize::{Long, Short};
        for (line, command, size) in [
            ("help", None, Long),
            ("--help", None, Long),
            ("-h", None, Short),
            ("-v -h", None, Short),
            ("help run", Some("run"), Long),
            ("help ls", Some("list"), Long),
            ("help help", Some("help"), Long),
            ("help -h", Some("help"), Short),
            ("run --help", Some("run"), Long),
            ("run -bh", Some("run"), Short),
            ("--help run", Some("run"), Long),
            ("stop -h", Some("stop"), Short),
            ("inspect a b --help", Some("inspect"), Long),
        ] {
            assert_eq!(help(line), (command, size), "{line}");
        }
    }

    #[test]
    fn the_version_stands_before_the_command() {
        for line in ["--version", "-V", "-q --version run"] {
            assert!(matches!(parse(words(line)), Ok(Parsed::Version)), "{line}");
        }
        assert_eq!(run("version").command.name, "version");
        assert_eq!(
            error("run --version").0,
            "unknown flag '--version' for 'moat run'"
        );
    }

    #[test]
    fn unknown_commands_get_a_suggestion() {
        assert_error("", "no command given", "see 'moat help'");
        assert_error("-q", "no command given", "see 'moat help'");
        assert_error("log", "unknown command 'log'", "did you mean 'logs'?");
        assert_error(
            "help lsit",
            "unknown command 'lsit'",
            "did you mean 'list'?",
        );
        assert_error(
            "frobnicate",
            "unknown command 'frobnicate'",
            "see 'moat help'",
        );
        let hint = "to run a workload, write: moat run -- CMD...";
        assert_error("-- npm test", "no command given before '--'", hint);
    }

    #[test]
    fn unknown_flags_get_a_suggestion() {
        let message = "unknown flag '--folow' for 'moat logs'";
        assert_error("logs --folow", message, "did you mean '--follow'?");
        let message = "unknown flag '--frobnicate' for 'moat logs'";
        assert_error(
            "logs --frobnicate=secret",
            message,
            "see 'moat logs --help'",
        );
        assert_error(
            "ps -x",
            "unknown flag '-x' for 'moat list'",
            "see 'moat list --help'",
        );
    }

    #[test]
    fn flags_of_a_command_do_not_stand_before_it() {
        let message = "the flag '-b' comes after the command";
        assert_error("-b run", message, "write: moat COMMAND -b");
        assert_error(
            "--jsn list",
            "unknown flag '--jsn'",
            "did you mean '--json'?",
        );
        assert_error("-x list", "unknown flag '-x'", "see 'moat help'");
    }

    #[test]
    fn missing_and_needless_values() {
        assert_error("logs -n", "--lines needs a value", "write: --lines N");
        assert_error("run --name", "--name needs a value", "write: --name NAME");
        assert_error(
            "run -n -- true",
            "--name needs a value",
            "write: --name NAME",
        );
        let hint = "write '--background' alone";
        assert_error(
            "run --background=yes",
            "the flag '--background' takes no value",
            hint,
        );
        assert_error(
            "run -b=yes",
            "the flag '-b' takes no value",
            "write '-b' alone",
        );
        assert_error(
            "--json=1 list",
            "the flag '--json' takes no value",
            "write '--json' alone",
        );
    }

    #[test]
    fn values_from_a_list_of_words_are_checked() {
        assert_eq!(
            run("run --runtime docker").text(&RUNTIME).unwrap(),
            Some("docker")
        );
        let message = "not a valid value of --runtime";
        assert_error(
            "run --runtime xen",
            message,
            "use one of: apple, docker, podman, bwrap",
        );
        assert_error("run --runtime dokcer", message, "did you mean 'docker'?");
        assert_error(
            "completions tcsh",
            "not a valid SHELL",
            "use one of: bash, zsh, fish",
        );
    }

    #[test]
    fn too_few_and_too_many_arguments() {
        let hint = "usage: moat stop [FLAGS] RUN... ('moat list -a' shows the runs)";
        assert_error("stop", "'moat stop' needs a RUN", hint);
        let hint = "usage: moat completions [FLAGS] SHELL";
        assert_error("completions", "'moat completions' needs a SHELL", hint);
        let message = "unexpected argument 'b' for 'moat inspect'";
        assert_error("inspect a b", message, "usage: moat inspect [FLAGS] RUN");
        assert_error(
            "list x",
            "unexpected argument 'x' for 'moat list'",
            "usage: moat list [FLAGS]",
        );
        let message = "unexpected argument 'b' for 'moat run'";
        assert_error(
            "run a b -- c",
            message,
            "usage: moat run [FLAGS] [PATH] [-- CMD...]",
        );
    }

    #[test]
    fn a_workload_without_the_separator_is_explained() {
        let message = "'moat run' takes one PATH";
        for (line, hint) in [
            ("run npm test", "moat run -- npm test"),
            ("run -b npm test", "moat run -- npm test"),
            ("run -e TOKEN=secret npm test", "moat run -- npm test"),
            ("run . npm test", "moat run . -- npm test"),
            ("run src/ npm test", "moat run src/ -- npm test"),
            ("run echo it's", "moat run -- echo 'it'\\''s'"),
        ] {
            assert_error(
                line,
                message,
                &format!("put the command after '--': {hint}"),
            );
        }
        let hint = "put the workload's command after '--': moat run -- CMD...";
        assert_error("run ls -l", "unknown flag '-l' for 'moat run'", hint);
    }

    #[test]
    fn actions_are_commands_with_flags_of_their_own() {
        for (line, name, positional) in [
            ("deps list", "deps list", &[][..]),
            ("deps info a b", "deps info", &["a", "b"]),
            ("-q deps --json list", "deps list", &[]),
            ("volumes", "volumes", &[]),
            ("volumes -f rm a/b", "volumes rm", &["a/b"]),
            ("wt --force clean", "wt clean", &[]),
            ("wt logs a web", "wt logs", &["a", "web"]),
            ("wt -b a", "wt", &["a"]),
            // Before '--', the name of an action is the name of a branch.
            ("wt list -b -- true", "wt", &["list"]),
        ] {
            let args = run(line);
            assert_eq!(args.command.name, name, "{line}");
            assert_eq!(args.positional(), os(positional), "{line}");
        }
        for line in ["deps info --help", "help deps info", "deps info a --help"] {
            assert_eq!(help(line), (Some("deps info"), HelpSize::Long), "{line}");
        }
        for (line, message, hint) in [
            (
                "deps lisst",
                "unknown action 'lisst' for 'deps'",
                "did you mean 'list'?",
            ),
            (
                "help wt lisst",
                "unknown action 'lisst' for 'wt'",
                "did you mean 'list'?",
            ),
            (
                "volumes x",
                "unknown action 'x' for 'volumes'",
                "see 'moat volumes --help'",
            ),
            (
                "wt -b list",
                "unknown flag '--background' for 'moat wt list'",
                "see 'moat wt list --help'",
            ),
            (
                "wt --force a -- true",
                "unknown flag '--force' for 'moat wt'",
                "see 'moat wt --help'",
            ),
            (
                "wt a npm test",
                "'moat wt' takes one BRANCH",
                "put the command after '--': moat wt a -- npm test",
            ),
        ] {
            assert_error(line, message, hint);
        }
    }

    #[test]
    fn json_is_found_whatever_else_is_wrong() {
        for line in [
            "--json",
            "run --json",
            "frob --folow --json",
            "run --json -- x",
        ] {
            assert!(wants_json(&words(line)), "{line}");
        }
        for line in ["", "run", "run -- --json", "--jsonx", "--json=1"] {
            assert!(!wants_json(&words(line)), "{line}");
        }
    }
}
