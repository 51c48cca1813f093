//! Items of `provision`, such as models, become arguments of a command. moat refuses every item that could be more
//! than a name, before it creates anything.

use std::fs;

use crate::harness::Moat;
use crate::harness::support::docker_through;

/// Hostile items, escaped as in YAML's double quotes and as moat prints them.
const HOSTILE: [&str; 46] = [
    r"-x",
    r"--help",
    r"-",
    r"--",
    r"-rf",
    r".",
    r"..",
    r".hidden",
    r"../../etc/passwd",
    r"/etc/passwd",
    r":tag",
    r"@sha256",
    r"_x",
    r"a b",
    r" a",
    r"a ",
    r"a\tb",
    r"a\nb",
    r"a\r\nb",
    r"a\n",
    r"a;id",
    r"a;",
    r"a|id",
    r"a||id",
    r"a&id",
    r"a&&id",
    r"a>x",
    r"a<x",
    r"a$(id)",
    r"$HOME",
    r"${IFS}",
    r"a`id`",
    r"a'b",
    r"'",
    r#"a\"b"#,
    r#"\""#,
    r"a\\b",
    r"a*",
    r"a?",
    r"a[b]",
    r"a{b,c}",
    r"{item}",
    r"~root",
    r"a#b",
    r"modèle",
    r"a\u202eb",
];

const GOOD: [&str; 9] = [
    "a",
    "7",
    "llama3.2",
    "llama3.2:1b",
    "library/llama3.2:1b-instruct-q4_0",
    "hf.co/org/Model-GGUF:Q4_K_M",
    "host:5000/org/model:tag",
    "model@sha256:0123abcd",
    "A_b-c.d..e",
];

/// Returns a place whose docker only records that it was called.
fn without_engine() -> Moat {
    let moat = Moat::new().env("MOAT_RUNTIME", "docker");
    let called = moat.root().join("called");
    docker_through(moat, &format!("touch '{}'; exit 1\n", called.display()))
}

fn yaml(item: &str) -> String {
    format!(
        "dependencies: [ollama]\nservices:\n  ollama:\n    models:\n      - good\n      - {item}\n"
    )
}

/// Asserts that `check` and `run` report this error for the second item, and that docker is not called.
#[track_caller]
fn refused(moat: &Moat, item: &str, why: &str) {
    moat.write("moat.yaml", yaml(item));
    let message = format!("moat.yaml:6:9: {why}\n");
    moat.args(["check"]).stdout(&message).status(1);
    for flags in [&[][..], &["--dry-run"], &["-b"]] {
        let call = moat.args(["run"]).args(flags).args(["--", "true"]);
        call.stderr(format!("error: {message}")).status(125);
    }
    assert!(!moat.home().exists(), "{item}: MOAT_HOME was made");
    assert!(
        !moat.root().join("called").exists(),
        "{item}: docker was called"
    );
}

#[test]
fn hostile_items() {
    let moat = without_engine();
    for item in HOSTILE {
        moat.write("moat.yaml", yaml(&format!("\"{item}\"")));
        // moat prints an item on one line, without characters that control a terminal.
        let text: String = serde_json::from_str(&format!("\"{item}\"")).expect("as in JSON");
        let shown: String = text
            .chars()
            .map(|letter| match letter.is_control() || letter == '\u{202e}' {
                true => letter.escape_unicode().to_string(),
                false => letter.to_string(),
            })
            .collect();
        let why = format!(
            "bad item '{shown}' of 'models' (letters, digits, '.', '_', ':', '/', '@', '-', \
             a letter or digit first)"
        );
        refused(&moat, &format!("\"{item}\""), &why);
    }
}

/// Items that are not text, or longer than a name may be.
#[test]
fn items_that_are_no_names() {
    let moat = without_engine();
    for (item, why) in [
        ("\"\"", "expected text, found an empty text"),
        ("\"a\\0b\"", "a text cannot contain a NUL character"),
        ("7", "expected text, found the number 7"),
        ("1.50", "expected text, found the number 1.50"),
        ("true", "expected text, found true"),
        ("~", "expected text, found nothing"),
        ("[a]", "expected text, found a list"),
        ("{a: b}", "expected text, found keys and values"),
        ("good", "'good' is listed twice"),
    ] {
        refused(&moat, item, why);
    }
    let long = "a".repeat(100_000);
    moat.write("moat.yaml", yaml(&long));
    let said = moat.args(["check"]).any_stdout().status(1).stdout_text();
    assert!(
        said.starts_with("moat.yaml:6:9: bad item 'aaaaaaaa")
            && said.contains(" of 'models' (")
            && said.len() < 1000,
        "{said}"
    );
    moat.args(["run", "--", "true"]).any_stderr().status(125);
    assert!(!moat.home().exists() && !moat.root().join("called").exists());
}

/// moat reports every hostile item, each with its place in the file.
#[test]
fn all_of_them_are_told() {
    let moat = without_engine();
    let items: Vec<String> = HOSTILE.iter().map(|item| format!("\"{item}\"")).collect();
    let list = items.join("\n      - ");
    moat.write("moat.yaml", yaml(&list));
    let said = moat.args(["check"]).any_stdout().status(1).stdout_text();
    assert_eq!(said.lines().count(), HOSTILE.len(), "{said}");
    for (at, line) in said.lines().enumerate() {
        let place = format!("moat.yaml:{}:9: ", at + 6);
        assert!(line.starts_with(&place), "{line}");
    }
}

#[test]
fn good_items() {
    let moat = without_engine();
    let longest = "a".repeat(200);
    let all: Vec<&str> = GOOD.into_iter().chain([longest.as_str()]).collect();
    let quoted: Vec<String> = all.iter().map(|item| format!("\"{item}\"")).collect();
    moat.write(
        "moat.yaml",
        format!(
            "dependencies: [ollama]\nservices: {{ollama: {{models: [{}]}}}}\n",
            quoted.join(", ")
        ),
    );
    moat.args(["check"]).stderr("nothing is wrong\n").success();
    let call = moat.args(["run", "--dry-run", "--json", "--", "true"]);
    let plan = call.any_stdout().success().json();
    let provision = &plan["services"][0]["provision"];
    assert_eq!(provision["items"], serde_json::json!(all), "{plan:#}");
    // The item is an argument of its own, without a shell.
    assert_eq!(
        provision["command"],
        serde_json::json!(["ollama", "pull", "{item}"])
    );
    assert!(fs::exists(moat.root().join("called")).is_ok_and(|called| !called));
}
