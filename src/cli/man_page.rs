//! The manual page moat(1), made from the table, in roff with the man macros.

use super::command_table::{Command, Flag};
use super::commands::COMMANDS;
use super::flags::{GLOBALS, VERSION};

const DESCRIPTION: &str = "\
moat runs a command, usually a coding agent, in an isolated container, and keeps what matters: \
its output, its exit code and its cleanliness. It drives the container command lines of the host \
(docker, podman, bwrap, or Apple's container); there is no daemon.\n\
A run is one execution of one command in one container. It has an id (run_ and 12 hexadecimal \
digits) and a name that is unique among the active runs. A RUN argument is an id, the beginning \
of one, a name or the beginning of one, as long as only one run matches.\n\
stdout carries the bytes of the workload or the result of the command, and nothing else. All \
that moat itself says goes to stderr. Flags may come before or after the other arguments, and \
everything after '--' belongs to the workload.";

const EXIT_CODES: &[(&str, &str)] = &[
    (
        "0",
        "Fine. For run and wait, 0 to 255 is the workload's own code; for whose, it is one of moat.",
    ),
    (
        "1",
        "Something failed; for check, something is wrong; for 'wt status', something is not as it should be; for \
         whose, it is not one of moat.",
    ),
    (
        "2",
        "The command line is wrong; for whose, it cannot be told.",
    ),
    ("3", "No run matches the argument, or several do."),
    ("124", "The --timeout of the run expired."),
    (
        "125",
        "moat could not run it: a matter of the runtime, the image or the configuration.",
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
        "Where moat keeps its files, ~/.moat by default.",
    ),
    (
        "MOAT_RUNTIME",
        "The runtime to use, apple, docker, podman or bwrap, where neither --runtime nor the configuration names \
         one.",
    ),
    ("NO_COLOR", "Where set and not empty, no output has colour."),
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
        "The worktrees that moat makes for sessions.",
    ),
    (
        "moat.yaml",
        "The configuration of a workspace, in its top directory.",
    ),
];

/// The whole page.
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
    for command in COMMANDS {
        page.command(command);
    }
    page.terms("EXIT STATUS", EXIT_CODES);
    page.terms("ENVIRONMENT", ENVIRONMENT);
    page.terms("FILES", FILES);
    page.section("SEE ALSO");
    page.text("docker(1), bwrap(1)");
    page.0
}

/// A page in the making. All text goes through [`escape`]; only this type writes requests.
#[derive(Default)]
struct Roff(String);

impl Roff {
    /// A request around a text that is escaped.
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
        // A control character at the start would make a request of the line.
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

    /// A bold name and its arguments.
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

/// Adds text so that roff prints these very characters: it would turn some of them into
/// typographic ones, which cannot be copied to a shell.
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
        for command in COMMANDS {
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
