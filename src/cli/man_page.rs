//! The manual page moat(1), generated from the table, in roff with the man macros.

use super::command_table::{Command, Flag};
use super::commands;
use super::flags::{GLOBALS, VERSION};

const DESCRIPTION: &str = "\
moat runs a command, usually a coding agent, in an isolated container, keeps its output and exit code, and removes \
everything that it created for the run. moat drives the container command lines of the host (docker, podman, bwrap, \
or Apple's container) and has no daemon.\n\
A run is one execution of one command in one container. It has an id (run_ and 12 hexadecimal digits) and a name \
that is unique among the active runs. A RUN argument is an id, a name, or the beginning of an id or a name that \
matches only one run.\n\
stdout carries the bytes of the workload or the result of the command, and nothing else. moat writes its own \
messages to stderr. Flags may come before or after the other arguments, and everything after '--' belongs to the \
workload.";

const EXIT_CODES: &[(&str, &str)] = &[
    (
        "0",
        "Success. For run and wait, 0 to 255 is the exit code of the workload; for whose, moat is the owner.",
    ),
    (
        "1",
        "Failure. For check, there is a problem; for 'wt status', the session is not healthy; for whose, moat is not \
         the owner.",
    ),
    (
        "2",
        "The command line is wrong; for whose, the owner is unknown.",
    ),
    ("3", "No run or several runs match the argument."),
    (
        "124",
        "The --timeout or the --start-timeout of the run expired.",
    ),
    (
        "125",
        "moat could not start the workload, because of the runtime, the image or the configuration.",
    ),
    ("126", "The command of the workload is not executable."),
    ("127", "The command of the workload was not found."),
    ("129", "Hung up (SIGHUP)."),
    ("130", "Interrupted (SIGINT)."),
    ("143", "Terminated (SIGTERM)."),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "MOAT_HOME",
        "The directory of moat's files, ~/.moat by default.",
    ),
    (
        "MOAT_RUNTIME",
        "The runtime to use (apple, docker, podman or bwrap) if neither --runtime nor the configuration names one.",
    ),
    ("NO_COLOR", "If set and not empty, moat prints no colours."),
];

const FILES: &[(&str, &str)] = &[
    ("$MOAT_HOME/config.yaml", "The user's defaults."),
    ("$MOAT_HOME/runs/ID/run.json", "The record of a run."),
    (
        "$MOAT_HOME/runs/ID/logs.jsonl",
        "The output of a run, one JSON document per line.",
    ),
    ("$MOAT_HOME/sessions/KEY.json", "The record of a session."),
    (
        "$MOAT_HOME/sessions/KEY/NAME.jsonl",
        "The output of a process of a session.",
    ),
    (
        "$MOAT_HOME/worktrees/",
        "The worktrees that moat creates for sessions.",
    ),
    (
        "moat.yaml",
        "The configuration of a workspace, in its top directory.",
    ),
];

/// Returns the whole page.
pub(crate) fn page() -> String {
    let mut page = Roff::default();
    page.macro_line(
        ".TH MOAT 1 \"\" \"moat ",
        env!("CARGO_PKG_VERSION"),
        "\" \"User Commands\"",
    );
    page.section("NAME");
    page.text("moat - run a command in an isolated container");
    page.section("SYNOPSIS");
    page.call("moat", "[FLAGS] COMMAND [ARGS]");
    page.section("DESCRIPTION");
    page.paragraphs(DESCRIPTION);
    page.section("GLOBAL FLAGS");
    for flag in GLOBALS.iter().copied().chain([&VERSION]) {
        page.flag(flag);
    }
    page.section("COMMANDS");
    for command in commands::all() {
        page.command(command);
    }
    page.terms("EXIT STATUS", EXIT_CODES);
    page.terms("ENVIRONMENT", ENVIRONMENT);
    page.terms("FILES", FILES);
    page.section("SEE ALSO");
    page.text("docker(1), bwrap(1)");
    page.0
}

/// A page under construction. Its methods pass all text through [`escape`]; no other code writes roff requests.
#[derive(Default)]
struct Roff(String);

impl Roff {
    /// Writes a request with an escaped text in it.
    fn macro_line(&mut self, before: &str, text: &str, after: &str) {
        self.0.push_str(before);
        escape(&mut self.0, text);
        self.0.push_str(after);
        self.0.push('\n');
    }

    fn section(&mut self, title: &str) {
        self.macro_line(".SH ", title, "");
    }

    fn text(&mut self, text: &str) {
        // roff reads a line that starts with a control character as a request.
        if text.starts_with(['.', '\'']) {
            self.0.push_str("\\&");
        }
        escape(&mut self.0, text.trim_end());
        self.0.push('\n');
    }

    fn paragraphs(&mut self, text: &str) {
        for line in text.lines() {
            self.0.push_str(".PP\n");
            self.text(line);
        }
    }

    /// Writes a bold name and its arguments.
    fn call(&mut self, name: &str, arguments: &str) {
        self.styled('B', name);
        self.0.push(' ');
        self.text(arguments);
    }

    fn command(&mut self, command: &Command) {
        let names: Vec<&str> = command.names().collect();
        self.macro_line(".SS ", &names.join(", "), "");
        self.call(
            &format!("moat {}", command.name),
            &format!("[FLAGS] {}", command.usage),
        );
        self.paragraphs(command.about);
        for flag in command.flags {
            self.flag(flag);
        }
        for (line, text) in command.examples {
            self.example(line, text);
        }
    }

    fn example(&mut self, line: &str, text: &str) {
        self.0.push_str(".PP\n");
        self.text(text);
        self.0.push_str(".RS 4\n.nf\n");
        self.text(line);
        self.0.push_str(".fi\n.RE\n");
    }

    fn flag(&mut self, flag: &Flag) {
        self.0.push_str(".TP\n");
        if let Some(short) = flag.short {
            self.styled('B', &format!("-{short}"));
            self.0.push_str(", ");
        }
        self.styled('B', &flag.spelled());
        if let Some(value) = flag.value {
            self.0.push(' ');
            self.styled('I', value);
        }
        self.0.push('\n');
        self.text(flag.help);
    }

    fn terms(&mut self, title: &str, terms: &[(&str, &str)]) {
        self.section(title);
        for (term, text) in terms {
            self.0.push_str(".TP\n");
            self.styled('B', term);
            self.0.push('\n');
            self.text(text);
        }
    }

    fn styled(&mut self, font: char, text: &str) {
        self.0.push_str("\\f");
        self.0.push(font);
        escape(&mut self.0, text);
        self.0.push_str("\\fR");
    }
}

/// Adds text so that roff prints exactly its characters. Unescaped, roff prints typographic variants of some of them,
/// which break commands that a reader copies to a shell.
fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '"' => out.push_str("\\(dq"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut roff = Roff::default();
        roff.text(text);
        roff.0
    }

    #[test]
    fn escapes_what_roff_would_read() {
        assert_eq!(escaped("a-b"), "a\\-b\n");
        assert_eq!(escaped("C:\\n"), "C:\\en\n");
        assert_eq!(escaped(".SH x"), "\\&.SH x\n");
        assert_eq!(escaped("'quoted'"), "\\&\\(aqquoted\\(aq\n");
        assert_eq!(escaped("~/a ^`\""), "\\(ti/a \\(ha\\(ga\\(dq\n");
    }

    #[test]
    fn every_request_is_one_we_mean() {
        for line in page().lines() {
            assert!(!line.is_empty() && line.is_ascii());
            assert_eq!(line, line.trim_end());
            assert!(!line.starts_with('\''), "{line}");
            if line.starts_with('.') {
                let request = line.split(' ').next().unwrap();
                let known = [
                    ".TH", ".SH", ".SS", ".PP", ".TP", ".RS", ".RE", ".nf", ".fi",
                ];
                assert!(known.contains(&request), "{line}");
            }
        }
    }

    #[test]
    fn no_bare_dash_is_left() {
        let page = page();
        let before: Vec<char> = page
            .match_indices('-')
            .map(|(at, _)| page[..at].chars().next_back().unwrap())
            .collect();
        assert!(!before.is_empty() && before.iter().all(|letter| *letter == '\\'));
    }

    #[test]
    fn has_every_command_flag_code_and_variable() {
        let page = page();
        for command in commands::all() {
            assert!(page.contains(&format!("\n.SS {}", command.name)));
            for flag in command.all_flags() {
                let mut name = String::new();
                escape(&mut name, &flag.spelled());
                assert!(page.contains(&format!("\\fB{name}\\fR")), "{name}");
            }
        }
        for (term, _) in EXIT_CODES.iter().chain(ENVIRONMENT) {
            assert!(page.contains(&format!("\n\\fB{term}\\fR\n")), "{term}");
        }
    }
}
