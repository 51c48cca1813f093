//! Builds that fail, and the output of builds that succeed.

use std::fs;

use crate::harness::{Running, Runtime};
use crate::images::place::Place;

pub(crate) fn a_failing_step_is_shown_with_its_last_lines(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(
        "base_image: BASE\nhooks: {post_build: 'i=1; while [ $i -le 50 ]; do echo line $i; i=$((i+1)); done; exit 3'}\n",
    );
    let done = place.quiet("true").any_stderr().status(125);
    let id = place.only_id();
    let said = done.stderr_text();
    let image = place.planned_image();
    assert!(
        said.starts_with(&format!(
            "error: the image {image} could not be built; this step failed: "
        )),
        "{said}"
    );
    let step = said.lines().next().unwrap_or_default();
    assert!(
        step.ends_with("RUN sh -e /usr/local/share/moat/hooks/post_build.sh"),
        "{step}"
    );
    let code = match runtime.is_podman() {
        true => "exit status 3",
        false => "returned a non-zero code: 3",
    };
    for shown in ["line 30", "line 50", code] {
        assert!(said.contains(shown), "{shown} in {said}");
    }
    assert!(!said.contains("line 15\n"), "the last thirty alone: {said}");
    let log = place.run_dir(&id).join("build.log");
    let hint = format!(
        "hint: the whole output of the builder is in {}\n",
        log.display()
    );
    assert!(said.ends_with(&hint), "{said}");
    let log = fs::read_to_string(log).expect("build.log");
    for line in ["line 1", "line 50"] {
        assert!(log.lines().any(|found| found == line), "{line} in {log}");
    }
    assert!(place.run_dir(&id).join("Dockerfile").exists());
    let record = place.record(&id);
    assert_eq!(
        (&record["state"], &record["reason"], &record["exit_code"]),
        (
            &"failed".into(),
            &"start-error".into(),
            &serde_json::Value::Null
        )
    );
    let error = record["error"].as_str().unwrap_or_default();
    assert!(error.contains("could not be built"), "{record:#}");
    assert!(place.built().is_empty());
    place.assert_no_traces();
    place.args(["wait", &id]).status(125);
}

/// A build step whose own connection fails does not mean that the engine cannot be reached.
pub(crate) fn what_a_step_says_is_no_verdict_on_the_engine(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml(
        "base_image: BASE\nhooks: {post_build: 'echo Connection refused; echo try again: layer not known; exit 3'}\n",
    );
    place
        .quiet("true")
        .stderr_contains("could not be built; this step failed: ")
        .stderr_contains("\n  Connection refused\n  try again: layer not known\n")
        .stderr_contains("hint: the whole output of the builder is in ")
        .status(125);
    assert_eq!(place.builds(), 1);
    place.assert_no_traces();
}

/// podman reads all images when it builds, and fails if another podman removes one of them meanwhile.
pub(crate) fn a_build_that_others_got_in_the_way_of_is_tried_again(runtime: Runtime) {
    const SAID: &str = "Error: checking if cached image exists from a previous build: getting top layer info: layer not known";
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nhooks: {post_build: 'echo built >/tmp/made'}\n");
    place.fail_builds(2, SAID);
    place.quiet("cat /tmp/made").stdout("built\n").success();
    assert_eq!(place.calls("build"), 3);
    let log = fs::read_to_string(place.run_dir(&place.only_id()).join("build.log"));
    let log = log.expect("build.log");
    assert!(log.contains("trying again\n"), "{log}");
    // After some attempts moat gives up. It then prints podman's error, and does not blame the image.
    place.moat_yaml("base_image: BASE\nhooks: {post_build: 'echo again >/tmp/made'}\n");
    place.fail_builds(1000, SAID);
    let done = place.quiet("true").any_stderr().status(125);
    let said = done.stderr_text();
    assert!(
        said.starts_with(&SAID.replace("Error: ", "error: ")),
        "{said}"
    );
    assert_eq!(place.calls("build"), 3 + 5);
    place.assert_no_traces();
}

pub(crate) fn a_base_without_apt_is_said(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\ndependencies: [jq]\n");
    place
        .quiet("true")
        .stderr_contains("this step failed: ")
        .stderr_contains("moat: the base image has no apt-get: it must be Debian-like\n")
        .status(125);
    place.assert_no_traces();
}

pub(crate) fn a_base_that_does_not_exist_is_said(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    for hooks in ["", "hooks: {post_build: 'true'}\n"] {
        place.moat_yaml(&format!("base_image: moat-test/no-such:9\n{hooks}"));
        place
            .quiet("true")
            .stderr_contains("moat-test/no-such:9")
            .status(125);
    }
    place.assert_no_traces();
}

pub(crate) fn in_the_background_the_failure_is_the_clients(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nhooks: {post_build: 'echo no; exit 4'}\n");
    place
        .go(&["--quiet", "-b"], "true")
        .stderr_contains("could not be built")
        .stderr_contains("\n  no\n")
        .status(125);
    place.assert_no_traces();
}

/// The output of a build is plain lines on stderr without a terminal, and nothing with -q or --json. stdout has only
/// the workload's output.
pub(crate) fn the_output_of_a_build(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    let hook = |word: &str| {
        place.moat_yaml(&format!(
            "base_image: BASE\nhooks: {{post_build: echo {word}}}\n"
        ));
    };
    hook("first-word");
    let done = place
        .go(&[], "echo out")
        .stdout("out\n")
        .any_stderr()
        .success();
    let said = done.stderr_text();
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].starts_with("building the image moat/run:"),
        "{said}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("step 1/")),
        "{said}"
    );
    assert!(lines.contains(&"  first-word"), "{said}");
    assert!(!said.contains(['\r', '\u{1b}']), "{said:?}");
    hook("second-word");
    place.go(&["--quiet"], "echo out").stdout("out\n").success();
    hook("third-word");
    let done = place.go(&["--json"], "echo out").any_stdout().success();
    assert_eq!(done.json()["state"], "stopped");
    hook("fourth-word");
    let id = place
        .go(&["-b", "--quiet"], "echo out")
        .any_stdout()
        .success();
    let id = id.stdout_text().trim().to_owned();
    place.args(["wait", &id]).success();
    assert_eq!(place.builds(), 4);
}

/// With --json an error is one line, even if its message has many.
pub(crate) fn a_failure_as_json(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nhooks: {post_build: 'echo no; exit 4'}\n");
    let done = place.go(&["--json"], "true").any_stderr().status(125);
    let text = done.stderr_text();
    assert_eq!(text.lines().count(), 1, "{text}");
    let error: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(error["error"]["kind"], "image", "{error}");
    let message = error["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("\n  no\n"), "{error}");
}

/// On a terminal the build shows one changing line, which disappears before the workload's output.
pub(crate) fn on_a_terminal_a_build_is_one_line(runtime: Runtime) {
    let Some(place) = Place::busybox(runtime) else {
        return;
    };
    place.moat_yaml("base_image: BASE\nhooks: {post_build: 'echo one; echo two'}\n");
    let command = place.go(&[], "echo out").command();
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().expect("text").replace('\'', r"'\''")))
        .collect();
    let mut terminal = std::process::Command::new("script");
    let line = format!("stty cols 100; {}", words.join(" "));
    terminal.args(["-qec", &line, "/dev/null"]);
    terminal.env_clear().current_dir(place.workspace());
    terminal.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let done = Running::of(terminal).wait();
    let text = done.stdout_text();
    assert_eq!(done.code, Some(0), "{text}");
    assert!(
        text.contains('\r') && text.contains("post_build.sh"),
        "{text:?}"
    );
    let left = screen(&text);
    assert!(!left.contains("RUN ") && !left.contains("one"), "{text:?}");
    assert!(text.contains("\r\nout\r\n"), "{text:?}");
}

/// Returns the text that a screen shows after this output: moves the cursor back and up, and erases.
fn screen(text: &str) -> String {
    let mut rows = vec![String::new()];
    let mut row = 0;
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let after = &rest[letter.len_utf8()..];
        let sequence = rest.strip_prefix("\u{1b}[").and_then(|sequence| {
            let end = sequence.find(|letter: char| letter.is_ascii_alphabetic())?;
            Some((&sequence[..end], &sequence[end..=end], &sequence[end + 1..]))
        });
        rest = sequence.map_or(after, |(_, _, rest)| rest);
        match (sequence, letter) {
            (Some((count, "A", _)), _) => row -= count.parse::<usize>().expect("a number"),
            (Some((_, "J", _)), _) => {
                rows.truncate(row);
                rows.push(String::new());
            }
            (Some(_), _) | (None, '\r') => {}
            (None, '\n') => {
                row += 1;
                rows.resize(rows.len().max(row + 1), String::new());
            }
            (None, letter) => rows[row].push(letter),
        }
    }
    rows.join("\n")
}
