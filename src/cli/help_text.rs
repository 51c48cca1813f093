//! The help texts, generated from the table.

use super::command_table::{Command, Flag};
use super::commands::COMMANDS;
use super::flags::{GLOBALS, VERSION};
use super::wrap::{columns, paragraphs};

/// The size of a help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HelpSize {
    /// `-h`: the usage and the flags, which fit on a screen.
    Short,
    /// `--help`: all parts, including the examples.
    Long,
}

/// Returns the text of `moat help`.
pub(crate) fn overview() -> String {
    let mut out = String::from(
        "moat runs a command in an isolated container and keeps its output and exit code.\n\n\
         Usage: moat [FLAGS] COMMAND [ARGS]\n",
    );
    heading(&mut out, "Commands");
    let rows: Vec<_> = COMMANDS.iter().map(command_row).collect();
    columns(&mut out, &rows);
    flag_section(&mut out, "Flags", GLOBALS.iter().copied().chain([&VERSION]));
    heading(&mut out, "Examples");
    let rows: Vec<_> = OVERVIEW_EXAMPLES
        .iter()
        .map(|(line, text)| (format!("  {line}"), *text))
        .collect();
    columns(&mut out, &rows);
    out.push_str(
        "\n'moat help COMMAND' explains a command, and 'moat man' explains all of them.\n",
    );
    out
}

const OVERVIEW_EXAMPLES: &[(&str, &str)] = &[
    (
        "moat run -- npm test",
        "Stream a command and exit with its code",
    ),
    (
        "moat run -b -- ./train.sh",
        "Start a run, print its id and return",
    ),
    ("moat logs -f", "Follow the output of the newest run"),
];

/// Returns the text of `moat COMMAND --help`, or of `-h`.
pub(crate) fn command(command: &Command, size: HelpSize) -> String {
    let mut out = format!("{}.\n\nUsage: {}\n", command.summary, command.usage_line());
    if !command.aliases.is_empty() {
        out.push_str("Aliases: ");
        out.push_str(&command.aliases.join(", "));
        out.push('\n');
    }
    if size == HelpSize::Long {
        out.push('\n');
        paragraphs(&mut out, command.about, 0);
    }
    if !command.actions.is_empty() {
        heading(&mut out, "Actions");
        let rows: Vec<_> = command.actions.iter().map(action_row).collect();
        columns(&mut out, &rows);
    }
    if !command.flags.is_empty() {
        flag_section(&mut out, "Flags", command.flags.iter().copied());
    }
    flag_section(&mut out, "Global flags", GLOBALS.iter().copied());
    match size {
        HelpSize::Long => examples(&mut out, command.examples),
        HelpSize::Short => {
            let more = format!(
                "\n'moat {} --help' prints the full help, with examples.\n",
                command.name
            );
            out.push_str(&more);
        }
    }
    out
}

fn command_row(command: &Command) -> (String, &'static str) {
    let mut left = format!("  {}", command.name);
    if !command.aliases.is_empty() {
        left.push_str(&format!(" ({})", command.aliases.join(", ")));
    }
    (left, command.summary)
}

fn action_row(action: &Command) -> (String, &'static str) {
    let left = format!("  {} {}", action.word(), action.usage);
    (left.trim_end().to_owned(), action.summary)
}

fn flag_section(out: &mut String, title: &str, flags: impl Iterator<Item = &'static Flag>) {
    heading(out, title);
    let rows: Vec<_> = flags.map(|flag| (flag_left(flag), flag.help)).collect();
    columns(out, &rows);
}

fn flag_left(flag: &Flag) -> String {
    let mut left = match flag.short {
        Some(short) => format!("  -{short}, "),
        None => "      ".to_owned(),
    };
    left.push_str("--");
    left.push_str(flag.long);
    if let Some(value) = flag.value {
        left.push(' ');
        left.push_str(value);
    }
    left
}

fn heading(out: &mut String, title: &str) {
    out.push('\n');
    out.push_str(title);
    out.push_str(":\n");
}

fn examples(out: &mut String, examples: &[(&str, &str)]) {
    heading(out, "Examples");
    for (line, text) in examples {
        out.push_str("  ");
        out.push_str(line);
        out.push('\n');
        paragraphs(out, text, 6);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::commands::all as all_commands;
    use crate::cli::wrap::WIDTH;

    fn all() -> Vec<String> {
        let sizes = [HelpSize::Short, HelpSize::Long];
        let commands = all_commands().flat_map(|one| sizes.map(|size| command(one, size)));
        std::iter::once(overview()).chain(commands).collect()
    }

    #[test]
    fn fits_the_width_and_is_tidy() {
        for text in all() {
            assert!(
                text.is_ascii() && text.ends_with('\n') && !text.ends_with("\n\n"),
                "{text}"
            );
            assert!(!text.contains("\n\n\n"), "{text}");
            for line in text.lines() {
                assert!(line.len() <= WIDTH, "{} wide: {line}", line.len());
                assert_eq!(line.trim_end(), line);
            }
        }
    }

    #[test]
    fn names_every_command_and_flag() {
        let overview = overview();
        for one in COMMANDS {
            assert!(
                overview.contains(&format!("\n  {}", one.name)),
                "{}",
                one.name
            );
            assert!(overview.contains(one.summary), "{}", one.name);
            for size in [HelpSize::Short, HelpSize::Long] {
                let text = command(one, size);
                for flag in one.all_flags() {
                    assert!(
                        text.contains(&flag_left(flag)),
                        "{} {}",
                        one.name,
                        flag.long
                    );
                }
            }
        }
    }

    #[test]
    fn the_long_form_has_examples() {
        for one in all_commands() {
            let long = command(one, HelpSize::Long);
            assert!(one.examples.iter().all(|(line, _)| long.contains(line)));
            assert!(!command(one, HelpSize::Short).contains("Examples:"));
        }
    }

    #[test]
    fn reads_like_this() {
        let stop = COMMANDS
            .iter()
            .find(|command| command.name == "stop")
            .unwrap();
        assert_eq!(
            command(stop, HelpSize::Short),
            "\
Stop runs gracefully.

Usage: moat stop [FLAGS] RUN...

Flags:
  -t, --time SECONDS  Kill the workload after a grace period of SECONDS; the
                      default is 10.

Global flags:
  -v, --verbose  Print the actions of moat on stderr.
  -q, --quiet    Print no notices, and only the ids in a list.
      --json     Print the result or the error as JSON.
  -h, --help     Print help; -h prints the short form.

'moat stop --help' prints the full help, with examples.
"
        );
    }
}
