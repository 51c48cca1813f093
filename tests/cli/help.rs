//! Help, version, completions and the manual page.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::fixture::assert_nothing_made;
use crate::harness::{Moat, TempDir, assert_snapshot, skip};

const COMMANDS: [&str; 26] = [
    "run",
    "check",
    "logs",
    "list",
    "wait",
    "stop",
    "kill",
    "exec",
    "inspect",
    "services",
    "export",
    "destroy",
    "clean",
    "volumes",
    "up",
    "down",
    "wt",
    "shell",
    "whose",
    "deps",
    "status",
    "doctor",
    "help",
    "completions",
    "man",
    "version",
];

/// Returns the stdout of a call, which must print nothing else.
fn text(args: &[&str]) -> String {
    // Help needs no home, no PATH and no terminal.
    let moat = Moat::new().env("PATH", "");
    let done = moat.args(args).env_remove("HOME").any_stdout().success();
    assert_nothing_made(&moat);
    done.stdout_text()
}

#[test]
fn help_of_all_commands_is_reviewed() {
    assert_snapshot("help", &text(&["help"]));
    assert_eq!(text(&["--help"]), text(&["help"]));
    assert_eq!(text(&["-h"]), text(&["help"]));
    for command in COMMANDS {
        let long = text(&["help", command]);
        assert_snapshot(&format!("help-{command}"), &long);
        assert_eq!(text(&[command, "--help"]), long);
        assert_eq!(text(&["--help", command]), long);
        assert!(long.contains("Example"), "{command} has an example");
    }
    assert_snapshot("help-run-short", &text(&["run", "-h"]));
    for (command, action) in [
        ("deps", "list"),
        ("deps", "info"),
        ("volumes", "rm"),
        ("wt", "clean"),
    ] {
        let long = text(&["help", command, action]);
        assert_snapshot(&format!("help-{command}-{action}"), &long);
        assert_eq!(text(&[command, action, "--help"]), long);
    }
}

#[test]
fn no_command_is_forgotten() {
    let overview = text(&["help"]);
    let listed = overview
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next());
    assert_eq!(listed.collect::<Vec<_>>(), COMMANDS);
}

#[test]
fn help_fits_a_terminal() {
    for command in COMMANDS {
        for line in text(&["help", command]).lines() {
            // A command that the user copies must stay on one line.
            let whole = line.trim_start().starts_with("moat ");
            assert!(whole || line.chars().count() <= 100, "{command}: {line}");
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = format!("moat {}\n", env!("CARGO_PKG_VERSION"));
    for args in [["--version"], ["-V"], ["version"]] {
        assert_eq!(text(&args), version);
    }
}

#[test]
fn the_manual_page_is_reviewed_and_well_formed() {
    let page = text(&["man"]);
    assert_snapshot("man", &page);
    assert!(
        page.starts_with(".TH") || page.starts_with(".\\\""),
        "{page}"
    );
    if let Some(complaints) = check("groff", &["-man", "-ww", "-z", "-Tutf8"], &page) {
        assert_eq!(complaints, "");
    }
}

#[test]
fn completions_are_reviewed_and_parse() {
    for (shell, args) in [
        ("bash", vec!["-n"]),
        ("zsh", vec!["-n"]),
        ("fish", vec!["--no-execute"]),
    ] {
        let script = text(&["completions", shell]);
        assert_snapshot(&format!("completions-{shell}"), &script);
        if let Some(complaints) = check(shell, &args, &script) {
            assert_eq!(complaints, "", "{shell}");
        }
    }
}

#[test]
fn bash_completes_commands_flags_and_words() {
    let script = text(&["completions", "bash"]);
    for (line, expected) in [
        ("moat ins", "inspect"),
        ("moat run --mem", "--memory"),
        ("moat run --runtime d", "docker"),
        ("moat completions f", "fish"),
        ("moat deps s", "search"),
        ("moat wt clean --fo", "--force"),
        ("moat volumes -q r", "rm"),
    ] {
        let Some(found) = completed(&script, Path::new("/"), line) else {
            return;
        };
        assert!(found.contains(&expected.to_owned()), "{line}: {found:?}");
    }
}

/// The name of a branch can contain shell code: completion offers it quoted, and bash never runs it.
#[test]
fn bash_completes_branches() {
    let script = text(&["completions", "bash"]);
    let repository = TempDir::new();
    let hostile = "feat-$(touch${IFS}ran)";
    for args in [
        &["init", "-q", "-b", "main", "."][..],
        &[
            "-c",
            "user.name=n",
            "-c",
            "user.email=e@e",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "a",
        ],
        &["branch", "feat-a"],
        &["branch", hostile],
    ] {
        let git = Command::new("git")
            .arg("-C")
            .arg(repository.path())
            .args(args)
            .status();
        assert!(git.is_ok_and(|status| status.success()), "git {args:?}");
    }
    for (line, expected) in [
        (
            "moat up feat",
            &[r"feat-\$\(touch\$\{IFS\}ran\)", "feat-a"][..],
        ),
        ("moat wt m", &["main"]),
        ("moat wt l", &["list", "logs"]),
        ("moat down x", &[]),
    ] {
        let Some(found) = completed(&script, repository.path(), line) else {
            return;
        };
        assert_eq!(found, expected, "{line}");
    }
    assert!(!repository.path().join("ran").exists());
}

/// Returns the candidates of bash for the last word of a line, or `None` without bash.
fn completed(script: &str, dir: &Path, line: &str) -> Option<Vec<String>> {
    let words: Vec<&str> = line.split(' ').collect();
    let last = words.len() - 1;
    let dir = dir.display();
    let test = format!(
        "{script}\ncd '{dir}'\nCOMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=({line}); COMP_CWORD={last}\n\
         f=$(complete -p moat | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $f moat '{}' '{}'\n\
         (( ${{#COMPREPLY[@]}} == 0 )) || printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words[last],
        words[last - 1],
    );
    let (out, err) = run("bash", &["--norc"], &test)?;
    assert_eq!(err, "", "{line}");
    let mut found: Vec<String> = out.lines().map(|word| word.trim().to_owned()).collect();
    found.sort();
    Some(found)
}

/// Returns the complaints of a program about a text, or `None` if the program is missing.
fn check(program: &str, args: &[&str], text: &str) -> Option<String> {
    run(program, args, text).map(|(_, err)| err)
}

fn run(program: &str, args: &[&str], input: &str) -> Option<(String, String)> {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        skip(&format!("there is no {program} to check with"));
        return None;
    };
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let done = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, mut err) = (text(&done.stdout), text(&done.stderr));
    if !done.status.success() && err.is_empty() {
        err = format!("{program}: {}", done.status);
    }
    Some((out, err))
}
